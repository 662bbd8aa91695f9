"""Plays scenarios with nats-py, the official client for Python: check.py URL SCENARIO...

Prints "ok SCENARIO" after each. Where the server must end and come back it says "please stop" or
"please kill" first, and whoever runs it does that. Anything that is not as it should be is a
message on stderr and an exit code of 1.
"""

import asyncio
import contextlib
import os
import ssl
import sys

import nats
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

PATIENCE = 60  # seconds for what must come; nobody waits for them unless something is wrong
A_MOMENT = 0.1  # long enough for what must not come


@contextlib.asynccontextmanager
async def connections(url, count, **options):
    """So many connections; they are closed in the end."""
    options = {"reconnect_time_wait": 0.05, "max_reconnect_attempts": -1, **options}
    opened = [await nats.connect(url, **options) for _ in range(count)]
    try:
        yield opened[0] if count == 1 else opened
    finally:
        for connection in opened:
            await connection.close()


async def flush(connection):
    """The server has heard all that was said before. A PING of nats-py may overtake what is still to be
    written, but not a second one."""
    await connection.flush()
    await connection.flush()


def equal(got, expected):
    """Complains if this is not that."""
    if got != expected:
        raise AssertionError(f"expected {expected!r}, got {got!r}")


async def heard(subscription, *expected):
    """The next messages are these pairs of a subject and a payload, in this order."""
    for pair in expected:
        message = await subscription.next_msg(timeout=PATIENCE)
        equal((message.subject, message.data), pair)


async def silent(subscription):
    """Nothing comes."""
    try:
        message = await subscription.next_msg(timeout=A_MOMENT)
    except NatsTimeoutError:
        return
    raise AssertionError(f"nothing should have come, but {message.data!r} did")


async def publish(url):
    async with connections(url, 2) as (here, there):
        subscription = await here.subscribe("shop.orders")
        await flush(here)
        largest = bytes(there.max_payload)
        for payload in (b"one", b"", b"\r\n\0\xff", largest):
            await there.publish("shop.orders", payload)
            await heard(subscription, ("shop.orders", payload))
        await there.publish("elsewhere", b"nobody")
        try:
            await there.publish("shop.orders", largest + b"x")
        except MaxPayloadError:
            pass
        else:
            raise AssertionError("more than max_payload was published")
        await flush(there)
        await silent(subscription)


async def subscribe(url):
    async with connections(url, 1) as nc:
        # Ends after two messages; the other at once.
        two, none = await nc.subscribe("few"), await nc.subscribe("few")
        await two.unsubscribe(limit=2)
        await none.unsubscribe()
        rest = await nc.subscribe("few")
        for payload in (b"one", b"two", b"three"):
            await nc.publish("few", payload)
        await flush(nc)
        await heard(two, ("few", b"one"), ("few", b"two"))
        await heard(rest, ("few", b"one"), ("few", b"two"), ("few", b"three"))
        equal(two.delivered, 2)
    async with connections(url, 1, no_echo=True) as deaf:
        subscription = await deaf.subscribe("echo")
        await deaf.publish("echo", b"x")
        await flush(deaf)
        await silent(subscription)


async def wildcards(url):
    async with connections(url, 1) as nc:
        star, middle, rest = [await nc.subscribe(it) for it in ("shop.*", "shop.*.new", "shop.>")]
        for subject in ("shop", "shop.orders", "shop.orders.new", "shop.orders.new.big", "shopping"):
            await nc.publish(subject, subject.encode())
        await flush(nc)
        await heard(star, ("shop.orders", b"shop.orders"))
        await heard(middle, ("shop.orders.new", b"shop.orders.new"))
        for subject in ("shop.orders", "shop.orders.new", "shop.orders.new.big"):
            await heard(rest, (subject, subject.encode()))
        for subscription in (star, middle, rest):
            await silent(subscription)


async def queue(url):
    async with connections(url, 4) as (publisher, *workers):
        done = asyncio.Queue()
        for number, worker in enumerate(workers):

            async def work(job, number=number):
                await done.put((number, int(job.data)))

            await worker.subscribe("jobs.*", queue="workers", cb=work)
            await flush(worker)
        everyone = await publisher.subscribe("jobs.>")
        for job in range(300):
            await publisher.publish(f"jobs.{job}", str(job).encode())
        results = [await asyncio.wait_for(done.get(), PATIENCE) for _ in range(300)]
        equal(sorted(job for _, job in results), list(range(300)))
        shares = [sum(number == worker for worker, _ in results) for number in range(3)]
        if min(shares) < 50:
            raise AssertionError(f"the work was not shared: {shares}")
        await heard(everyone, *((f"jobs.{job}", str(job).encode()) for job in range(300)))


async def request(url):
    async with connections(url, 2) as (asker, worker):

        async def answer(question):
            await question.respond(b"you said " + question.data)

        await worker.subscribe("ask", cb=answer)
        await worker.subscribe("silent")
        await flush(worker)
        for number in range(100):
            reply = await asker.request("ask", str(number).encode(), timeout=PATIENCE)
            equal(reply.data, f"you said {number}".encode())
        try:
            await asker.request("silent", b"", timeout=A_MOMENT)
        except NoRespondersError:
            raise AssertionError("someone is there, who does not answer") from None
        except NatsTimeoutError:
            return
        raise AssertionError("nobody answers, and an answer came")


async def no_responders(url):
    async with connections(url, 1) as nc:
        try:
            await nc.request("nobody.is.here", b"", timeout=PATIENCE)
        except NoRespondersError:
            return
        raise AssertionError("nobody is there, and an answer came")


async def headers(url):
    async with connections(url, 1) as nc:
        subscription = await nc.subscribe("with.headers")
        await nc.publish("with.headers", b"body", headers={"Nats-Msg-Id": "7", "Color": "blue: light"})
        message = await subscription.next_msg(timeout=PATIENCE)
        equal((message.data, message.headers), (b"body", {"Nats-Msg-Id": "7", "Color": "blue: light"}))
        await nc.publish("with.headers", b"", headers={"Alone": "yes"})
        message = await subscription.next_msg(timeout=PATIENCE)
        equal((message.data, message.headers), (b"", {"Alone": "yes"}))


async def drain(url):
    closed, worked = asyncio.Event(), []

    async def on_closed():
        closed.set()

    async def work(message):
        worked.append(int(message.data))

    async with connections(url, 1) as staying:
        leaving = await nats.connect(url, closed_cb=on_closed)
        await leaving.subscribe("work", cb=work)
        await flush(leaving)
        for number in range(100):
            await staying.publish("work", str(number).encode())
        await flush(staying)
        # What was on its way still comes, and then the end.
        await leaving.drain()
        await asyncio.wait_for(closed.wait(), PATIENCE)
        equal(worked, list(range(100)))
        try:
            await staying.request("work", b"more", timeout=PATIENCE)
        except NoRespondersError:
            return
        raise AssertionError("who has left still answers")


async def survive(url, please, announced, **options):
    """The server ends and comes back, and the subscriptions are there again."""
    back, leaving = asyncio.Event(), asyncio.Event()

    async def on_reconnected():
        back.set()

    async def on_lame_duck():
        leaving.set()

    callbacks = {"reconnected_cb": on_reconnected, "lame_duck_mode_cb": on_lame_duck}
    async with connections(url, 1, **callbacks, **options) as nc:
        plain, queued = await nc.subscribe("shop.*"), await nc.subscribe("shop.*", queue="q")
        await flush(nc)
        print(please, flush=True)
        if announced:
            await asyncio.wait_for(leaving.wait(), PATIENCE)
        await asyncio.wait_for(back.wait(), PATIENCE)
        async with connections(url, 1, **options) as other:
            await flush(nc)
            await other.publish("shop.orders", b"back")
            await heard(plain, ("shop.orders", b"back"))
            await heard(queued, ("shop.orders", b"back"))


async def restart(url):
    await survive(url, "please kill", announced=False)


async def leave(url):
    await survive(url, "please stop", announced=True)


async def consumer(url):
    """Works for the durable consumer `mail`; the payload says what to do with each event."""
    async with connections(url, 1) as nc:
        events = await nc.subscribe("rowcall.consumer.mail", queue="workers")
        seen = []
        while len(seen) < 6:
            event = await events.next_msg(timeout=PATIENCE)
            deed, delivery = event.data.decode(), event.metadata.num_delivered
            seen.append((deed, delivery))
            equal((event.metadata.stream, event.metadata.consumer), ("rowcall", "mail"))
            equal(event.headers["Rowcall-Id"], str(event.metadata.sequence.stream))
            equal(event.headers.get("Rowcall-Deliveries"), None if delivery == 1 else str(delivery))
            if deed == "term":
                await event.term()
            elif deed == "confirm":
                await event.ack_sync(timeout=PATIENCE)
            elif deed == "nak" and delivery == 1:
                await event.in_progress()
                await event.nak(delay=0.001)
            else:
                await event.in_progress()
                await event.ack()
        expected = [("ack", 1), ("confirm", 1), ("last", 1), ("nak", 1), ("nak", 2), ("term", 1)]
        equal(sorted(seen), expected)


async def expected_error(_):
    """Instead of a traceback for what is meant to fail."""


async def refused(url, **options):
    """The server does not let in who comes with this."""
    options = {"allow_reconnect": False, "error_cb": expected_error, **options}
    try:
        connection = await nats.connect(url, **options)
    except Exception as error:
        if "authorization violation" not in str(error).lower():
            raise
        return
    await connection.close()
    raise AssertionError(f"let in with {list(options)}")


async def echoes(url, **options):
    """Whoever comes with this is let in, and what they publish comes back."""
    async with connections(url, 1, **options) as nc:
        subscription = await nc.subscribe("shop.orders")
        await nc.publish("shop.orders", b"mine")
        await heard(subscription, ("shop.orders", b"mine"))


ALICE = {"user": "alice", "password": "alicealice"}


async def login(url):
    await refused(url)
    await refused(url, user="alice", password="wrong")
    await echoes(url, nkeys_seed_str=os.environ["NKEY_SEED"])
    errors = asyncio.Queue()
    await echoes(url, **ALICE)
    # What she may not do is told, and nothing comes of it.
    async with connections(url, 1, error_cb=errors.put, **ALICE) as nc:
        subscription = await nc.subscribe("shop.>")
        for act in (nc.publish("secret.plan", b"x"), nc.subscribe("secret.>")):
            await act
            error = str(await asyncio.wait_for(errors.get(), PATIENCE)).lower()
            if "permissions violation" not in error or "secret." not in error:
                raise AssertionError(error)
        await nc.publish("shop.orders", b"still here")
        await heard(subscription, ("shop.orders", b"still here"))


async def login_again(url):
    await survive(url, "please kill", announced=False, **ALICE)


async def token(url):
    await refused(url, token="wrong")
    await echoes(url, token="a token")


async def tls(url):
    await echoes(url, tls=ssl.create_default_context(cafile=os.environ["CA"]))
    try:
        options = {"allow_reconnect": False, "error_cb": expected_error}
        await nats.connect(url, tls=ssl.create_default_context(), **options)
    except ssl.SSLCertVerificationError:
        return
    raise AssertionError("a certificate that nobody vouches for was trusted")


SCENARIOS = {
    "publish": publish,
    "subscribe": subscribe,
    "wildcards": wildcards,
    "queue": queue,
    "request": request,
    "no-responders": no_responders,
    "headers": headers,
    "drain": drain,
    "restart": restart,
    "leave": leave,
    "consumer": consumer,
    "login": login,
    "login-again": login_again,
    "token": token,
    "tls": tls,
}


async def main(url, *names):
    for name in names:
        try:
            await SCENARIOS[name](url)
        except Exception as error:
            sys.exit(f"{name}: {error!r}")
        print(f"ok {name}", flush=True)


asyncio.run(main(*sys.argv[1:]))

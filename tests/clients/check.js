// Plays scenarios with nats.js, the official client for Node.js: check.js URL SCENARIO...
//
// Prints "ok SCENARIO" after each. Where the server must end and come back it says "please stop" or
// "please kill" first, and whoever runs it does that. Anything that is not as it should be is a
// message on stderr and an exit code of 1. NODE_PATH tells where the client is.

"use strict";

const { deepStrictEqual: equal, rejects, throws } = require("node:assert");
const {
  AuthorizationError,
  connect: connectByTcp,
  headers,
  nkeyAuthenticator,
  NoRespondersError,
  PermissionViolationError,
  syncIterator,
  TimeoutError,
} = require("@nats-io/transport-node");
const { wsconnect } = require("@nats-io/nats-core");

const PATIENCE = 60_000; // ms for what must come; nobody waits for them unless something is wrong
const A_MOMENT = 100; // ms, long enough for what must not come

/** Within WebSocket, as a browser has it, if the URL says so. */
function connect(options) {
  return options.servers.startsWith("ws:") ? wsconnect(options) : connectByTcp(options);
}

/** So many connections to work with; they are closed in the end. */
async function connections(servers, count, options, work) {
  const opened = [];
  try {
    while (opened.length < count) {
      opened.push(await connect({ servers, reconnectTimeWait: 50, maxReconnectAttempts: -1, ...options }));
    }
    await work(...opened);
  } finally {
    for (const connection of opened) await connection.close();
  }
}

/** A subscription, and how much of what came was looked at. */
class Ear {
  constructor(connection, subject, options) {
    this.subscription = connection.subscribe(subject, options);
    this.messages = syncIterator(this.subscription);
    this.looked = 0;
  }

  /** The next message. */
  async next() {
    this.looked += 1;
    return await this.messages.next();
  }

  /** The next messages are these pairs of a subject and a payload, in this order. */
  async hears(...expected) {
    for (const [subject, payload] of expected) {
      const message = await this.next();
      equal([message.subject, Buffer.from(message.data)], [subject, Buffer.from(payload)]);
    }
  }
}

/** Nothing came but what was looked at. The server has answered a PING since it was published. */
async function silent(connection, ...ears) {
  await connection.flush();
  for (const ear of ears) equal(ear.subscription.getReceived(), ear.looked);
}

async function publish(url) {
  await connections(url, 2, {}, async (here, there) => {
    const orders = new Ear(here, "shop.orders");
    await here.flush();
    const largest = Buffer.alloc(there.info.max_payload);
    for (const payload of ["one", "", Buffer.from("\r\n\0\xff", "latin1"), largest]) {
      there.publish("shop.orders", payload);
      await orders.hears(["shop.orders", payload]);
    }
    there.publish("elsewhere", "nobody");
    throws(() => there.publish("shop.orders", Buffer.concat([largest, Buffer.from("x")])), /max_payload/);
    await there.flush();
    await silent(here, orders);
  });
}

async function subscribe(url) {
  await connections(url, 1, {}, async (nc) => {
    // Ends after two messages; the other at once.
    const [two, none] = [new Ear(nc, "few", { max: 2 }), new Ear(nc, "few")];
    none.subscription.unsubscribe();
    const rest = new Ear(nc, "few");
    for (const payload of ["one", "two", "three"]) nc.publish("few", payload);
    await two.hears(["few", "one"], ["few", "two"]);
    equal(await two.messages.next(), null);
    await rest.hears(["few", "one"], ["few", "two"], ["few", "three"]);
    await silent(nc, two, none, rest);
  });
  await connections(url, 1, { noEcho: true }, async (deaf) => {
    const ear = new Ear(deaf, "echo");
    deaf.publish("echo", "x");
    await silent(deaf, ear);
  });
}

async function wildcards(url) {
  await connections(url, 1, {}, async (nc) => {
    const [star, middle, rest] = ["shop.*", "shop.*.new", "shop.>"].map((it) => new Ear(nc, it));
    for (const subject of ["shop", "shop.orders", "shop.orders.new", "shop.orders.new.big", "shopping"]) {
      nc.publish(subject, subject);
    }
    const pairs = (...subjects) => subjects.map((it) => [it, it]);
    await star.hears(...pairs("shop.orders"));
    await middle.hears(...pairs("shop.orders.new"));
    await rest.hears(...pairs("shop.orders", "shop.orders.new", "shop.orders.new.big"));
    await silent(nc, star, middle, rest);
  });
}

async function queue(url) {
  await connections(url, 4, {}, async (publisher, ...workers) => {
    const [shares, jobs] = [[0, 0, 0], []];
    const everyJob = new Promise((resolve) => {
      workers.forEach((worker, number) => {
        const callback = (_error, job) => {
          shares[number] += 1;
          if (jobs.push(Number(job.string())) === 300) resolve();
        };
        worker.subscribe("jobs.*", { queue: "workers", callback });
      });
    });
    for (const worker of workers) await worker.flush();
    const everyone = new Ear(publisher, "jobs.>");
    const numbers = [...Array(300).keys()];
    for (const job of numbers) publisher.publish(`jobs.${job}`, `${job}`);
    await everyJob;
    equal(jobs.sort((a, b) => a - b), numbers);
    if (Math.min(...shares) < 50) throw new Error(`the work was not shared: ${shares}`);
    await everyone.hears(...numbers.map((job) => [`jobs.${job}`, `${job}`]));
  });
}

async function request(url) {
  await connections(url, 2, {}, async (asker, worker) => {
    worker.subscribe("ask", { callback: (_error, question) => question.respond(`you said ${question.string()}`) });
    worker.subscribe("silent");
    await worker.flush();
    for (let number = 0; number < 100; number++) {
      const reply = await asker.request("ask", `${number}`, { timeout: PATIENCE });
      equal(reply.string(), `you said ${number}`);
    }
    // Someone is there, who does not answer.
    await rejects(asker.request("silent", "", { timeout: A_MOMENT }), TimeoutError);
  });
}

async function nobodyAnswers(connection, subject) {
  const request = connection.request(subject, "", { timeout: PATIENCE });
  await rejects(request, (error) => error.cause instanceof NoRespondersError);
}

async function noResponders(url) {
  await connections(url, 1, {}, (nc) => nobodyAnswers(nc, "nobody.is.here"));
}

async function withHeaders(url) {
  await connections(url, 1, {}, async (nc) => {
    const ear = new Ear(nc, "with.headers");
    const given = headers();
    given.set("Nats-Msg-Id", "7");
    given.append("Color", "blue: light");
    given.append("Color", "green");
    nc.publish("with.headers", "body", { headers: given });
    const message = await ear.next();
    equal(message.string(), "body");
    equal([...message.headers], [["Nats-Msg-Id", ["7"]], ["Color", ["blue: light", "green"]]]);
    const alone = headers();
    alone.set("Alone", "yes");
    nc.publish("with.headers", "", { headers: alone });
    const empty = await ear.next();
    equal([empty.string(), [...empty.headers]], ["", [["Alone", ["yes"]]]]);
  });
}

async function drain(url) {
  await connections(url, 1, {}, async (staying) => {
    const leaving = await connect({ servers: url });
    const worked = [];
    leaving.subscribe("work", { callback: (_error, message) => worked.push(Number(message.string())) });
    await leaving.flush();
    const numbers = [...Array(100).keys()];
    for (const number of numbers) staying.publish("work", `${number}`);
    await staying.flush();
    // What was on its way still comes, and then the end.
    await leaving.drain();
    equal(worked, numbers);
    equal(leaving.isClosed(), true);
    await nobodyAnswers(staying, "work");
  });
}

/** The server ends and comes back, and the subscriptions are there again. */
async function survive(url, please, announced, options) {
  await connections(url, 1, options, async (nc) => {
    const [plain, queued] = [new Ear(nc, "shop.*"), new Ear(nc, "shop.*", { queue: "q" })];
    const statuses = nc.status();
    await nc.flush();
    console.log(please);
    const seen = [];
    for await (const { type } of statuses) {
      seen.push(type);
      if (type === "reconnect") break;
    }
    equal(seen.includes("ldm"), announced);
    await connections(url, 1, options, async (other) => {
      await nc.flush();
      other.publish("shop.orders", "back");
      await plain.hears(["shop.orders", "back"]);
      await queued.hears(["shop.orders", "back"]);
    });
  });
}

/**
 * Works for the durable consumer `mail`; the payload says what to do with each event. The client has
 * `ack()` for messages of its own JetStream consumers only: the words are published by hand.
 */
async function consumer(url) {
  await connections(url, 1, {}, async (nc) => {
    const events = new Ear(nc, "rowcall.consumer.mail", { queue: "workers" });
    const seen = [];
    while (seen.length < 6) {
      const event = await events.next();
      const [, , stream, name, deliveries, sequence] = event.reply.split(".");
      const [deed, delivery] = [event.string(), Number(deliveries)];
      seen.push([deed, delivery]);
      equal([stream, name], ["rowcall", "mail"]);
      equal(event.headers.get("Rowcall-Id"), sequence);
      equal(event.headers.get("Rowcall-Deliveries"), delivery === 1 ? "" : deliveries);
      if (deed === "term") {
        event.respond("+TERM");
      } else if (deed === "confirm") {
        await nc.request(event.reply, "+ACK", { timeout: PATIENCE });
      } else if (deed === "nak" && delivery === 1) {
        event.respond("+WPI");
        event.respond('-NAK {"delay":1000000}');
      } else {
        event.respond("+WPI");
        event.respond("+ACK");
      }
    }
    seen.sort();
    equal(seen, [["ack", 1], ["confirm", 1], ["last", 1], ["nak", 1], ["nak", 2], ["term", 1]]);
  });
}

/** Whoever comes with this is let in, and what they publish comes back. */
async function echoes(url, options) {
  await connections(url, 1, options, async (nc) => {
    const ear = new Ear(nc, "shop.orders");
    nc.publish("shop.orders", "mine");
    await ear.hears(["shop.orders", "mine"]);
  });
}

async function refused(servers, options) {
  await rejects(connect({ servers, reconnect: false, ...options }), AuthorizationError);
}

const ALICE = { user: "alice", pass: "alicealice" };

async function login(url) {
  await refused(url, {});
  await refused(url, { user: "alice", pass: "wrong" });
  await echoes(url, { authenticator: nkeyAuthenticator(Buffer.from(process.env.NKEY_SEED)) });
  await echoes(url, ALICE);
  // What she may not do is told, and nothing comes of it.
  await connections(url, 1, ALICE, async (nc) => {
    const told = syncIterator(nc.status());
    const orders = new Ear(nc, "shop.>");
    nc.publish("secret.plan", "x");
    const { type, error } = await told.next();
    equal([type, error.operation, error.subject], ["error", "publish", "secret.plan"]);
    await rejects(new Ear(nc, "secret.>").next(), PermissionViolationError);
    nc.publish("shop.orders", "still here");
    await orders.hears(["shop.orders", "still here"]);
  });
}

async function token(url) {
  await refused(url, { token: "wrong" });
  await echoes(url, { token: "a token" });
}

async function tls(url) {
  await echoes(url, { tls: { caFile: process.env.CA } });
  // A certificate that nobody vouches for.
  await rejects(connect({ servers: url, reconnect: false, tls: {} }));
}

const SCENARIOS = {
  publish,
  subscribe,
  wildcards,
  queue,
  request,
  "no-responders": noResponders,
  headers: withHeaders,
  drain,
  restart: (url) => survive(url, "please kill", false, {}),
  leave: (url) => survive(url, "please stop", true, {}),
  consumer,
  login,
  "login-again": (url) => survive(url, "please kill", false, ALICE),
  token,
  tls,
};

async function main(url, ...names) {
  for (const name of names) {
    const complain = (error) => {
      console.error(`${name}:`, error);
      process.exit(1);
    };
    const watch = setTimeout(complain, PATIENCE, "it takes too long");
    await SCENARIOS[name](url).catch(complain);
    clearTimeout(watch);
    console.log(`ok ${name}`);
  }
}

main(...process.argv.slice(2));

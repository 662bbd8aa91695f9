/* Plays scenarios with nats.c, the official client for C: check URL SCENARIO...
 *
 * Prints "ok SCENARIO" after each. Where the server must end and come back it says "please stop" or
 * "please kill" first, and whoever runs it does that. Anything that is not as it should be is a
 * message on stderr and an exit code of 1. */

#define _GNU_SOURCE
#include "check.h"

static void publish(void) {
    natsConnection *here = open_connection(), *there = open_connection();
    natsSubscription *sub = subscribe_to(here, "shop.orders");
    OK(natsConnection_Flush(here));
    int largest = (int)natsConnection_GetMaxPayload(there);
    char *large = calloc(1, largest + 1);
    const struct {
        const char *bytes;
        int length;
    } payloads[] = {{"one", 3}, {"", 0}, {"\r\n\0\xff", 4}, {large, largest}};
    for (int i = 0; i < 4; i++) {
        OK(natsConnection_Publish(there, "shop.orders", payloads[i].bytes, payloads[i].length));
        natsMsg *msg = next(sub);
        EXPECT(holds(msg, payloads[i].bytes, payloads[i].length));
        natsMsg_Destroy(msg);
    }
    say(there, "elsewhere", "nobody");
    ANSWERS(NATS_MAX_PAYLOAD, natsConnection_Publish(there, "shop.orders", large, largest + 1));
    OK(natsConnection_Flush(there));
    silent(here, sub);
    free(large);
    close_connection(here);
    close_connection(there);
}

static void subscribe(void) {
    natsConnection *nc = open_connection();
    natsMsg *msg;
    /* Ends after two messages; the other at once. */
    natsSubscription *two = subscribe_to(nc, "few"), *none = subscribe_to(nc, "few");
    OK(natsSubscription_AutoUnsubscribe(two, 2));
    OK(natsSubscription_Unsubscribe(none));
    natsSubscription *rest = subscribe_to(nc, "few");
    const char *payloads[] = {"one", "two", "three"};
    for (int i = 0; i < 3; i++)
        say(nc, "few", payloads[i]);
    for (int i = 0; i < 2; i++)
        hears(two, "few", payloads[i]);
    ANSWERS(NATS_MAX_DELIVERED_MSGS, natsSubscription_NextMsg(&msg, two, PATIENCE_MS));
    ANSWERS(NATS_INVALID_SUBSCRIPTION, natsSubscription_NextMsg(&msg, none, PATIENCE_MS));
    for (int i = 0; i < 3; i++)
        hears(rest, "few", payloads[i]);
    silent(nc, rest);
    natsSubscription_Destroy(two);
    natsSubscription_Destroy(none);
    close_connection(nc);

    natsOptions *opts = options();
    OK(natsOptions_SetNoEcho(opts, true));
    natsConnection *deaf = connect_with(opts);
    natsSubscription *echo = subscribe_to(deaf, "echo");
    say(deaf, "echo", "x");
    silent(deaf, echo);
    close_connection(deaf);
}

static void wildcards(void) {
    natsConnection *nc = open_connection();
    natsSubscription *star = subscribe_to(nc, "shop.*"), *middle = subscribe_to(nc, "shop.*.new");
    natsSubscription *rest = subscribe_to(nc, "shop.>");
    const char *subjects[] = {"shop", "shop.orders", "shop.orders.new", "shop.orders.new.big", "shopping"};
    for (int i = 0; i < 5; i++)
        say(nc, subjects[i], subjects[i]);
    hears(star, "shop.orders", "shop.orders");
    hears(middle, "shop.orders.new", "shop.orders.new");
    for (int i = 1; i < 4; i++)
        hears(rest, subjects[i], subjects[i]);
    silent(nc, star);
    silent(nc, middle);
    silent(nc, rest);
    close_connection(nc);
}

static void queue(void) {
    enum { WORKERS = 3, JOBS = 300 };
    natsConnection *publisher = open_connection(), *workers[WORKERS];
    natsSubscription *shares[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = open_connection();
        shares[i] = join(workers[i], "jobs.*", "workers");
        OK(natsConnection_Flush(workers[i]));
    }
    natsSubscription *everyone = subscribe_to(publisher, "jobs.>");
    char subject[16];
    for (int job = 0; job < JOBS; job++) {
        snprintf(subject, sizeof subject, "jobs.%d", job);
        say(publisher, subject, subject);
    }
    OK(natsConnection_Flush(publisher));
    char done[JOBS] = {0};
    uint64_t all = 0;
    for (int i = 0; i < WORKERS; i++) {
        uint64_t share;
        OK(natsConnection_Flush(workers[i]));
        OK(natsSubscription_QueuedMsgs(shares[i], &share));
        EXPECT(share >= 50);
        all += share;
        for (; share > 0; share--) {
            natsMsg *msg = next(shares[i]);
            done[atoi(natsMsg_GetSubject(msg) + strlen("jobs."))] = 1;
            natsMsg_Destroy(msg);
        }
        natsSubscription_Destroy(shares[i]);
        close_connection(workers[i]);
    }
    EXPECT(all == JOBS && memchr(done, 0, JOBS) == NULL);
    for (int job = 0; job < JOBS; job++) {
        snprintf(subject, sizeof subject, "jobs.%d", job);
        hears(everyone, subject, subject);
    }
    silent(publisher, everyone);
    close_connection(publisher);
}

static void answer(natsConnection *nc, natsSubscription *sub, natsMsg *question, void *closure) {
    char text[64];
    (void)sub;
    (void)closure;
    snprintf(text, sizeof text, "you said %.*s", natsMsg_GetDataLength(question), natsMsg_GetData(question));
    say(nc, natsMsg_GetReply(question), text);
    natsMsg_Destroy(question);
}

static void request(void) {
    natsConnection *asker = open_connection(), *worker = open_connection();
    natsSubscription *ask, *nothing = subscribe_to(worker, "silent");
    natsMsg *reply;
    OK(natsConnection_Subscribe(&ask, worker, "ask", answer, NULL));
    OK(natsConnection_Flush(worker));
    for (int number = 0; number < 100; number++) {
        char question[16], expected[32];
        snprintf(question, sizeof question, "%d", number);
        int length = snprintf(expected, sizeof expected, "you said %d", number);
        OK(natsConnection_RequestString(&reply, asker, "ask", question, PATIENCE_MS));
        EXPECT(holds(reply, expected, length));
        natsMsg_Destroy(reply);
    }
    /* Someone is there, who does not answer. */
    ANSWERS(NATS_TIMEOUT, natsConnection_RequestString(&reply, asker, "silent", "", A_MOMENT_MS));
    natsSubscription_Destroy(ask);
    natsSubscription_Destroy(nothing);
    close_connection(asker);
    close_connection(worker);
}

static void no_responders(void) {
    natsConnection *nc = open_connection();
    natsMsg *reply;
    ANSWERS(NATS_NO_RESPONDERS, natsConnection_RequestString(&reply, nc, "nobody.is.here", "", PATIENCE_MS));
    close_connection(nc);
}

static void headers(void) {
    natsConnection *nc = open_connection();
    natsSubscription *sub = subscribe_to(nc, "with.headers");
    natsMsg *msg;
    OK(natsMsg_Create(&msg, "with.headers", NULL, "body", 4));
    OK(natsMsgHeader_Set(msg, "Nats-Msg-Id", "7"));
    OK(natsMsgHeader_Add(msg, "Color", "blue: light"));
    OK(natsMsgHeader_Add(msg, "Color", "green"));
    OK(natsConnection_PublishMsg(nc, msg));
    natsMsg_Destroy(msg);
    msg = next(sub);
    EXPECT(holds(msg, "body", 4) && has_header(msg, "Nats-Msg-Id", "7"));
    const char **colors;
    int count;
    OK(natsMsgHeader_Values(msg, "Color", &colors, &count));
    EXPECT(count == 2 && strcmp(colors[0], "blue: light") == 0 && strcmp(colors[1], "green") == 0);
    free(colors);
    natsMsg_Destroy(msg);
    OK(natsMsg_Create(&msg, "with.headers", NULL, "", 0));
    OK(natsMsgHeader_Set(msg, "Alone", "yes"));
    OK(natsConnection_PublishMsg(nc, msg));
    natsMsg_Destroy(msg);
    msg = next(sub);
    EXPECT(natsMsg_GetDataLength(msg) == 0 && has_header(msg, "Alone", "yes"));
    natsMsg_Destroy(msg);
    silent(nc, sub);
    close_connection(nc);
}

struct worked {
    int count, in_order;
};

static void work(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
    struct worked *worked = closure;
    (void)nc;
    (void)sub;
    char expected[16];
    int length = snprintf(expected, sizeof expected, "%d", worked->count++);
    worked->in_order &= holds(msg, expected, length);
    natsMsg_Destroy(msg);
}

static void drain(void) {
    natsConnection *staying = open_connection();
    sem_t closed;
    sem_init(&closed, 0, 0);
    natsOptions *opts = options();
    OK(natsOptions_SetClosedCB(opts, happened, &closed));
    natsConnection *leaving = connect_with(opts);
    struct worked worked = {.in_order = 1};
    natsSubscription *sub;
    OK(natsConnection_Subscribe(&sub, leaving, "work", work, &worked));
    OK(natsConnection_Flush(leaving));
    for (int i = 0; i < 100; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        say(staying, "work", number);
    }
    OK(natsConnection_Flush(staying));
    /* What was on its way still comes, and then the end. */
    OK(natsConnection_Drain(leaving));
    sem_wait(&closed);
    EXPECT(worked.count == 100 && worked.in_order);
    natsMsg *reply;
    ANSWERS(NATS_NO_RESPONDERS, natsConnection_RequestString(&reply, staying, "work", "more", PATIENCE_MS));
    natsSubscription_Destroy(sub);
    natsConnection_Destroy(leaving);
    close_connection(staying);
}

/* The server ends and comes back, and the subscriptions are there again. */
static void survive(const char *please, int announced, natsOptions *(*options_of)(void)) {
    sem_t back, leaving;
    sem_init(&back, 0, 0);
    sem_init(&leaving, 0, 0);
    natsOptions *opts = options_of();
    OK(natsOptions_SetReconnectedCB(opts, happened, &back));
    OK(natsOptions_SetLameDuckModeCB(opts, happened, &leaving));
    natsConnection *nc = connect_with(opts);
    natsSubscription *plain = subscribe_to(nc, "shop.*"), *queued = join(nc, "shop.*", "q");
    OK(natsConnection_Flush(nc));
    puts(please);
    if (announced)
        sem_wait(&leaving);
    sem_wait(&back);
    natsConnection *other = connect_with(options_of());
    OK(natsConnection_Flush(nc));
    say(other, "shop.orders", "back");
    hears(plain, "shop.orders", "back");
    hears(queued, "shop.orders", "back");
    silent(nc, plain);
    silent(nc, queued);
    close_connection(nc);
    close_connection(other);
}

static void restart_server(void) {
    survive("please kill", 0, options);
}

static void leave(void) {
    survive("please stop", 1, options);
}

/* Does with an event of the durable consumer `mail` what its payload says. natsMsg_Ack and its sisters
 * are for messages of the client's own JetStream consumers (3.4.1 crashes otherwise): the words are
 * published by hand. */
static void settle(natsConnection *nc, natsMsg *event, const char *delivery) {
    const char *reply = natsMsg_GetReply(event);
    natsMsg *confirmed;
    if (is(event, "term")) {
        say(nc, reply, "+TERM");
    } else if (is(event, "confirm")) {
        OK(natsConnection_RequestString(&confirmed, nc, reply, "+ACK", PATIENCE_MS));
        natsMsg_Destroy(confirmed);
    } else {
        say(nc, reply, "+WPI");
        say(nc, reply, is(event, "nak") && strcmp(delivery, "1") == 0 ? "-NAK {\"delay\":1000000}" : "+ACK");
    }
}

static void consumer(void) {
    natsConnection *nc = open_connection();
    natsSubscription *events = join(nc, "rowcall.consumer.mail", "workers");
    int seen = 0, deliveries = 0;
    for (; seen < 6; seen++) {
        natsMsg *event = next(events);
        char *reply = strdup(natsMsg_GetReply(event)), *rest = reply, *tokens[6];
        for (int i = 0; i < 6; i++)
            EXPECT((tokens[i] = strsep(&rest, ".")) != NULL);
        const char *delivery = tokens[4], *sequence = tokens[5];
        EXPECT(strcmp(tokens[2], "rowcall") == 0 && strcmp(tokens[3], "mail") == 0);
        EXPECT(has_header(event, "Rowcall-Id", sequence));
        EXPECT(has_header(event, "Rowcall-Deliveries", strcmp(delivery, "1") == 0 ? NULL : delivery));
        deliveries += atoi(delivery);
        settle(nc, event, delivery);
        free(reply);
        natsMsg_Destroy(event);
    }
    /* Five for the first time, one of them for the second. */
    EXPECT(deliveries == 5 + 2);
    silent(nc, events);
    close_connection(nc);
}

#include "login.h"

static const struct {
    const char *name;
    void (*play)(void);
} SCENARIOS[] = {
    {"publish", publish}, {"subscribe", subscribe},         {"wildcards", wildcards}, {"queue", queue},
    {"request", request}, {"no-responders", no_responders}, {"headers", headers},     {"drain", drain},
    {"leave", leave},     {"restart", restart_server},      {"consumer", consumer},
    {"login", login},     {"login-again", login_again},     {"token", token},         {"tls", tls},
};

int main(int count, char **arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGALRM, too_long);
    EXPECT(count > 2);
    url = arguments[1];
    for (int i = 2; i < count; i++) {
        scenario = arguments[i];
        size_t at = 0, all = sizeof SCENARIOS / sizeof *SCENARIOS;
        while (at < all && strcmp(SCENARIOS[at].name, scenario) != 0)
            at++;
        EXPECT(at < all);
        alarm(PATIENCE_S);
        SCENARIOS[at].play();
        printf("ok %s\n", scenario);
    }
    nats_Close();
    return 0;
}

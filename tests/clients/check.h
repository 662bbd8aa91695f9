/* What check.c says its scenarios with: connections, what is expected to come, and complaints. */

#include <nats/nats.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* For what must come; nobody waits for it unless something is wrong. */
#define PATIENCE_S 60
#define PATIENCE_MS (PATIENCE_S * 1000)
/* Long enough for what must not come. */
#define A_MOMENT_MS 100

static const char *url;
static const char *scenario = "";

/* Complains, with the line, unless it is so. */
#define EXPECT(so)                                                                                                     \
    do {                                                                                                               \
        if (!(so)) {                                                                                                   \
            fprintf(stderr, "%s: line %d: not so: %s\n", scenario, __LINE__, #so);                                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Complains unless the client's answer is this status. */
#define ANSWERS(expected, call)                                                                                        \
    do {                                                                                                               \
        natsStatus status_ = (call);                                                                                   \
        if (status_ != (expected)) {                                                                                   \
            fprintf(stderr, "%s: line %d: %s: %s\n", scenario, __LINE__, #call, natsStatus_GetText(status_));          \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)
#define OK(call) ANSWERS(NATS_OK, call)

static inline natsOptions *options(void) {
    natsOptions *opts;
    OK(natsOptions_Create(&opts));
    OK(natsOptions_SetURL(opts, url));
    OK(natsOptions_SetMaxReconnect(opts, -1));
    OK(natsOptions_SetReconnectWait(opts, 50));
    OK(natsOptions_SetReconnectJitter(opts, 1, 1));
    return opts;
}

static inline natsConnection *connect_with(natsOptions *opts) {
    natsConnection *nc;
    OK(natsConnection_Connect(&nc, opts));
    natsOptions_Destroy(opts);
    return nc;
}

static inline natsConnection *open_connection(void) {
    return connect_with(options());
}

static inline natsSubscription *subscribe_to(natsConnection *nc, const char *subject) {
    natsSubscription *sub;
    OK(natsConnection_SubscribeSync(&sub, nc, subject));
    return sub;
}

static inline natsSubscription *join(natsConnection *nc, const char *subject, const char *queue) {
    natsSubscription *sub;
    OK(natsConnection_QueueSubscribeSync(&sub, nc, subject, queue));
    return sub;
}

static inline void say(natsConnection *nc, const char *subject, const char *payload) {
    OK(natsConnection_PublishString(nc, subject, payload));
}

static inline natsMsg *next(natsSubscription *sub) {
    natsMsg *msg;
    OK(natsSubscription_NextMsg(&msg, sub, PATIENCE_MS));
    return msg;
}

static inline int holds(natsMsg *msg, const void *payload, int length) {
    return natsMsg_GetDataLength(msg) == length && memcmp(natsMsg_GetData(msg), payload, length) == 0;
}

static inline void hears(natsSubscription *sub, const char *subject, const char *payload) {
    natsMsg *msg = next(sub);
    EXPECT(strcmp(natsMsg_GetSubject(msg), subject) == 0);
    EXPECT(holds(msg, payload, (int)strlen(payload)));
    natsMsg_Destroy(msg);
}

/* Nothing waits. The server has answered a PING since it was published. */
static inline void silent(natsConnection *nc, natsSubscription *sub) {
    uint64_t waiting;
    OK(natsConnection_Flush(nc));
    OK(natsSubscription_QueuedMsgs(sub, &waiting));
    EXPECT(waiting == 0);
    natsSubscription_Destroy(sub);
}

static inline void close_connection(natsConnection *nc) {
    natsConnection_Close(nc);
    natsConnection_Destroy(nc);
}

static inline int has_header(natsMsg *msg, const char *name, const char *expected) {
    const char *value;
    natsStatus status = natsMsgHeader_Get(msg, name, &value);
    return expected == NULL ? status == NATS_NOT_FOUND : status == NATS_OK && strcmp(value, expected) == 0;
}

/* Something that happens on a thread of the client's. */
static inline void happened(natsConnection *nc, void *event) {
    (void)nc;
    sem_post(event);
}

static inline int is(natsMsg *msg, const char *payload) {
    return holds(msg, payload, (int)strlen(payload));
}

static inline void too_long(int signal) {
    static const char words[] = "it takes too long\n";
    (void)signal;
    if (write(STDERR_FILENO, words, sizeof words - 1) >= 0)
        _exit(1);
}

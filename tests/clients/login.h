/* Who gets in: the part of check.c that needs users and certificates. The environment says which key
 * (NKEY, NKEY_SEED) and which authority (CA). */

/* Whoever comes with this is let in, and what they publish comes back. */
static void echoes(natsOptions *opts) {
    natsConnection *nc = connect_with(opts);
    natsSubscription *sub = subscribe_to(nc, "shop.orders");
    say(nc, "shop.orders", "mine");
    hears(sub, "shop.orders", "mine");
    silent(nc, sub);
    close_connection(nc);
}

static void refused(natsOptions *opts) {
    natsConnection *nc;
    OK(natsOptions_SetAllowReconnect(opts, false));
    ANSWERS(NATS_CONNECTION_AUTH_FAILED, natsConnection_Connect(&nc, opts));
    natsOptions_Destroy(opts);
}

static natsOptions *as_user(const char *name, const char *password) {
    natsOptions *opts = options();
    OK(natsOptions_SetUserInfo(opts, name, password));
    return opts;
}

static natsOptions *as_alice(void) {
    return as_user("alice", "alicealice");
}

static natsOptions *with_token(const char *token) {
    natsOptions *opts = options();
    OK(natsOptions_SetToken(opts, token));
    return opts;
}

static natsStatus sign(char **error, unsigned char **signature, int *length, const char *nonce, void *closure) {
    (void)error;
    (void)closure;
    return nats_Sign(getenv("NKEY_SEED"), nonce, signature, length);
}

static void forbidden(natsConnection *nc, natsSubscription *sub, natsStatus status, void *told) {
    (void)nc;
    (void)sub;
    if (status == NATS_NOT_PERMITTED)
        sem_post(told);
}

static void login(void) {
    refused(options());
    refused(as_user("alice", "wrong"));
    natsOptions *opts = options();
    OK(natsOptions_SetNKey(opts, getenv("NKEY"), sign, NULL));
    echoes(opts);
    echoes(as_alice());
    /* What she may not do is told, and nothing comes of it. */
    sem_t told;
    sem_init(&told, 0, 0);
    opts = as_alice();
    OK(natsOptions_SetErrorHandler(opts, forbidden, &told));
    natsConnection *nc = connect_with(opts);
    natsSubscription *orders = subscribe_to(nc, "shop.>");
    say(nc, "secret.plan", "x");
    OK(natsConnection_Flush(nc));
    sem_wait(&told);
    natsSubscription *secret = subscribe_to(nc, "secret.>");
    OK(natsConnection_Flush(nc));
    sem_wait(&told);
    say(nc, "shop.orders", "still here");
    hears(orders, "shop.orders", "still here");
    silent(nc, orders);
    natsSubscription_Destroy(secret);
    close_connection(nc);
}

static void login_again(void) {
    survive("please kill", 0, as_alice);
}

static void token(void) {
    refused(with_token("wrong"));
    echoes(with_token("a token"));
}

static void tls(void) {
    natsOptions *opts = options();
    OK(natsOptions_SetSecure(opts, true));
    OK(natsOptions_LoadCATrustedCertificates(opts, getenv("CA")));
    echoes(opts);
    /* A certificate that nobody vouches for. */
    natsConnection *nc;
    opts = options();
    OK(natsOptions_SetSecure(opts, true));
    OK(natsOptions_SetAllowReconnect(opts, false));
    ANSWERS(NATS_SSL_ERROR, natsConnection_Connect(&nc, opts));
    natsOptions_Destroy(opts);
}

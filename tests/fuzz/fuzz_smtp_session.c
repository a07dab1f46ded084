// module: smtp
/* A whole session against a server whose every byte comes from the input, over the simulated ring.
 * Byte 0 says what the session is to do, letters behind it what else it is: l LMTP, and s, p, o it
 * logs in by SCRAM-SHA-256, PLAIN or LOGIN, or OAuth; the rest is what the server sends, with
 * control bytes in between:
 *
 *     0 wait for bytes of the client's   1 FIN   2 RST   3 wait an hour   4 read no more   5 read
 * again
 *
 * Whatever comes: each transaction has one `done`, before `ended`; accepted only with `commit`;
 * bodies are given back. */
#include <netinet/in.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/ring/sim.h"
#include "engine/smtp/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TRANSACTIONS_MAX = 6, RECIPIENTS = 2 };

struct tx {
    struct smtp_transaction tx;
    struct smtp_recipient recipients[RECIPIENTS];
    struct iovec iov[2];
    char *body;
    bool done, committed;
};

struct world {
    struct slice input;
    struct ring_sim *sim;
    struct ring *ring;
    struct ring_sim_peer *peer;
    struct smtp_session *session;
    struct tx tx[TRANSACTIONS_MAX];
    unsigned planned, submitted;
    size_t body_bytes;
    bool waiting, gone, ended, closed;
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* ---- the server ---- */

static void server_go_on(struct world *world);

static void server_hour_over(struct ring_sim *sim, void *user)
{
    (void)sim;
    struct world *world = user;
    world->waiting = false;
    server_go_on(world);
}

/* Whether the server goes on with the next byte. */
static bool server_act(struct world *world, char act)
{
    switch (act) {
    case 0:
        return false;
    case 1:
    case 2:
        world->gone = true;
        ring_sim_peer_close(world->peer, act == 2);
        return false;
    case 3:
        world->waiting = true;
        ring_sim_at(world->sim, 3600000, server_hour_over, world);
        return false;
    default:
        ring_sim_peer_stall(world->peer, act == 4);
        return true;
    }
}

static void server_go_on(struct world *world)
{
    bool more = !world->waiting && !world->gone;
    while (more && world->input.len > 0) {
        size_t n = 0;
        while (n < world->input.len && (unsigned char)world->input.ptr[n] > 5)
            n++;
        ring_sim_peer_send(world->peer, slice_head(world->input, n));
        world->input = slice_skip(world->input, n);
        if (world->input.len > 0) {
            char act = world->input.ptr[0];
            world->input = slice_skip(world->input, 1);
            more = server_act(world, act);
        }
    }
}

static void on_peer_accepted(struct ring_sim_peer *peer)
{
    struct world *world = ring_sim_peer_user(peer);
    world->peer = peer;
    server_go_on(world);
}

static void on_peer_received(struct ring_sim_peer *peer, struct slice bytes)
{
    (void)bytes;
    server_go_on(ring_sim_peer_user(peer));
}

static const struct ring_sim_handlers server_handlers = { .accepted = on_peer_accepted,
                                                          .received = on_peer_received };

/* ---- the owner ---- */

static void submit(struct world *world)
{
    while (world->submitted < world->planned && smtp_session_room(world->session) > 0) {
        struct tx *tx = &world->tx[world->submitted++];
        tx->recipients[0].address = SLICE("a@d.example");
        tx->recipients[1].address = SLICE("b@d.example");
        tx->tx = (struct smtp_transaction){ .sender = SLICE("s@c.example"),
                                            .recipients = tx->recipients,
                                            .recipient_count = RECIPIENTS,
                                            .size_estimate = world->body_bytes };
        smtp_session_submit(world->session, &tx->tx);
    }
}

static struct tx *tx_of(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct tx *mine = CONTAINER_OF(tx, struct tx, tx);
    check(!mine->done && !((struct world *)smtp_session_user(session))->ended);
    return mine;
}

static void on_ready(struct smtp_session *session)
{
    submit(smtp_session_user(session));
}

static bool on_body(struct smtp_session *session, struct smtp_transaction *tx, bool chunked,
                    struct smtp_body *body, struct smtp_reply *reply)
{
    (void)chunked;
    (void)reply;
    struct tx *mine = tx_of(session, tx);
    size_t bytes = ((struct world *)smtp_session_user(session))->body_bytes;
    check(!mine->body);
    mine->body = mem_zalloc(bytes);
    mine->iov[0] = (struct iovec){ mine->body, bytes / 2 };
    mine->iov[1] = (struct iovec){ mine->body + bytes / 2, bytes - bytes / 2 };
    *body = (struct smtp_body){ mine->iov, 2, bytes };
    return true;
}

static void on_body_sent(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct tx *mine = tx_of(session, tx);
    check(mine->body);
    free(mine->body);
    mine->body = NULL;
}

static bool on_commit(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct tx *mine = tx_of(session, tx);
    check(!mine->committed && mine->body);
    return mine->committed = true;
}

static void on_recipient(struct smtp_session *session, struct smtp_transaction *tx, unsigned index,
                         const struct smtp_reply *reply)
{
    const struct smtp_recipient *recipient = &tx_of(session, tx)->recipients[index];
    check(recipient->code == reply->code && recipient->settled && reply->code >= 400);
}

static void on_done(struct smtp_session *session, struct smtp_transaction *tx,
                    enum smtp_tx_outcome outcome, const struct smtp_reply *reply)
{
    struct world *world = smtp_session_user(session);
    struct tx *mine = tx_of(session, tx);
    check(!mine->body);
    mine->done = true;
    for (unsigned i = 0; i < RECIPIENTS; i++)
        if (mine->recipients[i].settled)
            check(mine->recipients[i].code >= 400 || mine->committed);
    if (outcome == SMTP_TX_ACCEPTED)
        check(mine->committed && reply->origin == SMTP_PEER && reply->code / 100 == 2);
    if (outcome == SMTP_TX_UNSENT)
        check(!mine->committed);
    submit(world);
    if (world->submitted == world->planned && smtp_session_open_count(session) == 0)
        smtp_session_quit(session);
}

static void on_ended(struct smtp_session *session, const struct smtp_reply *reason, bool violation)
{
    (void)violation;
    struct world *world = smtp_session_user(session);
    check(!world->ended && reason->code >= 200 && reason->code <= 599);
    world->ended = true;
}

static void on_closed(struct smtp_session *session)
{
    struct world *world = smtp_session_user(session);
    check(world->ended && !world->closed);
    world->closed = true;
    smtp_session_destroy(&world->session);
}

static const struct smtp_session_events owner_events = {
    .ready = on_ready,
    .writable = on_ready,
    .body = on_body,
    .body_sent = on_body_sent,
    .commit = on_commit,
    .recipient = on_recipient,
    .done = on_done,
    .ended = on_ended,
    .closed = on_closed,
};

static bool is_closed(void *user)
{
    return ((struct world *)user)->closed;
}

static bool take_option(char letter, struct smtp_session_options *options, struct smtp_auth *auth)
{
    if (letter == 'l') {
        options->lmtp = true;
        return true;
    }
    auth->mechanisms = letter == 's'   ? SASL_SET(SASL_SCRAM_SHA_256)
                       : letter == 'p' ? SASL_SET(SASL_PLAIN) | SASL_SET(SASL_LOGIN)
                       : letter == 'o' ? SASL_SET_TOKEN
                                       : auth->mechanisms;
    if (letter != 's' && letter != 'p' && letter != 'o')
        return false;
    options->auth = auth;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    unsigned plan = data[0];
    struct smtp_session_options options = { .ehlo_name = "c.example",
                                            .depth = 1 + plan / 8 % 4,
                                            .no_pipelining = plan & 0x40,
                                            .no_chunking = plan & 0x20 };
    struct smtp_auth auth = { .identity = { .user = "u", .secret = "6f1c9a2e", .nonce = "n" },
                              .in_clear = true };
    struct slice input = slice_of(data + 1, size - 1);
    while (input.len > 0 && take_option(input.ptr[0], &options, &auth))
        input = slice_skip(input, 1);
    struct world world = { .input = input,
                           .planned = 1 + plan % TRANSACTIONS_MAX,
                           .body_bytes = plan & 0x80 ? 600000 : 100 };
    world.sim = ring_sim_create(1);
    ring_sim_set_link(world.sim, &(struct ring_sim_link){ .window_bytes = 200 });
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(25),
                                   .sin_addr.s_addr = htonl(0xc0000201) };
    ring_sim_listen(world.sim, (struct sockaddr *)&address, sizeof address, &server_handlers,
                    &world);
    check(ring_create(&world.ring,
                      &(struct ring_options){ .body = RING_BODY_SIM, .sim = world.sim }, NULL));
    world.session = smtp_session_create(world.ring, &owner_events, &options, &world);
    smtp_session_open(world.session, (struct sockaddr *)&address, sizeof address, NULL, 0);
    if (!ring_sim_run_until(world.ring, is_closed, &world)) {
        smtp_session_abort(world.session, "the input is over");
        check(ring_sim_run_until(world.ring, is_closed, &world));
    }
    for (unsigned i = 0; i < world.submitted; i++)
        check(world.tx[i].done);
    ring_sim_run_until(world.ring, NULL, NULL);
    ring_destroy(&world.ring);
    ring_sim_destroy(&world.sim);
    return 0;
}

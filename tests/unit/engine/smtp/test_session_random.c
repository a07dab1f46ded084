/* Sessions against a server that understands SMTP and misbehaves at random: it drops replies, sends
 * some too many, garbage, 421, FIN, RST, stops reading, waits. Its codes are always true to what it
 * does, so that what must hold can be said:
 *
 *  - each transaction has one `done`, before `ended`, and the owner's bodies are given back;
 *  - accepted on a session that had answered one reply per command means: the server has the whole
 * message, and said 2xx to it;
 *  - a message that the server took and answered with 2xx ends accepted or unknown, nothing else:
 * it is never sent again in the belief that it wasn't;
 *  - no body without an accepted recipient, no end-of-data that `commit` didn't allow, no byte of a
 * message changed. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/ring/sim.h"
#include "engine/smtp/session.h"
#include "tests/support/check_main.h"
#include "tests/unit/engine/base/random.h"

enum { TRANSACTIONS_MAX = 12, RECIPIENTS_MAX = 3, BODY_MAX = 700000 };

enum server_mode { MODE_COMMANDS, MODE_DATA, MODE_CHUNK };

struct server {
    struct ring_sim_peer *peer;
    struct buf input;
    enum server_mode mode;
    size_t chunk_left;
    bool chunk_last, greeted, mail, failed, dead;
    unsigned recipients;
    struct buf message;
    unsigned commands,
        replies;           /* since the connection began; the greeting is reply 1 to command 1 */
    bool surplus, dropped; /* ever */
};

struct tx {
    struct smtp_transaction tx;
    struct smtp_recipient recipients[RECIPIENTS_MAX];
    char addresses[RECIPIENTS_MAX][32];
    struct iovec iov[4];
    char *body; /* while out */
    size_t bytes;
    unsigned done;
    bool committed, withheld;
    bool server_complete, server_accepted; /* the server has it all · said 2xx to it */
    enum smtp_tx_outcome outcome;
};

struct world {
    uint64_t seed;
    struct rng rng;
    struct ring_sim *sim;
    struct ring *ring;
    struct smtp_session *session;
    struct server server;
    struct tx tx[TRANSACTIONS_MAX];
    unsigned planned, submitted;
    unsigned mischief; /* one step in so many goes wrong; 0: none */
    bool pipelining, chunking, ended, closed;
};

static bool chance(struct world *world, uint64_t one_in)
{
    return one_in > 0 && rng_below(&world->rng, one_in) == 0;
}

#define claim(world, holds, ...)                                                                   \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "seed 0x%llx: ", (unsigned long long)(world)->seed);                   \
            fprintf(stderr, __VA_ARGS__);                                                          \
            ck_abort_msg("%s (seed 0x%llx)", #holds, (unsigned long long)(world)->seed);           \
        }                                                                                          \
    } while (0)

/* ---- the server ---- */

static void server_drain(struct world *world);

/* The message that belongs to a number: its length and bytes follow from it. */
static char *make_body(const struct world *world, unsigned index, size_t bytes)
{
    char *body = mem_alloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        body[i] = (char)('a' + (i / 7 + index * 3 + world->seed) % 26);
    for (size_t i = 70; i + 1 < bytes; i += 72)
        memcpy(body + i, "\r\n", 2);
    snprintf(body, 12, "%08u\r\n", index);
    body[10] = 'x';
    memcpy(body + bytes - 2, "\r\n", 2);
    return body;
}

static void server_die(struct world *world, bool reset)
{
    world->server.dead = true;
    ring_sim_peer_close(world->server.peer, reset);
}

static void server_wake(struct ring_sim *sim, void *user)
{
    (void)sim;
    struct world *world = user;
    if (!world->server.dead)
        ring_sim_peer_stall(world->server.peer, false);
}

static void server_say(struct world *world, const char *text)
{
    ring_sim_peer_send(world->server.peer, slice_str(text));
}

/* Something wrong instead of, before or after a reply. Whether the reply itself is still to be
 * sent. */
static bool misbehave(struct world *world)
{
    struct server *server = &world->server;
    switch (rng_below(&world->rng, 9)) {
    case 0:
        server->dropped = true;
        return false;
    case 1:
        server->surplus = true;
        server_say(world, "250 one too many\r\n");
        return true;
    case 2:
        server_say(world, "421 closing\r\n");
        server_die(world, chance(world, 2));
        return false;
    case 3:
        server->surplus = true;
        server_say(world, chance(world, 2) ? "\x01\xff\r\n" : "2500 what\r\n");
        return true;
    case 4:
        server_die(world, chance(world, 2));
        return false;
    case 5:
        server->dead = true;
        ring_sim_peer_shutdown(server->peer);
        return false;
    case 6:
        server_say(world, "25");
        server_die(world, chance(world, 2));
        return false;
    case 7:
        ring_sim_peer_stall(server->peer, true);
        if (chance(world, 4))
            server->dead = true;
        ring_sim_at(world->sim, (int64_t)rng_below(&world->rng, 400000), server_wake, world);
        return true;
    default:
        server->surplus = true;
        server_say(world, "250-in the middle\r\n");
        return true;
    }
}

/* One reply for one command. */
static bool server_reply(struct world *world, const char *text)
{
    struct server *server = &world->server;
    server->commands++;
    if (chance(world, world->mischief) && !misbehave(world))
        return false;
    if (server->dead)
        return false;
    server->replies++;
    server_say(world, text);
    return true;
}

static struct tx *message_tx(struct world *world)
{
    struct slice message = buf_slice(&world->server.message);
    claim(world, message.len >= 12, "a message of %zu bytes\n", message.len);
    unsigned index = (unsigned)strtoul(message.ptr, NULL, 10);
    claim(world, index < world->submitted, "message %u\n", index);
    struct tx *tx = &world->tx[index];
    char *body = make_body(world, index, tx->bytes);
    claim(world, message.len == tx->bytes && memcmp(message.ptr, body, tx->bytes) == 0,
          "message %u changed\n", index);
    free(body);
    return tx;
}

/* The end-of-data has come. */
static void server_take_message(struct world *world)
{
    struct server *server = &world->server;
    bool open = server->mail && server->recipients > 0 && !server->failed;
    if (open) {
        struct tx *tx = message_tx(world);
        claim(world, tx->committed, "an end-of-data that wasn't allowed\n");
        claim(world, !tx->server_complete, "a message twice\n");
        tx->server_complete = true;
        if (chance(world, 8))
            server_reply(world, chance(world, 2) ? "550 5.7.1 spam\r\n" : "451 4.3.0 later\r\n");
        else
            tx->server_accepted = server_reply(world, "250 2.0.0 queued\r\n");
    } else {
        /* One reply too many makes up for one that's missing: 354 comes where it should. */
        claim(world,
              server->mode == MODE_CHUNK || server->message.len == 0 ||
                  (server->surplus && server->dropped),
              "a body for nobody\n");
        server_reply(world, "554 no valid recipients\r\n");
    }
    server->mail = server->failed = false;
    server->recipients = 0;
    buf_clear(&server->message);
}

static void server_command(struct world *world, struct slice line)
{
    struct server *server = &world->server;
    if (slice_starts_with(line, SLICE("EHLO ")) || slice_starts_with(line, SLICE("HELO "))) {
        char text[128];
        snprintf(text, sizeof text, "250-mx\r\n%s%s250 SIZE 800000\r\n",
                 world->pipelining ? "250-PIPELINING\r\n" : "",
                 world->chunking ? "250-CHUNKING\r\n" : "");
        server_reply(world, chance(world, 20) ? "502 what\r\n" : text);
    } else if (slice_starts_with(line, SLICE("MAIL "))) {
        bool ok = !server->mail && !chance(world, 12);
        server->mail = server->mail || ok;
        server_reply(world, ok ? "250 2.1.0 ok\r\n" : "450 no\r\n");
    } else if (slice_starts_with(line, SLICE("RCPT "))) {
        bool ok = server->mail && !chance(world, 4);
        server->recipients += ok;
        server_reply(world, ok ? "250 ok\r\n" : server->mail ? "550 5.1.1-no\r\n" : "503 no\r\n");
    } else if (slice_eq(line, SLICE("DATA"))) {
        bool ok =
            server->mail && (server->recipients > 0 || chance(world, 2)) && !chance(world, 12);
        if (ok)
            server->mode = MODE_DATA;
        server_reply(world, ok ? "354 go\r\n" : "554 no\r\n");
    } else if (slice_starts_with(line, SLICE("BDAT "))) {
        server->mode = MODE_CHUNK;
        server->chunk_left = strtoul(line.ptr + 5, NULL, 10);
        server->chunk_last = slice_ends_with(line, SLICE(" LAST"));
    } else if (slice_eq(line, SLICE("RSET"))) {
        server->mail = server->failed = false;
        server->recipients = 0;
        buf_clear(&server->message);
        server_reply(world, "250 ok\r\n");
    } else if (slice_eq(line, SLICE("QUIT"))) {
        if (server_reply(world, "221 bye\r\n") && chance(world, 2))
            server_die(world, false);
    } else {
        claim(world, false, "the client sent \"%.*s\"\n", SLICE_FMT(line));
    }
}

static bool server_drain_chunk(struct world *world)
{
    struct server *server = &world->server;
    struct slice input = buf_slice(&server->input);
    size_t n = MIN_OF(input.len, server->chunk_left);
    buf_append(&server->message, slice_head(input, n));
    buf_consume(&server->input, n);
    server->chunk_left -= n;
    if (server->chunk_left > 0)
        return false;
    if (server->chunk_last) {
        server_take_message(world);
    } else {
        bool ok = server->mail && server->recipients > 0 && !server->failed && !chance(world, 10);
        server->failed = server->failed || !ok;
        server_reply(world, ok ? "250 chunk\r\n" : "552 5.3.4 enough\r\n");
    }
    server->mode = MODE_COMMANDS;
    return true;
}

static bool server_drain_data(struct world *world)
{
    struct server *server = &world->server;
    struct slice input = buf_slice(&server->input);
    if (slice_starts_with(input, SLICE(".\r\n"))) {
        buf_consume(&server->input, 3);
    } else {
        const char *end = memmem(input.ptr, input.len, "\r\n.\r\n", 5);
        if (!end)
            return false;
        size_t n = (size_t)(end - input.ptr) + 2;
        buf_append(&server->message, slice_head(input, n));
        buf_consume(&server->input, n + 3);
    }
    server_take_message(world);
    server->mode = MODE_COMMANDS;
    return true;
}

static void server_drain(struct world *world)
{
    struct server *server = &world->server;
    bool more = true;
    while (more && !server->dead && server->input.len > 0) {
        if (server->mode == MODE_CHUNK) {
            more = server_drain_chunk(world);
        } else if (server->mode == MODE_DATA) {
            more = server_drain_data(world);
        } else {
            struct slice input = buf_slice(&server->input);
            const char *end = memmem(input.ptr, input.len, "\r\n", 2);
            more = end != NULL;
            if (more) {
                char *line = slice_dup(slice_head(input, (size_t)(end - input.ptr)));
                buf_consume(&server->input, strlen(line) + 2);
                server_command(world, slice_str(line));
                free(line);
            }
        }
        if (server->mode == MODE_CHUNK && server->chunk_left == 0)
            more = true;
    }
    if (server->mode == MODE_CHUNK && server->chunk_left == 0 && !server->dead)
        server_drain_chunk(world);
}

static void on_peer_accepted(struct ring_sim_peer *peer)
{
    struct world *world = ring_sim_peer_user(peer);
    world->server.peer = peer;
    server_reply(world, chance(world, 50) ? "554 no\r\n" : "220 mx\r\n");
}

static void on_peer_received(struct ring_sim_peer *peer, struct slice bytes)
{
    struct world *world = ring_sim_peer_user(peer);
    buf_append(&world->server.input, bytes);
    if (chance(world, world->mischief ? world->mischief * 4 : 0)) {
        ring_sim_peer_stall(peer, true);
        ring_sim_at(world->sim, (int64_t)rng_below(&world->rng, 300000), server_wake, world);
    }
    server_drain(world);
}

static const struct ring_sim_handlers server_handlers = { .accepted = on_peer_accepted,
                                                          .received = on_peer_received };

/* ---- the owner ---- */

static void submit(struct world *world)
{
    struct tx *tx = &world->tx[world->submitted];
    unsigned recipients = 1 + (unsigned)rng_below(&world->rng, RECIPIENTS_MAX);
    for (unsigned i = 0; i < recipients; i++) {
        snprintf(tx->addresses[i], sizeof tx->addresses[i], "r%u.%u@d.example", world->submitted,
                 i);
        tx->recipients[i].address = slice_str(tx->addresses[i]);
    }
    tx->bytes = chance(world, 12) ? 100000 + rng_below(&world->rng, BODY_MAX - 100000)
                                  : 16 + rng_below(&world->rng, 5000);
    tx->tx = (struct smtp_transaction){ .sender = SLICE("a@c.example"),
                                        .recipients = tx->recipients,
                                        .recipient_count = recipients,
                                        .size_estimate = chance(world, 20) ? 900000 : tx->bytes };
    world->submitted++;
    smtp_session_submit(world->session, &tx->tx);
}

static void submit_some(struct world *world)
{
    while (world->submitted < world->planned && smtp_session_room(world->session) > 0 &&
           !chance(world, 5))
        submit(world);
}

static void sometimes_interfere(struct world *world)
{
    if (chance(world, 200))
        smtp_session_abort(world->session, "at random");
    if (chance(world, 100))
        smtp_session_quit(world->session);
    if (chance(world, 20))
        smtp_session_set_depth(world->session, (unsigned)rng_below(&world->rng, 6));
}

static void on_ready(struct smtp_session *session)
{
    struct world *world = smtp_session_user(session);
    sometimes_interfere(world);
    submit_some(world);
}

static void on_writable(struct smtp_session *session)
{
    submit_some(smtp_session_user(session));
}

static struct tx *tx_of(struct world *world, struct smtp_transaction *tx)
{
    struct tx *mine = CONTAINER_OF(tx, struct tx, tx);
    claim(world, mine->done == 0 && !world->ended, "a callback after done or ended\n");
    return mine;
}

static bool on_body(struct smtp_session *session, struct smtp_transaction *tx, bool chunked,
                    struct smtp_body *body, struct smtp_reply *reply)
{
    struct world *world = smtp_session_user(session);
    struct tx *mine = tx_of(world, tx);
    claim(world, !mine->body, "body twice\n");
    sometimes_interfere(world);
    if (chance(world, 40)) {
        *reply = smtp_reply_local(SMTP_PHASE_BODY, 451, (struct smtp_enhanced){ 4, 3, 1 },
                                  SLICE("no memory"));
        return false;
    }
    (void)chunked;
    mine->body = make_body(world, (unsigned)(mine - world->tx), mine->bytes);
    size_t at = 0;
    for (unsigned i = 0; i < 4; i++) {
        size_t n = i == 3 ? mine->bytes - at : rng_below(&world->rng, mine->bytes - at + 1);
        mine->iov[i] = (struct iovec){ mine->body + at, n };
        at += n;
    }
    *body = (struct smtp_body){ mine->iov, 4, mine->bytes };
    return true;
}

static void on_body_sent(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct world *world = smtp_session_user(session);
    struct tx *mine = tx_of(world, tx);
    claim(world, mine->body, "body_sent without a body\n");
    free(mine->body);
    mine->body = NULL;
    memset(mine->iov, 0, sizeof mine->iov);
    sometimes_interfere(world);
}

static bool on_commit(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct world *world = smtp_session_user(session);
    struct tx *mine = tx_of(world, tx);
    claim(world, !mine->committed && !mine->withheld && mine->body,
          "commit twice, or without a body\n");
    mine->withheld = chance(world, 40);
    mine->committed = !mine->withheld;
    sometimes_interfere(world);
    return mine->committed;
}

static void on_recipient(struct smtp_session *session, struct smtp_transaction *tx, unsigned index,
                         const struct smtp_reply *reply)
{
    struct world *world = smtp_session_user(session);
    struct tx *mine = tx_of(world, tx);
    claim(world, index < mine->tx.recipient_count && reply->code >= 400, "recipient %u\n", index);
    sometimes_interfere(world);
}

static void on_done(struct smtp_session *session, struct smtp_transaction *tx,
                    enum smtp_tx_outcome outcome, const struct smtp_reply *reply)
{
    struct world *world = smtp_session_user(session);
    struct tx *mine = tx_of(world, tx);
    const struct server *server = &world->server;
    mine->done++;
    mine->outcome = outcome;
    claim(world, !mine->body, "done with the body out\n");
    claim(world, reply && reply->code >= 200 && reply->code <= 599, "done without a reply\n");
    if (outcome == SMTP_TX_ACCEPTED) {
        claim(world, mine->committed && reply->origin == SMTP_PEER && reply->code < 300,
              "accepted out of nothing\n");
        if (!server->surplus)
            claim(world, mine->server_complete, "accepted, and the server doesn't have it\n");
        if (!server->surplus && !server->dropped)
            claim(world, mine->server_accepted, "accepted, and the server refused it\n");
    }
    if (outcome == SMTP_TX_UNKNOWN)
        claim(world, mine->committed, "unknown without commit\n");
    if (outcome == SMTP_TX_UNSENT)
        claim(world, !mine->committed, "unsent, but committed\n");
    sometimes_interfere(world);
    submit_some(world);
    if (world->submitted == world->planned && smtp_session_open_count(session) == 0)
        smtp_session_quit(session);
}

static void on_ended(struct smtp_session *session, const struct smtp_reply *reason, bool violation)
{
    struct world *world = smtp_session_user(session);
    claim(world, !world->ended, "ended twice\n");
    world->ended = true;
    if (violation)
        claim(world, world->server.surplus || world->server.dropped || world->server.dead,
              "an honest server blamed: %.*s\n", SLICE_FMT(reason->text));
}

static void on_closed(struct smtp_session *session)
{
    struct world *world = smtp_session_user(session);
    claim(world, world->ended && !world->closed, "closed without ended\n");
    world->closed = true;
    smtp_session_destroy(&world->session);
}

static const struct smtp_session_events owner_events = {
    .ready = on_ready,
    .writable = on_writable,
    .body = on_body,
    .body_sent = on_body_sent,
    .commit = on_commit,
    .recipient = on_recipient,
    .done = on_done,
    .ended = on_ended,
    .closed = on_closed,
};

/* ---- one world per seed ---- */

static bool is_closed(void *user)
{
    return ((struct world *)user)->closed;
}

static void check_outcomes(struct world *world)
{
    for (unsigned i = 0; i < world->submitted; i++) {
        const struct tx *tx = &world->tx[i];
        claim(world, tx->done == 1, "transaction %u has %u dones\n", i, tx->done);
        bool kept = tx->outcome == SMTP_TX_ACCEPTED || tx->outcome == SMTP_TX_UNKNOWN;
        /* A surplus reply moves all that follow: then only accepted, unknown and refused can be
         * told apart by nobody. */
        if (tx->server_accepted && !world->server.surplus && !world->server.dropped)
            claim(world, kept, "transaction %u: taken by the server, outcome %d\n", i,
                  (int)tx->outcome);
        if (tx->server_complete)
            claim(world, tx->outcome != SMTP_TX_UNSENT,
                  "transaction %u: unsent, and the server has it\n", i);
    }
}

static unsigned outcomes[SMTP_TX_UNKNOWN + 1];

static void play_seed(uint64_t seed)
{
    struct world *world = mem_zalloc(sizeof *world);
    world->seed = seed;
    rng_seed(&world->rng, seed);
    world->planned = 1 + (unsigned)rng_below(&world->rng, TRANSACTIONS_MAX);
    world->mischief = chance(world, 4) ? 0 : 5 + (unsigned)rng_below(&world->rng, 60);
    world->pipelining = !chance(world, 4);
    world->chunking = chance(world, 2);
    world->sim = ring_sim_create(seed);
    struct ring_sim_link link = { .random_pieces = chance(world, 2),
                                  .to_peer_ms = (int64_t)rng_below(&world->rng, 20),
                                  .to_ring_ms = (int64_t)rng_below(&world->rng, 20),
                                  .window_bytes = rng_below(&world->rng, 20000) };
    ring_sim_set_link(world->sim, &link);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(25),
                                   .sin_addr.s_addr = htonl(0xc0000201) };
    ring_sim_listen(world->sim, (struct sockaddr *)&address, sizeof address, &server_handlers,
                    world);
    ck_assert(ring_create(
        &world->ring, &(struct ring_options){ .body = RING_BODY_SIM, .sim = world->sim }, NULL));
    struct smtp_session_options options = { .ehlo_name = "c.example",
                                            .depth = (unsigned)rng_below(&world->rng, 7) };
    world->session = smtp_session_create(world->ring, &owner_events, &options, world);
    smtp_session_open(world->session, (struct sockaddr *)&address, sizeof address, NULL, 0);
    while (!world->closed) {
        if (ring_sim_run_until(world->ring, is_closed, world))
            break;
        if (smtp_session_room(world->session) > 0 && world->submitted < world->planned)
            submit(world); /* an owner that has nothing for a while, and then has */
        else
            smtp_session_quit(world->session);
    }
    check_outcomes(world);
    for (unsigned i = 0; i < world->submitted; i++)
        outcomes[world->tx[i].outcome]++;
    ring_sim_run_until(world->ring, NULL, NULL);
    ring_destroy(&world->ring);
    ring_sim_destroy(&world->sim);
    buf_free(&world->server.input);
    buf_free(&world->server.message);
    free(world);
}

START_TEST(no_behaviour_of_a_server_gives_two_outcomes_or_a_wrong_one)
{
    const char *rounds_text = getenv("EILPOST_ROUNDS");
    unsigned long rounds = rounds_text ? strtoul(rounds_text, NULL, 10) : 3000;
    uint64_t seed = test_seed("session_random");
    for (unsigned long i = 0; i < rounds; i++)
        play_seed(seed + i);
    printf("session_random: %u accepted, %u refused, %u without recipient, %u unsent, %u unknown\n",
           outcomes[SMTP_TX_ACCEPTED], outcomes[SMTP_TX_REFUSED], outcomes[SMTP_TX_NO_RECIPIENT],
           outcomes[SMTP_TX_UNSENT], outcomes[SMTP_TX_UNKNOWN]);
    if (rounds >= 3000)
        for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
            ck_assert_uint_gt(outcomes[i], 0);
}
END_TEST

int main(void)
{
    return check_main(
        SUITE_OF("session_random", no_behaviour_of_a_server_gives_two_outcomes_or_a_wrong_one));
}

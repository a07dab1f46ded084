#pragma once
/* A played SMTP server for one session over the simulated ring. A script lists, in order, the exact
 * bytes that the client must send and what the server does; what the session tells its owner is
 * written down as one line and compared:
 *
 *     ready; body0; commit0; sent0; done0 accepted 250@dot; ended 221@quit
 *
 * where "chunk0" is `body` for BDAT, "~421@dot" a local reply, and "!" at the end a violation. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/ring/sim.h"
#include "engine/smtp/session.h"
#include "tests/support/check_main.h"

enum step_kind {
    STEP_NONE,
    STEP_CLIENT,
    STEP_BODY_BYTES,
    STEP_SAY,
    STEP_WAIT,
    STEP_CLOSE,
    STEP_HALF_CLOSE,
    STEP_RESET,
    STEP_STALL,
    STEP_READ,
    STEP_TLS,
    STEP_DEAF
};
struct step {
    enum step_kind kind;
    const char *text;
    long number;
};
#define C(text)                                                                                    \
    {                                                                                              \
        STEP_CLIENT, text, 0                                                                       \
    } /* the client sends exactly this, and nothing more before the next S */
#define BODY(bytes)                                                                                \
    {                                                                                              \
        STEP_BODY_BYTES, NULL, bytes                                                               \
    } /* … the next bytes of the large body */
#define S(text)                                                                                    \
    {                                                                                              \
        STEP_SAY, text, 0                                                                          \
    }
#define WAIT(ms)                                                                                   \
    {                                                                                              \
        STEP_WAIT, NULL, ms                                                                        \
    }
#define CLOSE                                                                                      \
    {                                                                                              \
        STEP_CLOSE, NULL, 0                                                                        \
    }
#define HALF_CLOSE                                                                                 \
    {                                                                                              \
        STEP_HALF_CLOSE, NULL, 0                                                                   \
    }
#define RESET                                                                                      \
    {                                                                                              \
        STEP_RESET, NULL, 0                                                                        \
    }
#define STALL                                                                                      \
    {                                                                                              \
        STEP_STALL, NULL, 0                                                                        \
    } /* reads nothing from here on */
#define READ                                                                                       \
    {                                                                                              \
        STEP_READ, NULL, 0                                                                         \
    }

#define TLS                                                                                        \
    {                                                                                              \
        STEP_TLS, NULL, 0                                                                          \
    } /* speaks TLS from here on */
#define DEAF                                                                                       \
    {                                                                                              \
        STEP_DEAF, NULL, 0                                                                         \
    } /* drops what the client sends from here on */

#define HELLO(keywords)                                                                            \
    S("220 mx.example\r\n"), C("EHLO c.example\r\n"),                                              \
        S("250-mx.example\r\n" keywords "250 HELP\r\n")
#define PIPE "250-PIPELINING\r\n"
#define CHUNK "250-PIPELINING\r\n250-CHUNKING\r\n"
#define MAIL "MAIL FROM:<a@c.example>\r\n"
#define RCPT "RCPT TO:<r0@d.example>\r\n"
#define RCPT1 "RCPT TO:<r1@d.example>\r\n"
#define MSG "T: x\r\n\r\nhi\r\n" /* 12 bytes */
#define LAST "BDAT 12 LAST\r\n" MSG
#define QUIT C("QUIT\r\n"), S("221 bye\r\n")
#define OK3 "250 ok\r\n250 ok\r\n354 go\r\n"
#define ENVELOPE C(MAIL RCPT "DATA\r\n")
/* Pieces of logs. */
#define SENT "body0; commit0; sent0; "
#define SENT1 "body1; commit1; sent1; "
#define QUITTED "ended 221@quit"

struct script {
    const char *name;
    struct step steps[28];
    const char *log;
    unsigned transactions, depth, recipients; /* 0: 1 */
    unsigned submit_max;                      /* at once; 0: as many as there's room for */
    unsigned decline;                         /* so many offers of room */
    bool stay;                                /* don't quit after the last transaction */
    bool whole_only; /* what happens depends on what arrives in one piece */
    bool null_sender, body_8bit, utf8;
    size_t size_estimate, body_bytes, window;
    unsigned withhold, no_body; /* `commit`, `body` say no for this transaction, counted from 1 */
    const char *abort_on, *quit_on; /* when this is written down */
    enum smtp_tls_mode tls;
    bool no_pipelining, no_chunking, lmtp, requiretls;
    const struct smtp_auth *auth;
    struct smtp_timeouts timeouts;
    struct smtp_reply_limits limits;
    int64_t ended_ms; /* virtual time of `ended`; 0: not looked at */
};

#define SCRIPT_RECIPIENTS 4

struct script_tx {
    struct smtp_transaction tx;
    struct smtp_recipient recipients[SCRIPT_RECIPIENTS];
    struct iovec iov[3];
    char *body;
    bool open, body_out;
};

struct play;

/* How the server speaks TLS, from the test that links OpenSSL. */
struct play_security {
    struct tls_context *context; /* the client's */
    void (*start)(struct play *play);
    void (*take)(struct play *play,
                 struct slice bytes); /* ciphertext; puts plaintext into play->received */
    void (*say)(struct play *play, struct slice text);
};

struct play {
    const struct script *script;
    const struct play_security *security;
    bool secure, deaf;
    struct ring_sim *sim;
    struct ring *ring;
    struct smtp_session *session;
    struct ring_sim_peer *peer;
    const struct step *step;
    struct buf received; /* by the server, not yet expected */
    size_t body_at;
    struct buf log;
    struct script_tx tx[16];
    unsigned submitted, finished, declined;
    bool closed;
    int64_t ended_ms;
    unsigned ended_count;
};

/* ---- the server ---- */

static void server_advance(struct play *play);

static void server_after_wait(struct ring_sim *sim, void *user)
{
    (void)sim;
    struct play *play = user;
    play->step++;
    server_advance(play);
}

static char *large_body(size_t bytes)
{
    char *body = mem_alloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        body[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : (char)('a' + i / 64 % 26);
    ck_assert_uint_eq(bytes % 64, 0);
    body[bytes] = '\0';
    return body;
}

/* Whether the client has sent what the step wants; fails as soon as it can't any more. */
static bool server_expects(struct play *play, struct slice want)
{
    struct slice have = buf_slice(&play->received);
    size_t n = MIN_OF(have.len, want.len);
    ck_assert_msg(n == 0 || memcmp(have.ptr, want.ptr, n) == 0,
                  "%s: step %ld: wanted \"%.*s\", got \"%.*s\"; log: %s", play->script->name,
                  (long)(play->step - play->script->steps), (int)MIN_OF(want.len, (size_t)200),
                  want.ptr, (int)MIN_OF(have.len, (size_t)200), have.ptr, buf_cstr(&play->log));
    if (have.len < want.len)
        return false;
    buf_consume(&play->received, want.len);
    return true;
}

static bool server_expects_body(struct play *play, size_t bytes)
{
    if (play->received.len < bytes)
        return false;
    char *body = large_body(play->script->body_bytes);
    bool ok = server_expects(play, slice_of(body + play->body_at, bytes));
    free(body);
    if (ok)
        play->body_at = (play->body_at + bytes) % play->script->body_bytes;
    return ok;
}

static void server_advance(struct play *play)
{
    for (;; play->step++) {
        switch (play->step->kind) {
        case STEP_CLIENT:
            if (!server_expects(play, slice_str(play->step->text)))
                return;
            break;
        case STEP_BODY_BYTES:
            if (!server_expects_body(play, (size_t)play->step->number))
                return;
            break;
        case STEP_SAY:
            ck_assert_msg(play->received.len == 0, "%s: step %ld: more than expected: \"%.200s\"",
                          play->script->name, (long)(play->step - play->script->steps),
                          buf_cstr(&play->received));
            if (play->secure)
                play->security->say(play, slice_str(play->step->text));
            else
                ring_sim_peer_send(play->peer, slice_str(play->step->text));
            break;
        case STEP_TLS:
            play->secure = true;
            play->security->start(play);
            break;
        case STEP_DEAF:
            play->deaf = true;
            break;
        case STEP_WAIT:
            ring_sim_at(play->sim, play->step->number, server_after_wait, play);
            return;
        case STEP_CLOSE:
            ring_sim_peer_close(play->peer, false);
            break;
        case STEP_HALF_CLOSE:
            ring_sim_peer_shutdown(play->peer);
            break;
        case STEP_RESET:
            ring_sim_peer_close(play->peer, true);
            break;
        case STEP_STALL:
            ring_sim_peer_stall(play->peer, true);
            break;
        case STEP_READ:
            ring_sim_peer_stall(play->peer, false);
            break;
        case STEP_NONE:
            return;
        }
    }
}

static void server_accepted(struct ring_sim_peer *peer)
{
    struct play *play = ring_sim_peer_user(peer);
    play->peer = peer;
    server_advance(play);
}

static void server_received(struct ring_sim_peer *peer, struct slice bytes)
{
    struct play *play = ring_sim_peer_user(peer);
    if (play->secure)
        play->security->take(play, bytes);
    else if (!play->deaf)
        buf_append(&play->received, bytes);
    if (play->step->kind != STEP_WAIT)
        server_advance(play);
}

static const struct ring_sim_handlers server_handlers = { .accepted = server_accepted,
                                                          .received = server_received };

/* ---- the owner ---- */

static void note(struct play *play, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note(struct play *play, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    buf_printf(&play->log, "%s%s", play->log.len ? "; " : "", text);
    if (play->script->abort_on && strcmp(text, play->script->abort_on) == 0)
        smtp_session_abort(play->session, "test");
    if (play->script->quit_on && strcmp(text, play->script->quit_on) == 0)
        smtp_session_quit(play->session);
}

static const char *reply_text(const struct smtp_reply *reply)
{
    static char text[64]; /* shown before the next call */
    snprintf(text, sizeof text, "%s%u@%s", reply->origin == SMTP_LOCAL ? "~" : "", reply->code,
             smtp_phase_name(reply->phase));
    ck_assert(reply->text.len > 0 || reply->origin == SMTP_PEER);
    return text;
}

static unsigned index_of(struct play *play, struct smtp_transaction *tx)
{
    struct script_tx *mine = CONTAINER_OF(tx, struct script_tx, tx);
    ck_assert(mine->open);
    return (unsigned)(mine - play->tx);
}

static void submit_more(struct play *play)
{
    const struct script *script = play->script;
    unsigned transactions = script->transactions ? script->transactions : 1;
    unsigned most = script->submit_max ? script->submit_max : UINT32_MAX;
    for (; most > 0 && play->submitted < transactions && smtp_session_room(play->session) > 0;
         most--) {
        struct script_tx *mine = &play->tx[play->submitted++];
        memset(&mine->tx, 0xa5, sizeof mine->tx);
        unsigned recipients = script->recipients ? script->recipients : 1;
        static const char *const names[] = { "r0@d.example", "r1@d.example", "r2@d.example",
                                             "r3@d.example" };
        for (unsigned i = 0; i < recipients; i++)
            mine->recipients[i] =
                (struct smtp_recipient){ .address = slice_str(names[i]), .code = 999 };
        mine->tx.sender = script->null_sender ? SLICE("") : SLICE("a@c.example");
        mine->tx.recipients = mine->recipients;
        mine->tx.recipient_count = recipients;
        mine->tx.size_estimate = script->size_estimate;
        mine->tx.body_8bit = script->body_8bit;
        mine->tx.needs_smtputf8 = script->utf8;
        mine->open = true;
        smtp_session_submit(play->session, &mine->tx);
    }
}

static void on_ready(struct smtp_session *session)
{
    struct play *play = smtp_session_user(session);
    note(play, "ready");
    submit_more(play);
}

static void on_writable(struct smtp_session *session)
{
    struct play *play = smtp_session_user(session);
    ck_assert_uint_gt(smtp_session_room(session), 0);
    if (play->declined < play->script->decline)
        play->declined++;
    else
        submit_more(play);
}

static bool on_body(struct smtp_session *session, struct smtp_transaction *tx, bool chunked,
                    struct smtp_body *body, struct smtp_reply *reply)
{
    struct play *play = smtp_session_user(session);
    unsigned index = index_of(play, tx);
    struct script_tx *mine = &play->tx[index];
    note(play, "%s%u", chunked ? "chunk" : "body", index);
    if (play->script->no_body == index + 1) {
        *reply =
            smtp_reply_local(SMTP_PHASE_BODY, 554, (struct smtp_enhanced){ 5, 6, 0 }, SLICE("no"));
        return false;
    }
    ck_assert(!mine->body_out);
    mine->body_out = true;
    /* On the heap and freed at body_sent, so that a touch after it is seen. */
    size_t bytes = play->script->body_bytes;
    mine->body = bytes ? large_body(bytes) : slice_dup(SLICE(MSG));
    bytes = bytes ? bytes : strlen(MSG);
    size_t cut = bytes / 3;
    mine->iov[0] = (struct iovec){ mine->body, cut };
    mine->iov[1] = (struct iovec){ mine->body + cut, 0 };
    mine->iov[2] = (struct iovec){ mine->body + cut, bytes - cut };
    *body = (struct smtp_body){ mine->iov, 3, bytes };
    return true;
}

static void on_body_sent(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct play *play = smtp_session_user(session);
    unsigned index = index_of(play, tx);
    ck_assert(play->tx[index].body_out);
    play->tx[index].body_out = false;
    free(play->tx[index].body);
    memset(play->tx[index].iov, 0, sizeof play->tx[index].iov);
    note(play, "sent%u", index);
}

static bool on_commit(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct play *play = smtp_session_user(session);
    unsigned index = index_of(play, tx);
    note(play, "commit%u", index);
    return play->script->withhold != index + 1;
}

static void on_recipient(struct smtp_session *session, struct smtp_transaction *tx, unsigned index,
                         const struct smtp_reply *reply)
{
    struct play *play = smtp_session_user(session);
    ck_assert_uint_eq(tx->recipients[index].code, reply->code);
    note(play, "rcpt%u.%u %s", index_of(play, tx), index, reply_text(reply));
}

static void on_done(struct smtp_session *session, struct smtp_transaction *tx,
                    enum smtp_tx_outcome outcome, const struct smtp_reply *reply)
{
    static const char *const names[] = { "accepted", "refused", "no-recipient", "unsent",
                                         "unknown" };
    struct play *play = smtp_session_user(session);
    unsigned index = index_of(play, tx);
    struct script_tx *mine = &play->tx[index];
    ck_assert(!mine->body_out);
    ck_assert_uint_eq(play->ended_count, 0);
    mine->open = false;
    memset(&mine->tx, 0x5a, sizeof mine->tx); /* the session must not look at it any more */
    play->finished++;
    note(play, "done%u %s %s", index, names[outcome], reply_text(reply));
    unsigned transactions = play->script->transactions ? play->script->transactions : 1;
    if (play->finished == transactions && !play->script->stay)
        smtp_session_quit(session);
}

static void on_ended(struct smtp_session *session, const struct smtp_reply *reason, bool violation)
{
    struct play *play = smtp_session_user(session);
    note(play, "ended %s%s", reply_text(reason), violation ? "!" : "");
    play->ended_count++;
    play->ended_ms = ring_now_ms(play->ring);
    ck_assert_uint_eq(smtp_session_open_count(session), 0);
    ck_assert_uint_eq(smtp_session_room(session), 0);
}

static void on_closed(struct smtp_session *session)
{
    struct play *play = smtp_session_user(session);
    play->closed = true;
    smtp_session_destroy(&play->session);
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

/* ---- the play ---- */

static bool play_closed(void *user)
{
    return ((struct play *)user)->closed;
}

static struct sockaddr_in server_address(void)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons(25),
                                 .sin_addr.s_addr = htonl(0xc0000201) /* 192.0.2.1 */ };
}

/* How the bytes travel: whole, byte by byte, in random pieces with latency. */
static const struct ring_sim_link script_links[] = {
    { .window_bytes = 0 },
    { .piece_bytes = 1 },
    { .random_pieces = true, .to_peer_ms = 3, .to_ring_ms = 4 },
};

static inline void play_secured(const struct script *script, const struct ring_sim_link *link,
                                uint64_t seed, const struct play_security *security)
{
    struct play play = { .script = script, .step = script->steps, .security = security };
    struct err err;
    play.sim = ring_sim_create(seed);
    struct ring_sim_link with_window = *link;
    with_window.window_bytes = script->window;
    ring_sim_set_link(play.sim, &with_window);
    struct sockaddr_in address = server_address();
    ring_sim_listen(play.sim, (struct sockaddr *)&address, sizeof address, &server_handlers, &play);
    ck_assert_msg(ring_create(&play.ring,
                              &(struct ring_options){ .body = RING_BODY_SIM, .sim = play.sim },
                              &err),
                  "%s", err.text);
    struct smtp_session_options options = {
        .timeouts = &script->timeouts,
        .limits = script->limits.total_bytes_max ? &script->limits : NULL,
        .ehlo_name = "c.example",
        .tls_mode = script->tls,
        .tls = { .context = security ? security->context : NULL, .server_name = "mx.test.example" },
        .no_pipelining = script->no_pipelining,
        .no_chunking = script->no_chunking,
        .lmtp = script->lmtp,
        .requiretls = script->requiretls,
        .auth = script->auth,
        .depth = script->depth,
    };
    play.session = smtp_session_create(play.ring, &owner_events, &options, &play);
    smtp_session_open(play.session, (struct sockaddr *)&address, sizeof address, NULL, 0);
    if (!ring_sim_run_until(play.ring, play_closed, &play)) {
        smtp_session_abort(play.session, "the script is over");
        ck_assert(ring_sim_run_until(play.ring, play_closed, &play));
    }
    ring_sim_run_until(play.ring, NULL, NULL); /* what the session may still have left behind */
    ck_assert_msg(strcmp(buf_cstr(&play.log), script->log) == 0, "%s:\nwanted %s\ngot    %s",
                  script->name, script->log, buf_cstr(&play.log));
    ck_assert_msg(play.step->kind == STEP_NONE || play.step->kind == STEP_CLIENT,
                  "%s: stopped at step %ld", script->name, (long)(play.step - script->steps));
    ck_assert_msg(play.step->kind == STEP_NONE, "%s: the client never sent \"%s\"", script->name,
                  play.step->text);
    ck_assert_msg(play.received.len == 0, "%s: the client also sent \"%.200s\"", script->name,
                  buf_cstr(&play.received));
    ck_assert_uint_eq(play.ended_count, 1);
    ck_assert_uint_eq(play.finished, play.submitted);
    if (script->ended_ms)
        ck_assert_msg(play.ended_ms == script->ended_ms, "%s: ended at %ld ms", script->name,
                      (long)play.ended_ms);
    ring_destroy(&play.ring);
    ring_sim_destroy(&play.sim);
    buf_free(&play.received);
    buf_free(&play.log);
}

static inline void play_script(const struct script *script, const struct ring_sim_link *link,
                               uint64_t seed)
{
    play_secured(script, link, seed, NULL);
}

/* ---- tables ---- */

static inline void play_in_all_ways(const struct script *script,
                                    const struct play_security *security)
{
    size_t ways = script->whole_only ? 1 : ARRAY_LEN(script_links);
    for (size_t way = 0; way < ways; way++)
        play_secured(script, &script_links[way], 1 + way, security);
}

/* A loop test over a table of scripts, each played whole, byte by byte, and in random pieces. */
#define TABLE_TEST(claim, table) TABLE_TEST_WITH(claim, table, NULL, (void)0)
#define TABLE_TEST_WITH(claim, table, secured, before)                                             \
    START_TEST(claim)                                                                              \
    {                                                                                              \
        before;                                                                                    \
        play_in_all_ways(&(table)[_i], secured);                                                   \
    }                                                                                              \
    END_TEST

static inline void add_table(Suite *suite, const char *name, const TTest *test, size_t count)
{
    TCase *table = tcase_create(name);
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, test, 0, (int)count);
    suite_add_tcase(suite, table);
}

/* AUTH (RFC 4954): between EHLO and the first transaction. The mechanisms are engine/net/sasl.h's;
 * here their responses become lines, and what the server says becomes challenges or the end.
 *
 * Everything that goes wrong ends the session: there's no sending without the login that was asked
 * for, and no second mechanism after a refusal, since the server has said no to the user, not to
 * the mechanism. A session without TLS doesn't get as far as naming a mechanism. */
#include <stdio.h>
#include <string.h>

#include "engine/smtp/session_internal.h"

enum {
    COMMAND_BYTES_MAX = 512, /* RFC 5321, 4.5.3.1.4: holds for AUTH with its first response, too */
    LINE_BYTES_MAX = 12288,  /* RFC 4954, 4 */
};

static const struct smtp_reply_limits challenge_limits = { .line_bytes_max = LINE_BYTES_MAX,
                                                           .lines_max = 128,
                                                           .total_bytes_max = 65536 };

/* 454: about this server and now; the message keeps waiting, or goes another way. */
static void fail(struct smtp_session *session, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void fail(struct smtp_session *session, const char *fmt, ...)
{
    char raw[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(raw, sizeof raw, fmt, args);
    va_end(args);
    struct buf text = BUF_EMPTY;
    smtp_text_append_clean(&text, slice_str(raw));
    struct smtp_reply reply =
        smtp_reply_local(SMTP_PHASE_AUTH, 454, (struct smtp_enhanced){ 4, 7, 0 }, buf_slice(&text));
    session_end(session, &reply, false);
    buf_free(&text);
}

void session_auth_end(struct smtp_session *session)
{
    sasl_destroy(&session->sasl);
    /* Back to the limits of other replies. */
    session->parser.limits =
        session->options.limits ? session->options.limits : &smtp_reply_limits_default;
}

static void append_names(struct buf *out, unsigned set)
{
    for (unsigned i = 0; i < SASL_MECHANISMS; i++)
        if (set & SASL_SET(i))
            buf_printf(out, "%s%s", out->len ? " " : "", sasl_mechanism_name(i));
    if (out->len == 0)
        buf_append(out, SLICE("none that is known here"));
}

/* The mechanism for this peer; on false the session is ending. */
static bool choose(struct smtp_session *session, enum sasl_mechanism *mechanism)
{
    const struct smtp_auth *auth = session->options.auth;
    unsigned allowed = auth->mechanisms ? auth->mechanisms : SASL_SET_PASSWORD;
    if (!stream_secure(&session->stream) && !auth->in_clear) {
        fail(session, "the login isn't sent without TLS, which the server doesn't offer");
        return false;
    }
    if (!(session->capabilities.offered & SMTP_CAP_AUTH)) {
        fail(session, "the server doesn't offer AUTH");
        return false;
    }
    if (sasl_set_strongest(allowed & session->capabilities.mechanisms, mechanism))
        return true;
    struct buf theirs = BUF_EMPTY, ours = BUF_EMPTY;
    append_names(&theirs, session->capabilities.mechanisms);
    append_names(&ours, allowed);
    fail(session, "the server offers AUTH with %s, allowed is %s", buf_cstr(&theirs),
         buf_cstr(&ours));
    buf_free(&theirs);
    buf_free(&ours);
    return false;
}

/* "AUTH MECHANISM [RESPONSE]": the response goes with it unless the line would be too long. */
static void send_command(struct smtp_session *session)
{
    const char *name = sasl_mechanism_name(sasl_mechanism(session->sasl));
    struct buf initial = BUF_EMPTY;
    bool fits = false;
    if (sasl_speaks_first(session->sasl) &&
        sasl_initial_bytes(session->sasl) <=
            (COMMAND_BYTES_MAX - strlen("AUTH  \r\n") - strlen(name)) / 4 * 3) {
        buf_reserve(&initial, sasl_initial_bytes(session->sasl)); /* no copies in freed memory */
        sasl_initial(session->sasl, &initial);
        fits = true;
    }
    struct slice response = buf_slice(&initial);
    session_flight_auth(session, name, fits ? &response : NULL);
    sasl_wipe(&initial);
    buf_free(&initial);
}

void session_auth_start(struct smtp_session *session)
{
    if (!session->options.auth) {
        session_opening_ready(session);
        return;
    }
    enum sasl_mechanism mechanism;
    struct err err;
    if (!choose(session, &mechanism))
        return;
    if (!sasl_start(&session->sasl, mechanism, &session->options.auth->identity, &err)) {
        fail(session, "AUTH %s: %s", sasl_mechanism_name(mechanism), err.text);
        return;
    }
    session_set_state(session, SESSION_AUTH);
    session->parser.limits = &challenge_limits;
    send_command(session);
    session_arm(session);
}

/* There's no answer: says so ("*", RFC 4954, 4), and ends with `why` when the server has replied.
 */
static void cancel(struct smtp_session *session, const char *why)
{
    struct smtp_reply reply =
        smtp_reply_local(SMTP_PHASE_AUTH, 454, (struct smtp_enhanced){ 4, 7, 0 }, slice_str(why));
    kept_reply_set(&session->refusal, &reply);
    session->auth_cancelled = true;
    session_flight_plain(session, SLICE("*"));
}

static void challenged(struct smtp_session *session, struct slice text)
{
    struct buf challenge = BUF_EMPTY, response = BUF_EMPTY;
    struct err err;
    bool ok = sasl_decode(&challenge, slice_trim(text)) ||
              err_set(&err, ERR_PROTO, "a challenge that isn't Base64");
    ok = ok && sasl_challenge(session->sasl, buf_slice(&challenge), &response, &err);
    if (ok)
        session_flight_response(session, buf_slice(&response));
    else
        cancel(session, err.text);
    sasl_wipe(&response);
    buf_free(&response);
    buf_free(&challenge);
}

static void accepted(struct smtp_session *session)
{
    struct err err;
    if (!sasl_success(session->sasl, &err)) {
        fail(session, "AUTH: %s", err.text);
        return;
    }
    session_auth_end(session);
    session_opening_ready(session);
}

/* The server's words, and what it said before in a challenge (RFC 7628, 3.2.2). */
static void refused(struct smtp_session *session, const struct smtp_reply *reply)
{
    struct slice error = sasl_error(session->sasl);
    struct smtp_reply told = *reply;
    struct buf text = BUF_EMPTY;
    if (error.len > 0) {
        buf_append(&text, reply->text);
        buf_append(&text, SLICE(" / "));
        buf_append(&text, error);
        told.text = buf_slice(&text);
    }
    session_end(session, &told, false);
    buf_free(&text);
}

void session_auth_reply(struct smtp_session *session, const struct smtp_reply *reply)
{
    if (session->auth_cancelled)
        session_end(session, &session->refusal.reply, false);
    else if (reply->code >= 400)
        refused(session, reply);
    else if (reply->code == 334)
        challenged(session, reply->text);
    else if (reply->code == 235)
        accepted(session);
    else
        session_violation(session, "AUTH answered with code %u", reply->code);
}

/* From the connection to SESSION_READY: greeting, EHLO or HELO, STARTTLS; AUTH is session_auth.c's.
 * One command at a time; a byte that comes behind a reply before the next command has been sent is
 * a violation. */
#include "engine/smtp/session_internal.h"

static void hello(struct smtp_session *session, enum session_state next)
{
    session->capabilities = session->offered = (struct smtp_capabilities){ 0 };
    session_set_state(session, next);
    session_flight_hello(session, next == SESSION_HELO    ? SLICE("HELO")
                                  : session->options.lmtp ? SLICE("LHLO")
                                                          : SLICE("EHLO"));
    session_arm(session);
}

static void handshake(struct smtp_session *session)
{
    session_set_state(session, SESSION_HANDSHAKE);
    session->tls_us = ring_clock_us(session->stream.socket.ring);
    stream_tls_start(&session->stream, &session->options.tls);
    session->options.tls.resume = NULL; /* the stream's now */
}

void session_opening_connected(struct smtp_session *session)
{
    if (session->events->connected)
        session->events->connected(session);
    if (session->options.tls_mode == SMTP_TLS_IMPLICIT)
        handshake(session);
    else
        session_set_state(session, SESSION_GREETING);
    session_arm(session);
}

void session_opening_secured(struct smtp_session *session)
{
    session->tls_us = ring_clock_us(session->stream.socket.ring) - session->tls_us;
    if (session->options.tls_mode == SMTP_TLS_IMPLICIT) {
        session_set_state(session, SESSION_GREETING);
        session_arm(session);
        return;
    }
    /* What the server said before TLS may be anybody's words (RFC 3207, 4.2): forgotten, and asked
     * again. */
    hello(session, SESSION_EHLO);
}

/* RFC 8689, 4.2.1: without TLS and the server's word the message mustn't go this way. */
static bool requiretls_kept(struct smtp_session *session)
{
    bool secure = stream_secure(&session->stream);
    if (!session->options.requiretls ||
        (secure && (session->capabilities.offered & SMTP_CAP_REQUIRETLS)))
        return true;
    struct smtp_reply reply =
        smtp_reply_local(SMTP_PHASE_EHLO, 550, (struct smtp_enhanced){ 5, 7, 30 },
                         secure ? SLICE("REQUIRETLS is needed and the server doesn't offer it")
                                : SLICE("REQUIRETLS is needed and the server doesn't offer TLS"));
    session_end(session, &reply, false);
    return false;
}

void session_opening_ready(struct smtp_session *session)
{
    session_set_state(session, SESSION_READY);
    session->events->ready(session);
    /* An owner that was just told and submitted nothing has nothing. */
    session->room_told = session->open_count == 0;
}

static void require_tls_failed(struct smtp_session *session)
{
    struct smtp_reply reply =
        smtp_reply_local(SMTP_PHASE_STARTTLS, 454, (struct smtp_enhanced){ 4, 7, 10 },
                         SLICE("TLS is required and not offered"));
    session_end(session, &reply, false);
}

/* After EHLO or HELO: TLS next, or ready. */
static void greeted(struct smtp_session *session)
{
    enum smtp_tls_mode mode = session->options.tls_mode;
    bool wanted = (mode == SMTP_TLS_OPPORTUNISTIC || mode == SMTP_TLS_REQUIRED) &&
                  !stream_secure(&session->stream);
    if (wanted && (session->capabilities.offered & SMTP_CAP_STARTTLS)) {
        session_set_state(session, SESSION_STARTTLS);
        session_flight_plain(session, SLICE("STARTTLS"));
        session_arm(session);
    } else if (wanted && mode == SMTP_TLS_REQUIRED) {
        require_tls_failed(session);
    } else if (requiretls_kept(session)) {
        session_auth_start(session);
    }
}

static void greeting_reply(struct smtp_session *session, const struct smtp_reply *reply)
{
    if (reply->code / 100 == 2)
        hello(session, SESSION_EHLO);
    else if (reply->code >= 400) /* 421: later; 554, 521: not here (RFC 7504) */
        session_end(session, reply, false);
    else
        session_violation(session, "greeted with code %u", reply->code);
}

static void hello_reply(struct smtp_session *session, const struct smtp_reply *reply)
{
    bool extended = session->state == SESSION_EHLO;
    if (reply->code / 100 == 2) {
        session->capabilities = session->offered;
        if (extended)
            session->capabilities.offered |= SMTP_CAP_ESMTP;
        greeted(session);
    } else if (reply->code >= 500 && extended && !session->options.lmtp) {
        hello(session, SESSION_HELO);
    } else if (reply->code >= 400) {
        session_end(session, reply, false);
    } else {
        session_violation(session, "%s answered with code %u",
                          !extended               ? "HELO"
                          : session->options.lmtp ? "LHLO"
                                                  : "EHLO",
                          reply->code);
    }
}

/* Opportunistic: TLS was offered, but isn't to be had now. */
static void plain_after_all(struct smtp_session *session)
{
    if (requiretls_kept(session))
        session_auth_start(session);
}

static void starttls_reply(struct smtp_session *session, const struct smtp_reply *reply)
{
    if (reply->code == 220)
        handshake(session);
    else if (reply->code == 421 ||
             (reply->code >= 400 && session->options.tls_mode == SMTP_TLS_REQUIRED))
        session_end(session, reply, false);
    else if (reply->code >= 400)
        plain_after_all(session);
    else
        session_violation(session, "STARTTLS answered with code %u", reply->code);
}

void session_opening_reply(struct smtp_session *session, const struct smtp_reply *reply, bool more)
{
    /* Also what makes a plaintext that somebody slipped in behind the 220 to STARTTLS harmless. */
    if (more && reply->code != 421) {
        session_violation(session, "more than was asked for behind %s",
                          session_phase_awaits(session_phase(session)));
        return;
    }
    if (session->flight_active) { /* before it could be asked: a refusal is believed, and nothing
                                     else is tried */
        if (reply->code >= 400)
            session_end(session, reply, false);
        else
            session_violation(session, "answered before it was asked");
        return;
    }
    if (session->state == SESSION_GREETING)
        greeting_reply(session, reply);
    else if (session->state == SESSION_STARTTLS)
        starttls_reply(session, reply);
    else if (session->state == SESSION_AUTH)
        session_auth_reply(session, reply);
    else
        hello_reply(session, reply);
}

#pragma once
/* SMTP replies (RFC 5321, 4.2; RFC 3463). One structure whether a peer sent it or we made it (DESIGN, decision 12):
 * a time-out, a refused connection or a DNS failure is a reply with origin SMTP_LOCAL. */
#include "engine/base/err.h"
#include "engine/base/slice.h"

enum smtp_origin { SMTP_PEER, SMTP_LOCAL };

/** Where in the dialogue a reply belongs: what was asked when it came (or failed to come). */
enum smtp_phase {
    SMTP_PHASE_DNS,
    SMTP_PHASE_CONNECT,
    SMTP_PHASE_GREETING,
    SMTP_PHASE_EHLO, /* HELO too */
    SMTP_PHASE_STARTTLS,
    SMTP_PHASE_TLS,
    SMTP_PHASE_MAIL,
    SMTP_PHASE_RCPT,
    SMTP_PHASE_DATA,  /* DATA, waiting for 354 */
    SMTP_PHASE_BODY,  /* sending the body, end-of-data not sent yet */
    SMTP_PHASE_DOT,   /* end-of-data (or BDAT LAST) sent */
    SMTP_PHASE_RSET,
    SMTP_PHASE_IDLE,
    SMTP_PHASE_QUIT,
};
const char *smtp_phase_name(enum smtp_phase phase);

struct smtp_enhanced { /* RFC 3463; class 0: none was given */
    uint8_t klass;
    uint16_t subject, detail;
};

struct smtp_reply {
    uint16_t code; /* 200…599 */
    enum smtp_origin origin;
    enum smtp_phase phase;
    struct smtp_enhanced enhanced; /* only kept if its class equals the code's first digit */
    struct slice text; /* lines joined by " / ", without codes and enhanced codes; printable; valid during the callback that shows it */
};

/** A reply of our own: `text` must outlive it. code 4xx or 5xx. */
struct smtp_reply smtp_reply_local(enum smtp_phase phase, unsigned code, struct smtp_enhanced enhanced, struct slice text);
/** "550 5.1.1 user unknown" into out (always NUL-terminated); returns the length. */
size_t smtp_reply_format(const struct smtp_reply *reply, char *out, size_t room);

struct smtp_reply_limits {
    size_t line_bytes_max;  /* 4096 */
    size_t lines_max;       /* 128 */
    size_t total_bytes_max; /* 65536 */
};

/** Collects a reply from pieces of any size. Idle, it holds no memory but itself. */
struct smtp_reply_parser;

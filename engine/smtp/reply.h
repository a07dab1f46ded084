#pragma once
/* SMTP replies (RFC 5321, 4.2; RFC 3463). One structure whether a peer sent it or we made it
 * (DESIGN, decision 12): a time-out, a refused connection or a DNS failure is a reply with origin
 * SMTP_LOCAL. */
#include "engine/base/buf.h"
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
    SMTP_PHASE_AUTH,
    SMTP_PHASE_MAIL,
    SMTP_PHASE_RCPT,
    SMTP_PHASE_DATA, /* DATA, waiting for 354 */
    SMTP_PHASE_BODY, /* sending the body, end-of-data not sent yet */
    SMTP_PHASE_DOT,  /* end-of-data (or BDAT LAST) sent */
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
    struct slice text; /* lines joined by " / ", without codes and enhanced codes; printable; valid
                          during the callback that shows it */
};

/** A reply of our own: `text` must outlive it. code 4xx or 5xx. */
struct smtp_reply smtp_reply_local(enum smtp_phase phase, unsigned code,
                                   struct smtp_enhanced enhanced, struct slice text);
/** "550 5.1.1 user unknown" into out (always NUL-terminated); returns the length. A text that
 *  doesn't fit is cut between two characters. */
size_t smtp_reply_format(const struct smtp_reply *reply, char *out, size_t room);
/** Appends `text` as printable UTF-8: control characters (C0, DEL, C1, line separators, changes of
 *  direction) become '?', what isn't UTF-8 becomes U+FFFD. */
void smtp_text_append_clean(struct buf *out, struct slice text);

struct smtp_reply_limits {
    size_t line_bytes_max;  /* 4096, CRLF included */
    size_t lines_max;       /* 128 */
    size_t total_bytes_max; /* 65536 */
};
extern const struct smtp_reply_limits smtp_reply_limits_default;

/**
 * Collects a reply from pieces of any size. Idle, it holds no memory but itself.
 * Lines end in CRLF or in LF alone: servers that send bare LFs exist, and whoever could abuse it is
 * the peer that writes the replies anyway. "250", "250 " and "250-" without a text are replies; a
 * code outside 200…599, a separator other than ' ' or '-', or codes that differ within a reply are
 * not.
 */
struct smtp_reply_parser {
    const struct smtp_reply_limits *limits;
    /** May be set: shown each line of a reply, raw, without its code; `number` counts from 0. */
    void (*line)(struct smtp_reply_parser *parser, struct slice text, unsigned number);
    /* private */
    struct buf partial; /* a line whose end hasn't come yet */
    struct buf text;    /* the lines so far, where they can't be shown in place */
    size_t bytes;
    unsigned lines;
    uint16_t code;
    struct smtp_enhanced enhanced;
};

enum smtp_parsed {
    SMTP_PARSED_MORE,  /* all of `bytes` was taken; the reply isn't complete */
    SMTP_PARSED_REPLY, /* `reply` is filled but for `phase`; its text is valid until the next call
                        */
    SMTP_PARSED_BAD,   /* not a reply, or beyond a limit; `err` says why. No use in going on */
};

/** `limits` outlives the parser; NULL takes the defaults. */
void smtp_reply_parser_init(struct smtp_reply_parser *parser,
                            const struct smtp_reply_limits *limits);
/** Takes bytes off the front of `bytes` up to the end of one reply. */
enum smtp_parsed smtp_reply_parser_feed(struct smtp_reply_parser *parser, struct slice *bytes,
                                        struct smtp_reply *reply, struct err *err);
/** Whether no part of a reply has been seen since the last whole one. */
bool smtp_reply_parser_idle(const struct smtp_reply_parser *parser);
/** Frees the buffers of an idle parser (the last reply's text with them); else does nothing. */
void smtp_reply_parser_trim(struct smtp_reply_parser *parser);
void smtp_reply_parser_deinit(struct smtp_reply_parser *parser);

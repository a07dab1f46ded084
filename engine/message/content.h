#pragma once
/* Content: headers, text and HTML with {{fields}}, compiled once per submission into segments,
 * rendered per recipient by copying (DESIGN, decision 11). Immutable after compile; one worker's.
 * engine/message/README.md describes the JSON form:
 *
 *   {"headers": {"From": "Shop <news@shop.example>", "To": "{{name}} <{{email}}>", "Subject":
 * "Hello {{name}}", …} or [["From", "…"], …], "text": "…", "html": "…"}                          or
 * {"raw": "…"} / {"raw_base64": "…"}
 *
 * `email` is always a field: the recipient's address. Raw messages have no fields.
 */
#include "engine/base/arena.h"
#include "engine/base/err.h"
#include "engine/base/slice.h"
#include "engine/message/dkim.h"
#include <sys/uio.h>

struct message_content;

struct message_limits {
    size_t content_bytes_max; /* 0: 80 MiB */
    size_t fields_max;        /* 0: 256 */
};

/** Compiles the "content" object of a submission. On false `err` says what and where ("html, line
 * 3, column 7: …"). */
MUST_USE bool message_content_compile(struct message_content **out, struct slice json,
                                      const struct message_limits *limits, struct err *err);
void message_content_destroy(struct message_content **content);

/** The names of the merge fields without "email", in the order of first appearance: headers in
 * their order, text, html. Deterministic, so that every node maps names to the same positions. */
const struct slice *message_content_fields(const struct message_content *content, size_t *count);

struct message_recipient {
    struct slice address;
    const struct slice *values; /* one per field */
    size_t value_count;         /* fewer than fields: the rest is empty */
};

/** By whom messages are signed, and when. */
struct message_signing {
    struct dkim_signer *signer;
    struct slice tenant;
    int64_t now_s; /* since 1970 */
};

struct message_stamp { /* what a message gets that no template says; the same on every retry of a
                          job */
    int64_t date_ms;   /* wall clock: Date */
    struct slice id; /* job id, unique: Message-ID "<ID@DOMAIN>"; letters, digits and -._+= only, as
                        the domain */
    struct slice id_domain;                /* domain of Message-ID */
    const struct message_signing *signing; /* NULL: nobody */
};

/** Output of a rendering: iovecs over pooled blocks and over the content's own static parts.
 * Reusable. */
struct message_blocks; /* a worker's pool of blocks, capped */
struct message_blocks *message_blocks_create(size_t block_bytes, size_t bytes_max);
void message_blocks_destroy(struct message_blocks **blocks);
size_t message_blocks_in_use(const struct message_blocks *blocks); /* bytes */

struct message_output {
    struct iovec *iov;
    unsigned iov_count; /* may pass IOV_MAX (1024) when values are huge: send in portions */
    size_t bytes;
    void *blocks; /* private */
    struct message_blocks *pool;
};

enum message_transfer { MESSAGE_DATA /* dot-stuffed */, MESSAGE_CHUNK /* as it is */ };

/** Renders the whole message with CRLF line ends, ending in CRLF (without the final dot). False
 * when the pool is exhausted (ERR_LIMIT: try later) or a value can't go where the template puts it
 * (ERR_INPUT, e.g. CR or LF in an address header). The content must outlive `out`. */
MUST_USE bool message_render(const struct message_content *content,
                             const struct message_recipient *recipient,
                             const struct message_stamp *stamp, enum message_transfer transfer,
                             struct message_blocks *pool, struct message_output *out,
                             struct err *err);
/** Gives the blocks back. */
void message_output_release(struct message_output *out);

/** Upper estimate of the rendered size in bytes, for SIZE= (RFC 1870). */
size_t message_size_estimate(const struct message_content *content,
                             const struct message_recipient *recipient);
/** Whether the body needs 8BITMIME (raw 8-bit messages only: what we build is 7-bit). */
bool message_is_8bit(const struct message_content *content);
/** Whether rendering for this recipient puts UTF-8 into address headers or the envelope, so that
 * SMTPUTF8 is needed. */
bool message_needs_smtputf8(const struct message_content *content,
                            const struct message_recipient *recipient);

#pragma once
/* What the sink can learn of a message's content besides its end: the Message-ID, a digest of the
 * bytes without transparency dots, and whether the client broke the rules for lines. All of it is
 * optional: it costs CPU. */
#include <openssl/evp.h>

#include "bench/sink/counters.h"
#include "engine/base/buf.h"

struct content_options {
    bool id;      /* keep the beginning, to find Message-ID or X-Job in it */
    bool digest;  /* SHA-256 */
    bool inspect; /* count bare CR, bare LF and long lines */
};

enum content_place { CONTENT_LINE_START, CONTENT_IN_LINE, CONTENT_CR, CONTENT_DOT, CONTENT_DOT_CR };

struct content {
    struct content_options options;
    struct buf head;
    EVP_MD_CTX *digest;
    enum content_place place;
    size_t line_bytes;
};

void content_init(struct content *content, struct content_options options);
void content_deinit(struct content *content);
/** Before a message's first byte. */
void content_start(struct content *content);
/** Bytes as received; `stuffed` for DATA: dots are removed, and the terminator isn't part of the
 * digest. */
void content_feed(struct content *content, struct slice bytes, bool stuffed,
                  struct sink_counters *counters);
/** The Message-ID, or X-Job, of the message fed since content_start; empty if not found or not
 * asked for. */
struct slice content_id(const struct content *content);
/** The digest in 64 hex digits in `out`; empty if not asked for. Once per message. */
struct slice content_digest(struct content *content, char out[static 65]);

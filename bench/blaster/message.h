#pragma once
/* What a blaster's flights are made of: one body that all messages share, and envelopes copied from
 * a template in which only digits change. */
#include <sys/uio.h>

#include "bench/blaster/blaster.h"
#include "engine/base/buf.h"

struct envelope {
    char text[320];
    size_t len, reset_len; /* reset_len: of the RSET in front, which a flight's first message goes
                              without */
    size_t number_at, domain_at;
};

struct message_template {
    struct envelope envelope;
    struct buf body; /* content, then the dot line */
    size_t content_bytes;
    unsigned to_domains;
};

#define ENVELOPE_NUMBER_DIGITS 10
#define ENVELOPE_DOMAIN_DIGITS 6

MUST_USE bool message_template_init(struct message_template *template,
                                    const struct blaster_options *options, struct err *err);
void message_template_free(struct message_template *template);
/** Writes message `number`'s envelope to `out` (room for sizeof envelope.text); returns its length.
 */
size_t message_envelope(const struct message_template *template, uint64_t number, bool with_reset,
                        char *out);

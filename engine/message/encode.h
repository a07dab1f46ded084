#pragma once
/* Content encodings: quoted-printable for bodies (RFC 2045, 6.7), encoded words for headers (RFC
 * 2047), base64. */
#include "engine/base/buf.h"

enum {
    QP_COLUMNS_MAX = 75, /* what a line may hold in front of a soft break's "=" */
    QP_ROOM_MIN = 32,    /* an encoder with less room stops */
    HEADER_COLUMNS = 76, /* where header lines are folded, if they can be (RFC 2047, 2; RFC 5322
                            would allow 78) */
    ENCODED_WORD_BYTES_MAX = 75,
};

/** Where a line stands; all zero at the start of a line. */
struct qp_state {
    unsigned column;
    bool blank; /* the last byte is a literal blank, which must not end a line */
};

enum qp_escape { QP_TEXT, QP_HTML };

/**
 * Encodes from the front of `in`, taking off what was encoded, into at most `room` bytes at `out`,
 * and returns how many it wrote; stops only when `in` is empty or the room left is less than
 * QP_ROOM_MIN. Line ends (CRLF, CR or LF) become CRLF. No line begins with "." or "From ", not even
 * when another run continues it. Bytes that are not UTF-8, and NUL, become U+FFFD. With QP_HTML, &
 * < > " ' become character references.
 */
size_t qp_encode(struct qp_state *state, struct slice *in, char *out, size_t room,
                 enum qp_escape escape);

/** Upper bound of what qp_encode makes of `text`. */
size_t qp_bytes_max(struct slice text);

/** Appends valid UTF-8 without controls as encoded words, folding; `*column` is the line's, and is
 * kept. */
void encoded_words_append(struct buf *out, size_t *column, struct slice text);

/** Appends one piece that stays together behind a blank, or behind a fold where the line would get
 * too long. */
void fold_append(struct buf *out, size_t *column, struct slice piece);

/** Appends `in` with what isn't UTF-8 replaced by U+FFFD and controls by blanks; false when `buf`
 * is full. */
MUST_USE bool clean_text_append(struct buf *out, struct slice in);

/** Decodes base64 (RFC 4648; line breaks and blanks are skipped) and appends it; false when it
 * isn't any. */
MUST_USE bool base64_decode(struct slice in, struct buf *out);

#pragma once
/* What a compiled content is made of; shared by the compiler (content.c, body.c, raw.c) and the
 * renderer. */
#include "engine/message/content.h"
#include "engine/message/encode.h"
#include "engine/message/header.h"

enum segment_kind {
    SEGMENT_BYTES,    /* as they are; they end at the end of a line */
    SEGMENT_QP,       /* quoted-printable text, encoded as from the start of a line */
    SEGMENT_TEXT,     /* a field in the text part */
    SEGMENT_HTML,     /* a field in the HTML part */
    SEGMENT_HEADER,   /* a header with fields: headers[field] */
    SEGMENT_DATE,     /* the Date header */
    SEGMENT_ID,       /* the Message-ID header */
    SEGMENT_PART_END, /* behind a part of a multipart: the next segment begins with the delimiter's
                         CRLF */
    SEGMENT_BODY_END, /* behind the only part: its last line gets its end */
    SEGMENT_RAW,      /* a raw message, in the form that the transfer needs */
};

struct segment {
    uint8_t kind;
    uint8_t head_columns; /* QP: length of the first line, without a soft break; 0: it begins with a
                             line end */
    uint8_t tail_column;  /* QP with a line break: where it ends */
    bool has_break : 1;   /* QP: more than one line */
    bool tail_blank : 1;  /* QP: ends in a literal blank */
    uint32_t field;       /* TEMPLATE_FIELD_EMAIL, or a position in fields or headers */
    uint32_t at, len;     /* BYTES, QP: in bytes */
};

struct message_content {
    struct arena arena;
    struct buf bytes; /* all static bytes, one behind the other */
    struct segment *segments;
    size_t segment_count, segment_room;
    struct header_field *headers; /* those with fields */
    size_t header_count;
    const struct slice *fields;
    size_t field_count;
    struct slice
        raw[2]; /* by enum message_transfer; the same bytes unless a line begins with a dot */
    char *raw_bytes, *raw_stuffed;
    struct dkim_body_hash *body_hash; /* NULL: bodies differ; filled by the first signature */
    bool is_8bit;
    bool utf8_headers; /* whatever the recipient */
};

/** Appends a segment; returns it, valid until the next one is appended. */
struct segment *content_segment_add(struct message_content *content, enum segment_kind kind);
/** Appends static bytes that end at the end of a line, joined to the last segment if that is of the
 * same kind. */
void content_bytes_add(struct message_content *content, struct slice bytes);
#define content_literal_add(content, literal) content_bytes_add(content, SLICE(literal))

/** Compiles the parts: MIME headers, the bodies, delimiters. `text` or `html` may have ptr NULL:
 * not given. */
MUST_USE bool body_compile(struct message_content *content, struct slice text, struct slice html,
                           const char boundary[static 17], struct template_fields *fields,
                           struct err *err);

/** Checks and repairs a raw message (README, "Raw messages"). */
MUST_USE bool raw_compile(struct message_content *content, struct slice raw, struct err *err);

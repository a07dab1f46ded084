#pragma once
/* Header fields: which may be given and how their values are written (RFC 5322, 2047, 6532). A
 * field is compiled once; one without merge fields is rendered at once, too, and its bytes are used
 * for every recipient. */
#include "engine/base/buf.h"
#include "engine/message/template.h"

enum {
    HEADER_NAME_BYTES_MAX = 76,
    HEADER_VALUE_BYTES_MAX = 16384, /* with its values filled in, before encoding */
    HEADER_LINE_BYTES_MAX = 998,    /* RFC 5322, 2.1.1 */
    HEADER_WORD_BYTES_MAX = 900, /* what can't be folded, so that a line stays below the maximum */
};

enum header_kind {
    HEADER_UNSTRUCTURED, /* text: encoded words where it isn't plain ASCII */
    HEADER_STRUCTURED,   /* a syntax of its own: printable ASCII as it is */
    HEADER_ADDRESSES,    /* a list of mailboxes */
};

struct mailbox {
    struct template_pieces name; /* text, unquoted; empty: none */
    struct template_pieces address;
};

struct header_field {
    struct slice name;
    enum header_kind kind;
    struct template_pieces value; /* not for HEADER_ADDRESSES, but for a group without members */
    struct mailbox *mailboxes;
    size_t mailbox_count;
};

/** A recipient's values. */
struct merge_values {
    struct slice email;
    const struct slice *list;
    size_t count;
};

static inline struct slice merge_value(const struct merge_values *values, uint32_t field)
{
    if (field == TEMPLATE_FIELD_EMAIL)
        return values->email;
    return field < values->count && values->list[field].ptr ? values->list[field] : SLICE("");
}

/** Whether the field is an `ftext` name that a submission may give; else `err` says why not. */
MUST_USE bool header_name_check(struct slice name, struct err *err);
/** Whether a message has this field at most once (RFC 5322, 3.6). */
bool header_is_unique(struct slice name);

/** Compiles NAME: VALUE; all that it keeps lives in the arena of `fields`, but for `name`, which
 * must last as long. */
MUST_USE bool header_compile(struct slice name, struct slice value, struct template_fields *fields,
                             struct header_field *out, struct err *err);

bool header_has_fields(const struct header_field *field);

/**
 * Appends the whole field, folded, with its CRLF. `scratch` is for its use. False (ERR_INPUT) when
 * a value can't stand here; `out` then holds a part.
 */
MUST_USE bool header_render(const struct header_field *field, const struct merge_values *values,
                            struct buf *scratch, struct buf *out, struct err *err);

/** Upper bound of the rendered size. */
size_t header_bytes_max(const struct header_field *field, const struct merge_values *values);

/** Whether rendering puts a local part that isn't ASCII into this field. */
bool header_needs_utf8(const struct header_field *field, const struct merge_values *values);

/** Parses the pieces of an address header into mailboxes (private to the module's header code). */
MUST_USE bool mailboxes_compile(const struct template_pieces *pieces, struct arena *arena,
                                struct header_field *out, struct err *err);
MUST_USE bool mailboxes_render(const struct header_field *field, const struct merge_values *values,
                               struct buf *scratch, struct buf *out, struct err *err);

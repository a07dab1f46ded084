/* Header fields but for the mailboxes of address fields (mailbox.c). A value is data: whatever it
 * holds, it stays inside its field. In text, line breaks and controls become blanks and everything
 * that isn't plain ASCII becomes encoded words; in a field with a syntax, what doesn't fit is
 * refused. */
#include "engine/message/header.h"

#include <stdio.h>

#include "engine/base/utf8.h"
#include "engine/message/encode.h"

static bool in_list(struct slice name, const char *const *list)
{
    for (; *list; list++)
        if (slice_eq_nocase(name, slice_str(*list)))
            return true;
    return false;
}

static enum header_kind kind_of(struct slice name)
{
    static const char *const addresses[] = { "From", "Sender", "Reply-To", "To", "Cc", NULL };
    static const char *const structured[] = {
        "Date",         "References",       "In-Reply-To", "Auto-Submitted", "Precedence",
        "Importance",   "Feedback-ID",      "Priority",    "Expires",        "X-Priority",
        "CFBL-Address", "CFBL-Feedback-ID", NULL,
    };
    if (in_list(name, addresses))
        return HEADER_ADDRESSES;
    if (in_list(name, structured) || slice_starts_with_nocase(name, SLICE("List-")))
        return HEADER_STRUCTURED;
    return HEADER_UNSTRUCTURED;
}

bool header_is_unique(struct slice name)
{
    static const char *const unique[] = { "From", "Sender",     "Reply-To",    "To",      "Cc",
                                          "Date", "References", "In-Reply-To", "Subject", NULL };
    return in_list(name, unique);
}

bool header_name_check(struct slice name, struct err *err)
{
    static const char *const ours[] = { "Message-ID", "MIME-Version", "DKIM-Signature", NULL };
    static const char *const never[] = { "Bcc", "Resent-Bcc", "Return-Path", "Received", NULL };
    if (name.len == 0)
        return err_set(err, ERR_INPUT, "a header without a name");
    if (name.len > HEADER_NAME_BYTES_MAX)
        return err_set(err, ERR_INPUT, "a header's name is longer than %d characters",
                       HEADER_NAME_BYTES_MAX);
    if (name.ptr[0] == '.') /* allowed by the syntax, but then the line would need dot-stuffing */
        return err_set(err, ERR_INPUT, "a header's name can't begin with a dot");
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] <= ' ' || name.ptr[i] >= 0x7f || name.ptr[i] == ':')
            return err_set(err, ERR_INPUT,
                           "a header's name has a character that it can't have (place %zu)", i + 1);
    if (in_list(name, ours) || slice_starts_with_nocase(name, SLICE("Content-")))
        return err_set(err, ERR_INPUT,
                       "header %.*s can't be given: it is made when the message is rendered",
                       SLICE_FMT(name));
    if (in_list(name, never))
        return err_set(err, ERR_INPUT,
                       "header %.*s can't be given: it must not be in a message that is sent",
                       SLICE_FMT(name));
    return true;
}

/* Line breaks are allowed where a header could have been folded, so that a folded value can be
 * handed over. */
static bool check_static(struct slice value, const char *part, struct err *err)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c == '\r' || c == '\n') {
            size_t next = i + (c == '\r' && i + 1 < value.len && value.ptr[i + 1] == '\n' ? 2 : 1);
            if (next == value.len || (value.ptr[next] != ' ' && value.ptr[next] != '\t'))
                return template_err(
                    err, part, value, i,
                    "a line break that isn't followed by a blank (a folded header)");
            i = next - 1;
        } else if ((c < ' ' && c != '\t') || c == 0x7f) {
            return template_err(err, part, value, i, "a control character");
        }
    }
    return true;
}

/* Without the line breaks of folding, tabs as blanks. */
static void unfold(struct template_pieces *pieces, struct arena *arena)
{
    for (size_t i = 0; i < pieces->count; i++) {
        struct slice *text = &pieces->list[i].text;
        if (!text->ptr)
            continue;
        char *copy = arena_alloc(arena, text->len);
        size_t len = 0;
        for (size_t j = 0; j < text->len; j++)
            if (text->ptr[j] != '\r' && text->ptr[j] != '\n')
                copy[len++] = text->ptr[j] == '\t' ? ' ' : text->ptr[j];
        *text = slice_of(copy, len);
    }
}

static bool check_structured(const struct template_pieces *pieces, struct slice value,
                             const char *part, struct err *err)
{
    for (size_t i = 0; i < pieces->count; i++)
        if (pieces->list[i].text.ptr && !ascii_only(pieces->list[i].text))
            return template_err(err, part, value, pieces->list[i].at,
                                "this header must be plain ASCII");
    return true;
}

bool header_compile(struct slice name, struct slice value, struct template_fields *fields,
                    struct header_field *out, struct err *err)
{
    char part[16 + HEADER_NAME_BYTES_MAX];
    if (!header_name_check(name, err))
        return false;
    snprintf(part, sizeof part, "header %.*s", SLICE_FMT(name));
    *out = (struct header_field){ .name = name, .kind = kind_of(name) };
    if (!template_parse(value, part, fields, &out->value, err) || !check_static(value, part, err))
        return false;
    unfold(&out->value, fields->arena);
    switch (out->kind) {
    case HEADER_UNSTRUCTURED:
        return true;
    case HEADER_STRUCTURED:
        return check_structured(&out->value, value, part, err);
    case HEADER_ADDRESSES:
        return mailboxes_compile(&out->value, fields->arena, out, err) ||
               err_prefix(err, "%s", part);
    }
    return false;
}

bool header_has_fields(const struct header_field *field)
{
    if (template_has_fields(&field->value))
        return true;
    for (size_t i = 0; i < field->mailbox_count; i++)
        if (template_has_fields(&field->mailboxes[i].name) ||
            template_has_fields(&field->mailboxes[i].address))
            return true;
    return false;
}

static bool too_long(const struct header_field *field, struct err *err)
{
    return err_set(err, ERR_INPUT, "header %.*s would be longer than %d bytes",
                   SLICE_FMT(field->name), HEADER_VALUE_BYTES_MAX);
}

static bool assemble_text(const struct header_field *field, const struct merge_values *values,
                          struct buf *text, struct err *err)
{
    for (size_t i = 0; i < field->value.count; i++) {
        const struct template_piece *piece = &field->value.list[i];
        bool ok = piece->text.ptr ? buf_append(text, piece->text)
                                  : clean_text_append(text, merge_value(values, piece->field));
        if (!ok)
            return too_long(field, err);
    }
    return true;
}

static bool assemble_structured(const struct header_field *field, const struct merge_values *values,
                                struct buf *text, struct err *err)
{
    for (size_t i = 0; i < field->value.count; i++) {
        const struct template_piece *piece = &field->value.list[i];
        struct slice value = piece->text.ptr ? piece->text : merge_value(values, piece->field);
        for (size_t j = 0; j < value.len; j++)
            if (value.ptr[j] < ' ' || value.ptr[j] >= 0x7f)
                return err_set(err, ERR_INPUT, "header %.*s: a value that isn't printable ASCII",
                               SLICE_FMT(field->name));
        if (!buf_append(text, value))
            return too_long(field, err);
    }
    return true;
}

/* Whether blanks offer enough places to fold. */
static bool can_fold(struct slice text)
{
    size_t run = 0;
    bool in_word = false;
    for (size_t i = 0; i < text.len; i++) {
        bool blank = text.ptr[i] == ' ';
        if (blank && in_word)
            run = 0;
        in_word = !blank;
        if (++run > HEADER_WORD_BYTES_MAX)
            return false;
    }
    return true;
}

/* Folds at blanks; every blank is kept. */
static void append_folded(struct buf *out, size_t column, struct slice text)
{
    while (text.len > 0) {
        size_t len = 0;
        while (len < text.len && text.ptr[len] == ' ')
            len++;
        while (len < text.len && text.ptr[len] != ' ')
            len++;
        fold_append(out, &column, slice_head(text, len));
        text = slice_skip(text, len);
        if (text.len > 0)
            text = slice_skip(text, 1); /* the blank that fold_append writes */
    }
}

/* Whether the text can stand as it is: nearly every header of nearly every message. */
static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < ' ' || c >= 0x7f || (c == '?' && i > 0 && text.ptr[i - 1] == '='))
            return false;
    }
    return true;
}

bool header_render(const struct header_field *field, const struct merge_values *values,
                   struct buf *scratch, struct buf *out, struct err *err)
{
    bool ok = buf_append(out, field->name) && buf_append_char(out, ':');
    assert(ok);
    if (field->kind == HEADER_ADDRESSES && field->mailbox_count > 0)
        return mailboxes_render(field, values, scratch, out, err);
    buf_clear(scratch);
    scratch->bytes_max = HEADER_VALUE_BYTES_MAX;
    if (!(field->kind == HEADER_UNSTRUCTURED ? assemble_text(field, values, scratch, err)
                                             : assemble_structured(field, values, scratch, err)))
        return false;
    struct slice text = slice_trim(buf_slice(scratch));
    size_t column = field->name.len + 1;
    if (text.len > 0 && column + 1 + text.len <= HEADER_COLUMNS && is_plain(text)) {
        fold_append(out, &column, text);
    } else if (field->kind == HEADER_UNSTRUCTURED &&
               (!ascii_only(text) || memmem(text.ptr, text.len, "=?", 2) || !can_fold(text))) {
        encoded_words_append(out, &column, text);
    } else if (!can_fold(text)) {
        return err_set(err, ERR_INPUT, "header %.*s: more than %d characters without a blank",
                       SLICE_FMT(field->name), HEADER_WORD_BYTES_MAX);
    } else {
        append_folded(out, column, text);
    }
    return buf_append(out, SLICE("\r\n"));
}

size_t header_bytes_max(const struct header_field *field, const struct merge_values *values)
{
    size_t bytes = 0;
    for (size_t i = 0; i < field->value.count; i++) {
        const struct template_piece *piece = &field->value.list[i];
        bytes += piece->text.ptr ? piece->text.len : merge_value(values, piece->field).len;
    }
    bytes = MIN_OF(bytes, (size_t)HEADER_VALUE_BYTES_MAX);
    /* Base64 is taken where it is shorter, so a byte costs at most 4/3, a byte that becomes U+FFFD
     * 4, and a word's frame and fold less than a third more. A mailbox adds brackets, a fold and
     * the A-labels of its domain. */
    return field->name.len + bytes * 6 + field->mailbox_count * 280 + 64;
}

bool header_needs_utf8(const struct header_field *field, const struct merge_values *values)
{
    for (size_t i = 0; i < field->mailbox_count; i++) {
        const struct template_pieces *pieces = &field->mailboxes[i].address;
        bool local_is_ascii = true;
        for (size_t j = 0; j < pieces->count && local_is_ascii; j++) {
            struct slice text = pieces->list[j].text;
            if (!text.ptr)
                text = merge_value(values, pieces->list[j].field);
            ptrdiff_t at = -1; /* only what is in front of the last '@' counts */
            for (size_t k = 0; k < text.len; k++)
                if (text.ptr[k] == '@')
                    at = (ptrdiff_t)k;
            local_is_ascii = ascii_only(at < 0 ? text : slice_head(text, (size_t)at));
            if (at >= 0)
                break;
        }
        if (!local_is_ascii)
            return true;
    }
    return false;
}

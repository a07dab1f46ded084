/* The mailboxes of From, To, Cc, Reply-To and Sender. The template is taken apart once, fields
 * staying whole, so that a value can't add a mailbox or move a bracket: `{{name}} <{{email}}>` is
 * one mailbox with whatever name. A name is written as atoms, as a quoted string or as encoded
 * words; an address is parsed when it is complete. */
#include "engine/base/utf8.h"
#include "engine/message/address.h"
#include "engine/message/encode.h"
#include "engine/message/header.h"

enum { ITEM_END = -1, ITEM_FIELD = 256, MAILBOXES_MAX = 1000, NAME_BYTES_UNENCODED_MAX = 60 };

/* Reads characters and whole fields. */
struct cursor {
    const struct template_pieces *pieces;
    size_t piece, offset;
};

static int peek(const struct cursor *cursor)
{
    if (cursor->piece == cursor->pieces->count)
        return ITEM_END;
    struct slice text = cursor->pieces->list[cursor->piece].text;
    return text.ptr ? (unsigned char)text.ptr[cursor->offset] : ITEM_FIELD;
}

static int next(struct cursor *cursor)
{
    int item = peek(cursor);
    if (item == ITEM_END)
        return item;
    struct slice text = cursor->pieces->list[cursor->piece].text;
    if (!text.ptr || ++cursor->offset == text.len) {
        cursor->piece++;
        cursor->offset = 0;
    }
    return item;
}

/* Collects characters and fields into pieces. */
struct collector {
    struct arena *arena;
    struct template_piece *list;
    size_t count, room;
    struct buf run; /* static text since the last field */
};

static void collect_piece(struct collector *to, struct template_piece piece)
{
    if (to->count == to->room) {
        size_t room = to->room ? to->room * 2 : 4;
        struct template_piece *list = arena_alloc(to->arena, room * sizeof *list);
        if (to->count)
            memcpy(list, to->list, to->count * sizeof *list);
        to->list = list;
        to->room = room;
    }
    to->list[to->count++] = piece;
}

static void collect_run(struct collector *to)
{
    if (to->run.len > 0)
        collect_piece(
            to, (struct template_piece){ .text = arena_copy(to->arena, buf_slice(&to->run)) });
    buf_clear(&to->run);
}

static void collect(struct collector *to, int item, uint32_t field)
{
    if (item != ITEM_FIELD) {
        buf_append_char(&to->run, (char)item);
        return;
    }
    collect_run(to);
    collect_piece(to, (struct template_piece){ .field = field });
}

static bool collector_empty(const struct collector *from)
{
    return from->count == 0 && slice_trim(buf_slice(&from->run)).len == 0;
}

/* The pieces, without blanks at the ends of the static text that begins and ends them. */
static struct template_pieces collector_take(struct collector *from)
{
    collect_run(from);
    struct template_pieces pieces = { from->list, from->count };
    if (pieces.count > 0 && pieces.list[0].text.ptr) {
        struct slice *text = &pieces.list[0].text;
        while (text->len > 0 && text->ptr[0] == ' ')
            *text = slice_skip(*text, 1);
    }
    if (pieces.count > 0 && pieces.list[pieces.count - 1].text.ptr)
        pieces.list[pieces.count - 1].text = slice_trim(pieces.list[pieces.count - 1].text);
    *from = (struct collector){ .arena = from->arena, .run = from->run };
    buf_clear(&from->run);
    return pieces;
}

static uint32_t field_at(const struct cursor *cursor)
{
    return cursor->piece < cursor->pieces->count ? cursor->pieces->list[cursor->piece].field : 0;
}

struct mailbox_parser {
    struct cursor cursor;
    struct collector text; /* as a name: quotation marks and backslashes resolved */
    struct collector raw;  /* as an address: as written */
};

/* Behind an opening quotation mark, up to the closing one. */
static bool parse_quoted(struct mailbox_parser *p, struct err *err)
{
    collect(&p->raw, '"', 0);
    for (;;) {
        uint32_t field = field_at(&p->cursor);
        int item = next(&p->cursor);
        if (item == ITEM_END)
            return err_set(err, ERR_INPUT, "a quotation mark that isn't closed");
        if (item == '"')
            break;
        if (item == '\\') {
            collect(&p->raw, item, 0);
            field = field_at(&p->cursor);
            item = next(&p->cursor);
            if (item == ITEM_END || item == ITEM_FIELD)
                return err_set(err, ERR_INPUT, "a backslash without a character behind it");
        }
        collect(&p->text, item, field);
        collect(&p->raw, item, field);
    }
    collect(&p->raw, '"', 0);
    return true;
}

/* Behind "<", up to and including ">". */
static bool parse_angle(struct mailbox_parser *p, struct err *err)
{
    bool quoted = false;
    for (;;) {
        uint32_t field = field_at(&p->cursor);
        int item = next(&p->cursor);
        if (item == ITEM_END)
            return err_set(err, ERR_INPUT, "'<' without '>'");
        if (item == '>' && !quoted)
            break;
        if (item == '"')
            quoted = !quoted;
        collect(&p->raw, item, field);
        if (item == '\\' && quoted) {
            field = field_at(&p->cursor);
            item = next(&p->cursor);
            if (item == ITEM_END)
                return err_set(err, ERR_INPUT, "'<' without '>'");
            collect(&p->raw, item, field);
        }
    }
    while (peek(&p->cursor) == ' ')
        next(&p->cursor);
    int item = peek(&p->cursor);
    if (item != ITEM_END && item != ',')
        return err_set(err, ERR_INPUT, "something other than ',' behind '>'");
    return true;
}

/* One mailbox, up to ',' (consumed) or the end. */
static bool parse_mailbox(struct mailbox_parser *p, struct mailbox *out, struct err *err)
{
    *out = (struct mailbox){ 0 };
    for (;;) {
        uint32_t field = field_at(&p->cursor);
        int item = next(&p->cursor);
        if (item == ITEM_END || item == ',')
            break;
        if (item == '"') {
            if (!parse_quoted(p, err))
                return false;
        } else if (item == '<') {
            out->name = collector_take(&p->text);
            collector_take(&p->raw);
            if (!parse_angle(p, err))
                return false;
            next(&p->cursor); /* the ',', if there is one */
            break;
        } else if (item == '(' || item == ')') {
            return err_set(err, ERR_INPUT,
                           "comments in '(' and ')' are not supported: use quotation marks");
        } else if (item == ':' || item == ';' || item == '>') {
            return err_set(err, ERR_INPUT, "'%c' outside quotation marks", item);
        } else {
            collect(&p->text, item, field);
            collect(&p->raw, item, field);
        }
    }
    if (collector_empty(&p->raw))
        return err_set(err, ERR_INPUT, "an address is missing");
    out->address = collector_take(&p->raw);
    collector_take(&p->text);
    return true;
}

static bool check_static_address(const struct mailbox *mailbox, struct err *err)
{
    if (mailbox->address.count != 1 || !mailbox->address.list[0].text.ptr)
        return true;
    struct address address;
    struct slice text = mailbox->address.list[0].text;
    if (address_parse(text, &address, err))
        return true;
    return err_prefix(err, "\"%.*s\"", SLICE_FMT(slice_head(text, MIN_OF(text.len, (size_t)100))));
}

/* "undisclosed-recipients:;" and the like: a group without members stays as it is. */
static bool is_empty_group(const struct template_pieces *pieces)
{
    if (pieces->count != 1 || !pieces->list[0].text.ptr)
        return false;
    struct slice text = slice_trim(pieces->list[0].text);
    ptrdiff_t colon = slice_find(text, ':');
    if (colon < 1 || text.len > HEADER_COLUMNS)
        return false;
    for (ptrdiff_t i = 0; i < colon; i++) {
        char c = ascii_lower(text.ptr[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != ' ')
            return false;
    }
    return slice_eq(slice_trim(slice_skip(text, (size_t)colon + 1)), SLICE(";"));
}

static bool check_count(const struct header_field *field, struct err *err)
{
    if (field->mailbox_count > 1 && slice_eq_nocase(field->name, SLICE("Sender")))
        return err_set(err, ERR_INPUT, "only one address can stand here");
    return true;
}

bool mailboxes_compile(const struct template_pieces *pieces, struct arena *arena,
                       struct header_field *out, struct err *err)
{
    if (is_empty_group(pieces) && !slice_eq_nocase(out->name, SLICE("From")) &&
        !slice_eq_nocase(out->name, SLICE("Sender")))
        return true;
    struct mailbox_parser parser = { .cursor = { pieces, 0, 0 },
                                     .text.arena = arena,
                                     .raw.arena = arena };
    size_t room = 0;
    bool ok = true, more = true;
    while (ok && more) {
        if (out->mailbox_count == room) {
            size_t wider = room ? room * 2 : 2;
            struct mailbox *list = arena_alloc(arena, wider * sizeof *list);
            if (room)
                memcpy(list, out->mailboxes, room * sizeof *list);
            out->mailboxes = list;
            room = wider;
        }
        struct mailbox *mailbox = &out->mailboxes[out->mailbox_count];
        ok = parse_mailbox(&parser, mailbox, err) && check_static_address(mailbox, err);
        out->mailbox_count += ok;
        if (ok && out->mailbox_count > MAILBOXES_MAX)
            ok = err_set(err, ERR_INPUT, "more than %d addresses", MAILBOXES_MAX);
        while (peek(&parser.cursor) == ' ')
            next(&parser.cursor);
        more = peek(&parser.cursor) != ITEM_END;
    }
    buf_free(&parser.text.run);
    buf_free(&parser.raw.run);
    return ok && check_count(out, err);
}

static bool has_line_break(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] == '\r' || value.ptr[i] == '\n' || value.ptr[i] == '\0')
            return true;
    return false;
}

static bool assemble_name(const struct header_field *field, const struct mailbox *mailbox,
                          const struct merge_values *values, struct buf *name, struct err *err)
{
    for (size_t i = 0; i < mailbox->name.count; i++) {
        const struct template_piece *piece = &mailbox->name.list[i];
        struct slice value = piece->text.ptr ? piece->text : merge_value(values, piece->field);
        if (!piece->text.ptr && has_line_break(value))
            return err_set(err, ERR_INPUT, "header %.*s: a name with a line break or NUL",
                           SLICE_FMT(field->name));
        if (!clean_text_append(name, value))
            return err_set(err, ERR_INPUT, "header %.*s would be longer than %d bytes",
                           SLICE_FMT(field->name), HEADER_VALUE_BYTES_MAX);
    }
    return true;
}

/* Atoms and single blanks need no quotation marks (RFC 5322, 3.2.3). */
static bool is_phrase(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        bool single_blank = c == ' ' && name.ptr[i + 1] != ' '; /* a name doesn't end in a blank */
        if (!letter && !single_blank && (c == ' ' || !memchr("!#$&'*+-/=?^_`{|}~%", c, 19)))
            return false;
    }
    return true;
}

static void append_quoted(struct buf *out, size_t *column, struct slice name)
{
    char quoted[2 * NAME_BYTES_UNENCODED_MAX + 2];
    size_t len = 0;
    quoted[len++] = '"';
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '"' || name.ptr[i] == '\\')
            quoted[len++] = '\\';
        quoted[len++] = name.ptr[i];
    }
    quoted[len++] = '"';
    fold_append(out, column, slice_of(quoted, len));
}

static void append_name(struct buf *out, size_t *column, struct slice name)
{
    if (name.len > NAME_BYTES_UNENCODED_MAX || !ascii_only(name) ||
        memmem(name.ptr, name.len, "=?", 2)) {
        encoded_words_append(out, column, name);
    } else if (is_phrase(name)) {
        fold_append(out, column, name);
    } else {
        append_quoted(out, column, name);
    }
}

/* The complete address into `text` as it is written in a header: the domain as A-labels. */
static bool assemble_address(const struct header_field *field, const struct mailbox *mailbox,
                             const struct merge_values *values, char text[320], size_t *len,
                             struct err *err)
{
    size_t used = 0;
    for (size_t i = 0; i < mailbox->address.count; i++) {
        const struct template_piece *piece = &mailbox->address.list[i];
        struct slice value = piece->text.ptr ? piece->text : merge_value(values, piece->field);
        if (used + value.len > 254)
            return err_set(err, ERR_INPUT, "header %.*s: the address is longer than 254 bytes",
                           SLICE_FMT(field->name));
        if (value.len)
            memcpy(text + used, value.ptr, value.len);
        used += value.len;
    }
    struct address address;
    if (!address_parse(slice_of(text, used), &address, err))
        return err_prefix(err, "header %.*s", SLICE_FMT(field->name));
    if (!ascii_only(address.domain)) {
        char ascii[256];
        size_t ascii_len = address_domain_ascii(address.domain, ascii);
        assert(ascii_len > 0 &&
               address.local.len + 1 + ascii_len <= 320); /* address_parse has seen it */
        memcpy(text + address.local.len + 1, ascii, ascii_len);
        used = address.local.len + 1 + ascii_len;
    }
    *len = used;
    return true;
}

bool mailboxes_render(const struct header_field *field, const struct merge_values *values,
                      struct buf *scratch, struct buf *out, struct err *err)
{
    size_t column = field->name.len + 1;
    for (size_t i = 0; i < field->mailbox_count; i++) {
        const struct mailbox *mailbox = &field->mailboxes[i];
        char text[2 + 320 + 1];
        size_t len = 0;
        buf_clear(scratch);
        scratch->bytes_max = HEADER_VALUE_BYTES_MAX;
        if (!assemble_name(field, mailbox, values, scratch, err) ||
            !assemble_address(field, mailbox, values, text + 1, &len, err))
            return false;
        struct slice name = slice_trim(buf_slice(scratch)), address = slice_of(text + 1, len);
        if (name.len > 0) {
            append_name(out, &column, name);
            text[0] = '<';
            text[1 + len] = '>';
            address = slice_of(text, len + 2);
        }
        if (i + 1 < field->mailbox_count)
            text[(size_t)(address.ptr - text) + address.len++] = ',';
        fold_append(out, &column, address);
    }
    return buf_append(out, SLICE("\r\n"));
}

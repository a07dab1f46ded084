/* Rendering: walks the segments and copies. Whatever can be done before is done by the compiler;
 * what is left are the headers with fields, the values and two lines made of the stamp.
 *
 * A static run of quoted-printable was encoded as if it stood at the start of a line. Behind a
 * value it is put on the same line if its first line fits there, else behind a soft break: so it is
 * never encoded again. */
#include "engine/base/utf8.h"
#include "engine/message/address.h"
#include "engine/message/blocks.h"
#include "engine/message/compiled.h"

enum { REFER_BYTES_MIN = 4096, STAMP_BYTES_MAX = 255 };

static void put_two(char *at, unsigned value)
{
    at[0] = (char)('0' + value / 10);
    at[1] = (char)('0' + value % 10);
}

/* "Date: Tue, 01 Jul 2025 12:34:56 +0000" CRLF; the calendar by counting 400-year cycles from
 * March. */
static size_t put_date(char *out, int64_t date_ms)
{
    static const char day_names[] = "SunMonTueWedThuFriSat",
                      month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const int64_t year_9999 = 253402300799;
    int64_t seconds = date_ms < 0 ? 0 : MIN_OF(date_ms / 1000, year_9999);
    unsigned days = (unsigned)(seconds / 86400), rest = (unsigned)(seconds % 86400);
    unsigned since = days + 719468, cycle = since / 146097, day_of_cycle = since % 146097;
    unsigned year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36524 - day_of_cycle / 146096) / 365;
    unsigned day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    unsigned day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    unsigned month =
        month_from_march < 10 ? month_from_march + 2 : month_from_march - 10; /* 0: January */
    unsigned year = cycle * 400 + year_of_cycle + (month < 2);
    memcpy(out, "Date: Xxx, 00 Xxx 0000 00:00:00 +0000\r\n", 39);
    memcpy(out + 6, day_names + 3 * ((days + 4) % 7), 3);
    put_two(out + 11, day);
    memcpy(out + 14, month_names + 3 * (size_t)month, 3);
    put_two(out + 18, year / 100);
    put_two(out + 20, year % 100);
    put_two(out + 23, rest / 3600);
    put_two(out + 26, rest / 60 % 60);
    put_two(out + 29, rest % 60);
    return 39;
}

static bool is_id_text(struct slice text)
{
    /* clang-format off */
    static const bool allowed[256] = {
        ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true,
        ['-'] = true, ['.'] = true, ['_'] = true, ['+'] = true, ['='] = true,
    };
    /* clang-format on */
    bool ok = text.len > 0 && text.len <= STAMP_BYTES_MAX;
    for (size_t i = 0; ok && i < text.len; i++)
        ok = allowed[(unsigned char)text.ptr[i]];
    return ok;
}

static bool write_message_id(struct output_writer *writer, const struct message_stamp *stamp,
                             struct err *err)
{
    if (!is_id_text(stamp->id) || !is_id_text(stamp->id_domain))
        return err_set(err, ERR_INPUT, "job id or domain can't be put into Message-ID");
    return output_writer_copy(writer, SLICE("Message-ID: <"), err) &&
           output_writer_copy(writer, stamp->id, err) &&
           output_writer_copy(writer, SLICE("@"), err) &&
           output_writer_copy(writer, stamp->id_domain, err) &&
           output_writer_copy(writer, SLICE(">\r\n"), err);
}

static bool write_date(struct output_writer *writer, const struct message_stamp *stamp,
                       struct err *err)
{
    char line[40];
    return output_writer_copy(writer, slice_of(line, put_date(line, stamp->date_ms)), err);
}

static bool write_header(struct output_writer *writer, const struct header_field *field,
                         const struct merge_values *values, struct err *err)
{
    struct message_blocks *pool = writer->pool;
    buf_clear(&pool->line);
    return header_render(field, values, &pool->scratch, &pool->line, err) &&
           output_writer_copy(writer, buf_slice(&pool->line), err);
}

static bool write_static(struct output_writer *writer, struct slice bytes, struct err *err)
{
    return bytes.len > REFER_BYTES_MIN ? output_writer_refer(writer, bytes, err)
                                       : output_writer_copy(writer, bytes, err);
}

static bool write_soft_break(struct output_writer *writer, struct qp_state *state, struct err *err)
{
    *state = (struct qp_state){ 0 };
    return output_writer_copy(writer, SLICE("=\r\n"), err);
}

static bool write_qp(struct output_writer *writer, struct qp_state *state,
                     const struct segment *segment, struct slice bytes, struct err *err)
{
    bool must_break = segment->head_columns == 0
                          ? state->blank
                          : state->column + segment->head_columns > QP_COLUMNS_MAX;
    if (must_break && !write_soft_break(writer, state, err))
        return false;
    state->column =
        segment->has_break ? segment->tail_column : state->column + segment->head_columns;
    state->blank = segment->tail_blank;
    return write_static(writer, bytes, err);
}

static bool write_value(struct output_writer *writer, struct qp_state *state, struct slice value,
                        enum qp_escape escape, struct err *err)
{
    while (value.len > 0) {
        if (!output_writer_more(writer, QP_ROOM_MIN, err))
            return false;
        writer->at +=
            qp_encode(state, &value, writer->at, (size_t)(writer->end - writer->at), escape);
    }
    return true;
}

static bool write_end(struct output_writer *writer, struct qp_state *state, bool close_line,
                      struct err *err)
{
    bool open = state->column > 0;
    if (state->blank && !write_soft_break(writer, state, err))
        return false;
    *state = (struct qp_state){ 0 };
    return !close_line || !open || output_writer_copy(writer, SLICE("\r\n"), err);
}

static bool render(const struct message_content *content, const struct merge_values *values,
                   const struct message_stamp *stamp, enum message_transfer transfer,
                   struct output_writer *writer, struct err *err)
{
    struct qp_state state = { 0 };
    const char *bytes = content->bytes.data;
    bool ok = true;
    for (size_t i = 0; ok && i < content->segment_count; i++) {
        const struct segment *segment = &content->segments[i];
        switch ((enum segment_kind)segment->kind) {
        case SEGMENT_BYTES:
            ok = write_static(writer, slice_of(bytes + segment->at, segment->len), err);
            break;
        case SEGMENT_QP:
            ok =
                write_qp(writer, &state, segment, slice_of(bytes + segment->at, segment->len), err);
            break;
        case SEGMENT_TEXT:
            ok = write_value(writer, &state, merge_value(values, segment->field), QP_TEXT, err);
            break;
        case SEGMENT_HTML:
            ok = write_value(writer, &state, merge_value(values, segment->field), QP_HTML, err);
            break;
        case SEGMENT_HEADER:
            ok = write_header(writer, &content->headers[segment->field], values, err);
            break;
        case SEGMENT_DATE:
            ok = write_date(writer, stamp, err);
            break;
        case SEGMENT_ID:
            ok = write_message_id(writer, stamp, err);
            break;
        case SEGMENT_PART_END:
            ok = write_end(writer, &state, false, err);
            break;
        case SEGMENT_BODY_END:
            ok = write_end(writer, &state, true, err);
            break;
        case SEGMENT_RAW:
            ok = output_writer_refer(writer, content->raw[transfer], err);
            break;
        }
    }
    return ok;
}

static struct merge_values values_of(const struct message_recipient *recipient)
{
    return (struct merge_values){ recipient->address, recipient->values, recipient->value_count };
}

/* What is signed: as it's rendered, but for the stuffing of a raw message's dots. */
static bool sign(const struct message_content *content, const struct message_signing *signing,
                 enum message_transfer transfer, struct message_output *out, size_t room,
                 struct err *err)
{
    struct iovec *first = &out->iov[0], *last = &out->iov[out->iov_count - 1], whole = *first;
    struct iovec rendered = *last;
    char *place = first->iov_base;
    size_t len;
    bool raw = content->raw[transfer].ptr && last->iov_base == content->raw[transfer].ptr;
    if (raw)
        *last = (struct iovec){ (void *)(uintptr_t)content->raw[MESSAGE_CHUNK].ptr,
                                content->raw[MESSAGE_CHUNK].len };
    first->iov_base = place + room;
    first->iov_len -= room;
    bool good = dkim_sign(signing->signer, signing->tenant, signing->now_s, out->iov,
                          out->iov_count, content->body_hash, place, &len, err);
    if (raw)
        *last = rendered;
    if (!good)
        return false;
    memmove(place + room - len, place, len);
    first->iov_base = place + room - len;
    first->iov_len = whole.iov_len - room + len;
    out->bytes -= room - len;
    if (first->iov_len == 0) {
        out->iov++;
        out->iov_count--;
    }
    return true;
}

bool message_render(const struct message_content *content,
                    const struct message_recipient *recipient, const struct message_stamp *stamp,
                    enum message_transfer transfer, struct message_blocks *pool,
                    struct message_output *out, struct err *err)
{
    struct merge_values values = values_of(recipient);
    struct output_writer writer;
    const struct message_signing *signing = stamp->signing;
    size_t room = signing ? dkim_signer_room(signing->signer) : 0;
    *out = (struct message_output){ 0 };
    if (!output_writer_init(&writer, pool, err))
        return false;
    bool ok = output_writer_more(&writer, room, err);
    writer.at += ok ? room : 0; /* the signatures come before all else, and last */
    if (!ok || !render(content, &values, stamp, transfer, &writer, err) ||
        !output_writer_finish(&writer, out, err)) {
        output_writer_abort(&writer);
        return false;
    }
    if (room == 0 || sign(content, signing, transfer, out, room, err))
        return true;
    message_output_release(out);
    return false;
}

size_t message_size_estimate(const struct message_content *content,
                             const struct message_recipient *recipient)
{
    struct merge_values values = values_of(recipient);
    size_t bytes = content->bytes.len + content->raw[MESSAGE_CHUNK].len;
    for (size_t i = 0; i < content->segment_count; i++) {
        const struct segment *segment = &content->segments[i];
        switch ((enum segment_kind)segment->kind) {
        case SEGMENT_TEXT:
        case SEGMENT_HTML:
            bytes += qp_bytes_max(merge_value(&values, segment->field));
            break;
        case SEGMENT_HEADER:
            bytes += header_bytes_max(&content->headers[segment->field], &values);
            break;
        case SEGMENT_DATE:
            bytes += 40;
            break;
        case SEGMENT_ID:
            bytes += 16 + 2 * STAMP_BYTES_MAX;
            break;
        case SEGMENT_QP:
        case SEGMENT_PART_END:
        case SEGMENT_BODY_END:
            bytes += 3;
            break;
        case SEGMENT_BYTES:
        case SEGMENT_RAW:
            break;
        }
    }
    return bytes;
}

bool message_is_8bit(const struct message_content *content)
{
    return content->is_8bit;
}

bool message_needs_smtputf8(const struct message_content *content,
                            const struct message_recipient *recipient)
{
    struct merge_values values = values_of(recipient);
    struct address address;
    if (content->utf8_headers)
        return true;
    if (!ascii_only(recipient->address) &&
        (!address_parse(recipient->address, &address, NULL) || address.utf8))
        return true;
    for (size_t i = 0; i < content->header_count; i++)
        if (header_needs_utf8(&content->headers[i], &values))
            return true;
    return false;
}

#include "queue/record.h"

#include "queue/keys.h"

static bool varint_write(struct buf *out, uint32_t value)
{
    char bytes[5];
    size_t n = 0;
    while (value >= 0x80) {
        bytes[n++] = (char)(value | 0x80);
        value >>= 7;
    }
    bytes[n++] = (char)value;
    return buf_append(out, slice_of(bytes, n));
}

static bool bytes_write(struct buf *out, struct slice bytes)
{
    return varint_write(out, (uint32_t)bytes.len) && buf_append(out, bytes);
}

bool record_write(struct buf *out, const struct record *record)
{
    struct slice reply = record->last_reply;
    reply.len = MIN_OF(reply.len, (size_t)QUEUE_RECORD_REPLY_BYTES_MAX);
    bool ok = buf_append(out, record->id) && buf_append_char(out, '\t') &&
              buf_append(out, record->recipient) && buf_append_char(out, '\t') &&
              varint_write(out, record->attempts) && varint_write(out, record->flags) &&
              bytes_write(out, reply) && varint_write(out, record->value_count);
    for (uint32_t i = 0; ok && i < record->value_count; i++)
        ok = bytes_write(out, record->values[i]);
    return ok;
}

/* Takes a varint of at most 32 bits off the front. Padded forms (0x80 0x00) are refused: one
 * record, one spelling. */
static bool varint_take(struct slice *from, uint32_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < from->len && i < 5; i++) {
        uint8_t byte = (uint8_t)from->ptr[i];
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            if (value > UINT32_MAX || (byte == 0 && i > 0))
                return false;
            *from = slice_skip(*from, i + 1);
            *out = (uint32_t)value;
            return true;
        }
    }
    return false;
}

static bool bytes_take(struct slice *from, struct slice *out)
{
    uint32_t len;
    if (!varint_take(from, &len) || len > from->len)
        return false;
    *out = slice_head(*from, len);
    *from = slice_skip(*from, len);
    return true;
}

bool record_parse(struct slice bytes, struct record *out, struct slice *values, uint32_t values_max,
                  struct err *err)
{
    *out = (struct record){ .values = values };
    ptrdiff_t tab =
        slice_find(slice_head(bytes, MIN_OF(bytes.len, (size_t)QUEUE_ID_BYTES_MAX + 1)), '\t');
    if (tab <= 0)
        return err_set(err, ERR_INPUT, "job record without an id");
    out->id = slice_head(bytes, (size_t)tab);
    if (memchr(out->id.ptr, '-', out->id.len) == NULL)
        return err_set(err, ERR_INPUT, "job record: id without a submission");
    struct slice rest = slice_skip(bytes, (size_t)tab + 1);
    tab =
        slice_find(slice_head(rest, MIN_OF(rest.len, (size_t)QUEUE_RECIPIENT_BYTES_MAX + 1)), '\t');
    if (tab <= 0)
        return err_set(err, ERR_INPUT, "job record %.*s: no recipient", SLICE_FMT(out->id));
    out->recipient = slice_head(rest, (size_t)tab);
    rest = slice_skip(rest, (size_t)tab + 1);
    if (!varint_take(&rest, &out->attempts) || !varint_take(&rest, &out->flags) ||
        !bytes_take(&rest, &out->last_reply) || !varint_take(&rest, &out->value_count))
        return err_set(err, ERR_INPUT, "job record %.*s: malformed", SLICE_FMT(out->id));
    if (out->value_count > QUEUE_RECORD_VALUES_MAX)
        return err_set(err, ERR_INPUT, "job record %.*s: out of bounds", SLICE_FMT(out->id));
    if (out->value_count > values_max)
        return err_set(err, ERR_LIMIT, "job record %.*s: %u values", SLICE_FMT(out->id),
                       out->value_count);
    for (uint32_t i = 0; i < out->value_count; i++)
        if (!bytes_take(&rest, &values[i]))
            return err_set(err, ERR_INPUT, "job record %.*s: value %u is malformed",
                           SLICE_FMT(out->id), i);
    if (rest.len > 0)
        return err_set(err, ERR_INPUT, "job record %.*s: %zu bytes too many", SLICE_FMT(out->id),
                       rest.len);
    return true;
}

/* msgpack to the tree that JSON gives, so that everything behind has one form to look at. Written
 * here, not taken from msgpack-c: that allocates what the head of an array or map claims before its
 * elements are there, so five bytes could ask for gigabytes. Here each value costs what it brings.
 *
 * What JSON can't say is refused: extensions, binary that isn't UTF-8, NUL in a string, integers
 * above 2^63, keys that aren't strings, a key twice. */
#include <stdio.h>

#include "queue/submission_internal.h"

enum {
    DEPTH_MAX = 32,
    VALUES_MAX = 8 << 20, /* each takes about 50 bytes of memory, and may be one byte here */
};

struct reader {
    struct slice all, rest;
    unsigned depth, values;
    struct submission_problem *problem;
};

static json_t *value_read(struct reader *reader);

static json_t *refuse(struct reader *reader, const char *why)
{
    char path[40];
    snprintf(path, sizeof path, "byte %zu", reader->all.len - reader->rest.len);
    problem_set(reader->problem, path, "not msgpack of a submission: %s", why);
    return NULL;
}

/* A big-endian number of n bytes; false at the end. */
static bool number_take(struct reader *reader, size_t n, uint64_t *out)
{
    if (reader->rest.len < n)
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out = *out << 8 | (uint8_t)reader->rest.ptr[i];
    reader->rest = slice_skip(reader->rest, n);
    return true;
}

static json_t *string_read(struct reader *reader, uint64_t len)
{
    if (len > reader->rest.len)
        return refuse(reader, "ends within a string");
    struct slice text = slice_head(reader->rest, (size_t)len);
    json_t *value =
        text.len && memchr(text.ptr, '\0', text.len) ? NULL : json_stringn(text.ptr, text.len);
    if (!value)
        return refuse(reader, "a string isn't UTF-8, or has a NUL in it");
    reader->rest = slice_skip(reader->rest, text.len);
    return value;
}

static json_t *array_read(struct reader *reader, uint64_t count)
{
    json_t *array = json_array();
    for (uint64_t i = 0; i < count; i++) {
        json_t *item = value_read(reader);
        if (!item || json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static bool pair_read(struct reader *reader, json_t *object)
{
    json_t *key = value_read(reader);
    if (!key)
        return false;
    struct slice name = json_is_string(key) ? json_slice(key) : SLICE("");
    bool ok = false;
    if (!json_is_string(key)) {
        refuse(reader, "a key isn't a string");
    } else if (json_object_getn(object, name.ptr, name.len)) {
        refuse(reader, "a key comes twice");
    } else {
        json_t *value = value_read(reader);
        ok = value && json_object_setn_new(object, name.ptr, name.len, value) == 0;
    }
    json_decref(key);
    return ok;
}

static json_t *map_read(struct reader *reader, uint64_t count)
{
    json_t *object = json_object();
    for (uint64_t i = 0; i < count; i++)
        if (!pair_read(reader, object)) {
            json_decref(object);
            return NULL;
        }
    return object;
}

static json_t *real_read(struct reader *reader, size_t bytes)
{
    uint64_t bits = 0;
    if (!number_take(reader, bytes, &bits))
        return refuse(reader, "ends within a number");
    double value;
    if (bytes == 4) {
        uint32_t half = (uint32_t)bits;
        float narrow;
        memcpy(&narrow, &half, sizeof narrow);
        value = narrow;
    } else {
        memcpy(&value, &bits, sizeof value);
    }
    json_t *real = json_real(value);
    return real ? real : refuse(reader, "a number isn't finite");
}

static json_t *integer_read(struct reader *reader, size_t bytes, bool is_signed)
{
    uint64_t bits = 0;
    if (!number_take(reader, bytes, &bits))
        return refuse(reader, "ends within a number");
    if (!is_signed)
        return bits <= INT64_MAX ? json_integer((json_int_t)bits)
                                 : refuse(reader, "an integer is above 2^63");
    unsigned shift = 64 - 8 * (unsigned)bytes;
    return json_integer((int64_t)(bits << shift) >> shift);
}

/* A string, array or map whose length takes n bytes. */
static json_t *long_read(struct reader *reader, size_t n,
                         json_t *(*read)(struct reader *reader, uint64_t len))
{
    uint64_t len = 0;
    return number_take(reader, n, &len) ? read(reader, len)
                                        : refuse(reader, "ends within a length");
}

/* One flat switch over the format's first bytes. */
static json_t *tagged_read(struct reader *reader, uint8_t tag)
{
    switch (tag) {
    case 0xc0:
        return json_null();
    case 0xc2:
        return json_false();
    case 0xc3:
        return json_true();
    case 0xc4: /* bin 8, 16, 32 */
    case 0xc5:
    case 0xc6:
        return long_read(reader, (size_t)1 << (tag - 0xc4), string_read);
    case 0xca:
        return real_read(reader, 4);
    case 0xcb:
        return real_read(reader, 8);
    case 0xcc: /* uint 8, 16, 32, 64 */
    case 0xcd:
    case 0xce:
    case 0xcf:
        return integer_read(reader, (size_t)1 << (tag - 0xcc), false);
    case 0xd0: /* int 8, 16, 32, 64 */
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return integer_read(reader, (size_t)1 << (tag - 0xd0), true);
    case 0xd9: /* str 8, 16, 32 */
    case 0xda:
    case 0xdb:
        return long_read(reader, (size_t)1 << (tag - 0xd9), string_read);
    case 0xdc: /* array 16, 32 */
    case 0xdd:
        return long_read(reader, (size_t)2 << (tag - 0xdc), array_read);
    case 0xde: /* map 16, 32 */
    case 0xdf:
        return long_read(reader, (size_t)2 << (tag - 0xde), map_read);
    default:
        return refuse(reader, "an extension, or no format at all");
    }
}

static json_t *value_read(struct reader *reader)
{
    uint64_t tag = 0;
    if (++reader->values > VALUES_MAX)
        return refuse(reader, "too many values");
    if (reader->depth == DEPTH_MAX)
        return refuse(reader, "nested too deeply");
    if (!number_take(reader, 1, &tag))
        return refuse(reader, "ends too early");
    reader->depth++;
    json_t *value;
    if (tag < 0x80)
        value = json_integer((json_int_t)tag);
    else if (tag < 0x90)
        value = map_read(reader, tag & 0x0f);
    else if (tag < 0xa0)
        value = array_read(reader, tag & 0x0f);
    else if (tag < 0xc0)
        value = string_read(reader, tag & 0x1f);
    else if (tag >= 0xe0)
        value = json_integer((json_int_t)tag - 0x100);
    else
        value = tagged_read(reader, (uint8_t)tag);
    reader->depth--;
    return value;
}

json_t *msgpack_tree(struct slice bytes, struct submission_problem *problem)
{
    struct reader reader = { .all = bytes, .rest = bytes, .problem = problem };
    json_t *root = value_read(&reader);
    if (root && reader.rest.len > 0) {
        refuse(&reader, "something comes behind it");
        json_decref(root);
        return NULL;
    }
    return root;
}

#include "queue/keys.h"

#include <stdio.h>

static struct queue_key key_finish(struct queue_key key, int prefix_len, struct slice rest)
{
    assert(prefix_len > 0 && (size_t)prefix_len + rest.len < sizeof key.text);
    if (rest.len)
        memcpy(key.text + prefix_len, rest.ptr, rest.len);
    key.len = (size_t)prefix_len + rest.len;
    key.text[key.len] = '\0';
    return key;
}

struct queue_key queue_key_partition(const char *name_space, unsigned partition, const char *name,
                                     struct slice rest)
{
    struct queue_key key;
    int n = snprintf(key.text, sizeof key.text, "%s:{%u}:%s", name_space, partition, name);
    return key_finish(key, n, rest);
}

struct queue_key queue_key_global(const char *name_space, const char *name, struct slice rest)
{
    struct queue_key key;
    int n = snprintf(key.text, sizeof key.text, "%s:%s", name_space, name);
    return key_finish(key, n, rest);
}

struct queue_key queue_key_submission(const char *name_space, const char *name,
                                      struct slice submission)
{
    struct queue_key key = { .len = 0 };
    int n = snprintf(key.text, sizeof key.text, "%s:%s{", name_space, name);
    key = key_finish(key, n, submission);
    assert(key.len + 1 < sizeof key.text);
    key.text[key.len++] = '}';
    key.text[key.len] = '\0';
    return key;
}

struct queue_key queue_key_idempotency(const char *name_space, struct slice tenant,
                                       struct slice key)
{
    struct queue_key out;
    int n = snprintf(out.text, sizeof out.text, "%s:y:%.*s/", name_space, SLICE_FMT(tenant));
    return key_finish(out, n, key);
}

unsigned queue_partition_of(struct slice destination, unsigned partitions)
{
    /* Four bits at a time: a table of one cache line; names are short. */
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < destination.len; i++) {
        crc ^= (uint8_t)ascii_lower(destination.ptr[i]);
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc % partitions;
}

bool queue_name_valid(struct slice text, size_t max)
{
    if (text.len == 0 || text.len > max)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
            return false;
    }
    return true;
}

bool queue_submission_id_valid(struct slice text)
{
    return queue_name_valid(text, QUEUE_SUBMISSION_BYTES_MAX);
}

size_t queue_base36(uint64_t n, char out[13])
{
    char digits[13];
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdefghijklmnopqrstuvwxyz"[n % 36];
        n /= 36;
    } while (n);
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

size_t queue_job_id(struct slice submission, uint64_t n, char out[QUEUE_ID_BYTES_MAX])
{
    assert(submission.len <= QUEUE_SUBMISSION_BYTES_MAX);
    memcpy(out, submission.ptr, submission.len);
    out[submission.len] = '-';
    return submission.len + 1 + queue_base36(n, out + submission.len + 1);
}

#include "queue/redis_topology.h"

#include <stdio.h>

unsigned redis_key_slot(struct slice key)
{
    ptrdiff_t open = slice_find(key, '{');
    if (open >= 0) {
        struct slice tag = slice_skip(key, (size_t)open + 1);
        ptrdiff_t close = slice_find(tag, '}');
        if (close > 0)
            key = slice_head(tag, (size_t)close);
    }
    unsigned crc = 0;
    for (size_t i = 0; i < key.len; i++) {
        crc ^= (unsigned)(unsigned char)key.ptr[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
    }
    return crc % REDIS_SLOTS;
}

bool redis_host_eq(const struct redis_host *a, const struct redis_host *b)
{
    return a->port == b->port && strcmp(a->name, b->name) == 0;
}

/* [name, port, …]. A node that doesn't know its own name leaves it out: it's as it was reached. */
static bool host_read(struct redis_host *out, const struct redis_value *value,
                      const struct redis_host *asked)
{
    if (value->type != VALUE_ARRAY || value->count < 2)
        return false;
    struct slice name = value->items[0].type == VALUE_STRING ? value->items[0].text : SLICE("");
    uint64_t port = redis_value_u64(&value->items[1]);
    if (name.len == 0 && asked)
        name = slice_str(asked->name);
    if (name.len == 0 || name.len >= sizeof out->name || memchr(name.ptr, '\0', name.len) ||
        slice_eq(name, SLICE("?")) || port == 0 || port > 65535)
        return false;
    *out = (struct redis_host){ .port = (uint16_t)port };
    memcpy(out->name, name.ptr, name.len);
    return true;
}

static int primary_index(struct redis_topology *topology, const struct redis_host *host)
{
    for (unsigned i = 0; i < topology->primary_count; i++)
        if (redis_host_eq(&topology->primaries[i], host))
            return (int)i;
    if (topology->primary_count == REDIS_PRIMARIES_MAX)
        return -1;
    topology->primaries[topology->primary_count] = *host;
    return (int)topology->primary_count++;
}

/* [first, last, primary, replica…] */
static bool range_read(struct redis_topology *out, const struct redis_value *row,
                       const struct redis_host *asked)
{
    if (row->type != VALUE_ARRAY || row->count < 3 || row->items[0].type != VALUE_INTEGER ||
        row->items[1].type != VALUE_INTEGER)
        return false;
    int64_t first = row->items[0].integer, last = row->items[1].integer;
    if (first < 0 || first > last || last >= REDIS_SLOTS)
        return false;
    struct redis_host host;
    if (!host_read(&host, &row->items[2], asked))
        return true; /* nobody can be reached for these */
    int primary = primary_index(out, &host);
    if (primary < 0)
        return false;
    out->ranges[out->range_count++] =
        (struct redis_slot_range){ (uint16_t)first, (uint16_t)last, (uint16_t)primary };
    for (size_t i = 3; i < row->count && out->other_count < REDIS_NODES_MAX; i++)
        if (host_read(&out->others[out->other_count], &row->items[i], asked))
            out->other_count++;
    return true;
}

bool redis_topology_cluster(struct redis_topology *out, struct arena *arena,
                            const struct redis_value *reply, const struct redis_host *asked)
{
    *out = (struct redis_topology){ 0 };
    if (reply->type != VALUE_ARRAY || reply->count == 0 || reply->count > REDIS_SLOTS)
        return false;
    size_t others = 0, primaries = MIN_OF(reply->count, (size_t)REDIS_PRIMARIES_MAX);
    for (size_t i = 0; i < reply->count; i++)
        others += reply->items[i].count;
    others = MIN_OF(others, (size_t)REDIS_NODES_MAX);
    out->primaries = arena_alloc(arena, primaries * sizeof *out->primaries);
    out->ranges = arena_alloc(arena, reply->count * sizeof *out->ranges);
    out->others = arena_alloc(arena, others * sizeof *out->others);
    for (size_t i = 0; i < reply->count; i++)
        if (!range_read(out, &reply->items[i], asked))
            return false;
    return out->primary_count > 0;
}

bool redis_topology_sentinel(struct redis_topology *out, struct arena *arena,
                             const struct redis_value *reply)
{
    *out = (struct redis_topology){ 0 };
    out->primaries = arena_alloc(arena, sizeof *out->primaries);
    out->ranges = arena_alloc(arena, sizeof *out->ranges);
    if (!host_read(&out->primaries[0], reply, NULL))
        return false;
    out->ranges[0] = (struct redis_slot_range){ 0, REDIS_SLOTS - 1, 0 };
    out->primary_count = out->range_count = 1;
    return true;
}

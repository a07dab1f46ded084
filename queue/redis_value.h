#pragma once
/* Replies as values in an arena; hiredis parses them. */
#include "engine/base/arena.h"
#include "engine/base/slice.h"

enum redis_value_type {
    VALUE_NIL,
    VALUE_STRING,
    VALUE_STATUS,
    VALUE_ERROR,
    VALUE_INTEGER,
    VALUE_ARRAY
};

/** A reply or a part of one; lives until the callback that got it returns. */
struct redis_value {
    enum redis_value_type type;
    int64_t integer;
    struct slice text;         /* STRING, STATUS, ERROR; a NUL behind it */
    struct redis_value *items; /* ARRAY */
    size_t count;
};

static inline bool redis_value_is(const struct redis_value *value, const char *text)
{
    return (value->type == VALUE_STRING || value->type == VALUE_STATUS) &&
           slice_eq(value->text, slice_str(text));
}

/** An error reply that begins with this word. */
static inline bool redis_value_fails(const struct redis_value *value, const char *word)
{
    return value->type == VALUE_ERROR && slice_starts_with(value->text, slice_str(word));
}

/** An error reply that says: not here, or not now (MOVED, ASK, TRYAGAIN, READONLY, CLUSTERDOWN,
 * MASTERDOWN, LOADING, or a script that met a slot on its way to another server). Nothing was
 * executed: scripts look for the latter before they write (queue/lua/lib/base.lua). */
bool redis_value_refused(const struct redis_value *value);

/** An integer reply, or a string of digits; 0 for anything else. */
uint64_t redis_value_u64(const struct redis_value *value);

/** Copies `from`, with all that is in it, into the arena. */
void redis_value_copy(struct redis_value *to, struct arena *arena, const struct redis_value *from);

struct redisReader;
/** A reader that puts its replies (struct redis_value) into the arena, which outlives it. It keeps
 * `buffer_bytes` between replies. */
struct redisReader *redis_value_reader(struct arena *arena, size_t buffer_bytes);

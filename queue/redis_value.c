#include "queue/redis_value.h"

#include <hiredis/hiredis.h>
#include <hiredis/read.h>

enum {
    ELEMENTS_MAX = 1 << 20, /* of an array: a length alone mustn't make us take all memory */
};

static struct redis_value *value_slot(const redisReadTask *task)
{
    if (task->parent) {
        struct redis_value *parent = task->parent->obj;
        return &parent->items[task->idx];
    }
    return arena_alloc(task->privdata, sizeof(struct redis_value));
}

static void *value_string(const redisReadTask *task, char *text, size_t len)
{
    struct redis_value *value = value_slot(task);
    enum redis_value_type type = task->type == REDIS_REPLY_ERROR    ? VALUE_ERROR
                                 : task->type == REDIS_REPLY_STATUS ? VALUE_STATUS
                                                                    : VALUE_STRING;
    *value = (struct redis_value){ .type = type,
                                   .text = arena_copy(task->privdata, slice_of(text, len)) };
    return value;
}

static void *value_array(const redisReadTask *task, int elements)
{
    size_t count = elements > 0 ? (size_t)elements : 0;
    if (count > ELEMENTS_MAX)
        return NULL; /* the reader fails */
    struct redis_value *value = value_slot(task);
    *value = (struct redis_value){ .type = VALUE_ARRAY, .count = count };
    value->items = arena_alloc(task->privdata, (count ? count : 1) * sizeof *value->items);
    memset(value->items, 0, count * sizeof *value->items);
    return value;
}

static void *value_integer(const redisReadTask *task, long long integer)
{
    struct redis_value *value = value_slot(task);
    *value = (struct redis_value){ .type = VALUE_INTEGER, .integer = integer };
    return value;
}

static void *value_nil(const redisReadTask *task)
{
    struct redis_value *value = value_slot(task);
    *value = (struct redis_value){ .type = VALUE_NIL };
    return value;
}

static void value_free(void *value)
{
    (void)value; /* the arena's */
}

static redisReplyObjectFunctions value_functions = {
    .createString = value_string,
    .createArray = value_array,
    .createInteger = value_integer,
    .createNil = value_nil,
    .freeObject = value_free,
};

struct redisReader *redis_value_reader(struct arena *arena, size_t buffer_bytes)
{
    redisReader *reader = redisReaderCreateWithFunctions(&value_functions);
    assert(reader); /* as mem_alloc: without memory there's no going on */
    reader->maxbuf = buffer_bytes;
    reader->privdata = arena;
    return reader;
}

static bool holds(struct slice text, struct slice part)
{
    return text.len > 0 && memmem(text.ptr, text.len, part.ptr, part.len) != NULL;
}

bool redis_value_refused(const struct redis_value *value)
{
    static const char *const words[] = { "MOVED ",      "ASK ",       "TRYAGAIN", "READONLY",
                                         "CLUSTERDOWN", "MASTERDOWN", "LOADING" };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (redis_value_fails(value, words[i]))
            return true;
    return value->type == VALUE_ERROR &&
           holds(value->text, SLICE("attempted to access a non local key"));
}

uint64_t redis_value_u64(const struct redis_value *value)
{
    uint64_t number = 0;
    if (value->type == VALUE_INTEGER)
        return value->integer > 0 ? (uint64_t)value->integer : 0;
    if ((value->type == VALUE_STRING || value->type == VALUE_STATUS) &&
        slice_to_u64(value->text, &number))
        return number;
    return 0;
}

void redis_value_copy(struct redis_value *to, struct arena *arena, const struct redis_value *from)
{
    *to = *from;
    if (from->text.ptr)
        to->text = arena_copy(arena, from->text);
    if (from->count == 0)
        return;
    to->items = arena_alloc(arena, from->count * sizeof *to->items);
    for (size_t i = 0; i < from->count; i++)
        redis_value_copy(&to->items[i], arena, &from->items[i]);
}

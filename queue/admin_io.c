#include "queue/admin_io.h"

#include <stdio.h>

enum { GROUP_CALLS = 128 }; /* that Redis answers in one go */

void admin_open(struct admin *admin, struct producer *producer)
{
    *admin = (struct admin){ .producer = producer,
                             .name_space = producer->name_space,
                             .partitions = producer->partitions,
                             .arena = { .block_bytes = 1 << 16 } };
    producer_pipeline_begin(producer);
}

void admin_close(struct admin *admin)
{
    producer_pipeline_begin(admin->producer);
    arena_free(&admin->arena);
    *admin = (struct admin){ 0 };
}

void admin_reset(struct admin *admin)
{
    producer_pipeline_begin(admin->producer);
    arena_reset(&admin->arena);
    admin->added = 0;
    admin->failed = false;
}

static bool all_good(struct admin *admin, struct err *err)
{
    for (struct producer_call *call = producer_pipeline_first(admin->producer); call;
         call = producer_pipeline_next(admin->producer, call))
        if (!producer_reply_good(admin->producer, call->reply, err))
            return false;
    return true;
}

static void run_early(struct admin *admin)
{
    if (!admin->failed)
        admin->failed = !producer_pipeline_run(admin->producer, &admin->why);
    admin->added = 0;
}

/* Only what writes has to reach the replicas. */
static bool writes(struct slice command)
{
    static const struct slice verbs[] = { SLICE("HSET"), SLICE("HSETNX"), SLICE("HDEL"),
                                          SLICE("XADD") };
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (slice_eq(command, verbs[i]))
            return true;
    return false;
}

struct producer_call *admin_add(struct admin *admin, enum script script, struct slice key,
                                const struct slice *args, size_t count)
{
    if (++admin->added > GROUP_CALLS)
        run_early(admin);
    return script == SCRIPT_COUNT
               ? producer_pipeline_add(admin->producer, key, writes(args[0]), args, count)
               : producer_pipeline_add_eval(admin->producer, script, &key, 1, args, count);
}

bool admin_run(struct admin *admin, struct err *err)
{
    if (admin->failed) {
        *err = admin->why;
        return false;
    }
    admin->added = 0;
    return producer_pipeline_run(admin->producer, err) && all_good(admin, err);
}

const struct redis_value *admin_ask(struct admin *admin, struct err *err, struct slice key,
                                    const struct slice *args, size_t count)
{
    struct producer_call *call = admin_add(admin, SCRIPT_COUNT, key, args, count);
    return admin_run(admin, err) ? call->reply : NULL;
}

struct slice admin_number(struct admin *admin, int64_t number)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)number);
    return arena_copy(&admin->arena, slice_of(digits, (size_t)len));
}

struct slice admin_key(struct admin *admin, unsigned partition, const char *name, struct slice rest)
{
    size_t room = strlen(admin->name_space) + strlen(name) + rest.len + 16;
    char *text = arena_alloc(&admin->arena, room);
    int len = snprintf(text, room, "%s:{%u}:%s", admin->name_space, partition, name);
    if (rest.len > 0)
        memcpy(text + len, rest.ptr, rest.len);
    return slice_of(text, (size_t)len + rest.len);
}

struct slice admin_key_global(struct admin *admin, const char *name)
{
    struct queue_key key = queue_key_global(admin->name_space, name, SLICE(""));
    return arena_copy(&admin->arena, queue_key_slice(&key));
}

const struct redis_value *admin_item(const struct redis_value *list, size_t i)
{
    return producer_item(list, i);
}

int64_t admin_int(const struct redis_value *value)
{
    uint64_t number = redis_value_u64(value);
    return number <= INT64_MAX ? (int64_t)number : 0;
}

bool admin_now(struct admin *admin, int64_t *now_ms, struct err *err)
{
    const struct redis_value *time =
        ADMIN_ASK(admin, err, admin_key_global(admin, "meta"), SLICE("TIME"));
    if (!time)
        return false;
    *now_ms = admin_int(admin_item(time, 0)) * 1000 + admin_int(admin_item(time, 1)) / 1000;
    return true;
}

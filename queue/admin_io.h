#pragma once
/* What operators' commands ask of Redis: any number of calls at once, answers as values. Blocking,
 * on the producer's connection. */
#include "queue/keys.h"
#include "queue/producer_internal.h"
#include "queue/redis_value.h"
#include "queue/scripts.h"

struct admin {
    struct producer *producer;
    const char *name_space;
    unsigned partitions;
    struct arena arena; /* keys, numbers */
    unsigned added;     /* since the last run */
    bool failed;        /* one that ran early, see admin_add() */
    struct err why;
};

void admin_open(struct admin *admin, struct producer *producer);
void admin_close(struct admin *admin);

/** Forgets all calls, their replies, keys and numbers. */
void admin_reset(struct admin *admin);
/** Adds a call, whose reply is there after admin_run(); all is copied. `key` tells which server
 * it's for, and is KEYS[1] of a script (SCRIPT_COUNT: a plain command). Many calls run in groups,
 * as they're added, so that Redis answers others in between. */
struct producer_call *admin_add(struct admin *admin, enum script script, struct slice key,
                                const struct slice *args, size_t count);
/** ADMIN_COMMAND(admin, key, SLICE("HGET"), key, field): the key is named once more, as an
 * argument. */
#define ADMIN_COMMAND(admin, key, ...)                                                             \
    admin_add(admin, SCRIPT_COUNT, key, (struct slice[]){ __VA_ARGS__ },                           \
              sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice))
/** ADMIN_EVAL(admin, SCRIPT_WALK, key, ARGV…) */
#define ADMIN_EVAL(admin, script, key, ...)                                                        \
    admin_add(admin, script, key, (struct slice[]){ __VA_ARGS__ },                                 \
              sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice))
/** Runs the calls that were added and didn't run yet. False when a reply is missing or an error. */
MUST_USE bool admin_run(struct admin *admin, struct err *err);
/** One plain command, run at once; its reply is valid until admin_reset(). NULL on failure. */
#define ADMIN_ASK(admin, err, key, ...)                                                            \
    admin_ask(admin, err, key, (struct slice[]){ __VA_ARGS__ },                                    \
              sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice))
const struct redis_value *admin_ask(struct admin *admin, struct err *err, struct slice key,
                                    const struct slice *args, size_t count);

/** A number as text, in the admin's memory. */
struct slice admin_number(struct admin *admin, int64_t number);
/** The key "ns:{p}:NAME" + rest, and "ns:NAME", of any length, in the admin's memory. */
struct slice admin_key(struct admin *admin, unsigned partition, const char *name,
                       struct slice rest);
struct slice admin_key_global(struct admin *admin, const char *name);

/** Item i of a list; a nil when it isn't there. */
const struct redis_value *admin_item(const struct redis_value *list, size_t i);
/** An integer, or a text that is one; else 0. Never below 0. */
int64_t admin_int(const struct redis_value *value);
/** Wall clock of Redis, ms since 1970. */
MUST_USE bool admin_now(struct admin *admin, int64_t *now_ms, struct err *err);

#pragma once
/* Redis as command-line programs see it: calls that return when their answers are there. Below is
 * the engine's own connection (queue/redis_set.h) on a ring that only runs during these calls, so
 * all URLs work here, too, and each command goes to the server of its key.
 *
 * A command that a server refuses for now, because a failover or a resharding is under way, is
 * repeated until it's taken, for a while. One whose connection was lost is not: perhaps it was
 * executed. */
#include "engine/ring/ring.h"
#include "queue/loader.h"
#include "queue/producer.h"
#include "queue/redis_set.h"

enum { EVENT_ID_BYTES = 48 };

/** A command of a pipeline. */
struct producer_call {
    struct list node; /* in the pipeline */
    struct producer *producer;
    struct redis_call call, asking_call;
    struct redis *fixed;  /* the server it's for; NULL: that of the key */
    struct redis *server; /* it was last sent to */
    struct slice key;
    struct slice *args; /* of a script args[1] is its digest, filled in when it's sent */
    unsigned count;
    enum script script;      /* SCRIPT_COUNT: none */
    unsigned state;          /* private */
    int64_t again_ms;        /* not before */
    struct redis_host asked; /* where to go this once, as an ASK said; port 0: nowhere */
    const struct redis_value *reply;
};

struct producer_server; /* what is kept for each server */

struct producer {
    struct ring *ring;
    struct redis_set *set;
    struct log log; /* silent: what goes wrong is told by `err` */
    bool opened, stopped;
    char *name_space;
    char *place; /* of the Redis, for messages */
    unsigned partitions;
    struct arena arena; /* calls and their replies */
    struct list calls;  /* of the pipeline, in order */
    unsigned under_way;
    uint64_t entries_since_look;       /* appended since the stream's length was looked at */
    char (*event_ids)[EVENT_ID_BYTES]; /* last read event of each partition */
};

/* ---- producer.c ---- */

void producer_pause_ms(int ms);
int64_t producer_wall_ms(void);

/* ---- producer_io.c ---- */

/** The connection, made within 5 s. */
MUST_USE bool producer_io_open(struct producer *producer, const struct producer_options *options,
                               struct err *err);
void producer_io_close(struct producer *producer);
/** Waits until all servers are there. */
MUST_USE bool producer_io_connected(struct producer *producer, struct err *err);

/** Sends one command to the server of `key` (empty: to any) and waits for its reply, which lives
 * until the next command or pipeline. NULL and `err` when there's none; an error reply is returned
 * as such. `durable`: see struct redis_call. */
const struct redis_value *producer_command_to(struct producer *producer, struct err *err,
                                              struct slice key, bool durable,
                                              const struct slice *args, size_t count);
/** PRODUCER_COMMAND(producer, err, key, SLICE("GET"), key): the key is named once more, as an
 * argument. PRODUCER_WRITE: its reply waits for the replicas, if that is set. */
#define PRODUCER_COMMAND(producer, err, key, ...)                                                  \
    producer_command_to(producer, err, key, false, (struct slice[]){ __VA_ARGS__ },                \
                        sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice))
#define PRODUCER_WRITE(producer, err, key, ...)                                                    \
    producer_command_to(producer, err, key, true, (struct slice[]){ __VA_ARGS__ },                 \
                        sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice))
/** One command to server number `index` (below redis_set_count()), whatever its keys. */
const struct redis_value *producer_command_at(struct producer *producer, struct err *err,
                                              unsigned index, const struct slice *args,
                                              size_t count);
/** Runs a script, as producer_command_to(). All keys are on the server of keys[0]. */
const struct redis_value *producer_eval(struct producer *producer, struct err *err,
                                        enum script script, const struct slice *keys,
                                        size_t key_count, const struct slice *args, size_t count);

/* Many commands at once: begin, add, run; then the replies, in the order of adding. */

/** Forgets all calls and replies. */
void producer_pipeline_begin(struct producer *producer);
/** Everything is copied. The call lives until the next producer_pipeline_begin() or command. */
struct producer_call *producer_pipeline_add(struct producer *producer, struct slice key,
                                            bool durable, const struct slice *args, size_t count);
#define PRODUCER_ADD(producer, key, ...)                                                           \
    producer_pipeline_add(producer, key, false, (struct slice[]){ __VA_ARGS__ },                   \
                          sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice))
struct producer_call *producer_pipeline_add_eval(struct producer *producer, enum script script,
                                                 const struct slice *keys, size_t key_count,
                                                 const struct slice *args, size_t count);
/** Runs what was added since the last run. False when a reply is missing; error replies are
 * replies. */
MUST_USE bool producer_pipeline_run(struct producer *producer, struct err *err);
static inline struct producer_call *producer_pipeline_first(const struct producer *producer)
{
    return list_empty(&producer->calls)
               ? NULL
               : LIST_ENTRY(producer->calls.next, struct producer_call, node);
}
static inline struct producer_call *producer_pipeline_next(const struct producer *producer,
                                                           const struct producer_call *call)
{
    return call->node.next == &producer->calls
               ? NULL
               : LIST_ENTRY(call->node.next, struct producer_call, node);
}

/** False, and `err` says so, when the reply is an error; or is missing, which `err` says already.
 */
bool producer_reply_good(struct producer *producer, const struct redis_value *reply,
                         struct err *err);
/** Item i of an array; a nil when there's none. */
const struct redis_value *producer_item(const struct redis_value *array, size_t i);

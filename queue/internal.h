#pragma once
/* What queue.c, owner.c, lease.c, ack.c and sweep.c share: the queue as one worker holds it.
 * Nothing outside of queue/ includes this. */
#include "engine/base/map.h"
#include "engine/base/mem.h"
#include "queue/journal.h"
#include "queue/keys.h"
#include "queue/loader.h"
#include "queue/queue.h"
#include "queue/record.h"
#include "queue/redis_set.h"

enum {
    LEASE_JOBS_MAX =
        1000, /* of one destination in one call: Lua's unpack() has a limit of about 8000 */
    LEASE_CALL_JOBS_MAX = 2000, /* in one call: bounds the time that Redis is busy with it */
    PROMOTE_MAX = 100,          /* due retries brought back by one call */
    SWEEP_COUNT = 500,          /* in-flight entries looked at by one call */
    COMMIT_MARGIN_MS = 1500,    /* of the owner's lease that must be left at an end-of-data */
    ACK_AGE_MAX_MS = 2000,      /* outcomes not recorded for longer stop new ends-of-data */
    STATS_MS = 1000,
    BLOCK_STEP = 256,   /* job blocks come in multiples of this … */
    BLOCK_CLASSES = 16, /* … and are kept for reuse up to this many */
};

/** A job with what only the queue needs to know. */
struct held_job {
    struct queue_job job;
    uint64_t epoch; /* it was leased under */
    uint32_t block_class;
    bool lost;    /* someone else's now */
    bool rewrite; /* a release must write the record anew */
    /* from queue_finish() to its ack, offsets into the batch's text: */
    enum queue_end end;
    bool unknown;
    int64_t retry_at_ms;
    uint32_t record_at, record_len, event_at, event_len;
    char block[];
};

/** Outcomes of one partition that travel together. */
struct ack_batch {
    struct list node; /* in the partition's `acks` or the queue's free list */
    struct queue_partition *partition;
    struct redis_call call;
    struct list jobs; /* queue_job.lease_node */
    unsigned count;
    bool sealed; /* to be sent, or sent */
    bool sent;
    struct buf text; /* records and events */
    int64_t oldest_ms;
};

struct lease_request {
    uint32_t name_at, name_len; /* in the call's names */
    bool park;
    unsigned jobs, visit_ms;
    int64_t due_ms;
};

/** Requests of one partition that travel together. */
struct lease_call {
    struct list node; /* in the partition's `asks`, or the queue's free list */
    struct queue_partition *partition;
    struct redis_call call;
    struct buf names;
    struct lease_request *requests;
    unsigned count, room;
    unsigned jobs; /* asked for in sum */
    unsigned discover_jobs, discover_per_destination, discover_visit_ms;
};

/** One of the servers, in redis_set_data(). */
struct queue_server {
    struct queue *queue;
    struct redis *redis;
    struct script_loader scripts;
    bool ready;     /* scripts are there and ns:meta is fine */
    bool meta_busy; /* being read */
    struct redis_call meta_version_call, meta_partitions_call, meta_read_call;
};

enum partition_state {
    PARTITION_FREE, /* not ours; asked for with each renewal */
    PARTITION_ACQUIRING,
    PARTITION_OWNED,
};

struct partition_counts {
    uint64_t accepted, delivered, bounced, expired, suppressed, cancelled, deferred, unknown,
        retrying;
};

struct queue_partition {
    struct queue *queue;
    unsigned index;
    /* From its readiness to its `down`, even when the partition moves to another one meanwhile:
     * what is under way there must be answered before anything is sent elsewhere. */
    struct queue_server *server;
    enum partition_state state;
    struct queue_key key_epoch, key_owner, key_holder, key_inflight, key_counters, key_retry;
    uint64_t epoch, since; /* 0: never ours; since: first epoch of this unbroken tenure */
    char epoch_text[24];
    unsigned tenures;
    int64_t lease_until_ms;       /* monotonic */
    int64_t asked_ms;             /* when the acquisition or renewal under way was sent */
    struct redis_call owner_call; /* acquire or renew */
    bool owner_busy;
    struct map held;  /* by job id: leased in this tenure, until the ack */
    struct list acks; /* ack_batch, oldest first; the last may be filling */
    struct list asks; /* lease_call not sent */
    bool discovering;
    struct redis_call sweep_call;
    struct redis_call counts_call, retry_call;
    struct partition_counts counts;
};

struct load_call {
    struct list node;
    struct redis_call call;
    struct queue *queue;
    struct redis *server;
    struct queue_load *load;
};

struct queue {
    struct ring *ring;
    struct queue_options options;
    const struct queue_events *events;
    void *user;
    struct redis_set *redis;
    struct queue_partition *partitions; /* those of this worker */
    unsigned count;
    unsigned servers_ready;
    bool meta_fine;  /* ns:meta was read and is as we want it */
    bool recordable; /* as last told */
    bool stopping;
    void (*stopped)(void *user);
    void *stopped_user;
    char *node, *name_space;
    char holder[96]; /* NODE/WORKER/INSTANCE */
    char owner_lease_text[12], job_lease_text[12], events_max_text[24];
    struct ring_timer renew_timer, ack_timer, stats_timer, stop_timer;
    struct ring_task flush;
    struct queue_key key_meta;
    bool meta_told;         /* a wrong one is logged once */
    unsigned discover_next; /* partition to begin with */
    struct list free_batches, free_asks, free_loads;
    struct list loads;                 /* queue_load not sent */
    struct list loads_sent;            /* load_call */
    struct list blocks[BLOCK_CLASSES]; /* free job blocks */
    struct slice *args;                /* scratch for one command */
    unsigned args_room;
    struct buf numbers;   /* scratch for its numbers */
    struct slice *values; /* scratch for record_parse() */
    unsigned stats_busy;
    struct queue_stats stats;
};

/* Statistics are read by other threads with relaxed atomics. */
#define STAT_SET(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
#define STAT_ADD(field, value) STAT_SET(field, (field) + (value))

/* queue.c */
/** Room for a command's arguments; valid until the next call. */
struct slice *queue_args(struct queue *queue, unsigned count);
/** Any unexpected reply: the connection to this server is given up; after it comes a new epoch for
 * each of its partitions and everything unanswered again. Errors that only a cluster or a failover
 * brings (MOVED, CLUSTERDOWN, READONLY, LOADING …) are no exception. */
void queue_fault(struct queue_server *server, const char *what, const struct redis_value *reply);
/** Whether commands for the partition can be sent now. */
static inline bool partition_up(const struct queue_partition *partition)
{
    return partition->server && redis_up(partition->server->redis);
}
void queue_recordable_update(struct queue *queue);
void queue_flush_later(struct queue *queue);
/** A job from a record, not yet held; NULL (and logged) when the record is malformed. */
struct held_job *held_job_create(struct queue_partition *partition, struct slice record,
                                 uint64_t epoch);
/** Takes it out of the partition's map, frees its journal slot and its memory. */
void held_job_end(struct held_job *held);
void queue_stop_drain(struct queue *queue);

/* owner.c */
void partition_acquire(struct queue_partition *partition);
void partition_renew(struct queue_partition *partition);
void partition_give_up(struct queue_partition *partition);
/** A script said STALE: the epoch isn't ours any more. */
void partition_stale(struct queue_partition *partition);

/* lease.c */
void partition_asks_send(struct queue_partition *partition);
void partition_asks_drop(struct queue_partition *partition);
void lease_call_free(struct lease_call *call);

/* ack.c */
/** Sends what isn't on its way; `all`: a batch that is still filling, too. */
void partition_acks_send(struct queue_partition *partition, bool all);
/** Ends all finished jobs without recording them. */
void partition_acks_drop(struct queue_partition *partition);
/** Monotonic time of the oldest outcome not yet durable; 0: none. */
int64_t partition_ack_oldest(const struct queue_partition *partition);
void ack_batch_free(struct ack_batch *batch);

/* sweep.c */
/** Looks through the in-flight hash for jobs that nobody holds. */
void partition_sweep(struct queue_partition *partition);

#pragma once
/* What queue.c, owner.c, lease.c, ack.c and sweep.c share: the queue as one worker holds it.
 * Nothing outside of queue/ includes this. */
#include <jansson.h>

#include "engine/base/map.h"
#include "engine/base/mem.h"
#include "queue/control.h"
#include "queue/journal.h"
#include "queue/keys.h"
#include "queue/loader.h"
#include "queue/order_rounds.h"
#include "queue/queue.h"
#include "queue/record.h"
#include "queue/redis_set.h"

enum {
    LEASE_JOBS_MAX =
        1000, /* of one destination in one call: Lua's unpack() has a limit of about 8000 */
    LEASE_CALL_JOBS_MAX = 2000, /* in one call: bounds the time that Redis is busy with it */
    TICK_MS = 250,              /* how soon orders, suppressions and what is due are noticed */
    TICK_MOVES_MAX = 100,       /* due retries and queues brought back by one call */
    TICK_EXPIRE_MAX = 200,      /* jobs expired by one call */
    JOIN_MS = 1000,             /* a sign of life */
    DEAD_MS = 5000,             /* without one a worker is taken for dead */
    TAKE_OVER_MS = 500,         /* between tries to acquire a partition that should be ours */
    SWEEP_COUNT = 500,          /* in-flight entries looked at by one call */
    COMMIT_MARGIN_MS = 1500,    /* of the owner's lease that must be left at an end-of-data */
    ACK_AGE_MAX_MS = 2000,      /* outcomes not recorded for longer stop new ends-of-data */
    SITES_MAX = 100000,         /* destinations whose hosts are remembered */
    STATS_MS = 1000,
    BLOCK_STEP = 256,   /* job blocks come in multiples of this … */
    BLOCK_CLASSES = 16, /* … and are kept for reuse up to this many */
};

/** A job with what only the queue needs to know. */
struct held_job {
    struct queue_job job;
    uint64_t epoch; /* it was leased under */
    uint32_t block_class;
    int64_t accepted_ms;
    char pool[QUEUE_NAME_BYTES_MAX];
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
    enum queue_class class;
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
    struct lease_discovery {
        unsigned jobs, per_destination, visit_ms;
    } discover[QUEUE_CLASSES];
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
    bool discovering[QUEUE_CLASSES];
    bool wanted;   /* it falls to this worker */
    bool draining; /* to be given up when nothing is held */
    int64_t tried_ms;
    struct redis_call sweep_call, tick_call;
    bool tick_busy;
    char notice[24];      /* id of the last suppression heard of */
    uint64_t orders_hash; /* of the text they came as */
    struct order *orders;
    unsigned order_count;
    struct list rounds; /* of orders that are walked, see order_rounds.c */
    struct redis_call weights_call;
    bool weights_busy;
    struct redis_call counts_call, retry_call;
    struct partition_counts counts;
};

/** What operators ordered, as far as it concerns leased jobs. Strings are the root's. */
struct order {
    json_t *root;
    const char *action, *class, *tenant, *campaign, *submission, *destination, *site, *pool;
    int64_t at_ms, before_ms;
};

/** The hosts that serve a destination, as told with queue_site(). */
struct site_hosts {
    struct slice destination, hosts;
    char data[];
};

/** A command whose answer is only looked at for errors. */
struct loose_call {
    struct list node;
    struct redis_call call;
    struct queue *queue;
    struct redis *server;
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
    struct queue_partition *partitions; /* all */
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
    struct ring_timer renew_timer, ack_timer, stats_timer, stop_timer, tick_timer, join_timer;
    struct redis_call join_call;
    bool join_busy;
    struct map sites; /* destination → site_hosts */
    struct control *control;
    struct order_rounds *rounds;
    struct ring_task flush;
    struct queue_key key_meta;
    bool meta_told;         /* a wrong one is logged once */
    unsigned discover_next; /* partition to begin with */
    struct list free_batches, free_asks, free_loads, free_loose;
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
/** The same for what a partition sent. A refusal that concerns its slot only (on its way to another
 * server) sets this partition aside and leaves the others alone; it's acquired anew, until it can
 * be. */
void partition_fault(struct queue_partition *partition, const char *what,
                     const struct redis_value *reply);
/** Whether commands for the partition can be sent now. */
static inline bool partition_up(const struct queue_partition *partition)
{
    return partition->server && redis_up(partition->server->redis);
}
/** Whether more jobs may be leased from the partition. */
static inline bool partition_leasing(const struct queue_partition *partition)
{
    return partition->state == PARTITION_OWNED && !partition->draining;
}
/** "t", "d" or "b", as in keys. */
struct slice queue_class_letter(enum queue_class class);
bool queue_class_of_letter(struct slice letter, enum queue_class *out);
void queue_recordable_update(struct queue *queue);
void queue_flush_later(struct queue *queue);
/** What a lease tells about a group of records; empty for those found in flight. */
struct job_group {
    struct slice destination, flow, stream, pool;
    enum queue_class class;
    int64_t accepted_ms;
};
/** A job from a record, not yet held; NULL (and logged) when the record is malformed. */
struct held_job *held_job_create(struct queue_partition *partition, struct slice record,
                                 const struct job_group *group, uint64_t epoch);
/** Sends a command that nobody waits for; lost with the connection. */
void queue_send_loose(struct queue *queue, struct redis *server, const struct slice *args,
                      unsigned count);
/** All jobs of the submission that this partition had are ended: its content may go. */
void queue_release_content(struct queue_partition *partition, struct slice submission);
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

/* tick.c */
void partition_tick(struct queue_partition *partition);
void partition_orders_free(struct queue_partition *partition);
/** Sets `held` and `pool` by the orders in force. */
void partition_orders_apply(const struct queue_partition *partition, struct held_job *held);

/* weights.c */
/** Brings the tenants' weights up to date in a partition that was acquired. */
void partition_weights(struct queue_partition *partition);

/* shares.c */
/** Says that we're here, and learns who else is. */
void shares_join(struct queue *queue);
void shares_leave(struct queue *queue);
/** Tries to get what should be ours, gives up what shouldn't and isn't needed any more. */
void shares_balance(struct queue *queue);

/* sweep.c */
/** Looks through the in-flight hash for jobs that nobody holds. */
void partition_sweep(struct queue_partition *partition);

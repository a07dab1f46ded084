#pragma once
/* The queue as one worker sees it: its partitions, leases, acks, content. Redis through our own
 * stream (queue/redis.h). queue/README.md holds the keys, the record format, the scripts and the
 * promises; in short:
 *
 *  - A worker owns partitions (lease in Redis with a deadline, renewed; an epoch that grows with
 * each acquisition). Every script checks the epoch. After any lost Redis connection the worker
 * acquires anew, so that no command of the old connection that runs late (a ghost) can do harm;
 * what was not answered is repeated under the new epoch.
 *  - A leased job is in the partition's in-flight hash until its ack; ack, counters and event are
 * one script, which does nothing for a job that isn't in flight any more.
 *  - queue_commit() is the fence before an end-of-data, and writes the journal slot
 * (queue/journal.h) that tells after a crash what is in doubt.
 */
#include "engine/ring/ring.h"

struct queue;
struct queue_partition;

struct queue_journal;

/** Classes, in the order in which they are served. */
enum queue_class {
    QUEUE_TRANSACTIONAL, /* 't': somebody waits for it */
    QUEUE_DEADLINE,      /* 'd': worthless after its expiry; earliest expiry first */
    QUEUE_BULK,          /* 'b' */
    QUEUE_CLASSES,
};
/** "transactional", "deadline", "bulk". */
const char *queue_class_name(enum queue_class class);

enum queue_flags {
    QUEUE_JOB_MAYBE_DUPLICATE = 1 << 0, /* an earlier attempt's outcome is unknown */
    QUEUE_JOB_REQUIRE_TLS = 1 << 1,     /* REQUIRETLS (RFC 8689, 2) */
    QUEUE_JOB_WAIVE_TLS = 1 << 2,       /* "TLS-Required: No" (RFC 8689, 5) */
};

/** A leased job. The queue allocates it; the holder has it from `leased` (or `recovered`) until
 * queue_finish(). */
struct queue_job {
    struct list node;       /* the holder's to use */
    struct list lease_node; /* the queue's */
    struct queue_partition *partition;
    struct slice id;         /* "SUBMISSION-N", ≤ 38 bytes */
    struct slice submission; /* the part before the last '-' */
    struct slice recipient;  /* local@domain as submitted, checked */
    struct slice destination;
    struct slice tenant, campaign, stream; /* of its submission; may be empty */
    struct slice pool; /* of sources: an operator moved it there; empty: as the submission says */
    enum queue_class class;
    struct slice last_reply; /* of the attempt before, for people; may be empty */
    unsigned attempts;       /* earlier attempts that reached a server or a verdict */
    unsigned flags;
    unsigned value_count; /* merge data, in the order of the content's fields */
    const struct slice *values;
    int64_t leased_ms;    /* monotonic */
    int64_t deadline_ms;  /* monotonic: no end-of-data after it */
    int32_t journal_slot; /* the queue's; -1: none */
    bool held;            /* a suspension, pause, cancellation or purge has it: to be released */
    bool suppressed;      /* its address was suppressed after the lease: to be ended so */
    bool finished;        /* the queue's */
    void *user;           /* the holder's to use */
};

enum queue_end {
    /* terminal */
    QUEUE_DELIVERED,
    QUEUE_BOUNCED,
    QUEUE_EXPIRED,
    QUEUE_SUPPRESSED,
    QUEUE_CANCELLED,
    /* not terminal */
    QUEUE_RETRY,   /* counts as an attempt; back at retry_at_ms */
    QUEUE_RELEASE, /* back to the head of its destination's queue, as if never leased; no event */
};

/** What to record. All slices need to live only during queue_finish(). */
struct queue_outcome {
    enum queue_end end;
    int64_t retry_at_ms;  /* QUEUE_RETRY: wall clock */
    bool unknown;         /* end-of-data was sent, no reply: marks the job and its event */
    unsigned code;        /* of the reply, peer's or local */
    bool local;           /* the reply was ours */
    struct slice status;  /* "5.1.1" or empty */
    struct slice text;    /* the reply's text */
    const char *phase;    /* smtp_phase_name() */
    const char *category; /* verdict's category, or NULL */
    struct slice site, host, address; /* whom it was tried at; may be empty */
    struct slice source;
    const char *tls;     /* "TLSv1.3" or NULL */
    int64_t duration_ms; /* of the attempt */
};

/** What the journal of an engine that died says about a job that it had in flight. */
enum queue_recovery {
    QUEUE_RECOVERED_UNKNOWN, /* end-of-data sent, no reply recorded */
    QUEUE_RECOVERED_REPLIED, /* `code` is the reply's */
};

struct queue_events {
    /** Jobs of one destination and class were leased (list of queue_job.node). `waiting`: at least
     * so many that could be leased now are still queued there in that class. */
    void (*leased)(void *user, struct queue_partition *partition, struct slice destination,
                   enum queue_class class, struct list *jobs, unsigned count, uint64_t waiting);
    /** queue_lease() found nothing (more): nothing of this class can be leased there now. */
    void (*drained)(void *user, struct queue_partition *partition, struct slice destination,
                    enum queue_class class);
    /** A job that a dead engine (this node's earlier process) had in doubt. The callee ends it with
     * queue_finish(). Jobs without doubt go back to their queues without a call. */
    void (*recovered)(void *user, struct queue_job *job, enum queue_recovery what, unsigned code);
    /** Whether outcomes can be recorded now (connected, epoch held). While false queue_commit()
     * refuses. */
    void (*recordable)(void *user, bool yes);
    /** The partition belongs to someone else now: its jobs can't be committed any more; the holder
     * ends each as soon as it can with queue_finish() (which records nothing). */
    void (*lost)(void *user, struct queue_partition *partition);
    /** Operators' orders or suppressions changed: `held`, `suppressed` or `pool` of some leased
     * jobs is new. Held ones that wait are released, suppressed ones ended; those under way run
     * into queue_commit(), which refuses both. */
    void (*changed)(void *user);
    /** Another worker is to have the partition: no more leases come; the holder releases what waits
     * and lets open transactions end. The queue gives it up when nothing is held any more. */
    void (*draining)(void *user, struct queue_partition *partition);
    /** An acked outcome is durable: `lag_ms` since queue_finish(). For the latency figures; may be
     * NULL. */
    void (*acked)(void *user, unsigned count, int64_t lag_ms);
};

/** A tenant's weight among those that want to send to the same destination; 1 unless it's named. */
struct queue_tenant {
    const char *name;
    unsigned weight;
};

struct queue_options {
    const char *url;          /* queue/url.h */
    const char *name_space;   /* prefix of all keys; "e" */
    unsigned partitions;      /* fixed at the first start on a Redis; 16 */
    const char *node;         /* stable id of this node (kept in the state directory) */
    uint64_t instance;        /* of the process, random, the same for all its workers; 0: made up */
    unsigned worker, workers; /* number of this worker in its node, and how many there are */
    unsigned owner_lease_ms;  /* 8000 */
    unsigned job_lease_ms;    /* 7,200,000: longer than the longest attempt */
    unsigned ack_batch_max;   /* 256 */
    unsigned ack_delay_ms;    /* 5 */
    struct queue_journal *journal; /* this worker's part (queue/journal.h); outlives the queue */
    const struct log *log;
    uint64_t events_max;       /* kept in the events streams, all partitions together; 1,000,000 */
    unsigned redis_timeout_ms; /* 3000 */
    unsigned wait_replicas;    /* that must have what is leased and recorded; 0: none */
    unsigned wait_timeout_ms;  /* how long it may take them; 1000 */
    const struct queue_tenant *tenants; /* outlive the queue */
    unsigned tenant_count;
    unsigned orders_walk_ms; /* between walks over what orders may still end; 30,000 */
};

MUST_USE bool queue_create(struct queue **out, struct ring *ring,
                           const struct queue_options *options, const struct queue_events *events,
                           void *user, struct err *err);
/** Connects and goes on trying, with a growing pause, as long as it takes. */
void queue_start(struct queue *queue);
/** Flushes acks, gives partitions up (unfinished jobs must have been finished by the holder),
 * closes; then `stopped`. Gives up on an unreachable Redis after `timeout_ms`: the journal and the
 * leases' deadlines cover what is left. */
void queue_stop(struct queue *queue, int64_t timeout_ms, void (*stopped)(void *user), void *user);
void queue_destroy(struct queue **queue);

/* Requests below are collected during a turn and leave as one script call per partition. */

/** Offers room for up to `jobs` more jobs of a class, of destinations that are due and weren't
 * visited for that class lately, at most `per_destination` each. Each such destination isn't
 * offered again in that class for `visit_ms`, unless queue_lease() asks for it by name. */
void queue_discover(struct queue *queue, enum queue_class class, unsigned jobs,
                    unsigned per_destination, unsigned visit_ms);
/** Asks for up to `jobs` more jobs of one destination and class; 0 only keeps it from being
 * discovered for `visit_ms`. */
void queue_lease(struct queue_partition *partition, struct slice destination,
                 enum queue_class class, unsigned jobs, unsigned visit_ms);
/** Keeps a destination, in all classes, out of discovery until `due_ms` (wall clock):
 * destination-wide backoff. */
void queue_park(struct queue_partition *partition, struct slice destination, int64_t due_ms);
/** Tells which hosts serve a destination, so that operators' orders can name a site: host names in
 * lower case, with spaces between. Cheap to repeat: only a change is sent. */
void queue_site(struct queue_partition *partition, struct slice destination, struct slice hosts);

/** The fence: true if the job's lease is held by a margin, nothing holds or suppresses the job, and
 * its outcome can be recorded; then the journal says "end-of-data sent". */
MUST_USE bool queue_commit(struct queue_job *job);
/** Ends the lease. The job's memory is the queue's again after the call; the outcome is on its way
 * to Redis, and is repeated until Redis has it (or the lease is lost). */
void queue_finish(struct queue_job *job, const struct queue_outcome *outcome);

/** Loads a submission's stored object (JSON text, see queue/README.md). The callback fires later,
 * once, with `json.ptr` NULL if there's none; a lost connection repeats the load. */
struct queue_load {
    struct list node;        /* private */
    struct slice submission; /* must live until `loaded` */
    void (*loaded)(struct queue_load *load, struct slice json);
};
void queue_load_submission(struct queue *queue, struct queue_load *load, struct slice submission);

unsigned queue_partition_index(const struct queue_partition *partition);

/** Totals over this worker's partitions, as of the last refresh (once a second), and of this
 * process. */
struct queue_stats {
    uint64_t accepted, delivered, bounced, expired, suppressed, cancelled, deferred,
        unknown;           /* from Redis, all nodes */
    uint64_t retrying;     /* in the retry sets */
    uint64_t leased;       /* held by this worker now */
    uint64_t acks_pending; /* finished here, not yet durable */
    uint64_t leases, acks, redis_commands, redis_reconnects;
    bool recordable;
    unsigned partitions_owned;
};
const struct queue_stats *queue_stats(const struct queue *queue);

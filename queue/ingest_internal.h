#pragma once
/* What the ingest*.c share. The way of a batch of entries (ingest.c reads it):
 *
 *   take     parse and check each entry                          ingest_take.c
 *   claim    keys, ids and chunks: what came before is repeated  ingest_claim.c
 *   store    the object of a one-shot submission, or fetch that
 *            of a chunk; note the partitions that get jobs       ingest_store.c
 *   enqueue  all parts into the partitions                       ingest_stages.c
 *   seal     nothing more will come: drop what has ended already ingest_seal.c
 *   consume  the entries leave the stream                        ingest_stages.c
 */
#include "engine/base/list.h"
#include "engine/base/mem.h"
#include "queue/ingest_batch.h"
#include "queue/loader.h"
#include "queue/redis_set.h"

enum {
    ENTRIES_MAX = 64,
    PAUSE_MS_MIN = 50,
    PAUSE_MS_MAX = 2000,
    BUFFER_BYTES = 1 << 20, /* kept between batches */
    MARKER_TTL_S = 7 * 86400,
    /* Chunks' numbers are kept while more may come: as long as a submission can last. */
    CHUNKS_TTL_S = SUBMISSION_AHEAD_S_MAX + SUBMISSION_EXPIRES_S_MAX + QUEUE_OBJECT_GRACE_S,
};

#define GROUP SLICE("eilpost")

struct schema {       /* of a submission that comes in chunks, from its stored object */
    struct list node; /* most recently used first */
    struct ingest_schema it;
    struct submission_stored stored; /* without the content */
    bool registered;                 /* its campaign is */
    size_t id_len;
    char id[QUEUE_SUBMISSION_BYTES_MAX];
};

/** One of the servers, in redis_set_data(). */
struct ingest_server {
    struct ingest *ingest;
    struct redis *redis;
    struct script_loader scripts;
};

struct ingest_call { /* of a stage */
    struct redis_call call;
    struct ingest *ingest;
    struct ingest_work *work;
    unsigned index; /* which of the work's claims or partitions */
};

struct ingest {
    struct ring *ring;
    struct ingest_options options;
    const struct ingest_callbacks *callbacks;
    void *user;
    char *name_space;
    char consumer[64];
    struct redis_set *redis;
    struct queue_key key_submit, key_dead, key_campaigns;
    struct redis_call loop_call; /* group, read, claim: one at a time */
    bool
        busy; /* a call of the loop, a batch or a pause is under way; else ingest_begin() is next */
    struct ring_timer pause;
    unsigned pause_ms;
    bool pending_read; /* reading what this consumer had before a crash */
    int64_t claimed_ms;
    /* the batch at hand */
    struct arena arena;
    struct buf records, object, packed; /* scratch */
    struct ingest_work works[ENTRIES_MAX];
    unsigned work_count;
    unsigned missing; /* replies of the stage */
    bool failed;
    void (*stage_next)(struct ingest *ingest);
    struct list schemas;
    unsigned schema_count;
    struct slice *args;
    unsigned args_room;
    void (*stopped)(void *user);
    void *stopped_user;
    struct ingest_stats stats;
};

#define STAT_ADD(field, value) __atomic_store_n(&(field), (field) + (value), __ATOMIC_RELAXED)

/* ingest.c */
/** The server of a key, with the scripts loaded; NULL while there's none. */
struct ingest_server *ingest_server(const struct ingest *ingest, const struct queue_key *key);
/** The batch is done, or there was none: reads on. */
void ingest_read_next(struct ingest *ingest);

/* ingest_take.c */
/** One entry of the stream, [id, [field, value, …]], into the next work of the batch. */
void ingest_take(struct ingest *ingest, const struct redis_value *entry);
/** The whole entry can't be taken. */
void ingest_work_refuse(struct ingest *ingest, struct ingest_work *work,
                        const struct submission_problem *problem);
MUST_USE bool ingest_schema_open(struct ingest *ingest, struct slice content,
                                 struct ingest_schema *out, struct err *err);

/* ingest_claim.c */
void ingest_stage_claim(struct ingest *ingest);

/* ingest_store.c */
void ingest_stage_store(struct ingest *ingest);
void ingest_schema_drop(struct ingest *ingest, struct schema *schema);

/* ingest_seal.c */
void ingest_stage_seal(struct ingest *ingest);

/* ingest_stages.c */
void ingest_stage_enqueue(struct ingest *ingest);
void ingest_stage_consume(struct ingest *ingest);
/** Goes on to the next stage if nothing is outstanding, or drops the batch if something failed. */
void ingest_stage_end(struct ingest *ingest);
/** Something failed that may work later; logged once per batch. */
void ingest_stage_failed(struct ingest *ingest, const char *what, const struct redis_value *reply);
struct ingest_call *ingest_call_create(struct ingest *ingest, struct ingest_work *work,
                                       void (*done)(struct redis_call *,
                                                    const struct redis_value *));
/** A command of the stage to the server of `key`. Without one the batch has failed. */
void ingest_call_send(struct ingest_call *it, const struct queue_key *key, const struct slice *args,
                      unsigned count);
/** A script's call: `args` begin with two free places, which are filled in. */
void ingest_call_script(struct ingest_call *it, const struct queue_key *key, enum script script,
                        struct slice *args, unsigned count);
/** What every stage's callback does first: false when there's nothing to look at. */
MUST_USE bool ingest_call_reply(struct ingest_call *it, const struct redis_value *reply);
/** For commands whose reply only tells whether they worked. */
void ingest_call_done(struct redis_call *call, const struct redis_value *reply);
/** Writes to the dead-letter stream; outstanding like any call of a stage. */
void ingest_dead_letter(struct ingest *ingest, struct ingest_work *work,
                        const struct submission_problem *problem, struct slice original);
/** Forgets the batch. No call may be outstanding. */
void ingest_batch_reset(struct ingest *ingest);
/** Forgets it and begins again with reading, after a pause. */
void ingest_batch_pause(struct ingest *ingest);

#pragma once
/* What ingest.c and ingest_stages.c share. */
#include "engine/base/list.h"
#include "engine/base/mem.h"
#include "queue/ingest_batch.h"
#include "queue/loader.h"
#include "queue/redis_set.h"

enum {
    ENTRIES_MAX = 64,
    PAUSE_MS_MIN = 50,
    PAUSE_MS_MAX = 2000,
};

#define GROUP SLICE("eilpost")

struct schema {       /* of a submission that comes in chunks, from its stored object */
    struct list node; /* most recently used first */
    struct ingest_schema it;
    int64_t accepted_ms, expires_ms;
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
    struct ingest_part *part;
};

struct ingest {
    struct ring *ring;
    struct ingest_options options;
    const struct ingest_callbacks *callbacks;
    void *user;
    char *name_space;
    char consumer[64];
    struct redis_set *redis;
    struct queue_key key_submit, key_dead;
    struct redis_call loop_call; /* group, read, claim: one at a time */
    bool
        busy; /* a call of the loop, a batch or a pause is under way; else ingest_begin() is next */
    struct ring_timer pause;
    unsigned pause_ms;
    bool pending_read; /* reading what this consumer had before a crash */
    int64_t claimed_ms;
    unsigned entries_wanted;
    /* the batch at hand */
    struct arena arena;
    struct buf records; /* scratch */
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

/* ingest_stages.c */
/** Begins the first stage for the works of the batch. */
void ingest_stage_store(struct ingest *ingest);
/** Goes on to the next stage if nothing is outstanding, or drops the batch if something failed. */
void ingest_stage_end(struct ingest *ingest);
/** Something failed that may work later; logged once per batch. */
void ingest_stage_failed(struct ingest *ingest, const char *what, const struct redis_value *reply);
/** Writes to the dead-letter stream; outstanding like any call of a stage. */
void ingest_dead_letter(struct ingest *ingest, struct ingest_work *work,
                        const struct submission_problem *problem, struct slice original);
/** Forgets the batch. No call may be outstanding. */
void ingest_batch_reset(struct ingest *ingest);
/** Forgets it and begins again with reading, after a pause. */
void ingest_batch_pause(struct ingest *ingest);
void ingest_schema_drop(struct ingest *ingest, struct schema *schema);

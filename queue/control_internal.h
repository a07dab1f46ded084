#pragma once
/* What control.c, meter.c, canary.c and sample.c share. */
#include "queue/control.h"
#include "queue/internal.h"

enum {
    CONTROL_MS = 100,    /* between grants */
    READ_MS = 200,       /* between readings of ns:campaigns … */
    READ_MANY_MS = 1000, /* … when there are many */
    CAMPAIGNS_MANY = 1000,
    FLOW_BYTES_MAX = 2 * QUEUE_NAME_BYTES_MAX + 1,
};

struct campaign;

/** A campaign's call to one partition. */
struct campaign_call {
    struct redis_call call;
    struct campaign *campaign;
    bool done; /* its work is */
};

/** Counts from which a canary's are reckoned, as they stood when it began. */
struct canary_counts {
    int64_t leased, answered, delivered, bounced;
};

/** "canary" in ns:campaigns. */
struct canary {
    bool running, failed, begun;
    double jobs, percent;      /* jobs 0: percent counts */
    double bounce, deferral;   /* limits in %; below 0: none */
    struct canary_counts base; /* once begun */
};

/** What grant.lua tells of one partition, and what is made of it. */
struct meter_partition {
    struct redis_call call;
    struct campaign *campaign;
    unsigned index;
    bool heard; /* the numbers are from an answer */
    bool off;   /* metering was ended here */
    bool took;  /* something was leased between the last two answers */
    int64_t budget, leased, waiting, accepted, ended, delivered, bounced, answered;
    int64_t grant;      /* planned */
    int64_t asked_ms;   /* when it was last called */
    int64_t used_ms;    /* when its budget was last used, or began to be */
    unsigned fruitless; /* how often its budget was taken back unused */
    double carry;       /* of its share: what a whole number didn't cover */
};

enum meter_state { METER_OFF, METER_ON, METER_ENDING };

struct meter {
    enum meter_state state;
    unsigned busy; /* calls under way */
    struct meter_partition *partitions;
    int64_t accrued_ms;
    double credit; /* jobs that may be granted; below 0: too many were */
    bool failed;   /* an error was logged */
};

/** Over the partitions that were heard of. */
struct meter_sums {
    int64_t budget, leased, accepted, answered, delivered, bounced;
    bool complete; /* all were */
};

struct campaign {
    struct list node; /* in control.campaigns */
    struct control *control;
    char flow[FLOW_BYTES_MAX + 1];
    char *text; /* in ns:campaigns, as last read */
    json_t *object;
    bool running; /* neither paused nor stopped nor cancelled */
    double rate;  /* jobs per second; 0: any */
    struct canary canary;
    uint64_t reading; /* in which it was last seen */
    bool gone;        /* from ns:campaigns */
    bool dropped;     /* freed with its last call */
    unsigned calls;   /* under way, of all kinds */
    bool changing;
    struct redis_call change_call;
    struct meter meter;
    struct campaign_hold {
        bool pending;
        int64_t tried_ms;
        struct campaign_call *calls; /* by partition; NULL before the first use */
    } hold;
    struct campaign_sample {
        bool due;
        unsigned missing; /* answers */
        bool failed;
        struct campaign_call *calls; /* as above */
        int64_t accepted, ended, metered;
        unsigned strayed; /* samples in a row that found it metered, and nobody wants it */
        int64_t last_ms, last_ended; /* the reading before; last_ms 0: none */
        int64_t active_ms, read_ms;
        struct redis_call write_call;
        bool writing;
    } sample;
};

struct control {
    struct queue *queue;
    struct ring_timer timer;
    bool ours; /* partition 0 is ours, as of the last turn of the timer */
    struct map by_flow;
    struct list campaigns;
    unsigned count;
    struct redis_call read_call;
    bool reading_busy;
    int64_t read_ms;
    uint64_t reading;
    struct meter_partition **hungry; /* scratch */
    struct redis_call time_call, log_call;
    bool time_busy, log_busy;
    int64_t clock_ahead_ms; /* Redis' wall clock against ours */
    int64_t sampled_ms;
};

/* control.c */
/** The server of a key of all partitions, when it's ready. */
struct queue_server *control_server(struct queue *queue, const struct queue_key *key);
/** Whether the partition can be called. */
bool control_partition_up(const struct queue_partition *partition);
/** Counts a call, and the end of one: false if the campaign is gone with it. */
void campaign_call_begin(struct campaign *campaign);
MUST_USE bool campaign_call_end(struct campaign *campaign);
/** Sets fields of its object, which are taken, if nobody changed it since it was read. False when
 * that can't be sent now. */
bool campaign_change(struct campaign *campaign, json_t *fields);

/* meter.c */
/** Begins, goes on or ends metering. */
void meter_tick(struct campaign *campaign, int64_t now);
/** Metering that nobody here began. */
void meter_end(struct campaign *campaign);
void meter_free(struct campaign *campaign);

/* canary.c */
void canary_parse(const json_t *json, struct canary *out);
/** Judges the canary. True: `room` more jobs may be granted (below 0: so many are too many). */
MUST_USE bool canary_step(struct campaign *campaign, const struct meter_sums *sums, int64_t *room);

/* sample.c */
void sample_tick(struct control *control, int64_t now);

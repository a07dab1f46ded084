#pragma once
/* Operators' orders: what is to become of the jobs that a filter matches. Blocking, for the command
 * line. queue/README.md, "Orders", has the steps; in short: the order enters every partition first,
 * and from then on nothing that it holds is leased; then what the partitions hold is walked in
 * slices that keep Redis busy for a few ms each. Orders and what they did are kept in ns:orders,
 * and every command in the stream ns:log. */
#include <jansson.h>

#include "engine/base/err.h"
#include "engine/base/slice.h"

struct producer;

enum order_action {
    ORDER_SUSPEND, /* holds what matches, also what comes later, until it's resumed */
    ORDER_CANCEL,  /* ends what is there now, with an event for each job */
    ORDER_PURGE,   /* the same without events */
    ORDER_MOVE,    /* what is there now goes out from another pool of sources */
    ORDER_RETRY,   /* retries are due now, and parked destinations open */
};
/** "suspend", "cancel", … */
const char *order_action_name(enum order_action action);

enum {
    ORDERS_IN_FORCE_MAX = 64, /* each is looked at with every queue that is leased from */
    ORDER_KEEP_S = 86400,
};

/** Which jobs; a NULL matches all. All that is named must match. */
struct order_filter {
    const char *destination; /* in lower case as A-labels; "*.example.org": all below it */
    const char *site;        /* an MX host's name, likewise */
    const char *tenant, *campaign, *submission; /* "": those without */
    char class;                                 /* 't', 'd', 'b'; 0: all */
    int64_t older_than_s;                       /* accepted at least so long ago; 0: all */
};
bool order_filter_empty(const struct order_filter *filter);

struct order_counts {
    uint64_t queued, retrying, in_flight;
};

struct order_request {
    enum order_action action;
    struct order_filter filter;
    const char *id;     /* NULL: a fresh one */
    const char *pool;   /* ORDER_MOVE */
    const char *reason; /* may be NULL */
    const char *by;     /* who asks */
    int64_t keep_s;     /* cancel, purge: can be restored for this long */
};

/** Called while something long is under way. All may be NULL. */
struct order_watch {
    /** What matches, before anything is done to it. */
    void (*found)(void *user, const char *id, const struct order_counts *counts);
    /** So many jobs were dealt with until now. */
    void (*progress)(void *user, uint64_t jobs);
    /** Whether to stop: the call then fails with ERR_CANCELLED, and all is consistent. */
    bool (*stop)(void *user);
    void *user;
};

struct order_result {
    char id[160];              /* "" for a count */
    struct order_counts found; /* before */
    struct order_counts acted; /* in_flight: still under way in the end */
};

/** Counts what a filter matches. */
MUST_USE bool orders_count(struct producer *producer, const struct order_filter *filter,
                           const struct order_watch *watch, struct order_counts *out,
                           struct err *err);
/** Counts what an order matches, given its record. */
MUST_USE bool orders_count_of(struct producer *producer, const json_t *record,
                              const struct order_watch *watch, struct order_counts *out,
                              struct err *err);
/** Gives an order and carries it out. When it's interrupted (or Redis is lost) after the order was
 * entered, `out->id` names it: it stays in force, and orders_finish() goes on. */
MUST_USE bool orders_give(struct producer *producer, const struct order_request *request,
                          const struct order_watch *watch, struct order_result *out,
                          struct err *err);
/** Goes on with what was interrupted, or looks once more for what a cancellation may still catch.
 */
MUST_USE bool orders_finish(struct producer *producer, const char *id,
                            const struct order_watch *watch, struct order_result *out,
                            struct err *err);
/** Ends a suspension: its jobs may be leased again. */
MUST_USE bool orders_resume(struct producer *producer, const char *id, const char *by,
                            const char *reason, const struct order_watch *watch,
                            struct order_result *out, struct err *err);
/** Takes back a cancellation or purge (brings back what is still kept) or a move (for what wasn't
 * sent yet). `forgotten`: jobs whose submission isn't known any more. */
MUST_USE bool orders_restore(struct producer *producer, const char *id, const char *by,
                             const char *reason, const struct order_watch *watch,
                             struct order_result *out, uint64_t *forgotten, struct err *err);

/** The ids of the suspensions that are in force with just this filter: a JSON array of strings. */
MUST_USE bool orders_matching(struct producer *producer, const struct order_filter *filter,
                              json_t **ids, struct err *err);
/** One order's record; ERR_NOT_FOUND. */
MUST_USE bool orders_get(struct producer *producer, const char *id, json_t **record,
                         struct err *err);
/** The records (queue/README.md) of the orders that are in force, or of all that are known, oldest
 * first: a JSON array. */
MUST_USE bool orders_list(struct producer *producer, bool all, json_t **records, struct err *err);
/** How many jobs an order's restoration would bring back. */
MUST_USE bool orders_kept(struct producer *producer, const char *id, uint64_t *jobs,
                          struct err *err);
/** The newest `max` entries of the log, oldest first: a JSON array. */
MUST_USE bool orders_log(struct producer *producer, unsigned max, json_t **entries,
                         struct err *err);

#pragma once
/* Whether every job of a demonstration ended as it should: what was expected of each recipient (its
 * address tells), against the engine's events and the sink's ledger. */
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/map.h"

struct demo_expectation;

struct demo_verdict {
    struct map recipients; /* address to struct demo_expectation */
    struct arena arena;
    uint64_t expected_delivered, expected_bounced, expected_deferred; /* jobs */
    uint64_t delivered, bounced, deferred,
        other;      /* terminal events by kind; deferred: jobs that were at least once */
    uint64_t wrong; /* jobs that didn't end as expected */
    uint64_t received, received_again; /* by the ledger */
    double received_per_second; /* without the first and the last tenth: the speed when it was under
                                   way */
    struct buf complaints;      /* the first of them, one per line */
    unsigned complaint_count;
};

/** False when the address is there already. */
bool demo_verdict_expect(struct demo_verdict *verdict, struct slice address);
/** Takes one event (its JSON) into account. */
void demo_verdict_event(struct demo_verdict *verdict, struct slice json);
/** Reads the sink's ledger. */
MUST_USE bool demo_verdict_ledger(struct demo_verdict *verdict, const char *path, struct err *err);
/** Compares, after the last event and the ledger; true if all is as expected. */
bool demo_verdict_close(struct demo_verdict *verdict);
void demo_verdict_free(struct demo_verdict *verdict);

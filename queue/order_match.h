#pragma once
/* The same question that scripts ask (lua/lib/orders.lua), asked here for people: which order holds
 * a queue. */
#include <jansson.h>

#include "queue/admin_io.h"
#include "queue/orders.h"

/** A queue, or a job's place: what a filter looks at. */
struct order_subject {
    struct slice destination, submission, flow; /* flow: TENANT/CAMPAIGN */
    struct slice hosts;                         /* with spaces between */
    char class;
    int64_t accepted_ms;
};

/** `before_ms`: accepted before that; 0: any time. */
bool order_filter_matches(const struct order_filter *filter, int64_t before_ms,
                          const struct order_subject *subject);

/** The orders that hold something now. */
struct order_holds {
    json_t *records;
    size_t count;
    struct order_hold {
        const char *id, *action;
        struct order_filter filter;
        int64_t before_ms;
    } * items;
};
MUST_USE bool order_holds_load(struct admin *admin, struct order_holds *out, struct err *err);
void order_holds_free(struct order_holds *holds);
/** The oldest order that holds it, or NULL. */
const struct order_hold *order_holding(const struct order_holds *holds,
                                       const struct order_subject *subject);

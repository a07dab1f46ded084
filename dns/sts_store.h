#pragma once
/* Private to MTA-STS: the node's policies, and the thread that fetches them. */
#include "dns/sts.h"

/** One who waits for a fetch. It may have been given up: then nobody is told. */
struct sts_waiter {
    struct sts_waiter *next;
    struct ring_letter letter;
    struct ring *ring;
    struct sts_request *request; /* NULL: given up; its ring's thread only */
};

/** What is known now, by a record's id ("": no record was found). */
enum sts_known {
    STS_KNOWN,  /* *text is the policy's (heap), or NULL: there is none */
    STS_FETCH,  /* it has to be fetched */
    STS_FAILED, /* that failed a moment ago: *text is an older policy's that still holds, or NULL */
};
enum sts_known sts_store_look(struct sts *sts, const char *domain, const char *id, char **text,
                              const char **problem);
/** Has the policy fetched from these addresses; the waiter's letter is posted when that is over. */
void sts_store_fetch(struct sts *sts, const char *domain, const char *id,
                     const struct dns_addresses *addresses, struct sts_waiter *waiter);
/** Takes a waiter back, and frees it. False: its letter is posted. */
bool sts_store_cancel(struct sts *sts, const char *domain, struct sts_waiter *waiter);

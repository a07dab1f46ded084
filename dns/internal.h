#pragma once
/* What resolver.c (requests, the cache, the interface) and lookup.c (questions and what comes of
 * them) share; nobody else includes it. */
#include "dns/cache.h"
#include "dns/channel.h"
#include "dns/result.h"

#define DNS_KEY_MAX 260 /* the kind, the name, a NUL */

/* One name of one kind that is being looked up, for however many wait. */
struct lookup {
    struct dns_resolver *resolver;
    struct list node; /* in resolver->line or resolver->answered */
    struct list waiters;
    enum dns_kind kind;
    bool started;
    bool background;             /* goes on without anybody waiting: a refresh */
    unsigned open;               /* questions not answered yet */
    struct dns_query queries[2]; /* MX, TLSA or TXT; or AAAA and A */
    struct ring_timer partner;   /* addresses: one family is there, the other may take this long */
    void *result;                /* there already; or NULL */
    int64_t no_mx_expires_ms;
    bool no_mx_secure;
    struct dns_request address_request; /* route: of the implicit MX */
    struct dns_family families[2];      /* addresses: v6, v4 */
    size_t key_len;
    char key[DNS_KEY_MAX];
};

struct dns_resolver {
    struct ring *ring;
    struct dns_channel *channel;
    struct dns_options options; /* its pointers are to copies */
    struct dns_cache cache;
    struct map lookups; /* by key */
    struct list line;   /* look-ups waiting for a place */
    struct list answered;
    struct list ready, delivering; /* requests */
    struct ring_task task;
    unsigned active;
    bool closing;
    void (*closed)(void *user);
    void *user;
    struct dns_stats stats;
};

/** Counters are read by other threads; this one is the only writer. */
void dns_stat_set(uint64_t *stat, uint64_t value);
void dns_stat_add(uint64_t *stat);

/** Asks the cache, else joins or makes a look-up. `key` has a NUL behind. With `urgent` it goes to
 * the front of the line: a look-up that is already under way depends on it. */
void dns_resolve(struct dns_resolver *resolver, struct dns_request *request, const char *key,
                 size_t key_len, bool urgent);
/** The look-up has its result: gives it to all who wait and to the cache, and frees the look-up.
 * Takes over the reference. */
void dns_lookup_finish(struct lookup *lookup, void *result);

/** Makes a look-up that isn't in any list yet. */
struct lookup *dns_lookup_create(struct dns_resolver *resolver, const char *key, size_t key_len);
/** Sends its questions. */
void dns_lookup_start(struct lookup *lookup);
/** All questions are answered (it was in `answered`): makes the result, or asks for what is still
 * missing. Not from inside c-ares. */
void dns_lookup_conclude(struct lookup *lookup);
/** Forgets it; nobody waits for it any more, and it isn't in the map. */
void dns_lookup_free(struct lookup *lookup);

#pragma once
/* Questions to DNS servers over UDP and TCP: c-ares on the ring. Knows servers, time-outs and
 * retries; what an answer means for mail is the resolver's. */
#include "dns/answer.h"

struct dns_channel;
struct dns_attempt;

struct dns_channel_options {
    const char *servers; /* as in struct dns_options */
    unsigned timeout_ms; /* per attempt */
    unsigned tries;      /* attempts in all, but never fewer than there are servers */
    unsigned per_second; /* attempts; 0: no limit */
    bool validated;      /* ask for DNSSEC's verdict: the AD bit */
};

/** A question, the caller's memory until answered or cancelled. */
struct dns_query {
    const char *name; /* normalised, with a NUL; stays the caller's */
    enum dns_type type;
    /** The last word on the question: an answer, or DNS_FAILED or DNS_TIMEOUT when all attempts are
     * used up. It may come from inside dns_channel_send() or from inside c-ares: it must not call
     * this interface. */
    void (*answered)(struct dns_query *query, const struct dns_answer *answer);
    /* private */
    struct dns_attempt *attempt;
    struct list node; /* among those to be sent */
    unsigned tries, server;
    unsigned servers_failed; /* bit per server: gave no useful answer */
};

MUST_USE bool dns_channel_create(struct dns_channel **out, struct ring *ring,
                                 const struct dns_channel_options *options, struct err *err);
/** No query is answered any more. The memory is gone when `closed` fires, never before the call
 * returns. */
void dns_channel_close(struct dns_channel *channel, void (*closed)(void *user), void *user);
/** Asks. name, type and answered are set; the rest needs no initialisation. */
void dns_channel_send(struct dns_channel *channel, struct dns_query *query);
/** It won't be answered. No effect on one that was. */
void dns_channel_cancel(struct dns_query *query);

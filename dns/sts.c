#include "dns/sts.h"

#include <stdio.h>
#include <stdlib.h>

#include "dns/sts_store.h"
#include "engine/base/mem.h"

static void answer(struct sts_request *request, char *text, const char *problem)
{
    struct err err;
    struct sts_policy *policy = text ? sts_policy_parse(slice_str(text), &err) : NULL;
    free(text);
    request->found(request, policy, problem);
}

/* ---- after a fetch ---- */

static void fetched(struct ring_letter *letter)
{
    struct sts_waiter *waiter = CONTAINER_OF(letter, struct sts_waiter, letter);
    struct sts_request *request = waiter->request;
    free(waiter);
    if (!request)
        return;
    char *text = NULL;
    const char *problem = NULL;
    request->waiter = NULL;
    sts_store_look(request->sts, request->domain, request->id, &text, &problem);
    answer(request, text, problem);
}

static void addresses_found(struct dns_request *dns, struct dns_addresses *addresses)
{
    struct sts_request *request = CONTAINER_OF(dns, struct sts_request, dns);
    struct sts_waiter *waiter = mem_zalloc(sizeof *waiter);
    waiter->ring = request->ring;
    waiter->letter.deliver = fetched;
    waiter->request = request;
    request->waiter = waiter;
    sts_store_fetch(request->sts, request->domain, request->id, addresses, waiter);
    dns_addresses_release(addresses);
}

/* ---- the record ---- */

/* RFC 8461, 3.1: exactly one record of this kind, or none. */
static bool record_id(const struct dns_text *text, char id[STS_ID_MAX + 1])
{
    unsigned found = 0;
    for (unsigned i = 0; text->status == DNS_OK && i < text->count; i++)
        found += sts_record_parse(text->records[i], id);
    return found == 1;
}

static void text_found(struct dns_request *dns, struct dns_text *text)
{
    struct sts_request *request = CONTAINER_OF(dns, struct sts_request, dns);
    if (!record_id(text, request->id))
        request->id[0] = '\0';
    dns_text_release(text);
    char *known = NULL;
    const char *problem = NULL;
    if (sts_store_look(request->sts, request->domain, request->id, &known, &problem) != STS_FETCH) {
        answer(request, known, problem);
        return;
    }
    char host[300];
    int len = snprintf(host, sizeof host, "mta-sts.%s", request->domain);
    dns_resolve_addresses(request->resolver, &request->dns, slice_of(host, (size_t)len));
}

void sts_find(struct sts *sts, struct sts_request *request, struct dns_resolver *resolver,
              struct ring *ring, struct slice domain)
{
    char name[300];
    request->sts = sts;
    request->ring = ring;
    request->resolver = resolver;
    request->waiter = NULL;
    request->dns =
        (struct dns_request){ .text_found = text_found, .addresses_found = addresses_found };
    snprintf(request->domain, sizeof request->domain, "%.*s", SLICE_FMT(domain));
    int len = snprintf(name, sizeof name, "_mta-sts.%s", request->domain);
    dns_resolve_text(resolver, &request->dns, slice_of(name, (size_t)len));
}

void sts_cancel(struct sts_request *request)
{
    dns_request_cancel(&request->dns);
    if (request->waiter && !sts_store_cancel(request->sts, request->domain, request->waiter))
        request->waiter->request = NULL; /* its letter is on the way to this thread */
    request->waiter = NULL;
}

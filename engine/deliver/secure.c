/* How sessions to a host are secured: by the policy, and by what the host's own domain publishes.
 *
 * DANE (RFC 7672): where the mail exchangers, the host's addresses and its TLSA records are all
 * validated, usable records must fit and TLS is required; records that are there but of no use
 * require TLS without verification; a look-up that fails means that the host can't be used now,
 * never that there are none. The records are looked for at the end of the host's CNAMEs first, then
 * at its own name (2.2.2).
 *
 * An opportunistic session whose handshake fails is tried in clear, for an hour.
 *
 * Messages may demand more, or less, than that (RFC 8689): with REQUIRETLS certificates are always
 * verified, by usable TLSA records or by name; with TLS-Required: No only our own policy counts. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"

#define TLS_BROKEN_MS 3600000

static uint16_t port_of(const struct site *site)
{
    const struct deliver_relay *relay = site_relay(site);
    return (uint16_t)(relay ? relay->port : site->deliver->options.port);
}

/* ---- TLSA records ---- */

static bool wants_records(const struct site_host *host)
{
    const struct site *site = host->site;
    const struct deliver_policy *policy = site_policy(site);
    bool waived = site->way.demand == TLS_WAIVED && policy->mode != DELIVER_TLS_DANE;
    return policy->dane && !waived && site->way.secure && host->addresses->secure;
}

static bool has_records(const struct dns_tlsa *tlsa)
{
    return tlsa->status == DNS_OK && tlsa->secure && tlsa->count > 0;
}

bool host_has_records(const struct site_host *host)
{
    return wants_records(host) && host->tlsa && has_records(host->tlsa);
}

static void records_ask(struct site_host *host)
{
    struct site *site = host->site;
    char name[300];
    struct slice base = host->own_base ? host->name : host->addresses->canonical;
    int len = snprintf(name, sizeof name, "_%u._tcp.%.*s", port_of(site), SLICE_FMT(base));
    host->asked = true;
    site->lookups++;
    dns_resolve_tlsa(site->deliver->resolver, &host->tlsa_request,
                     slice_of(name, (size_t)MIN_OF(len, (int)sizeof name - 1)));
}

void host_records_found(struct dns_request *request, struct dns_tlsa *tlsa)
{
    struct site_host *host = CONTAINER_OF(request, struct site_host, tlsa_request);
    struct site *site = host->site;
    host->asked = false;
    site->lookups--;
    if (host->tlsa)
        dns_tlsa_release(host->tlsa);
    host->tlsa = tlsa;
    bool none = !has_records(tlsa) && tlsa->status != DNS_FAILED && tlsa->status != DNS_TIMEOUT;
    if (none && !host->own_base && host->addresses &&
        !slice_eq(host->addresses->canonical, host->name)) {
        host->own_base = true;
        records_ask(host);
        return;
    }
    site_drain_soon(site);
    deliver_check_stopped(site->deliver);
}

static unsigned usable_records(const struct dns_tlsa *tlsa, struct tls_tlsa *out)
{
    unsigned count = 0;
    for (unsigned i = 0; i < tlsa->count && count < HOST_TLSA_MAX; i++) {
        const struct dns_tlsa_record *from = &tlsa->records[i];
        out[count] = (struct tls_tlsa){ from->usage, from->selector, from->matching, from->data };
        count += tls_tlsa_usable(&out[count], 1);
    }
    return count;
}

static const char *const no_records = "DANE is required, and the host has no usable TLSA records";

enum host_security host_secure(struct site_host *host, int64_t now_ms, const char **why)
{
    const struct deliver_policy *policy = site_policy(host->site);
    bool required = policy->mode == DELIVER_TLS_DANE;
    if (!wants_records(host)) {
        *why = "DANE is required, and the host's domain isn't signed";
        return required ? HOST_UNUSABLE : HOST_SECURED;
    }
    if (!host->tlsa || host->tlsa->expires_ms <= now_ms) {
        host->own_base = false;
        records_ask(host);
        return HOST_WAIT;
    }
    if (host->tlsa->status == DNS_FAILED || host->tlsa->status == DNS_TIMEOUT) {
        *why = "the host's TLSA records can't be looked up";
        return HOST_UNUSABLE;
    }
    struct tls_tlsa records[HOST_TLSA_MAX];
    *why = no_records;
    return required && (!has_records(host->tlsa) || usable_records(host->tlsa, records) == 0)
               ? HOST_UNUSABLE
               : HOST_SECURED;
}

/* ---- sessions ---- */

static enum smtp_tls_mode required_mode(const struct site *site)
{
    const struct deliver_relay *relay = site_relay(site);
    return relay && relay->implicit_tls ? SMTP_TLS_IMPLICIT : SMTP_TLS_REQUIRED;
}

/* The handshake comes later: what it needs is held until then. */
static void use_records(const struct site_host *host, struct host_session *out)
{
    struct tls_tlsa records[HOST_TLSA_MAX];
    out->record_count = usable_records(host->tlsa, records);
    if (out->record_count == 0)
        return; /* any certificate (RFC 7672, 2.2) */
    out->tlsa = dns_tlsa_hold(host->tlsa);
    out->records = mem_array(out->record_count, sizeof *out->records);
    memcpy(out->records, records, out->record_count * sizeof *records);
    out->context = site_policy(host->site)->dane;
    if (!host->own_base)
        out->server_name = host->addresses->canonical.ptr;
}

void host_session_clear(struct host_session *session)
{
    free(session->records);
    if (session->tlsa)
        dns_tlsa_release(session->tlsa);
}

/* MTA-STS: the name must be right (RFC 8461, 4.1); while a policy is only tested, mail goes on
 * without, for an hour after it wasn't. */
static bool use_policy(const struct site_host *host, struct host_session *out)
{
    const struct site *site = host->site;
    bool enforced = site->way.sts == STS_ENFORCE;
    if (!enforced && host->unnamed_until_ms > ring_now_ms(site->deliver->ring))
        return false;
    out->context = site_policy(site)->named;
    out->may_be_unnamed = !enforced;
    if (!enforced && site_policy(site)->mode == DELIVER_TLS_OPPORTUNISTIC)
        out->mode = SMTP_TLS_OPPORTUNISTIC;
    return true;
}

void host_session_security(struct site_host *host, struct host_session *out)
{
    struct site *site = host->site;
    const struct deliver_policy *policy = site_policy(site);
    bool needed = site->way.demand == TLS_NEEDED;
    *out = (struct host_session){ .mode = SMTP_TLS_OFF, .server_name = host->name.ptr };
    if (policy->mode == DELIVER_TLS_OFF && !needed)
        return;
    out->context = policy->context;
    out->mode = required_mode(site);
    if (host_has_records(host)) {
        use_records(host, out);
        if (!needed || out->record_count > 0)
            return;
    }
    if (needed) {
        out->context = policy->named ? policy->named : policy->context;
        return;
    }
    if (site->way.sts != STS_NONE && use_policy(host, out))
        return;
    if (policy->mode != DELIVER_TLS_OPPORTUNISTIC)
        return;
    if (host->tls_broken && host->retry_tls_ms <= ring_now_ms(site->deliver->ring))
        host->tls_broken = false;
    out->may_be_clear = !host->tls_broken;
    if (host->tls_broken)
        out->mode = SMTP_TLS_OFF;
    else if (out->mode == SMTP_TLS_REQUIRED)
        out->mode = SMTP_TLS_OPPORTUNISTIC;
}

bool host_tls_failed(struct site_host *host, const struct peer *peer,
                     const struct smtp_reply *reason)
{
    const struct deliver *deliver = host->site->deliver;
    if (reason->phase != SMTP_PHASE_TLS || reason->origin != SMTP_LOCAL)
        return false;
    if (peer->security.may_be_unnamed) {
        host->unnamed_until_ms = ring_now_ms(deliver->ring) + TLS_BROKEN_MS;
        log_info(deliver->options.log, "mta-sts-tested",
                 "%.*s [%s]: %.*s; the policy is being tested, so mail goes on",
                 SLICE_FMT(host->name), peer->text, SLICE_FMT(reason->text));
        return true;
    }
    if (!peer->security.may_be_clear)
        return false;
    host->tls_broken = true;
    host->retry_tls_ms = ring_now_ms(deliver->ring) + TLS_BROKEN_MS;
    log_info(deliver->options.log, "tls-failed", "%.*s [%s]: %.*s; in clear for an hour",
             SLICE_FMT(host->name), peer->text, SLICE_FMT(reason->text));
    return true;
}

bool tls_demand_failed(const struct site *site, const struct smtp_reply *reason,
                       struct smtp_reply *end)
{
    if (site->way.demand != TLS_NEEDED || reason->origin != SMTP_LOCAL)
        return false;
    if (reason->enhanced.subject != 7) /* the connection was lost, or too slow */
        return false;
    *end = *reason;
    end->phase = SMTP_PHASE_MAIL; /* it's the message that can't go this way */
    if (reason->code < 500) {
        end->code = 550;
        end->enhanced = (struct smtp_enhanced){ 5, 7, 10 };
    }
    return true;
}

/* What sessions say to TLS reports (engine/report/README.md): under which policy they were, and how
 * they went. One counts for each domain whose mail it carries; one that failed before it carried
 * any, for those whose mail waits for it. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "engine/deliver/internal.h"
#include "engine/report/tally.h"

#define DOMAINS_PER_FAILURE 16
#define REASON_BYTES_MAX 200

static bool tells(const struct site *site)
{
    const struct deliver *deliver = site->deliver;
    return deliver->options.tally && site->way.relay == DELIVER_NO_RELAY &&
           site->way.demand != TLS_WAIVED && site_policy(site)->mode != DELIVER_TLS_OFF;
}

static void append_member(struct buf *out, const char *name, struct slice text)
{
    if (text.len == 0)
        return;
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    buf_append_json(out, text);
}

/* ---- the policy ---- */

static void append_records(struct buf *out, const struct dns_tlsa *tlsa)
{
    buf_append(out, SLICE(",\"policy-string\":["));
    for (unsigned i = 0; i < tlsa->count; i++) {
        const struct dns_tlsa_record *record = &tlsa->records[i];
        buf_printf(out, "%s\"%u %u %u ", i ? "," : "", record->usage, record->selector,
                   record->matching);
        for (size_t k = 0; k < record->data.len; k++)
            buf_printf(out, "%02X", (uint8_t)record->data.ptr[k]);
        buf_append_char(out, '"');
    }
    buf_append_char(out, ']');
}

void tell_sts_policy(struct path *path, const struct sts_policy *policy)
{
    struct buf text = BUF_EMPTY, line = BUF_EMPTY;
    free(path->sts_text);
    path->sts_text = NULL;
    if (!path->destination->deliver->options.tally || !policy)
        return;
    buf_printf(&text, "\"policy-string\":[\"version: STSv1\",\"mode: %s\"",
               sts_mode_name(policy->mode));
    for (unsigned i = 0; i < policy->mx_count; i++) {
        buf_clear(&line);
        buf_printf(&line, "mx: %.*s", SLICE_FMT(policy->mx[i]));
        buf_append_char(&text, ',');
        buf_append_json(&text, buf_slice(&line));
    }
    buf_printf(&text, ",\"max_age: %u\"]", policy->max_age_s);
    for (unsigned i = 0; i < policy->mx_count; i++) {
        buf_append(&text, i ? SLICE(",") : SLICE(",\"mx-host\":["));
        buf_append_json(&text, policy->mx[i]);
    }
    if (policy->mx_count > 0)
        buf_append_char(&text, ']');
    path->sts_text = slice_dup(buf_slice(&text));
    buf_free(&text);
    buf_free(&line);
}

enum { POLICY_NONE, POLICY_STS, POLICY_TLSA };

/* By what a session to a host is secured; lost records count as some. */
static unsigned policy_of(const struct path *path, const struct site_host *host)
{
    bool lost =
        host->tlsa && (host->tlsa->status == DNS_FAILED || host->tlsa->status == DNS_TIMEOUT);
    if (lost || host_has_records(host))
        return POLICY_TLSA;
    return path->sts_text ? POLICY_STS : POLICY_NONE;
}

static void append_policy(struct buf *out, unsigned policy, const struct path *path,
                          const struct site_host *host)
{
    static const char *const names[] = { "no-policy-found", "sts", "tlsa" };
    buf_append_char(out, '{');
    append_member(out, "policy-type", slice_str(names[policy]));
    append_member(out, "policy-domain", path->destination->name);
    if (policy == POLICY_TLSA) {
        append_records(out, host->tlsa);
        buf_append(out, SLICE(",\"mx-host\":["));
        buf_append_json(out, host->name);
        buf_append_char(out, ']');
    } else if (policy == POLICY_STS && path->sts_text) {
        buf_printf(out, ",%s", path->sts_text);
    }
    buf_append_char(out, '}');
}

static void count(const struct path *path, unsigned type, const struct site_host *host,
                  struct slice failure)
{
    struct deliver *deliver = path->destination->deliver;
    struct buf policy = BUF_EMPTY;
    append_policy(&policy, type, path, host);
    tls_tally_add(deliver->options.tally,
                  &(struct tls_tally_row){ .day = ring_wall_ms(deliver->ring) / 86400000,
                                           .count = 1,
                                           .domain = path->destination->name,
                                           .policy = buf_slice(&policy),
                                           .failure = failure });
    buf_free(&policy);
}

/* ---- failures ---- */

static void append_failure(struct buf *out, const char *result, const struct site_host *host,
                           const struct peer *peer, struct slice reason)
{
    char own[INET6_ADDRSTRLEN] = "";
    if (peer) {
        const struct sockaddr_storage *addr =
            &host->site->deliver->options.sources[peer_source(peer)].address;
        if (addr->ss_family == AF_INET && peer->family == AF_INET)
            inet_ntop(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, own, sizeof own);
        else if (addr->ss_family == AF_INET6 && peer->family == AF_INET6)
            inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)addr)->sin6_addr, own, sizeof own);
    }
    buf_append_char(out, '{');
    append_member(out, "result-type", slice_str(result));
    append_member(out, "sending-mta-ip", slice_str(own));
    if (host)
        append_member(out, "receiving-mx-hostname", host->name);
    if (peer)
        append_member(out, "receiving-ip", slice_str(peer->text));
    append_member(out, "failure-reason-code",
                  slice_head(reason, MIN_OF(reason.len, (size_t)REASON_BYTES_MAX)));
    buf_append_char(out, '}');
}

/* For the domains whose mail waits at the site. */
static void count_failure(struct site_host *host, const struct peer *peer, const char *result,
                          struct slice reason)
{
    const struct path *told[DOMAINS_PER_FAILURE];
    unsigned count_told = 0;
    struct buf failure = BUF_EMPTY;
    append_failure(&failure, result, host, peer, reason);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        list_for_each (it, &host->site->ready[i]) {
            const struct path *path = LIST_ENTRY(it, struct lane, site_node)->path;
            unsigned k = 0;
            while (k < count_told && told[k] != path)
                k++;
            if (k < count_told)
                continue;
            if (count_told == DOMAINS_PER_FAILURE)
                break;
            told[count_told++] = path;
            count(path, policy_of(path, host), host, buf_slice(&failure));
        }
    buf_free(&failure);
}

/* The result's name (RFC 8460, 4.3); NULL: it has nothing to do with TLS. */
static const char *result_of(const struct peer *peer, const struct smtp_reply *reason)
{
    if (reason->phase == SMTP_PHASE_STARTTLS)
        return "starttls-not-supported";
    if (reason->phase != SMTP_PHASE_TLS || reason->origin != SMTP_LOCAL)
        return NULL;
    enum tls_problem problem = smtp_session_tls_problem(peer->session);
    return problem == TLS_PROBLEM_NONE ? "validation-failure" : tls_problem_name(problem);
}

void tell_session_failed(struct peer *peer, const struct smtp_reply *reason)
{
    const char *result = tells(peer->site) ? result_of(peer, reason) : NULL;
    if (result)
        count_failure(&peer->site->hosts[peer->host], peer, result, reason->text);
}

void tell_host_unusable(struct site_host *host, const char *why)
{
    bool lost =
        host->tlsa && (host->tlsa->status == DNS_FAILED || host->tlsa->status == DNS_TIMEOUT);
    if (tells(host->site))
        count_failure(host, NULL, lost ? "dnssec-invalid" : "dane-required", slice_str(why));
}

void tell_sts_problem(const struct path *path, const char *problem)
{
    if (!path->destination->deliver->options.tally || !problem || path->demand == TLS_WAIVED)
        return;
    struct buf failure = BUF_EMPTY;
    append_failure(&failure, problem, NULL, NULL, SLICE(""));
    count(path, POLICY_STS, NULL, buf_slice(&failure));
    buf_free(&failure);
}

/* ---- sessions in use ---- */

void tell_session_used(struct peer *peer, const struct path *path)
{
    struct site *site = peer->site;
    if (peer->told[0] == path || !tells(site))
        return;
    for (unsigned i = 1; i < ARRAY_LEN(peer->told); i++)
        if (peer->told[i] == path)
            return;
    memmove(&peer->told[1], &peer->told[0], sizeof peer->told - sizeof peer->told[0]);
    peer->told[0] = path;
    if (peer->security.mode == SMTP_TLS_OFF)
        return; /* the handshake that failed before has been counted */
    const struct site_host *host = &site->hosts[peer->host];
    struct buf failure = BUF_EMPTY;
    if (!stream_secure(smtp_session_stream(peer->session)))
        append_failure(&failure, "starttls-not-supported", host, peer, SLICE(""));
    count(path, policy_of(path, host), host, buf_slice(&failure));
    buf_free(&failure);
}

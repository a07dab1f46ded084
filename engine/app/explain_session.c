#include "engine/app/explain_session.h"

#include <stdlib.h>
#include <time.h>

#include "engine/base/mem.h"

struct visit {
    json_t *json;
    bool closed;
};

static void set_time(json_t *object, const char *name, int64_t seconds)
{
    char text[32];
    time_t at = (time_t)seconds;
    struct tm tm;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
    json_object_set_new(object, name, json_string(text));
}

static void note_tls(const struct stream *stream, json_t *json)
{
    struct tls_facts facts;
    struct tls_certificate certificate;
    if (!stream_tls_facts(stream, &facts)) {
        json_object_set_new(json, "tls", json_null());
        return;
    }
    json_object_set_new(json, "tls", json_string(facts.version));
    json_object_set_new(json, "cipher", json_string(facts.cipher));
    json_object_set_new(json, "verified", json_boolean(facts.verified));
    if (!stream_tls_certificate(stream, &certificate))
        return;
    json_t *shown = json_object();
    json_object_set_new(shown, "subject", json_string(certificate.subject));
    json_object_set_new(shown, "issuer", json_string(certificate.issuer));
    json_object_set_new(shown, "names", json_string(certificate.names));
    set_time(shown, "from", certificate.from_s);
    set_time(shown, "until", certificate.until_s);
    json_object_set_new(shown, "public_key_sha256", json_string(certificate.sha256));
    json_object_set_new(json, "certificate", shown);
    tls_certificate_clear(&certificate);
}

static void on_ready(struct smtp_session *session)
{
    struct visit *visit = smtp_session_user(session);
    json_object_set_new(visit->json, "verdict", json_string("ready to send"));
    note_tls(smtp_session_stream(session), visit->json);
    smtp_session_quit(session);
}

static void on_ended(struct smtp_session *session, const struct smtp_reply *reason, bool violation)
{
    struct visit *visit = smtp_session_user(session);
    (void)violation;
    if (json_object_get(visit->json, "verdict"))
        return;
    json_object_set_new(visit->json, "verdict", json_string("failed"));
    json_object_set_new(visit->json, "phase", json_string(smtp_phase_name(reason->phase)));
    json_object_set_new(visit->json, "code", json_integer(reason->code));
    json_object_set_new(visit->json, "text",
                        json_stringn_nocheck(reason->text.ptr, reason->text.len));
}

static void on_closed(struct smtp_session *session)
{
    ((struct visit *)smtp_session_user(session))->closed = true;
}

static const struct smtp_session_events events = { .ready = on_ready,
                                                   .ended = on_ended,
                                                   .closed = on_closed };

static enum smtp_tls_mode mode_of(const struct deliver_policy *policy,
                                  const struct deliver_relay *relay, bool records)
{
    if (policy->mode == DELIVER_TLS_OFF)
        return SMTP_TLS_OFF;
    if (relay && relay->implicit_tls)
        return SMTP_TLS_IMPLICIT;
    return policy->mode == DELIVER_TLS_OPPORTUNISTIC && !records ? SMTP_TLS_OPPORTUNISTIC
                                                                 : SMTP_TLS_REQUIRED;
}

json_t *explain_session(struct ring *ring, const struct config *config,
                        const struct deliver_policy *policy, const struct deliver_relay *relay,
                        struct slice host, const struct dns_addresses *addresses,
                        const struct dns_tlsa *tlsa)
{
    struct visit visit = { .json = json_object() };
    unsigned count = tlsa ? tlsa->count : 0;
    struct tls_tlsa *records = mem_array(count, sizeof *records);
    for (unsigned i = 0; i < count; i++)
        records[i] = (struct tls_tlsa){ tlsa->records[i].usage, tlsa->records[i].selector,
                                        tlsa->records[i].matching, tlsa->records[i].data };
    char *name = slice_dup(tlsa ? addresses->canonical : host), *own = slice_dup(host);
    static const struct smtp_timeouts timeouts = { .connect = 10000,
                                                   .greeting = 30000,
                                                   .ehlo = 30000 };
    struct smtp_session_options options = {
        .timeouts = &timeouts,
        .ehlo_name = *config->smtp.ehlo_name ? config->smtp.ehlo_name : "localhost.localdomain",
        .tls_mode = mode_of(policy, relay, count > 0),
        .tls = { .context = count > 0 ? policy->dane : policy->context,
                 .server_name = name,
                 .tlsa = records,
                 .tlsa_count = count,
                 .domain = own },
        .lmtp = relay && relay->lmtp,
    };
    struct sockaddr_storage addr = addresses->list[0].addr;
    uint16_t port = htons((uint16_t)(relay ? relay->port : config->smtp.port));
    if (addr.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&addr)->sin6_port = port;
    else
        ((struct sockaddr_in *)&addr)->sin_port = port;
    struct smtp_session *session = smtp_session_create(ring, &events, &options, &visit);
    smtp_session_open(session, (struct sockaddr *)&addr, addresses->list[0].len, NULL, 0);
    while (!visit.closed)
        ring_turn(ring, 1000);
    smtp_session_destroy(&session);
    free(records);
    free(name);
    free(own);
    return visit.json;
}

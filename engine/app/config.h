#pragma once
/* The configuration file: YAML, read through libcyaml into one structure. All settings are rows of
 * one table in config.c (key, type, default, range, unit, help), which loads, checks, dumps and
 * documents them; the example in deploy/config/eilpost.yaml is what config_dump() prints for the
 * defaults. */
#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/ring/ring.h"
#include "engine/smtp/session.h"

struct config_source { /* an egress identity */
    const char *name;
    const char *address;   /* IPv4 or IPv6 to bind to; "": the kernel chooses */
    const char *ehlo_name; /* "": smtp.ehlo_name */
};

/** A set of sources that messages may be bound to. */
struct config_pool {
    const char *name;
    const char *const *texts; /* "NAME" or "NAME:WEIGHT", as in the file */
    unsigned texts_count;
    const unsigned *members, *weights; /* made of them: indexes into `sources` */
};

/** A key that messages are signed with (DKIM). */
struct config_dkim {
    const char *domain, *selector, *key_file;
    const char *const *tenants;
    unsigned tenants_count;
    const char *not_before, *not_after; /* "": no bound */
    unsigned expires_s;                 /* 0: never */
    const char *body;                   /* "", "relaxed", "simple" */
};

/** A tenant's share of what several want. */
struct config_tenant {
    const char *name;
    unsigned weight;
};

/** In the order of the queue's classes. */
enum config_class { CONFIG_TRANSACTIONAL, CONFIG_DEADLINE, CONFIG_BULK, CONFIG_ANY_CLASS };

/** Pauses for some classes and categories. */
struct config_schedule {
    enum config_class class;
    const char *category; /* "": any */
    const unsigned *schedule_s;
    unsigned schedule_count;
};

/** Address families, in the order of preference at first. */
enum config_family { CONFIG_IPV6, CONFIG_IPV4 };

/** In the order of enum deliver_tls_mode. */
enum config_tls {
    CONFIG_TLS_OFF,
    CONFIG_TLS_OPPORTUNISTIC,
    CONFIG_TLS_REQUIRED,
    CONFIG_TLS_VERIFIED,
    CONFIG_TLS_DANE
};

/** How sessions are secured, by name. */
struct config_policy {
    const char *name;
    enum config_tls mode;
    const char *min_version;          /* "1.2" or "1.3" */
    const char *ciphers, *suites;     /* OpenSSL's lists for TLS 1.2 and 1.3; "": ours */
    const char *ca_file;              /* "": the system's store */
    const char *cert_file, *key_file; /* "": none */
};

/** A server that takes mail for others. */
struct config_relay {
    const char *name, *host;
    unsigned port;
    bool mx, implicit_tls;
    const char *tls; /* name of a policy or a mode */
    bool lmtp;
    const char *user, *secret_file; /* "": without logging in */
    const char *const *auth;        /* names of mechanisms */
    unsigned auth_count;
    bool auth_in_clear;
};

/** What some mail needs. */
struct config_route {
    const char *const *destinations;
    unsigned destinations_count;
    const char *const *sites;
    unsigned sites_count;
    const char *const *tenants;
    unsigned tenants_count;
    const char *tls;   /* name of a policy or a mode; "": the relay's, else the default */
    const char *relay; /* "": none */
};

/** All text is NUL-terminated and never NULL. */
struct config {
    const char *path; /* the file, or "" for the defaults */
    const char *state_dir;
    struct {
        enum log_level level;
        enum log_format format;
    } log;
    unsigned workers; /* 0: one per core */
    enum ring_body io;
    struct {
        const char *url; /* "": private Redis below state_dir, see embedded_redis.h */
        const char *name_space;
        unsigned partitions;
        unsigned wait_replicas; /* 0: none */
        unsigned wait_timeout_ms;
    } redis;
    struct {
        unsigned port;
        const char *ehlo_name; /* "": the host's name */
        struct {
            unsigned connect_s, greeting_s, ehlo_s, starttls_s, mail_s, rcpt_s, data_s, block_s,
                dot_s, rset_s;
        } timeouts;
        enum config_tls tls;
        bool pipelining, chunking;
        unsigned pipeline_depth; /* transactions open at once on a site that earned it */
        unsigned pipeline_rank;  /* answers in order that earn it */
        enum config_family prefer;
        unsigned race_ms;
        unsigned hosts_per_attempt, addresses_per_attempt;
    } smtp;
    bool dane;    /* look for TLSA records wherever TLS isn't off */
    bool mta_sts; /* heed domains' policies, likewise */
    unsigned mta_sts_port;
    struct {
        const char *from; /* "": no reports are made */
        const char *organization, *contact;
    } tls_reports;
    struct config_policy tls; /* of no name: what the others start from; its mode is smtp.tls */
    const struct config_policy *policies;
    unsigned policies_count;
    const struct config_relay *relays;
    unsigned relays_count;
    const struct config_route *routes;
    unsigned routes_count;
    struct {
        const char *servers; /* "": /etc/resolv.conf */
        unsigned timeout_ms, tries;
        bool ipv4, ipv6;
        unsigned cache_entries;
        bool trusted;
        unsigned stale_s, lookups_per_second;
        const char *const *own_names;
        unsigned own_names_count;
        const char *const *refused; /* prefixes, "default", "own" */
        unsigned refused_count;
    } dns;
    const struct config_source *sources; /* empty: one source "default" of the kernel's choice */
    unsigned sources_count;
    const struct config_dkim *dkim;
    unsigned dkim_count;
    const struct config_pool *pools; /* the first is the default; empty: one of all sources */
    unsigned pools_count;
    struct {
        unsigned connections_per_site, messages_per_session, idle_s, sessions_per_worker;
        unsigned connect_concurrency_per_site, reserved_per_site;
    } pool;
    struct {
        unsigned jobs_in_flight, per_destination, reserved_percent, owner_lease_ms, events_max;
        unsigned idempotency_s;
    } queue;
    const struct config_tenant *tenants;
    unsigned tenants_count;
    struct {
        const struct config_schedule *schedules; /* the first one that fits is used … */
        unsigned schedules_count;
        const unsigned *schedule_s; /* … else this: pauses before the 2nd, 3rd, … attempt */
        unsigned schedule_count;
        unsigned expire_s, expire_transactional_s;
        unsigned unknown_delay_s, jitter_percent;
    } retry;
    struct {
        const char *listen; /* ADDRESS:PORT; port 0: any free one */
        bool enabled;
    } api;
    void *memory; /* private */
};

/** The defaults of every setting. */
void config_defaults(struct config *config);
/** Reads and checks `path`; what it doesn't name has its default. On false `config` is empty and
 * `err` is one line, "FILE:LINE: what is wrong with KEY". Free with config_free(). */
MUST_USE bool config_load(const char *path, struct config *config, struct err *err);
void config_free(struct config *config);

/** Appends the configuration as YAML, each key with its help, unit, range and default in a comment.
 */
void config_dump(const struct config *config, struct buf *out);
/** Calls `warn` for each setting that is legal but probably not meant; returns how many. */
unsigned config_lint(const struct config *config, void (*warn)(void *user, const char *text),
                     void *user);

/* The table of all settings: the only place where a setting has a name, a default, a range and a
 * help text. */
#include "engine/app/config_table.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <time.h>

#include "dns/resolver.h"
#include "engine/classify/verdict.h"
#include "engine/message/address.h"
#include "engine/net/sasl.h"
#include "queue/url.h"

static const char *check_filled(const char *text)
{
    return *text ? NULL : "must not be empty";
}

static const char *check_redis_url(const char *text)
{
    struct redis_url url;
    struct err err;
    bool good = !*text || redis_url_parse(slice_str(text), &url, &err);
    redis_url_clear(&url);
    return good ? NULL
                : "must be redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://… (TLS), "
                  "unix:///PATH, redis+sentinel://HOST,HOST…/MASTER, redis+cluster://HOST,HOST… "
                  "(queue/README.md), or empty for a private Redis";
}

static const char *check_name_space(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return len > 0 && len <= 32 && !text[len] ? NULL
                                              : "must be 1 to 32 letters, digits, '_' or '-'";
}

static const char *check_pool_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return len > 0 && len <= 64 && !text[len] ? NULL
                                              : "must be 1 to 64 letters, digits, '.', '_' or '-'";
}

static const char *check_category(const char *text)
{
    return !*text || classify_category_known(slice_str(text))
               ? NULL
               : "must be a category of replies, such as greylisted, rate-limited or mailbox-full";
}

static const char *check_ehlo_name(const char *text)
{
    size_t len = strlen(text);
    size_t host = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");
    bool literal = len > 2 && text[0] == '[' && text[len - 1] == ']' &&
                   strspn(text + 1, "0123456789abcdefABCDEFIPv.:") == len - 2;
    return len <= 255 && (host == len || literal) ? NULL
                                                  : "must be a host name or an address in brackets";
}

static const char *check_address(const char *text)
{
    unsigned char bytes[16];
    bool good =
        !*text || inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
    return good ? NULL : "must be an IPv4 or IPv6 address";
}

static const char *check_domain(const char *text)
{
    size_t len = strlen(text);
    bool good =
        len > 0 && len <= 253 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == len;
    return good ? NULL : "must be a domain in lower case (A-labels)";
}

static const char *check_day(const char *text)
{
    struct tm tm;
    const char *end = *text ? strptime(text, "%Y-%m-%d", &tm) : text;
    return end && !*end ? NULL : "must be a day such as 2026-11-24";
}

static const char *check_body_form(const char *text)
{
    return !*text || strcmp(text, "relaxed") == 0 || strcmp(text, "simple") == 0
               ? NULL
               : "must be relaxed or simple";
}

static const char *check_report_address(const char *text)
{
    struct address address;
    struct err err;
    return !*text || address_parse(slice_str(text), &address, &err) ? NULL
                                                                    : "must be a mail address";
}

static const struct setting_choice tls_modes[] = {
    { "off", CONFIG_TLS_OFF },           { "opportunistic", CONFIG_TLS_OPPORTUNISTIC },
    { "required", CONFIG_TLS_REQUIRED }, { "verified", CONFIG_TLS_VERIFIED },
    { "dane", CONFIG_TLS_DANE },         { NULL },
};

static const char *check_tls_version(const char *text)
{
    return strcmp(text, "1.2") == 0 || strcmp(text, "1.3") == 0 ? NULL : "must be 1.2 or 1.3";
}

static const char *check_own_tls_version(const char *text)
{
    return *text ? check_tls_version(text) : NULL;
}

static const char *check_policy_name(const char *text)
{
    for (const struct setting_choice *mode = tls_modes; mode->name; mode++)
        if (strcmp(mode->name, text) == 0)
            return "is what a mode is called: choose another name";
    return check_pool_name(text);
}

static const char *check_tls(const char *text)
{
    return *text ? check_pool_name(text) : NULL;
}

/* A domain, or all below one, or all. */
static const char *check_pattern(const char *text)
{
    const char *name = strcmp(text, "*") == 0 ? "" : strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    size_t len = strlen(name);
    bool good = len <= 253 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len &&
                name[0] != '.' && (len == 0 || name[len - 1] != '.') &&
                (len > 0 || strcmp(text, "*") == 0);
    return good ? NULL
                : "must be a domain such as example.org, or *.example.org for all below it, or *; "
                  "in lower case, internationalised ones as xn--…";
}

static const char *check_host_name(const char *text)
{
    char name[256];
    size_t len;
    return dns_name_normalise(slice_str(text), name, &len) && strcmp(name, text) == 0
               ? NULL
               : "must be a host name in lower case, internationalised ones as xn--…";
}

static const char *check_refused(const char *text)
{
    struct dns_prefix prefix;
    struct err err;
    return strcmp(text, "default") == 0 || strcmp(text, "own") == 0 ||
                   dns_prefix_parse(slice_str(text), &prefix, &err)
               ? NULL
               : "must be a prefix such as 10.0.0.0/8 or fd00::/8 with no bits set behind it, an "
                 "address, default, or own";
}

static const char *check_mechanism(const char *text)
{
    return sasl_set_parse(slice_str(text))
               ? NULL
               : "must be SCRAM-SHA-256, OAUTHBEARER, XOAUTH2, PLAIN or "
                 "LOGIN";
}

static const char *check_relay_host(const char *text)
{
    size_t len = strlen(text);
    size_t host = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return (len > 0 && len <= 253 && host == len) || (len > 0 && !check_address(text))
               ? NULL
               : "must be a host name or an IP address";
}

static const char *check_listen(const char *text)
{
    static const char wrong[] = "must be ADDRESS:PORT, such as 127.0.0.1:8025 or [::1]:8025";
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon || colon == text || !slice_to_u64(slice_str(colon + 1), &port) || port > 65535)
        return wrong;
    char host[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    size_t len = (size_t)(colon - text);
    bool v6 = text[0] == '[' && colon[-1] == ']';
    if (v6 ? len < 3 || len - 2 >= sizeof host : len >= sizeof host)
        return wrong;
    memcpy(host, text + v6, len - 2 * v6);
    host[len - 2 * v6] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, host, bytes) == 1 ? NULL : wrong;
}

static const struct setting_choice log_levels[] = {
    { "debug", LOG_DEBUG },
    { "info", LOG_INFO },
    { "warn", LOG_WARN },
    { "error", LOG_ERROR },
    { NULL },
};
static const struct setting_choice log_formats[] = { { "text", LOG_TEXT },
                                                     { "json", LOG_JSON },
                                                     { NULL } };
static const struct setting_choice io_bodies[] = {
    { "auto", RING_BODY_AUTO },
    { "io_uring", RING_BODY_URING },
    { "epoll", RING_BODY_EPOLL },
    { NULL },
};
static const struct setting_choice families[] = { { "ipv6", CONFIG_IPV6 },
                                                  { "ipv4", CONFIG_IPV4 },
                                                  { NULL } };

static const struct setting_choice classes[] = {
    { "any", CONFIG_ANY_CLASS },
    { "transactional", CONFIG_TRANSACTIONAL },
    { "deadline", CONFIG_DEADLINE },
    { "bulk", CONFIG_BULK },
    { NULL },
};

/* ---- entries of tables ---- */

#define PART(type, key_, member, check_, help_)                                                    \
    {                                                                                              \
        .key = key_, .kind = SETTING_TEXT, .offset = offsetof(struct type, member), .text = "",    \
        .check = check_, .help = help_                                                             \
    }

static const struct setting source_rows[] = {
    PART(config_source, "name", name, check_name_space, "Unique; appears in events."),
    PART(config_source, "address", address, check_address,
         "Local address to send from. Empty: the kernel chooses."),
    PART(config_source, "ehlo_name", ehlo_name, check_ehlo_name, "Empty: smtp.ehlo_name."),
};
static const struct setting_table source_table = {
    .rows = source_rows,
    .count = ARRAY_LEN(source_rows),
    .entry_bytes = sizeof(struct config_source),
    .example = "sources:\n"
               "  - name: a\n"
               "    address: 192.0.2.10\n"
               "    ehlo_name: a.mail.example.org\n",
};

static const struct setting dkim_rows[] = {
    PART(config_dkim, "domain", domain, check_domain,
         "Mail whose From is of this domain, or one below, is signed in its name (d=)."),
    PART(config_dkim, "selector", selector, check_domain,
         "Where the public key is: "
         "SELECTOR._domainkey.DOMAIN (s=)."),
    PART(config_dkim, "key_file", key_file, check_filled,
         "PEM: RSA of 1024 to 4096 bits, or Ed25519. `eilpost dkim keygen` makes one."),
    { .key = "tenants",
      .kind = SETTING_TEXTS,
      .offset = offsetof(struct config_dkim, tenants),
      .check = check_pool_name,
      .help = "Whose mail. None: everyone's." },
    PART(config_dkim, "not_before", not_before, check_day,
         "Not used before this day (UTC), as 2026-11-24."),
    PART(config_dkim, "not_after", not_after, check_day, "Nor after this one."),
    { .key = "expires_s",
      .kind = SETTING_UINT,
      .offset = offsetof(struct config_dkim, expires_s),
      .max = 31536000,
      .unit = "seconds",
      .help = "Signatures aren't good for longer (x=). 0: no end." },
    PART(config_dkim, "body", body, check_body_form,
         "Canonicalization of bodies: relaxed or simple. Empty: relaxed."),
};
static const struct setting_table dkim_table = {
    .rows = dkim_rows,
    .count = ARRAY_LEN(dkim_rows),
    .entry_bytes = sizeof(struct config_dkim),
    .example = "dkim:\n"
               "  - domain: shop.example\n"
               "    selector: june\n"
               "    key_file: /etc/eilpost/dkim/june.pem\n"
               "  - domain: shop.example\n"
               "    selector: june-ed\n"
               "    key_file: /etc/eilpost/dkim/june-ed.pem\n",
};

static const struct setting pool_rows[] = {
    PART(config_pool, "name", name, check_pool_name,
         "Unique; what a submission's \"pool\" and an order to move name."),
    { .key = "sources",
      .kind = SETTING_TEXTS,
      .offset = offsetof(struct config_pool, texts),
      .help =
          "Names of sources. NAME:WEIGHT gives one a share of its own (1 to 1000): the heaviest "
          "gets pool.connections_per_site, the others as much less as they weigh less." },
};
static const struct setting_table pool_table = {
    .rows = pool_rows,
    .count = ARRAY_LEN(pool_rows),
    .entry_bytes = sizeof(struct config_pool),
    .example = "pools:\n"
               "  - name: main\n"
               "    sources: [a, b]\n"
               "  - name: warming-up\n"
               "    sources: [\"a:9\", \"c:1\"]\n",
};

static const struct setting tenant_rows[] = {
    PART(config_tenant, "name", name, check_pool_name, "As submissions say it."),
    { .key = "weight",
      .kind = SETTING_UINT,
      .offset = offsetof(struct config_tenant, weight),
      .initial = 1,
      .min = 1,
      .max = 1000,
      .help = "Its share beside the others' that have something for the same destination." },
};
static const struct setting_table tenant_table = {
    .rows = tenant_rows,
    .count = ARRAY_LEN(tenant_rows),
    .entry_bytes = sizeof(struct config_tenant),
    .example = "tenants:\n"
               "  - name: acme\n"
               "    weight: 3\n",
};

static const struct setting schedule_rows[] = {
    { .key = "class",
      .kind = SETTING_CHOICE,
      .offset = offsetof(struct config_schedule, class),
      .initial = CONFIG_ANY_CLASS,
      .choices = classes,
      .help = "any, transactional, deadline or bulk." },
    PART(config_schedule, "category", category, check_category,
         "Of the reply, as in events, such as greylisted, rate-limited or mailbox-full. Empty: "
         "any."),
    { .key = "schedule_s",
      .kind = SETTING_UINTS,
      .offset = offsetof(struct config_schedule, schedule_s),
      .min = 1,
      .max = 604800,
      .text = "300",
      .unit = "seconds",
      .help = "As retry.schedule_s." },
};
#define SCHEDULE(class_, category_, ...)                                                           \
    {                                                                                              \
        .class = class_, .category = category_, .schedule_s = (const unsigned[]){ __VA_ARGS__ },   \
        .schedule_count = sizeof((const unsigned[]){ __VA_ARGS__ }) / sizeof(unsigned)             \
    }
/* Somebody waits for transactional mail, and it's little: it may knock often. Greylisting servers
 * let in after some minutes, those that limit rates after longer. */
static const struct config_schedule schedules[] = {
    SCHEDULE(CONFIG_TRANSACTIONAL, "", 15, 30, 60, 120, 300, 600, 1800),
    SCHEDULE(CONFIG_DEADLINE, "", 30, 60, 120, 300, 600, 1800),
    SCHEDULE(CONFIG_ANY_CLASS, "greylisted", 120, 300, 600, 1200, 1800, 3600, 7200),
    SCHEDULE(CONFIG_ANY_CLASS, "mailbox-full", 3600, 7200, 14400, 28800),
};
static const struct setting_table schedule_table = {
    .rows = schedule_rows,
    .count = ARRAY_LEN(schedule_rows),
    .entry_bytes = sizeof(struct config_schedule),
    .initial = schedules,
    .initial_count = ARRAY_LEN(schedules),
    .example = "schedules:\n"
               "  - category: greylisted\n"
               "    schedule_s: [120, 300, 600]\n",
};

/* The settings of a policy; those of `tls:` are where all others start from. */
#define MIN_VERSION_HELP "1.2 or 1.3."
#define CIPHERS_HELP "Of TLS 1.2, as OpenSSL writes them. Empty: ours."
#define SUITES_HELP "Of TLS 1.3, as OpenSSL writes them. Empty: ours."
#define CA_FILE_HELP                                                                               \
    "Certificates that are trusted, PEM. Empty: the system's. Read where names are verified."
#define CERT_FILE_HELP "Our certificate and its chain for servers that ask, PEM. Empty: none."
#define KEY_FILE_HELP "Its key, PEM, without a passphrase."

static const struct setting policy_rows[] = {
    PART(config_policy, "name", name, check_policy_name, "Unique; what routes and relays name."),
    { .key = "mode",
      .kind = SETTING_CHOICE,
      .offset = offsetof(struct config_policy, mode),
      .initial = CONFIG_TLS_VERIFIED,
      .choices = tls_modes,
      .help = "As smtp.tls." },
    PART(config_policy, "min_version", min_version, check_own_tls_version,
         "1.2 or 1.3. Empty, as all below: the one of tls."),
    PART(config_policy, "ciphers", ciphers, NULL, CIPHERS_HELP),
    PART(config_policy, "ciphersuites", suites, NULL, SUITES_HELP),
    PART(config_policy, "ca_file", ca_file, NULL, CA_FILE_HELP),
    PART(config_policy, "cert_file", cert_file, NULL, CERT_FILE_HELP),
    PART(config_policy, "key_file", key_file, NULL, KEY_FILE_HELP),
};
static const struct setting_table policy_table = {
    .rows = policy_rows,
    .count = ARRAY_LEN(policy_rows),
    .entry_bytes = sizeof(struct config_policy),
    .example = "tls_policies:\n"
               "  - name: partner\n"
               "    mode: verified\n"
               "    min_version: \"1.3\"\n"
               "    ca_file: /etc/eilpost/partner-ca.pem\n",
};

static const struct setting relay_rows[] = {
    PART(config_relay, "name", name, check_pool_name, "Unique; what routes name."),
    PART(config_relay, "host", host, check_relay_host, "Name or IP address."),
    { .key = "port",
      .kind = SETTING_UINT,
      .offset = offsetof(struct config_relay, port),
      .initial = 587,
      .min = 1,
      .max = 65535,
      .help = "25, 465 (with implicit_tls) or 587." },
    { .key = "mx",
      .kind = SETTING_BOOL,
      .offset = offsetof(struct config_relay, mx),
      .max = 1,
      .help = "Look up the host's MX records." },
    { .key = "implicit_tls",
      .kind = SETTING_BOOL,
      .offset = offsetof(struct config_relay, implicit_tls),
      .max = 1,
      .help = "TLS from the first byte, as on port 465, in place of STARTTLS." },
    { .key = "tls",
      .kind = SETTING_TEXT,
      .offset = offsetof(struct config_relay, tls),
      .text = "verified",
      .check = check_tls,
      .help = "A mode, as smtp.tls, or a name of tls_policies." },
    { .key = "lmtp",
      .kind = SETTING_BOOL,
      .offset = offsetof(struct config_relay, lmtp),
      .max = 1,
      .help = "It's a local delivery agent that speaks LMTP (RFC 2033)." },
    PART(config_relay, "user", user, NULL, "To log in as. Empty: without."),
    PART(config_relay, "secret_file", secret_file, NULL,
         "File whose first line is the password, or the access token; read again when it changes."),
    { .key = "auth",
      .kind = SETTING_TEXTS,
      .offset = offsetof(struct config_relay, auth),
      .check = check_mechanism,
      .help = "Ways to log in that may be used, of SCRAM-SHA-256, PLAIN and LOGIN for a password, "
              "OAUTHBEARER and XOAUTH2 for a token; the strongest that the relay offers is. None: "
              "those for a password." },
    { .key = "auth_in_clear",
      .kind = SETTING_BOOL,
      .offset = offsetof(struct config_relay, auth_in_clear),
      .max = 1,
      .help = "Log in even without TLS: everybody on the way can read the password." },
};
static const struct setting_table relay_table = {
    .rows = relay_rows,
    .count = ARRAY_LEN(relay_rows),
    .entry_bytes = sizeof(struct config_relay),
    .example = "relays:\n"
               "  - name: smart-host\n"
               "    host: smtp.example.net\n"
               "    port: 587\n"
               "    user: mailer@example.org\n"
               "    secret_file: /etc/eilpost/smart-host.secret\n",
};

static const struct setting route_rows[] = {
    { .key = "destinations",
      .kind = SETTING_TEXTS,
      .offset = offsetof(struct config_route, destinations),
      .check = check_pattern,
      .help = "Recipients' domains, such as example.org or *.example.org. None: all." },
    { .key = "sites",
      .kind = SETTING_TEXTS,
      .offset = offsetof(struct config_route, sites),
      .check = check_pattern,
      .help = "One of the domain's mail exchangers, likewise. None: any." },
    { .key = "tenants",
      .kind = SETTING_TEXTS,
      .offset = offsetof(struct config_route, tenants),
      .check = check_pool_name,
      .help = "Whose mail. None: everyone's." },
    PART(config_route, "tls", tls, check_tls,
         "A mode, as smtp.tls, or a name of tls_policies. Empty: the relay's, or else smtp.tls."),
    PART(config_route, "relay", relay, check_tls,
         "A name of relays. Empty: straight to the mail exchangers."),
};
static const struct setting_table route_table = {
    .rows = route_rows,
    .count = ARRAY_LEN(route_rows),
    .entry_bytes = sizeof(struct config_route),
    .example = "routes:\n"
               "  - destinations: [example.org, \"*.example.org\"]\n"
               "    tls: verified\n"
               "  - tenants: [acme]\n"
               "    relay: smart-host\n",
};

/* ---- the table ---- */

#define AT(member) .offset = offsetof(struct config, member)
#define TEXT(key_, member, text_, check_, help_)                                                   \
    {                                                                                              \
        .key = key_, .kind = SETTING_TEXT, AT(member), .text = text_, .check = check_,             \
        .help = help_                                                                              \
    }
#define UINT(key_, member, initial_, min_, max_, unit_, help_)                                     \
    {                                                                                              \
        .key = key_, .kind = SETTING_UINT, AT(member), .initial = initial_, .min = min_,           \
        .max = max_, .unit = unit_, .help = help_                                                  \
    }
#define BOOL(key_, member, initial_, help_)                                                        \
    {                                                                                              \
        .key = key_, .kind = SETTING_BOOL, AT(member), .initial = initial_, .max = 1,              \
        .help = help_                                                                              \
    }
#define CHOICE(key_, member, initial_, choices_, help_)                                            \
    {                                                                                              \
        .key = key_, .kind = SETTING_CHOICE, AT(member), .initial = initial_, .choices = choices_, \
        .help = help_                                                                              \
    }
#define TEXTS(key_, member, text_, check_, help_)                                                  \
    {                                                                                              \
        .key = key_, .kind = SETTING_TEXTS, AT(member), .text = text_, .check = check_,            \
        .help = help_                                                                              \
    }
#define TABLE(key_, member, table_, help_)                                                         \
    {                                                                                              \
        .key = key_, .kind = SETTING_TABLE, AT(member), .table = &table_, .help = help_            \
    }
#define TIMEOUT(name_, initial_, help_)                                                            \
    UINT("smtp.timeouts." #name_, smtp.timeouts.name_, initial_, 1, 7200, "seconds", help_)

static const struct setting rows[] = {
    TEXT("state_dir", state_dir, "/var/lib/eilpost", check_filled,
         "Folder for the journal of what is in doubt, the node's name, and the private Redis. One "
         "engine each."),

    CHOICE("log.level", log.level, LOG_INFO, log_levels, "Lines below this level aren't written."),
    CHOICE("log.format", log.format, LOG_TEXT, log_formats, "One line per event on stderr."),

    UINT("workers", workers, 0, 0, 1024, NULL, "Worker threads; 0: one per core."),
    CHOICE("io", io, RING_BODY_AUTO, io_bodies,
           "Event loop. auto: io_uring, or epoll with a warning where the kernel refuses it."),

    { .key = "redis.url",
      .kind = SETTING_TEXT,
      AT(redis.url),
      .text = "",
      .check = check_redis_url,
      .secret = true,
      .help = "redis://[USER:PASSWORD@]HOST[:PORT][/DB], unix:///PATH, "
              "redis+sentinel://HOST,HOST…/MASTER or redis+cluster://HOST,HOST…; rediss in place "
              "of redis for TLS. Empty: a private Redis below state_dir that syncs each write to "
              "disk." },
    TEXT("redis.name_space", redis.name_space, "e", check_name_space,
         "What all keys in Redis begin with."),
    UINT("redis.partitions", redis.partitions, 16, 1, 4096, NULL,
         "Slices of the queue. Fixed by the first engine that uses this name space."),
    UINT("redis.wait_replicas", redis.wait_replicas, 0, 0, 10, NULL,
         "Replicas that must have it before anything counts as accepted, leased or recorded: what "
         "a failover needs to lose nothing. 0: none."),
    UINT("redis.wait_timeout_ms", redis.wait_timeout_ms, 1000, 10, 60000, "ms",
         "How long they may take; then the connection is given up and all is tried again."),

    UINT("smtp.port", smtp.port, 25, 1, 65535, NULL, "Port of the mail exchangers."),
    TEXT("smtp.ehlo_name", smtp.ehlo_name, "", check_ehlo_name,
         "Name given in EHLO: should resolve to the sending address. Empty: this host's name."),
    TIMEOUT(connect_s, 30, "To open a connection."),
    TIMEOUT(greeting_s, 300, "For the greeting (RFC 5321, 4.5.3.2.1)."),
    TIMEOUT(ehlo_s, 300, "For the answer to EHLO or HELO."),
    TIMEOUT(starttls_s, 60, "For STARTTLS and the handshake."),
    TIMEOUT(mail_s, 300, "For the answer to MAIL (4.5.3.2.2)."),
    TIMEOUT(rcpt_s, 300, "For the answer to RCPT (4.5.3.2.3)."),
    TIMEOUT(data_s, 120, "For the answer to DATA (4.5.3.2.4)."),
    TIMEOUT(block_s, 180, "For each block of the message to be taken (4.5.3.2.5)."),
    TIMEOUT(
        dot_s, 600,
        "For the answer to the end of data (4.5.3.2.6). When it expires the outcome is unknown."),
    TIMEOUT(rset_s, 20, "For the answer to RSET."),
    CHOICE("smtp.tls", smtp.tls, SMTP_TLS_OPPORTUNISTIC, tls_modes,
           "off: never. opportunistic: where it's offered, whoever answers. required: no delivery "
           "without it. verified: nor to a host whose certificate isn't right. dane: only to hosts "
           "with TLSA records, which must fit (RFC 7672)."),
    BOOL("smtp.pipelining", smtp.pipelining, true, "Use PIPELINING (RFC 2920) where it's offered."),
    BOOL("smtp.chunking", smtp.chunking, true, "Use CHUNKING (BDAT, RFC 3030) where it's offered."),
    UINT("smtp.pipeline_depth", smtp.pipeline_depth, 4, 1, 64, "messages",
         "Open at once on one session with a site that has earned it; above 1 a transactional one "
         "may be added."),
    UINT("smtp.pipeline_rank", smtp.pipeline_rank, 20, 1, 1000000, "messages",
         "Answered in order by a site before it has earned that depth."),
    CHOICE("smtp.prefer", smtp.prefer, CONFIG_IPV6, families,
           "Addresses tried first, until a site has shown which family works."),
    UINT("smtp.race_ms", smtp.race_ms, 250, 0, 10000, "milliseconds",
         "A connection that takes longer races with one over the other family (RFC 8305). 0: "
         "never."),
    UINT("smtp.hosts_per_attempt", smtp.hosts_per_attempt, 5, 1, 100, NULL,
         "Mail exchangers that may fail before the attempt counts as failed."),
    UINT("smtp.addresses_per_attempt", smtp.addresses_per_attempt, 10, 1, 1000, NULL,
         "Of them all, likewise."),

    BOOL("tls.dane", dane, true,
         "Look for TLSA records, and insist on those that there are, under opportunistic and "
         "required, too. Needs dns.trusted."),
    BOOL("tls.mta_sts", mta_sts, true,
         "Fetch the MTA-STS policies of domains, and keep them under opportunistic and required, "
         "too "
         "(RFC 8461)."),
    UINT("tls.mta_sts_port", mta_sts_port, 443, 1, 65535, NULL, "Of the servers of policies."),
    TEXT("tls.min_version", tls.min_version, "1.2", check_tls_version, MIN_VERSION_HELP),
    TEXT("tls.ciphers", tls.ciphers, "", NULL, CIPHERS_HELP),
    TEXT("tls.ciphersuites", tls.suites, "", NULL, SUITES_HELP),
    TEXT("tls.ca_file", tls.ca_file, "", NULL, CA_FILE_HELP),
    TEXT("tls.cert_file", tls.cert_file, "", NULL, CERT_FILE_HELP),
    TEXT("tls.key_file", tls.key_file, "", NULL, KEY_FILE_HELP),
    TEXT("tls_reports.from", tls_reports.from, "", check_report_address,
         "Address that reports about TLS to other domains come from (RFC 8460), for those that ask "
         "for them. Empty: none are made."),
    TEXT("tls_reports.organization", tls_reports.organization, "", NULL,
         "Who reports, as reports say it. Empty: the domain of from."),
    TEXT("tls_reports.contact", tls_reports.contact, "", check_report_address,
         "Address for questions about reports. Empty: from."),
    TABLE("dkim", dkim, dkim_table,
          "Keys that messages are signed with (DKIM, RFC 6376): all those of the From header's "
          "domain, or "
          "else of the nearest one above it, that the tenant may use now; three at most."),
    TABLE("tls_policies", policies, policy_table,
          "Ways to secure sessions, by name, for relays and routes."),
    TABLE("relays", relays, relay_table, "Servers that take mail for others."),
    TABLE("routes", routes, route_table,
          "What some mail needs: the first entry that fits says. What fits none goes straight to "
          "its mail exchangers, secured as smtp.tls says."),

    TEXT("dns.servers", dns.servers, "", NULL,
         "\"192.0.2.53, [2001:db8::53]:5353\". Empty: those of /etc/resolv.conf."),
    UINT("dns.timeout_ms", dns.timeout_ms, 3000, 10, 60000, "milliseconds", "For one try."),
    UINT("dns.tries", dns.tries, 3, 1, 10, NULL, "Over all servers."),
    BOOL("dns.ipv4", dns.ipv4, true, "Deliver over IPv4."),
    BOOL("dns.ipv6", dns.ipv6, true, "Deliver over IPv6."),
    UINT("dns.cache_entries", dns.cache_entries, 200000, 100, 100000000, "names",
         "Kept per worker."),
    BOOL("dns.trusted", dns.trusted, false,
         "The servers validate DNSSEC, and nobody is between them and this host: what they say is "
         "validated counts as that. DANE needs it. Best is a resolver on this host."),
    UINT("dns.stale_s", dns.stale_s, 3600, 0, 604800, "seconds",
         "While a name can't be looked up, the hosts and addresses known before are used so long "
         "past their time."),
    UINT("dns.lookups_per_second", dns.lookups_per_second, 0, 0, 1000000, NULL,
         "Questions that a worker sends. 0: no limit."),
    TEXTS("dns.own_names", dns.own_names, "", check_host_name,
          "Names of this host as a mail exchanger. Mail isn't sent to them, nor to those behind "
          "them (RFC 5321, 5.1). Only those under which it doesn't take mail itself."),
    TEXTS("dns.refused", dns.refused, "default, own", check_refused,
          "Addresses that mail isn't sent to, whatever the DNS says: prefixes such as 10.0.0.0/8; "
          "default stands for loopback, private and all others that aren't on the Internet, own "
          "for those of this host's interfaces. Relays may have any address."),

    TABLE("sources", sources, source_table,
          "Egress identities; messages are spread over them. Empty: one, of the kernel's choice."),
    TABLE(
        "pools", pools, pool_table,
        "Sets of sources that messages can be bound to. The first is for messages that name none, "
        "or one that this node doesn't have. Empty: one of all sources."),

    UINT("pool.connections_per_site", pool.connections_per_site, 20, 1, 100000, NULL,
         "At once, per source and over all workers, to the servers of one site."),
    UINT("pool.messages_per_session", pool.messages_per_session, 1000, 1, 1000000, NULL,
         "Then the session is closed."),
    UINT("pool.idle_s", pool.idle_s, 10, 0, 3600, "seconds", "An unused session is kept open."),
    UINT("pool.sessions_per_worker", pool.sessions_per_worker, 10000, 1, 1000000, NULL,
         "Over all sites."),
    UINT("pool.connect_concurrency_per_site", pool.connect_concurrency_per_site, 5, 1, 100000, NULL,
         "Sessions of one site that may be opening at once."),
    UINT("pool.reserved_per_site", pool.reserved_per_site, 1, 0, 100000, NULL,
         "Of connections_per_site, kept for transactional messages (all but one at most)."),

    UINT("queue.jobs_in_flight", queue.jobs_in_flight, 4000, 1, 1000000, "jobs",
         "Taken from the queue per worker: what bounds its memory."),
    UINT("queue.per_destination", queue.per_destination, 200, 1, 1000000, "jobs",
         "Of these, for one destination domain and class."),
    UINT("queue.reserved_percent", queue.reserved_percent, 10, 0, 90, "percent",
         "Of jobs_in_flight, kept for transactional messages."),
    UINT("queue.owner_lease_ms", queue.owner_lease_ms, 6000, 3000, 600000, "milliseconds",
         "A dead engine's partitions are free after this."),
    UINT("queue.events_max", queue.events_max, 1000000, 1000, 1000000000, "events",
         "Kept in the events streams; older ones are dropped."),
    UINT("queue.idempotency_s", queue.idempotency_s, 172800, 86400, 2592000, "seconds",
         "A submission or recipient that comes again with the same key within this is sent once."),

    TABLE(
        "tenants", tenants, tenant_table,
        "Shares of tenants in a destination that several want to send to; who isn't named has 1."),

    { .key = "retry.schedule_s",
      .kind = SETTING_UINTS,
      AT(retry.schedule_s),
      .min = 1,
      .max = 604800,
      .text = "300, 900, 1800, 3600, 7200, 14400",
      .unit = "seconds",
      .help = "Pauses after the 1st, 2nd, … temporary failure; the last one repeats. A server's "
              "\"try again in …\" makes one longer." },
    TABLE("retry.schedules", retry.schedules, schedule_table,
          "Other pauses for some classes and categories: the first entry that fits is used, else "
          "schedule_s. A list of yours takes the place of this one; so does schedule_s when only "
          "that is given."),
    UINT("retry.expire_s", retry.expire_s, 345600, 1, 2592000, "seconds",
         "After its submission a message that couldn't be delivered expires, unless the submission "
         "says when."),
    UINT("retry.expire_transactional_s", retry.expire_transactional_s, 86400, 1, 2592000, "seconds",
         "The same for transactional messages; those of the deadline class always say when."),
    UINT("retry.unknown_delay_s", retry.unknown_delay_s, 900, 1, 604800, "seconds",
         "Pause after an attempt whose outcome is unknown (it may have been delivered)."),
    UINT("retry.jitter_percent", retry.jitter_percent, 10, 0, 50, "percent",
         "Each pause is longer or shorter by up to this."),

    TEXT("api.listen", api.listen, "127.0.0.1:8025", check_listen,
         "Where /healthz, /metrics and /v1/stats are served. It has no access control. Port 0: any "
         "free one."),
    BOOL("api.enabled", api.enabled, true, "Serve them."),
};

const struct setting *settings(size_t *count)
{
    *count = ARRAY_LEN(rows);
    return rows;
}

const char *setting_leaf(const struct setting *setting)
{
    const char *dot = strrchr(setting->key, '.');
    return dot ? dot + 1 : setting->key;
}

const struct setting *setting_find(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].key, key) == 0)
            return &rows[i];
    return NULL;
}

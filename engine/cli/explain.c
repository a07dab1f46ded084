/* eilpost explain: how mail for a domain would go, and why. */
#include <jansson.h>
#include <stdio.h>

#include "engine/app/explain.h"
#include "engine/cli/cli.h"

static const char *text_of(const json_t *object, const char *name, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : otherwise;
}

static const char *secure_of(const json_t *object)
{
    return json_is_true(json_object_get(object, "secure")) ? "validated by DNSSEC"
                                                           : "not validated";
}

static void print_list(const char *title, const json_t *list)
{
    size_t i;
    json_t *item;
    if (json_array_size(list) == 0)
        return;
    printf("%s", title);
    json_array_foreach(list, i, item) printf("%s%s", i ? ", " : "", json_string_value(item));
    putchar('\n');
}

static void print_session(const json_t *session)
{
    if (!session)
        return;
    printf("    session: %s", text_of(session, "verdict", ""));
    if (json_object_get(session, "code"))
        printf(" in phase %s: %lld %s", text_of(session, "phase", ""),
               (long long)json_integer_value(json_object_get(session, "code")),
               text_of(session, "text", ""));
    printf("; %s%s%s%s\n", text_of(session, "tls", "in clear"),
           json_object_get(session, "cipher") ? " " : "", text_of(session, "cipher", ""),
           json_is_true(json_object_get(session, "verified")) ? ", verified" : "");
    const json_t *certificate = json_object_get(session, "certificate");
    if (certificate)
        printf("    certificate: %s, by %s, for %s, %s to %s\n",
               text_of(certificate, "subject", ""), text_of(certificate, "issuer", ""),
               text_of(certificate, "names", "(no names)"), text_of(certificate, "from", ""),
               text_of(certificate, "until", ""));
}

static void print_host(const json_t *host)
{
    printf("  %lld %s (%s, %s, for %lld s)\n",
           (long long)json_integer_value(json_object_get(host, "preference")),
           text_of(host, "name", ""), text_of(host, "status", ""), secure_of(host),
           (long long)json_integer_value(json_object_get(host, "ttl_s")));
    if (json_object_get(host, "text"))
        printf("    %s\n", text_of(host, "text", ""));
    print_list("    addresses: ", json_object_get(host, "addresses"));
    print_list("    TLSA: ", json_object_get(json_object_get(host, "tlsa"), "records"));
    printf("    %s\n", text_of(host, "tls", ""));
    print_session(json_object_get(host, "session"));
}

static void print_shaping(const json_t *shaping)
{
    const char *name;
    json_t *value;
    const char *separator = "shaping:";
    json_object_foreach((json_t *)shaping, name, value)
    {
        printf("%s %s %lld", separator, name, (long long)json_integer_value(value));
        separator = ",";
    }
    putchar('\n');
}

static void print_text(const json_t *root)
{
    const json_t *policy = json_object_get(root, "mta_sts");
    size_t i;
    json_t *host;
    printf("%s\n", text_of(root, "domain", ""));
    printf("mail exchangers: %s, %s%s\n", text_of(root, "mx_status", ""), secure_of(root),
           json_is_true(json_object_get(root, "implicit")) ? ", the domain itself" : "");
    if (json_object_get(root, "text"))
        printf("  %s\n", text_of(root, "text", ""));
    if (json_is_integer(json_object_get(root, "route")))
        printf("rule: routes[%lld]\n",
               (long long)json_integer_value(json_object_get(root, "route")));
    printf("policy: %s\n", text_of(root, "policy", ""));
    if (json_is_string(json_object_get(root, "relay")))
        printf("relay: %s\n", text_of(root, "relay", ""));
    if (policy) {
        printf("MTA-STS: %s%s%s\n", text_of(policy, "mode", ""),
               json_object_get(policy, "problem") ? ", " : "", text_of(policy, "problem", ""));
        print_list("  mx: ", json_object_get(policy, "mx"));
    }
    print_list("sources: ", json_object_get(root, "sources"));
    print_shaping(json_object_get(root, "shaping"));
    json_array_foreach(json_object_get(root, "hosts"), i, host) print_host(host);
}

int command_explain(int argc, char **argv)
{
    const char *path = NULL, *tenant = "";
    bool as_json = false, connect = false;
    const struct cli_option options[] = {
        { "tenant", "NAME", "Whose mail it would be.", CLI_TEXT, &tenant, false },
        { "connect", NULL, "Go as far as EHLO and TLS with each host; sends no message.", CLI_FLAG,
          &connect, false },
        { "config", "FILE", "The configuration; without it /etc/eilpost/eilpost.yaml.", CLI_TEXT,
          &path, false },
        { "json", NULL, "JSON in place of text.", CLI_FLAG, &as_json, false },
    };
    const struct cli_usage usage = {
        .command = "explain",
        .operands = "DOMAIN",
        .summary = "Shows how mail for a domain would go, and why.",
        .notes = "example:\n  eilpost explain --connect example.org\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;
    struct err err = { 0 };
    if (operands != 1) {
        err_set(&err, ERR_USAGE, "needs one DOMAIN");
        return cli_fail("explain", &err);
    }
    struct config config;
    if (!cli_config_load(path, &config, &err))
        return cli_fail("explain", &err);
    struct log log = { .fd = 2, .level = LOG_ERROR };
    struct explain_request request = {
        .domain = argv[1], .tenant = tenant, .connect = connect, .log = &log
    };
    json_t *root = NULL;
    bool good = explain_domain(&config, &request, &root, &err);
    if (good && as_json) {
        json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        putchar('\n');
    } else if (good) {
        print_text(root);
    }
    json_decref(root);
    config_free(&config);
    return good ? CLI_OK : cli_fail("explain", &err);
}

/* eilpost dkim: keys for signatures, and whether the DNS has their public halves. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/app/config.h"
#include "engine/app/resolver.h"
#include "engine/cli/cli.h"
#include "engine/cli/operate.h"
#include "engine/message/dkim.h"

static int keygen(int argc, char **argv)
{
    uint64_t bits = 2048;
    bool ed25519 = false;
    const struct cli_option options[] = {
        { "bits", "N", "Of an RSA key, 1024 to 4096; without it, 2048.", CLI_COUNT, &bits, false },
        { "ed25519", NULL, "An Ed25519 key (RFC 8463): beside an RSA key, not in its place.",
          CLI_FLAG, &ed25519, false },
    };
    const struct cli_usage usage = {
        .command = "dkim keygen",
        .operands = "FILE",
        .summary = "Makes a key in a new FILE, and prints the record to publish.",
        .notes = "example:\n  eilpost dkim keygen /etc/eilpost/dkim/june.pem\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    struct err err = { 0 };
    char record[1000];
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;
    if (operands != 1) {
        err_set(&err, ERR_USAGE, "needs one FILE");
        return cli_fail("dkim keygen", &err);
    }
    const char *file = argv[1];
    if (!dkim_key_make(file, ed25519 ? 0 : (unsigned)MIN_OF(bits, (uint64_t)100000), &err) ||
        !dkim_record(file, record, &err))
        return cli_fail("dkim keygen", &err);
    printf("%s\n", record);
    return CLI_OK;
}

/* A TXT record's strings have 255 bytes at most (RFC 1035, 3.3.14). */
static void print_record(const struct config_dkim *key, const char *record)
{
    printf("%s._domainkey.%s. TXT (", key->selector, key->domain);
    for (size_t at = 0, len = strlen(record); at < len; at += 250)
        printf(" \"%.250s\"", record + at);
    puts(" )");
}

/* ---- what the DNS has ---- */

struct lookup {
    struct dns_request request;
    struct dns_text *text;
};

static void on_text(struct dns_request *request, struct dns_text *text)
{
    CONTAINER_OF(request, struct lookup, request)->text = text;
}

static void on_closed(void *user)
{
    *(bool *)user = true;
}

/* The value of p=, blanks left out. */
static struct slice public_key(struct slice record, char *room)
{
    while (record.len > 0) {
        struct slice tag = slice_trim(slice_cut(&record, ';'));
        struct slice name = slice_cut(&tag, '=');
        if (!slice_eq(slice_trim(name), SLICE("p")))
            continue;
        size_t len = 0;
        for (size_t i = 0; i < tag.len && len < 1000; i++)
            if (tag.ptr[i] != ' ' && tag.ptr[i] != '\t')
                room[len++] = tag.ptr[i];
        return slice_of(room, len);
    }
    return SLICE("");
}

static const char *verdict_of(const struct dns_text *text, const char *record)
{
    char own[1000], theirs[1000];
    struct slice wanted = public_key(slice_str(record), own);
    if (text->status == DNS_FAILED || text->status == DNS_TIMEOUT)
        return "can't be looked up now";
    if (text->count == 0)
        return "isn't published";
    for (unsigned i = 0; i < text->count; i++)
        if (slice_eq(public_key(text->records[i], theirs), wanted))
            return NULL;
    return "is published with another key";
}

static bool check_key(struct ring *ring, struct dns_resolver *resolver,
                      const struct config_dkim *key, const char *record)
{
    char name[600];
    struct lookup lookup = { .request = { .text_found = on_text } };
    int len = snprintf(name, sizeof name, "%s._domainkey.%s", key->selector, key->domain);
    dns_resolve_text(resolver, &lookup.request, slice_of(name, (size_t)len));
    while (!lookup.text)
        ring_turn(ring, 1000);
    const char *verdict = verdict_of(lookup.text, record);
    dns_text_release(lookup.text);
    printf("%s: %s\n", name, verdict ? verdict : "fits");
    return !verdict;
}

static bool check_all(const struct config *config, bool *fit, struct err *err)
{
    struct ring *ring = NULL;
    struct dns_resolver *resolver = NULL;
    bool closed = false;
    if (!ring_create(&ring, &(struct ring_options){ .body = RING_BODY_EPOLL }, err))
        return false;
    bool good = app_resolver_create(&resolver, ring, config, err);
    *fit = true;
    for (unsigned i = 0; good && i < config->dkim_count; i++) {
        char record[1000];
        good = dkim_record(config->dkim[i].key_file, record, err);
        *fit &= good && check_key(ring, resolver, &config->dkim[i], record);
    }
    if (resolver) {
        dns_resolver_close(resolver, on_closed, &closed);
        while (!closed)
            ring_turn(ring, 1000);
    }
    ring_destroy(&ring);
    return good;
}

static bool show_all(const struct config *config, struct err *err)
{
    for (unsigned i = 0; i < config->dkim_count; i++) {
        char record[1000];
        if (!dkim_record(config->dkim[i].key_file, record, err))
            return false;
        print_record(&config->dkim[i], record);
    }
    return true;
}

static int with_config(int argc, char **argv, const char *command, const char *summary, bool check)
{
    const char *path = NULL;
    const struct cli_option options[] = {
        { "config", "FILE", "The configuration; without it /etc/eilpost/eilpost.yaml.", CLI_TEXT,
          &path, false },
    };
    const struct cli_usage usage = { .command = command,
                                     .summary = summary,
                                     .options = options,
                                     .option_count = ARRAY_LEN(options) };
    unsigned operands;
    struct err err = { 0 };
    struct config config;
    bool fit = true;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;
    if (!cli_config_load(path, &config, &err))
        return cli_fail(command, &err);
    bool good = check ? check_all(&config, &fit, &err) : show_all(&config, &err);
    config_free(&config);
    return !good ? cli_fail(command, &err) : fit ? CLI_OK : CLI_FAILED;
}

static int show_dns(int argc, char **argv)
{
    return with_config(argc, argv, "dkim show-dns", "Prints the records of all configured keys.",
                       false);
}

static int check(int argc, char **argv)
{
    return with_config(argc, argv, "dkim check",
                       "Asks the DNS whether it has the public halves of the configured keys.",
                       true);
}

int command_dkim(int argc, char **argv)
{
    static const struct subcommand commands[] = {
        { "keygen", "Make a key.", keygen },
        { "show-dns", "Print the records that belong into the DNS.", show_dns },
        { "check", "See whether they're there.", check },
    };
    return subcommand_run("dkim", "Keys for DKIM signatures.", commands, ARRAY_LEN(commands), argc,
                          argv);
}

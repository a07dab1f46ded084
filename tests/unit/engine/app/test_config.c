/* The configuration: each broken file has its exact message; the example file is the table's own
 * documentation. */
#include "engine/app/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/check_main.h"

#define EXAMPLE EILPOST_SOURCE_DIR "/deploy/config/eilpost.yaml"

struct broken {
    const char *yaml, *message; /* without the path in front */
};

static const struct broken broken_files[] = {
    { "smtp:\n  portt: 2\n", ":2: unknown key 'smtp.portt' (did you mean 'port'?)" },
    { "smtp:\n  timeouts:\n    conect_s: 3\n",
      ":3: unknown key 'smtp.timeouts.conect_s' (did you mean 'connect_s'?)" },
    { "port: 3\n", ":1: unknown key 'port' (it's 'smtp.port')" },
    { "io: auto\nzzz: 3\n", ":2: unknown key 'zzz'" },
    { "sources:\n  - name: a\n  - nam: b\n",
      ":3: unknown key 'sources[1].nam' (did you mean 'name'?)" },
    { "smtp: 5\n", ":1: 'smtp' must have keys of its own below it" },
    { "smtp:\nio: auto\n", ":1: 'smtp' must have keys of its own below it" },
    { "workers: [1, 2]\n", ":1: 'workers' must be one value, not a list or a section" },
    { "retry:\n  schedule_s: 5\n", ":2: 'retry.schedule_s' must be a list, such as [1, 2]" },
    { "retry:\n  schedule_s: []\n", ":2: 'retry.schedule_s' must have at least one entry" },
    { "retry:\n  schedule_s: [1, {a: b}]\n",
      ":2: 'retry.schedule_s[1]' must be one value, not a list or a section" },
    { "retry:\n  schedule_s:\n    - 5\n    - 1x\n",
      ":4: 'retry.schedule_s[1]' is '1x': must be a whole number from 1 to 604800 seconds" },
    { "io: epoll\n\nio: auto\n", ":3: key 'io' is given twice (first on line 1)" },
    { "io: auto\nsmtp:\n  port: 99999\n",
      ":3: 'smtp.port' is '99999': must be a whole number from 1 to 65535" },
    { "smtp:\n  port: 0x19\n",
      ":2: 'smtp.port' is '0x19': must be a whole number from 1 to 65535" },
    { "smtp:\n  port:\n", ":2: 'smtp.port' is '': must be a whole number from 1 to 65535" },
    { "smtp:\n  timeouts: {dot_s: -1}\n",
      ":2: 'smtp.timeouts.dot_s' is '-1': must be a whole number from 1 to 7200 seconds" },
    { "smtp: {tls: always}\n",
      ":1: 'smtp.tls' is 'always': must be off, opportunistic, required, verified or dane" },
    { "smtp: {ehlo_name: a b}\n",
      ":1: 'smtp.ehlo_name' is 'a b': must be a host name or an address in brackets" },
    { "api:\n  enabled: maybe\n", ":2: 'api.enabled' is 'maybe': must be true or false" },
    { "api:\n  listen: 8025\n",
      ":2: 'api.listen' is '8025': must be ADDRESS:PORT, such as 127.0.0.1:8025 or [::1]:8025" },
    { "state_dir: ''\n", ":1: 'state_dir' is '': must not be empty" },
    { "sources:\n  - name: a\n    address: 1.2.3\n",
      ":3: 'sources[0].address' is '1.2.3': must be an IPv4 or IPv6 address" },
    { "sources:\n  - address: 192.0.2.1\n", ":2: 'sources[0]' needs a 'name'" },
    { "sources:\n  - name: a\n  - name: a\n",
      ":3: 'sources[1]' has the name of an earlier source" },
    { "tenants:\n  - name: a\n    weight: 0\n",
      ":3: 'tenants[0].weight' is '0': must be a whole number from 1 to 1000" },
    { "tenants:\n  - name: a\n  - name: a\n",
      ":3: 'tenants[1]' has the name of an earlier tenant" },
    { "tls_policies:\n  - mode: off\n", ":2: 'tls_policies[0]' needs a 'name'" },
    { "tls_policies:\n  - name: verified\n",
      ":2: 'tls_policies[0].name' is 'verified': is what a mode is called: choose another name" },
    { "tls_policies:\n  - name: p\n    cert_file: /x\n",
      ":3: 'tls_policies[0].cert_file' needs a 'key_file' beside it" },
    { "tls: {key_file: /x}\n", ":1: 'tls.key_file' needs a 'cert_file' beside it" },
    { "tls: {min_version: 1.1}\n", ":1: 'tls.min_version' is '1.1': must be 1.2 or 1.3" },
    { "relays:\n  - name: r\n", ":2: 'relays[0]' needs a 'host'" },
    { "relays:\n  - name: r\n    host: 'a b'\n",
      ":3: 'relays[0].host' is 'a b': must be a host name or an IP address" },
    { "relays:\n  - name: r\n    host: h\n    tls: p\n",
      ":4: 'relays[0].tls' is 'p': neither a mode (off, opportunistic, required, verified, dane) "
      "nor a "
      "name of 'tls_policies'" },
    { "routes:\n  - relay: r\n",
      ":2: 'routes[0].relay' is 'r': no relay in 'relays' has that name" },
    { "routes:\n  - destinations: [Example.org]\n",
      ":2: 'routes[0].destinations[0]' is 'Example.org': must be a domain such as example.org, or "
      "*.example.org for all below it, or *; in lower case, internationalised ones as xn--…" },
    { "dns: {refused: [10.0.0.1/8]}\n",
      ":1: 'dns.refused[0]' is '10.0.0.1/8': must be a prefix such as 10.0.0.0/8 or fd00::/8 with "
      "no bits set behind it, an address, default, or own" },
    { "dns: {own_names: [ok.example, Mx.example]}\n",
      ":1: 'dns.own_names[1]' is 'Mx.example': must be a host name in lower case, "
      "internationalised ones as xn--…" },
    { "pools:\n  - sources: [a]\n", ":2: 'pools[0]' needs a 'name'" },
    { "pools:\n  - name: p\n", ":2: 'pools[0]' needs 'sources'" },
    { "pools:\n  - name: a b\n    sources: [a]\n",
      ":2: 'pools[0].name' is 'a b': must be 1 to 64 letters, digits, '.', '_' or '-'" },
    { "pools:\n  - name: p\n    sources: []\n",
      ":3: 'pools[0].sources' must have at least one entry" },
    { "pools:\n  - name: p\n    sources: a\n",
      ":3: 'pools[0].sources' must be a list, such as [1, 2]" },
    { "pools:\n  - name: p\n    source: [a]\n",
      ":3: unknown key 'pools[0].source' (did you mean 'sources'?)" },
    { "sources:\n  - name: a\npools:\n  - name: p\n    sources:\n      - a\n      - b\n",
      ":7: 'pools[0].sources[1]' is 'b': no source in 'sources' has that name" },
    { "sources:\n  - name: a\npools:\n  - name: p\n    sources: ['a:0']\n",
      ":5: 'pools[0].sources[0]' is 'a:0': the weight must be a whole number from 1 to 1000" },
    { "sources:\n  - name: a\npools:\n  - name: p\n    sources: ['a:1', a]\n",
      ":5: 'pools[0].sources[1]' is 'a': is in this pool already" },
    { "pools:\n  - name: p\n    sources: [default]\n  - name: p\n    sources: [default]\n",
      ":4: 'pools[1]' has the name of an earlier pool" },
    { "retry:\n  schedules:\n    - clas: bulk\n",
      ":3: unknown key 'retry.schedules[0].clas' (did you mean 'class'?)" },
    { "retry:\n  schedules:\n    - class: bulky\n",
      ":3: 'retry.schedules[0].class' is 'bulky': "
      "must be any, transactional, deadline or bulk" },
    { "retry:\n  schedules:\n    - category: greylist\n",
      ":3: 'retry.schedules[0].category' is 'greylist': must be a category of replies, such as "
      "greylisted, rate-limited or mailbox-full" },
    { "retry:\n  schedules:\n    - category: greylisted\n    - schedule_s: [5, 0]\n",
      ":4: 'retry.schedules[1].schedule_s[1]' is '0': must be a whole number from 1 to 604800 "
      "seconds" },
    { "dns:\n  ipv4: no\n  ipv6: no\n", ":2: 'dns.ipv4' and 'dns.ipv6' can't both be off" },
    { "queue:\n  per_destination: 5000\n",
      ":2: 'queue.per_destination' makes queue.per_destination exceed queue.jobs_in_flight" },
    { "io: auto\n  b: [\n", ":2: mapping values are not allowed in this context" },
    { "io: 'x\n", ":2: found unexpected end of stream" },
    { "\tio: auto\n", ":1: found character that cannot start any token" },
    { "io: auto\n---\nio: auto\n", ": more than one YAML document ('---')" },
    { "io: *a\n", ":1: aliases (*name) aren't supported" },
    { "io: auto\n? [a]\n: b\n", ":1: a key must be a plain word" },
    { "workers: \"a\\nb\"\n", ":1: 'workers' is 'a?b': must be a whole number from 0 to 1024" },
    { "[1]\n", ": the file must hold keys and values, such as 'state_dir: /var/lib/eilpost'" },
};

/** Loads YAML text from a temporary file; the path in front of a message is cut off. */
static bool load_text(const char *yaml, size_t len, struct config *config, struct err *err)
{
    char path[] = "/tmp/eilpost-config-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, yaml, len), (ssize_t)len);
    close(fd);
    bool good = config_load(path, config, err);
    unlink(path);
    if (!good) {
        ck_assert_msg(strncmp(err->text, path, strlen(path)) == 0, "no path in: %s", err->text);
        memmove(err->text, err->text + strlen(path), strlen(err->text + strlen(path)) + 1);
    }
    return good;
}

START_TEST(each_broken_file_has_one_clear_message)
{
    const struct broken *broken = &broken_files[_i];
    struct config config;
    struct err err = { 0 };
    ck_assert_msg(!load_text(broken->yaml, strlen(broken->yaml), &config, &err), "loaded: %s",
                  broken->yaml);
    ck_assert_str_eq(err.text, broken->message);
    ck_assert_int_eq(err.kind, ERR_CONFIG);
}
END_TEST

START_TEST(a_password_in_a_wrong_url_is_not_shown)
{
    static const char yaml[] = "redis: {url: 'redisx://u:verysecret@h'}\n";
    struct config config;
    struct err err = { 0 };
    ck_assert(!load_text(yaml, strlen(yaml), &config, &err));
    ck_assert_ptr_null(strstr(err.text, "verysecret"));
    ck_assert_ptr_nonnull(strstr(err.text, ":1: 'redis.url' must be redis://"));
}
END_TEST

START_TEST(a_missing_file_and_a_folder_are_refused)
{
    struct config config;
    struct err err = { 0 };
    ck_assert(!config_load("/nonexistent/eilpost.yaml", &config, &err));
    ck_assert_str_eq(err.text, "/nonexistent/eilpost.yaml: No such file or directory");
    ck_assert(!config_load("/tmp", &config, &err));
    ck_assert_str_eq(err.text, "/tmp: not a file");
}
END_TEST

static struct buf dump(const struct config *config)
{
    struct buf out = BUF_EMPTY;
    config_dump(config, &out);
    return out;
}

START_TEST(an_empty_file_gives_the_defaults)
{
    struct config config, defaults;
    struct err err = { 0 };
    ck_assert_msg(load_text("# nothing\n", 10, &config, &err), "%s", err.text);
    config_defaults(&defaults);
    struct buf a = dump(&config), b = dump(&defaults);
    ck_assert_str_eq(buf_cstr(&a), buf_cstr(&b));
    ck_assert_uint_eq(config.smtp.port, 25);
    ck_assert_uint_eq(config.smtp.timeouts.dot_s, 600);
    ck_assert_uint_eq(config.retry.schedule_count, 6);
    ck_assert_uint_eq(config.retry.schedule_s[5], 14400);
    ck_assert_str_eq(config.api.listen, "127.0.0.1:8025");
    buf_free(&a);
    buf_free(&b);
    config_free(&config);
    config_free(&defaults);
}
END_TEST

START_TEST(the_example_file_is_the_documented_defaults)
{
    struct config config, defaults;
    struct err err = { 0 };
    ck_assert_msg(config_load(EXAMPLE, &config, &err), "%s", err.text);
    config_defaults(&defaults);
    struct buf a = dump(&config), b = dump(&defaults), text = BUF_EMPTY;
    ck_assert_str_eq(buf_cstr(&a), buf_cstr(&b));
    FILE *file = fopen(EXAMPLE, "r");
    ck_assert_ptr_nonnull(file);
    for (int c; (c = fgetc(file)) != EOF;)
        buf_append_char(&text, (char)c);
    fclose(file);
    /* Behind its own heading, the file is what `eilpost check-config --defaults` prints. */
    ck_assert_msg(slice_ends_with(buf_slice(&text), buf_slice(&b)),
                  "run: eilpost check-config --defaults > deploy/config/eilpost.yaml");
    buf_free(&a);
    buf_free(&b);
    buf_free(&text);
    config_free(&config);
    config_free(&defaults);
}
END_TEST

START_TEST(every_setting_arrives_and_survives_a_dump)
{
    static const char yaml[] =
        "state_dir: \"/tmp/a \\\"b\\\"\"\n"
        "log: {level: debug, format: json}\n"
        "workers: 3\nio: epoll\n"
        "redis: {url: 'unix:///run/r.sock?db=2', name_space: x1, partitions: 64}\n"
        "smtp:\n  port: 2525\n  ehlo_name: mx.example.org\n  tls: off\n"
        "  pipelining: no\n  chunking: false\n  pipeline_depth: 8\n"
        "  timeouts: {connect_s: 1, rset_s: 2}\n"
        "dns: {servers: '127.0.0.1:5353', ipv6: off}\n"
        "sources:\n  - {name: a, address: 192.0.2.1}\n"
        "  - {name: b, address: '2001:db8::1', ehlo_name: b.example.org}\n"
        "pools:\n  - {name: all, sources: [b, 'a:10']}\n  - name: one\n    sources:\n      - b\n"
        "retry:\n  schedule_s: [1, 2, 3]\n  jitter_percent: 0\n  schedules:\n"
        "    - {class: bulk, category: greylisted, schedule_s: [7, 8]}\n    - {}\n"
        "api: {listen: '[::1]:0', enabled: false}\n";
    struct config config, again;
    struct err err = { 0 };
    ck_assert_msg(load_text(yaml, strlen(yaml), &config, &err), "%s", err.text);
    ck_assert_str_eq(config.state_dir, "/tmp/a \"b\"");
    ck_assert_int_eq(config.log.level, LOG_DEBUG);
    ck_assert_int_eq(config.log.format, LOG_JSON);
    ck_assert_int_eq(config.io, RING_BODY_EPOLL);
    ck_assert_str_eq(config.redis.url, "unix:///run/r.sock?db=2");
    ck_assert_uint_eq(config.redis.partitions, 64);
    ck_assert_int_eq(config.smtp.tls, SMTP_TLS_OFF);
    ck_assert(!config.smtp.pipelining && !config.smtp.chunking && !config.dns.ipv6 &&
              config.dns.ipv4);
    ck_assert_uint_eq(config.smtp.timeouts.connect_s, 1);
    ck_assert_uint_eq(config.smtp.timeouts.greeting_s, 300);
    ck_assert_uint_eq(config.sources_count, 2);
    ck_assert_str_eq(config.sources[0].ehlo_name, "");
    ck_assert_str_eq(config.sources[1].address, "2001:db8::1");
    ck_assert_uint_eq(config.retry.schedule_count, 3);
    ck_assert_uint_eq(config.retry.schedule_s[2], 3);
    ck_assert_uint_eq(config.pools_count, 2);
    ck_assert_str_eq(config.pools[0].name, "all");
    ck_assert_uint_eq(config.pools[0].texts_count, 2);
    ck_assert_uint_eq(config.pools[0].members[0], 1);
    ck_assert_uint_eq(config.pools[0].weights[0], 1);
    ck_assert_uint_eq(config.pools[0].members[1], 0);
    ck_assert_uint_eq(config.pools[0].weights[1], 10);
    ck_assert_uint_eq(config.pools[1].members[0], 1);
    ck_assert_uint_eq(config.retry.schedules_count, 2);
    ck_assert_int_eq(config.retry.schedules[0].class, CONFIG_BULK);
    ck_assert_str_eq(config.retry.schedules[0].category, "greylisted");
    ck_assert_uint_eq(config.retry.schedules[0].schedule_count, 2);
    ck_assert_uint_eq(config.retry.schedules[0].schedule_s[1], 8);
    ck_assert_int_eq(config.retry.schedules[1].class, CONFIG_ANY_CLASS);
    ck_assert_str_eq(config.retry.schedules[1].category, "");
    ck_assert_uint_eq(config.retry.schedules[1].schedule_s[0], 300);
    struct buf text = dump(&config);
    ck_assert_msg(load_text(text.data, text.len, &again, &err), "%s", err.text);
    struct buf text_again = dump(&again);
    ck_assert_str_eq(buf_cstr(&text), buf_cstr(&text_again));
    buf_free(&text);
    buf_free(&text_again);
    config_free(&config);
    config_free(&again);
}
END_TEST

START_TEST(an_empty_list_takes_the_place_of_the_built_in_schedules)
{
    static const char yaml[] = "retry: {schedules: []}\n";
    struct config config, defaults;
    struct err err = { 0 };
    ck_assert_msg(load_text(yaml, strlen(yaml), &config, &err), "%s", err.text);
    ck_assert_uint_eq(config.retry.schedules_count, 0);
    config_defaults(&defaults);
    ck_assert_uint_eq(defaults.retry.schedules_count, 4);
    ck_assert_int_eq(defaults.retry.schedules[0].class, CONFIG_TRANSACTIONAL);
    ck_assert_uint_eq(defaults.retry.schedules[0].schedule_s[0], 15);
    config_free(&config);
    config_free(&defaults);
}
END_TEST

START_TEST(a_list_of_texts_has_its_default_until_it_is_given_even_if_empty)
{
    static const char empty[] = "dns: {refused: [], own_names: []}\n";
    static const char given[] = "dns: {refused: [own, 203.0.113.0/24], own_names: [mx.example]}\n";
    struct config config;
    struct err err = { 0 };
    config_defaults(&config);
    ck_assert_uint_eq(config.dns.refused_count, 2);
    ck_assert_str_eq(config.dns.refused[0], "default");
    ck_assert_str_eq(config.dns.refused[1], "own");
    ck_assert_uint_eq(config.dns.own_names_count, 0);
    config_free(&config);
    ck_assert_msg(load_text(empty, strlen(empty), &config, &err), "%s", err.text);
    ck_assert_uint_eq(config.dns.refused_count, 0);
    ck_assert_uint_eq(config.dns.own_names_count, 0);
    config_free(&config);
    ck_assert_msg(load_text(given, strlen(given), &config, &err), "%s", err.text);
    ck_assert_uint_eq(config.dns.refused_count, 2);
    ck_assert_str_eq(config.dns.refused[1], "203.0.113.0/24");
    ck_assert_str_eq(config.dns.own_names[0], "mx.example");
    config_free(&config);
}
END_TEST

START_TEST(pauses_given_alone_are_for_all)
{
    static const char yaml[] = "retry: {schedule_s: [1]}\n";
    struct config config;
    struct err err = { 0 };
    ck_assert_msg(load_text(yaml, strlen(yaml), &config, &err), "%s", err.text);
    ck_assert_uint_eq(config.retry.schedules_count, 0);
    ck_assert_uint_eq(config.retry.schedule_s[0], 1);
    config_free(&config);
}
END_TEST

static void collect(void *user, const char *text)
{
    strncat(user, text, 4096 - strlen(user) - 1);
    strncat(user, "\n", 4096 - strlen(user) - 1);
}

START_TEST(settings_that_are_rarely_meant_are_remarked)
{
    static const char yaml[] =
        "smtp: {ehlo_name: localhost, port: 2525, timeouts: {dot_s: 60}}\n"
        "sources: [{name: a}, {name: b}]\npools: [{name: p, sources: [a]}]\n"
        "retry: {expire_s: 100}\nstate_dir: here\napi: {listen: '0.0.0.0:8025'}\n";
    struct config config;
    struct err err = { 0 };
    ck_assert_msg(load_text(yaml, strlen(yaml), &config, &err), "%s", err.text);
    char remarks[4096] = "";
    ck_assert_uint_eq(config_lint(&config, collect, remarks), 7);
    static const char *const keys[] = { "smtp.ehlo_name", "smtp.port", "smtp.timeouts.dot_s",
                                        "retry.expire_s", "state_dir", "api.listen",
                                        "sources[1]" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        ck_assert_msg(strstr(remarks, keys[i]) != NULL, "%s isn't in:\n%s", keys[i], remarks);
    config_free(&config);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF(
        "config", a_password_in_a_wrong_url_is_not_shown, a_missing_file_and_a_folder_are_refused,
        an_empty_file_gives_the_defaults, the_example_file_is_the_documented_defaults,
        every_setting_arrives_and_survives_a_dump,
        an_empty_list_takes_the_place_of_the_built_in_schedules,
        a_list_of_texts_has_its_default_until_it_is_given_even_if_empty,
        pauses_given_alone_are_for_all, settings_that_are_rarely_meant_are_remarked);
    TCase *table = tcase_create("broken files");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, each_broken_file_has_one_clear_message, 0, ARRAY_LEN(broken_files));
    suite_add_tcase(suite, table);
    return check_main(suite);
}

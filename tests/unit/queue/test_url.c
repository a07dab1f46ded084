/* What a Redis URL may say. */
#include "queue/url.h"

#include "tests/support/check_main.h"

#define HOST(host, number) .host_count = 1, .hosts = { { host, number } }

static const struct {
    const char *text;
    struct redis_url url; /* host_count 0: refused */
} urls[] = {
    { "redis://", { HOST("127.0.0.1", 6379) } },
    { "redis://h", { HOST("h", 6379) } },
    { "redis://h:1/3", { HOST("h", 1), .db = 3 } },
    { "redis://[::1]:7", { HOST("::1", 7) } },
    { "redis://[::1]", { HOST("::1", 6379) } },
    { "redis://:p%40ss@h", { HOST("h", 6379), .password = "p@ss" } },
    { "redis://me:a:b@h", { HOST("h", 6379), .user = "me", .password = "a:b" } },
    { "redis://me:a@b@h/1", { HOST("h", 6379), .user = "me", .password = "a@b", .db = 1 } },
    { "unix:///run/x.sock", { HOST("/run/x.sock", 0) } },
    { "unix:///x?db=2", { HOST("/x", 0), .db = 2 } },
    { "unix:///x?user=u&password=p%26q", { HOST("/x", 0), .user = "u", .password = "p&q" } },
    { "rediss://h", { HOST("h", 6379), .tls = true } },
    { "rediss://h:7/2?ca=/c/a.pem&cert=/c%20x&key=/k&name=r.example",
      { HOST("h", 7), .tls = true, .db = 2, .ca = "/c/a.pem", .cert = "/c x", .key = "/k",
        .name = "r.example" } },
    { "redis+sentinel://:p@a,b:1,[::1]:2/mymaster/4",
      { .kind = REDIS_URL_SENTINEL,
        .host_count = 3,
        .hosts = { { "a", 26379 }, { "b", 1 }, { "::1", 2 } },
        .password = "p",
        .master = "mymaster",
        .db = 4 } },
    { "rediss+sentinel://a/m?sentinel_user=s&sentinel_password=t",
      { .kind = REDIS_URL_SENTINEL,
        HOST("a", 26379),
        .tls = true,
        .master = "m",
        .sentinel_user = "s",
        .sentinel_password = "t" } },
    { "redis+cluster://u:p@a:7000,b",
      { .kind = REDIS_URL_CLUSTER,
        .host_count = 2,
        .hosts = { { "a", 7000 }, { "b", 6379 } },
        .user = "u",
        .password = "p" } },
    { "rediss+cluster://a", { .kind = REDIS_URL_CLUSTER, HOST("a", 6379), .tls = true } },
    { "rediss+cluster://a/?ca=/x",
      { .kind = REDIS_URL_CLUSTER, HOST("a", 6379), .tls = true, .ca = "/x" } },
    /* refused: */
    { "unix://x", { .db = 0 } },
    { "unix:///x?timeout=2", { .db = 0 } },
    { "unix:///x?ca=/y", { .db = 0 } },
    { "redis://h:0", { .db = 0 } },
    { "redis://h:65536", { .db = 0 } },
    { "redis://h:secret", { .db = 0 } },
    { "redis://h/secret", { .db = 0 } },
    { "redis://me@h", { .db = 0 } },
    { "redis://:%00@h", { .db = 0 } },
    { "redis://:%4@h", { .db = 0 } },
    { "redis://[::1", { .db = 0 } },
    { "redis://a,b", { .db = 0 } },
    { "redis://h?ca=/x", { .db = 0 } },
    { "redis://h?verify=no", { .db = 0 } },
    { "redis://:secret?x@h", { .db = 0 } },
    { "redis://:1?secret@h", { .db = 0 } },
    { "redis://:sec/secret@h", { .db = 0 } },
    { "rediss://h?verify=maybe", { .db = 0 } },
    { "rediss://h?verify=no&ca=/x", { .db = 0 } },
    { "rediss://h?cert=/x", { .db = 0 } },
    { "rediss://h?key=/x", { .db = 0 } },
    { "rediss://h?sentinel_password=secret", { .db = 0 } },
    { "redis+sentinel://h", { .db = 0 } },
    { "redis+sentinel://h/m?sentinel_user=x", { .db = 0 } },
    { "redis+cluster://h/1", { .db = 0 } },
    { "redis+magic://h", { .db = 0 } },
    { "http://h", { .db = 0 } },
    { "", { .db = 0 } },
};

START_TEST(a_url_is_understood_or_refused_without_its_password)
{
    const struct redis_url *expected = &urls[_i].url;
    struct redis_url url;
    struct err err = { 0 };
    bool ok = redis_url_parse(slice_str(urls[_i].text), &url, &err);
    ck_assert_msg(ok == (expected->host_count > 0), "%s: %s", urls[_i].text, err.text);
    if (!ok) {
        ck_assert(err.text[0] && !strstr(err.text, "secret"));
        return;
    }
    ck_assert_int_eq(url.kind, expected->kind);
    ck_assert_uint_eq(url.host_count, expected->host_count);
    for (unsigned i = 0; i < url.host_count; i++) {
        ck_assert_str_eq(url.hosts[i].name, expected->hosts[i].name);
        ck_assert_uint_eq(url.hosts[i].port, expected->hosts[i].port);
    }
    ck_assert_str_eq(url.user, expected->user);
    ck_assert_str_eq(url.password, expected->password);
    ck_assert_uint_eq(url.db, expected->db);
    ck_assert_str_eq(url.master, expected->master);
    ck_assert_str_eq(url.sentinel_user, expected->sentinel_user);
    ck_assert_str_eq(url.sentinel_password, expected->sentinel_password);
    ck_assert_int_eq(url.tls, expected->tls);
    ck_assert_str_eq(url.ca, expected->ca);
    ck_assert_str_eq(url.cert, expected->cert);
    ck_assert_str_eq(url.key, expected->key);
    ck_assert_str_eq(url.name, expected->name);
    ck_assert(url.verify);
}
END_TEST

START_TEST(only_saying_so_turns_verification_off)
{
    struct redis_url url;
    struct err err;
    ck_assert(redis_url_parse(SLICE("rediss://h?verify=no"), &url, &err));
    ck_assert(url.tls && !url.verify);
    ck_assert(redis_url_parse(SLICE("rediss://h?verify=yes"), &url, &err));
    ck_assert(url.verify);
}
END_TEST

START_TEST(too_many_hosts_or_bytes_are_refused)
{
    char text[REDIS_URL_BYTES + 1] = "redis+cluster://a";
    struct redis_url url;
    struct err err;
    for (int i = 1; i < REDIS_HOSTS_MAX; i++)
        strcat(text, ",a");
    ck_assert(redis_url_parse(slice_str(text), &url, &err));
    strcat(text, ",a");
    ck_assert(!redis_url_parse(slice_str(text), &url, &err));
    memset(text, 'a', REDIS_URL_BYTES);
    memcpy(text, "redis://", 8);
    text[REDIS_URL_BYTES] = '\0';
    ck_assert(!redis_url_parse(slice_str(text), &url, &err));
}
END_TEST

int main(void)
{
    Suite *suite =
        SUITE_OF("url", only_saying_so_turns_verification_off, too_many_hosts_or_bytes_are_refused);
    TCase *table = tcase_create("table");
    tcase_add_loop_test(table, a_url_is_understood_or_refused_without_its_password, 0,
                        (int)(sizeof urls / sizeof *urls));
    suite_add_tcase(suite, table);
    return check_main(suite);
}

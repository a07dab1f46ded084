/* The connection against a server that does what the test says, and against a real one with a
 * password. */
#include "queue/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "tests/support/check_main.h"
#include "tests/support/redis.h"

static struct ring *ring;
static struct redis *redis;
static struct log quiet = { .fd = 2, .level = LOG_ERROR + 1 };
static unsigned ups, downs;
static bool stopped;
static char folder[64], url[128];
static struct redis_url parsed;
static int listener = -1, peer = -1;

static void on_up(void *user)
{
    (void)user;
    ups++;
}

static void on_down(void *user)
{
    (void)user;
    downs++;
}

static void on_stopped(void *user)
{
    (void)user;
    stopped = true;
}

static const struct redis_events events = { .up = on_up, .down = on_down, .stopped = on_stopped };

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        while (!(condition))                                                                       \
            ring_turn(ring, 100);                                                                  \
    } while (0)

static void start(const char *at, unsigned timeout_ms)
{
    struct err err;
    struct ring_options options = { .body = RING_BODY_EPOLL, .log = &quiet };
    ck_assert_msg(ring_create(&ring, &options, &err), "%s", err.text);
    struct redis_options redis_options = {
        .timeout_ms = timeout_ms, .pause_ms_max = 100, .log = &quiet
    };
    ck_assert_msg(redis_url_parse(slice_str(at), &parsed, &err), "%s", err.text);
    struct redis_target target = { .host = parsed.hosts[0],
                                   .user = parsed.user,
                                   .password = parsed.password,
                                   .db = parsed.db };
    redis_create(&redis, ring, &redis_options, &target, &events, NULL);
    redis_start(redis);
}

static void stop(void)
{
    redis_stop(redis);
    ck_assert(!stopped); /* not before the call returns */
    UNTIL(stopped);
    redis_destroy(&redis);
    ring_destroy(&ring);
}

/* ---- the scripted server ---- */

static void server_listen(void)
{
    snprintf(folder, sizeof folder, "/tmp/eilpost-peer-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", folder);
    snprintf(url, sizeof url, "unix://%s/s", folder);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, 8), 0);
}

static void server_accept(void)
{
    if (peer >= 0)
        close(peer);
    while ((peer = accept(listener, NULL, NULL)) < 0)
        ring_turn(ring, 10);
    char select[64];
    ssize_t n;
    while ((n = recv(peer, select, sizeof select, MSG_DONTWAIT)) < 0)
        ring_turn(ring, 10);
    ck_assert(slice_eq(slice_of(select, (size_t)n), SLICE("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n")));
}

static void server_say(const char *text)
{
    ck_assert_int_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

/* Accepts and greets: SELECT is all that's asked without password and name. */
static void server_greet(void)
{
    unsigned before = ups;
    server_accept();
    server_say("+OK\r\n");
    UNTIL(ups > before);
}

static void server_close(void)
{
    close(peer);
    close(listener);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

struct call {
    struct redis_call call;
    unsigned answers, lost;
    char text[256];
};

static void value_print(struct buf *out, const struct redis_value *value)
{
    switch (value->type) {
    case VALUE_NIL:
        buf_printf(out, "nil");
        break;
    case VALUE_INTEGER:
        buf_printf(out, ":%lld", (long long)value->integer);
        break;
    case VALUE_STRING:
    case VALUE_STATUS:
    case VALUE_ERROR:
        buf_printf(out, "%c%.*s", "?$+-"[value->type], SLICE_FMT(value->text));
        break;
    case VALUE_ARRAY:
        buf_append_char(out, '[');
        for (size_t i = 0; i < value->count; i++) {
            if (i > 0)
                buf_append_char(out, ' ');
            value_print(out, &value->items[i]);
        }
        buf_append_char(out, ']');
        break;
    }
}

static void done(struct redis_call *it, const struct redis_value *reply)
{
    struct call *call = CONTAINER_OF(it, struct call, call);
    call->answers++;
    call->lost += reply == NULL;
    struct buf text = BUF_EMPTY;
    if (reply)
        value_print(&text, reply);
    snprintf(call->text, sizeof call->text, "%s", buf_cstr(&text));
    buf_free(&text);
}

static void send_ping(struct call *call)
{
    *call = (struct call){ .call.done = done };
    redis_send(redis, &call->call, (struct slice[]){ SLICE("PING") }, 1);
}

START_TEST(replies_of_all_types_come_in_order_however_they_are_cut)
{
    const char *const text = "$5\r\nhello\r\n:-7\r\n+OK\r\n-ERR no\r\n$-1\r\n*-1\r\n*0\r\n"
                             "*3\r\n:1\r\n*2\r\n$0\r\n\r\n$-1\r\n$2\r\n\r\n\r\n";
    const char *const expected[] = { "$hello", ":-7", "+OK", "-ERR no",
                                     "nil",    "nil", "[]",  "[:1 [$ nil] $\r\n]" };
    server_listen();
    start(url, 3000);
    server_greet();
    struct call calls[8];
    for (unsigned i = 0; i < 8; i++)
        send_ping(&calls[i]);
    ck_assert_uint_eq(calls[0].answers, 0);
    for (const char *at = text; *at; at++) {
        server_say((char[]){ *at, '\0' });
        ring_turn(ring, 0);
    }
    UNTIL(calls[7].answers);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_str_eq(calls[i].text, expected[i]);
    stop();
    server_close();
}
END_TEST

START_TEST(calls_under_way_are_lost_with_the_connection_and_it_comes_back)
{
    server_listen();
    start(url, 3000);
    server_greet();
    struct call calls[2];
    send_ping(&calls[0]);
    send_ping(&calls[1]);
    server_say("+PONG\r\n");
    UNTIL(calls[0].answers);
    shutdown(peer, SHUT_RDWR);
    UNTIL(downs == 1);
    ck_assert_uint_eq(calls[0].lost, 0);
    ck_assert_uint_eq(calls[1].lost, 1);
    ck_assert(!redis_up(redis));
    server_greet();
    ck_assert(redis_up(redis));
    stop();
    server_close();
}
END_TEST

START_TEST(an_answer_that_is_late_costs_the_connection)
{
    server_listen();
    start(url, 300);
    server_greet();
    struct call patient = { .call = { .done = done, .extra_ms = 500 } };
    redis_send(redis, &patient.call, (struct slice[]){ SLICE("BLPOP"), SLICE("x"), SLICE("1") }, 3);
    int64_t begin = ring_now_ms(ring);
    UNTIL(downs == 1);
    ck_assert_int_ge(ring_now_ms(ring) - begin, 800);
    ck_assert_uint_eq(patient.lost, 1);
    server_greet();
    stop();
    server_close();
}
END_TEST

static const char *const nonsense[] = { "hello\r\n", "$x\r\n", "+OK\r\n", "*1\r\n%\r\n" };

START_TEST(nonsense_costs_the_connection)
{
    server_listen();
    start(url, 3000);
    server_greet();
    server_say(nonsense[_i]); /* nothing was asked */
    UNTIL(downs == 1);
    server_greet();
    stop();
    server_close();
}
END_TEST

START_TEST(a_server_that_refuses_is_asked_again)
{
    server_listen();
    start(url, 3000);
    server_accept();
    server_say("-LOADING Redis is loading the dataset in memory\r\n");
    server_greet();
    ck_assert_uint_eq(downs, 0); /* it never was up before */
    ck_assert_uint_eq(ups, 1);
    stop();
    server_close();
}
END_TEST

START_TEST(many_commands_of_a_turn_arrive_whole_and_in_order)
{
    enum { COUNT = 3000 };
    server_listen();
    start(url, 3000);
    server_greet();
    struct call *calls = calloc(COUNT, sizeof *calls);
    struct buf got = BUF_EMPTY, expected = BUF_EMPTY;
    for (unsigned i = 0; i < COUNT; i++) {
        char number[16];
        int len = snprintf(number, sizeof number, "%u", i);
        calls[i].call.done = done;
        redis_send(redis, &calls[i].call,
                   (struct slice[]){ SLICE("ECHO"), slice_of(number, (size_t)len) }, 2);
        buf_printf(&expected, "*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len, number);
    }
    while (got.len < expected.len) {
        ring_turn(ring, 10);
        ssize_t n;
        while ((n = recv(peer, buf_reserve(&got, 65536), 65536, MSG_DONTWAIT)) > 0)
            buf_grow(&got, (size_t)n);
    }
    ck_assert(slice_eq(buf_slice(&got), buf_slice(&expected)));
    stop();
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_uint_eq(calls[i].lost, 1);
    buf_free(&got);
    buf_free(&expected);
    free(calls);
    server_close();
}
END_TEST

START_TEST(it_stops_while_it_waits_for_a_server)
{
    start("unix:///nowhere/at/all", 3000);
    for (unsigned i = 0; i < 10; i++)
        ring_turn(ring, 10);
    ck_assert_uint_eq(ups, 0);
    stop();
}
END_TEST

START_TEST(a_real_server_takes_password_user_and_database)
{
    static const char *const options[] = { "--requirepass", "se:cr@t", NULL };
    struct test_redis server;
    test_redis_start(&server, options);
    free(test_redis_command(&server, "AUTH se:cr@t"));
    free(test_redis_command(&server, "ACL SETUSER me on >pw +@all ~*"));
    free(test_redis_command(&server, "CONFIG SET unixsocketperm 700"));
    /* Unix URLs carry no password: over TCP, on a port of the kernel's choice. */
    int probe = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    ck_assert_int_eq(bind(probe, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(getsockname(probe, (struct sockaddr *)&address, &len), 0);
    close(probe);
    char *set = test_redis_command(&server, "CONFIG SET port %d", ntohs(address.sin_port));
    ck_assert_str_eq(set, "OK");
    free(set);
    const char *const users[] = { ":se%3Acr%40t", "me:pw", ":wrong" };
    for (unsigned i = 0; i < 3; i++) {
        snprintf(url, sizeof url, "redis://%s@127.0.0.1:%d/3", users[i], ntohs(address.sin_port));
        ups = downs = 0;
        stopped = false;
        start(url, 3000);
        if (i == 2) {
            for (unsigned turns = 0; turns < 20; turns++)
                ring_turn(ring, 20);
            ck_assert_uint_eq(ups, 0);
            stop();
            continue;
        }
        UNTIL(ups);
        struct call call = { .call.done = done };
        redis_send(redis, &call.call, (struct slice[]){ SLICE("CLIENT"), SLICE("LIST") }, 2);
        UNTIL(call.answers);
        stop();
    }
    test_redis_stop(&server);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF(
        "redis", replies_of_all_types_come_in_order_however_they_are_cut,
        calls_under_way_are_lost_with_the_connection_and_it_comes_back,
        an_answer_that_is_late_costs_the_connection, a_server_that_refuses_is_asked_again,
        many_commands_of_a_turn_arrive_whole_and_in_order, it_stops_while_it_waits_for_a_server,
        a_real_server_takes_password_user_and_database);
    TCase *table = tcase_create("nonsense");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, nonsense_costs_the_connection, 0,
                        (int)(sizeof nonsense / sizeof *nonsense));
    suite_add_tcase(suite, table);
    return check_main(suite);
}

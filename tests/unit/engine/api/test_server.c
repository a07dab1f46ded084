/* The stats endpoint over real connections, byte by byte: what it serves, and what it refuses. */
#include "engine/api/stats.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "tests/support/check_main.h"

static const struct log quiet = { .fd = 2, .level = LOG_ERROR };

struct world {
    struct api *api;
    unsigned short port;
    bool ill;
};
static struct world *world;

static void fill(void *user, struct stats_snapshot *out)
{
    (void)user;
    out->uptime_ms = 61500;
    out->io = "epoll";
    out->node = "node-1";
    out->recordable = true;
    out->queue =
        (struct stats_queue){ .accepted = 100, .delivered = 60, .bounced = 5, .retrying = 7 };
    out->counters.delivered = 60;
    out->counters.reply_5xx = 5;
    out->gauges.sessions_busy = 3;
    out->gauges.sessions_idle = 2;
    out->gauges.jobs_held = 11;
    for (int i = 1; i <= 100; i++)
        histogram_record(&out->stages[STATS_TRANSACTION], i * 1000);
    out->worker_count = 2;
    out->workers = calloc(2, sizeof *out->workers);
    out->workers[1].counters.delivered = 60;
}

static bool healthy(void *user, char *reason, size_t room)
{
    const struct world *it = user;
    if (it->ill)
        snprintf(reason, room, "Redis isn't there");
    return !it->ill;
}

static struct api_options options_on(const char *listen_at)
{
    return (struct api_options){
        .listen = listen_at, .snapshot = fill, .healthy = healthy, .user = world, .log = &quiet
    };
}

static void start(void)
{
    world = calloc(1, sizeof *world);
    struct api_options options = options_on("127.0.0.1:0");
    struct err err;
    ck_assert_msg(api_start(&options, &world->api, &err), "%s", err.text);
    world->port = (unsigned short)atoi(strrchr(api_address(world->api), ':') + 1);
}

static void stop(void)
{
    api_stop(&world->api);
    ck_assert_ptr_null(world->api);
    free(world);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(world->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/** Sends the bytes and returns all that comes until the server closes. */
static struct buf exchange(const char *request)
{
    int fd = dial();
    ck_assert_int_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    struct buf reply = BUF_EMPTY;
    ssize_t n;
    do {
        char *room = buf_reserve(&reply, 4096);
        n = read(fd, room, 4096);
        buf_grow(&reply, n > 0 ? (size_t)n : 0);
    } while (n > 0);
    close(fd);
    return reply;
}

#define TAIL " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static const char *body_of(struct buf *reply)
{
    const char *at = strstr(buf_cstr(reply), "\r\n\r\n");
    ck_assert_ptr_nonnull(at);
    return at + 4;
}

static void expect_start(struct buf *reply, const char *status_line)
{
    ck_assert_msg(strncmp(buf_cstr(reply), status_line, strlen(status_line)) == 0, "%s",
                  buf_cstr(reply));
}

START_TEST(health_is_200_or_503_with_the_reason)
{
    struct buf good = exchange("GET /healthz" TAIL);
    expect_start(&good, "HTTP/1.1 200 OK\r\n");
    ck_assert_str_eq(body_of(&good), "ok\n");
    world->ill = true;
    struct buf bad = exchange("GET /healthz" TAIL);
    expect_start(&bad, "HTTP/1.1 503 Service Unavailable\r\n");
    ck_assert_str_eq(body_of(&bad), "Redis isn't there\n");
    buf_free(&good);
    buf_free(&bad);
}
END_TEST

static json_int_t integer_at(json_t *root, const char *section, const char *name)
{
    json_t *value = json_object_get(json_object_get(root, section), name);
    ck_assert_msg(json_is_integer(value), "%s.%s", section, name);
    return json_integer_value(value);
}

START_TEST(stats_are_json_with_depth_sessions_replies_rates_and_latencies)
{
    struct buf reply = exchange("GET /v1/stats" TAIL);
    expect_start(&reply, "HTTP/1.1 200 OK\r\n");
    ck_assert_ptr_nonnull(strstr(buf_cstr(&reply), "Content-Type: application/json\r\n"));
    json_error_t error;
    json_t *root = json_loads(body_of(&reply), JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(root != NULL, "%s", error.text);
    ck_assert_int_eq(integer_at(root, "queue", "depth"), 35);
    ck_assert_int_eq(integer_at(root, "queue", "in_flight"), 11);
    ck_assert_int_eq(integer_at(root, "queue", "retrying"), 7);
    ck_assert_int_eq(integer_at(root, "sessions", "total"), 5);
    ck_assert_int_eq(integer_at(root, "replies", "5xx"), 5);
    ck_assert_int_eq(integer_at(root, "counters", "delivered"), 60);
    json_t *latency = json_object_get(json_object_get(root, "latency_ms"), "transaction");
    ck_assert_int_eq(json_integer_value(json_object_get(latency, "count")), 100);
    double p50 = json_real_value(json_object_get(latency, "p50"));
    ck_assert_msg(p50 >= 47 && p50 <= 54, "p50 is %f", p50);
    ck_assert(json_real_value(json_object_get(latency, "p99")) >= 95);
    ck_assert(json_is_real(json_object_get(
        json_object_get(json_object_get(root, "rates_per_second"), "10s"), "delivered")));
    ck_assert_uint_eq(json_array_size(json_object_get(root, "per_worker")), 2);
    ck_assert_str_eq(json_string_value(json_object_get(root, "node")), "node-1");
    json_decref(root);
    buf_free(&reply);
}
END_TEST

START_TEST(metrics_hold_each_family_once)
{
    struct buf reply = exchange("GET /metrics" TAIL);
    expect_start(&reply, "HTTP/1.1 200 OK\r\n");
    ck_assert_ptr_nonnull(strstr(buf_cstr(&reply), "Content-Type: text/plain; version=0.0.4"));
    static const char *const lines[] = {
        "\neilpost_queue_depth 35\n",
        "\neilpost_replies_total{class=\"5xx\"} 5\n",
        "\neilpost_sessions{state=\"busy\"} 3\n",
        "\neilpost_redis_recordable 1\n",
        "\neilpost_uptime_seconds 61.500\n",
        "\neilpost_stage_seconds_bucket{stage=\"transaction\",le=\"+Inf\"} 100\n",
        "\neilpost_stage_seconds_count{stage=\"transaction\"} 100\n",
        "\neilpost_stage_seconds_bucket{stage=\"transaction\",le=\"0.0001\"} 0\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        ck_assert_msg(strstr(body_of(&reply), lines[i]) != NULL, "no%s", lines[i]);
    for (const char *at = body_of(&reply); (at = strstr(at, "# TYPE ")); at++) {
        char type[128];
        snprintf(type, sizeof type, "%.*s ", (int)strcspn(at + 7, " "), at + 7);
        const char *again = at + 1;
        while ((again = strstr(again, "# TYPE ")))
            ck_assert_msg(strncmp(++again + 6, type, strlen(type)) != 0, "%s twice", type);
    }
    buf_free(&reply);
}
END_TEST

/* An independent reader of the format, where it's installed. */
START_TEST(prometheus_itself_accepts_the_metrics)
{
    if (system("command -v promtool >/dev/null") != 0)
        return;
    struct buf reply = exchange("GET /metrics" TAIL);
    FILE *promtool = popen("promtool check metrics", "w");
    ck_assert_ptr_nonnull(promtool);
    fputs(body_of(&reply), promtool);
    ck_assert_int_eq(pclose(promtool), 0);
    buf_free(&reply);
}
END_TEST

START_TEST(a_python_client_reads_all_resources)
{
    char command[512];
    snprintf(command, sizeof command,
             "python3 -c 'import json, urllib.request as r\n"
             "u = \"http://127.0.0.1:%u\"\n"
             "assert r.urlopen(u + \"/healthz\").read() == b\"ok\\n\"\n"
             "assert json.load(r.urlopen(u + \"/v1/stats?x=1\"))[\"io\"] == \"epoll\"\n"
             "assert b\"eilpost_info\" in r.urlopen(u + \"/metrics\").read()'",
             (unsigned)world->port);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

struct refusal {
    const char *request, *status_line, *error;
};
static const struct refusal refusals[] = {
    { "GET /nothing" TAIL, "HTTP/1.1 404 ", "no such resource" },
    { "GET /v1/stats/" TAIL, "HTTP/1.1 404 ", "no such resource" },
    { "POST /v1/stats" TAIL, "HTTP/1.1 405 ", "only GET and HEAD" },
    { "DELETE /metrics" TAIL, "HTTP/1.1 405 ", "only GET and HEAD" },
    { "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1 400 ",
      "more than one Host header" },
    { "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 400 ", "more than one Content-Length header" },
    { "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 400 ",
      "a request body isn't accepted" },
    { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 ",
      "Transfer-Encoding isn't accepted" },
    { "GET / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: identity\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 400 ", "Transfer-Encoding isn't accepted" },
};

START_TEST(what_it_does_not_serve_is_a_json_error_and_the_connection_is_closed)
{
    /* exchange() returns because the server closes: the requests don't all ask for it. */
    struct buf reply = exchange(refusals[_i].request);
    expect_start(&reply, refusals[_i].status_line);
    json_t *root = json_loads(body_of(&reply), 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_str_eq(json_string_value(json_object_get(root, "error")), refusals[_i].error);
    json_decref(root);
    buf_free(&reply);
}
END_TEST

START_TEST(nothing_behind_a_refused_request_is_answered)
{
    struct buf reply =
        exchange("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n"
                 "GET /healthz" TAIL);
    expect_start(&reply, "HTTP/1.1 400 ");
    ck_assert_ptr_null(strstr(buf_cstr(&reply), "200 OK"));
    buf_free(&reply);
}
END_TEST

START_TEST(head_has_the_headers_of_get_and_no_body)
{
    struct buf get = exchange("GET /healthz" TAIL), head = exchange("HEAD /healthz" TAIL);
    expect_start(&head, "HTTP/1.1 200 OK\r\n");
    ck_assert_ptr_nonnull(strstr(buf_cstr(&head), "Content-Length: 3\r\n"));
    ck_assert_str_eq(body_of(&head), "");
    buf_free(&get);
    buf_free(&head);
}
END_TEST

START_TEST(headers_beyond_the_limit_are_refused)
{
    struct buf request = BUF_EMPTY;
    buf_append(&request, SLICE("GET / HTTP/1.1\r\nHost: a\r\n"));
    for (int i = 0; i < 120; i++)
        buf_printf(&request, "X-%d: y\r\n", i);
    buf_append(&request, SLICE("\r\n"));
    struct buf reply = exchange(buf_cstr(&request));
    expect_start(&reply, "HTTP/1.1 400 ");
    buf_free(&reply);
    buf_clear(&request);
    buf_append(&request, SLICE("GET / HTTP/1.1\r\nHost: a\r\nX: "));
    for (int i = 0; i < 20000; i++)
        buf_append_char(&request, 'x');
    reply = exchange(buf_cstr(&request));
    ck_assert_msg(strncmp(buf_cstr(&reply), "HTTP/1.1 4", 10) == 0, "%s", buf_cstr(&reply));
    buf_free(&reply);
    buf_free(&request);
}
END_TEST

START_TEST(a_port_in_use_is_a_clear_error)
{
    char taken[64];
    snprintf(taken, sizeof taken, "127.0.0.1:%u", (unsigned)world->port);
    struct api_options options = options_on(taken);
    struct api *second = NULL;
    struct err err;
    ck_assert(!api_start(&options, &second, &err));
    ck_assert_msg(strstr(err.text, taken) && strstr(err.text, "in use"), "%s", err.text);
}
END_TEST

START_TEST(an_address_that_is_none_is_a_clear_error)
{
    static const char *const wrong[] = { "", "127.0.0.1", "localhost:80", "[::1:80",
                                         "127.0.0.1:99999" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct api_options options = options_on(wrong[i]);
        struct api *none = NULL;
        struct err err;
        ck_assert_msg(!api_start(&options, &none, &err), "%s", wrong[i]);
        ck_assert_int_eq(err.kind, ERR_CONFIG);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stats endpoint");
    TCase *tests = tcase_create("server");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, start, stop);
    tcase_add_test(tests, health_is_200_or_503_with_the_reason);
    tcase_add_test(tests, stats_are_json_with_depth_sessions_replies_rates_and_latencies);
    tcase_add_test(tests, metrics_hold_each_family_once);
    tcase_add_test(tests, prometheus_itself_accepts_the_metrics);
    tcase_add_test(tests, a_python_client_reads_all_resources);
    tcase_add_loop_test(tests, what_it_does_not_serve_is_a_json_error_and_the_connection_is_closed,
                        0, ARRAY_LEN(refusals));
    tcase_add_test(tests, nothing_behind_a_refused_request_is_answered);
    tcase_add_test(tests, head_has_the_headers_of_get_and_no_body);
    tcase_add_test(tests, headers_beyond_the_limit_are_refused);
    tcase_add_test(tests, a_port_in_use_is_a_clear_error);
    tcase_add_test(tests, an_address_that_is_none_is_a_clear_error);
    suite_add_tcase(suite, tests);
    return check_main(suite);
}

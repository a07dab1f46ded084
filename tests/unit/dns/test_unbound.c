/* The resolver against a real one: Debian's unbound with zones of its own, started here on a free
 * port of the loopback address, from a temporary folder. */
#include "dns/resolver.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "tests/support/port.h"
#include "tests/unit/dns/fixture.h"

static const char zones[] =
    "  local-zone: \"good.test.\" static\n"
    "  local-data: \"good.test. 300 MX 20 mx2.good.test.\"\n"
    "  local-data: \"good.test. 300 MX 10 mx1.good.test.\"\n"
    "  local-data: \"mx1.good.test. 300 A 192.0.2.1\"\n"
    "  local-data: \"mx1.good.test. 300 AAAA 2001:db8::1\"\n"
    "  local-data: \"mx2.good.test. 300 A 192.0.2.2\"\n"
    "  local-zone: \"null.test.\" static\n"
    "  local-data: \"null.test. 300 MX 0 .\"\n"
    "  local-zone: \"implicit.test.\" static\n"
    "  local-data: \"implicit.test. 300 SOA ns.test. h.test. 1 2 3 4 120\"\n"
    "  local-data: \"implicit.test. 300 A 192.0.2.9\"\n"
    "  local-zone: \"txt.test.\" static\n"
    "  local-data: \"txt.test. 300 SOA ns.test. h.test. 1 2 3 4 120\"\n"
    "  local-data: \"txt.test. 300 TXT nothing\"\n"
    "  local-zone: \"gone.test.\" static\n"
    "  local-data: \"gone.test. 300 SOA ns.test. h.test. 1 2 3 4 77\"\n"
    "  local-zone: \"refused.test.\" refuse\n"
    "  local-zone: \"silent.test.\" deny\n"
    "  local-zone: \"xn--bcher-kva.test.\" static\n"
    "  local-data: \"xn--bcher-kva.test. 300 MX 10 mx1.good.test.\"\n"
    "  local-zone: \"bulk.test.\" redirect\n"
    "  local-data: \"bulk.test. 300 MX 10 mx1.good.test.\"\n"
    "  local-zone: \"big.test.\" static\n";

static char folder[64], server[32];
static pid_t unbound;
static FILE *unbound_log;

static void config_write(const char *path, unsigned port)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(
        file,
        "server:\n  interface: 127.0.0.1@%u\n  do-daemonize: no\n  username: \"\"\n  chroot: \"\"\n"
        "  directory: \"%s\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  verbosity: 1\n"
        "  num-threads: 1\n  do-not-query-localhost: no\n  local-zone: \"test.\" nodefault\n"
        "  module-config: \"iterator\"\n%s",
        port, folder, zones);
    for (int i = 0; i < 60; i++)
        fprintf(file,
                "  local-data: \"big.test. 300 MX %d a-host-with-a-long-name-%d.big.test.\"\n",
                i + 1, i);
    fprintf(file, "remote-control:\n  control-enable: no\n");
    fclose(file);
}

/* Starts it once; false when it ends before it says that it serves (the port was taken meanwhile).
 */
static bool unbound_try(const char *path)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    unbound = fork();
    ck_assert_int_ge(unbound, 0);
    if (unbound == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        execl("/usr/sbin/unbound", "unbound", "-d", "-c", path, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    unbound_log = fdopen(fds[0], "r");
    char line[1000];
    while (fgets(line, sizeof line, unbound_log))
        if (strstr(line, "start of service"))
            return true;
    fclose(unbound_log);
    int status;
    waitpid(unbound, &status, 0);
    ck_assert_msg(!WIFEXITED(status) || WEXITSTATUS(status) != 127,
                  "/usr/sbin/unbound isn't there");
    return false;
}

static void unbound_start(void)
{
    char path[80];
    strcpy(folder, "/tmp/eilpost-dns-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/unbound.conf", folder);
    bool up = false;
    for (int i = 0; i < 10 && !up; i++) {
        unsigned port = (unsigned)test_port();
        config_write(path, port);
        snprintf(server, sizeof server, "127.0.0.1:%u", port);
        up = unbound_try(path);
    }
    ck_assert_msg(up, "unbound doesn't start; see %s", path);
}

static void unbound_stop(void)
{
    char path[80];
    kill(unbound, SIGKILL);
    waitpid(unbound, NULL, 0);
    fclose(unbound_log);
    snprintf(path, sizeof path, "%s/unbound.conf", folder);
    unlink(path);
    rmdir(folder);
}

static enum dnsd_action unused(void *user, const struct dnsd_query *query,
                               struct dnsd_packet *reply)
{
    (void)user;
    (void)query;
    (void)reply;
    return DNSD_DROP;
}

static void start(int body)
{
    unbound_start();
    options = (struct dns_options){ .servers = server, .timeout_ms = 30000 };
    fixture_start(body, unused, false);
}

static void stop(void)
{
    fixture_stop();
    unbound_stop();
}

START_TEST(a_real_resolver_gives_every_outcome)
{
    start(_i);
    struct waiter waiter = route_of("good.test");
    ck_assert_int_eq(waiter.route->status, DNS_OK);
    ck_assert_uint_eq(waiter.route->host_count, 2);
    ck_assert_str_eq(waiter.route->hosts[0].name.ptr, "mx1.good.test");
    waiter_done(&waiter);
    ck_assert_str_eq(addresses_text("mx1.good.test"), "2001:db8::1 192.0.2.1");
    ck_assert_str_eq(addresses_text("mx2.good.test"), "192.0.2.2");
    ck_assert_int_eq(route_status("null.test"), DNS_NULL_MX);
    ck_assert_int_eq(route_status("txt.test"), DNS_NO_DATA);
    ck_assert_int_eq(route_status("gone.gone.test"), DNS_NXDOMAIN);
    ck_assert_int_eq(route_status("refused.test"), DNS_FAILED);
    ck_assert_int_eq(route_status("B\xc3\xbc"
                                  "cher.test"),
                     DNS_OK);
    waiter = route_of("implicit.test");
    ck_assert_int_eq(waiter.route->status, DNS_OK);
    ck_assert(waiter.route->implicit);
    ck_assert_int_le(waiter.route->expires_ms - ring_now_ms(ring), 120000);
    waiter_done(&waiter);
    waiter = route_of("nothing.gone.test");
    ck_assert_int_le(waiter.route->expires_ms - ring_now_ms(ring), 77000);
    ck_assert_int_gt(waiter.route->expires_ms - ring_now_ms(ring), 60000);
    waiter_done(&waiter);
    stop();
}
END_TEST

START_TEST(an_answer_too_big_for_udp_comes_over_tcp)
{
    start(_i);
    struct waiter waiter = route_of("big.test");
    ck_assert_int_eq(waiter.route->status, DNS_OK);
    ck_assert_uint_eq(waiter.route->host_count, 60);
    ck_assert_str_eq(waiter.route->hosts[59].name.ptr, "a-host-with-a-long-name-59.big.test");
    waiter_done(&waiter);
    stop();
}
END_TEST

START_TEST(a_silent_zone_is_a_timeout)
{
    start(_i);
    close_resolver();
    struct err err = { 0 };
    options.timeout_ms = 30;
    options.tries = 2;
    ck_assert_msg(dns_resolver_create(&resolver, ring, &options, &err), "%s", err.text);
    ck_assert_int_eq(route_status("silent.test"), DNS_TIMEOUT);
    stop();
}
END_TEST

START_TEST(many_domains_are_resolved_once_each)
{
    enum { N = 20000 };
    start(_i);
    struct waiter *waiters = mem_array(N, sizeof *waiters);
    int64_t before = ring_clock_us(ring);
    for (int i = 0; i < N; i++) {
        char name[32];
        waiter_init(&waiters[i]);
        snprintf(name, sizeof name, "d%d.bulk.test", i);
        dns_resolve_route(resolver, &waiters[i].request, slice_str(name));
    }
    for (int i = 0; i < N; i++) {
        while (waiters[i].calls == 0)
            ring_turn(ring, -1);
        ck_assert_msg(waiters[i].route->status == DNS_OK, "%s", waiters[i].route->text);
        waiter_done(&waiters[i]);
    }
    int64_t took = ring_clock_us(ring) - before;
    printf("%s: %d domains in %lld ms\n", ring_body_name(ring), N, (long long)took / 1000);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->lookups, N);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->cached, N);
    free(waiters);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_real_resolver_gives_every_outcome,
        an_answer_too_big_for_udp_comes_over_tcp,
        a_silent_zone_is_a_timeout,
        many_domains_are_resolved_once_each,
    };
    return check_main(fixture_suite("unbound", tests, ARRAY_LEN(tests)));
}

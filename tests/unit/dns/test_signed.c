/* The resolver against real DNSSEC: zones signed by Knot DNS, validated by unbound, both started by
 * tests/scenario/signed_dns.py. */
#include "dns/resolver.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/dns/fixture.h"

static const char zones[] =
    "zone good.test signed\n"
    "@ MX 20 mx2\n"
    "@ MX 10 mx1\n"
    "mx1 A 192.0.2.1\n"
    "mx1 AAAA 2001:db8::1\n"
    "mx2 A 192.0.2.2\n"
    "alias CNAME middle\n"
    "middle CNAME mx1\n"
    "out CNAME mx.plain.test.\n"
    "implicit A 192.0.2.9\n"
    "_25._tcp.mx1 TLSA 3 1 1 0102030405060708091011121314151617181920212223242526272829303132\n"
    "_25._tcp.mx1 TLSA 2 0 0 abcdef\n"
    "_mta-sts TXT \"v=STSv1;\" \" id=1;\"\n"
    "zone plain.test unsigned\n"
    "@ MX 10 mx\n"
    "mx A 192.0.2.3\n"
    "_25._tcp.mx TLSA 3 1 1 0102\n"
    "zone bogus.test bogus\n"
    "@ MX 10 mx\n"
    "mx A 192.0.2.4\n"
    "zone gone.test servfail\n"
    "zone _tcp.mx2.good.test bogus\n"
    "_25 TLSA 3 1 1 0102\n"
    "zone mute.test silent\n";

static char path[] = "/tmp/eilpost-zones-XXXXXX", server[64];
static pid_t peers;
static int peers_input;

static void peers_start(void)
{
    int in[2], out[2], file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(write(file, zones, strlen(zones)), (ssize_t)strlen(zones));
    close(file);
    ck_assert_int_eq(pipe(in) | pipe(out), 0);
    peers = fork();
    ck_assert_int_ge(peers, 0);
    if (peers == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[0]), close(in[1]), close(out[0]), close(out[1]);
        execlp("python3", "python3", EILPOST_SOURCE_DIR "/tests/scenario/signed_dns.py", path,
               (char *)NULL);
        _exit(127);
    }
    close(in[0]), close(out[1]);
    peers_input = in[1];
    FILE *lines = fdopen(out[0], "r");
    ck_assert_msg(fgets(server, sizeof server, lines), "the zones aren't served");
    server[strcspn(server, "\n")] = '\0';
    fclose(lines);
    unlink(path);
}

static void peers_stop(void)
{
    close(peers_input); /* the end of its input ends it */
    waitpid(peers, NULL, 0);
}

static enum dnsd_action unused(void *user, const struct dnsd_query *query,
                               struct dnsd_packet *reply)
{
    (void)user, (void)query, (void)reply;
    return DNSD_DROP;
}

static void start(int body, bool trusted)
{
    peers_start();
    options = (struct dns_options){ .servers = server, .timeout_ms = 30000, .trusted = trusted };
    fixture_start(body, unused, false);
}

static void stop(void)
{
    fixture_stop();
    peers_stop();
}

static const char *verdict(enum dns_status status, bool secure)
{
    static char text[40];
    snprintf(text, sizeof text, "%s %s", dns_status_name(status), secure ? "secure" : "insecure");
    return text;
}

static const char *route_verdict(const char *domain)
{
    struct waiter waiter = route_of(domain);
    const char *text = verdict(waiter.route->status, waiter.route->secure);
    waiter_done(&waiter);
    return text;
}

static const char *addresses_verdict(const char *host, const char *canonical)
{
    struct waiter waiter = addresses_of(host);
    const char *text = verdict(waiter.addresses->status, waiter.addresses->secure);
    ck_assert_str_eq(waiter.addresses->canonical.ptr, canonical);
    waiter_done(&waiter);
    return text;
}

static const char *tlsa_verdict(const char *name)
{
    struct waiter waiter = tlsa_of(name);
    const char *text = verdict(waiter.tlsa->status, waiter.tlsa->secure);
    waiter_done(&waiter);
    return text;
}

START_TEST(what_a_trusted_resolver_has_validated_is_secure)
{
    start(_i, true);
    ck_assert_str_eq(route_verdict("good.test"), "ok secure");
    ck_assert_str_eq(route_verdict("implicit.good.test"), "ok secure");
    ck_assert_str_eq(route_verdict("nothing.good.test"), "nxdomain secure");
    ck_assert_str_eq(addresses_verdict("mx1.good.test", "mx1.good.test"), "ok secure");
    ck_assert_str_eq(addresses_verdict("mx2.good.test", "mx2.good.test"), "ok secure");
    ck_assert_str_eq(tlsa_verdict("_25._tcp.mx1.good.test"), "ok secure");
    ck_assert_str_eq(tlsa_verdict("_25._tcp.implicit.good.test"), "nxdomain secure");
    ck_assert_str_eq(tlsa_verdict("_tcp.mx1.good.test"), "no-data secure");
    struct waiter waiter = tlsa_of("_25._tcp.mx1.good.test");
    ck_assert_uint_eq(waiter.tlsa->count, 2);
    for (unsigned i = 0; i < 2; i++) {
        const struct dns_tlsa_record *record = &waiter.tlsa->records[i];
        ck_assert_uint_eq(record->data.len, record->usage == 3 ? 32 : 3);
    }
    waiter_done(&waiter);
    waiter = text_of("_mta-sts.good.test");
    ck_assert(waiter.text->secure && waiter.text->count == 1);
    ck_assert(slice_eq(waiter.text->records[0], SLICE("v=STSv1; id=1;")));
    waiter_done(&waiter);
    ck_assert_uint_gt(dns_resolver_stats(resolver)->secure, 8);
    stop();
}
END_TEST

START_TEST(what_is_not_signed_is_insecure_and_answers)
{
    start(_i, true);
    ck_assert_str_eq(route_verdict("plain.test"), "ok insecure");
    ck_assert_str_eq(addresses_verdict("mx.plain.test", "mx.plain.test"), "ok insecure");
    ck_assert_str_eq(tlsa_verdict("_25._tcp.mx.plain.test"), "ok insecure");
    ck_assert_str_eq(tlsa_verdict("_25._tcp.other.plain.test"), "nxdomain insecure");
    stop();
}
END_TEST

START_TEST(what_fails_validation_is_a_failure_and_never_a_no)
{
    start(_i, true);
    ck_assert_str_eq(route_verdict("bogus.test"), "failed insecure");
    ck_assert_str_eq(addresses_verdict("mx.bogus.test", "mx.bogus.test"), "failed insecure");
    ck_assert_str_eq(route_verdict("gone.test"), "failed insecure");
    ck_assert_str_eq(tlsa_verdict("_25._tcp.mx2.good.test"), "failed insecure");
    ck_assert_str_eq(tlsa_verdict("_25._tcp.mx.gone.test"), "failed insecure");
    stop();
}
END_TEST

START_TEST(a_chain_of_cnames_is_secure_if_all_of_it_is)
{
    start(_i, true);
    ck_assert_str_eq(addresses_verdict("Alias.Good.test", "mx1.good.test"), "ok secure");
    ck_assert_str_eq(addresses_verdict("out.good.test", "mx.plain.test"), "ok insecure");
    stop();
}
END_TEST

START_TEST(without_trust_nothing_is_secure)
{
    start(_i, false);
    ck_assert_str_eq(route_verdict("good.test"), "ok insecure");
    ck_assert_str_eq(addresses_verdict("mx1.good.test", "mx1.good.test"), "ok insecure");
    ck_assert_str_eq(tlsa_verdict("_25._tcp.mx1.good.test"), "ok insecure");
    ck_assert_str_eq(route_verdict("bogus.test"), "failed insecure");
    stop();
}
END_TEST

START_TEST(servers_that_never_answer_are_a_timeout)
{
    start(_i, true);
    close_resolver();
    struct err err = { 0 };
    options.timeout_ms = 30;
    options.tries = 2;
    ck_assert_msg(dns_resolver_create(&resolver, ring, &options, &err), "%s", err.text);
    ck_assert_str_eq(route_verdict("mute.test"), "timeout insecure");
    ck_assert_str_eq(tlsa_verdict("_25._tcp.mx.mute.test"), "timeout insecure");
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        what_a_trusted_resolver_has_validated_is_secure,
        what_is_not_signed_is_insecure_and_answers,
        what_fails_validation_is_a_failure_and_never_a_no,
        a_chain_of_cnames_is_secure_if_all_of_it_is,
        without_trust_nothing_is_secure,
        servers_that_never_answer_are_a_timeout,
    };
    return check_main(fixture_suite("signed", tests, ARRAY_LEN(tests)));
}

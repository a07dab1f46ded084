/* Servers that fail in every way: what is asked again, of whom, and what comes out. */
#include "dns/channel.h"

#include <stdlib.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "tests/unit/dns/fixture.h"

static struct dnsd *second;
static char both[80];

/* The script is chosen by the first label of the name that is asked for. */
static bool starts(const struct dnsd_query *query, const char *label)
{
    return strncmp(query->name, label, strlen(label)) == 0;
}

static void answer_well(const struct dnsd_query *query, struct dnsd_packet *reply)
{
    if (query->type == DNSD_MX)
        dnsd_packet_mx(reply, query->name, 300, 10, "mx.example");
}

static void answer_truncated(const struct dnsd_query *query, struct dnsd_packet *reply)
{
    if (!query->tcp)
        reply->bytes[2] |= 0x02;
    else
        answer_well(query, reply);
}

static enum dnsd_action faults(void *user, const struct dnsd_query *query,
                               struct dnsd_packet *reply)
{
    (void)user;
    if (starts(query, "servfail")) {
        reply->bytes[3] |= DNSD_SERVFAIL;
    } else if (starts(query, "silent") || (starts(query, "slowstart") && query->seen == 0)) {
        return DNSD_DROP;
    } else if (starts(query, "tc.") || (starts(query, "tcmute") && !query->tcp) ||
               (starts(query, "tcclose") && !query->tcp)) {
        answer_truncated(query, reply);
    } else if (starts(query, "tcmute")) {
        return DNSD_DROP;
    } else if (starts(query, "tcclose")) {
        return DNSD_CLOSE;
    } else if (starts(query, "many")) {
        if (!query->tcp) {
            reply->bytes[2] |= 0x02;
            return DNSD_SEND;
        }
        for (unsigned i = 0; i < 3999; i++) { /* all of them the domain itself, by a pointer */
            uint8_t rdata[] = { (uint8_t)((4000 - i) >> 8), (uint8_t)(4000 - i), 0xc0, 12 };
            dnsd_packet_record(reply, DNSD_ANSWER, query->name, DNSD_MX, 300, rdata, sizeof rdata);
        }
        dnsd_packet_mx(reply, query->name, 300, 1, "b");
    } else if (starts(query, "wrongid")) {
        reply->bytes[0] ^= 0x55;
        answer_well(query, reply);
    } else if (starts(query, "wrongquestion")) {
        dnsd_packet_start(reply, query->id, DNSD_NOERROR, "other.example", query->type);
        dnsd_packet_mx(reply, "other.example", 300, 10, "evil.example");
    } else if (starts(query, "nothing")) {
        reply->len = 0;
        if (query->seen > 0) {
            dnsd_packet_start(reply, query->id, DNSD_NOERROR, query->name, query->type);
            answer_well(query, reply);
        }
    } else if (starts(query, "short")) {
        reply->len = 11;
    } else if (starts(query, "garbage")) {
        dnsd_packet_record(reply, DNSD_ANSWER, query->name, DNSD_MX, 300, "\0\12\xc0\xff", 4);
        reply->bytes[reply->len - 3] = 0x80;
    } else if (starts(query, "pointerloop")) {
        uint8_t rdata[] = { 0, 10, 0xc0, (uint8_t)(reply->len + 14) };
        dnsd_packet_record(reply, DNSD_ANSWER, query->name, DNSD_MX, 300, rdata, sizeof rdata);
    } else if (starts(query, "old")) {
        if (query->edns)
            reply->bytes[3] |= DNSD_FORMERR;
        else
            answer_well(query, reply);
    } else if (starts(query, "kilobyte")) {
        for (unsigned i = 0; i < 50; i++)
            dnsd_packet_mx(reply, query->name, 300, (uint16_t)i, "m.x");
    } else if (starts(query, "ttl0")) {
        dnsd_packet_mx(reply, query->name, 0, 10, "mx.example");
    } else if (starts(query, "ttlhigh")) {
        dnsd_packet_mx(reply, query->name, 0x80000000, 10, "mx.example");
    } else if (starts(query, "ttllong")) {
        dnsd_packet_mx(reply, query->name, 0x7fffffff, 10, "mx.example");
    } else if (starts(query, "nolong")) {
        dnsd_packet_soa(reply, "example", 86400, 86400);
    } else {
        answer_well(query, reply);
    }
    return DNSD_SEND;
}

static void start(int body, unsigned timeout_ms, unsigned tries, bool tcp)
{
    options = (struct dns_options){ .timeout_ms = timeout_ms, .tries = tries };
    fixture_start(body, faults, tcp);
}

/* The first server answers by `handler`, the second one by the script above. */
static void start_two(int body, dnsd_handler *handler, unsigned timeout_ms)
{
    static struct dnsd *first;
    first = dnsd_start(handler, NULL, true);
    second = dnsd_start(faults, NULL, true);
    snprintf(both, sizeof both, "%s,%s", dnsd_server(first), dnsd_server(second));
    options = (struct dns_options){ .servers = both, .timeout_ms = timeout_ms };
    fixture_start(body, faults, false);
    dnsd_stop(dnsd); /* the fixture's own isn't asked */
    dnsd = first;
}

static void stop_two(void)
{
    fixture_stop();
    dnsd_stop(second);
}

static const char *hosts_of(const char *domain)
{
    static char text[300];
    struct waiter waiter = route_of(domain);
    if (waiter.route->status != DNS_OK)
        snprintf(text, sizeof text, "%s", dns_status_name(waiter.route->status));
    else
        snprintf(text, sizeof text, "%u %s", waiter.route->host_count,
                 waiter.route->hosts[0].name.ptr);
    waiter_done(&waiter);
    return text;
}

static int64_t life_of(const char *domain)
{
    struct waiter waiter = route_of(domain);
    int64_t life = waiter.route->expires_ms - ring_now_ms(ring);
    waiter_done(&waiter);
    return life;
}

START_TEST(a_truncated_answer_is_fetched_over_tcp)
{
    start(_i, 30000, 1, true);
    ck_assert_str_eq(hosts_of("tc.example"), "1 mx.example");
    ck_assert_uint_eq(dnsd_asked(dnsd, "tc.example", DNSD_MX), 2);
    ck_assert_str_eq(hosts_of("tc.again.example"), "1 mx.example");
    fixture_stop();
}
END_TEST

START_TEST(four_thousand_mx_arrive_over_tcp_and_a_hundred_are_kept)
{
    start(_i, 30000, 1, true);
    struct waiter waiter = route_of("many.example");
    ck_assert_int_eq(waiter.route->status, DNS_OK);
    ck_assert_str_eq(waiter.route->hosts[0].name.ptr, "b");
    ck_assert_uint_eq(waiter.route->host_count, 2);
    waiter_done(&waiter);
    fixture_stop();
}
END_TEST

START_TEST(a_truncated_answer_without_tcp_is_a_temporary_failure)
{
    start(_i, 30000, 2, false);
    struct waiter waiter = route_of("tc.example");
    ck_assert(waiter.route->status == DNS_FAILED || waiter.route->status == DNS_TIMEOUT);
    waiter_done(&waiter);
    ck_assert_str_eq(hosts_of("good.example"), "1 mx.example"); /* UDP still works */
    fixture_stop();
}
END_TEST

START_TEST(a_tcp_server_that_hangs_up_or_is_mute_is_a_temporary_failure)
{
    start(_i, 300, 3, true);
    ck_assert_str_eq(hosts_of("tcclose.example"), "failed");
    ck_assert_str_eq(hosts_of("tcmute.example"), "timeout");
    ck_assert_str_eq(hosts_of("good.example"), "1 mx.example");
    fixture_stop();
}
END_TEST

START_TEST(a_datagram_of_a_kilobyte_needs_no_tcp)
{
    start(_i, 30000, 1, true);
    ck_assert_str_eq(hosts_of("kilobyte.example"), "1 m.x");
    ck_assert_uint_eq(dnsd_asked(dnsd, "kilobyte.example", 0), 1);
    fixture_stop();
}
END_TEST

START_TEST(an_answer_with_the_wrong_id_or_question_is_no_answer)
{
    start(_i, 30, 1, true);
    ck_assert_str_eq(hosts_of("wrongid.example"), "timeout");
    ck_assert_str_eq(hosts_of("wrongquestion.example"), "timeout");
    ck_assert_str_eq(hosts_of("short.example"), "timeout");
    fixture_stop();
}
END_TEST

START_TEST(an_empty_datagram_is_no_answer_and_no_end)
{
    start(_i, 200, 10, true);
    ck_assert_str_eq(hosts_of("nothing.example"), "1 mx.example");
    ck_assert_str_eq(hosts_of("good.example"), "1 mx.example");
    fixture_stop();
}
END_TEST

START_TEST(a_malformed_answer_is_a_temporary_failure)
{
    start(_i, 30000, 3, true);
    ck_assert_str_eq(hosts_of("garbage.example"), "failed");
    ck_assert_str_eq(hosts_of("pointerloop.example"), "failed");
    fixture_stop();
}
END_TEST

START_TEST(a_lost_datagram_is_sent_again)
{
    start(_i, 200, 10, true);
    ck_assert_str_eq(hosts_of("slowstart.example"), "1 mx.example");
    ck_assert_uint_ge(dnsd_asked(dnsd, "slowstart.example", DNSD_MX), 2);
    fixture_stop();
}
END_TEST

START_TEST(a_server_from_before_edns_is_asked_without)
{
    start(_i, 30000, 3, true);
    /* c-ares sees to the first one by itself, once in a channel's life; the others are ours. */
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "old%d.example", i);
        ck_assert_str_eq(hosts_of(name), "1 mx.example");
    }
    ck_assert_uint_eq(dnsd_asked(dnsd, "old3.example", 0), 1);
    fixture_stop();
}
END_TEST

START_TEST(lives_are_clamped)
{
    start(_i, 30000, 1, true);
    ck_assert_int_le(life_of("ttl0.example"), 1000);
    ck_assert_int_gt(life_of("ttl0.example"), 0);
    ck_assert_int_le(life_of("ttlhigh.example"), 1000);
    int64_t life = life_of("ttllong.example");
    ck_assert_int_le(life, 86400000);
    ck_assert_int_gt(life, 86000000);
    life = life_of("nolong.example");
    ck_assert_int_le(life, 900000);
    ck_assert_int_gt(life, 800000);
    life = life_of("servfail.example");
    ck_assert_int_le(life, 5000);
    ck_assert_int_gt(life, 0);
    fixture_stop();
}
END_TEST

START_TEST(ids_are_random_and_ports_change)
{
    start(_i, 30000, 1, true);
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d.example", i);
        ck_assert_str_eq(hosts_of(name), "1 mx.example");
    }
    ck_assert_uint_gt(dnsd_source_ports(dnsd), 10);
    fixture_stop();
}
END_TEST

/* ---- two servers ---- */

static enum dnsd_action always_servfail(void *user, const struct dnsd_query *query,
                                        struct dnsd_packet *reply)
{
    (void)user;
    (void)query;
    reply->bytes[3] |= DNSD_SERVFAIL;
    return DNSD_SEND;
}

static enum dnsd_action always_silent(void *user, const struct dnsd_query *query,
                                      struct dnsd_packet *reply)
{
    (void)user;
    (void)query;
    (void)reply;
    return DNSD_DROP;
}

START_TEST(after_a_servfail_the_next_server_is_asked_once)
{
    start_two(_i, always_servfail, 30000);
    ck_assert_str_eq(hosts_of("good.example"), "1 mx.example");
    ck_assert_str_eq(hosts_of("servfail.example"), "failed");
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), 2);
    ck_assert_uint_eq(dnsd_asked(second, NULL, 0), 2);
    stop_two();
}
END_TEST

START_TEST(a_silent_server_loses_its_place)
{
    start_two(_i, always_silent, 1000);
    ck_assert_str_eq(hosts_of("one.example"), "1 mx.example");
    for (int i = 0; i < 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d.example", i);
        ck_assert_str_eq(hosts_of(name), "1 mx.example");
    }
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), 1);
    ck_assert_uint_eq(dnsd_asked(second, NULL, 0), 11);
    stop_two();
}
END_TEST

START_TEST(a_dead_server_costs_no_time)
{
    start_two(_i, always_silent, 30000);
    dnsd_stop(dnsd); /* its port refuses now */
    dnsd = second;
    ck_assert_str_eq(hosts_of("one.example"), "1 mx.example");
    ck_assert_str_eq(hosts_of("two.example"), "1 mx.example");
    fixture_stop();
}
END_TEST

START_TEST(without_any_server_there_is_a_failure_at_once)
{
    start(_i, 30000, 1, false);
    dnsd_stop(dnsd);
    int64_t before = ring_clock_us(ring);
    ck_assert_str_eq(hosts_of("one.example"), "failed");
    ck_assert_str_eq(addresses_text("one.example"), "failed");
    ck_assert_int_lt(ring_clock_us(ring) - before, 29000000); /* less than one time-out */
    dnsd = dnsd_start(faults, NULL, false);
    fixture_stop();
}
END_TEST

START_TEST(failures_make_no_storm)
{
    enum { N = 500 };
    static char names[N][32];
    start(_i, 300, 2, true);
    struct waiter *waiters = mem_array(2 * N, sizeof *waiters);
    for (int i = 0; i < 2 * N; i++) {
        waiter_init(&waiters[i]);
        snprintf(names[i % N], sizeof names[0], i % 2 ? "servfail%d.example" : "silent%d.example",
                 i % N);
        dns_resolve_route(resolver, &waiters[i].request, slice_str(names[i % N]));
    }
    for (int i = 0; i < 2 * N; i++) {
        while (waiters[i].calls == 0)
            ring_turn(ring, -1);
        ck_assert_int_eq(waiters[i].route->status, i % 2 ? DNS_FAILED : DNS_TIMEOUT);
        waiter_done(&waiters[i]);
    }
    free(waiters);
    ck_assert_uint_le(dnsd_asked(dnsd, NULL, 0), N / 2 + 2 * (N / 2));
    fixture_stop();
}
END_TEST

/* ---- letters, flags, pace ---- */

static unsigned mixed, flagged, changed;

static bool has_both_cases(const char *name)
{
    bool upper = false, lower = false;
    for (; *name; name++) {
        upper |= *name >= 'A' && *name <= 'Z';
        lower |= *name >= 'a' && *name <= 'z';
    }
    return upper && lower;
}

static enum dnsd_action looks(void *user, const struct dnsd_query *query, struct dnsd_packet *reply)
{
    (void)user;
    __atomic_fetch_add(&mixed, has_both_cases(query->asked), __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&flagged, query->ad && query->dnssec_ok, __ATOMIC_SEQ_CST);
    answer_well(query, reply);
    reply->bytes[3] |= 0x20; /* AD, whoever asks */
    /* "changed.…" comes back in capitals, if it was asked in small letters, too. */
    if (!starts(query, "changed"))
        return DNSD_SEND;
    __atomic_fetch_add(&changed, 1, __ATOMIC_SEQ_CST);
    for (size_t i = 13; i < reply->len && reply->bytes[i]; i++)
        if (reply->bytes[i] >= 'a' && reply->bytes[i] <= 'z')
            reply->bytes[i] -= 'a' - 'A';
    return DNSD_SEND_AS_IS;
}

static void start_looks(int body, bool trusted)
{
    mixed = flagged = changed = 0;
    options = (struct dns_options){ .timeout_ms = 30000, .tries = 3, .trusted = trusted };
    fixture_start(body, looks, false);
}

START_TEST(names_are_asked_for_in_letters_of_random_case)
{
    start_looks(_i, false);
    for (int i = 0; i < 8; i++) {
        char name[64];
        snprintf(name, sizeof name, "a-name-of-many-letters-%d.in-a-long-domain.example", i);
        ck_assert_str_eq(hosts_of(name), "1 mx.example");
    }
    ck_assert_uint_eq(mixed, 8);
    ck_assert_uint_eq(flagged, 0);
    fixture_stop();
}
END_TEST

START_TEST(an_answer_in_other_letters_is_no_answer_once_the_server_has_kept_them)
{
    start_looks(_i, false);
    ck_assert_str_eq(hosts_of("some-name-with-letters.example"), "1 mx.example");
    for (int i = 0; i < 10; i++) {
        char name[64];
        snprintf(name, sizeof name, "changed-name-with-letters%d.example", i);
        ck_assert_str_eq(hosts_of(name), "failed");
    }
    ck_assert_uint_eq(changed, 30); /* three tries each */
    fixture_stop();
}
END_TEST

START_TEST(a_server_that_never_keeps_the_letters_is_asked_in_small_ones)
{
    start_looks(_i, false);
    char name[64];
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "changed-name-with-letters%d.example", i);
        ck_assert_str_eq(hosts_of(name), i < 2 ? "failed" : "1 mx.example");
    }
    unsigned before = mixed;
    ck_assert_str_eq(hosts_of("some-name-with-letters.example"), "1 mx.example");
    ck_assert_uint_eq(mixed, before);
    fixture_stop();
}
END_TEST

START_TEST(the_ad_bit_is_asked_for_and_believed_of_trusted_servers_only)
{
    start_looks(_i, true);
    struct waiter waiter = route_of("name.example");
    ck_assert(waiter.route->secure);
    ck_assert_uint_eq(flagged, 1);
    waiter_done(&waiter);
    fixture_stop();
    start_looks(_i, false);
    waiter = route_of("name.example");
    ck_assert(!waiter.route->secure);
    ck_assert_uint_eq(flagged, 0);
    waiter_done(&waiter);
    fixture_stop();
}
END_TEST

START_TEST(questions_leave_no_faster_than_allowed)
{
    enum { N = 60, PER_SECOND = 100 };
    static struct waiter waiters[N];
    options = (struct dns_options){ .timeout_ms = 30000, .lookups_per_second = PER_SECOND };
    fixture_start(_i, faults, false);
    int64_t before = ring_clock_us(ring);
    for (int i = 0; i < N; i++) {
        char name[32];
        waiter_init(&waiters[i]);
        snprintf(name, sizeof name, "paced%d.example", i);
        dns_resolve_route(resolver, &waiters[i].request, slice_str(name));
    }
    for (int i = 0; i < N; i++) {
        while (waiters[i].calls == 0)
            ring_turn(ring, -1);
        ck_assert_int_eq(waiters[i].route->status, DNS_OK);
        waiter_done(&waiters[i]);
    }
    /* Those of the first 50 ms may leave at once, no others ahead of their time. */
    ck_assert_int_ge(ring_clock_us(ring) - before,
                     (N - PER_SECOND / 20 - 1) * (int64_t)1000000 / PER_SECOND);
    fixture_stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_truncated_answer_is_fetched_over_tcp,
        four_thousand_mx_arrive_over_tcp_and_a_hundred_are_kept,
        a_truncated_answer_without_tcp_is_a_temporary_failure,
        a_tcp_server_that_hangs_up_or_is_mute_is_a_temporary_failure,
        a_datagram_of_a_kilobyte_needs_no_tcp,
        an_answer_with_the_wrong_id_or_question_is_no_answer,
        an_empty_datagram_is_no_answer_and_no_end,
        a_malformed_answer_is_a_temporary_failure,
        a_lost_datagram_is_sent_again,
        a_server_from_before_edns_is_asked_without,
        lives_are_clamped,
        ids_are_random_and_ports_change,
        after_a_servfail_the_next_server_is_asked_once,
        a_silent_server_loses_its_place,
        a_dead_server_costs_no_time,
        without_any_server_there_is_a_failure_at_once,
        failures_make_no_storm,
        names_are_asked_for_in_letters_of_random_case,
        an_answer_in_other_letters_is_no_answer_once_the_server_has_kept_them,
        a_server_that_never_keeps_the_letters_is_asked_in_small_ones,
        the_ad_bit_is_asked_for_and_believed_of_trusted_servers_only,
        questions_leave_no_faster_than_allowed,
    };
    return check_main(fixture_suite("channel", tests, ARRAY_LEN(tests)));
}

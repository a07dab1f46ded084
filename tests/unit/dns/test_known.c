/* What is made of answers over time and by the configuration: stale ones, refreshed ones, ranges
 * that are refused, our own names, TLSA and TXT records. */
#include "dns/resolver.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "tests/unit/dns/fixture.h"

static bool broken; /* read by the server's thread */

static bool is(const struct dnsd_query *query, const char *name, uint16_t type)
{
    return query->type == type && strcmp(query->name, name) == 0;
}

static void answer_addresses(const struct dnsd_query *query, struct dnsd_packet *reply,
                             const char *v4, const char *v6)
{
    if (query->type == DNSD_A && v4)
        dnsd_packet_address(reply, query->name, 1, v4);
    if (query->type == DNSD_AAAA && v6)
        dnsd_packet_address(reply, query->name, 1, v6);
}

static enum dnsd_action zone(void *user, const struct dnsd_query *query, struct dnsd_packet *reply)
{
    (void)user;
    const char *name = query->name;
    if (__atomic_load_n(&broken, __ATOMIC_SEQ_CST)) {
        reply->bytes[3] |= DNSD_SERVFAIL;
    } else if (is(query, "short.example", DNSD_MX)) {
        dnsd_packet_mx(reply, name, 1, (uint16_t)(10 + query->seen), "mx.example");
    } else if (is(query, "gone.example", DNSD_MX)) {
        reply->bytes[3] |= DNSD_NXDOMAIN;
        dnsd_packet_soa(reply, "example", 1, 1);
    } else if (is(query, "behind.example", DNSD_MX)) {
        dnsd_packet_mx(reply, name, 300, 30, "worse.example");
        dnsd_packet_mx(reply, name, 300, 20, "no-better.example");
        dnsd_packet_mx(reply, name, 300, 20, "us.example");
        dnsd_packet_mx(reply, name, 300, 20, "equal.example");
        dnsd_packet_mx(reply, name, 300, 10, "better.example");
    } else if (is(query, "ours.example", DNSD_MX)) {
        dnsd_packet_mx(reply, name, 300, 10, "US.example");
        dnsd_packet_mx(reply, name, 300, 20, "worse.example");
    } else if (strcmp(name, "us.example") == 0) {
        answer_addresses(query, reply, "192.0.2.1", NULL);
    } else if (strcmp(name, "inside.example") == 0) {
        answer_addresses(query, reply, "10.1.2.3", "::ffff:10.1.2.4");
    } else if (strcmp(name, "partly.example") == 0) {
        answer_addresses(query, reply, "10.1.2.3", "2001:db8::1");
    } else if (is(query, "_25._tcp.mx.example", DNSD_TLSA)) {
        dnsd_packet_record(reply, DNSD_ANSWER, name, DNSD_TLSA, 300, "\3\1\1abc", 6);
        dnsd_packet_record(reply, DNSD_ANSWER, name, DNSD_TLSA, 300, "\2\0\2d", 4);
    } else if (is(query, "_mta-sts.example", DNSD_TXT)) {
        dnsd_packet_cname(reply, name, 300, "other.example");
        dnsd_packet_record(reply, DNSD_ANSWER, "other.example", DNSD_TXT, 300,
                           "\6v=STSv\7"
                           "1; id=1",
                           15);
        dnsd_packet_record(reply, DNSD_ANSWER, "other.example", DNSD_TXT, 300, "\0", 1);
    }
    return DNSD_SEND;
}

static struct dns_prefix ten = { AF_INET, 8, { 10 } };
static const char *const names[] = { "other.example", "us.example" };

static void start(int body)
{
    broken = false;
    options = (struct dns_options){ .timeout_ms = 30000,
                                    .stale_max_s = 100,
                                    .own_names = names,
                                    .own_name_count = ARRAY_LEN(names),
                                    .refused = &ten,
                                    .refused_count = 1 };
    fixture_start(body, zone, false);
}

static void break_it(void)
{
    __atomic_store_n(&broken, true, __ATOMIC_SEQ_CST);
}

static bool passed;

static void timer_fired(struct ring_timer *timer)
{
    (void)timer;
    passed = true;
}

static void until(int64_t ms)
{
    struct ring_timer timer;
    passed = false;
    ring_timer_init(&timer, timer_fired);
    ring_timer_start(ring, &timer, ms - ring_now_ms(ring) + 1);
    while (!passed)
        ring_turn(ring, -1);
}

START_TEST(an_answer_past_its_end_is_used_while_the_server_fails)
{
    start(_i);
    struct waiter waiter = route_of("short.example");
    int64_t end = waiter.route->expires_ms;
    struct dns_route *first = waiter.route;
    waiter.route = NULL;
    break_it();
    until(end);
    waiter = route_of("short.example");
    ck_assert_int_eq(waiter.route->status, DNS_OK);
    ck_assert_ptr_eq(waiter.route, first);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->stale, 1);
    ck_assert_int_gt(waiter.route->expires_ms, ring_now_ms(ring) + 20000);
    ck_assert_int_le(waiter.route->expires_ms, end + 100000);
    dns_route_release(first);
    waiter_done(&waiter);
    /* It isn't asked for again at each use. */
    unsigned asked = dnsd_asked(dnsd, NULL, 0);
    ck_assert_int_eq(route_status("short.example"), DNS_OK);
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), asked);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->refreshed, 0);
    fixture_stop();
}
END_TEST

START_TEST(without_leave_nothing_is_used_past_its_end)
{
    start(_i);
    close_resolver();
    struct err err = { 0 };
    options.stale_max_s = 0;
    ck_assert_msg(dns_resolver_create(&resolver, ring, &options, &err), "%s", err.text);
    struct waiter waiter = route_of("short.example");
    break_it();
    until(waiter.route->expires_ms);
    waiter_done(&waiter);
    ck_assert_int_eq(route_status("short.example"), DNS_FAILED);
    fixture_stop();
}
END_TEST

START_TEST(a_no_past_its_end_is_never_used)
{
    start(_i);
    struct waiter waiter = route_of("gone.example");
    ck_assert_int_eq(waiter.route->status, DNS_NXDOMAIN);
    break_it();
    until(waiter.route->expires_ms);
    waiter_done(&waiter);
    ck_assert_int_eq(route_status("gone.example"), DNS_FAILED);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->stale, 0);
    fixture_stop();
}
END_TEST

static void turns_until_asked(unsigned count)
{
    while (dnsd_asked(dnsd, "short.example", DNSD_MX) < count ||
           dns_resolver_stats(resolver)->in_flight > 0)
        ring_turn(ring, -1);
}

START_TEST(an_answer_in_use_near_its_end_is_refreshed_in_the_background)
{
    start(_i);
    struct waiter waiter = route_of("short.example");
    struct dns_route *route = waiter.route;
    int64_t life = route->expires_ms - ring_now_ms(ring);
    ck_assert_int_gt(route->refresh_ms, ring_now_ms(ring) + life / 2);
    ck_assert_int_lt(route->refresh_ms, route->expires_ms);
    dns_refresh_route(resolver, route, SLICE("short.example")); /* too early */
    ck_assert_uint_eq(dns_resolver_stats(resolver)->refreshed, 0);
    route->refresh_ms = ring_now_ms(ring);
    dns_refresh_route(resolver, route, SLICE("short.example"));
    dns_refresh_route(resolver, route, SLICE("short.example"));
    ck_assert_uint_eq(dns_resolver_stats(resolver)->refreshed, 1);
    turns_until_asked(2);
    ck_assert_uint_eq(dnsd_asked(dnsd, "short.example", DNSD_MX), 2);
    struct dns_route *fresh = dns_cached_route(resolver, SLICE("short.example"));
    ck_assert_ptr_ne(fresh, route);
    ck_assert_uint_eq(fresh->hosts[0].preference, 11);
    ck_assert_uint_eq(route->hosts[0].preference, 10); /* untouched */
    dns_route_release(fresh);
    waiter_done(&waiter);
    fixture_stop();
}
END_TEST

START_TEST(a_refresh_that_fails_leaves_what_is_known)
{
    start(_i);
    struct waiter waiter = route_of("short.example");
    break_it();
    waiter.route->refresh_ms = ring_now_ms(ring);
    dns_refresh_route(resolver, waiter.route, SLICE("short.example"));
    turns_until_asked(2);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->failures, 1);
    struct dns_route *known = dns_cached_route(resolver, SLICE("short.example"));
    if (known) /* unless its second is over by now */
        ck_assert_ptr_eq(known, waiter.route);
    dns_route_release(known);
    waiter_done(&waiter);
    fixture_stop();
}
END_TEST

START_TEST(mail_exchangers_that_are_no_better_than_we_are_are_left_out)
{
    start(_i);
    struct waiter waiter = route_of("behind.example");
    ck_assert_int_eq(waiter.route->status, DNS_OK);
    ck_assert_uint_eq(waiter.route->host_count, 1);
    ck_assert_str_eq(waiter.route->hosts[0].name.ptr, "better.example");
    waiter_done(&waiter);
    ck_assert_int_eq(route_status("ours.example"), DNS_LOOP);
    ck_assert_int_eq(route_status("us.example"), DNS_LOOP); /* no MX, but an address */
    fixture_stop();
}
END_TEST

START_TEST(refused_addresses_are_left_out_and_kept_for_relays)
{
    start(_i);
    ck_assert_str_eq(addresses_text("partly.example"), "2001:db8::1");
    ck_assert_str_eq(addresses_text("inside.example"), "refused");
    ck_assert_int_eq(route_status("inside.example"), DNS_REFUSED);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->refused, 3);
    struct waiter waiter = addresses_of("inside.example");
    ck_assert_ptr_nonnull(strstr(waiter.addresses->text, "inside.example"));
    waiter.addresses = dns_addresses_allow(waiter.addresses);
    ck_assert_int_eq(waiter.addresses->status, DNS_OK);
    ck_assert_uint_eq(waiter.addresses->count, 2);
    ck_assert_uint_eq(waiter.addresses->refused_count, 0);
    waiter_done(&waiter);
    ck_assert_str_eq(addresses_text("inside.example"), "refused"); /* for the others still */
    fixture_stop();
}
END_TEST

START_TEST(tlsa_records_arrive_whole)
{
    start(_i);
    struct waiter waiter = tlsa_of("_25._tcp.MX.example");
    ck_assert_int_eq(waiter.tlsa->status, DNS_OK);
    ck_assert_uint_eq(waiter.tlsa->count, 2);
    const struct dns_tlsa_record *record = waiter.tlsa->records;
    ck_assert(record[0].usage == 3 && record[0].selector == 1 && record[0].matching == 1);
    ck_assert(slice_eq(record[0].data, SLICE("abc")));
    ck_assert(record[1].usage == 2 && record[1].selector == 0 && record[1].matching == 2);
    ck_assert(slice_eq(record[1].data, SLICE("d")));
    ck_assert(!waiter.tlsa->secure);
    waiter_done(&waiter);
    waiter = tlsa_of("_25._tcp.none.example");
    ck_assert_int_eq(waiter.tlsa->status, DNS_NO_DATA);
    ck_assert_str_eq(waiter.tlsa->text, "no such record (TLSA of _25._tcp.none.example)");
    waiter_done(&waiter);
    break_it();
    waiter = tlsa_of("_25._tcp.broken.example");
    ck_assert_int_eq(waiter.tlsa->status, DNS_FAILED);
    waiter_done(&waiter);
    fixture_stop();
}
END_TEST

START_TEST(the_strings_of_a_txt_record_are_joined)
{
    start(_i);
    struct waiter waiter = text_of("_mta-sts.example");
    ck_assert_int_eq(waiter.text->status, DNS_OK);
    ck_assert_uint_eq(waiter.text->count, 2);
    ck_assert(slice_eq(waiter.text->records[0], SLICE("v=STSv1; id=1")));
    ck_assert_uint_eq(waiter.text->records[1].len, 0);
    waiter_done(&waiter);
    waiter = text_of("not a name");
    ck_assert_int_eq(waiter.text->status, DNS_INVALID);
    waiter_done(&waiter);
    fixture_stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        an_answer_past_its_end_is_used_while_the_server_fails,
        without_leave_nothing_is_used_past_its_end,
        a_no_past_its_end_is_never_used,
        an_answer_in_use_near_its_end_is_refreshed_in_the_background,
        a_refresh_that_fails_leaves_what_is_known,
        mail_exchangers_that_are_no_better_than_we_are_are_left_out,
        refused_addresses_are_left_out_and_kept_for_relays,
        tlsa_records_arrive_whole,
        the_strings_of_a_txt_record_are_joined,
    };
    return check_main(fixture_suite("known", tests, ARRAY_LEN(tests)));
}

/* The resolver on both real bodies of the ring, against a server that answers as scripted here. */
#include "dns/resolver.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "tests/unit/dns/fixture.h"

/* ---- the ordinary zone ---- */

static bool is(const struct dnsd_query *query, const char *name, uint16_t type)
{
    return query->type == type && strcmp(query->name, name) == 0;
}

static enum dnsd_action zone(void *user, const struct dnsd_query *query, struct dnsd_packet *reply)
{
    (void)user;
    const char *name = query->name;
    if (is(query, "two.example", DNSD_MX)) {
        dnsd_packet_mx(reply, name, 300, 20, "mx2.two.example");
        dnsd_packet_mx(reply, name, 300, 10, "mx1.two.example");
    } else if (is(query, "null.example", DNSD_MX)) {
        dnsd_packet_mx(reply, name, 300, 0, "");
    } else if (is(query, "literal.example", DNSD_MX)) {
        dnsd_packet_mx(reply, name, 300, 10, "127.0.0.1");
    } else if (is(query, "xn--bcher-kva.example", DNSD_MX)) {
        dnsd_packet_mx(reply, name, 300, 10, "mx.example");
    } else if (is(query, "alias.example", DNSD_MX)) {
        dnsd_packet_cname(reply, name, 300, "two.example");
        dnsd_packet_mx(reply, "two.example", 300, 10, "mx1.two.example");
    } else if (is(query, "loop.example", DNSD_MX)) {
        dnsd_packet_cname(reply, name, 300, "pool.example");
        dnsd_packet_cname(reply, "pool.example", 300, name);
    } else if (is(query, "both.example", DNSD_A)) {
        dnsd_packet_address(reply, name, 300, "192.0.2.1");
        dnsd_packet_address(reply, name, 300, "192.0.2.2");
    } else if (is(query, "both.example", DNSD_AAAA)) {
        dnsd_packet_address(reply, name, 300, "2001:db8::1");
        dnsd_packet_address(reply, name, 300, "2001:db8::2");
    } else if (is(query, "half.example", DNSD_A)) {
        dnsd_packet_address(reply, name, 300, "192.0.2.3");
    } else if (is(query, "half.example", DNSD_AAAA) || strcmp(name, "servfail.example") == 0) {
        reply->bytes[3] |= DNSD_SERVFAIL;
    } else if (strcmp(name, "refused.example") == 0) {
        reply->bytes[3] |= DNSD_REFUSED;
    } else if (strcmp(name, "gone.example") == 0) {
        reply->bytes[3] |= DNSD_NXDOMAIN;
        dnsd_packet_soa(reply, "example", 900, 300);
    } else if (strcmp(name, "empty.example") == 0) {
        dnsd_packet_soa(reply, "empty.example", 900, 300);
    } else if (is(query, "mute.example", DNSD_AAAA) || strcmp(name, "silent.example") == 0) {
        return DNSD_DROP;
    } else if (is(query, "mute.example", DNSD_A)) {
        dnsd_packet_address(reply, name, 300, "192.0.2.4");
    }
    return DNSD_SEND;
}

static void start(int body)
{
    options.timeout_ms = options.timeout_ms ? options.timeout_ms : 30000;
    fixture_start(body, zone, true);
}

START_TEST(mx_hosts_come_by_preference)
{
    start(_i);
    struct waiter waiter = route_of("Two.Example.");
    ck_assert_int_eq(waiter.route->status, DNS_OK);
    ck_assert_uint_eq(waiter.route->host_count, 2);
    ck_assert_str_eq(waiter.route->hosts[0].name.ptr, "mx1.two.example");
    ck_assert_str_eq(waiter.route->hosts[1].name.ptr, "mx2.two.example");
    ck_assert(!waiter.route->implicit);
    int64_t life = waiter.route->expires_ms - ring_now_ms(ring);
    ck_assert_int_le(life, 300000);
    ck_assert_int_gt(life, 200000);
    waiter_done(&waiter);
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), 1);
    fixture_stop();
}
END_TEST

START_TEST(every_outcome_is_told_apart)
{
    start(_i);
    ck_assert_int_eq(route_status("gone.example"), DNS_NXDOMAIN);
    ck_assert_int_eq(route_status("empty.example"), DNS_NO_DATA);
    ck_assert_int_eq(route_status("null.example"), DNS_NULL_MX);
    ck_assert_int_eq(route_status("literal.example"), DNS_INVALID);
    ck_assert_int_eq(route_status("servfail.example"), DNS_FAILED);
    ck_assert_int_eq(route_status("refused.example"), DNS_FAILED);
    ck_assert_int_eq(route_status("loop.example"), DNS_FAILED);
    ck_assert_int_eq(route_status("alias.example"), DNS_OK);
    ck_assert_int_eq(route_status("hidden.onion"), DNS_NXDOMAIN);
    unsigned asked = dnsd_asked(dnsd, NULL, 0);
    ck_assert_int_eq(route_status("[127.0.0.1]"), DNS_INVALID);
    ck_assert_int_eq(route_status("10.0.0.1"), DNS_INVALID);
    ck_assert_int_eq(route_status("no..dots"), DNS_INVALID);
    ck_assert_str_eq(addresses_text("127.1"), "invalid");
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), asked);
    /* A null MX, an unusable one and a failure never lead to the address. */
    ck_assert_uint_eq(dnsd_asked(dnsd, "null.example", DNSD_A), 0);
    ck_assert_uint_eq(dnsd_asked(dnsd, "literal.example", DNSD_A), 0);
    ck_assert_uint_eq(dnsd_asked(dnsd, "gone.example", DNSD_A), 0);
    ck_assert_uint_eq(dnsd_asked(dnsd, "servfail.example", DNSD_A), 0);
    /* One server: a failure isn't repeated on the spot. */
    ck_assert_uint_eq(dnsd_asked(dnsd, "servfail.example", DNSD_MX), 1);
    fixture_stop();
}
END_TEST

START_TEST(without_an_mx_the_domain_is_its_own_host)
{
    start(_i);
    struct waiter waiter = route_of("both.example");
    ck_assert_int_eq(waiter.route->status, DNS_OK);
    ck_assert(waiter.route->implicit);
    ck_assert_uint_eq(waiter.route->host_count, 1);
    ck_assert_str_eq(waiter.route->hosts[0].name.ptr, "both.example");
    waiter_done(&waiter);
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), 3);
    ck_assert_str_eq(addresses_text("both.example"), "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2");
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), 3); /* the addresses were kept */
    fixture_stop();
}
END_TEST

START_TEST(an_internationalised_domain_is_asked_as_a_label)
{
    start(_i);
    ck_assert_int_eq(route_status("B\xc3\xbc"
                                  "cher.example"),
                     DNS_OK);
    ck_assert_uint_eq(dnsd_asked(dnsd, "xn--bcher-kva.example", DNSD_MX), 1);
    ck_assert_int_eq(route_status("xn--bcher-kva.EXAMPLE"), DNS_OK);
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), 1);
    fixture_stop();
}
END_TEST

START_TEST(one_family_is_enough)
{
    start(_i);
    struct waiter waiter = addresses_of("half.example");
    ck_assert_int_eq(waiter.addresses->status, DNS_OK);
    ck_assert_uint_eq(waiter.addresses->count, 1);
    ck_assert_int_le(waiter.addresses->expires_ms - ring_now_ms(ring), 60000);
    waiter_done(&waiter);
    ck_assert_str_eq(addresses_text("servfail.example"), "failed");
    ck_assert_str_eq(addresses_text("gone.example"), "nxdomain");
    ck_assert_str_eq(addresses_text("empty.example"), "no-data");
    fixture_stop();
}
END_TEST

START_TEST(a_mute_family_holds_nobody_up)
{
    start(_i); /* its time-out is 30 s */
    int64_t before = ring_clock_us(ring);
    ck_assert_str_eq(addresses_text("mute.example"), "192.0.2.4");
    ck_assert_int_lt(ring_clock_us(ring) - before, 29000000);
    fixture_stop();
}
END_TEST

START_TEST(a_family_that_isnt_wanted_isnt_asked_for)
{
    options.ipv4_only = true;
    start(_i);
    ck_assert_str_eq(addresses_text("both.example"), "192.0.2.1 192.0.2.2");
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, DNSD_AAAA), 0);
    ck_assert_str_eq(addresses_text("gone.example"), "nxdomain");
    close_resolver();
    options.ipv4_only = false;
    options.ipv6_only = true;
    struct err err = { 0 };
    ck_assert_msg(dns_resolver_create(&resolver, ring, &options, &err), "%s", err.text);
    ck_assert_str_eq(addresses_text("both.example"), "2001:db8::1 2001:db8::2");
    ck_assert_str_eq(addresses_text("empty.example"), "no-data");
    ck_assert_uint_eq(dnsd_asked(dnsd, "empty.example", DNSD_A), 0);
    fixture_stop();
}
END_TEST

START_TEST(no_answer_is_a_timeout_and_is_kept_for_a_while)
{
    options.timeout_ms = 20;
    options.tries = 2;
    start(_i);
    ck_assert_int_eq(route_status("silent.example"), DNS_TIMEOUT);
    ck_assert_int_eq(route_status("silent.example"), DNS_TIMEOUT);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->lookups, 1);
    ck_assert_uint_le(dnsd_asked(dnsd, "silent.example", DNSD_MX), 2);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->timeouts, 1);
    fixture_stop();
}
END_TEST

START_TEST(a_thousand_waiters_cost_one_query)
{
    enum { N = 1000 };
    start(_i);
    struct waiter *waiters = mem_array(N, sizeof *waiters);
    for (int i = 0; i < N; i++) {
        waiter_init(&waiters[i]);
        dns_resolve_route(resolver, &waiters[i].request, SLICE("two.example"));
    }
    while (waiters[N - 1].calls == 0)
        ring_turn(ring, -1);
    struct dns_route *shared = dns_route_hold(waiters[0].route);
    for (int i = 0; i < N; i++) {
        ck_assert_uint_eq(waiters[i].calls, 1);
        ck_assert_ptr_eq(waiters[i].route, shared);
        waiter_done(&waiters[i]);
    }
    dns_route_release(shared);
    free(waiters);
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), 1);
    const struct dns_stats *stats = dns_resolver_stats(resolver);
    ck_assert_uint_eq(stats->requests, N);
    ck_assert_uint_eq(stats->coalesced, N - 1);
    ck_assert_uint_eq(stats->lookups, 1);
    ck_assert_uint_eq(stats->in_flight, 0);
    ck_assert_uint_eq(stats->cached, 1);
    fixture_stop();
}
END_TEST

START_TEST(the_cache_answers_in_a_later_task)
{
    start(_i);
    ck_assert_ptr_null(dns_cached_route(resolver, SLICE("two.example")));
    ck_assert_int_eq(route_status("two.example"), DNS_OK);
    struct dns_route *route = dns_cached_route(resolver, SLICE("TWO.example."));
    ck_assert_ptr_nonnull(route);
    struct waiter waiter = route_of("two.example"); /* asserts that nothing fires in the call */
    ck_assert_ptr_eq(waiter.route, route);
    waiter_done(&waiter);
    ck_assert_uint_eq(dnsd_asked(dnsd, NULL, 0), 1);
    ck_assert_uint_eq(dns_resolver_stats(resolver)->cache_hits, 2);
    close_resolver();
    ck_assert_str_eq(route->hosts[0].name.ptr, "mx1.two.example"); /* outlives the resolver */
    dns_route_release(route);
    fixture_stop();
}
END_TEST

START_TEST(more_lookups_than_places_all_get_their_turn)
{
    enum { N = 300 };
    static char names[N][32];
    options.lookups_max = 3;
    start(_i);
    struct waiter *waiters = mem_array(N, sizeof *waiters);
    for (int i = 0; i < N; i++) {
        waiter_init(&waiters[i]);
        /* One in three has no MX and needs a second look-up while all places are taken. */
        snprintf(names[i], sizeof names[i], i % 3 ? "h%d.example" : "empty%d.example", i);
        dns_resolve_route(resolver, &waiters[i].request, slice_str(names[i]));
        ck_assert_uint_le(dns_resolver_stats(resolver)->in_flight, 3);
    }
    for (int i = 0; i < N; i++) {
        while (waiters[i].calls == 0)
            ring_turn(ring, -1);
        ck_assert_uint_le(dns_resolver_stats(resolver)->in_flight, 3);
        ck_assert_int_eq(waiters[i].route->status, DNS_NO_DATA);
        waiter_done(&waiters[i]);
    }
    free(waiters);
    fixture_stop();
}
END_TEST

/* ---- cancelling and closing ---- */

static struct waiter victims[3];

static void cancels_the_others(struct dns_request *request, struct dns_route *route)
{
    route_found(request, route);
    for (int i = 0; i < 3; i++)
        if (&victims[i].request != request)
            dns_request_cancel(&victims[i].request);
}

START_TEST(a_callback_may_cancel_requests_that_are_due)
{
    start(_i);
    for (int i = 0; i < 3; i++) {
        waiter_init(&victims[i]);
        victims[i].request.route_found = cancels_the_others;
        dns_resolve_route(resolver, &victims[i].request, SLICE("two.example"));
    }
    while (victims[0].calls == 0)
        ring_turn(ring, -1);
    ck_assert_int_eq(route_status("gone.example"), DNS_NXDOMAIN); /* a good while later … */
    ck_assert_uint_eq(victims[1].calls + victims[2].calls, 0);
    waiter_done(&victims[0]);
    struct waiter never = { 0 };
    dns_request_cancel(&never.request);
    fixture_stop();
}
END_TEST

START_TEST(a_cancelled_lookup_still_fills_the_cache)
{
    start(_i);
    struct waiter waiter;
    waiter_init(&waiter);
    dns_resolve_route(resolver, &waiter.request, SLICE("two.example"));
    dns_request_cancel(&waiter.request);
    dns_request_cancel(&waiter.request);
    struct dns_route *route;
    while (!(route = dns_cached_route(resolver, SLICE("two.example"))))
        ring_turn(ring, 10);
    dns_route_release(route);
    ck_assert_uint_eq(waiter.calls, 0);
    fixture_stop();
}
END_TEST

START_TEST(closing_with_requests_in_every_stage_calls_nobody)
{
    enum { N = 60 };
    static char names[N][32];
    options.lookups_max = 10;
    start(_i);
    ck_assert_int_eq(route_status("two.example"), DNS_OK);
    struct waiter *waiters = mem_array(N, sizeof *waiters);
    for (int i = 0; i < N; i++) {
        waiter_init(&waiters[i]);
        snprintf(names[i], sizeof names[i],
                 i % 2   ? "silent.example"
                 : i % 4 ? "both%d.example"
                         : "two.example",
                 i);
        dns_resolve_route(resolver, &waiters[i].request, slice_str(names[i]));
    }
    for (int i = 0; i < N; i++) {
        if (i % 3 == 0)
            ring_turn(ring, 0);
        if (waiters[i].calls > 0)
            waiter_done(&waiters[i]);
    }
    close_resolver();
    for (int i = 0; i < N; i++)
        waiter_done(&waiters[i]);
    free(waiters);
    fixture_stop();
}
END_TEST

static void closes(struct dns_request *request, struct dns_route *route)
{
    route_found(request, route);
    dns_resolver_close(resolver, resolver_closed, &closed);
}

START_TEST(a_callback_may_close_the_resolver)
{
    start(_i);
    closed = false;
    for (int i = 0; i < 3; i++) {
        waiter_init(&victims[i]);
        victims[i].request.route_found = closes;
        dns_resolve_route(resolver, &victims[i].request, SLICE("two.example"));
    }
    while (!closed)
        ring_turn(ring, -1);
    resolver = NULL;
    ck_assert_uint_eq(victims[0].calls, 1);
    ck_assert_uint_eq(victims[1].calls + victims[2].calls, 0);
    waiter_done(&victims[0]);
    fixture_stop();
}
END_TEST

START_TEST(closing_an_idle_resolver_needs_no_callback)
{
    start(_i);
    dns_resolver_close(resolver, NULL, NULL);
    ring_turn(ring, 0);
    ring_turn(ring, 0);
    resolver = NULL;
    fixture_stop();
}
END_TEST

START_TEST(wrong_options_are_refused)
{
    struct err err = { 0 };
    start(_i);
    struct dns_resolver *none = NULL;
    ck_assert(
        !dns_resolver_create(&none, ring, &(struct dns_options){ .servers = "dns.example" }, &err));
    ck_assert_str_eq(err.text,
                     "DNS server \"dns.example\" isn't ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT");
    ck_assert(!dns_resolver_create(
        &none, ring, &(struct dns_options){ .ipv4_only = true, .ipv6_only = true }, &err));
    ck_assert(!dns_resolver_create(&none, ring,
                                   &(struct dns_options){ .ttl_min_s = 10, .ttl_max_s = 5 }, &err));
    fixture_stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        mx_hosts_come_by_preference,
        every_outcome_is_told_apart,
        without_an_mx_the_domain_is_its_own_host,
        an_internationalised_domain_is_asked_as_a_label,
        one_family_is_enough,
        a_mute_family_holds_nobody_up,
        a_family_that_isnt_wanted_isnt_asked_for,
        no_answer_is_a_timeout_and_is_kept_for_a_while,
        a_thousand_waiters_cost_one_query,
        the_cache_answers_in_a_later_task,
        more_lookups_than_places_all_get_their_turn,
        a_callback_may_cancel_requests_that_are_due,
        a_cancelled_lookup_still_fills_the_cache,
        closing_with_requests_in_every_stage_calls_nobody,
        a_callback_may_close_the_resolver,
        closing_an_idle_resolver_needs_no_callback,
        wrong_options_are_refused,
    };
    return check_main(fixture_suite("resolver", tests, ARRAY_LEN(tests)));
}

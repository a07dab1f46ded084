/* Which rule fits some mail. */
#include "engine/deliver/internal.h"
#include "tests/support/check_main.h"

#define LIST(...)                                                                                  \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* Told apart by their relay. */
static const struct deliver_rule rules[] = {
    { .destinations = LIST("one.test", "*.one.test"), .destination_count = 2, .relay = 0 },
    { .tenants = LIST("acme"),
      .tenant_count = 1,
      .destinations = LIST("two.test"),
      .destination_count = 1,
      .relay = 1 },
    { .sites = LIST("*.mx.test"), .site_count = 1, .relay = 2 },
    { .destinations = LIST("*.tail.test"), .destination_count = 1, .relay = 3 },
    { .tenants = LIST("bob", "eve"),
      .tenant_count = 2,
      .destinations = LIST("*"),
      .destination_count = 1,
      .relay = 4 },
};
static const struct deliver_options options = { .rules = rules, .rule_count = ARRAY_LEN(rules) };

enum { NONE = 99 };

static const struct {
    const char *tenant, *destination, *host; /* no host: not looked up yet */
    unsigned relay;
    bool depends;
} cases[] = {
    { "", "one.test", NULL, 0 },
    { "acme", "a.b.one.test", NULL, 0 },
    { "", "anyone.test", NULL, NONE, true },
    { "", ".one.test", NULL, NONE, true },
    { "acme", "two.test", NULL, 1 },
    { "bob", "two.test", NULL, NONE, true },
    { "bob", "two.test", "a.mx.test", 2 },
    { "bob", "two.test", "mx.test", 4 },
    { "", "two.test", "mx.test", NONE },
    { "", "x.tail.test", "mx.other.test", 3 },
    { "", "tail.test", "mx.other.test", NONE },
    { "eve", "x.test", "mx.other.test", 4 },
    { "ev", "x.test", "mx.other.test", NONE },
};

START_TEST(the_first_rule_that_fits_says)
{
    struct dns_route *route = cases[_i].host ? dns_route_to(slice_str(cases[_i].host)) : NULL;
    bool depends;
    const struct deliver_rule *rule = deliver_rule_find(&options, slice_str(cases[_i].tenant),
                                                slice_str(cases[_i].destination), route, &depends);
    ck_assert_uint_eq(rule ? rule->relay : NONE, cases[_i].relay);
    ck_assert(depends == cases[_i].depends);
    if (route)
        dns_route_release(route);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rule");
    TCase *tcase = tcase_create("rules");
    tcase_add_loop_test(tcase, the_first_rule_that_fits_says, 0, (int)ARRAY_LEN(cases));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}

/* Windows on local clocks, as intervals of UTC: over changes of the clocks, midnight and the ends
 * of a submission's time. Instants were worked out by hand from the zones' published changes. */
#include "queue/windows.h"

#include <stdio.h>
#include <time.h>

#include "engine/base/mem.h"
#include "tests/support/check_main.h"

static int64_t utc(const char *text)
{
    struct tm tm = { 0 };
    const char *end = strptime(text, "%Y-%m-%d %H:%M", &tm);
    ck_assert_msg(end && !*end, "%s", text);
    return (int64_t)timegm(&tm) * 1000;
}

static struct window window(const char *days, const char *from, const char *to, const char *zone)
{
    struct window it = { 0 };
    ck_assert_msg(window_days_parse(slice_str(days), &it.days), "%s", days);
    ck_assert(window_time_parse(slice_str(from), &it.from_min));
    ck_assert(window_time_parse(slice_str(to), &it.to_min));
    ck_assert_msg(window_zone_known(slice_str(zone)), "%s", zone);
    snprintf(it.zone, sizeof it.zone, "%s", zone);
    return it;
}

/* One window from a time to a time, and its intervals "open close, open close". */
static const struct {
    const char *days, *from, *to, *zone, *begin, *end;
    const char *intervals[6][2];
} table[] = {
    /* Friday to Monday; begins and ends within a window */
    { "mon-fri",
      "09:00",
      "18:00",
      "UTC",
      "2026-01-02 12:00",
      "2026-01-05 10:00",
      { { "2026-01-02 12:00", "2026-01-02 18:00" }, { "2026-01-05 09:00", "2026-01-05 10:00" } } },
    /* nothing opens on a week-end */
    { "mon-fri", "09:00", "18:00", "UTC", "2026-01-03 00:00", "2026-01-05 00:00", { { NULL } } },
    /* the local day differs from that of UTC */
    { "mon",
      "00:00",
      "24:00",
      "Pacific/Auckland",
      "2026-06-12 00:00",
      "2026-06-20 00:00",
      { { "2026-06-14 12:00", "2026-06-15 12:00" } } },
    { "sun",
      "20:00",
      "22:00",
      "America/Los_Angeles",
      "2026-01-01 00:00",
      "2026-01-07 00:00",
      { { "2026-01-05 04:00", "2026-01-05 06:00" } } },
    /* over midnight: belongs to the day on which it opens, also when that is before the beginning
     */
    { "fri",
      "22:00",
      "02:00",
      "UTC",
      "2026-01-01 00:00",
      "2026-01-05 00:00",
      { { "2026-01-02 22:00", "2026-01-03 02:00" } } },
    { "fri",
      "22:00",
      "02:00",
      "UTC",
      "2026-01-03 01:00",
      "2026-01-05 00:00",
      { { "2026-01-03 01:00", "2026-01-03 02:00" } } },
    { "sat-sun",
      "22:00",
      "00:00",
      "UTC",
      "2026-01-03 00:00",
      "2026-01-06 00:00",
      { { "2026-01-03 22:00", "2026-01-04 00:00" }, { "2026-01-04 22:00", "2026-01-05 00:00" } } },
    /* whole days are one interval */
    { "mon-sun",
      "00:00",
      "24:00",
      "Europe/Berlin",
      "2026-03-27 12:00",
      "2026-03-31 12:00",
      { { "2026-03-27 12:00", "2026-03-31 12:00" } } },
    /* Berlin, clocks go forward on 2026-03-29 at 01:00 UTC: nine o'clock comes an hour earlier */
    { "mon-sun",
      "09:00",
      "10:00",
      "Europe/Berlin",
      "2026-03-28 00:00",
      "2026-03-31 00:00",
      { { "2026-03-28 08:00", "2026-03-28 09:00" },
        { "2026-03-29 07:00", "2026-03-29 08:00" },
        { "2026-03-30 07:00", "2026-03-30 08:00" } } },
    /* 02:30 never comes: opens at the change; a window wholly inside never opens that day */
    { "sun",
      "02:30",
      "04:00",
      "Europe/Berlin",
      "2026-03-28 00:00",
      "2026-03-31 00:00",
      { { "2026-03-29 01:00", "2026-03-29 02:00" } } },
    { "sun",
      "02:10",
      "02:50",
      "Europe/Berlin",
      "2026-03-28 00:00",
      "2026-03-31 00:00",
      { { NULL } } },
    { "sun",
      "01:00",
      "02:30",
      "Europe/Berlin",
      "2026-03-28 00:00",
      "2026-03-31 00:00",
      { { "2026-03-29 00:00", "2026-03-29 01:00" } } },
    /* clocks go back on 2026-10-25 at 01:00 UTC: 02:30 comes twice */
    { "sun",
      "02:30",
      "02:45",
      "Europe/Berlin",
      "2026-10-24 00:00",
      "2026-10-27 00:00",
      { { "2026-10-25 00:30", "2026-10-25 01:45" } } },
    { "sat",
      "23:00",
      "02:30",
      "Europe/Berlin",
      "2026-10-24 00:00",
      "2026-10-27 00:00",
      { { "2026-10-24 21:00", "2026-10-25 01:30" } } },
    { "sun",
      "00:00",
      "24:00",
      "Europe/Berlin",
      "2026-10-24 00:00",
      "2026-10-27 00:00",
      { { "2026-10-24 22:00", "2026-10-25 23:00" } } },
    /* half an hour: Lord Howe, 2026-10-04 02:00 goes to 02:30, at 15:30 UTC the day before */
    { "sun",
      "02:15",
      "03:00",
      "Australia/Lord_Howe",
      "2026-10-02 00:00",
      "2026-10-06 00:00",
      { { "2026-10-03 15:30", "2026-10-03 16:00" } } },
    /* a zone with minutes, and without changes */
    { "wed",
      "09:00",
      "17:30",
      "Asia/Kathmandu",
      "2026-07-07 00:00",
      "2026-07-10 00:00",
      { { "2026-07-08 03:15", "2026-07-08 11:45" } } },
    /* Samoa left 30 December 2011 out */
    { "fri",
      "09:00",
      "18:00",
      "Pacific/Apia",
      "2011-12-28 00:00",
      "2012-01-02 00:00",
      { { NULL } } },
    { "sat",
      "09:00",
      "18:00",
      "Pacific/Apia",
      "2011-12-28 00:00",
      "2012-01-02 00:00",
      { { "2011-12-30 19:00", "2011-12-31 04:00" } } },
    /* beyond 2037, where tables end and rules go on */
    { "mon",
      "09:00",
      "10:00",
      "America/New_York",
      "2040-07-01 00:00",
      "2040-07-04 00:00",
      { { "2040-07-02 13:00", "2040-07-02 14:00" } } },
};

START_TEST(a_window_is_open_when_the_clock_of_its_zone_says_so)
{
    struct window it = window(table[_i].days, table[_i].from, table[_i].to, table[_i].zone);
    struct window_interval found[8];
    size_t n = windows_intervals(&it, 1, utc(table[_i].begin), utc(table[_i].end), found, 8);
    size_t expected = 0;
    for (; table[_i].intervals[expected][0]; expected++) {
        ck_assert_uint_gt(n, expected);
        ck_assert_int_eq(found[expected].open_ms, utc(table[_i].intervals[expected][0]));
        ck_assert_int_eq(found[expected].close_ms, utc(table[_i].intervals[expected][1]));
    }
    ck_assert_uint_eq(n, expected);
}
END_TEST

START_TEST(several_windows_are_open_when_any_of_them_is)
{
    struct window both[] = { window("mon-fri", "09:00", "12:00", "UTC"),
                             window("mon", "11:00", "14:00", "UTC"),
                             window("tue", "12:00", "13:00", "UTC"),
                             window("mon-sun", "20:00", "21:00", "Asia/Tokyo") };
    struct window_interval found[8];
    size_t n =
        windows_intervals(both, 4, utc("2026-01-05 00:00"), utc("2026-01-07 00:00"), found, 8);
    const char *const expected[][2] = { { "2026-01-05 09:00", "2026-01-05 14:00" },
                                        { "2026-01-06 09:00", "2026-01-06 13:00" } };
    ck_assert_uint_eq(n, 2); /* Tokyo's 20:00 is 11:00 UTC: inside of both */
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(found[i].open_ms, utc(expected[i][0]));
        ck_assert_int_eq(found[i].close_ms, utc(expected[i][1]));
    }
}
END_TEST

START_TEST(as_many_windows_as_a_submission_may_have_fit_into_the_intervals_of_a_month)
{
    struct window many[WINDOWS_MAX];
    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        many[i] = window("mon-sun", "00:00", "00:01", "UTC");
        many[i].from_min = i * 60;
        many[i].to_min = i * 60 + 30;
    }
    struct window_interval found[WINDOW_INTERVALS_MAX + 1];
    int64_t begin = utc("2026-01-01 00:10");
    size_t n = windows_intervals(many, WINDOWS_MAX, begin, begin + INT64_C(30) * 86400000, found,
                                 WINDOW_INTERVALS_MAX + 1);
    ck_assert_uint_le(n, WINDOW_INTERVALS_MAX);
    for (size_t i = 1; i < n; i++)
        ck_assert(found[i].open_ms > found[i - 1].close_ms && found[i].close_ms > found[i].open_ms);
    ck_assert_uint_eq(
        windows_intervals(many, WINDOWS_MAX, begin, begin + INT64_C(30) * 86400000, found, 5), 5);
    ck_assert_uint_eq(windows_intervals(many, WINDOWS_MAX, begin, begin, found, 5), 0);
}
END_TEST

START_TEST(days_are_names_lists_and_ranges)
{
    const struct {
        const char *text;
        unsigned days;
    } good[] = { { "mon", 1 },           { "sun", 64 },
                 { "mon-fri", 31 },      { "mon,wed", 5 },
                 { "fri-mon", 1 | 112 }, { "sat-sat", 32 },
                 { "mon-sun", 127 },     { "tue,thu-fri,sun", 2 | 8 | 16 | 64 } };
    const char *const bad[] = { "",     "mo",   "monday",   "Mon",         "mon-",    "-mon",
                                "mon,", ",mon", "mon,,tue", "mon-tue-wed", "mon fri", "mon-fr" };
    unsigned days;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ck_assert_msg(window_days_parse(slice_str(good[i].text), &days), "%s", good[i].text);
        ck_assert_uint_eq(days, good[i].days);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!window_days_parse(slice_str(bad[i]), &days), "%s", bad[i]);
}
END_TEST

START_TEST(times_have_five_characters)
{
    unsigned minutes;
    ck_assert(window_time_parse(SLICE("24:00"), &minutes) && minutes == 1440);
    ck_assert(window_time_parse(SLICE("07:05"), &minutes) && minutes == 425);
    const char *const bad[] = {
        "", "7:05", "24:01", "25:00", "12:60", "12.00", "1200", "12:00:00"
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!window_time_parse(slice_str(bad[i]), &minutes), "%s", bad[i]);
}
END_TEST

START_TEST(an_unknown_zone_is_told_apart)
{
    const char *const good[] = { "UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires",
                                 "Etc/GMT+5", "America/Port-au-Prince" };
    const char *const bad[] = { "",
                                "Europe/Atlantis",
                                "Europe",
                                "CEST",
                                "zone.tab",
                                "tzdata.zi",
                                "leapseconds",
                                "/etc/passwd",
                                "../passwd",
                                "Europe/../UTC",
                                "Europe/Berlin ",
                                "+02:00",
                                "America/Argentina",
                                "/usr/share/zoneinfo/UTC",
                                "Europe/Berlin/Europe/Berlin/Europe/Berlin/Europe/Berlin" };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_msg(window_zone_known(slice_str(good[i])), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!window_zone_known(slice_str(bad[i])), "%s", bad[i]);
    ck_assert(!window_zone_known(slice_of("UTC\0", 4)));
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF(
        "windows", several_windows_are_open_when_any_of_them_is,
        as_many_windows_as_a_submission_may_have_fit_into_the_intervals_of_a_month,
        days_are_names_lists_and_ranges, times_have_five_characters, an_unknown_zone_is_told_apart);
    TCase *cases = tcase_create("table");
    tcase_set_timeout(cases, 0);
    tcase_add_loop_test(cases, a_window_is_open_when_the_clock_of_its_zone_says_so, 0,
                        (int)ARRAY_LEN(table));
    suite_add_tcase(suite, cases);
    return check_main(suite);
}

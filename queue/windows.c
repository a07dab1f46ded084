/* The calendar is arithmetic on days since 1970; only what a zone's clock shows at an instant comes
 * from GLib (GTimeZone: may be used from any thread, needs neither TZ nor tzset()). Local times are
 * turned into instants here, because GLib's answer for times that a clock skips or shows twice
 * isn't the same for every kind of change. */
#include "queue/windows.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"

enum { DAY_S = 86400, DAY_MIN = 1440 };

/* ---- reading ---- */

static bool day_parse(struct slice name, unsigned *day)
{
    static const char names[7][4] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };
    for (unsigned i = 0; i < 7; i++)
        if (slice_eq(name, slice_of(names[i], 3))) {
            *day = i;
            return true;
        }
    return false;
}

bool window_days_parse(struct slice text, unsigned *days)
{
    unsigned found = 0;
    if (slice_ends_with(text, SLICE(",")))
        return false;
    do {
        struct slice last = slice_cut(&text, ',');
        bool range = slice_find(last, '-') >= 0;
        struct slice first = slice_cut(&last, '-');
        unsigned from, to;
        if (!day_parse(first, &from) || !day_parse(range ? last : first, &to))
            return false;
        for (found |= 1U << from; from != to; found |= 1U << from)
            from = (from + 1) % 7;
    } while (text.len > 0);
    *days = found;
    return true;
}

bool window_time_parse(struct slice text, unsigned *minutes)
{
    unsigned hour, minute;
    if (text.len != 5 || text.ptr[2] != ':' || !slice_take_digits(&text, 2, &hour))
        return false;
    text = slice_skip(text, 1);
    if (!slice_take_digits(&text, 2, &minute) || minute > 59 || hour > 24 ||
        (hour == 24 && minute > 0))
        return false;
    *minutes = hour * 60 + minute;
    return true;
}

/* Names are files below the system's zone directory, so nothing may lead elsewhere. Those without a
 * slash are mostly not zones. */
static bool zone_name_safe(struct slice zone)
{
    if (zone.len == 0 || zone.len > WINDOW_ZONE_BYTES_MAX || zone.ptr[0] == '/')
        return false;
    for (size_t i = 0; i < zone.len; i++) {
        char c = ascii_lower(zone.ptr[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("/_-+", c)) || c == '\0')
            return false;
    }
    return slice_eq(zone, SLICE("UTC")) || slice_find(zone, '/') > 0;
}

bool window_zone_known(struct slice zone)
{
    if (!zone_name_safe(zone))
        return false;
    char name[WINDOW_ZONE_BYTES_MAX + 1];
    snprintf(name, sizeof name, "%.*s", SLICE_FMT(zone));
    GTimeZone *it = g_time_zone_new_identifier(name);
    if (it)
        g_time_zone_unref(it);
    return it != NULL;
}

/* ---- local time ---- */

static int64_t offset_at(GTimeZone *zone, int64_t utc_s)
{
    return g_time_zone_get_offset(zone,
                                  g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, utc_s));
}

/* The change of the offset in (low, high]. */
static int64_t change_between(GTimeZone *zone, int64_t low, int64_t high)
{
    int64_t before = offset_at(zone, low);
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (offset_at(zone, middle) == before)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* The instant at which the zone's clock shows local_s (seconds since 1970 as if it were UTC). A
 * zone changes its offset at most once in two days. */
static int64_t instant_of(GTimeZone *zone, int64_t local_s, bool closing)
{
    int64_t before = offset_at(zone, local_s - DAY_S), after = offset_at(zone, local_s + DAY_S);
    int64_t early = local_s - MAX_OF(before, after), late = local_s - MIN_OF(before, after);
    bool early_is = early + offset_at(zone, early) == local_s;
    bool late_is = late + offset_at(zone, late) == local_s;
    if (early_is && late_is)
        return closing ? late : early;
    if (early_is || late_is)
        return early_is ? early : late;
    return change_between(zone, early, late);
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* ---- intervals ---- */

static int interval_compare(const void *a, const void *b)
{
    const struct window_interval *x = a, *y = b;
    return (x->open_ms > y->open_ms) - (x->open_ms < y->open_ms);
}

/* Those of one window, clipped. */
static size_t window_openings(const struct window *window, int64_t from_ms, int64_t to_ms,
                              struct window_interval *out, size_t room)
{
    GTimeZone *zone = g_time_zone_new_identifier(window->zone);
    assert(zone);
    int64_t from_s = floor_divide(from_ms, 1000), to_s = floor_divide(to_ms, 1000);
    int64_t day = floor_divide(from_s + offset_at(zone, from_s), DAY_S) - 1;
    int64_t last = floor_divide(to_s + offset_at(zone, to_s), DAY_S);
    int64_t length_min = (int64_t)window->to_min - window->from_min;
    length_min += length_min <= 0 ? DAY_MIN : 0;
    size_t n = 0;
    for (; day <= last && n < room; day++) {
        unsigned weekday = (unsigned)(((day + 3) % 7 + 7) % 7); /* 1970 began with a Thursday */
        if (!(window->days & 1U << weekday))
            continue;
        int64_t local_s = day * DAY_S + (int64_t)window->from_min * 60;
        int64_t open = instant_of(zone, local_s, false) * 1000;
        int64_t close = instant_of(zone, local_s + length_min * 60, true) * 1000;
        open = MAX_OF(open, from_ms);
        close = MIN_OF(close, to_ms);
        if (open < close)
            out[n++] = (struct window_interval){ open, close };
    }
    g_time_zone_unref(zone);
    return n;
}

size_t windows_intervals(const struct window *windows, size_t count, int64_t from_ms, int64_t to_ms,
                         struct window_interval *out, size_t max)
{
    if (count == 0 || max == 0 || to_ms <= from_ms)
        return 0;
    size_t days = (size_t)((to_ms - from_ms) / 1000 / DAY_S) + 3, n = 0;
    struct window_interval *all = mem_array(count * days, sizeof *all);
    for (size_t i = 0; i < count; i++)
        n += window_openings(&windows[i], from_ms, to_ms, all + n, days);
    qsort(all, n, sizeof *all, interval_compare);
    size_t merged = 0;
    for (size_t i = 0; i < n; i++) {
        if (merged > 0 && all[i].open_ms <= out[merged - 1].close_ms)
            out[merged - 1].close_ms = MAX_OF(out[merged - 1].close_ms, all[i].close_ms);
        else if (merged < max)
            out[merged++] = all[i];
        else
            break;
    }
    free(all);
    return merged;
}

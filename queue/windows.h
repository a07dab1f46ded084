#pragma once
/* When a submission's mail may leave: windows of the week on a local clock ("Monday to Friday, nine
 * to six in Berlin"), worked out into intervals of UTC. That is done once, when a submission is
 * taken in: whatever reads the intervals later, scripts in Redis included, needs neither time zones
 * nor a calendar. The price is that a change of a zone's rules doesn't reach what is queued
 * already.
 */
#include "engine/base/slice.h"

enum {
    WINDOWS_MAX = 12, /* of one submission; with the 31 days that one may last: ≤ 400 intervals */
    WINDOW_INTERVALS_MAX = 400,
    WINDOW_ZONE_BYTES_MAX = 48,
    WINDOW_EVERY_DAY = 0x7f,
};

struct window {
    unsigned days;     /* bit 0: Monday … bit 6: Sunday; those on which it opens */
    unsigned from_min; /* minutes of the local day, 0 … 1439 */
    unsigned to_min;   /* 1 … 1440; not after from_min: on the day after */
    char zone[WINDOW_ZONE_BYTES_MAX + 1];
};

struct window_interval {
    int64_t open_ms, close_ms; /* ms since 1970; closed at close_ms */
};

/** "mon-fri", "sat", "mon,wed,fri-sun"; names in lower case, a range may run over Sunday. */
MUST_USE bool window_days_parse(struct slice text, unsigned *days);
/** "09:00"; "24:00" is the day's end. */
MUST_USE bool window_time_parse(struct slice text, unsigned *minutes);
/** Whether the system knows the zone: "UTC" or a name of the tz database ("Europe/Berlin"). */
MUST_USE bool window_zone_known(struct slice zone);

/** Intervals in [from_ms, to_ms) in which at least one window is open, in order, merged; returns
 * their number, at most `max` (later ones are left out). The zones must be known.
 *
 * A local time that comes twice (clocks go back) is the first one where a window opens and the
 * second one where it closes; one that never comes (clocks go forward) is the moment of the change.
 */
size_t windows_intervals(const struct window *windows, size_t count, int64_t from_ms, int64_t to_ms,
                         struct window_interval *out, size_t max);

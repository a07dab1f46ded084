/* When to try again: schedules are configuration, the first that fits is used. */
#include "engine/deliver/retry.h"

static int64_t scheduled_s(const struct deliver_options *options, const struct retry_case *of)
{
    const unsigned *schedule_s = options->retry_schedule_s;
    unsigned count = options->retry_count;
    for (unsigned i = 0; i < options->schedule_count; i++) {
        const struct deliver_schedule *schedule = &options->schedules[i];
        bool class_fits = schedule->class == DELIVER_ANY_CLASS || schedule->class == of->class;
        bool category_fits =
            !*schedule->category || (of->category && strcmp(schedule->category, of->category) == 0);
        if (!class_fits || !category_fits)
            continue;
        schedule_s = schedule->schedule_s;
        count = schedule->count;
        break;
    }
    return schedule_s[MIN_OF(of->attempts, count - 1)];
}

int64_t retry_jitter_ms(const struct deliver_options *options, struct rng *rng, int64_t pause_s)
{
    int64_t pause = pause_s * 1000, spread = pause * (int64_t)options->retry_jitter_percent / 100;
    return spread > 0 ? pause - spread + (int64_t)rng_below(rng, (uint64_t)spread * 2 + 1) : pause;
}

int64_t retry_pause_ms(const struct deliver_options *options, struct rng *rng,
                       const struct retry_case *of)
{
    int64_t asked_s = of->asked_s, pause_s = scheduled_s(options, of);
    if (asked_s <= pause_s)
        return MAX_OF(retry_jitter_ms(options, rng, pause_s), asked_s * 1000);
    /* Longer than ours: jitter only adds. */
    int64_t spread = asked_s * 1000 * (int64_t)options->retry_jitter_percent / 100;
    return asked_s * 1000 + (int64_t)rng_below(rng, (uint64_t)spread + 1);
}

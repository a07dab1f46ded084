#include "engine/app/reporter.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "engine/app/reports.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "queue/producer.h"

enum {
    FLUSH_S = 10,
    LOOK_S = 600,        /* for reports that are due */
    SPREAD_S = 4 * 3600, /* they leave within it after their day, at random (RFC 8460, 4.1) */
    TRIED_DAYS = 2,
};

struct reporter {
    struct reporter_options options;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopping;
    struct producer *producer; /* the thread's, as all below; NULL: none, try again */
    struct reports reports;
    int64_t spread_s, looked_s;
};

static bool connect_redis(struct reporter *reporter, struct err *err)
{
    const struct reporter_options *options = &reporter->options;
    if (reporter->producer)
        return true;
    if (!producer_open_with(
            &reporter->producer,
            &(struct producer_options){ .url = options->redis_url,
                                        .name_space = options->config->redis.name_space,
                                        .partitions = options->config->redis.partitions },
            err))
        return false;
    if (reports_open(&reporter->reports, options->config, options->log, reporter->producer, err))
        return true;
    producer_close(&reporter->producer);
    return false;
}

static void disconnect(struct reporter *reporter)
{
    if (!reporter->producer)
        return;
    reports_close(&reporter->reports);
    producer_close(&reporter->producer);
}

/* What a failure leaves undone is counted again: rather twice than not at all. */
static bool flush(struct reporter *reporter, struct err *err)
{
    struct tls_tally *tally = reporter->options.tally;
    size_t count, kept = 0;
    struct tls_tally_row **rows = tls_tally_take(tally, &count);
    if (count == 0)
        return true;
    bool *wanted = mem_zalloc(count * sizeof *wanted);
    bool good = connect_redis(reporter, err);
    if (good) {
        reports_wanted(&reporter->reports, rows, count, wanted);
        struct tls_tally_row **some = mem_array(count, sizeof *some);
        for (size_t i = 0; i < count; i++)
            if (wanted[i])
                some[kept++] = rows[i];
        good = kept == 0 || tls_counts_add(&reporter->reports.admin, some, kept, err);
        free(some);
    }
    for (size_t i = 0; i < count; i++) {
        if (!good)
            tls_tally_add(tally, rows[i]);
        free(rows[i]);
    }
    free(rows);
    free(wanted);
    return good;
}

static bool send_due_day(struct reporter *reporter, int64_t day, struct err *err)
{
    const struct log *log = reporter->options.log;
    unsigned sent, failed;
    if (!reports_send(&reporter->reports, day, &sent, &failed, err))
        return false;
    if (sent > 0 || failed > 0)
        log_info(log, "tls-reports", "of day %lld: %u sent, %u to be tried again", (long long)day,
                 sent, failed);
    return true;
}

static bool send_due(struct reporter *reporter, struct err *err)
{
    struct admin *admin = &reporter->reports.admin;
    int64_t now = (int64_t)time(NULL), today = reports_today(), due[16];
    if (now - reporter->looked_s < LOOK_S || now % 86400 < reporter->spread_s)
        return true;
    reporter->looked_s = now;
    if (!connect_redis(reporter, err))
        return false;
    admin = &reporter->reports.admin;
    const struct redis_value *days = tls_counts_days(admin, err);
    size_t count = 0;
    bool mine = false;
    if (!days)
        return false;
    for (size_t i = 0; i < days->count && count < ARRAY_LEN(due); i++) {
        int64_t day = admin_int(admin_item(days, i));
        if (day < today && day >= today - TRIED_DAYS)
            due[count++] = day;
    }
    admin_reset(admin);
    if (count == 0)
        return true;
    if (!tls_counts_lock(admin, reporter->options.node, &mine, err))
        return false;
    bool good = true;
    for (size_t i = 0; mine && good && i < count; i++)
        good = send_due_day(reporter, due[i], err);
    return good && (!mine || tls_counts_unlock(admin, err));
}

static bool wait_for_turn(struct reporter *reporter)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FLUSH_S;
    pthread_mutex_lock(&reporter->mutex);
    if (!reporter->stopping)
        pthread_cond_timedwait(&reporter->changed, &reporter->mutex, &until);
    bool stopping = reporter->stopping;
    pthread_mutex_unlock(&reporter->mutex);
    return !stopping;
}

static void *thread_main(void *user)
{
    struct reporter *reporter = user;
    pthread_setname_np(pthread_self(), "tls-reports");
    bool going = true;
    while (going) {
        struct err err;
        going = wait_for_turn(reporter);
        if (flush(reporter, &err) && (!going || send_due(reporter, &err)))
            continue;
        log_warn(reporter->options.log, "tls-reports", "%s", err.text);
        disconnect(reporter);
    }
    disconnect(reporter);
    return NULL;
}

bool reporter_start(struct reporter **out, const struct reporter_options *options, struct err *err)
{
    struct reporter *reporter = mem_zalloc(sizeof *reporter);
    reporter->options = *options;
    reporter->spread_s = (int64_t)(rng_system_seed() % SPREAD_S);
    pthread_mutex_init(&reporter->mutex, NULL);
    pthread_cond_init(&reporter->changed, NULL);
    int error = pthread_create(&reporter->thread, NULL, thread_main, reporter);
    if (error) {
        free(reporter);
        return err_system(err, error, "can't start a thread");
    }
    *out = reporter;
    return true;
}

void reporter_stop(struct reporter **out)
{
    struct reporter *reporter = *out;
    if (!reporter)
        return;
    pthread_mutex_lock(&reporter->mutex);
    reporter->stopping = true;
    pthread_cond_signal(&reporter->changed);
    pthread_mutex_unlock(&reporter->mutex);
    pthread_join(reporter->thread, NULL);
    pthread_mutex_destroy(&reporter->mutex);
    pthread_cond_destroy(&reporter->changed);
    free(reporter);
    *out = NULL;
}

/* Random steps through the scripts against a model: after each, all of Redis' state must be the
 * model's. A run is repeated with the seed that it prints: EILPOST_TEST_SEED=…, and is as long as
 * EILPOST_TEST_STEPS says. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/rng.h"
#include "queue/keys.h"
#include "queue/record.h"
#include "queue/scripts.h"
#include "tests/support/check_main.h"
#include "tests/support/redis.h"

enum { DESTINATIONS = 4, JOBS = 400, STEPS = 20000, ARGS_MAX = 512, NEVER = 1000000000 };

enum job_state { JOB_NONE, JOB_QUEUED, JOB_LEASED, JOB_RETRYING, JOB_ENDED };

struct model_job {
    enum job_state state;
    unsigned destination, attempts;
    unsigned long long epoch; /* leased under */
    bool due;                 /* retrying: time has come */
};

enum total {
    ACCEPTED,
    DELIVERED,
    BOUNCED,
    EXPIRED,
    SUPPRESSED,
    CANCELLED,
    DEFERRED,
    UNKNOWN,
    TOTALS
};
static const char *const total_names[TOTALS] = { "accepted",   "delivered", "bounced",  "expired",
                                                 "suppressed", "cancelled", "deferred", "unknown" };

struct model {
    struct model_job jobs[JOBS];
    unsigned queue[DESTINATIONS][JOBS], queued[DESTINATIONS]; /* job numbers, head first */
    bool ready[DESTINATIONS];                                 /* a member of the ready set … */
    bool due[DESTINATIONS];                                   /* … and offered now */
    unsigned next_job, entries, parts_of_last;
    unsigned long long totals[TOTALS], events;
    unsigned long long epoch, stale_epoch;
};

struct run {
    struct test_redis redis;
    redisContext *context;
    char sha[SCRIPT_COUNT][41];
    struct model model;
    struct rng rng;
    struct buf text;
    /* arguments of the call at hand */
    const char *argv[ARGS_MAX];
    size_t lens[ARGS_MAX];
    int argc;
    struct buf bytes; /* what they point into, by offset until the call */
    size_t offsets[ARGS_MAX];
};

static unsigned pick(struct run *run, unsigned n)
{
    return (unsigned)rng_below(&run->rng, n);
}

/* ---- calls ---- */

static void arg(struct run *run, const char *format, ...) PRINTF_LIKE(2, 3);

static void arg_bytes(struct run *run, struct slice bytes)
{
    ck_assert_int_lt(run->argc, ARGS_MAX);
    run->offsets[run->argc] = run->bytes.len;
    run->lens[run->argc++] = bytes.len;
    buf_append(&run->bytes, bytes);
}

static void arg(struct run *run, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    arg_bytes(run, slice_of(text, (size_t)n));
}

static void begin(struct run *run, enum script script, unsigned keys)
{
    run->argc = 0;
    buf_clear(&run->bytes);
    arg(run, "EVALSHA");
    arg(run, "%s", run->sha[script]);
    arg(run, "%u", keys);
}

static redisReply *call(struct run *run)
{
    for (int i = 0; i < run->argc; i++)
        run->argv[i] = run->bytes.data + run->bytes.start + run->offsets[i];
    redisReply *reply = redisCommandArgv(run->context, run->argc, run->argv, run->lens);
    ck_assert_ptr_nonnull(reply);
    ck_assert_msg(reply->type != REDIS_REPLY_ERROR, "%s", reply->str);
    return reply;
}

static void record_of(const struct run *run, unsigned job, struct buf *out)
{
    char id[32], recipient[32];
    snprintf(id, sizeof id, "s-%04u", job);
    snprintf(recipient, sizeof recipient, "u%u@d%u", job, run->model.jobs[job].destination);
    struct record record = { .id = slice_str(id),
                             .recipient = slice_str(recipient),
                             .attempts = run->model.jobs[job].attempts };
    ck_assert(record_write(out, &record));
}

static unsigned job_of(struct slice record)
{
    uint64_t n;
    struct slice id = slice_cut(&record, '\t');
    slice_cut(&id, '-');
    ck_assert(slice_to_u64(id, &n) && n < JOBS);
    return (unsigned)n;
}

/* ---- the model's moves ---- */

static void ready_add(struct model *model, unsigned d)
{
    if (!model->ready[d])
        model->ready[d] = model->due[d] = true;
}

static void push_front(struct model *model, unsigned job)
{
    unsigned d = model->jobs[job].destination;
    memmove(&model->queue[d][1], &model->queue[d][0],
            model->queued[d]++ * sizeof model->queue[d][0]);
    model->queue[d][0] = job;
    model->jobs[job].state = JOB_QUEUED;
    ready_add(model, d);
}

static unsigned model_take(struct model *model, unsigned d, unsigned n, bool due_again)
{
    n = MIN_OF(n, model->queued[d]);
    for (unsigned i = 0; i < n; i++) {
        struct model_job *job = &model->jobs[model->queue[d][i]];
        job->state = JOB_LEASED;
        job->epoch = model->epoch;
    }
    model->queued[d] -= n;
    memmove(&model->queue[d][0], &model->queue[d][n], model->queued[d] * sizeof model->queue[d][0]);
    model->ready[d] = model->queued[d] > 0;
    model->due[d] = due_again;
    return n;
}

static void model_promote(struct model *model)
{
    /* Equally due ones come back in the order of their ids. */
    for (unsigned job = JOBS; job-- > 0;)
        if (model->jobs[job].state == JOB_RETRYING && model->jobs[job].due)
            push_front(model, job);
}

/* ---- steps ---- */

static void step_acquire(struct run *run)
{
    struct model *model = &run->model;
    begin(run, SCRIPT_ACQUIRE, 3);
    arg(run, "e:{0}:e");
    arg(run, "e:{0}:o");
    arg(run, "e:{0}:h");
    arg(run, "n1");
    arg(run, "n1/0/x");
    arg(run, "%d", NEVER);
    redisReply *reply = call(run);
    ck_assert_int_eq(reply->elements, 3);
    unsigned long long epoch = strtoull(reply->element[1]->str, NULL, 10);
    ck_assert_uint_gt(epoch, model->epoch);
    if (model->epoch)
        ck_assert_uint_lt(strtoull(reply->element[2]->str, NULL, 10),
                          epoch); /* the same holder: an unbroken tenure */
    model->stale_epoch = model->epoch;
    model->epoch = epoch;
    freeReplyObject(reply);
}

static void step_enqueue(struct run *run)
{
    struct model *model = &run->model;
    unsigned n = 1 + pick(run, 5), d = pick(run, DESTINATIONS);
    bool again = model->entries > 0 && pick(run, 4) == 0; /* the last one once more */
    if (model->next_job + n > JOBS)
        return;
    begin(run, SCRIPT_ENQUEUE, 2);
    arg(run, "e:{0}:m:%u", again ? model->entries : model->entries + 1);
    arg(run, "e:{0}:n");
    arg(run, "0");
    arg(run, "1000");
    arg(run, "s");
    arg(run, "1000");
    arg(run, "0");
    arg(run, "d%u", d);
    arg(run, "%u", n);
    for (unsigned i = 0; i < n; i++) {
        struct buf record = BUF_EMPTY;
        model->jobs[model->next_job + i].destination = d;
        model->jobs[model->next_job + i].attempts = 0;
        record_of(run, model->next_job + i, &record);
        arg_bytes(run, buf_slice(&record));
        buf_free(&record);
    }
    redisReply *reply = call(run);
    ck_assert_str_eq(reply->str, again ? "SEEN" : "OK");
    freeReplyObject(reply);
    if (again)
        return;
    model->entries++;
    model->totals[ACCEPTED] += n;
    if (model->queued[d] == 0)
        ready_add(model, d);
    for (unsigned i = 0; i < n; i++) {
        model->queue[d][model->queued[d]++] = model->next_job;
        model->jobs[model->next_job++].state = JOB_QUEUED;
    }
}

/* What the reply says was taken must be what the model takes. */
static void lease_check(struct run *run, const redisReply *reply, size_t *at, unsigned d,
                        unsigned n)
{
    struct model *model = &run->model;
    unsigned taken = MIN_OF(n, model->queued[d]);
    char name[8];
    snprintf(name, sizeof name, "d%u", d);
    ck_assert_str_eq(reply->element[*at]->str, name);
    ck_assert_int_eq(reply->element[*at + 1]->integer, model->queued[d] - taken);
    ck_assert_int_eq(reply->element[*at + 2]->integer, taken);
    for (unsigned i = 0; i < taken; i++) {
        const redisReply *record = reply->element[*at + 3 + i];
        ck_assert_uint_eq(job_of(slice_of(record->str, record->len)), model->queue[d][i]);
    }
    *at += 3 + taken;
}

static void step_lease(struct run *run)
{
    struct model *model = &run->model;
    bool stale = pick(run, 10) == 0 && model->stale_epoch;
    unsigned discover = pick(run, 2) ? 1000 : 0, each = 1 + pick(run, 4);
    bool visit_over = pick(run, 2); /* offered again at once, or never */
    unsigned d = pick(run, DESTINATIONS), n = pick(run, 5), parked = pick(run, DESTINATIONS);
    bool named = pick(run, 2), park = pick(run, 6) == 0, unpark = pick(run, 2);
    begin(run, SCRIPT_LEASE, 1);
    arg(run, "e:{0}:e");
    arg(run, "%llu", stale ? model->stale_epoch : model->epoch);
    arg(run, "n1");
    arg(run, "1000");
    arg(run, "1000");
    arg(run, "%u", discover);
    arg(run, "%u", each);
    arg(run, "%d", visit_over ? 0 : NEVER);
    arg(run, "%d", named);
    if (named) {
        arg(run, "d%u", d);
        arg(run, "%u", n);
        arg(run, "%d", visit_over ? 0 : NEVER);
    }
    if (park) {
        arg(run, "d%u", parked);
        arg(run, unpark ? "1" : "9000000000000");
    }
    redisReply *reply = call(run);
    if (stale) {
        ck_assert_str_eq(reply->str, "STALE");
        freeReplyObject(reply);
        return;
    }
    size_t at = 1;
    model_promote(model);
    if (park) {
        model->ready[parked] = true;
        model->due[parked] = unpark;
    }
    if (named && n == 0) {
        model->ready[d] = true;
        model->due[d] = visit_over;
    } else if (named) {
        lease_check(run, reply, &at, d, n);
        model_take(model, d, n, visit_over);
    }
    /* Which due destination comes first depends on its score: take them as they come. */
    bool due[DESTINATIONS];
    memcpy(due, model->due, sizeof due);
    for (unsigned i = 0; i < DESTINATIONS; i++)
        due[i] = due[i] && model->ready[i] && discover;
    while (at < reply->elements) {
        unsigned found = (unsigned)(reply->element[at]->str[1] - '0');
        ck_assert_msg(found < DESTINATIONS && due[found], "d%u wasn't due", found);
        due[found] = false;
        lease_check(run, reply, &at, found, each);
        model_take(model, found, each, visit_over);
    }
    for (unsigned i = 0; i < DESTINATIONS; i++)
        ck_assert_msg(!due[i], "d%u was due and not offered", i);
    freeReplyObject(reply);
}

static void model_ack(struct model *model, unsigned job, unsigned kind, bool unknown, bool due)
{
    struct model_job *it = &model->jobs[job];
    if (it->state != JOB_LEASED)
        return;
    if (kind == 5) { /* retry */
        it->state = JOB_RETRYING;
        it->due = due;
        it->attempts++;
        model->totals[DEFERRED]++;
    } else if (kind == 6) {
        push_front(model, job);
        return;
    } else {
        it->state = JOB_ENDED;
        model->totals[DELIVERED + kind]++;
    }
    model->totals[UNKNOWN] += unknown;
    model->events++;
}

/* Outcomes for some jobs, leased or not, some twice. */
static void step_ack(struct run *run)
{
    static const char *const kinds[] = { "delivered", "bounced", "expired", "suppressed",
                                         "cancelled", "retry",   "release" };
    struct model *model = &run->model;
    if (model->next_job == 0)
        return;
    bool stale = pick(run, 10) == 0 && model->stale_epoch;
    begin(run, SCRIPT_ACK, 1);
    arg(run, "e:{0}:e");
    arg(run, "%llu", stale ? model->stale_epoch : model->epoch);
    arg(run, "1000000");
    arg(run, "1000");
    for (unsigned i = 0, n = 1 + pick(run, 8); i < n; i++) {
        /* Mostly leased ones. */
        unsigned job = pick(run, model->next_job);
        for (unsigned tries = 0; tries < 20 && model->jobs[job].state != JOB_LEASED; tries++)
            job = pick(run, model->next_job);
        unsigned kind = pick(run, 7);
        bool unknown = kind < 6 && pick(run, 5) == 0, due = pick(run, 2);
        struct buf record = BUF_EMPTY;
        if (kind == 5 && model->jobs[job].state == JOB_LEASED) {
            model->jobs[job].attempts++;
            record_of(run, job, &record);
            model->jobs[job].attempts--;
        }
        arg(run, "s-%04u", job);
        arg(run, "s");
        arg(run, "%s", kinds[kind]);
        arg(run, unknown ? "1" : "0");
        arg(run, due ? "1" : "9000000000000");
        arg_bytes(run, buf_slice(&record));
        arg(run, kind == 6 ? "%s" : "{%s}", kind == 6 ? "" : kinds[kind]);
        buf_free(&record);
        if (!stale)
            model_ack(model, job, kind, unknown, due);
    }
    redisReply *reply = call(run);
    if (stale)
        ck_assert_str_eq(reply->str, "STALE");
    freeReplyObject(reply);
}

/* Time passes: what waited for it is due. */
static void step_time(struct run *run)
{
    struct model *model = &run->model;
    const char *text = "for _, m in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do "
                       "redis.call('ZADD', KEYS[1], 1, m) end "
                       "for _, m in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do "
                       "redis.call('ZADD', KEYS[2], 1, m) end";
    freeReplyObject(redisCommand(run->context, "EVAL %s 2 e:{0}:t e:{0}:r:b", text));
    for (unsigned job = 0; job < JOBS; job++)
        model->jobs[job].due = true;
    for (unsigned d = 0; d < DESTINATIONS; d++)
        model->due[d] = true;
}

/* ---- the comparison ---- */

static const char dump_script[] =
    "local out = {} "
    "for d = 0, 3 do local ids = {} "
    "for i, r in ipairs(redis.call('LRANGE', 'e:{0}:q:b:d' .. d, 0, -1)) do ids[i] = "
    "string.match(r, '^s%-(%d+)') end "
    "out[#out + 1] = 'q' .. d .. ':' .. table.concat(ids, ',') end "
    "local ids = {} local h = redis.call('HGETALL', 'e:{0}:i') "
    "for i = 1, #h, 2 do ids[#ids + 1] = string.format('%04d', string.sub(h[i], 3)) .. '@' .. "
    "string.match(h[i + 1], '^(%d+) ') .. string.match(h[i + 1], ' (d%d)\\t') end "
    "table.sort(ids) out[#out + 1] = 'i:' .. table.concat(ids, ',') "
    "ids = {} for i, m in ipairs(redis.call('ZRANGE', 'e:{0}:t', 0, -1)) do "
    "ids[i] = string.format('%04d', string.match(m, '\\ts%-(%d+)')) .. string.match(m, '^d%d') end "
    "table.sort(ids) out[#out + 1] = 't:' .. table.concat(ids, ',') "
    "ids = redis.call('ZRANGE', 'e:{0}:r:b', 0, -1) table.sort(ids) "
    "out[#out + 1] = 'r:' .. table.concat(ids, ',') "
    "for _, k in ipairs({ 'n', 'c:s' }) do "
    "for _, f in ipairs({ 'accepted', 'delivered', 'bounced', 'expired', 'suppressed', "
    "'cancelled', 'deferred', 'unknown' }) do "
    "out[#out + 1] = f .. '=' .. (redis.call('HGET', 'e:{0}:' .. k, f) or '0') end end "
    "out[#out + 1] = 'ev=' .. redis.call('XLEN', 'e:{0}:ev') "
    "return table.concat(out, '\\n')";

static void model_dump(const struct model *model, struct buf *out)
{
    for (unsigned d = 0; d < DESTINATIONS; d++) {
        buf_printf(out, "q%u:", d);
        for (unsigned i = 0; i < model->queued[d]; i++)
            buf_printf(out, "%s%04u", i ? "," : "", model->queue[d][i]);
        buf_append_char(out, '\n');
    }
    buf_printf(out, "i:");
    const char *comma = "";
    for (unsigned job = 0; job < JOBS; job++) {
        if (model->jobs[job].state != JOB_LEASED)
            continue;
        buf_printf(out, "%s%04u@%llud%u", comma, job, model->jobs[job].epoch,
                   model->jobs[job].destination);
        comma = ",";
    }
    buf_printf(out, "\nt:");
    comma = "";
    for (unsigned job = 0; job < JOBS; job++) {
        if (model->jobs[job].state != JOB_RETRYING)
            continue;
        buf_printf(out, "%s%04ud%u", comma, job, model->jobs[job].destination);
        comma = ",";
    }
    buf_printf(out, "\nr:");
    comma = "";
    for (unsigned d = 0; d < DESTINATIONS; d++) {
        if (!model->ready[d])
            continue;
        buf_printf(out, "%sd%u", comma, d);
        comma = ",";
    }
    buf_append_char(out, '\n');
    for (unsigned twice = 0; twice < 2; twice++)
        for (unsigned i = 0; i < TOTALS; i++)
            buf_printf(out, "%s=%llu\n", total_names[i], model->totals[i]);
    buf_printf(out, "ev=%llu", model->events);
}

static void compare(struct run *run, unsigned step, const char *name)
{
    redisReply *reply = redisCommand(run->context, "EVAL %s 0", dump_script);
    ck_assert_ptr_nonnull(reply);
    buf_clear(&run->text);
    model_dump(&run->model, &run->text);
    ck_assert_msg(reply->type == REDIS_REPLY_STRING &&
                      strcmp(reply->str, buf_cstr(&run->text)) == 0,
                  "after step %u (%s)\n--- Redis\n%s\n--- model\n%s", step, name, reply->str,
                  buf_cstr(&run->text));
    freeReplyObject(reply);
}

/* All jobs are used up: start over with an empty queue. Before that nothing may be lost. */
static void round_end(struct run *run)
{
    struct model *model = &run->model;
    unsigned long long open = 0, ended = 0;
    for (unsigned job = 0; job < model->next_job; job++)
        open += model->jobs[job].state != JOB_ENDED;
    for (unsigned i = DELIVERED; i <= CANCELLED; i++)
        ended += model->totals[i];
    ck_assert_uint_eq(model->totals[ACCEPTED], ended + open);
    freeReplyObject(redisCommand(run->context, "FLUSHDB"));
    unsigned long long epoch = model->epoch;
    memset(model, 0, sizeof *model);
    model->epoch = 0;
    step_acquire(run);
    ck_assert_uint_gt(model->epoch, epoch); /* even though Redis forgot everything */
}

START_TEST(random_steps_through_the_scripts_agree_with_a_model)
{
    static const struct {
        const char *name;
        void (*step)(struct run *run);
        unsigned weight;
    } steps[] = {
        { "acquire", step_acquire, 2 }, { "enqueue", step_enqueue, 12 },
        { "lease", step_lease, 40 },    { "ack", step_ack, 40 },
        { "time", step_time, 6 },
    };
    struct run *run = calloc(1, sizeof *run);
    const char *seed_text = getenv("EILPOST_TEST_SEED"), *steps_text = getenv("EILPOST_TEST_STEPS");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : rng_system_seed() % 1000000000;
    unsigned count = steps_text ? (unsigned)strtoul(steps_text, NULL, 10) : STEPS;
    printf("EILPOST_TEST_SEED=%llu EILPOST_TEST_STEPS=%u\n", (unsigned long long)seed, count);
    fflush(stdout);
    rng_seed(&run->rng, seed);
    test_redis_start(&run->redis, NULL);
    run->context = redisConnectUnix(run->redis.socket);
    for (unsigned i = 0; i < SCRIPT_COUNT; i++) {
        redisReply *reply = redisCommand(run->context, "SCRIPT LOAD %b", script_sources[i].text.ptr,
                                         script_sources[i].text.len);
        ck_assert_msg(reply->type == REDIS_REPLY_STRING, "%s: %s", script_sources[i].name,
                      reply->str);
        snprintf(run->sha[i], sizeof run->sha[i], "%s", reply->str);
        freeReplyObject(reply);
    }
    step_acquire(run);
    for (unsigned i = 0; i < count; i++) {
        unsigned at = pick(run, 100), which = 0;
        while (at >= steps[which].weight)
            at -= steps[which++].weight;
        steps[which].step(run);
        compare(run, i, steps[which].name);
        if (run->model.next_job > JOBS - 6 && pick(run, 200) == 0)
            round_end(run);
    }
    redisFree(run->context);
    test_redis_stop(&run->redis);
    buf_free(&run->text);
    buf_free(&run->bytes);
    free(run);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("model", random_steps_through_the_scripts_agree_with_a_model));
}

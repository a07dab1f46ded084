// module: queue
/* Any text is a submission or has a problem that says so; each recipient of one makes a record that
 * parses, or has a problem, too. */
#include <stdlib.h>

#include "queue/ingest_batch.h"
#include "queue/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool destination(void *user, struct slice address, char out[256], size_t *len,
                        struct err *err)
{
    (void)user;
    ptrdiff_t at = slice_find(address, '@');
    if (at < 0 || address.len - (size_t)at - 1 > 255 || (size_t)at + 1 == address.len)
        return err_set(err, ERR_INPUT, "no address");
    *len = address.len - (size_t)at - 1;
    memcpy(out, address.ptr + at + 1, *len);
    return true;
}

static void rejected(void *user, const struct ingest_work *work,
                     const struct submission_problem *problem, const json_t *original)
{
    (void)work;
    assert(problem->reason[0] && problem->path[0] && original);
    ++*(uint64_t *)user;
}

static void part_check(const struct ingest_part *part)
{
    static struct slice values[QUEUE_RECORD_VALUES_MAX];
    unsigned jobs = 0;
    for (unsigned i = 0; i < part->arg_count;) {
        uint64_t n;
        bool keyed = slice_eq(part->args[i + 2], SLICE("1"));
        bool ok = slice_to_u64(part->args[i + 1], &n) && n > 0 &&
                  queue_partition_of(part->args[i], 4) == part->partition;
        assert(ok);
        i += 3;
        for (; n > 0; n--, i++, jobs++) {
            i += keyed;
            struct record record;
            struct err err;
            ok = record_parse(part->args[i], &record, values, QUEUE_RECORD_VALUES_MAX, &err);
            assert(ok);
        }
    }
    assert(jobs == part->jobs && jobs <= PART_COST_MAX);
}

/* What is stored says what was submitted. */
static void object_check(const struct submission_terms *terms)
{
    struct buf object = BUF_EMPTY;
    struct submission_stored stored;
    struct err err;
    submission_object(SLICE("1700000000000-0"), terms, SLICE("{}"), &object);
    bool ok = submission_stored_parse(&stored, buf_slice(&object), &err);
    assert(ok && stored.terms.class == terms->class &&
           stored.terms.expires_ms == terms->expires_ms &&
           stored.terms.interval_count == terms->interval_count &&
           slice_eq(stored.terms.tenant, terms->tenant) &&
           slice_eq(stored.terms.from, terms->from));
    submission_stored_free(&stored);
    buf_free(&object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ingest_work work = { .entry = SLICE("1700000000000-0") };
    work.terms = &work.submission.terms;
    struct submission_problem problem = { 0 };
    /* What doesn't look like JSON is taken for msgpack. */
    bool json = size > 0 && (data[0] == '{' || data[0] == '[' || data[0] <= ' ');
    bool ok = json ? submission_parse(&work.submission, slice_of(data, size), &problem)
                   : submission_parse_msgpack(&work.submission, slice_of(data, size), &problem);
    if (!ok) {
        assert(problem.reason[0]);
        return 0;
    }
    ok = ingest_submission_id(work.entry, work.id, &work.accepted_ms);
    assert(ok);
    if (!work.submission.chunk) {
        if (submission_schedule(&work.submission, work.accepted_ms, 345600, &problem))
            object_check(&work.submission.terms);
        else
            assert(problem.reason[0] && problem.path[0]);
    }
    const struct slice fields[] = { SLICE("name"), SLICE("a"), SLICE("") };
    const struct ingest_schema schema = { .fields = fields, .count = 3 };
    const struct ingest_callbacks callbacks = { .destination = destination };
    uint64_t count = 0, jobs = 0;
    struct arena arena = { 0 };
    struct buf records = BUF_EMPTY;
    ingest_work_encode(&work, &schema, 4, &callbacks, NULL,
                       &(struct ingest_reject){ rejected, &count }, &arena, &records);
    for (unsigned i = 0; i < work.part_count; i++) {
        part_check(&work.parts[i]);
        jobs += work.parts[i].jobs;
    }
    assert(count == work.rejected && jobs == work.jobs &&
           jobs + count == json_array_size(work.submission.recipients));
    submission_free(&work.submission);
    arena_free(&arena);
    buf_free(&records);
    return 0;
}

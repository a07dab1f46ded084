#include "queue/ingest_batch.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/record.h"

bool ingest_submission_id(struct slice entry, char out[QUEUE_SUBMISSION_BYTES_MAX + 1], int64_t *ms)
{
    struct slice sequence = entry;
    struct slice time = slice_cut(&sequence, '-');
    uint64_t time_number, sequence_number;
    if (!slice_to_u64(time, &time_number) || !slice_to_u64(sequence, &sequence_number) ||
        time_number > INT64_MAX / 2)
        return false;
    /* The time has 8 digits until the year 2059 and 9 until 5188, so the two can't run into each
     * other in practice. */
    char digits[13];
    size_t n = 0;
    out[n++] = 's';
    size_t len = queue_base36(time_number, digits);
    memcpy(out + n, digits, len);
    n += len;
    len = queue_base36(sequence_number, digits);
    if (n + len > QUEUE_SUBMISSION_BYTES_MAX)
        return false;
    memcpy(out + n, digits, len);
    out[n + len] = '\0';
    *ms = (int64_t)time_number;
    return true;
}

struct ingest_job {
    unsigned partition;
    uint32_t index;
    struct slice destination, key;
    size_t record_at, record_len;
};

static int job_compare(const void *a, const void *b)
{
    const struct ingest_job *x = a, *y = b;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    int order = memcmp(x->destination.ptr, y->destination.ptr,
                       MIN_OF(x->destination.len, y->destination.len));
    if (order == 0 && x->destination.len != y->destination.len)
        order = x->destination.len < y->destination.len ? -1 : 1;
    return order != 0 ? order : x->index < y->index ? -1 : x->index > y->index;
}

/* Reads all recipients; returns the jobs, sorted. */
static struct ingest_job *jobs_read(struct ingest_work *work, const struct ingest_schema *schema,
                                    unsigned partitions, const struct ingest_callbacks *callbacks,
                                    void *user, const struct ingest_reject *reject,
                                    struct arena *arena, struct buf *records)
{
    size_t recipients = json_array_size(work->submission.recipients);
    struct ingest_job *jobs = arena_alloc(arena, (recipients + 1) * sizeof *jobs);
    work->jobs = work->rejected = 0;
    for (size_t i = 0; i < recipients; i++) {
        struct submission_problem problem;
        struct slice address;
        char destination[256], id[QUEUE_ID_BYTES_MAX];
        size_t destination_len = 0;
        struct err err;
        struct ingest_job *job = &jobs[work->jobs];
        bool ok = submission_recipient_address(&work->submission, i, &address, &job->key, &problem);
        if (ok && !callbacks->destination(user, address, destination, &destination_len, &err)) {
            snprintf(problem.reason, sizeof problem.reason, "%.255s", err.text);
            snprintf(problem.path, sizeof problem.path, "recipients[%zu].to", i);
            ok = false;
        }
        size_t id_len = queue_job_id(slice_str(work->id), work->submission.first + i, id);
        job->record_at = records->len;
        ok = ok && submission_recipient_record(&work->submission, i, slice_of(id, id_len), work->terms->flags,
                                               schema->fields, schema->count, records, &problem);
        if (!ok) {
            work->rejected++;
            reject->rejected(reject->user, work, &problem,
                             json_array_get(work->submission.recipients, i));
            continue;
        }
        job->record_len = records->len - job->record_at;
        job->index = (uint32_t)i;
        job->destination = arena_copy(arena, slice_of(destination, destination_len));
        job->partition = queue_partition_of(job->destination, partitions);
        work->jobs++;
    }
    qsort(jobs, work->jobs, sizeof *jobs, job_compare);
    return jobs;
}

static struct slice number_text(struct arena *arena, unsigned n)
{
    char digits[12];
    int len = snprintf(digits, sizeof digits, "%u", n);
    return arena_copy(arena, slice_of(digits, (size_t)len));
}

static void args_add(struct ingest_part *part, struct slice arg)
{
    part->args[part->arg_count++] = arg;
}

/* Fills one part from jobs[0 … n), all of one partition. */
static void part_fill(struct ingest_part *part, const struct ingest_job *jobs, size_t n,
                      struct slice records, struct arena *arena)
{
    part->jobs = (unsigned)n;
    part->args = arena_alloc(arena, (5 * n + 1) * sizeof *part->args);
    for (size_t i = 0; i < n;) {
        size_t same = i;
        bool keyed = false;
        for (; same < n && slice_eq(jobs[same].destination, jobs[i].destination); same++)
            keyed = keyed || jobs[same].key.len > 0;
        args_add(part, jobs[i].destination);
        args_add(part, number_text(arena, (unsigned)(same - i)));
        args_add(part, keyed ? SLICE("1") : SLICE("0"));
        for (; i < same; i++) {
            if (keyed)
                args_add(part, jobs[i].key);
            args_add(part, slice_head(slice_skip(records, jobs[i].record_at), jobs[i].record_len));
        }
    }
}

/* Where the part that begins with `first` ends: a matter of the entry alone, so that one that is
 * taken in again after a crash has the same parts. */
static size_t part_end(const struct ingest_job *jobs, size_t count, size_t first)
{
    unsigned cost = 0;
    size_t end = first;
    for (; end < count && jobs[end].partition == jobs[first].partition; end++) {
        bool another = end == first || !slice_eq(jobs[end].destination, jobs[end - 1].destination);
        cost += another ? 1 + PART_DESTINATION_COST : 1;
        if (cost > PART_COST_MAX)
            break;
    }
    return end;
}

void ingest_work_encode(struct ingest_work *work, const struct ingest_schema *schema,
                        unsigned partitions, const struct ingest_callbacks *callbacks, void *user,
                        const struct ingest_reject *reject, struct arena *arena,
                        struct buf *records)
{
    buf_clear(records);
    struct ingest_job *jobs =
        jobs_read(work, schema, partitions, callbacks, user, reject, arena, records);
    struct slice bytes = arena_copy(arena, buf_slice(records));
    /* At most one part not full per partition. */
    size_t room = work->jobs * (1 + PART_DESTINATION_COST) / (PART_COST_MAX / 2) +
                  MIN_OF(work->jobs, (uint64_t)partitions) + 1;
    work->parts = arena_alloc(arena, room * sizeof *work->parts);
    work->part_count = 0;
    unsigned number = 0;
    for (size_t i = 0; i < work->jobs;) {
        size_t end = part_end(jobs, work->jobs, i);
        number = i > 0 && jobs[i - 1].partition == jobs[i].partition ? number + 1 : 0;
        struct ingest_part *part = &work->parts[work->part_count++];
        *part = (struct ingest_part){ .partition = jobs[i].partition, .number = number };
        part_fill(part, jobs + i, end - i, bytes, arena);
        i = end;
    }
    if (work->rejected == 0)
        return;
    if (work->part_count == 0) { /* somebody must count them */
        unsigned partition = queue_partition_of(slice_str(work->id), partitions);
        work->parts[work->part_count++] = (struct ingest_part){ .partition = partition };
    }
    work->parts[0].rejected = work->rejected;
}

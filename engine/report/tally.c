#include "engine/report/tally.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/map.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#define ROWS_MAX 200000

struct tls_tally {
    pthread_mutex_t mutex;
    struct map rows;
};

/* A row with its key behind it: day, domain, policy and failure, a line each. */
struct counted {
    struct tls_tally_row row; /* first: it's what is handed out */
    size_t len;
    char key[];
};

struct tls_tally *tls_tally_create(void)
{
    struct tls_tally *tally = mem_zalloc(sizeof *tally);
    pthread_mutex_init(&tally->mutex, NULL);
    map_init(&tally->rows, rng_system_seed());
    return tally;
}

void tls_tally_destroy(struct tls_tally **out)
{
    struct tls_tally *tally = *out;
    if (!tally)
        return;
    size_t count;
    struct tls_tally_row **rows = tls_tally_take(tally, &count);
    for (size_t i = 0; i < count; i++)
        free(rows[i]);
    free(rows);
    map_free(&tally->rows);
    pthread_mutex_destroy(&tally->mutex);
    free(tally);
    *out = NULL;
}

static struct slice place(char **at, struct slice text)
{
    char *begin = *at;
    if (text.len > 0)
        memcpy(begin, text.ptr, text.len);
    begin[text.len] = '\n';
    *at += text.len + 1;
    return slice_of(begin, text.len);
}

static struct counted *counted_create(const struct tls_tally_row *row)
{
    char day[24];
    struct slice number =
        slice_of(day, (size_t)snprintf(day, sizeof day, "%lld", (long long)row->day));
    size_t len = number.len + row->domain.len + row->policy.len + row->failure.len + 4;
    struct counted *counted = mem_alloc(sizeof *counted + len);
    char *at = counted->key;
    counted->len = len;
    counted->row.day = row->day;
    counted->row.count = row->count;
    place(&at, number);
    counted->row.domain = place(&at, row->domain);
    counted->row.policy = place(&at, row->policy);
    counted->row.failure = place(&at, row->failure);
    return counted;
}

void tls_tally_add(struct tls_tally *tally, const struct tls_tally_row *row)
{
    struct counted *fresh = counted_create(row);
    struct slice key = slice_of(fresh->key, fresh->len);
    pthread_mutex_lock(&tally->mutex);
    struct counted *known = map_get(&tally->rows, key);
    if (known) {
        known->row.count += row->count;
    } else if (tally->rows.count < ROWS_MAX) {
        map_put(&tally->rows, key, fresh);
        fresh = NULL;
    }
    pthread_mutex_unlock(&tally->mutex);
    free(fresh);
}

static int compare(const void *a, const void *b)
{
    const struct tls_tally_row *x = *(struct tls_tally_row *const *)a,
                               *y = *(struct tls_tally_row *const *)b;
    if (x->day != y->day)
        return x->day < y->day ? -1 : 1;
    int order = memcmp(x->domain.ptr, y->domain.ptr, MIN_OF(x->domain.len, y->domain.len));
    return order ? order : (x->domain.len > y->domain.len) - (x->domain.len < y->domain.len);
}

struct tls_tally_row **tls_tally_take(struct tls_tally *tally, size_t *count)
{
    struct tls_tally_row **rows = NULL;
    size_t cursor = 0;
    struct map_entry *entry;
    pthread_mutex_lock(&tally->mutex);
    struct map taken = tally->rows;
    map_init(&tally->rows, taken.seed);
    pthread_mutex_unlock(&tally->mutex);
    *count = 0;
    if (taken.count > 0)
        rows = mem_array(taken.count, sizeof *rows);
    while ((entry = map_next(&taken, &cursor)))
        rows[(*count)++] = &((struct counted *)entry->value)->row;
    map_free(&taken);
    if (rows)
        qsort(rows, *count, sizeof *rows, compare);
    return rows;
}

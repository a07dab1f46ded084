#pragma once
/* An ingest with callbacks that know a little: content {"fields": ["a", …]} names its fields, an
 * address is TEXT@TEXT. */
#include <jansson.h>

#include "queue/ingest.h"
#include "queue/producer.h"
#include "queue/submission.h"
#include "tests/unit/queue/queue_bed.h"

struct bed_ingest {
    struct ingest *ingest;
    unsigned schemas_open;
    bool stopped;
};

struct bed_schema {
    json_t *root;
    struct slice fields[16];
};

static inline bool bed_schema_open(void *user, struct slice content, struct ingest_schema *out,
                                   struct err *err)
{
    struct bed_ingest *it = user;
    json_error_t error;
    struct bed_schema *schema = mem_zalloc(sizeof *schema);
    schema->root = json_loadb(content.ptr, content.len, 0, &error);
    json_t *fields = json_object_get(schema->root, "fields");
    if (!json_is_array(fields)) {
        json_decref(schema->root);
        free(schema);
        return err_set(err, ERR_INPUT, "no fields");
    }
    *out = (struct ingest_schema){ .fields = schema->fields,
                                   .count = json_array_size(fields),
                                   .compiled = schema };
    for (size_t i = 0; i < out->count; i++)
        schema->fields[i] = slice_str(json_string_value(json_array_get(fields, i)));
    it->schemas_open++;
    return true;
}

static inline void bed_schema_close(void *user, struct ingest_schema *out)
{
    struct bed_ingest *it = user;
    struct bed_schema *schema = out->compiled;
    json_decref(schema->root);
    free(schema);
    it->schemas_open--;
}

static inline bool bed_destination(void *user, struct slice address, char out[256], size_t *len,
                                   struct err *err)
{
    (void)user;
    ptrdiff_t at = slice_find(address, '@');
    struct slice domain = slice_skip(address, (size_t)(at + 1));
    if (at <= 0 || domain.len == 0 || domain.len > 255 || slice_find(domain, '@') >= 0)
        return err_set(err, ERR_INPUT, "'%.*s' isn't an address", SLICE_FMT(address));
    for (size_t i = 0; i < domain.len; i++)
        out[i] = ascii_lower(domain.ptr[i]);
    *len = domain.len;
    return true;
}

static const struct ingest_callbacks bed_ingest_callbacks = {
    .schema_open = bed_schema_open,
    .schema_close = bed_schema_close,
    .destination = bed_destination,
};

static inline void bed_ingest_start(struct bed *bed, struct bed_ingest *it, const char *node)
{
    *it = (struct bed_ingest){ 0 };
    struct ingest_options options = { .url = bed->redis.url,
                                      .name_space = "e",
                                      .partitions = bed->partitions,
                                      .node = node,
                                      .redis_timeout_ms = 1000,
                                      .wait_replicas = bed->wait_replicas,
                                      .log = &bed->log };
    struct err err;
    ck_assert_msg(ingest_create(&it->ingest, bed->ring, &options, &bed_ingest_callbacks, it, &err),
                  "%s", err.text);
    ingest_start(it->ingest);
}

static inline void bed_ingest_stopped(void *user)
{
    ((struct bed_ingest *)user)->stopped = true;
}

static inline void bed_ingest_stop(struct bed *bed, struct bed_ingest *it)
{
    ingest_stop(it->ingest, bed_ingest_stopped, it);
    BED_UNTIL(bed, it->stopped);
    ingest_destroy(&it->ingest);
    ck_assert_uint_eq(it->schemas_open, 0);
}

/* A counter over all partitions. */
static inline long long bed_sum(struct bed *bed, const char *verb, const char *name,
                                const char *field)
{
    long long sum = 0;
    for (unsigned p = 0; p < bed->partitions; p++) {
        char key[64];
        snprintf(key, sizeof key, "e:{%u}:%s", p, name);
        sum += field ? test_redis_number(&bed->redis, "%s %s %s", verb, key, field)
                     : test_redis_number(&bed->redis, "%s %s", verb, key);
    }
    return sum;
}

/* All queued records, one per line, sorted by nobody. */
static inline long long bed_queued(struct bed *bed)
{
    const char *script = "local n = 0 for _, k in ipairs(redis.call('KEYS', 'e:{*}:q:*')) do "
                         "n = n + redis.call('LLEN', k) end return n";
    return test_redis_number(&bed->redis, "EVAL %s 0", script);
}

// module: queue
/* Whatever a node or a sentinel answers, what is made of it stays within its arrays. */
#include <hiredis/read.h>
#include <stdlib.h>

#include "queue/redis_topology.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void topology_check(const struct redis_topology *topology)
{
    check(topology->primary_count >= 1 && topology->primary_count <= REDIS_PRIMARIES_MAX);
    check(topology->other_count <= REDIS_NODES_MAX);
    for (unsigned i = 0; i < topology->primary_count; i++)
        check(topology->primaries[i].name[0] && topology->primaries[i].port != 0);
    for (unsigned i = 0; i < topology->other_count; i++)
        check(topology->others[i].name[0] && topology->others[i].port != 0);
    for (unsigned i = 0; i < topology->range_count; i++) {
        const struct redis_slot_range *range = &topology->ranges[i];
        check(range->first <= range->last && range->last < REDIS_SLOTS);
        check(range->primary < topology->primary_count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct redis_host asked = { .name = "127.0.0.1", .port = 6379 };
    struct arena arena = { .block_bytes = 4096 };
    struct redisReader *reader = redis_value_reader(&arena, 0);
    void *reply = NULL;
    redisReaderFeed(reader, (const char *)data, size);
    if (redisReaderGetReply(reader, &reply) == REDIS_OK && reply) {
        struct redis_topology topology;
        if (redis_topology_cluster(&topology, &arena, reply, &asked))
            topology_check(&topology);
        if (redis_topology_sentinel(&topology, &arena, reply))
            topology_check(&topology);
        struct redis_value copy;
        redis_value_copy(&copy, &arena, reply);
        check(redis_value_refused(&copy) == redis_value_refused(reply));
        check(redis_value_u64(&copy) == redis_value_u64(reply));
    }
    redisReaderFree(reader);
    arena_free(&arena);
    return 0;
}

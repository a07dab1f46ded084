/* What the engine checks before it starts: whether the Redis that it was told of can keep its
 * promises. Each primary is asked; what isn't as it should be is a warning that says what to set.
 */
#include <stdio.h>
#include <stdlib.h>

#include "queue/producer.h"
#include "queue/producer_internal.h"

/* One primary under examination. */
struct examined {
    struct producer *producer;
    const struct log *log;
    unsigned index;
    char place[280];
    unsigned wait_replicas;
};

#define ASK(it, err, ...)                                                                          \
    producer_command_at((it)->producer, err, (it)->index, (struct slice[]){ __VA_ARGS__ },         \
                        sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice))

/* The value behind "NAME:" in INFO's text; empty when it isn't there. */
static void info_read(struct slice info, const char *name, char *out, size_t room)
{
    out[0] = '\0';
    while (info.len > 0) {
        struct slice value = slice_trim(slice_cut(&info, '\n'));
        if (slice_eq(slice_cut(&value, ':'), slice_str(name)))
            snprintf(out, room, "%.*s", SLICE_FMT(value));
    }
}

/* A setting's value; empty when CONFIG isn't allowed (managed services, ACLs). */
static void setting_read(const struct examined *it, const char *name, char *out, size_t room)
{
    struct err ignored;
    out[0] = '\0';
    const struct redis_value *reply =
        ASK(it, &ignored, SLICE("CONFIG"), SLICE("GET"), slice_str(name));
    if (reply && reply->type == VALUE_ARRAY && reply->count == 2)
        snprintf(out, room, "%.*s", SLICE_FMT(reply->items[1].text));
}

static void settings_check(const struct examined *it)
{
    char policy[32], append[16], sync[16], rewrite[16];
    setting_read(it, "maxmemory-policy", policy, sizeof policy);
    setting_read(it, "appendonly", append, sizeof append);
    setting_read(it, "appendfsync", sync, sizeof sync);
    setting_read(it, "no-appendfsync-on-rewrite", rewrite, sizeof rewrite);
    if (!policy[0] || !append[0])
        log_warn(it->log, "redis-settings",
                 "%s doesn't let its settings be read: see that maxmemory-policy is noeviction, "
                 "appendonly yes, appendfsync always, no-appendfsync-on-rewrite no",
                 it->place);
    if (policy[0] && strcmp(policy, "noeviction") != 0)
        log_warn(it->log, "redis-eviction",
                 "%s: maxmemory-policy is %s: Redis may throw queued mail away; set noeviction",
                 it->place, policy);
    if (append[0] && strcmp(append, "yes") != 0) {
        log_warn(it->log, "redis-volatile",
                 "%s: appendonly is %s: accepted mail is lost when Redis ends; set yes", it->place,
                 append);
        return;
    }
    if (sync[0] && strcmp(sync, "always") != 0)
        log_warn(it->log, "redis-volatile",
                 "%s: appendfsync is %s: up to two seconds of accepted mail and recorded outcomes "
                 "can be lost with Redis; set always",
                 it->place, sync);
    if (rewrite[0] && strcmp(rewrite, "no") != 0)
        log_warn(it->log, "redis-volatile",
                 "%s: no-appendfsync-on-rewrite is %s: while the file is rewritten nothing is "
                 "synced to the disk; set no",
                 it->place, rewrite);
}

static void replicas_check(const struct examined *it)
{
    char count[16];
    uint64_t replicas = 0;
    struct err ignored;
    const struct redis_value *reply = ASK(it, &ignored, SLICE("INFO"), SLICE("replication"));
    if (!reply || reply->type != VALUE_STRING)
        return;
    info_read(reply->text, "connected_slaves", count, sizeof count);
    if (slice_to_u64(slice_str(count), &replicas) && replicas < it->wait_replicas)
        log_warn(it->log, "redis-replicas",
                 "%s has %llu replicas, redis.wait_replicas asks for %u: until there are so many "
                 "nothing can be accepted, leased or recorded there",
                 it->place, (unsigned long long)replicas, it->wait_replicas);
}

static void cluster_check(const struct examined *it)
{
    char state[16], assigned[16];
    struct err ignored;
    const struct redis_value *reply = ASK(it, &ignored, SLICE("CLUSTER"), SLICE("INFO"));
    if (!reply || reply->type != VALUE_STRING)
        return;
    info_read(reply->text, "cluster_state", state, sizeof state);
    info_read(reply->text, "cluster_slots_assigned", assigned, sizeof assigned);
    if (strcmp(state, "ok") != 0)
        log_warn(it->log, "redis-cluster",
                 "%s: cluster_state is %s: what it doesn't serve waits; see CLUSTER NODES",
                 it->place, state);
    if (strcmp(assigned, "16384") != 0)
        log_warn(it->log, "redis-cluster",
                 "%s: %s of 16384 slots are assigned: partitions in the others can't be used; "
                 "assign them (redis-cli --cluster fix)",
                 it->place, assigned);
}

static bool version_check(const struct examined *it, struct err *err)
{
    const struct redis_value *reply = ASK(it, err, SLICE("INFO"), SLICE("server"));
    if (!producer_reply_good(it->producer, reply, err))
        return false;
    char version[32];
    info_read(reply->type == VALUE_STRING ? reply->text : SLICE(""), "redis_version", version,
              sizeof version);
    struct slice minor = slice_str(version), digits = slice_cut(&minor, '.');
    uint64_t a = 0, b = 0;
    if (!slice_to_u64(digits, &a) || !slice_to_u64(slice_cut(&minor, '.'), &b))
        return err_set(err, ERR_REDIS, "Redis at %s: no version in INFO", it->place);
    /* 6.2 brought LPOP with a count and XAUTOCLAIM. */
    if (a < 6 || (a == 6 && b < 2))
        return err_set(err, ERR_REDIS, "Redis at %s is %s, older than 6.2", it->place, version);
    if (a < 7)
        log_warn(it->log, "redis-version",
                 "%s is %s: it works, but 7.0 or later is what is tested, and syncs its file "
                 "without pauses when rewriting it",
                 it->place, version);
    return true;
}

static bool servers_check(struct producer *producer, unsigned wait_replicas, const struct log *log,
                          struct err *err)
{
    for (unsigned i = 0; i < redis_set_count(producer->set); i++) {
        struct examined it = {
            .producer = producer, .log = log, .index = i, .wait_replicas = wait_replicas
        };
        redis_host_print(redis_host(redis_set_at(producer->set, i)), it.place, sizeof it.place);
        if (!version_check(&it, err))
            return false;
        settings_check(&it);
        replicas_check(&it);
        if (redis_set_kind(producer->set) == REDIS_URL_CLUSTER)
            cluster_check(&it);
    }
    return true;
}

bool queue_check(const struct producer_options *options, const struct log *log, struct err *err)
{
    struct producer_options own = *options;
    struct producer *producer;
    own.wait_replicas = 0; /* whether they are there is told, not waited for */
    if (!producer_open_with(&producer, &own, err))
        return false;
    bool ok = servers_check(producer, options->wait_replicas, log, err);
    if (ok && producer->partitions != options->partitions)
        ok = err_set(err, ERR_CONFIG,
                     "the queue in Redis at %s has %u partitions, the configuration says %u",
                     producer->place, producer->partitions, options->partitions);
    producer_close(&producer);
    return ok;
}

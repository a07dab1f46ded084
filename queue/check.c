/* What the engine checks before it starts: whether the Redis that it was told of can keep its
 * promises. */
#include <hiredis/hiredis.h>
#include <stdio.h>

#include "queue/loader.h"
#include "queue/producer.h"
#include "queue/producer_internal.h"

/* A setting's value; empty when CONFIG isn't allowed (managed services, ACLs). */
static void setting_read(struct producer *producer, const char *name, char *out, size_t room)
{
    struct err ignored;
    out[0] = '\0';
    redisReply *reply =
        PRODUCER_COMMAND(producer, &ignored, SLICE("CONFIG"), SLICE("GET"), slice_str(name));
    if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[1]->str)
        snprintf(out, room, "%s", reply->element[1]->str);
    if (reply)
        freeReplyObject(reply);
}

static void settings_check(struct producer *producer, const struct log *log)
{
    char policy[32], append[16], sync[16];
    setting_read(producer, "maxmemory-policy", policy, sizeof policy);
    setting_read(producer, "appendonly", append, sizeof append);
    setting_read(producer, "appendfsync", sync, sizeof sync);
    if (!policy[0] || !append[0])
        log_warn(log, "redis-settings",
                 "%s doesn't let its settings be read: see that maxmemory-policy is noeviction, "
                 "appendonly yes, appendfsync always",
                 producer->place);
    if (policy[0] && strcmp(policy, "noeviction") != 0)
        log_warn(log, "redis-eviction",
                 "maxmemory-policy is %s: Redis may throw queued mail away; set noeviction",
                 policy);
    if (append[0] && strcmp(append, "yes") != 0)
        log_warn(log, "redis-volatile",
                 "appendonly is %s: accepted mail is lost when Redis ends; set yes", append);
    else if (sync[0] && strcmp(sync, "always") != 0)
        log_warn(
            log, "redis-volatile",
            "appendfsync is %s: up to two seconds of accepted mail and recorded outcomes can be "
            "lost with Redis; set always",
            sync);
}

static bool version_check(struct producer *producer, struct err *err)
{
    redisReply *reply = PRODUCER_COMMAND(producer, err, SLICE("INFO"), SLICE("server"));
    if (!reply || reply->type != REDIS_REPLY_STRING)
        return producer_reply_done(producer, reply, err) &&
               err_set(err, ERR_REDIS, "Redis at %s: no INFO", producer->place);
    struct slice text = slice_of(reply->str, reply->len);
    unsigned major = redis_info_major(text);
    /* 6.2 brought LPOP with a count and XAUTOCLAIM; 6 in front of anything lower isn't enough. */
    bool old = major < 6 || (major == 6 && strstr(reply->str, "redis_version:6.0."));
    freeReplyObject(reply);
    return !old || err_set(err, ERR_REDIS, "Redis at %s is older than 6.2", producer->place);
}

bool queue_check(const char *url, const char *name_space, unsigned partitions,
                 const struct log *log, struct err *err)
{
    struct producer *producer;
    if (!producer_open(&producer, url, name_space, partitions, err))
        return false;
    bool ok = version_check(producer, err);
    if (ok && producer->partitions != partitions)
        ok = err_set(err, ERR_CONFIG,
                     "the queue in Redis at %s has %u partitions, the configuration says %u",
                     producer->place, producer->partitions, partitions);
    if (ok)
        settings_check(producer, log);
    producer_close(&producer);
    return ok;
}

#pragma once
/* What producer.c and check.c share: one blocking connection. */
#include <hiredis/hiredis.h>

#include "queue/producer.h"

enum { EVENT_ID_BYTES = 48 };

struct producer {
    redisContext *context;
    char *name_space;
    char *place; /* of the Redis, for messages */
    unsigned partitions;
    uint64_t entries_since_look;       /* appended since the stream's length was looked at */
    char (*event_ids)[EVENT_ID_BYTES]; /* last read event of each partition */
};

/** Sends one command; NULL and `err` when there's no reply. An error reply is returned as such. */
redisReply *producer_command(struct producer *producer, struct err *err, const struct slice *args,
                             size_t count);
#define PRODUCER_COMMAND(producer, err, ...)                                                       \
    producer_command(producer, err, (struct slice[]){ __VA_ARGS__ },                               \
                     sizeof((struct slice[]){ __VA_ARGS__ }) / sizeof(struct slice))

/** Frees the reply; false and `err` when there was none or it's an error. */
bool producer_reply_done(struct producer *producer, redisReply *reply, struct err *err);

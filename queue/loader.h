#pragma once
/* Loads the scripts on a fresh connection and keeps their digests. */
#include "queue/redis.h"
#include "queue/scripts.h"

struct script_loader {
    struct redis *redis;
    /** All scripts are there. When loading fails the connection is dropped, so that the next one
     * tries again. */
    void (*ready)(struct script_loader *loader);
    char sha[SCRIPT_COUNT][41];
    bool loaded;      /* on the connection at hand */
    unsigned missing; /* replies outstanding */
    struct redis_call info;
    struct script_load {
        struct redis_call call;
        struct script_loader *loader;
        enum script script;
    } loads[SCRIPT_COUNT];
};

/** Starts loading; when the connection is up. */
void script_loader_start(struct script_loader *loader);
static inline struct slice script_sha(const struct script_loader *loader, enum script script)
{
    return slice_of(loader->sha[script], 40);
}

/** "redis_version:7.0.15" in an INFO reply to 7; 0 when it isn't there. */
unsigned redis_info_major(struct slice info);

#pragma once
/* The Lua scripts, built into the binary by queue/lua/embed.cmake. */
#include "engine/base/slice.h"

enum script {
    SCRIPT_ACK,
    SCRIPT_ACQUIRE,
    SCRIPT_CAMPAIGN,
    SCRIPT_CHUNK,
    SCRIPT_CONCLUDE,
    SCRIPT_CONSUMED,
    SCRIPT_ENQUEUE,
    SCRIPT_GRANT,
    SCRIPT_JOIN,
    SCRIPT_LEASE,
    SCRIPT_READ,
    SCRIPT_RELEASE,
    SCRIPT_RENEW,
    SCRIPT_RESTORE,
    SCRIPT_SEAL,
    SCRIPT_STORE,
    SCRIPT_SUPPRESS,
    SCRIPT_SURVEY,
    SCRIPT_TICK,
    SCRIPT_WALK,
    SCRIPT_COUNT,
};

struct script_source {
    const char *name;
    struct slice text;
};

extern const struct script_source script_sources[SCRIPT_COUNT];

/** The text to load: before Redis 7 without its first line, "#!lua flags=…", which older ones don't
 * know (they go by a script's first write). */
static inline struct slice script_text(enum script script, unsigned redis_major)
{
    struct slice text = script_sources[script].text;
    if (redis_major < 7)
        slice_cut(&text, '\n');
    return text;
}

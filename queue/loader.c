/* On a cluster each script gets one more statement in front: it looks at a key that never exists,
 * in the slot of the script's first one. While a slot is on its way to another server, Redis
 * refuses commands for keys that aren't there (any more), also in the middle of a script, whose
 * writes up to there stay; an outcome could be taken out of the in-flight hash and never be
 * counted. So such a slot is refused as a whole, before anything is written, until it has arrived.
 */
#include "queue/loader.h"

#include <stdio.h>

#include "engine/base/buf.h"

#define GUARD                                                                                      \
    SLICE("if KEYS[1] then redis.call('EXISTS',string.find(KEYS[1],'{',1,true)and KEYS[1]..'-'or " \
          "'{'..KEYS[1]..'}-')end ")

unsigned redis_info_major(struct slice info)
{
    while (info.len > 0) {
        struct slice line = slice_cut(&info, '\n');
        if (!slice_starts_with(line, SLICE("redis_version:")))
            continue;
        line = slice_skip(line, 14);
        struct slice digits = slice_cut(&line, '.');
        uint64_t major;
        return slice_to_u64(digits, &major) && major < 1000 ? (unsigned)major : 0;
    }
    return 0;
}

static void loader_failed(struct script_loader *loader, const struct redis_value *reply)
{
    char text[200];
    snprintf(text, sizeof text, "loading scripts: %.*s", SLICE_FMT(reply->text));
    redis_drop(loader->redis, text);
}

static void load_done(struct redis_call *call, const struct redis_value *reply)
{
    struct script_load *load = CONTAINER_OF(call, struct script_load, call);
    struct script_loader *loader = load->loader;
    if (!reply)
        return;
    if (reply->type != VALUE_STRING || reply->text.len != 40) {
        loader_failed(loader, reply);
        return;
    }
    memcpy(loader->sha[load->script], reply->text.ptr, 40);
    if (--loader->missing == 0) {
        loader->loaded = true;
        loader->ready(loader);
    }
}

static void load_send(struct script_loader *loader, enum script script, unsigned major,
                      bool cluster)
{
    struct script_load *load = &loader->loads[script];
    *load = (struct script_load){ .call.done = load_done, .loader = loader, .script = script };
    struct slice text = script_text(script, major);
    struct buf guarded = BUF_EMPTY;
    if (cluster) {
        size_t first =
            slice_starts_with(text, SLICE("#!")) ? (size_t)slice_find(text, '\n') + 1 : 0;
        buf_append(&guarded, slice_head(text, first));
        buf_append(&guarded, GUARD);
        buf_append(&guarded, slice_skip(text, first));
        text = buf_slice(&guarded);
    }
    struct slice args[3] = { SLICE("SCRIPT"), SLICE("LOAD"), text };
    redis_send(loader->redis, &load->call, args, 3);
    buf_free(&guarded);
}

static void info_done(struct redis_call *call, const struct redis_value *reply)
{
    struct script_loader *loader = CONTAINER_OF(call, struct script_loader, info);
    if (!reply)
        return;
    unsigned major = reply->type == VALUE_STRING ? redis_info_major(reply->text) : 0;
    if (major == 0) {
        loader_failed(loader, reply);
        return;
    }
    loader->missing = SCRIPT_COUNT;
    bool cluster = memmem(reply->text.ptr, reply->text.len, "redis_mode:cluster", 18) != NULL;
    for (unsigned i = 0; i < SCRIPT_COUNT; i++)
        load_send(loader, i, major, cluster);
}

void script_loader_start(struct script_loader *loader)
{
    loader->loaded = false;
    loader->info = (struct redis_call){ .done = info_done };
    redis_send(loader->redis, &loader->info, (struct slice[]){ SLICE("INFO"), SLICE("server") }, 2);
}

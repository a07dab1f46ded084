#include "queue/loader.h"

#include <stdio.h>

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
    for (unsigned i = 0; i < SCRIPT_COUNT; i++) {
        struct script_load *load = &loader->loads[i];
        *load = (struct script_load){ .call.done = load_done, .loader = loader, .script = i };
        struct slice args[3] = { SLICE("SCRIPT"), SLICE("LOAD"), script_text(i, major) };
        redis_send(loader->redis, &load->call, args, 3);
    }
}

void script_loader_start(struct script_loader *loader)
{
    loader->loaded = false;
    loader->info = (struct redis_call){ .done = info_done };
    redis_send(loader->redis, &loader->info, (struct slice[]){ SLICE("INFO"), SLICE("server") }, 2);
}

/* Without delays a reply is one append; only delayed replies cost a mark. */
#include "bench/sink/outbox.h"

#include <stdlib.h>

#include "engine/base/mem.h"

void outbox_free(struct outbox *outbox)
{
    buf_free(&outbox->bytes);
    free(outbox->marks);
    *outbox = (struct outbox){ 0 };
}

static void mark_push(struct outbox *outbox, struct outbox_mark mark)
{
    if (outbox->first + outbox->count == outbox->room) {
        if (outbox->first > outbox->room / 2) {
            memmove(outbox->marks, outbox->marks + outbox->first, outbox->count * sizeof mark);
            outbox->first = 0;
        } else {
            outbox->room = outbox->room ? outbox->room * 2 : 4;
            outbox->marks = mem_realloc(outbox->marks, outbox->room * sizeof mark);
        }
    }
    outbox->marks[outbox->first + outbox->count++] = mark;
}

void outbox_put(struct outbox *outbox, struct slice reply, int64_t due_us, enum outbox_then then)
{
    assert(outbox->then == OUTBOX_KEEP);
    bool appended = buf_append(&outbox->bytes, reply);
    assert(appended); /* no cap is set: the session limits what it lets a peer provoke */
    if (due_us <= 0 && outbox->count == 0) {
        outbox->ready_bytes += reply.len;
        outbox->then = then;
        return;
    }
    assert(outbox->count == 0 ||
           outbox->marks[outbox->first + outbox->count - 1].then == OUTBOX_KEEP);
    mark_push(outbox, (struct outbox_mark){ due_us, reply.len, then });
}

void outbox_release(struct outbox *outbox, int64_t now_us)
{
    while (outbox->count > 0 && outbox->marks[outbox->first].due_us <= now_us) {
        const struct outbox_mark *mark = &outbox->marks[outbox->first++];
        outbox->ready_bytes += mark->bytes;
        outbox->then = mark->then;
        outbox->count--;
    }
    if (outbox->count == 0)
        outbox->first = 0;
}

int64_t outbox_next_due(const struct outbox *outbox)
{
    return outbox->count > 0 ? outbox->marks[outbox->first].due_us : INT64_MAX;
}

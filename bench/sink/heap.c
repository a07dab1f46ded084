/* A binary heap of sessions by the time of their next delayed reply: thousands of sessions, one
 * entry each. */
#include <stdlib.h>

#include "bench/sink/worker.h"
#include "engine/base/mem.h"

static void heap_place(struct worker *worker, size_t at, struct session *session)
{
    worker->heap[at] = session;
    session->heap_at = at;
}

static void heap_up(struct worker *worker, size_t at)
{
    struct session *session = worker->heap[at];
    while (at > 0 && worker->heap[(at - 1) / 2]->due_us > session->due_us) {
        heap_place(worker, at, worker->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_place(worker, at, session);
}

static void heap_down(struct worker *worker, size_t at)
{
    struct session *session = worker->heap[at];
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= worker->heap_count)
            break;
        if (child + 1 < worker->heap_count &&
            worker->heap[child + 1]->due_us < worker->heap[child]->due_us)
            child++;
        if (worker->heap[child]->due_us >= session->due_us)
            break;
        heap_place(worker, at, worker->heap[child]);
        at = child;
    }
    heap_place(worker, at, session);
}

static void heap_take_out(struct worker *worker, struct session *session)
{
    size_t at = session->heap_at;
    struct session *last = worker->heap[--worker->heap_count];
    session->due_us = INT64_MAX;
    if (last == session)
        return;
    heap_place(worker, at, last);
    heap_up(worker, at);
    heap_down(worker, last->heap_at);
}

void heap_set(struct worker *worker, struct session *session, int64_t due_us)
{
    if (session->due_us == due_us)
        return;
    if (session->due_us != INT64_MAX)
        heap_take_out(worker, session);
    if (due_us == INT64_MAX)
        return;
    if (worker->heap_count == worker->heap_room) {
        worker->heap_room = worker->heap_room ? worker->heap_room * 2 : 64;
        worker->heap = mem_realloc(worker->heap, worker->heap_room * sizeof worker->heap[0]);
    }
    session->due_us = due_us;
    heap_place(worker, worker->heap_count++, session);
    heap_up(worker, session->heap_at);
}

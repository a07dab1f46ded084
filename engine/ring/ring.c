/* The event loop that all bodies share: a turn is wait, completions, timers, letters, tasks. What
 * the tasks want sent leaves at the start of the next turn, in the same system call that waits, so
 * a busy loop has one per turn. The ring's thread owns everything but the mailbox. */
#include "engine/ring/ring_body.h"

#include <stdlib.h>
#include <time.h>

#include "engine/base/mem.h"

enum {
    RING_TASKS_MAX = 4096, /* per turn: tasks that queue tasks must not starve the sockets */
    RING_SLOTS_FIRST = 64,
};

bool ring_create(struct ring **out, const struct ring_options *options, struct err *err)
{
    switch (options->body) {
    case RING_BODY_URING:
        return ring_uring_create(out, options, err);
    case RING_BODY_EPOLL:
        return ring_epoll_create(out, options, err);
    case RING_BODY_SIM:
        return ring_sim_body_create(out, options, err);
    case RING_BODY_AUTO:
        break;
    }
    struct err refused;
    if (ring_uring_create(out, options, &refused))
        return true;
    if (options->log != NULL)
        log_warn(options->log, "io-uring-refused", "%s: epoll is used instead", refused.text);
    return ring_epoll_create(out, options, err);
}

void ring_destroy(struct ring **ring)
{
    struct ring *gone = *ring;
    if (gone == NULL)
        return;
    assert(gone->live == 0 && !gone->in_turn);
    *ring = NULL;
    gone->ops->destroy(gone);
}

void ring_init(struct ring *ring, const struct ring_ops *ops, const struct ring_options *options)
{
    ring->ops = ops;
    ring->grain_ms = 1;
    list_init(&ring->tasks);
    list_init(&ring->working);
    list_init(&ring->closing);
    ring->thread = pthread_self();
    rng_seed(&ring->rng, options->seed ? options->seed : rng_system_seed());
    ops->clock(ring);
    wheel_init(&ring->wheel, ring->now_ms);
}

void ring_deinit(struct ring *ring)
{
    free(ring->slots);
}

/* ---- the turn ---- */

bool ring_busy(const struct ring *ring)
{
    return !list_empty(&ring->tasks) || !list_empty(&ring->working) ||
           !list_empty(&ring->closing) ||
           __atomic_load_n(&ring->letters, __ATOMIC_RELAXED) != NULL ||
           __atomic_load_n(&ring->stopped, __ATOMIC_RELAXED);
}

int64_t ring_wait_ms(struct ring *ring, int64_t wait_ms)
{
    if (ring_busy(ring))
        return 0;
    int64_t next = wheel_next(&ring->wheel);
    if (next < 0)
        return wait_ms;
    int64_t until = MAX_OF(next - ring->now_ms, (int64_t)0);
    return wait_ms < 0 ? until : MIN_OF(until, wait_ms);
}

static void ring_timers_run(struct ring *ring)
{
    struct list due;
    list_init(&due);
    wheel_advance(&ring->wheel, ring->now_ms);
    wheel_take(&ring->wheel, &due);
    struct list *node;
    while ((node = list_pop_front(&due)) != NULL) {
        struct ring_timer *timer = LIST_ENTRY(node, struct ring_timer, node);
        if (timer->due_ms > ring->now_ms) /* restarted by a callback before it */
            wheel_start(&ring->wheel, timer, timer->due_ms);
        else
            timer->fired(timer);
    }
}

static void ring_letters_run(struct ring *ring)
{
    if (__atomic_load_n(&ring->letters, __ATOMIC_RELAXED) == NULL)
        return;
    struct ring_letter *letter = __atomic_exchange_n(&ring->letters, NULL, __ATOMIC_ACQUIRE);
    struct ring_letter *in_order = NULL;
    while (letter != NULL) {
        struct ring_letter *next = letter->next;
        letter->next = in_order;
        in_order = letter;
        letter = next;
    }
    while (in_order != NULL) {
        struct ring_letter *next = in_order->next; /* read before its owner frees it */
        in_order->deliver(in_order);
        in_order = next;
    }
}

static void ring_tasks_run(struct ring *ring)
{
    for (unsigned count = 0; count < RING_TASKS_MAX; count++) {
        struct list *node = list_pop_front(&ring->tasks);
        if (node == NULL)
            return;
        struct ring_task *task = LIST_ENTRY(node, struct ring_task, node);
        task->run(task);
    }
}

void ring_turn(struct ring *ring, int wait_ms)
{
    assert(pthread_equal(ring->thread, pthread_self()) && !ring->in_turn);
    ring->in_turn = true;
    ring->ops->wait(ring, wait_ms);
    ring_work_run(ring);
    ring_polls_run(ring);
    ring_timers_run(ring);
    ring_letters_run(ring);
    ring_tasks_run(ring);
    RING_COUNT(ring, turns);
    ring->in_turn = false;
}

void ring_run(struct ring *ring)
{
    while (!__atomic_load_n(&ring->stopped, __ATOMIC_ACQUIRE)) {
        if (ring->ops->idle != NULL && ring->ops->idle(ring))
            break;
        ring_turn(ring, -1);
    }
    __atomic_store_n(&ring->stopped, false, __ATOMIC_RELAXED);
}

void ring_stop(struct ring *ring)
{
    __atomic_store_n(&ring->stopped, true, __ATOMIC_RELEASE);
    ring->ops->wake(ring);
}

void ring_post(struct ring *ring, struct ring_letter *letter)
{
    struct ring_letter *head = __atomic_load_n(&ring->letters, __ATOMIC_RELAXED);
    do {
        letter->next = head;
    } while (!__atomic_compare_exchange_n(&ring->letters, &head, letter, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
    if (head == NULL) /* whoever finds the box empty wakes the owner, who always empties it */
        ring->ops->wake(ring);
}

/* ---- clocks ---- */

void ring_system_clock(struct ring *ring)
{
    struct timespec mono, wall;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &wall);
    ring->now_ms = (int64_t)mono.tv_sec * 1000 + mono.tv_nsec / 1000000 + 1; /* never 0 */
    ring->wall_ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000;
}

int64_t ring_system_clock_us(const struct ring *ring)
{
    (void)ring;
    struct timespec mono;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    return (int64_t)mono.tv_sec * 1000000 + mono.tv_nsec / 1000;
}

int64_t ring_now_ms(const struct ring *ring)
{
    return ring->now_ms;
}

int64_t ring_clock_us(const struct ring *ring)
{
    return ring->ops->clock_us(ring);
}

int64_t ring_wall_ms(const struct ring *ring)
{
    return ring->wall_ms;
}

struct rng *ring_rng(struct ring *ring)
{
    return &ring->rng;
}

const char *ring_body_name(const struct ring *ring)
{
    return ring->ops->name;
}

const struct ring_stats *ring_stats(const struct ring *ring)
{
    return &ring->stats;
}

/* ---- timers and tasks ---- */

void ring_timer_init(struct ring_timer *timer, void (*fired)(struct ring_timer *timer))
{
    *timer = (struct ring_timer){ .fired = fired };
    list_init(&timer->node);
}

void ring_timer_start(struct ring *ring, struct ring_timer *timer, int64_t delay_ms)
{
    assert(delay_ms >= 0);
    if (UNLIKELY(!ring->in_turn)) /* nobody has read the clock for as long as the caller liked */
        ring->ops->clock(ring);
    if (delay_ms > 0)
        delay_ms = MIN_OF(delay_ms, INT64_MAX - ring->now_ms - 1) + ring->grain_ms;
    wheel_start(&ring->wheel, timer, ring->now_ms + delay_ms);
}

void ring_timer_stop(struct ring_timer *timer)
{
    list_remove(&timer->node);
}

void ring_task_init(struct ring_task *task, void (*run)(struct ring_task *task))
{
    task->run = run;
    list_init(&task->node);
}

void ring_task_queue(struct ring *ring, struct ring_task *task)
{
    if (!list_linked(&task->node))
        list_push_back(&ring->tasks, &task->node);
}

void ring_task_cancel(struct ring_task *task)
{
    list_remove(&task->node);
}

/* ---- slots ---- */

static void ring_slots_grow(struct ring *ring)
{
    uint32_t count = ring->slot_count == 0 ? RING_SLOTS_FIRST : ring->slot_count * 2;
    ring->slots = mem_realloc(ring->slots, count * sizeof ring->slots[0]);
    uint32_t first = MAX_OF(ring->slot_count, 1U);
    for (uint32_t slot = first; slot < count; slot++) {
        ring->slots[slot] = (struct ring_slot){
            .generation = 1,
            .next_free = slot + 1 < count ? slot + 1 : 0,
        };
    }
    ring->slots[0] = (struct ring_slot){ .object = NULL };
    ring->slot_count = count;
    ring->slot_free = first;
}

uint32_t ring_slot_take(struct ring *ring, void *object)
{
    if (ring->slot_free == 0)
        ring_slots_grow(ring);
    uint32_t slot = ring->slot_free;
    ring->slot_free = ring->slots[slot].next_free;
    ring->slots[slot].object = object;
    ring->live++;
    return slot;
}

void ring_slot_release(struct ring *ring, uint32_t slot)
{
    assert(ring->slots[slot].object != NULL);
    ring->slots[slot].object = NULL;
    ring->slots[slot].generation++;
    ring->slots[slot].next_free = ring->slot_free;
    ring->slot_free = slot;
    ring->live--;
}

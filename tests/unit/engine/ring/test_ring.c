/* The loop itself on every body: timers, tasks, letters, polls, stopping, choosing a body. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/ring/ring_body.h"
#include "tests/unit/engine/ring/bodies.h"

/* ---- timers ---- */

enum { MANY = 100000 };

struct watched {
    struct ring_timer timer;
    struct ring *ring;
    struct watched *other;
    int64_t due_ms;
    int fired;
};

static int64_t last_due;

static void note_fired(struct ring_timer *timer)
{
    struct watched *watched = CONTAINER_OF(timer, struct watched, timer);
    ck_assert(!ring_timer_running(timer));
    ck_assert_int_ge(ring_now_ms(watched->ring), watched->due_ms);
    ck_assert_int_ge(watched->due_ms, last_due);
    last_due = watched->due_ms;
    watched->fired++;
}

static void stop_other(struct ring_timer *timer)
{
    struct watched *watched = CONTAINER_OF(timer, struct watched, timer);
    watched->fired++;
    ring_timer_stop(&watched->other->timer);
}

static void restart_self(struct ring_timer *timer)
{
    struct watched *watched = CONTAINER_OF(timer, struct watched, timer);
    if (++watched->fired < 3)
        ring_timer_start(watched->ring, timer, 0);
}

static void start_watched(struct watched *watched, struct ring *ring, int64_t delay_ms)
{
    ring_timer_start(ring, &watched->timer, delay_ms);
    watched->ring = ring;
    watched->due_ms = ring_now_ms(ring) + delay_ms;
}

START_TEST(timers_fire_in_the_order_of_their_deadlines)
{
    struct rig rig = rig_on(_i);
    static const int64_t delays[] = { 40, 0, 7, 65, 1, 64, 63, 3, 20 };
    struct watched watched[ARRAY_LEN(delays)] = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        ring_timer_init(&watched[i].timer, note_fired);
        start_watched(&watched[i], rig.ring, delays[i]);
    }
    TURN_UNTIL(rig.ring, watched[3].fired);
    for (size_t i = 0; i < ARRAY_LEN(delays); i++)
        ck_assert_int_eq(watched[i].fired, 1);
    rig_free(&rig);
}
END_TEST

START_TEST(a_stopped_timer_does_not_fire_even_when_due_in_the_same_turn)
{
    struct rig rig = rig_on(_i);
    struct watched a = { .ring = rig.ring }, b = { .ring = rig.ring }, last = { .ring = rig.ring };
    ring_timer_init(&a.timer, stop_other);
    ring_timer_init(&b.timer, note_fired);
    ring_timer_init(&last.timer, note_fired);
    a.other = &b;
    start_watched(&a, rig.ring, 5);
    start_watched(&b, rig.ring, 5);
    start_watched(&last, rig.ring, 8);
    TURN_UNTIL(rig.ring, last.fired);
    ck_assert_int_eq(a.fired, 1);
    ck_assert_int_eq(b.fired, 0);
    rig_free(&rig);
}
END_TEST

static void delay_other(struct ring_timer *timer)
{
    struct watched *watched = CONTAINER_OF(timer, struct watched, timer);
    watched->fired++;
    start_watched(watched->other, watched->ring, 20);
}

START_TEST(a_timer_due_in_the_same_turn_can_still_be_put_off)
{
    struct rig rig = rig_on(_i);
    struct watched a = { .ring = rig.ring }, b = { .ring = rig.ring };
    ring_timer_init(&a.timer, delay_other);
    ring_timer_init(&b.timer, note_fired);
    a.other = &b;
    start_watched(&a, rig.ring, 5);
    start_watched(&b, rig.ring, 5);
    TURN_UNTIL(rig.ring, a.fired);
    ck_assert_int_eq(b.fired, 0);
    TURN_UNTIL(rig.ring, b.fired); /* which looks at the time */
    rig_free(&rig);
}
END_TEST

START_TEST(a_restarted_timer_fires_once_at_its_new_time)
{
    struct rig rig = rig_on(_i);
    struct watched later = { 0 }, sooner = { 0 };
    ring_timer_init(&later.timer, note_fired);
    ring_timer_init(&sooner.timer, note_fired);
    start_watched(&later, rig.ring, 2);
    start_watched(&later, rig.ring, 30);
    start_watched(&sooner, rig.ring, 1000000);
    start_watched(&sooner, rig.ring, 4);
    TURN_UNTIL(rig.ring, later.fired);
    ck_assert_int_eq(sooner.fired, 1);
    ck_assert_int_eq(later.fired, 1);
    rig_free(&rig);
}
END_TEST

START_TEST(a_timer_restarted_at_once_in_its_callback_lets_the_turn_end)
{
    struct rig rig = rig_on(_i);
    struct watched again = { .ring = rig.ring };
    ring_timer_init(&again.timer, restart_self);
    ring_timer_start(rig.ring, &again.timer, 0);
    ring_turn(rig.ring, -1);
    ck_assert_int_eq(again.fired, 1);
    TURN_UNTIL(rig.ring, again.fired == 3);
    ck_assert(!ring_timer_running(&again.timer));
    rig_free(&rig);
}
END_TEST

START_TEST(a_hundred_thousand_deadlines_all_fire_in_order)
{
    struct rig rig = rig_on(_i);
    struct watched *watched = mem_array(MANY, sizeof *watched);
    struct rng rng;
    rng_seed(&rng, 7);
    for (size_t i = 0; i < MANY; i++) {
        ring_timer_init(&watched[i].timer, note_fired);
        start_watched(&watched[i], rig.ring, 1 + (int64_t)rng_below(&rng, 300));
    }
    /* A third is restarted, a third is stopped. */
    int expected = 0;
    for (size_t i = 0; i < MANY; i++) {
        if (i % 3 == 0)
            start_watched(&watched[i], rig.ring, 1 + (int64_t)rng_below(&rng, 400));
        else if (i % 3 == 1)
            ring_timer_stop(&watched[i].timer);
        expected += i % 3 != 1;
    }
    last_due = 0;
    int fired = 0;
    while (fired < expected) {
        ring_turn(rig.ring, -1);
        fired = 0;
        for (size_t i = 0; i < MANY; i++)
            fired += watched[i].fired;
    }
    for (size_t i = 0; i < MANY; i++)
        ck_assert_int_eq(watched[i].fired, i % 3 != 1);
    free(watched);
    rig_free(&rig);
}
END_TEST

START_TEST(a_turn_with_a_limit_ends_before_a_far_deadline)
{
    struct rig rig = rig_on(_i);
    struct watched far = { 0 };
    ring_timer_init(&far.timer, note_fired);
    start_watched(&far, rig.ring, 100LL * 365 * 86400 * 1000);
    int64_t before = ring_now_ms(rig.ring);
    for (int i = 0; i < 5; i++)
        ring_turn(rig.ring, 3);
    ck_assert_int_eq(far.fired, 0);
    ck_assert_int_ge(ring_now_ms(rig.ring), before);
    ring_timer_stop(&far.timer);
    rig_free(&rig);
}
END_TEST

/* ---- tasks ---- */

struct chain {
    struct ring_task task;
    struct ring *ring;
    struct chain *next;
    int left, ran;
};

static void run_chain(struct ring_task *task)
{
    struct chain *chain = CONTAINER_OF(task, struct chain, task);
    chain->ran++;
    if (chain->left-- > 0)
        ring_task_queue(chain->ring, &chain->next->task);
}

START_TEST(a_task_queued_by_a_task_runs_in_the_same_turn)
{
    struct rig rig = rig_on(_i);
    struct chain b = { .ring = rig.ring }, a = { .ring = rig.ring, .next = &b, .left = 1 };
    ring_task_init(&a.task, run_chain);
    ring_task_init(&b.task, run_chain);
    ring_task_queue(rig.ring, &a.task);
    ring_task_queue(rig.ring, &a.task); /* already queued */
    ck_assert_int_eq(a.ran, 0);
    ring_turn(rig.ring, -1);
    ck_assert_int_eq(a.ran, 1);
    ck_assert_int_eq(b.ran, 1);
    rig_free(&rig);
}
END_TEST

START_TEST(tasks_without_end_leave_room_for_timers)
{
    struct rig rig = rig_on(_i);
    struct chain endless = { .ring = rig.ring, .next = &endless, .left = 1 << 30 };
    ring_task_init(&endless.task, run_chain);
    ring_task_queue(rig.ring, &endless.task);
    struct watched timer = { 0 };
    ring_timer_init(&timer.timer, note_fired);
    start_watched(&timer, rig.ring, 0);
    ring_turn(rig.ring, -1);
    TURN_UNTIL(rig.ring, timer.fired);
    ck_assert_int_gt(endless.ran, 1);
    ring_task_cancel(&endless.task);
    int ran = endless.ran;
    ring_turn(rig.ring, 0);
    ck_assert_int_eq(endless.ran, ran);
    rig_free(&rig);
}
END_TEST

/* ---- letters ---- */

enum { SENDERS = 4, LETTERS = 5000 };

struct inbox {
    struct ring *ring;
    int next[SENDERS];
    int count;
};

struct note {
    struct ring_letter letter;
    struct inbox *inbox;
    int sender, number;
};

struct sender {
    struct inbox *inbox;
    int number;
};

static void deliver_note(struct ring_letter *letter)
{
    struct note *note = CONTAINER_OF(letter, struct note, letter);
    struct inbox *inbox = note->inbox;
    ck_assert_int_eq(note->number, inbox->next[note->sender]);
    inbox->next[note->sender]++;
    if (++inbox->count == SENDERS * LETTERS)
        ring_stop(inbox->ring);
    free(note);
}

static void post_note(struct inbox *inbox, int sender, int number)
{
    struct note *note = mem_zalloc(sizeof *note);
    *note = (struct note){ .inbox = inbox, .sender = sender, .number = number };
    note->letter.deliver = deliver_note;
    ring_post(inbox->ring, &note->letter);
}

static void *send_letters(void *user)
{
    struct sender *sender = user;
    for (int i = 0; i < LETTERS; i++)
        post_note(sender->inbox, sender->number, i);
    return NULL;
}

START_TEST(letters_of_four_threads_arrive_each_in_order)
{
    struct rig rig = rig_on(_i);
    struct inbox inbox = { .ring = rig.ring };
    pthread_t threads[SENDERS];
    struct sender senders[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){ &inbox, i };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, send_letters, &senders[i]), 0);
    }
    ring_run(rig.ring); /* blocks in between, and a letter must wake it */
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(inbox.next[i], LETTERS);
    }
    rig_free(&rig);
}
END_TEST

enum { EXCHANGES = 300 };

struct exchange {
    struct ring_letter letter;
    struct ring *ring;
    sem_t delivered;
    int count;
};

static void deliver_exchange(struct ring_letter *letter)
{
    struct exchange *exchange = CONTAINER_OF(letter, struct exchange, letter);
    if (++exchange->count == EXCHANGES)
        ring_stop(exchange->ring);
    sem_post(&exchange->delivered);
}

static void *post_when_delivered(void *user)
{
    struct exchange *exchange = user;
    for (int i = 0; i < EXCHANGES; i++) {
        ring_post(exchange->ring, &exchange->letter);
        sem_wait(&exchange->delivered);
    }
    return NULL;
}

START_TEST(a_letter_wakes_a_ring_that_waits)
{
    struct rig rig = rig_on(_i);
    struct exchange exchange = { .ring = rig.ring, .letter.deliver = deliver_exchange };
    ck_assert_int_eq(sem_init(&exchange.delivered, 0, 0), 0);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, post_when_delivered, &exchange), 0);
    ring_run(rig.ring); /* has nothing to do between two letters */
    pthread_join(thread, NULL);
    ck_assert_int_eq(exchange.count, EXCHANGES);
    rig_free(&rig);
}
END_TEST

START_TEST(a_letter_to_oneself_is_not_delivered_inside_the_post)
{
    struct rig rig = rig_on(_i);
    struct inbox inbox = { .ring = rig.ring };
    post_note(&inbox, 0, 0);
    ck_assert_int_eq(inbox.count, 0);
    ring_turn(rig.ring, -1);
    ck_assert_int_eq(inbox.count, 1);
    rig_free(&rig);
}
END_TEST

static void *stop_ring(void *ring)
{
    ring_stop(ring);
    return NULL;
}

START_TEST(another_thread_can_stop_a_ring_that_waits_and_it_can_run_again)
{
    struct rig rig = rig_on(_i);
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, stop_ring, rig.ring), 0);
        ring_run(rig.ring);
        pthread_join(thread, NULL);
    }
    rig_free(&rig);
}
END_TEST

/* ---- polls ---- */

struct polled {
    struct ring_poll poll;
    int fds[2];
    int readable, writable, closed;
    bool close_at_once;
};

static void poll_ready(struct ring_poll *poll, bool readable, bool writable)
{
    struct polled *polled = CONTAINER_OF(poll, struct polled, poll);
    ck_assert(readable || writable);
    polled->readable += readable;
    polled->writable += writable;
    if (polled->close_at_once)
        ring_poll_close(poll);
}

static void poll_closed(struct ring_poll *poll)
{
    CONTAINER_OF(poll, struct polled, poll)->closed++;
}

static struct polled *polled_open(struct rig *rig)
{
    struct polled *polled = mem_zalloc(sizeof *polled);
    if (rig->sim == NULL)
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, polled->fds), 0);
    ring_poll_open(&polled->poll, rig->ring, polled->fds[0], poll_ready, poll_closed);
    if (rig->sim != NULL)
        ring_sim_set_ready(rig->sim, 0, false, true);
    return polled;
}

static void polled_feed(struct rig *rig, struct polled *polled)
{
    if (rig->sim != NULL)
        ring_sim_set_ready(rig->sim, 0, true, true);
    else
        ck_assert_int_eq(write(polled->fds[1], "x", 1), 1);
}

static void polled_free(struct rig *rig, struct polled *polled)
{
    ring_poll_close(&polled->poll);
    if (rig->sim == NULL) { /* allowed at once */
        close(polled->fds[0]);
        close(polled->fds[1]);
    }
    int readable = polled->readable, writable = polled->writable;
    TURN_UNTIL(rig->ring, polled->closed);
    ck_assert_int_eq(polled->closed, 1);
    ck_assert_int_eq(polled->readable, readable);
    ck_assert_int_eq(polled->writable, writable);
    free(polled);
}

START_TEST(a_poll_fires_again_as_long_as_the_condition_holds)
{
    struct rig rig = rig_on(_i);
    struct polled *polled = polled_open(&rig);
    ring_poll_want(&polled->poll, true, false);
    ring_turn(rig.ring, 0);
    ck_assert_int_eq(polled->readable, 0);
    polled_feed(&rig, polled);
    TURN_UNTIL(rig.ring, polled->readable == 3);
    ck_assert_int_eq(polled->writable, 0);
    polled_free(&rig, polled);
    rig_free(&rig);
}
END_TEST

START_TEST(a_poll_reports_only_what_is_wanted_now)
{
    struct rig rig = rig_on(_i);
    struct polled *polled = polled_open(&rig);
    polled_feed(&rig, polled);
    ring_turn(rig.ring, 0);
    ck_assert_int_eq(polled->readable + polled->writable, 0);
    ring_poll_want(&polled->poll, false, true);
    TURN_UNTIL(rig.ring, polled->writable == 2);
    ck_assert_int_eq(polled->readable, 0);
    ring_poll_want(&polled->poll, true, false);
    TURN_UNTIL(rig.ring, polled->readable == 2);
    int writable = polled->writable;
    ring_poll_want(&polled->poll, false, false);
    for (int i = 0; i < 3; i++)
        ring_turn(rig.ring, 0);
    ck_assert_int_eq(polled->readable, 2);
    ck_assert_int_eq(polled->writable, writable);
    ring_poll_want(&polled->poll, true, true);
    TURN_UNTIL(rig.ring, polled->readable == 3 && polled->writable > writable);
    polled_free(&rig, polled);
    rig_free(&rig);
}
END_TEST

START_TEST(a_poll_that_waits_can_want_something_else)
{
    struct rig rig = rig_on(_i);
    struct polled *polled = polled_open(&rig);
    for (int i = 1; i <= 3; i++) {
        ring_poll_want(&polled->poll, true, false); /* which doesn't come */
        ring_turn(rig.ring, 0);
        int writable = polled->writable;
        ring_poll_want(&polled->poll, i == 2, true);
        TURN_UNTIL(rig.ring, polled->writable > writable);
    }
    ck_assert_int_eq(polled->readable, 0);
    polled_free(&rig, polled);
    rig_free(&rig);
}
END_TEST

START_TEST(a_poll_can_be_closed_in_its_own_callback)
{
    struct rig rig = rig_on(_i);
    struct polled *polled = polled_open(&rig);
    polled->close_at_once = true;
    ring_poll_want(&polled->poll, true, true);
    polled_feed(&rig, polled);
    TURN_UNTIL(rig.ring, polled->closed);
    ck_assert_int_eq(polled->readable + polled->writable,
                     polled->readable ? 1 + polled->writable : 1);
    polled_free(&rig, polled);
    rig_free(&rig);
}
END_TEST

START_TEST(a_hang_up_shows_as_readable)
{
    struct rig rig = rig_on(_i);
    struct polled *polled = polled_open(&rig);
    ring_poll_want(&polled->poll, true, false);
    ring_turn(rig.ring, 0);
    shutdown(polled->fds[1], SHUT_RDWR);
    TURN_UNTIL(rig.ring, polled->readable);
    polled_free(&rig, polled);
    rig_free(&rig);
}
END_TEST

/* ---- slots ---- */

START_TEST(a_late_completion_does_not_find_the_slot_s_next_tenant)
{
    struct rig rig = rig_on(BODY_SIM);
    int old_tenant, new_tenant;
    uint32_t slot = ring_slot_take(rig.ring, &old_tenant);
    uint32_t generation = rig.ring->slots[slot].generation;
    ck_assert_ptr_eq(ring_slot_object(rig.ring, slot, generation), &old_tenant);
    ring_slot_release(rig.ring, slot);
    ck_assert_ptr_null(ring_slot_object(rig.ring, slot, generation));
    ck_assert_uint_eq(ring_slot_take(rig.ring, &new_tenant), slot);
    ck_assert_ptr_null(ring_slot_object(rig.ring, slot, generation));
    ck_assert_ptr_eq(ring_slot_object(rig.ring, slot, rig.ring->slots[slot].generation),
                     &new_tenant);
    ring_slot_release(rig.ring, slot);
    ck_assert_ptr_null(ring_slot_object(rig.ring, 1 << 27, 1));
    for (int round = 0; round < 2; round++) { /* growing keeps what is there */
        uint32_t slots[1000];
        for (size_t i = 0; i < ARRAY_LEN(slots); i++)
            slots[i] = ring_slot_take(rig.ring, &slots[i]);
        for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
            ck_assert_ptr_eq(rig.ring->slots[slots[i]].object, &slots[i]);
            ring_slot_release(rig.ring, slots[i]);
        }
    }
    rig_free(&rig);
}
END_TEST

/* ---- which body ---- */

static void refuse_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = ARRAY_LEN(code), .filter = code };
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

START_TEST(auto_takes_epoll_with_a_warning_where_io_uring_is_refused)
{
    refuse_io_uring();
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    struct log log = { .fd = fds[1], .level = LOG_INFO };
    struct err err;
    struct ring *ring;
    ck_assert(ring_create(&ring, &(struct ring_options){ .log = &log }, &err));
    ck_assert_str_eq(ring_body_name(ring), "epoll");
    char line[512] = "";
    ck_assert_int_gt(read(fds[0], line, sizeof line - 1), 0);
    ck_assert_ptr_nonnull(strstr(line, "io-uring-refused"));
    ck_assert_ptr_nonnull(strstr(line, "Operation not permitted"));
    ring_destroy(&ring);
    ck_assert_ptr_null(ring);
    ck_assert(!ring_create(&ring, &(struct ring_options){ .body = RING_BODY_URING }, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "io_uring_setup"));
}
END_TEST

START_TEST(auto_takes_io_uring_where_it_works)
{
    struct err err;
    struct ring *ring;
    ck_assert(ring_create(&ring, &(struct ring_options){ .seed = 5 }, &err));
    ck_assert_str_eq(ring_body_name(ring), "io_uring");
    ck_assert_int_gt(ring_now_ms(ring), 0);
    ck_assert_int_gt(ring_wall_ms(ring), 1600000000000);
    ck_assert_int_gt(ring_clock_us(ring), 0);
    struct rng same;
    rng_seed(&same, 5);
    ck_assert_uint_eq(rng_next(ring_rng(ring)), rng_next(&same));
    ring_destroy(&ring);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("ring", auto_takes_epoll_with_a_warning_where_io_uring_is_refused,
                            auto_takes_io_uring_where_it_works,
                            a_late_completion_does_not_find_the_slot_s_next_tenant);
    TCase *each = tcase_create("each body");
    tcase_set_timeout(each, 0);
    CASE_LOOP(
        each, BODIES, timers_fire_in_the_order_of_their_deadlines,
        a_stopped_timer_does_not_fire_even_when_due_in_the_same_turn,
        a_restarted_timer_fires_once_at_its_new_time,
        a_timer_due_in_the_same_turn_can_still_be_put_off,
        a_timer_restarted_at_once_in_its_callback_lets_the_turn_end,
        a_hundred_thousand_deadlines_all_fire_in_order,
        a_turn_with_a_limit_ends_before_a_far_deadline,
        a_task_queued_by_a_task_runs_in_the_same_turn, tasks_without_end_leave_room_for_timers,
        a_letter_to_oneself_is_not_delivered_inside_the_post,
        a_poll_fires_again_as_long_as_the_condition_holds, a_poll_reports_only_what_is_wanted_now,
        a_poll_can_be_closed_in_its_own_callback, a_poll_that_waits_can_want_something_else);
    suite_add_tcase(suite, each);
    TCase *real = tcase_create("real bodies");
    tcase_set_timeout(real, 0);
    CASE_LOOP(real, BODIES_REAL, letters_of_four_threads_arrive_each_in_order,
              a_letter_wakes_a_ring_that_waits,
              another_thread_can_stop_a_ring_that_waits_and_it_can_run_again,
              a_hang_up_shows_as_readable);
    suite_add_tcase(suite, real);
    return check_main(suite);
}

/* One ring per thread. A connection sends a flight, counts the replies that it must get, and sends
 * the next one. Replies are told apart by their first and fourth character, and nothing else is
 * looked at. The clock and getrusage start when every connection has had its EHLO answered, and
 * stop at the last reply. */
#include "bench/blaster/blaster.h"

#include <errno.h>
#include <liburing.h>
#include <linux/time_types.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/blaster/message.h"
#include "engine/base/mem.h"

#define SQ_ENTRIES 2048
#define CQ_ENTRIES 65536
#define BUFFERS 4096 /* replies are short: 2 MiB for thousands of connections */
#define BUFFER_BYTES 512
#define BUFFER_GROUP 1
#define CONNECTING_MAX 512 /* at a time, below any listener's backlog */

enum connection_state {
    IDLE,
    CONNECTING,
    GREETING,
    EHLO,
    READY,
    ENVELOPE,
    BODY,
    FLIGHT,
    DONE,
    QUITTING,
    FAILED
};
enum operation { OP_CONNECT, OP_RECEIVE, OP_SEND };

struct connection {
    int fd;
    enum connection_state state;
    unsigned expected;    /* replies before the next flight */
    unsigned outstanding; /* messages whose last reply hasn't come */
    bool refused;         /* a 4xx or 5xx came in this flight */
    bool armed;
    uint8_t column;       /* of the reply line being read, up to 4 */
    char code, separator; /* its first and fourth character */
    struct msghdr header;
    struct iovec *parts;
    char *envelopes;
    const struct endpoint *target;
};

struct blaster {
    const struct blaster_options *options;
    const struct message_template *template;
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    char *memory;
    struct connection *connections;
    unsigned count, started, connecting, settled, finished; /* settled: ready or failed */
    bool blasting;
    uint64_t next, end; /* message numbers of this thread */
    uint64_t accepted, refused, failed_connections;
    pthread_t thread;
    pthread_barrier_t *barrier;
    bool opened;
    struct err err;
};

static struct io_uring_sqe *blaster_sqe(struct blaster *blaster)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&blaster->ring);
    while (!sqe) {
        io_uring_submit(&blaster->ring);
        sqe = io_uring_get_sqe(&blaster->ring);
    }
    return sqe;
}

static void sqe_tag(struct io_uring_sqe *sqe, struct connection *connection,
                    enum operation operation)
{
    io_uring_sqe_set_data64(sqe, (uintptr_t)connection | operation);
}

static void arm_receive(struct blaster *blaster, struct connection *connection)
{
    struct io_uring_sqe *sqe = blaster_sqe(blaster);
    io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    sqe_tag(sqe, connection, OP_RECEIVE);
    connection->armed = true;
}

/* ---- flights ---- */

static void part_add(struct connection *connection, const void *bytes, size_t len)
{
    connection->parts[connection->header.msg_iovlen++] =
        (struct iovec){ .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
}

static void flight_send(struct blaster *blaster, struct connection *connection, unsigned expected)
{
    struct io_uring_sqe *sqe = blaster_sqe(blaster);
    connection->header.msg_iov = connection->parts;
    io_uring_prep_sendmsg(sqe, connection->fd, &connection->header, MSG_NOSIGNAL | MSG_WAITALL);
    sqe_tag(sqe, connection, OP_SEND);
    connection->expected = expected;
    connection->refused = false;
}

static void envelope_add(struct blaster *blaster, struct connection *connection, unsigned index)
{
    char *out = connection->envelopes + index * sizeof blaster->template->envelope.text;
    size_t len = message_envelope(blaster->template, blaster->next++, index > 0, out);
    part_add(connection, out, len);
}

static void connection_finish(struct blaster *blaster, struct connection *connection)
{
    connection->state = DONE;
    blaster->finished++;
}

/* The bodies of DATA shapes: body with dot, and with `dotpipe` the next envelope behind it. */
static void flight_body(struct blaster *blaster, struct connection *connection)
{
    unsigned expected = 1;
    part_add(connection, buf_slice(&blaster->template->body).ptr, blaster->template->body.len);
    connection->state = BODY;
    if (blaster->options->shape == BLASTER_DOTPIPE && blaster->next < blaster->end) {
        envelope_add(blaster, connection, 0);
        connection->state = ENVELOPE;
        expected += 3;
    }
    flight_send(blaster, connection, expected);
}

static void flight_next(struct blaster *blaster, struct connection *connection)
{
    connection->header.msg_iovlen = 0;
    if (connection->state == ENVELOPE) {
        flight_body(blaster, connection);
        return;
    }
    if (blaster->next == blaster->end) {
        connection_finish(blaster, connection);
        return;
    }
    if (blaster->options->shape != BLASTER_BDAT) {
        envelope_add(blaster, connection, 0);
        connection->state = ENVELOPE;
        connection->outstanding = 1;
        flight_send(blaster, connection, 3);
        return;
    }
    unsigned count =
        (unsigned)MIN_OF((uint64_t)blaster->options->flight, blaster->end - blaster->next);
    for (unsigned i = 0; i < count; i++) {
        envelope_add(blaster, connection, i);
        part_add(connection, buf_slice(&blaster->template->body).ptr,
                 blaster->template->content_bytes);
    }
    connection->state = FLIGHT;
    connection->outstanding = count;
    flight_send(blaster, connection, count * 4 - 1);
}

/* ---- the life of a connection ---- */

static void connection_fail(struct blaster *blaster, struct connection *connection)
{
    if (connection->state == FAILED || connection->state == QUITTING)
        return;
    bool was_settled = connection->state >= READY;
    if (connection->state != DONE) {
        blaster->finished++;
        blaster->refused += connection->outstanding;
        blaster->failed_connections++;
    }
    if (!was_settled) {
        blaster->connecting--;
        blaster->settled++;
    }
    connection->state = FAILED;
    shutdown(connection->fd, SHUT_RDWR);
}

static void connection_open(struct blaster *blaster, struct connection *connection)
{
    int on = 1;
    connection->state = CONNECTING;
    blaster->connecting++;
    connection->fd = socket(connection->target->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0) {
        connection_fail(blaster, connection);
        return;
    }
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct io_uring_sqe *sqe = blaster_sqe(blaster);
    io_uring_prep_connect(sqe, connection->fd,
                          (const struct sockaddr *)&connection->target->address,
                          connection->target->length);
    sqe_tag(sqe, connection, OP_CONNECT);
}

static void connections_open_more(struct blaster *blaster)
{
    while (blaster->started < blaster->count && blaster->connecting < CONNECTING_MAX)
        connection_open(blaster, &blaster->connections[blaster->started++]);
}

static void text_send(struct blaster *blaster, struct connection *connection, struct slice text)
{
    connection->header.msg_iovlen = 0;
    part_add(connection, text.ptr, text.len);
    flight_send(blaster, connection, 1);
}

/* All replies of what was sent are here. */
static void flight_answered(struct blaster *blaster, struct connection *connection)
{
    switch (connection->state) {
    case GREETING:
        connection->state = EHLO;
        text_send(blaster, connection, SLICE("EHLO blaster.test\r\n"));
        break;
    case EHLO:
        connection->state = READY;
        blaster->connecting--;
        blaster->settled++;
        break;
    case ENVELOPE:
    case BODY:
    case FLIGHT:
        flight_next(blaster, connection);
        break;
    case IDLE:
    case CONNECTING:
    case READY:
    case DONE:
    case QUITTING:
    case FAILED:
        connection_fail(blaster, connection); /* a reply to nothing */
        break;
    }
}

/* A message is done by the reply that ends a body: in the DATA shapes the first of a flight with a
 * body. */
static void count_message(struct blaster *blaster, struct connection *connection)
{
    bool done = false;
    if (connection->state == FLIGHT)
        done = (connection->expected & 3) ==
               0; /* counted down: 3 replies, then 4 for each further message */
    else if (connection->state == BODY)
        done = true;
    else if (connection->state == ENVELOPE && blaster->options->shape == BLASTER_DOTPIPE)
        done = connection->expected == 3 && connection->header.msg_iovlen == 2;
    if (done) {
        blaster->accepted++;
        if (connection->state != ENVELOPE)
            connection->outstanding--;
    }
}

static void line_end(struct blaster *blaster, struct connection *connection)
{
    bool last = connection->column < 4 || connection->separator != '-';
    connection->column = 0;
    if (!last)
        return;
    if (connection->expected == 0 || (connection->code != '2' && connection->code != '3')) {
        connection_fail(blaster, connection);
        return;
    }
    connection->expected--;
    count_message(blaster, connection);
    if (connection->expected == 0)
        flight_answered(blaster, connection);
}

static void replies_read(struct blaster *blaster, struct connection *connection, struct slice in)
{
    while (in.len > 0 && connection->state < QUITTING) {
        const char *end = memchr(in.ptr, '\n', in.len);
        size_t len = end ? (size_t)(end - in.ptr) + 1 : in.len;
        for (size_t i = 0; i < len && connection->column < 4; i++, connection->column++) {
            if (connection->column == 0)
                connection->code = in.ptr[i];
            connection->separator = in.ptr[i];
        }
        in = slice_skip(in, len);
        if (end)
            line_end(blaster, connection);
    }
}

/* ---- the loop ---- */

static void on_receive(struct blaster *blaster, struct connection *connection,
                       const struct io_uring_cqe *cqe, int *recycled)
{
    if (cqe->res > 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        char *buffer = blaster->memory + (size_t)id * BUFFER_BYTES;
        replies_read(blaster, connection, slice_of(buffer, (size_t)cqe->res));
        io_uring_buf_ring_add(blaster->buffers, buffer, BUFFER_BYTES, (unsigned short)id,
                              io_uring_buf_ring_mask(BUFFERS), (*recycled)++);
    }
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    connection->armed = false;
    if (cqe->res > 0 || cqe->res == -ENOBUFS)
        arm_receive(blaster,
                    connection); /* buffers are shown to the kernel before this is submitted */
    else
        connection_fail(blaster, connection);
}

static void handle(struct blaster *blaster, const struct io_uring_cqe *cqe, int *recycled)
{
    struct connection *connection = (struct connection *)(uintptr_t)(cqe->user_data & ~(uint64_t)7);
    switch ((enum operation)(cqe->user_data & 7)) {
    case OP_CONNECT:
        if (cqe->res < 0) {
            connection_fail(blaster, connection);
            break;
        }
        connection->state = GREETING;
        connection->expected = 1;
        arm_receive(blaster, connection);
        break;
    case OP_RECEIVE:
        on_receive(blaster, connection, cqe, recycled);
        break;
    case OP_SEND:
        if (cqe->res < 0)
            connection_fail(blaster, connection);
        break;
    }
}

static void turn(struct blaster *blaster)
{
    struct io_uring_cqe *cqe;
    struct __kernel_timespec second = { .tv_sec = 1 };
    int recycled = 0;
    io_uring_submit_and_wait_timeout(&blaster->ring, &cqe, 1, &second, NULL);
    unsigned head, handled = 0;
    io_uring_for_each_cqe(&blaster->ring, head, cqe)
    {
        handle(blaster, cqe, &recycled);
        handled++;
    }
    io_uring_cq_advance(&blaster->ring, handled);
    if (recycled > 0)
        io_uring_buf_ring_advance(blaster->buffers, recycled);
}

static void connections_quit(struct blaster *blaster)
{
    static const char quit[] = "QUIT\r\n";
    for (unsigned i = 0; i < blaster->count; i++) {
        struct connection *connection = &blaster->connections[i];
        if (connection->state != DONE)
            continue;
        connection->state = QUITTING;
        connection->header.msg_iovlen = 0;
        part_add(connection, quit, sizeof quit - 1);
        flight_send(blaster, connection, 0);
    }
    for (;;) { /* until every peer has closed */
        unsigned armed = 0;
        for (unsigned i = 0; i < blaster->count; i++)
            armed += blaster->connections[i].armed;
        if (armed == 0)
            return;
        turn(blaster);
    }
}

static bool ring_open(struct blaster *blaster, struct err *err)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        .cq_entries = CQ_ENTRIES,
    };
    int result = io_uring_queue_init_params(SQ_ENTRIES, &blaster->ring, &params);
    if (result < 0)
        return err_system(err, -result, "cannot set up io_uring");
    size_t ring_bytes = BUFFERS * sizeof(struct io_uring_buf),
           bytes = (size_t)BUFFERS * BUFFER_BYTES;
    char *memory = mmap(NULL, ring_bytes + bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return err_system(err, errno, "cannot map buffers");
    blaster->buffers = (struct io_uring_buf_ring *)memory;
    blaster->memory = memory + ring_bytes;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)memory,
        .ring_entries = BUFFERS,
        .bgid = BUFFER_GROUP,
    };
    result = io_uring_register_buf_ring(&blaster->ring, &reg, 0);
    if (result < 0)
        return err_system(err, -result, "cannot register buffers");
    io_uring_buf_ring_init(blaster->buffers);
    for (unsigned id = 0; id < BUFFERS; id++)
        io_uring_buf_ring_add(blaster->buffers, blaster->memory + (size_t)id * BUFFER_BYTES,
                              BUFFER_BYTES, (unsigned short)id, io_uring_buf_ring_mask(BUFFERS),
                              (int)id);
    io_uring_buf_ring_advance(blaster->buffers, BUFFERS);
    return true;
}

static void connections_init(struct blaster *blaster, unsigned first)
{
    unsigned flight = blaster->options->shape == BLASTER_BDAT ? blaster->options->flight : 1;
    blaster->connections = mem_array(blaster->count, sizeof blaster->connections[0]);
    for (unsigned i = 0; i < blaster->count; i++) {
        struct connection *connection = &blaster->connections[i];
        connection->fd = -1;
        connection->target =
            &blaster->options->targets->items[(first + i) % blaster->options->targets->count];
        connection->parts = mem_array(flight * 2 + 2, sizeof connection->parts[0]);
        connection->envelopes = mem_array(flight, sizeof blaster->template->envelope.text);
    }
}

static void *blaster_main(void *argument)
{
    struct blaster *blaster = argument;
    blaster->opened = ring_open(blaster, &blaster->err);
    while (blaster->opened && blaster->settled < blaster->count) {
        connections_open_more(blaster);
        turn(blaster);
    }
    pthread_barrier_wait(
        blaster->barrier); /* all are ready: the main thread looks at the clock … */
    pthread_barrier_wait(blaster->barrier); /* … and lets them go */
    for (unsigned i = 0; blaster->opened && i < blaster->count; i++)
        if (blaster->connections[i].state == READY)
            flight_next(blaster, &blaster->connections[i]);
    while (blaster->opened && blaster->finished < blaster->count)
        turn(blaster);
    pthread_barrier_wait(blaster->barrier);
    pthread_barrier_wait(blaster->barrier);
    if (blaster->opened)
        connections_quit(blaster);
    return NULL;
}

static void blaster_deinit(struct blaster *blaster)
{
    for (unsigned i = 0; i < blaster->count; i++) {
        if (blaster->connections[i].fd >= 0)
            close(blaster->connections[i].fd);
        free(blaster->connections[i].parts);
        free(blaster->connections[i].envelopes);
    }
    free(blaster->connections);
    if (blaster->ring.ring_fd > 0)
        io_uring_queue_exit(&blaster->ring);
    if (blaster->buffers)
        munmap(blaster->buffers, BUFFERS * (sizeof(struct io_uring_buf) + BUFFER_BYTES));
}

struct moment {
    int64_t clock_us, user_us, system_us;
};

static struct moment moment_now(void)
{
    struct timespec now;
    struct rusage usage;
    clock_gettime(CLOCK_MONOTONIC, &now);
    getrusage(RUSAGE_SELF, &usage);
    return (struct moment){
        .clock_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000,
        .user_us = (int64_t)usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec,
        .system_us = (int64_t)usage.ru_stime.tv_sec * 1000000 + usage.ru_stime.tv_usec,
    };
}

static bool threads_run(struct blaster *blasters, unsigned count, struct blaster_result *out,
                        struct err *err)
{
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, count + 1);
    for (unsigned i = 0; i < count; i++) {
        blasters[i].barrier = &barrier;
        int errnum = pthread_create(&blasters[i].thread, NULL, blaster_main, &blasters[i]);
        assert(errnum == 0); /* nothing is running yet that could be waited for */
    }
    pthread_barrier_wait(&barrier);
    struct moment start = moment_now();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    struct moment end = moment_now();
    pthread_barrier_wait(&barrier);
    *out = (struct blaster_result){ .elapsed_us = end.clock_us - start.clock_us,
                                    .user_us = end.user_us - start.user_us,
                                    .system_us = end.system_us - start.system_us };
    bool opened = true;
    for (unsigned i = 0; i < count; i++) {
        pthread_join(blasters[i].thread, NULL);
        out->accepted += blasters[i].accepted;
        out->refused += blasters[i].refused;
        out->failed_connections += blasters[i].failed_connections;
        if (!blasters[i].opened) {
            opened = false;
            *err = blasters[i].err;
        }
    }
    pthread_barrier_destroy(&barrier);
    return opened;
}

bool blaster_run(const struct blaster_options *options, struct blaster_result *out, struct err *err)
{
    struct message_template template;
    if (!message_template_init(&template, options, err)) {
        message_template_free(&template);
        return false;
    }
    struct blaster *blasters = mem_array(options->threads, sizeof blasters[0]);
    unsigned connections = 0;
    for (unsigned i = 0; i < options->threads; i++) {
        struct blaster *blaster = &blasters[i];
        blaster->options = options;
        blaster->template = &template;
        blaster->next = options->messages * i / options->threads;
        blaster->end = options->messages * (i + 1) / options->threads;
        blaster->count =
            options->connections / options->threads + (i < options->connections % options->threads);
        connections_init(blaster, connections);
        connections += blaster->count;
    }
    bool ran = threads_run(blasters, options->threads, out, err);
    for (unsigned i = 0; i < options->threads; i++)
        blaster_deinit(&blasters[i]);
    free(blasters);
    message_template_free(&template);
    return ran && (out->accepted > 0 ||
                   err_set(err, ERR_SYSTEM, "no message was accepted (%llu connections failed)",
                           (unsigned long long)out->failed_connections));
}

#include <arpa/inet.h>
#include <stdlib.h>

#include "bench/tls/handshakes.h"
#include "engine/base/mem.h"
#include "engine/net/stream.h"

enum { TICKETS_MAX = 256 };

struct visit {
    struct stream stream;
    struct run *run;
};

struct run {
    struct ring *ring;
    struct tls_context *context;
    struct sockaddr_in address;
    struct handshakes *out;
    unsigned left, open; /* to begin, under way */
    bool resume, failed;
    struct tls_ticket *tickets[TICKETS_MAX];
    unsigned ticket_count;
};

static void visit_begin(struct visit *visit);

static void on_ticket(void *user, struct tls_ticket *ticket)
{
    struct run *run = user;
    if (!run->resume || run->ticket_count == TICKETS_MAX)
        tls_ticket_free(ticket);
    else
        run->tickets[run->ticket_count++] = ticket;
}

static void connected(struct stream *stream)
{
    struct run *run = CONTAINER_OF(stream, struct visit, stream)->run;
    struct tls_client_options options = { .context = run->context };
    if (run->resume) {
        options.ticket = on_ticket;
        options.ticket_user = run;
        options.resume = run->ticket_count > 0 ? run->tickets[--run->ticket_count] : NULL;
    }
    stream_tls_start(stream, &options);
}

static void secured(struct stream *stream)
{
    struct tls_facts facts;
    struct run *run = CONTAINER_OF(stream, struct visit, stream)->run;
    run->out->resumed += stream_tls_facts(stream, &facts) && facts.resumed;
}

static void received(struct stream *stream, struct slice bytes)
{
    (void)bytes;
    CONTAINER_OF(stream, struct visit, stream)->run->out->count++;
    stream_close(stream, false);
}

static void ended(struct stream *stream, const struct stream_failure *failure)
{
    (void)failure;
    CONTAINER_OF(stream, struct visit, stream)->run->failed = true;
    stream_close(stream, true);
}

static void closed(struct stream *stream)
{
    struct visit *visit = CONTAINER_OF(stream, struct visit, stream);
    visit->run->open--;
    visit_begin(visit);
}

static const struct stream_events events = { .connected = connected,
                                             .secured = secured,
                                             .received = received,
                                             .ended = ended,
                                             .closed = closed };

static void visit_begin(struct visit *visit)
{
    struct run *run = visit->run;
    if (run->left == 0 || run->failed)
        return;
    run->left--;
    run->open++;
    stream_init(&visit->stream, run->ring, &events);
    stream_connect(&visit->stream, (struct sockaddr *)&run->address, sizeof run->address, NULL, 0);
}

bool handshakes_ours(uint16_t port, unsigned count, unsigned at_once, bool resume,
                     struct handshakes *out, struct err *err)
{
    struct run run = { .address = { .sin_family = AF_INET,
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                    .sin_port = htons(port) },
                       .out = out,
                       .left = count,
                       .resume = resume };
    *out = (struct handshakes){ 0 };
    if (!ring_create(&run.ring, &(struct ring_options){ .body = RING_BODY_AUTO }, err))
        return false;
    if (!tls_context_create(&run.context,
                            &(struct tls_context_options){ .verify = TLS_VERIFY_NONE }, err)) {
        ring_destroy(&run.ring);
        return false;
    }
    struct visit *visits = mem_zalloc(at_once * sizeof *visits);
    double before = handshakes_cpu_s();
    for (unsigned i = 0; i < at_once; i++) {
        visits[i].run = &run;
        visit_begin(&visits[i]);
    }
    while (run.open > 0)
        ring_turn(run.ring, -1);
    out->cpu_s = handshakes_cpu_s() - before;
    while (run.ticket_count > 0)
        tls_ticket_free(run.tickets[--run.ticket_count]);
    tls_context_destroy(&run.context);
    ring_destroy(&run.ring);
    free(visits);
    return !run.failed || err_set(err, ERR_SYSTEM, "a handshake of the engine's failed");
}

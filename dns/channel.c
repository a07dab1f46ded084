#include "dns/channel.h"

/* One c-ares channel per server, each with a single try: which server is asked next, and whether at
 * all, is decided here. c-ares on its own would ask a dead first server before every question, ask
 * the only server three times over after a SERVFAIL, and report "connection refused" for that.
 *
 * A server that times out or can't be reached loses its place as the one asked first. One that
 * answers without being of use (SERVFAIL, REFUSED, garbage) isn't asked this question again; the
 * others may be.
 *
 * c-ares owns the sockets and says through its callback what it waits for; each has a poll on the
 * ring while it's open. Without ARES_FLAG_STAYOPEN they're closed whenever nothing is in flight, so
 * that the source port, which with the id is all that keeps a forged answer out, changes all the
 * time. Questions are made by hand, with an id from the system's generator, their letters in upper
 * and lower case at random (as draft-vixie-dnsext-dns0x20 has it: one more thing that a forged
 * answer has to get right), and an EDNS buffer of 1232 bytes: the largest that is never fragmented.
 *
 * Questions leave in step with the server, or a burst of them would overrun its socket's buffer
 * (the default holds some 270 small datagrams), and what was lost there comes back as a time-out
 * seconds later. Only those sent a moment ago can still lie in that buffer; the older ones are with
 * the server, which is asking others. So the number of young questions is bounded, for first tries
 * and repetitions alike, and the old ones don't count: a thousand domains whose own servers are
 * dead hold up nobody.
 *
 * Nothing is sent from inside c-ares' callbacks: a question to be repeated waits for a task.
 * Thread: the ring's. */
#include <ares.h>
#include <arpa/nameser.h>
#include <stdlib.h>
#include <sys/random.h>

#include "dns/servers.h"
#include "engine/base/mem.h"

#define EDNS_BYTES 1232
#define RECEIVE_BUFFER_BYTES                                                                       \
    (1 << 20) /* hundreds of answers in one turn; drops would become time-outs */
#define TICK_MS_MAX 200
#define TICK_MS_MIN 5
#define YOUNG_MAX 64 /* per worker, several of which may share a server */
#define YOUNG_MS 50
#define CASE_TRIALS 8 /* answers in other letters from the start: that server changes them */
#define FLAGS_AD 0x20 /* in the header's fourth byte */
#define OPT_DO 0x80   /* in the OPT record's fourth byte from its end, which is the packet's */

enum letters { LETTERS_UNKNOWN, LETTERS_KEPT, LETTERS_CHANGED };

struct dns_server {
    struct dns_channel *channel;
    ares_channel ares;
    unsigned in_flight;
    enum letters letters; /* how names come back */
    unsigned letters_wrong;
    bool plain;          /* answered FORMERR to EDNS */
    bool unreachable;    /* said the system; what is in flight to it is to be cancelled */
    struct list sockets; /* open ones */
};

struct dns_socket {
    struct ring_poll poll;
    struct dns_server *server;
    struct list node;
};

/* What c-ares has a pointer to: outlives a cancelled query. */
struct dns_attempt {
    struct list node; /* in channel->young */
    int64_t sent_ms;
    struct dns_query *query; /* NULL: cancelled */
    struct dns_server *server;
    uint8_t name_len;
    char name[256]; /* as it was sent, in wire form */
};

struct dns_channel {
    struct ring *ring;
    bool validated;
    unsigned tries, server_count, per_second;
    double tokens; /* attempts that may leave at once */
    int64_t tokens_ms;
    unsigned preferred; /* the server asked first */
    unsigned in_flight;
    unsigned sockets; /* whose polls aren't given back yet */
    int64_t tick_ms;
    struct ring_timer tick;
    struct ring_task task;
    struct list queue; /* questions to be sent: repetitions in front */
    struct list young; /* attempts, oldest in front */
    unsigned young_count;
    struct ring_timer pace; /* when the oldest of the young is no longer young */
    uint16_t ids[128];
    unsigned ids_left;
    bool closing;
    void (*closed)(void *user);
    void *user;
    struct dns_server servers[DNS_SERVERS_MAX];
};

/* ---- sockets ---- */

static void close_if_done(struct dns_channel *channel)
{
    if (!channel->closing || channel->sockets > 0)
        return;
    void (*closed)(void *user) = channel->closed;
    void *user = channel->user;
    ring_task_cancel(&channel->task);
    free(channel);
    closed(user);
}

static void socket_closed(struct ring_poll *poll)
{
    struct dns_socket *socket = CONTAINER_OF(poll, struct dns_socket, poll);
    struct dns_channel *channel = socket->server->channel;
    free(socket);
    channel->sockets--;
    close_if_done(channel);
}

static void socket_ready(struct ring_poll *poll, bool readable, bool writable)
{
    struct dns_socket *socket = CONTAINER_OF(poll, struct dns_socket, poll);
    ares_process_fd(socket->server->ares, readable ? poll->fd : ARES_SOCKET_BAD,
                    writable ? poll->fd : ARES_SOCKET_BAD);
}

static void socket_state(void *user, ares_socket_t fd, int readable, int writable)
{
    struct dns_server *server = user;
    struct dns_socket *socket = NULL;
    list_for_each (it, &server->sockets) {
        struct dns_socket *open = LIST_ENTRY(it, struct dns_socket, node);
        if (open->poll.fd == fd)
            socket = open;
    }
    if (!readable && !writable) {
        if (!socket)
            return;
        list_remove(&socket->node);
        ring_poll_close(&socket->poll);
        return;
    }
    if (!socket) {
        socket = mem_zalloc(sizeof *socket);
        socket->server = server;
        list_push_back(&server->sockets, &socket->node);
        server->channel->sockets++;
        ring_poll_open(&socket->poll, server->channel->ring, fd, socket_ready, socket_closed);
    }
    ring_poll_want(&socket->poll, readable, writable);
}

static void tick_fired(struct ring_timer *timer)
{
    struct dns_channel *channel = CONTAINER_OF(timer, struct dns_channel, tick);
    for (unsigned i = 0; i < channel->server_count; i++)
        if (channel->servers[i].in_flight > 0)
            ares_process_fd(channel->servers[i].ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    if (channel->in_flight > 0)
        ring_timer_start(channel->ring, &channel->tick, channel->tick_ms);
}

/* ---- questions ---- */

static uint16_t id_next(struct dns_channel *channel)
{
    if (channel->ids_left == 0) {
        ssize_t got = getrandom(channel->ids, sizeof channel->ids, 0);
        assert(got == (ssize_t)sizeof channel->ids); /* up to 256 bytes are never cut short */
        channel->ids_left = ARRAY_LEN(channel->ids);
    }
    return channel->ids[--channel->ids_left];
}

/* Bits for the letters, from the same source. */
static void letters_mix(struct dns_channel *channel, unsigned char *name, size_t len)
{
    uint16_t bits = 0;
    for (size_t i = 0; i < len; i++) {
        if (i % 16 == 0)
            bits = id_next(channel);
        bool letter = name[i] >= 'a' && name[i] <= 'z'; /* no label's length is as high */
        if (letter && (bits >> i % 16 & 1))
            name[i] -= 'a' - 'A';
    }
}

/* Whether the question comes back in the letters in which it was sent. A server that has never
 * given them back is one that changes them all; one that has is held to it. */
static bool letters_match(struct dns_server *server, const struct dns_attempt *attempt,
                          struct slice packet)
{
    if (packet.len < NS_HFIXEDSZ + (size_t)attempt->name_len)
        return true; /* no question at all: for the parser to refuse */
    if (memcmp(packet.ptr + NS_HFIXEDSZ, attempt->name, attempt->name_len) == 0) {
        server->letters = LETTERS_KEPT;
        return true;
    }
    if (server->letters == LETTERS_UNKNOWN && ++server->letters_wrong == CASE_TRIALS)
        server->letters = LETTERS_CHANGED;
    return server->letters == LETTERS_CHANGED;
}

static void failure(struct dns_answer *answer, enum dns_status status, const char *text)
{
    answer->status = status;
    answer->has_ttl = answer->authenticated = false;
    answer->text = text;
    answer->canonical[0] = '\0';
    answer->count = answer->dropped = 0;
}

/* Chooses the next server for a question that server `failed` didn't answer; false when it has had
 * all its tries. */
static bool server_next(struct dns_channel *channel, struct dns_query *query)
{
    if (query->tries >= MAX_OF(channel->tries, channel->server_count))
        return false;
    for (unsigned i = 1; i <= channel->server_count; i++) {
        unsigned server = (query->server + i) % channel->server_count;
        if (query->servers_failed & (1u << server))
            continue;
        query->server = server;
        return true;
    }
    return false;
}

static void send_again(struct dns_channel *channel, struct dns_query *query)
{
    list_push_front(&channel->queue, &query->node);
    ring_task_queue(channel->ring, &channel->task);
}

/* The server gave no answer, for which `answer` stands. */
static void attempt_lost(struct dns_channel *channel, struct dns_query *query,
                         const struct dns_answer *answer)
{
    if (query->server == channel->preferred)
        channel->preferred = (channel->preferred + 1) % channel->server_count;
    if (server_next(channel, query))
        send_again(channel, query);
    else
        query->answered(query, answer);
}

/* It gave one that is of no use. */
static void attempt_failed(struct dns_channel *channel, struct dns_query *query,
                           const struct dns_answer *answer)
{
    query->servers_failed |= 1u << query->server;
    if (server_next(channel, query))
        send_again(channel, query);
    else
        query->answered(query, answer);
}

static bool is_formerr(struct slice packet)
{
    return packet.len >= NS_HFIXEDSZ && (packet.ptr[3] & 15) == ns_r_formerr;
}

static void young_remove(struct dns_channel *channel, struct dns_attempt *attempt)
{
    if (!list_linked(&attempt->node))
        return;
    list_remove(&attempt->node);
    channel->young_count--;
}

/* c-ares has an answer, or none in time. With no answer, `bytes` is NULL. */
static void attempt_done(void *user, int status, int timeouts, unsigned char *bytes, int len)
{
    (void)timeouts;
    struct dns_attempt *attempt = user;
    struct dns_query *query = attempt->query;
    struct dns_server *server = attempt->server;
    struct dns_channel *channel = server->channel;
    struct dns_answer answer;
    struct slice packet = slice_of(bytes, bytes && len > 0 ? (size_t)len : 0);
    bool same_letters = packet.len == 0 || letters_match(server, attempt, packet);
    young_remove(channel, attempt);
    free(attempt);
    server->in_flight--;
    channel->in_flight--;
    if (channel->closing)
        return;
    if (!list_empty(&channel->queue))
        ring_task_queue(channel->ring, &channel->task);
    if (!query)
        return;
    query->attempt = NULL;
    if (packet.len == 0) {
        bool late = status == ARES_ETIMEOUT;
        failure(&answer, late ? DNS_TIMEOUT : DNS_FAILED,
                late ? "no answer in time" : "DNS server unreachable");
        /* The system reports "port unreachable" once, to whoever calls next: the others would wait
         * in vain. */
        if (!late && status != ARES_ECANCELLED && server->in_flight > 0) {
            server->unreachable = true;
            ring_task_queue(channel->ring, &channel->task);
        }
        attempt_lost(channel, query, &answer);
        return;
    }
    if (!same_letters) {
        failure(&answer, DNS_FAILED, "answer to a question in other letters");
        attempt_lost(channel, query, &answer);
        return;
    }
    if (is_formerr(packet) && !server->plain) { /* a server from before EDNS: once more without */
        server->plain = true;
        send_again(channel, query);
        return;
    }
    dns_answer_parse(packet, query->type, slice_str(query->name), &answer);
    if (answer.status == DNS_FAILED)
        attempt_failed(channel, query, &answer);
    else
        query->answered(query, &answer);
}

/* Completes the question that c-ares has made, and keeps what its answer has to match. */
static struct dns_attempt *attempt_create(struct dns_channel *channel, struct dns_query *query,
                                          unsigned char *bytes, int len)
{
    struct dns_attempt *attempt = mem_alloc(sizeof *attempt);
    struct dns_server *server = &channel->servers[query->server];
    attempt->query = query;
    attempt->server = server;
    attempt->sent_ms = ring_now_ms(channel->ring);
    list_init(&attempt->node);
    unsigned char *name = bytes + NS_HFIXEDSZ;
    size_t name_len = strlen((const char *)name) + 1; /* the root's label ends it */
    assert(name_len < sizeof attempt->name);
    if (server->letters != LETTERS_CHANGED)
        letters_mix(channel, name, name_len);
    attempt->name_len = (uint8_t)name_len;
    memcpy(attempt->name, name, name_len);
    if (channel->validated) {
        bytes[3] |= FLAGS_AD;
        if (!server->plain)
            bytes[len - 4] |= OPT_DO;
    }
    return attempt;
}

static void attempt_start(struct dns_channel *channel, struct dns_query *query)
{
    if (query->tries == 0) /* not when it was queued: the preferred server may have died since */
        query->server = channel->preferred;
    struct dns_server *server = &channel->servers[query->server];
    unsigned char *bytes = NULL;
    int len = 0;
    int status = ares_create_query(query->name, ns_c_in, (int)query->type, id_next(channel), 1,
                                   &bytes, &len, server->plain ? 0 : EDNS_BYTES);
    if (status != ARES_SUCCESS) { /* .onion isn't the DNS's (RFC 7686): c-ares says "not found" */
        struct dns_answer answer;
        failure(&answer, status == ARES_ENOTFOUND ? DNS_NXDOMAIN : DNS_FAILED,
                ares_strerror(status));
        query->answered(query, &answer);
        return;
    }
    struct dns_attempt *attempt = attempt_create(channel, query, bytes, len);
    list_push_back(&channel->young, &attempt->node);
    channel->young_count++;
    query->attempt = attempt;
    query->tries++;
    server->in_flight++;
    channel->in_flight++;
    if (!ring_timer_running(&channel->tick))
        ring_timer_start(channel->ring, &channel->tick, channel->tick_ms);
    ares_send(server->ares, bytes, len, attempt_done, attempt);
    ares_free_string(bytes);
}

/* Takes the right to send one question; or says in how many milliseconds there will be one. */
static int64_t token_take(struct dns_channel *channel, int64_t now)
{
    if (channel->per_second == 0)
        return 0;
    double rate = channel->per_second / 1000.0;
    double most = MAX_OF(rate * YOUNG_MS, 1.0); /* no longer bursts than the pace has anyway */
    channel->tokens = MIN_OF(channel->tokens + (double)(now - channel->tokens_ms) * rate, most);
    channel->tokens_ms = now;
    if (channel->tokens < 1)
        return (int64_t)((1 - channel->tokens) / rate) + 1;
    channel->tokens--;
    return 0;
}

static void queue_advance(struct dns_channel *channel)
{
    int64_t now = ring_now_ms(channel->ring);
    while (!list_empty(&channel->queue)) {
        if (channel->young_count >= YOUNG_MAX) {
            struct dns_attempt *oldest = LIST_ENTRY(channel->young.next, struct dns_attempt, node);
            int64_t left = oldest->sent_ms + YOUNG_MS - now;
            if (left > 0) {
                ring_timer_start(channel->ring, &channel->pace, left);
                return;
            }
            young_remove(channel, oldest);
        }
        int64_t wait = token_take(channel, now);
        if (wait > 0) {
            ring_timer_start(channel->ring, &channel->pace, wait);
            return;
        }
        attempt_start(channel, LIST_ENTRY(list_pop_front(&channel->queue), struct dns_query, node));
    }
}

static void pace_fired(struct ring_timer *timer)
{
    queue_advance(CONTAINER_OF(timer, struct dns_channel, pace));
}

static void task_run(struct ring_task *task)
{
    struct dns_channel *channel = CONTAINER_OF(task, struct dns_channel, task);
    if (channel->closing) {
        close_if_done(channel);
        return;
    }
    for (unsigned i = 0; i < channel->server_count; i++) {
        if (!channel->servers[i].unreachable)
            continue;
        channel->servers[i].unreachable = false;
        ares_cancel(channel->servers[i].ares);
    }
    queue_advance(channel);
}

void dns_channel_send(struct dns_channel *channel, struct dns_query *query)
{
    assert(!channel->closing);
    list_init(&query->node);
    query->attempt = NULL;
    query->tries = query->servers_failed = 0;
    list_push_back(&channel->queue, &query->node);
    queue_advance(channel);
}

void dns_channel_cancel(struct dns_query *query)
{
    list_remove(&query->node);
    if (query->attempt)
        query->attempt->query = NULL;
    query->attempt = NULL;
}

/* ---- creation and end ---- */

static bool server_open(struct dns_server *server, struct ares_addr_port_node *address,
                        unsigned timeout_ms, struct err *err)
{
    char lookups[] = "b", nowhere[] = "/dev/null";
    struct ares_options options = {
        .flags = ARES_FLAG_EDNS | ARES_FLAG_NOCHECKRESP | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = (int)timeout_ms,
        .tries = 1,
        .socket_receive_buffer_size = RECEIVE_BUFFER_BYTES,
        .lookups = lookups,
        .sock_state_cb = socket_state,
        .sock_state_cb_data = server,
        .ednspsz =
            EDNS_BYTES, /* with ARES_FLAG_EDNS: the size up to which it believes a UDP answer */
        .resolvconf_path = nowhere,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_RCVBUF |
               ARES_OPT_LOOKUPS | ARES_OPT_DOMAINS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ |
               ARES_OPT_RESOLVCONF;
    int status = ares_init_options(&server->ares, &options, mask);
    if (status != ARES_SUCCESS) {
        server->ares = NULL;
        return err_set(err, ERR_SYSTEM, "starting c-ares: %s", ares_strerror(status));
    }
    address->next = NULL;
    status = ares_set_servers_ports(server->ares, address);
    if (status != ARES_SUCCESS)
        return err_set(err, ERR_SYSTEM, "setting a DNS server: %s", ares_strerror(status));
    return true;
}

bool dns_channel_create(struct dns_channel **out, struct ring *ring,
                        const struct dns_channel_options *options, struct err *err)
{
    struct dns_servers servers;
    if (!dns_servers_read(options->servers, &servers, err))
        return false;
    struct dns_channel *channel = mem_zalloc(sizeof *channel);
    channel->ring = ring;
    channel->tries = options->tries;
    channel->per_second = options->per_second;
    channel->validated = options->validated;
    channel->tokens_ms = ring_now_ms(ring);
    channel->tick_ms = MIN_OF((int64_t)options->timeout_ms / 4, TICK_MS_MAX);
    channel->tick_ms = MAX_OF(channel->tick_ms, TICK_MS_MIN);
    list_init(&channel->queue);
    list_init(&channel->young);
    ring_timer_init(&channel->pace, pace_fired);
    ring_timer_init(&channel->tick, tick_fired);
    ring_task_init(&channel->task, task_run);
    bool ok = true;
    for (unsigned i = 0; ok && i < servers.count; i++) {
        struct dns_server *server = &channel->servers[channel->server_count++];
        server->channel = channel;
        list_init(&server->sockets);
        ok = server_open(server, &servers.list[i], options->timeout_ms, err);
    }
    if (!ok) {
        for (unsigned i = 0; i < channel->server_count; i++)
            if (channel->servers[i].ares)
                ares_destroy(channel->servers[i].ares);
        free(channel);
        return false;
    }
    *out = channel;
    return true;
}

void dns_channel_close(struct dns_channel *channel, void (*closed)(void *user), void *user)
{
    assert(!channel->closing);
    channel->closing = true;
    channel->closed = closed;
    channel->user = user;
    ring_timer_stop(&channel->tick);
    ring_timer_stop(&channel->pace);
    while (list_pop_front(&channel->queue) != NULL)
        ;
    for (unsigned i = 0; i < channel->server_count; i++)
        ares_destroy(channel->servers[i].ares); /* frees the attempts, closes the sockets */
    ring_task_queue(channel->ring, &channel->task);
}

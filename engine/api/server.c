/* The HTTP side, on libmicrohttpd with one thread of its own (epoll inside), so that a slow reader
 * of statistics never holds up a worker. A second thread takes one sample a second, for the rates.
 *
 * Only GET and HEAD, no bodies. Debian's libmicrohttpd lacks the fixes against request smuggling of
 * 2026 (doubled Content-Length, see the README), so requests whose framing could be read in two
 * ways are refused here, and their connection is closed. */
#include "engine/api/stats.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/api/internal.h"
#include "engine/base/mem.h"

#define CONNECTIONS_MAX 256
#define CONNECTION_IDLE_S 10
#define CONNECTION_BYTES_MAX 16384 /* request line and headers */
#define HEADERS_MAX 100

struct api {
    struct api_options options;
    struct MHD_Daemon *daemon;
    pthread_t sampler;
    pthread_mutex_t mutex; /* guards what follows, and snapshot calls */
    pthread_cond_t changed;
    bool stopping;
    struct rates rates;
    char address[INET6_ADDRSTRLEN + 10];
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- resources ---- */

struct answer {
    unsigned status;
    const char *type;
    struct buf body;
};

static void answer_json_error(struct answer *answer, unsigned status, const char *text)
{
    answer->status = status;
    answer->type = "application/json";
    buf_append(&answer->body, SLICE("{\"error\": "));
    buf_append_json(&answer->body, slice_str(text));
    buf_append(&answer->body, SLICE("}\n"));
}

static void get_health(struct api *api, struct answer *answer)
{
    char reason[256] = "";
    bool good = api->options.healthy(api->options.user, reason, sizeof reason);
    answer->status = good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    answer->type = "text/plain; charset=utf-8";
    buf_printf(&answer->body, "%s\n", good ? "ok" : reason);
}

static void get_metrics(struct api *api, struct answer *answer)
{
    struct stats_snapshot *snapshot = mem_zalloc(sizeof *snapshot);
    pthread_mutex_lock(&api->mutex);
    api->options.snapshot(api->options.user, snapshot);
    pthread_mutex_unlock(&api->mutex);
    answer->type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_render(snapshot, &answer->body);
    free(snapshot->workers);
    free(snapshot);
}

static void get_stats(struct api *api, struct answer *answer)
{
    struct stats_snapshot *snapshot = mem_zalloc(sizeof *snapshot);
    pthread_mutex_lock(&api->mutex);
    api->options.snapshot(api->options.user, snapshot);
    struct rates rates = api->rates;
    pthread_mutex_unlock(&api->mutex);
    answer->type = "application/json";
    report_render(snapshot, &rates, &answer->body);
    free(snapshot->workers);
    free(snapshot);
}

static void get_index(struct api *api, struct answer *answer)
{
    (void)api;
    answer->type = "text/plain; charset=utf-8";
    buf_append(&answer->body, SLICE("Eilpost " EILPOST_VERSION "\n\n"
                                    "/healthz    200 while all is well, else 503 and the reason\n"
                                    "/metrics    for Prometheus\n"
                                    "/v1/stats   JSON\n"));
}

static const struct resource {
    const char *path;
    void (*get)(struct api *api, struct answer *answer);
} resources[] = {
    { "/", get_index },
    { "/healthz", get_health },
    { "/metrics", get_metrics },
    { "/v1/stats", get_stats },
};

/* ---- requests ---- */

struct framing {
    unsigned headers, hosts, lengths, encodings;
    bool has_body;
};

static enum MHD_Result look_at_header(void *user, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    (void)kind;
    struct framing *framing = user;
    struct slice header = slice_str(name);
    framing->headers++;
    framing->hosts += slice_eq_nocase(header, SLICE("Host"));
    framing->encodings += slice_eq_nocase(header, SLICE("Transfer-Encoding"));
    if (slice_eq_nocase(header, SLICE("Content-Length"))) {
        framing->lengths++;
        framing->has_body |= !value || strcmp(value, "0") != 0;
    }
    return MHD_YES;
}

/** What is wrong with the request's framing, or NULL. */
static const char *framing_fault(struct MHD_Connection *connection, const char *version)
{
    struct framing framing = { 0 };
    MHD_get_connection_values(connection, MHD_HEADER_KIND, look_at_header, &framing);
    if (framing.hosts > 1)
        return "more than one Host header";
    if (framing.lengths > 1)
        return "more than one Content-Length header";
    if (framing.encodings > 0)
        return "Transfer-Encoding isn't accepted";
    if (framing.has_body)
        return "a request body isn't accepted";
    if (framing.headers > HEADERS_MAX)
        return "too many headers";
    if (strcmp(version, MHD_HTTP_VERSION_1_1) != 0 && strcmp(version, MHD_HTTP_VERSION_1_0) != 0)
        return "HTTP/1.0 or HTTP/1.1 expected";
    return NULL;
}

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct answer *answer,
                                   bool close)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        answer->body.len, (void *)(uintptr_t)buf_slice(&answer->body).ptr, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (close)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

static const struct resource *find_resource(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(resources); i++)
        if (strcmp(path, resources[i].path) == 0)
            return &resources[i];
    return NULL;
}

/** libmicrohttpd calls this when the headers are there (and again for bodies, which we never wait
 * for). */
static enum MHD_Result handle(void *user, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **request)
{
    (void)upload;
    (void)upload_bytes;
    (void)request;
    struct api *api = user;
    struct answer answer = { .status = MHD_HTTP_OK };
    const struct resource *resource = find_resource(url);
    const char *fault = framing_fault(connection, version);
    if (fault)
        answer_json_error(&answer, MHD_HTTP_BAD_REQUEST, fault);
    else if (!resource)
        answer_json_error(&answer, MHD_HTTP_NOT_FOUND, "no such resource");
    else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        answer_json_error(&answer, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
    else
        resource->get(api, &answer);
    enum MHD_Result result = send_answer(connection, &answer, answer.status >= 400);
    buf_free(&answer.body);
    return result;
}

static void log_line(void *user, const char *fmt, va_list args)
{
    const struct api *api = user;
    char text[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the library's format */
    vsnprintf(text, sizeof text, fmt, args);
#pragma GCC diagnostic pop
    text[strcspn(text, "\n")] = '\0';
    log_debug(api->options.log, "http", "%s", text);
}

/* ---- the sampler ---- */

static void *sampler_main(void *argument)
{
    struct api *api = argument;
    struct stats_snapshot *snapshot = mem_alloc(sizeof *snapshot);
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    pthread_mutex_lock(&api->mutex);
    while (!api->stopping) {
        memset(snapshot, 0, sizeof *snapshot);
        api->options.snapshot(api->options.user, snapshot);
        rates_sample(&api->rates, now_ms(), &snapshot->counters);
        free(snapshot->workers);
        next.tv_sec++;
        while (!api->stopping && pthread_cond_timedwait(&api->changed, &api->mutex, &next) == 0) {
        }
    }
    pthread_mutex_unlock(&api->mutex);
    free(snapshot);
    return NULL;
}

/* ---- start and stop ---- */

/** Parses ADDRESS:PORT or [ADDRESS]:PORT. */
static bool parse_listen(const char *text, struct sockaddr_storage *out, socklen_t *len,
                         struct err *err)
{
    struct slice all = slice_str(text);
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < all.len; i++)
        if (all.ptr[i] == ':')
            colon = (ptrdiff_t)i;
    uint64_t port;
    char host[INET6_ADDRSTRLEN];
    if (colon < 1 || !slice_to_u64(slice_skip(all, (size_t)colon + 1), &port) || port > 65535)
        return err_set(err, ERR_CONFIG, "'%s' isn't ADDRESS:PORT", text);
    struct slice address = slice_head(all, (size_t)colon);
    bool v6 = address.len > 2 && address.ptr[0] == '[' && address.ptr[address.len - 1] == ']';
    if (v6)
        address = slice_of(address.ptr + 1, address.len - 2);
    if (address.len >= sizeof host)
        return err_set(err, ERR_CONFIG, "'%s' isn't ADDRESS:PORT", text);
    memcpy(host, address.ptr, address.len);
    host[address.len] = '\0';
    memset(out, 0, sizeof *out);
    struct sockaddr_in *in4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    bool good;
    if (v6) {
        *in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
        good = inet_pton(AF_INET6, host, &in6->sin6_addr) == 1;
        *len = sizeof *in6;
    } else {
        *in4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
        good = inet_pton(AF_INET, host, &in4->sin_addr) == 1;
        *len = sizeof *in4;
    }
    return good || err_set(err, ERR_CONFIG,
                           "'%s' isn't an IPv4 address or an IPv6 address in brackets", host);
}

/** Our own socket rather than the library's, for its errors and its port. */
static bool open_listener(struct api *api, int *out, struct err *err)
{
    struct sockaddr_storage address;
    socklen_t len;
    if (!parse_listen(api->options.listen, &address, &len, err))
        return err_prefix(err, "api.listen");
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_system(err, errno, "api.listen: can't create a socket");
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 128) != 0) {
        int errnum = errno;
        close(fd);
        if (errnum == EADDRINUSE)
            return err_set(err, ERR_SYSTEM,
                           "api.listen: %s is in use by another program (another engine?); choose "
                           "another port",
                           api->options.listen);
        return err_system(err, errnum, "api.listen: can't listen on %s", api->options.listen);
    }
    getsockname(fd, (struct sockaddr *)&address, &len);
    char host[INET6_ADDRSTRLEN] = "";
    bool v6 = address.ss_family == AF_INET6;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
    inet_ntop(address.ss_family, v6 ? (const void *)&in6->sin6_addr : (const void *)&in4->sin_addr,
              host, sizeof host);
    snprintf(api->address, sizeof api->address, v6 ? "[%s]:%u" : "%s:%u", host,
             (unsigned)ntohs(v6 ? in6->sin6_port : in4->sin_port));
    *out = fd;
    return true;
}

static void api_free(struct api *api)
{
    pthread_cond_destroy(&api->changed);
    pthread_mutex_destroy(&api->mutex);
    free(api);
}

bool api_start(const struct api_options *options, struct api **out, struct err *err)
{
    struct api *api = mem_zalloc(sizeof *api);
    api->options = *options;
    pthread_mutex_init(&api->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&api->changed, &attributes);
    pthread_condattr_destroy(&attributes);

    int listener = -1;
    if (!open_listener(api, &listener, err)) {
        api_free(api);
        return false;
    }
    api->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle, api,
        MHD_OPTION_EXTERNAL_LOGGER, log_line, api, MHD_OPTION_LISTEN_SOCKET, listener,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)CONNECTION_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_BYTES_MAX, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!api->daemon) {
        close(listener);
        api_free(api);
        return err_set(err, ERR_SYSTEM, "can't start the stats endpoint");
    }
    int errnum = pthread_create(&api->sampler, NULL, sampler_main, api);
    if (errnum) {
        MHD_stop_daemon(api->daemon);
        api_free(api);
        return err_system(err, errnum, "can't start a thread");
    }
    *out = api;
    return true;
}

void api_stop(struct api **api)
{
    struct api *it = *api;
    if (!it)
        return;
    pthread_mutex_lock(&it->mutex);
    it->stopping = true;
    pthread_cond_broadcast(&it->changed);
    pthread_mutex_unlock(&it->mutex);
    pthread_join(it->sampler, NULL);
    MHD_stop_daemon(it->daemon);
    api_free(it);
    *api = NULL;
}

const char *api_address(const struct api *api)
{
    return api->address;
}

/* The thread and the ring share one job. Whoever comes second frees it: the thread when the ring
 * has cancelled, else the ring. The ring looks at it from a timer rather than getting a letter,
 * because a letter may arrive after whoever waits for it, and even the ring, is gone. */
#include "queue/redis_lookup.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "engine/base/mem.h"

enum { LOOK_MS = 2, ADDRESSES_MAX = 16 };

enum job_state { JOB_RUNNING, JOB_DONE, JOB_CANCELLED };

struct lookup_job {
    atomic_int state;
    struct redis_host host;
    int status; /* of getaddrinfo() */
    unsigned count;
    struct sockaddr_storage addresses[ADDRESSES_MAX];
    socklen_t lens[ADDRESSES_MAX];
};

static void job_resolve(struct lookup_job *job, int flags)
{
    char port[8];
    snprintf(port, sizeof port, "%u", job->host.port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags }, *found = NULL;
    job->status = getaddrinfo(job->host.name, port, &hints, &found);
    if (job->status != 0)
        return;
    for (struct addrinfo *it = found; it && job->count < ADDRESSES_MAX; it = it->ai_next) {
        memcpy(&job->addresses[job->count], it->ai_addr, it->ai_addrlen);
        job->lens[job->count++] = it->ai_addrlen;
    }
    freeaddrinfo(found);
}

static void job_unix(struct lookup_job *job)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&job->addresses[0];
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof address->sun_path, "%.*s", (int)sizeof address->sun_path - 1,
             job->host.name);
    job->lens[0] = sizeof *address;
    job->count = 1;
}

static void *job_run(void *arg)
{
    struct lookup_job *job = arg;
    job_resolve(job, 0);
    if (atomic_exchange(&job->state, JOB_DONE) == JOB_CANCELLED)
        free(job);
    return NULL;
}

static bool job_thread(struct lookup_job *job)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attributes, job_run, job);
    pthread_attr_destroy(&attributes);
    return error == 0;
}

static void timer_fired(struct ring_timer *timer)
{
    struct redis_lookup *lookup = CONTAINER_OF(timer, struct redis_lookup, timer);
    struct lookup_job *job = lookup->job;
    if (atomic_load(&job->state) == JOB_RUNNING) {
        ring_timer_start(lookup->ring, timer, LOOK_MS);
        return;
    }
    lookup->job = NULL;
    if (job->count > 0) {
        unsigned i = lookup->turn++ % job->count;
        lookup->done(lookup, (struct sockaddr *)&job->addresses[i], job->lens[i], NULL);
    } else {
        lookup->done(lookup, NULL, 0, gai_strerror(job->status));
    }
    free(job);
}

void redis_lookup_init(struct redis_lookup *lookup, struct ring *ring,
                       void (*done)(struct redis_lookup *, const struct sockaddr *, socklen_t,
                                    const char *))
{
    *lookup = (struct redis_lookup){ .ring = ring, .done = done };
    ring_timer_init(&lookup->timer, timer_fired);
}

void redis_lookup_start(struct redis_lookup *lookup, const struct redis_host *host)
{
    assert(!lookup->job);
    struct lookup_job *job = lookup->job = mem_zalloc(sizeof *job);
    job->host = *host;
    if (host->port == 0)
        job_unix(job);
    else
        job_resolve(job, AI_NUMERICHOST);
    atomic_init(&job->state, job->count > 0 ? JOB_DONE : JOB_RUNNING);
    if (job->count == 0 && !job_thread(job)) {
        job->status = EAI_AGAIN;
        atomic_store(&job->state, JOB_DONE);
    }
    ring_timer_start(lookup->ring, &lookup->timer, 0);
}

void redis_lookup_cancel(struct redis_lookup *lookup)
{
    ring_timer_stop(&lookup->timer);
    if (lookup->job && atomic_exchange(&lookup->job->state, JOB_CANCELLED) == JOB_DONE)
        free(lookup->job);
    lookup->job = NULL;
}

/* The node's MTA-STS policies: a map of what is known of each domain, files of the same, and the
 * thread that fetches. The lock is held for a few moments only; fetches run outside of it. */
#include "dns/sts_store.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/map.h"
#include "engine/base/mem.h"

enum {
    FETCH_TIMEOUT_S = 60, /* RFC 8461, 3.3 */
    CONNECT_TIMEOUT_S = 20,
    FAILED_S = 300, /* no second try within */
    FETCHES_MAX = 32,
    REFRESH_S = 86400, /* a policy that old is fetched again, whatever its id says (3.3) */
};

struct known {
    char *text; /* of the policy; NULL: none */
    char id[STS_ID_MAX + 1];
    int64_t fetched_s, until_s; /* wall clock */
    int64_t failed_s;           /* of the last failure; 0: none since */
    const char *problem;        /* of it */
    struct fetch *fetch;        /* under way */
    char domain[];
};

struct fetch {
    struct fetch *next; /* among those to be started */
    struct sts *sts;
    struct sts_waiter *waiters;
    CURL *curl;
    struct curl_slist *resolve;
    struct buf body;
    char id[STS_ID_MAX + 1];
    char domain[256];
};

struct sts {
    struct sts_options options;
    pthread_mutex_t mutex;
    pthread_t thread;
    CURLM *multi;
    struct map known;       /* by domain */
    struct fetch *to_start; /* newest first */
    unsigned running;       /* the thread's */
    bool stopping;
    char folder[4096];
};

static int64_t now_s(void)
{
    return (int64_t)time(NULL);
}

/* ---- files: "FETCHED ID\n" and the policy's text ---- */

static void file_path(const struct sts *sts, const char *domain, const char *suffix, char *out,
                      size_t room)
{
    snprintf(out, room, "%s/%s%s", sts->folder, domain, suffix);
}

static void file_write(const struct sts *sts, const struct known *known)
{
    char path[4400], fresh[4400];
    file_path(sts, known->domain, "", path, sizeof path);
    file_path(sts, known->domain, ".new", fresh, sizeof fresh);
    FILE *file = fopen(fresh, "we");
    bool good = file && fprintf(file, "%lld %s\n%s", (long long)known->fetched_s, known->id,
                                known->text) > 0;
    good = file && fclose(file) == 0 && good && rename(fresh, path) == 0;
    if (!good)
        log_warn(sts->options.log, "mta-sts", "%s can't be kept in %s: %s", known->domain, path,
                 strerror(errno));
}

static void known_set(struct known *known, const char *id, struct slice text, int64_t fetched_s,
                      uint32_t max_age_s)
{
    free(known->text);
    known->text = slice_dup(text);
    snprintf(known->id, sizeof known->id, "%s", id);
    known->fetched_s = fetched_s;
    known->until_s = fetched_s + max_age_s;
    known->failed_s = 0;
    known->problem = NULL;
}

static void file_read(const struct sts *sts, struct known *known)
{
    char path[4400], head[80], id[STS_ID_MAX + 1];
    long long fetched;
    file_path(sts, known->domain, "", path, sizeof path);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    char *text = mem_alloc(STS_TEXT_MAX + 1);
    struct err err;
    struct sts_policy *policy = NULL;
    if (fgets(head, sizeof head, file) && sscanf(head, "%lld %32s", &fetched, id) == 2) {
        size_t len = fread(text, 1, STS_TEXT_MAX, file);
        policy = sts_policy_parse(slice_of(text, len), &err);
        if (policy)
            known_set(known, id, slice_of(text, len), fetched, policy->max_age_s);
    }
    free(policy);
    free(text);
    fclose(file);
}

/* ---- what is known ---- */

/* The lock is held. */
static struct known *known_of(struct sts *sts, const char *domain)
{
    struct known *known = map_get(&sts->known, slice_str(domain));
    if (known)
        return known;
    known = mem_zalloc(sizeof *known + strlen(domain) + 1);
    strcpy(known->domain, domain);
    map_put(&sts->known, slice_str(known->domain), known);
    file_read(sts, known);
    return known;
}

enum sts_known sts_store_look(struct sts *sts, const char *domain, const char *id, char **text,
                              const char **problem)
{
    pthread_mutex_lock(&sts->mutex);
    struct known *known = known_of(sts, domain);
    int64_t now = now_s();
    bool holds = known->text && now < known->until_s;
    bool same = holds && strcmp(known->id, id) == 0 && now - known->fetched_s < REFRESH_S;
    bool failed = known->failed_s > 0 && now - known->failed_s < FAILED_S;
    *text = holds ? slice_dup(slice_str(known->text)) : NULL;
    *problem = failed ? known->problem : NULL;
    pthread_mutex_unlock(&sts->mutex);
    /* A record that is gone doesn't end a policy that holds (3.3). */
    if (!*id || same)
        return STS_KNOWN;
    if (failed)
        return STS_FAILED;
    free(*text);
    *text = NULL;
    return STS_FETCH;
}

/* ---- the thread ---- */

static size_t on_body(char *bytes, size_t size, size_t count, void *user)
{
    struct fetch *fetch = user;
    return buf_append(&fetch->body, slice_of(bytes, size * count)) ? size * count : 0;
}

static void fetch_start(struct sts *sts, struct fetch *fetch)
{
    char url[400];
    snprintf(url, sizeof url, "https://mta-sts.%s:%u/.well-known/mta-sts.txt", fetch->domain,
             sts->options.port);
    CURL *curl = fetch->curl = curl_easy_init();
    assert(curl); /* only without memory */
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PRIVATE, fetch);
    curl_easy_setopt(curl, CURLOPT_RESOLVE, fetch->resolve);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L); /* 3.3 */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)FETCH_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "Eilpost/" EILPOST_VERSION);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, fetch);
    if (sts->options.ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, sts->options.ca_file);
    curl_multi_add_handle(sts->multi, curl);
    sts->running++;
}

/* The name that reports have for what went wrong (RFC 8460, 4.3.2.2); NULL: nothing. */
static const char *problem_of(const struct fetch *fetch, CURLcode code, char *why, size_t room)
{
    long status = 0;
    curl_easy_getinfo(fetch->curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && status == 200)
        return NULL;
    if (code == CURLE_OK)
        snprintf(why, room, "HTTP status %ld", status);
    else
        snprintf(why, room, "%s", curl_easy_strerror(code));
    return code == CURLE_PEER_FAILED_VERIFICATION ? "sts-webpki-invalid" : "sts-policy-fetch-error";
}

/* Notes the outcome and tells those who wait. */
static void fetch_end(struct fetch *fetch, const char *problem, const char *why)
{
    struct sts *sts = fetch->sts;
    struct err err;
    struct slice text = buf_slice(&fetch->body);
    struct sts_policy *policy = problem ? NULL : sts_policy_parse(text, &err);
    if (!problem && !policy) {
        problem = "sts-policy-invalid";
        why = err.text;
    }
    pthread_mutex_lock(&sts->mutex);
    struct known *known = known_of(sts, fetch->domain);
    known->fetch = NULL;
    if (policy) {
        known_set(known, fetch->id, text, now_s(), policy->max_age_s);
        file_write(sts, known);
    } else {
        known->failed_s = now_s();
        known->problem = problem;
    }
    /* Under the lock: who takes a waiter back may let its ring go at once. */
    for (struct sts_waiter *waiter = fetch->waiters, *next; waiter; waiter = next) {
        next = waiter->next;
        ring_post(waiter->ring, &waiter->letter);
    }
    pthread_mutex_unlock(&sts->mutex);
    if (policy)
        log_info(sts->options.log, "mta-sts", "%s: mode %s for %u s", fetch->domain,
                 sts_mode_name(policy->mode), policy->max_age_s);
    else
        log_warn(sts->options.log, "mta-sts", "%s: %s: %s", fetch->domain, problem, why);
    free(policy);
    if (fetch->curl)
        curl_easy_cleanup(fetch->curl);
    curl_slist_free_all(fetch->resolve);
    buf_free(&fetch->body);
    free(fetch);
}

static void start_waiting(struct sts *sts)
{
    while (sts->running < FETCHES_MAX) {
        pthread_mutex_lock(&sts->mutex);
        struct fetch *fetch = sts->to_start;
        if (fetch)
            sts->to_start = fetch->next;
        pthread_mutex_unlock(&sts->mutex);
        if (!fetch)
            return;
        fetch_start(sts, fetch);
    }
}

static void end_finished(struct sts *sts)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(sts->multi, &left))) {
        struct fetch *fetch;
        CURLcode code = message->data.result;
        char why[160] = "";
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
        curl_multi_remove_handle(sts->multi, fetch->curl);
        sts->running--;
        const char *problem = problem_of(fetch, code, why, sizeof why);
        fetch_end(fetch, problem, why);
    }
}

static void *thread_main(void *user)
{
    struct sts *sts = user;
    pthread_setname_np(pthread_self(), "mta-sts");
    for (;;) {
        int running;
        pthread_mutex_lock(&sts->mutex);
        bool over = sts->stopping && !sts->to_start && sts->running == 0;
        pthread_mutex_unlock(&sts->mutex);
        if (over)
            return NULL;
        start_waiting(sts);
        curl_multi_perform(sts->multi, &running);
        end_finished(sts);
        curl_multi_poll(sts->multi, NULL, 0, 1000, NULL);
    }
}

void sts_store_fetch(struct sts *sts, const char *domain, const char *id,
                     const struct dns_addresses *addresses, struct sts_waiter *waiter)
{
    struct buf resolve = BUF_EMPTY;
    buf_printf(&resolve, "mta-sts.%s:%u:", domain, sts->options.port);
    for (unsigned i = 0; i < addresses->count; i++) {
        char text[INET6_ADDRSTRLEN];
        const struct sockaddr_storage *addr = &addresses->list[i].addr;
        bool v6 = addr->ss_family == AF_INET6;
        const void *bytes = v6 ? (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr
                               : (const void *)&((const struct sockaddr_in *)addr)->sin_addr;
        inet_ntop(addr->ss_family, bytes, text, sizeof text);
        buf_printf(&resolve, "%s%s%s%s", i ? "," : "", v6 ? "[" : "", text, v6 ? "]" : "");
    }
    pthread_mutex_lock(&sts->mutex);
    struct known *known = known_of(sts, domain);
    struct fetch *fetch = known->fetch;
    bool fresh = !fetch;
    if (fresh) {
        fetch = known->fetch = mem_zalloc(sizeof *fetch);
        fetch->sts = sts;
        fetch->body = (struct buf){ .bytes_max = STS_TEXT_MAX };
        fetch->resolve = curl_slist_append(NULL, buf_cstr(&resolve));
        snprintf(fetch->domain, sizeof fetch->domain, "%s", domain);
        snprintf(fetch->id, sizeof fetch->id, "%s", id);
    }
    waiter->next = fetch->waiters;
    fetch->waiters = waiter;
    bool addressless = addresses->count == 0;
    if (fresh && !addressless) {
        fetch->next = sts->to_start;
        sts->to_start = fetch;
    }
    pthread_mutex_unlock(&sts->mutex);
    buf_free(&resolve);
    if (fresh && addressless)
        fetch_end(fetch, "sts-policy-fetch-error", "its server has no address");
    else
        curl_multi_wakeup(sts->multi);
}

bool sts_store_cancel(struct sts *sts, const char *domain, struct sts_waiter *waiter)
{
    bool found = false;
    pthread_mutex_lock(&sts->mutex);
    struct fetch *fetch = known_of(sts, domain)->fetch;
    struct sts_waiter **at = fetch ? &fetch->waiters : NULL;
    while (at && *at && *at != waiter)
        at = &(*at)->next;
    if (at && *at) {
        *at = waiter->next;
        found = true;
    }
    pthread_mutex_unlock(&sts->mutex);
    if (found)
        free(waiter);
    return found;
}

bool sts_create(struct sts **out, const struct sts_options *options, struct err *err)
{
    struct sts *sts = mem_zalloc(sizeof *sts);
    sts->options = *options;
    snprintf(sts->folder, sizeof sts->folder, "%s", options->folder);
    if (mkdir(sts->folder, 0700) != 0 && errno != EEXIST) {
        err_system(err, errno, "can't make %s", sts->folder);
        free(sts);
        return false;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    pthread_mutex_init(&sts->mutex, NULL);
    map_init(&sts->known, (uint64_t)now_s());
    sts->multi = curl_multi_init();
    assert(sts->multi); /* only without memory */
    int error = pthread_create(&sts->thread, NULL, thread_main, sts);
    if (error) {
        err_system(err, error, "can't start a thread");
        curl_multi_cleanup(sts->multi);
        free(sts);
        return false;
    }
    *out = sts;
    return true;
}

void sts_destroy(struct sts **out)
{
    struct sts *sts = *out;
    if (!sts)
        return;
    pthread_mutex_lock(&sts->mutex);
    sts->stopping = true;
    pthread_mutex_unlock(&sts->mutex);
    curl_multi_wakeup(sts->multi);
    pthread_join(sts->thread, NULL);
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&sts->known, &cursor))) {
        struct known *known = entry->value;
        free(known->text);
        free(known);
    }
    map_free(&sts->known);
    curl_multi_cleanup(sts->multi);
    pthread_mutex_destroy(&sts->mutex);
    free(sts);
    *out = NULL;
}

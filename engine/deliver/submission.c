/* Submissions: the stored object of each submission that has jobs here, loaded from Redis once, its
 * content compiled once, shared by all its jobs. Those without jobs stay for a while (least
 * recently used go first) up to a number of bytes. */
#include <jansson.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"
#include "queue/content.h"

static void submission_destroy(struct submission *submission)
{
    struct deliver *deliver = submission->deliver;
    while (list_pop_front(&submission->lanes)) {
        /* they have nothing waiting any more */
    }
    list_remove(&submission->lru);
    map_remove(&deliver->submissions, submission->id);
    deliver->content_bytes -= submission->bytes;
    message_content_destroy(&submission->content);
    free((void *)submission->sender.ptr);
    free(submission->windows);
    free(submission);
}

/* [[from, to], …]; without them mail may leave at any time. */
static bool windows_read(struct submission *submission, const json_t *windows, struct err *err)
{
    if (!windows)
        return true;
    size_t count = json_array_size(windows);
    submission->windows = mem_array(count, sizeof *submission->windows);
    submission->window_count = (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        json_int_t from, to;
        if (json_unpack(json_array_get(windows, i), "[I, I]", &from, &to) != 0)
            return err_set(err, ERR_INPUT, "stored submission: a time window can't be read");
        submission->windows[i][0] = from;
        submission->windows[i][1] = to;
    }
    return true;
}

bool submission_may_leave(const struct submission *submission, int64_t wall_ms)
{
    unsigned from = 0, to = submission->window_count;
    while (from < to) { /* the first window that isn't over */
        unsigned middle = from + (to - from) / 2;
        if (submission->windows[middle][1] <= wall_ms)
            from = middle + 1;
        else
            to = middle;
    }
    return submission->window_count == 0 ||
           (from < submission->window_count && submission->windows[from][0] <= wall_ms);
}

static bool submission_read(struct submission *submission, struct slice text, struct err *err)
{
    json_error_t error;
    json_t *root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return err_set(err, ERR_INPUT, "stored submission isn't JSON: %s", error.text);
    const char *from = NULL;
    json_t *content = NULL, *windows = NULL;
    json_int_t accepted = 0, expires = 0;
    bool ok = json_unpack_ex(root, &error, 0, "{s:s, s:o, s:I, s:I, s?o}", "from", &from, "content",
                             &content, "accepted_at", &accepted, "expires_at", &expires, "windows",
                             &windows) == 0;
    if (!ok)
        err_set(err, ERR_INPUT, "stored submission: %s", error.text);
    ok = ok && windows_read(submission, windows, err);
    char *dumped = ok ? json_dumps(content, JSON_COMPACT) : NULL;
    json_object_del(root, "content"); /* it may be large */
    if (dumped) {
        submission->sender = slice_of(slice_dup(slice_str(from)), strlen(from));
        submission->accepted_ms = accepted;
        submission->expires_ms = expires;
        ok = message_content_compile(&submission->content, slice_str(dumped), NULL, err);
        free(dumped);
    } else if (ok) {
        ok = err_set(err, ERR_INPUT, "stored submission: content can't be read");
    }
    json_decref(root);
    return ok;
}

/* Wakes the lanes that waited for the content. */
static void submission_wake(struct submission *submission)
{
    struct list *node;
    while ((node = list_pop_front(&submission->lanes)))
        destination_drain(LIST_ENTRY(node, struct lane, content_node)->destination);
}

static void submission_loaded(struct queue_load *load, struct slice json)
{
    struct submission *submission = CONTAINER_OF(load, struct submission, load);
    struct deliver *deliver = submission->deliver;
    struct buf room = BUF_EMPTY;
    struct slice text = json;
    bool ok = json.ptr ? content_unpack(json, &room, &text, &submission->err) &&
                             submission_read(submission, text, &submission->err)
                       : err_set(&submission->err, ERR_NOT_FOUND,
                                 "the submission's content is gone from Redis");
    submission->state = ok ? SUBMISSION_READY : SUBMISSION_BROKEN;
    submission->bytes = text.len;
    deliver->content_bytes += text.len;
    buf_free(&room);
    if (!ok)
        log_error(deliver->options.log, "submission-broken", "submission %.*s: %s",
                  SLICE_FMT(submission->id), submission->err.text);
    submission_wake(submission);
    if (submission->references == 0 && !list_linked(&submission->lru))
        list_push_back(&deliver->submissions_lru, &submission->lru);
}

struct submission *submission_hold(struct deliver *deliver, struct slice id)
{
    struct submission *submission = map_get(&deliver->submissions, id);
    if (!submission) {
        submission = mem_zalloc(sizeof *submission + id.len);
        submission->deliver = deliver;
        memcpy(submission->data, id.ptr, id.len);
        submission->id = slice_of(submission->data, id.len);
        list_init(&submission->lanes);
        list_init(&submission->lru);
        map_put(&deliver->submissions, submission->id, submission);
        submission->load.loaded = submission_loaded;
        queue_load_submission(deliver->queue, &submission->load, submission->id);
    }
    submission->references++;
    list_remove(&submission->lru);
    return submission;
}

void submission_release(struct submission *submission)
{
    struct deliver *deliver = submission->deliver;
    assert(submission->references > 0);
    if (--submission->references > 0 || submission->state == SUBMISSION_LOADING)
        return;
    list_push_back(&deliver->submissions_lru, &submission->lru);
    while (deliver->content_bytes > deliver->options.content_bytes_max &&
           !list_empty(&deliver->submissions_lru))
        submission_destroy(LIST_ENTRY(deliver->submissions_lru.next, struct submission, lru));
}

void submissions_free(struct deliver *deliver)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->submissions, &cursor))) {
        submission_destroy(entry->value);
        cursor = 0; /* removal moves entries */
    }
    map_free(&deliver->submissions);
}

/* Line of the file: TIME_US <tab> RECIPIENT <tab> MESSAGE-ID or "-" <tab> SHA-256 or "-" <tab>
 * "new" or "again". write() is enough for a process that is killed: the page cache outlives it. The
 * file isn't synced, because the machine under a benchmark isn't expected to lose power. */
#include "bench/sink/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool ledger_open(struct ledger *ledger, struct ledger_options options, struct err *err)
{
    *ledger = (struct ledger){ .options = options, .fd = -1 };
    if (options.file) {
        ledger->fd = open(options.file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (ledger->fd < 0)
            return err_system(err, errno, "cannot open the ledger %s", options.file);
    }
    hashset_init(&ledger->seen);
    pthread_mutex_init(&ledger->lock, NULL);
    return true;
}

void ledger_close(struct ledger *ledger)
{
    if (ledger->fd >= 0)
        close(ledger->fd);
    hashset_deinit(&ledger->seen);
    pthread_mutex_destroy(&ledger->lock);
    buf_free(&ledger->listed);
}

/* Tabs and control bytes in a quoted local part must not forge a column or a line. */
static void append_column(struct buf *out, struct slice text)
{
    if (text.len == 0) {
        buf_append_char(out, '-');
        return;
    }
    char *to = buf_reserve(out, text.len);
    for (size_t i = 0; i < text.len; i++)
        to[i] = (unsigned char)text.ptr[i] < ' ' ? '?' : text.ptr[i];
    buf_grow(out, text.len);
}

static void list_duplicate(struct ledger *ledger, const struct ledger_entry *entry)
{
    atomic_fetch_add_explicit(&ledger->duplicates, 1, memory_order_relaxed);
    pthread_mutex_lock(&ledger->lock);
    if (ledger->listed_count < ledger->options.duplicates_listed_max) {
        append_column(&ledger->listed, entry->recipient);
        buf_append_char(&ledger->listed, '\t');
        append_column(&ledger->listed, entry->id);
        buf_append_char(&ledger->listed, '\n');
        ledger->listed_count++;
    }
    pthread_mutex_unlock(&ledger->lock);
}

bool ledger_accept(struct ledger_batch *batch, const struct ledger_entry *entry)
{
    struct ledger *ledger = batch->ledger;
    uint64_t key = slice_hash(entry->recipient, 0);
    if (ledger->options.id_in_key)
        key = slice_hash(entry->id, key);
    bool fresh = hashset_insert(&ledger->seen, key);
    if (!fresh)
        list_duplicate(ledger, entry);
    if (ledger->fd < 0)
        return fresh;

    struct buf *lines = &batch->lines;
    buf_append_u64(lines, (uint64_t)entry->time_us);
    buf_append_char(lines, '\t');
    append_column(lines, entry->recipient);
    buf_append_char(lines, '\t');
    append_column(lines, entry->id);
    buf_append_char(lines, '\t');
    append_column(lines, entry->digest);
    buf_append(lines, fresh ? SLICE("\tnew\n") : SLICE("\tagain\n"));
    return fresh;
}

bool ledger_flush(struct ledger_batch *batch, struct err *err)
{
    while (batch->lines.len > 0) {
        struct slice lines = buf_slice(&batch->lines);
        ssize_t wrote = write(batch->ledger->fd, lines.ptr, lines.len);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return err_system(err, errno, "cannot write to the ledger %s",
                              batch->ledger->options.file);
        buf_consume(&batch->lines, (size_t)wrote);
    }
    return true;
}

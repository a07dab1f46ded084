#include "queue/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/map.h"
#include "engine/base/mem.h"
#include "queue/keys.h"

enum { SLOTS_DEFAULT = 65536, SLOTS_MAX = 1 << 24 };

struct slot {
    _Atomic uint64_t word; /* checksum 32, code 16, id's length 8, state 8 */
    uint64_t epoch;
    uint16_t partition;
    char id[QUEUE_ID_BYTES_MAX];
    char unused[8];
};
static_assert(sizeof(struct slot) == 64, "a slot is a cache line");

struct header { /* takes the place of a slot */
    char magic[16];
    char unused[48];
};
static_assert(sizeof(struct header) == sizeof(struct slot), "the header takes the place of a slot");
static const char journal_magic[16] = "eilpost-jrnl-01";

struct leftover {
    int32_t slot;
    unsigned partition;
    uint64_t epoch;
    enum journal_state state;
    unsigned code;
    atomic_flag claimed;
};

struct queue_journal {
    struct queue_journal_file *file;
    unsigned first, count; /* its range */
    unsigned fresh; /* how many of them were ever taken: the rest of the file stays untouched */
    int32_t *freed; /* a stack, so that the same few cache lines serve again and again */
    unsigned freed_count, freed_room;
};

struct queue_journal_file {
    int fd;
    struct slot *slots; /* slots[0] is the header */
    size_t bytes;
    unsigned workers;
    struct queue_journal *parts;
    struct map found; /* of leftovers, by job id; doesn't change after opening */
    struct arena arena;
    struct leftover **leftovers;
    size_t leftover_count;
};

static uint64_t word_make(const struct slot *slot, enum journal_state state, unsigned code,
                          size_t id_len)
{
    uint64_t low = (uint64_t)(code & 0xffff) << 16 | (uint64_t)id_len << 8 | (uint64_t)state;
    uint64_t seed = low ^ slot->epoch ^ (uint64_t)slot->partition << 48;
    return slice_hash(slice_of(slot->id, id_len), seed) << 32 | low;
}

/* What a slot says; false for an idle one, or one whose checksum is wrong (a disk's doing: our own
 * stores can't be torn). */
static bool slot_read(const struct slot *slot, enum journal_state *state, unsigned *code,
                      struct slice *id)
{
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
    size_t id_len = word >> 8 & 0xff;
    if ((word & 0xff) != JOURNAL_DOT_SENT && (word & 0xff) != JOURNAL_REPLIED)
        return false;
    *state = (word & 0xff) == JOURNAL_DOT_SENT ? JOURNAL_DOT_SENT : JOURNAL_REPLIED;
    *code = word >> 16 & 0xffff;
    if (id_len == 0 || id_len > sizeof slot->id || word != word_make(slot, *state, *code, id_len))
        return false;
    *id = slice_of(slot->id, id_len);
    return true;
}

static void leftovers_collect(struct queue_journal_file *file)
{
    size_t slots = file->bytes / sizeof(struct slot), room = 0;
    for (size_t i = 1; i < slots; i++) {
        enum journal_state state;
        unsigned code;
        struct slice id;
        if (!slot_read(&file->slots[i], &state, &code, &id)) {
            if (atomic_load_explicit(&file->slots[i].word, memory_order_relaxed) != 0)
                atomic_store_explicit(&file->slots[i].word, 0, memory_order_relaxed);
            continue;
        }
        struct leftover *leftover = arena_alloc(&file->arena, sizeof *leftover);
        *leftover = (struct leftover){
            .slot = (int32_t)i,
            .partition = file->slots[i].partition,
            .epoch = file->slots[i].epoch,
            .state = state,
            .code = code,
            .claimed = ATOMIC_FLAG_INIT,
        };
        if (file->leftover_count == room) {
            room = room ? 2 * room : 256;
            file->leftovers = mem_realloc(file->leftovers, room * sizeof *file->leftovers);
        }
        file->leftovers[file->leftover_count++] = leftover;
        /* One job in two slots: the later lease counts, the earlier one is over. */
        struct slice key = arena_copy(&file->arena, id);
        struct leftover *other = map_get(&file->found, key);
        if (!other || other->epoch < leftover->epoch)
            map_put(&file->found, key, leftover);
    }
}

static bool file_size(struct queue_journal_file *file, const char *path, size_t slots,
                      struct err *err)
{
    struct stat status;
    if (fstat(file->fd, &status) != 0)
        return err_system(err, errno, "%s", path);
    if (status.st_size % (off_t)sizeof(struct slot) != 0 ||
        status.st_size > (off_t)SLOTS_MAX * (off_t)sizeof(struct slot))
        return err_set(err, ERR_SYSTEM, "%s isn't a journal: its size is odd", path);
    file->bytes = MAX_OF((size_t)status.st_size, (slots + 1) * sizeof(struct slot));
    /* Really allocated: a full disk must be found here, not by a SIGBUS at a store. */
    int errnum = posix_fallocate(file->fd, 0, (off_t)file->bytes);
    if (errnum != 0)
        return err_system(err, errnum, "%s: allocating %zu bytes", path, file->bytes);
    return true;
}

static bool file_map(struct queue_journal_file *file, const char *path, size_t slots,
                     struct err *err)
{
    file->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file->fd < 0)
        return err_system(err, errno, "%s", path);
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return err_set(err, ERR_SYSTEM,
                           "%s is in use: another engine runs with this state directory", path);
        return err_system(err, errno, "%s: locking", path);
    }
    if (!file_size(file, path, slots, err))
        return false;
    void *at = mmap(NULL, file->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
    if (at == MAP_FAILED)
        return err_system(err, errno, "%s: mapping", path);
    file->slots = at;
    struct header *header = at;
    static const char fresh[16];
    if (memcmp(header->magic, fresh, sizeof fresh) == 0)
        memcpy(header->magic, journal_magic, sizeof journal_magic);
    if (memcmp(header->magic, journal_magic, sizeof journal_magic) != 0)
        return err_set(err, ERR_SYSTEM, "%s isn't a journal of this version", path);
    return true;
}

bool queue_journal_open(struct queue_journal_file **out, const char *directory, unsigned workers,
                        unsigned slots, struct err *err)
{
    assert(workers > 0);
    slots = slots ? slots : SLOTS_DEFAULT;
    if ((uint64_t)workers * slots >= SLOTS_MAX)
        return err_set(err, ERR_CONFIG, "journal: %u workers with %u slots each are too many",
                       workers, slots);
    char path[4096];
    if (snprintf(path, sizeof path, "%s/journal", directory) >= (int)sizeof path)
        return err_set(err, ERR_CONFIG, "the state directory's name is too long");
    struct queue_journal_file *file = mem_zalloc(sizeof *file);
    file->fd = -1;
    file->workers = workers;
    map_init(&file->found, 0);
    if (!file_map(file, path, (size_t)workers * slots, err)) {
        queue_journal_close(&file);
        return false;
    }
    leftovers_collect(file);
    file->parts = mem_array(workers, sizeof *file->parts);
    for (unsigned i = 0; i < workers; i++)
        file->parts[i] =
            (struct queue_journal){ .file = file, .first = 1 + i * slots, .count = slots };
    *out = file;
    return true;
}

void queue_journal_close(struct queue_journal_file **file)
{
    struct queue_journal_file *it = *file;
    if (!it)
        return;
    if (it->slots)
        munmap(it->slots, it->bytes);
    if (it->fd >= 0)
        close(it->fd);
    map_free(&it->found);
    arena_free(&it->arena);
    free(it->leftovers);
    for (unsigned i = 0; it->parts && i < it->workers; i++)
        free(it->parts[i].freed);
    free(it->parts);
    free(it);
    *file = NULL;
}

struct queue_journal *queue_journal_worker(struct queue_journal_file *file, unsigned worker)
{
    assert(worker < file->workers);
    return &file->parts[worker];
}

static int32_t slot_next(struct queue_journal *journal)
{
    if (journal->freed_count > 0)
        return journal->freed[--journal->freed_count];
    while (journal->fresh < journal->count) {
        unsigned index = journal->first + journal->fresh++;
        /* Not those that an earlier process left: they come by journal_free(). */
        if ((atomic_load_explicit(&journal->file->slots[index].word, memory_order_acquire) &
             0xff) == JOURNAL_IDLE)
            return (int32_t)index;
    }
    return -1;
}

int32_t journal_take(struct queue_journal *journal, unsigned partition, struct slice job_id,
                     uint64_t epoch)
{
    assert(job_id.len > 0 && job_id.len <= QUEUE_ID_BYTES_MAX && partition <= UINT16_MAX);
    int32_t index = slot_next(journal);
    if (index < 0)
        return -1;
    struct slot *slot = &journal->file->slots[index];
    slot->epoch = epoch;
    slot->partition = (uint16_t)partition;
    memcpy(slot->id, job_id.ptr, job_id.len);
    atomic_store_explicit(&slot->word, word_make(slot, JOURNAL_DOT_SENT, 0, job_id.len),
                          memory_order_release);
    return index;
}

void journal_replied(struct queue_journal *journal, int32_t slot, unsigned code)
{
    struct slot *at = &journal->file->slots[slot];
    size_t id_len = atomic_load_explicit(&at->word, memory_order_relaxed) >> 8 & 0xff;
    atomic_store_explicit(&at->word, word_make(at, JOURNAL_REPLIED, code, id_len),
                          memory_order_release);
}

void journal_free(struct queue_journal *journal, int32_t slot)
{
    assert(slot > 0);
    atomic_store_explicit(&journal->file->slots[slot].word, 0, memory_order_release);
    /* One left in another worker's range serves again after the next start; one not yet fresh is
     * found on the way. */
    if ((unsigned)slot < journal->first || (unsigned)slot >= journal->first + journal->fresh)
        return;
    if (journal->freed_count == journal->freed_room) {
        journal->freed_room = journal->freed_room ? 2 * journal->freed_room : 64;
        journal->freed = mem_realloc(journal->freed, journal->freed_room * sizeof *journal->freed);
    }
    journal->freed[journal->freed_count++] = slot;
}

bool journal_claim(struct queue_journal *journal, struct slice job_id, uint64_t epoch,
                   struct journal_entry *out)
{
    struct leftover *leftover = map_get(&journal->file->found, job_id);
    if (!leftover || leftover->epoch != epoch || atomic_flag_test_and_set(&leftover->claimed))
        return false;
    *out = (struct journal_entry){ leftover->slot, leftover->state, leftover->code };
    return true;
}

void journal_forget(struct queue_journal *journal, unsigned partition)
{
    for (size_t i = 0; i < journal->file->leftover_count; i++) {
        struct leftover *leftover = journal->file->leftovers[i];
        if (leftover->partition == partition && !atomic_flag_test_and_set(&leftover->claimed))
            journal_free(journal, leftover->slot);
    }
}

unsigned journal_taken(const struct queue_journal *journal)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < journal->count; i++) {
        const struct slot *slot = &journal->file->slots[journal->first + i];
        taken += (atomic_load_explicit(&slot->word, memory_order_relaxed) & 0xff) != JOURNAL_IDLE;
    }
    return taken;
}

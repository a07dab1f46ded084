#pragma once
/* What is in doubt when an engine dies (RELIABILITY 2.3): a file of 64-byte slots in the state
 * directory, mapped MAP_SHARED, so that what was stored survives kill -9 without any system call
 * (not a power loss). One file per node, locked; each worker has its own range.
 *
 * A slot is idle, dot-sent (an end-of-data may be on its way), or replied (with a code, not yet
 * durable in Redis). Taking a slot writes the job first and then one word that holds state, code
 * and checksum; every later change is one store of that word, so a slot can't be torn: a death in
 * the middle of taking leaves it idle, and then the end-of-data wasn't sent either. */
#include "engine/base/err.h"
#include "engine/base/slice.h"

struct queue_journal_file;
struct queue_journal; /* a worker's part */

enum journal_state { JOURNAL_IDLE, JOURNAL_DOT_SENT, JOURNAL_REPLIED };

/** Opens DIRECTORY/journal with room for `workers` × `slots` (what was there before stays, wherever
 * it lies), creates it where it doesn't exist, and locks it: false with ERR_SYSTEM, naming the
 * file, when another engine has it. `slots`: 0 for 65,536 (4 MiB, of which only as much is touched
 * as was ever in doubt at once). */
MUST_USE bool queue_journal_open(struct queue_journal_file **out, const char *directory,
                                 unsigned workers, unsigned slots, struct err *err);
void queue_journal_close(struct queue_journal_file **file);
/** A worker's part; lives as long as the file. */
struct queue_journal *queue_journal_worker(struct queue_journal_file *file, unsigned worker);

/** Takes a slot: "end-of-data of this job may be on its way". -1 when all are taken: then it
 * mustn't be sent. */
MUST_USE int32_t journal_take(struct queue_journal *journal, unsigned partition,
                              struct slice job_id, uint64_t epoch);
/** The reply is here, Redis doesn't have it yet. */
void journal_replied(struct queue_journal *journal, int32_t slot, unsigned code);
/** Redis has the outcome. Also frees what journal_claim() found. */
void journal_free(struct queue_journal *journal, int32_t slot);

struct journal_entry {
    int32_t slot;
    enum journal_state state;
    unsigned code;
};

/** What an earlier process left about a job that it had leased under `epoch`; each entry is given
 * out once, and is then the caller's to free. Any worker may ask: the job's partition may have been
 * another worker's then. */
MUST_USE bool journal_claim(struct queue_journal *journal, struct slice job_id, uint64_t epoch,
                            struct journal_entry *out);
/** Frees what an earlier process left about a partition and nobody claimed: its jobs aren't in
 * flight any more. */
void journal_forget(struct queue_journal *journal, unsigned partition);
/** Slots of this worker that aren't idle; for tests and statistics, not cheap. */
unsigned journal_taken(const struct queue_journal *journal);

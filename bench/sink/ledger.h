#pragma once
/* The sink's memory of what it accepted: a set that finds duplicates, and optionally a file with
 * one line per accepted recipient that is complete up to the last reply sent, even if the sink is
 * killed. */
#include <stdatomic.h>

#include "bench/sink/hashset.h"
#include "engine/base/buf.h"
#include "engine/base/err.h"

struct ledger_options {
    const char *file; /* appended to; NULL: none */
    bool id_in_key;   /* a message is known by recipient and Message-ID, not by recipient alone */
    size_t duplicates_listed_max; /* how many duplicates are kept by name */
};

struct ledger {
    struct ledger_options options;
    struct hashset seen;
    _Atomic uint64_t duplicates;
    int fd;
    pthread_mutex_t lock; /* guards `listed` */
    struct buf listed;    /* "recipient\tid\n" … */
    size_t listed_count;
};

/** A worker's lines that aren't written yet. */
struct ledger_batch {
    struct ledger *ledger;
    struct buf lines;
};

struct ledger_entry {
    struct slice recipient; /* lower case */
    struct slice id;        /* Message-ID; may be empty */
    struct slice digest;    /* SHA-256 in hex; may be empty */
    int64_t time_us;        /* Unix time */
};

MUST_USE bool ledger_open(struct ledger *ledger, struct ledger_options options, struct err *err);
void ledger_close(struct ledger *ledger);

/** Notes an accepted recipient; true if it is the first time. Its line waits for ledger_flush. */
bool ledger_accept(struct ledger_batch *batch, const struct ledger_entry *entry);
/** Writes the batch's lines in one piece; call it before the replies leave. On false they stay in
 * the batch. */
MUST_USE bool ledger_flush(struct ledger_batch *batch, struct err *err);

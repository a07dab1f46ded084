#pragma once
/* The receiving side of SMTP as a machine without I/O: bytes in, replies into an outbox,
 * acceptances into a ledger. It knows nothing of sockets, so tests feed it any split of any
 * conversation. */
#include "bench/sink/content.h"
#include "bench/sink/counters.h"
#include "bench/sink/ledger.h"
#include "bench/sink/outbox.h"
#include "bench/sink/scan.h"
#include "bench/sink/script.h"
#include "engine/base/histogram.h"

#define DIALOGUE_LINE_BYTES_MAX 4096
#define DIALOGUE_RECIPIENTS_MAX 1000

/** What the sink offers and does; the same for all sessions. */
struct dialogue_features {
    const char *hostname;
    bool chunking, starttls, pipelining;
    bool requiretls; /* inside TLS (RFC 8689) */
    uint64_t size_bytes_max;
    uint32_t delay_ms; /* before every reply */
    struct content_options content;
};

/** What a worker lends to its sessions' dialogues. */
struct dialogue_env {
    const struct dialogue_features *features;
    struct script *script; /* NULL: none */
    struct ledger_batch *ledger;
    struct sink_counters *counters;
    struct histogram *latency; /* MAIL to end-of-data; NULL: not measured */
    struct rng rng;
    int64_t now_us;  /* monotonic, set before each turn */
    int64_t unix_us; /* wall clock, likewise */
};

enum dialogue_input {
    DIALOGUE_COMMAND,
    DIALOGUE_LONG_LINE,
    DIALOGUE_DATA,
    DIALOGUE_BDAT,
    DIALOGUE_DEAF
};

struct dialogue {
    struct dialogue_env *env;
    struct outbox *outbox;
    struct slice address; /* the sink's own, for the script */
    enum dialogue_input input;
    struct scan scan;
    bool greeted, tls, mail, closing, silent;
    bool tls_wanted; /* 220 was said to STARTTLS: whatever comes next belongs to the handshake */
    bool bdat_last, bdat_begun, bdat_refused;
    uint32_t recipients_count;
    uint32_t messages; /* accepted on this session */
    uint64_t bdat_left, message_bytes;
    int64_t mail_us;
    struct buf line;       /* the beginning of a command whose end hasn't come */
    struct buf sender;     /* lower case */
    struct buf recipients; /* lower case, each with a newline */
    struct content content;
};

/** Starts a session: the greeting goes into the outbox. All arguments outlive the dialogue. */
void dialogue_init(struct dialogue *dialogue, struct dialogue_env *env, struct outbox *outbox,
                   struct slice address);
void dialogue_deinit(struct dialogue *dialogue);

/**
 * Takes bytes from the peer; replies go into the outbox in the order of the commands. After
 * STARTTLS the rest of `in` is dropped and counted, and the caller owes a handshake (see
 * dialogue_tls_started).
 */
void dialogue_feed(struct dialogue *dialogue, struct slice in);

/** The handshake is done: the dialogue begins anew (RFC 3207, 4.2). */
void dialogue_tls_started(struct dialogue *dialogue);

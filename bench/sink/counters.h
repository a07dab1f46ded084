#pragma once
/* What a sink counts. Each worker writes its own set; the report adds them up while they are being
 * written. */
#include <stdatomic.h>

#include "engine/base/compiler.h"

/* name · what it counts */
#define SINK_COUNTERS(X)                                                                           \
    X(messages)              /* transactions answered with 2xx at end-of-data */                   \
    X(recipients)            /* recipients of these */                                             \
    X(bytes)                 /* content received, stuffed dots and terminators included */         \
    X(data)                  /* messages that came with DATA */                                    \
    X(bdat)                  /* messages that came with BDAT */                                    \
    X(requiretls)            /* MAIL commands with REQUIRETLS */                                   \
    X(bdat_chunks)           /* BDAT commands */                                                   \
    X(sessions)              /* connections accepted */                                            \
    X(tls)                   /* TLS handshakes finished */                                         \
    X(mail_rejected)         /* MAIL commands refused, scripted or not */                          \
    X(rcpt_rejected)         /* RCPT commands refused with 5xx */                                  \
    X(rcpt_deferred)         /* RCPT commands refused with 4xx */                                  \
    X(messages_rejected)     /* end-of-data answered with 5xx */                                   \
    X(messages_deferred)     /* end-of-data answered with 4xx */                                   \
    X(bodies_without_rcpt)   /* content received although no recipient was accepted */             \
    X(scripted_closes)       /* sessions closed by the script */                                   \
    X(scripted_silences)     /* sessions silenced by the script */                                 \
    X(protocol_errors)       /* commands out of order, unknown, malformed or too long */           \
    X(pipelining_violations) /* bytes behind a command that must end its group (RFC 2920) */       \
    X(bare_lf_commands)      /* commands ended by LF without CR */                                 \
    X(bare_cr)               /* CR without LF in content (only with inspection) */                 \
    X(bare_lf)               /* LF without CR in content (only with inspection) */                 \
    X(long_lines)      /* content lines above 1,000 bytes with CRLF (only with inspection) */      \
    X(tls_failures)    /* handshakes or records that failed */                                     \
    X(receives)        /* receive completions with data */                                         \
    X(sends)           /* send operations */                                                       \
    X(no_buffers)      /* receives that found no free buffer and were armed again */               \
    X(accept_failures) /* accepts that failed, mostly for want of descriptors */                   \
    X(dns_queries)     /* queries answered by the responder */

struct sink_counters {
#define SINK_COUNTER_FIELD(name) _Atomic uint64_t name;
    SINK_COUNTERS(SINK_COUNTER_FIELD)
#undef SINK_COUNTER_FIELD
};

/** Adds to a counter that only the calling thread writes: no locked instruction. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + n, memory_order_relaxed);
}

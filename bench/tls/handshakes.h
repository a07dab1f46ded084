#pragma once
/* TLS handshakes by the hundred, the engine's way and OpenSSL's own, against one server. */
#include "engine/base/err.h"

struct handshakes {
    unsigned count;   /* done */
    unsigned resumed; /* of them */
    double cpu_s;     /* of the calling thread: connect, handshake, one byte, close */
};

/**
 * A server in a process of its own that ends with this one: P-256 certificate, TLS 1.3, two tickets
 * per connection, one byte once the handshake is done. Returns its port on 127.0.0.1.
 */
MUST_USE bool handshake_server_start(uint16_t *port, struct err *err);

/** `count` connections one after the other with blocking sockets and OpenSSL alone; with `resume`
 * each but the first few takes up an earlier one. */
MUST_USE bool handshakes_bare(uint16_t port, unsigned count, bool resume, struct handshakes *out,
                              struct err *err);

/** The same with engine/net on engine/ring, `at_once` connections side by side. */
MUST_USE bool handshakes_ours(uint16_t port, unsigned count, unsigned at_once, bool resume,
                              struct handshakes *out, struct err *err);

/** CPU time of the calling thread, in seconds. */
double handshakes_cpu_s(void);

#pragma once
/* Where Redis is: redis://[[user]:password@]host[:port][/db] or unix:///path[?db=N].
 * Percent-encoding in user and password. */
#include "engine/base/err.h"
#include "engine/base/slice.h"

struct redis_url {
    bool unix_socket;
    char path[108]; /* of the Unix socket */
    char host[256];
    uint16_t port;                 /* 6379 */
    char user[128], password[256]; /* empty: none */
    unsigned db;
};

/** Parses `text`; `err` says what is wrong, without the password. */
MUST_USE bool redis_url_parse(struct slice text, struct redis_url *out, struct err *err);

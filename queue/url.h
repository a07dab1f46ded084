#pragma once
/* Where Redis is:
 *
 *   redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]                     one server
 *   unix:///PATH                                                   one server, on a Unix socket
 *   redis+sentinel://[…@]HOST[:PORT],HOST…/MASTER[/DB]             the primary that Sentinel names
 *   redis+cluster://[…@]HOST[:PORT],HOST…                          all primaries of a cluster
 *
 * with rediss in place of redis for TLS. Then `?` and NAME=VALUE, joined by `&`:
 *
 *   ca=FILE          what to trust in place of the system's store (PEM)
 *   cert=FILE&key=FILE   our certificate, for servers that ask for one (PEM)
 *   name=HOST        the name that the certificates bear, when it isn't the host's
 *   verify=no        believe any certificate: encrypted, but whoever is in between reads along
 *   sentinel_user=…&sentinel_password=…   for the sentinels; USER and PASSWORD are the servers'
 *   db=N, user=…, password=…   what has no other place in a unix:// URL
 *
 * Percent-encoding in user, password, host, master, path and values. */
#include "engine/base/err.h"
#include "engine/base/slice.h"

enum {
    REDIS_HOSTS_MAX = 32,  /* in a URL */
    REDIS_URL_BYTES = 2048 /* that a URL may be long, with its NUL */
};

enum redis_url_kind { REDIS_URL_SERVER, REDIS_URL_SENTINEL, REDIS_URL_CLUSTER };

struct redis_host {
    char name[256]; /* a name or an address; of a Unix socket its path */
    uint16_t port;  /* 0: a Unix socket */
};

struct redis_url {
    enum redis_url_kind kind;
    struct redis_host hosts[REDIS_HOSTS_MAX];
    unsigned host_count;
    char user[128], password[256]; /* empty: none */
    unsigned db;
    char master[128];
    char sentinel_user[128], sentinel_password[256];
    bool tls, verify;
    char ca[256], cert[256], key[256], name[256]; /* empty: none */
};

/** Parses `text`; `err` says what is wrong, without any password. */
MUST_USE bool redis_url_parse(struct slice text, struct redis_url *out, struct err *err);
/** Forgets the passwords. */
void redis_url_clear(struct redis_url *url);
/** "HOST:PORT" or a path, for messages. */
void redis_host_print(const struct redis_host *host, char *out, size_t room);

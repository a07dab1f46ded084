#include "queue/url.h"

#include <stdio.h>
#include <sys/un.h>

/* No message shows what it found, but for names: a password with a bare '/', '?' or '@' in it can
 * turn up anywhere. */

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX into out (a NUL behind). False when it doesn't fit, is malformed, or holds a NUL. */
static bool percent_decode(struct slice from, char *out, size_t room)
{
    size_t n = 0;
    while (from.len > 0) {
        char c = from.ptr[0];
        size_t width = 1;
        if (c == '%') {
            if (from.len < 3 || hex_digit(from.ptr[1]) < 0 || hex_digit(from.ptr[2]) < 0)
                return false;
            c = (char)(hex_digit(from.ptr[1]) * 16 + hex_digit(from.ptr[2]));
            width = 3;
        }
        if (n + 1 >= room || c == '\0')
            return false;
        out[n++] = c;
        from = slice_skip(from, width);
    }
    out[n] = '\0';
    return true;
}

static bool db_parse(struct slice text, unsigned *db, struct err *err)
{
    uint64_t value;
    if (!slice_to_u64(text, &value) || value > 65535)
        return err_set(err, ERR_CONFIG, "Redis URL: the database isn't a number up to 65535");
    *db = (unsigned)value;
    return true;
}

/* ---- in front of the '/' ---- */

static bool host_parse(struct slice text, uint16_t port_default, struct redis_host *out,
                       struct err *err)
{
    struct slice host = text, port = { 0 };
    if (text.len && text.ptr[0] == '[') { /* an IPv6 address */
        ptrdiff_t end = slice_find(text, ']');
        if (end < 0 || ((size_t)end + 1 < text.len && text.ptr[end + 1] != ':'))
            return err_set(err, ERR_CONFIG, "Redis URL: '[' without a matching ']'");
        host = slice_skip(slice_head(text, (size_t)end), 1);
        port = slice_skip(text, MIN_OF((size_t)end + 2, text.len));
    } else {
        port = text;
        host = slice_cut(&port, ':');
    }
    if (!percent_decode(host, out->name, sizeof out->name))
        return err_set(err, ERR_CONFIG, "Redis URL: the host is malformed");
    if (host.len == 0)
        memcpy(out->name, "127.0.0.1", 10);
    uint64_t number = port_default;
    if (port.len && (!slice_to_u64(port, &number) || number == 0 || number > 65535))
        return err_set(err, ERR_CONFIG, "Redis URL: a port isn't a number up to 65535");
    out->port = (uint16_t)number;
    return true;
}

static bool hosts_parse(struct slice text, struct redis_url *out, struct err *err)
{
    uint16_t port = out->kind == REDIS_URL_SENTINEL ? 26379 : 6379;
    if (out->kind == REDIS_URL_SERVER && slice_find(text, ',') >= 0)
        return err_set(err, ERR_CONFIG,
                       "Redis URL: several hosts need redis+sentinel:// or redis+cluster://");
    do {
        if (out->host_count == REDIS_HOSTS_MAX)
            return err_set(err, ERR_CONFIG, "Redis URL: more than %d hosts", REDIS_HOSTS_MAX);
        if (!host_parse(slice_cut(&text, ','), port, &out->hosts[out->host_count++], err))
            return false;
    } while (text.len > 0);
    return true;
}

static bool user_parse(struct slice text, struct redis_url *out, struct err *err)
{
    struct slice user = slice_cut(&text, ':');
    if (!percent_decode(user, out->user, sizeof out->user) ||
        !percent_decode(text, out->password, sizeof out->password))
        return err_set(err, ERR_CONFIG, "Redis URL: user or password is malformed or too long");
    return true;
}

static bool authority_parse(struct slice text, struct redis_url *out, struct err *err)
{
    ptrdiff_t at = -1; /* the last one: a password may hold others */
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '@')
            at = (ptrdiff_t)i;
    if (at >= 0 && !user_parse(slice_head(text, (size_t)at), out, err))
        return false;
    return hosts_parse(slice_skip(text, (size_t)(at + 1)), out, err);
}

/* ---- behind it ---- */

static bool path_parse(struct slice text, struct redis_url *out, struct err *err)
{
    if (out->kind == REDIS_URL_SENTINEL) {
        struct slice master = slice_cut(&text, '/');
        if (master.len == 0 || !percent_decode(master, out->master, sizeof out->master))
            return err_set(err, ERR_CONFIG,
                           "Redis URL: redis+sentinel:// needs the master's name, as in "
                           "redis+sentinel://a,b,c/mymaster");
    }
    if (text.len == 0)
        return true;
    if (out->kind == REDIS_URL_CLUSTER)
        return err_set(err, ERR_CONFIG, "Redis URL: a cluster has no database but 0");
    return db_parse(text, &out->db, err);
}

static bool socket_parse(struct slice path, struct redis_url *out, struct err *err)
{
    size_t room = sizeof((struct sockaddr_un *)NULL)->sun_path;
    if (path.len == 0 || path.ptr[0] != '/')
        return err_set(err, ERR_CONFIG,
                       "Redis URL: unix:// needs an absolute path, as in unix:///run/redis.sock");
    out->host_count = 1;
    if (!percent_decode(path, out->hosts[0].name, room))
        return err_set(err, ERR_CONFIG,
                       "Redis URL: the socket's path is malformed or longer than %zu bytes",
                       room - 1);
    return true;
}

static bool verify_parse(struct slice value, struct redis_url *out, struct err *err)
{
    out->verify = slice_eq(value, SLICE("yes"));
    return out->verify || slice_eq(value, SLICE("no")) ||
           err_set(err, ERR_CONFIG, "Redis URL: verify is yes or no");
}

static bool parameter_parse(struct slice name, struct slice value, bool unix_socket,
                            struct redis_url *out, struct err *err)
{
    const bool sentinel = out->kind == REDIS_URL_SENTINEL;
    const struct {
        const char *name;
        bool fits;
        char *text;
        size_t room;
    } texts[] = {
        { "ca", out->tls, out->ca, sizeof out->ca },
        { "cert", out->tls, out->cert, sizeof out->cert },
        { "key", out->tls, out->key, sizeof out->key },
        { "name", out->tls, out->name, sizeof out->name },
        { "sentinel_user", sentinel, out->sentinel_user, sizeof out->sentinel_user },
        { "sentinel_password", sentinel, out->sentinel_password, sizeof out->sentinel_password },
        { "user", unix_socket, out->user, sizeof out->user },
        { "password", unix_socket, out->password, sizeof out->password },
    };
    if (slice_eq(name, SLICE("db")) && unix_socket)
        return db_parse(value, &out->db, err);
    if (slice_eq(name, SLICE("verify")) && out->tls)
        return verify_parse(value, out, err);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!texts[i].fits || !slice_eq(name, slice_str(texts[i].name)))
            continue;
        return percent_decode(value, texts[i].text, texts[i].room) ||
               err_set(err, ERR_CONFIG, "Redis URL: the value of '%s' is malformed or too long",
                       texts[i].name);
    }
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] != '_' && (name.ptr[i] < 'a' || name.ptr[i] > 'z'))
            name.len = 0; /* perhaps it's of a password with a bare '?' in it */
    return err_set(err, ERR_CONFIG, "Redis URL: '%.*s' may not follow the '?' here",
                   SLICE_FMT(name));
}

static bool parameters_parse(struct slice text, bool unix_socket, struct redis_url *out,
                             struct err *err)
{
    while (text.len > 0) {
        struct slice value = slice_cut(&text, '&');
        struct slice name = slice_cut(&value, '=');
        if (!parameter_parse(name, value, unix_socket, out, err))
            return false;
    }
    return true;
}

/* ---- the whole ---- */

static bool whole_check(const struct redis_url *url, struct err *err)
{
    if (url->user[0] && !url->password[0])
        return err_set(err, ERR_CONFIG,
                       "Redis URL: a user without a password (write redis://:PASSWORD@… for none)");
    if (url->sentinel_user[0] && !url->sentinel_password[0])
        return err_set(err, ERR_CONFIG, "Redis URL: sentinel_user without sentinel_password");
    if (!url->cert[0] != !url->key[0])
        return err_set(err, ERR_CONFIG, "Redis URL: cert and key go together");
    if (!url->verify && (url->ca[0] || url->name[0]))
        return err_set(err, ERR_CONFIG, "Redis URL: verify=no makes ca and name useless");
    return true;
}

static bool scheme_take(struct slice *text, struct redis_url *out)
{
    static const struct {
        const char *text;
        enum redis_url_kind kind;
        bool tls;
    } schemes[] = {
        { "redis://", REDIS_URL_SERVER, false },
        { "rediss://", REDIS_URL_SERVER, true },
        { "redis+sentinel://", REDIS_URL_SENTINEL, false },
        { "rediss+sentinel://", REDIS_URL_SENTINEL, true },
        { "redis+cluster://", REDIS_URL_CLUSTER, false },
        { "rediss+cluster://", REDIS_URL_CLUSTER, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (!slice_starts_with(*text, slice_str(schemes[i].text)))
            continue;
        *text = slice_skip(*text, strlen(schemes[i].text));
        out->kind = schemes[i].kind;
        out->tls = schemes[i].tls;
        return true;
    }
    return false;
}

bool redis_url_parse(struct slice text, struct redis_url *out, struct err *err)
{
    *out = (struct redis_url){ .verify = true };
    if (text.len >= REDIS_URL_BYTES)
        return err_set(err, ERR_CONFIG, "Redis URL: longer than %d bytes", REDIS_URL_BYTES - 1);
    bool unix_socket = slice_starts_with(text, SLICE("unix://")), ok;
    if (unix_socket) {
        struct slice rest = slice_skip(text, 7);
        struct slice path = slice_cut(&rest, '?');
        ok = socket_parse(path, out, err) && parameters_parse(rest, true, out, err);
    } else if (scheme_take(&text, out)) {
        struct slice rest = slice_cut(&text, '?'), parameters = text;
        struct slice authority = slice_cut(&rest, '/');
        ok = authority_parse(authority, out, err) && path_parse(rest, out, err) &&
             parameters_parse(parameters, false, out, err);
    } else {
        ok = err_set(err, ERR_CONFIG,
                     "Redis URL: must start with redis://, rediss:// (TLS), unix://, "
                     "redis+sentinel:// or redis+cluster://");
    }
    if (ok && whole_check(out, err))
        return true;
    redis_url_clear(out);
    return false;
}

void redis_url_clear(struct redis_url *url)
{
    explicit_bzero(url->password, sizeof url->password);
    explicit_bzero(url->sentinel_password, sizeof url->sentinel_password);
}

void redis_host_print(const struct redis_host *host, char *out, size_t room)
{
    if (host->port == 0)
        snprintf(out, room, "%s", host->name);
    else
        snprintf(out, room, strchr(host->name, ':') ? "[%s]:%u" : "%s:%u", host->name, host->port);
}

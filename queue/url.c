#include "queue/url.h"

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
        return err_set(err, ERR_CONFIG, "Redis URL: '%.*s' is no database number", SLICE_FMT(text));
    *db = (unsigned)value;
    return true;
}

static bool unix_parse(struct slice rest, struct redis_url *out, struct err *err)
{
    out->unix_socket = true;
    struct slice path = slice_cut(&rest, '?');
    if (path.len == 0 || path.ptr[0] != '/')
        return err_set(err, ERR_CONFIG,
                       "Redis URL: unix:// needs an absolute path, as in unix:///run/redis.sock");
    if (!percent_decode(path, out->path, sizeof out->path))
        return err_set(err, ERR_CONFIG,
                       "Redis URL: the socket's path is malformed or longer than %zu bytes",
                       sizeof out->path - 1);
    if (rest.len == 0)
        return true;
    if (!slice_starts_with(rest, SLICE("db=")))
        return err_set(err, ERR_CONFIG, "Redis URL: only db=N may follow the '?'");
    return db_parse(slice_skip(rest, 3), &out->db, err);
}

static bool host_parse(struct slice text, struct redis_url *out, struct err *err)
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
    if (!percent_decode(host, out->host, sizeof out->host))
        return err_set(err, ERR_CONFIG, "Redis URL: the host is malformed");
    if (host.len == 0)
        memcpy(out->host, "127.0.0.1", 10);
    uint64_t number = 6379;
    if (port.len && (!slice_to_u64(port, &number) || number == 0 || number > 65535))
        return err_set(err, ERR_CONFIG, "Redis URL: '%.*s' is no port", SLICE_FMT(port));
    out->port = (uint16_t)number;
    return true;
}

bool redis_url_parse(struct slice text, struct redis_url *out, struct err *err)
{
    *out = (struct redis_url){ .port = 6379 };
    if (slice_starts_with(text, SLICE("unix://")))
        return unix_parse(slice_skip(text, 7), out, err);
    if (slice_starts_with(text, SLICE("rediss://")))
        return err_set(err, ERR_CONFIG, "Redis URL: rediss:// (TLS) isn't supported yet");
    if (!slice_starts_with(text, SLICE("redis://")))
        return err_set(err, ERR_CONFIG, "Redis URL: must start with redis:// or unix://");
    struct slice rest = slice_skip(text, 8);
    struct slice authority = slice_cut(&rest, '/');
    ptrdiff_t at = -1;
    for (size_t i = 0; i < authority.len; i++)
        if (authority.ptr[i] == '@')
            at = (ptrdiff_t)i;
    if (at >= 0) {
        struct slice password = slice_head(authority, (size_t)at);
        struct slice user = slice_cut(&password, ':');
        if (!percent_decode(user, out->user, sizeof out->user) ||
            !percent_decode(password, out->password, sizeof out->password))
            return err_set(err, ERR_CONFIG, "Redis URL: user or password is malformed or too long");
        if (out->user[0] && !out->password[0])
            return err_set(
                err, ERR_CONFIG,
                "Redis URL: a user without a password (write redis://:PASSWORD@… for none)");
        authority = slice_skip(authority, (size_t)at + 1);
    }
    if (!host_parse(authority, out, err))
        return false;
    return rest.len == 0 || db_parse(rest, &out->db, err);
}

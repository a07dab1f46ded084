#include "engine/message/dkim_canon.h"

/* ---- header ---- */

void dkim_header_take(const struct iovec *message, unsigned count, struct buf *out,
                      unsigned *body_iov, size_t *body_at)
{
    unsigned matched = 2; /* bytes of CR LF CR LF: a header may be empty */
    for (unsigned i = 0; i < count; i++) {
        const char *bytes = message[i].iov_base;
        for (size_t k = 0; k < message[i].iov_len; k++) {
            char wanted = matched % 2 ? '\n' : '\r';
            matched = bytes[k] == wanted ? matched + 1 : bytes[k] == '\r' ? 1 : 0;
            if (matched < 4)
                continue;
            buf_append(out, slice_of(bytes, k + 1));
            out->len -= 2;
            *body_iov = i;
            *body_at = k + 1;
            return;
        }
        buf_append(out, slice_of(bytes, message[i].iov_len));
    }
    *body_iov = count;
    *body_at = 0;
}

struct slice dkim_field_take(struct slice *header, struct slice *name, struct slice *value)
{
    size_t end = 0;
    while (end < header->len) {
        const char *line_end = memchr(header->ptr + end, '\n', header->len - end);
        end = line_end ? (size_t)(line_end - header->ptr) + 1 : header->len;
        if (end < header->len && header->ptr[end] != ' ' && header->ptr[end] != '\t')
            break;
    }
    struct slice field = slice_of(header->ptr, end);
    *header = slice_skip(*header, end);
    *value = field;
    *name = slice_cut(value, ':');
    while (name->len > 0 && (name->ptr[name->len - 1] == ' ' || name->ptr[name->len - 1] == '\t'))
        name->len--;
    return field;
}

void dkim_field_append(struct buf *out, struct slice name, struct slice value)
{
    char *at = buf_reserve(out, name.len + value.len + 1), *begin = at;
    for (size_t i = 0; i < name.len; i++)
        *at++ = ascii_lower(name.ptr[i]);
    *at++ = ':';
    bool blank = false, any = false;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            blank = true;
            continue;
        }
        if (blank && any)
            *at++ = ' ';
        blank = false;
        any = true;
        *at++ = c;
    }
    buf_grow(out, (size_t)(at - begin));
}

/* ---- body ---- */

void dkim_body_begin(struct dkim_body *body, EVP_MD_CTX *digest, bool relaxed)
{
    body->digest = digest;
    body->relaxed = relaxed;
    body->blank = body->cr = body->any = false;
    body->line_ends = body->len = 0;
}

static void put(struct dkim_body *body, char c)
{
    if (body->len == sizeof body->out) {
        EVP_DigestUpdate(body->digest, body->out, body->len);
        body->len = 0;
    }
    body->out[body->len++] = c;
}

/* Before text: the line ends and the blank that stand in front of it. */
static void put_held(struct dkim_body *body)
{
    for (; body->line_ends > 0; body->line_ends--) {
        put(body, '\r');
        put(body, '\n');
    }
    if (body->blank)
        put(body, ' ');
    body->blank = false;
    body->any = true;
}

static bool is_text(const struct dkim_body *body, char c)
{
    return c > ' ' || (c != '\r' && !(body->relaxed && (c == ' ' || c == '\t')));
}

/* Copies from the front of `bytes` what is text; at least a byte of it. */
static size_t put_text(struct dkim_body *body, struct slice bytes)
{
    size_t n = 0;
    put_held(body);
    while (n < bytes.len && is_text(body, bytes.ptr[n])) {
        size_t room = sizeof body->out - body->len, most = MIN_OF(bytes.len, n + room);
        char *out = body->out + body->len, *at = out;
        for (; n < most && is_text(body, bytes.ptr[n]); n++)
            *at++ = bytes.ptr[n];
        body->len += (size_t)(at - out);
        if (body->len == sizeof body->out) {
            EVP_DigestUpdate(body->digest, body->out, body->len);
            body->len = 0;
        }
    }
    return n;
}

static void put_lone_cr(struct dkim_body *body)
{
    body->cr = false;
    put_held(body);
    put(body, '\r');
}

void dkim_body_feed(struct dkim_body *body, struct slice bytes)
{
    while (bytes.len > 0) {
        char c = bytes.ptr[0];
        size_t n = 1;
        if (body->cr && c == '\n') {
            body->cr = false;
            body->blank = false; /* at the end of a line: gone */
            body->line_ends++;
        } else if (body->cr) {
            put_lone_cr(body);
            n = 0;
        } else if (is_text(body, c)) {
            n = put_text(body, bytes);
        } else if (c == '\r') {
            body->cr = true;
        } else {
            body->blank = true;
        }
        bytes = slice_skip(bytes, n);
    }
}

/* Empty lines at the end don't count; the last line has its end. */
void dkim_body_end(struct dkim_body *body)
{
    if (body->cr)
        put_lone_cr(body);
    if (body->any || !body->relaxed) {
        put(body, '\r');
        put(body, '\n');
    }
    EVP_DigestUpdate(body->digest, body->out, body->len);
}

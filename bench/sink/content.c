#include "bench/sink/content.h"

#define HEAD_BYTES_MAX 8192
#define LINE_BYTES_MAX 1000 /* with CRLF, without transparency dot: RFC 5321, 4.5.3.1.6 */

void content_init(struct content *content, struct content_options options)
{
    *content = (struct content){ .options = options };
}

void content_deinit(struct content *content)
{
    buf_free(&content->head);
    EVP_MD_CTX_free(content->digest);
}

void content_start(struct content *content)
{
    buf_clear(&content->head);
    content->place = CONTENT_LINE_START;
    content->line_bytes = 0;
    if (!content->options.digest)
        return;
    if (!content->digest)
        content->digest = EVP_MD_CTX_new();
    int started = content->digest ? EVP_DigestInit_ex(content->digest, EVP_sha256(), NULL) : 0;
    assert(started == 1);
}

struct unstuffed {
    struct content *content;
    struct sink_counters *counters;
    size_t len;
    char bytes[4096];
};

static void unstuffed_flush(struct unstuffed *out)
{
    if (out->content->options.digest)
        EVP_DigestUpdate(out->content->digest, out->bytes, out->len);
    out->len = 0;
}

static void unstuffed_put(struct unstuffed *out, char c)
{
    if (out->len == sizeof out->bytes)
        unstuffed_flush(out);
    out->bytes[out->len++] = c;
}

static void inspect(struct unstuffed *out, enum content_place before, char c)
{
    struct content *content = out->content;
    if (!content->options.inspect)
        return;
    bool after_cr = before == CONTENT_CR;
    if (after_cr && c != '\n')
        counter_add(&out->counters->bare_cr, 1);
    if (!after_cr && c == '\n')
        counter_add(&out->counters->bare_lf, 1);
    content->line_bytes++;
    if (c == '\n') {
        if (content->line_bytes > LINE_BYTES_MAX)
            counter_add(&out->counters->long_lines, 1);
        content->line_bytes = 0;
    }
}

static enum content_place ordinary_byte(struct unstuffed *out, enum content_place before, char c)
{
    inspect(out, before, c);
    unstuffed_put(out, c);
    if (c == '\r')
        return CONTENT_CR;
    return c == '\n' && before == CONTENT_CR ? CONTENT_LINE_START : CONTENT_IN_LINE;
}

static void take_byte(struct unstuffed *out, char c, bool stuffed)
{
    struct content *content = out->content;
    switch (content->place) {
    case CONTENT_LINE_START:
        if (stuffed && c == '.') {
            content->place = CONTENT_DOT;
            return;
        }
        break;
    case CONTENT_DOT:
        if (c == '\r') {
            content->place = CONTENT_DOT_CR;
            return;
        }
        content->place = CONTENT_LINE_START;
        break;
    case CONTENT_DOT_CR:
        if (c == '\n') { /* the terminator */
            content->place = CONTENT_LINE_START;
            return;
        }
        content->place = ordinary_byte(out, CONTENT_LINE_START, '\r');
        break;
    case CONTENT_IN_LINE:
    case CONTENT_CR:
        break;
    }
    content->place = ordinary_byte(out, content->place, c);
}

void content_feed(struct content *content, struct slice bytes, bool stuffed,
                  struct sink_counters *counters)
{
    if (content->options.id && content->head.len < HEAD_BYTES_MAX)
        buf_append(&content->head,
                   slice_head(bytes, MIN_OF(bytes.len, HEAD_BYTES_MAX - content->head.len)));
    if (!content->options.digest && !content->options.inspect)
        return;
    struct unstuffed out;
    out.content = content;
    out.counters = counters;
    out.len = 0;
    for (size_t i = 0; i < bytes.len; i++)
        take_byte(&out, bytes.ptr[i], stuffed);
    unstuffed_flush(&out);
}

/* A header field's value, unfolded no further than one line: a Message-ID has no blanks within. */
static struct slice header_value(struct slice head, struct slice name)
{
    while (head.len > 0) {
        struct slice line = slice_cut(&head, '\n');
        if (slice_trim(line).len == 0)
            break;
        if (!slice_starts_with_nocase(line, name))
            continue;
        struct slice value = slice_trim(slice_skip(line, name.len));
        if (value.len == 0 && head.len > 0 && (head.ptr[0] == ' ' || head.ptr[0] == '\t'))
            value = slice_trim(slice_cut(&head, '\n'));
        return value;
    }
    return SLICE("");
}

struct slice content_id(const struct content *content)
{
    struct slice head = buf_slice(&content->head);
    struct slice id = header_value(head, SLICE("Message-ID:"));
    return id.len > 0 ? id : header_value(head, SLICE("X-Job:"));
}

struct slice content_digest(struct content *content, char out[static 65])
{
    if (!content->options.digest)
        return SLICE("");
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned bytes = 0;
    EVP_DigestFinal_ex(content->digest, digest, &bytes);
    static const char hex[] = "0123456789abcdef";
    for (unsigned i = 0; i < bytes && i < 32; i++) {
        out[i * 2] = hex[digest[i] >> 4];
        out[i * 2 + 1] = hex[digest[i] & 15];
    }
    out[64] = '\0';
    return slice_of(out, 64);
}

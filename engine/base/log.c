#include "engine/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/utf8.h"

static const char *const level_names[] = { "debug", "info", "warn", "error" };

bool log_level_parse(struct slice name, enum log_level *out)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (slice_eq_nocase(name, slice_str(level_names[i]))) {
            *out = (enum log_level)i;
            return true;
        }
    return false;
}

/* The longest message in its longest escape, twice over for the context. */
#define MESSAGE_BYTES_MAX 2048
#define LINE_BYTES_MAX (16 * MESSAGE_BYTES_MAX)

/* What would end the line, reach the terminal's command interpreter, or isn't UTF-8. A backslash is
 * doubled, so that an escape can't be forged either. */
static void append_text(struct buf *line, struct slice text)
{
    while (text.len > 0) {
        unsigned char c = (unsigned char)text.ptr[0];
        size_t width = utf8_sequence_len(text);
        bool c1 = width == 2 && c == 0xc2 && (unsigned char)text.ptr[1] < 0xa0;
        if (c == '\\')
            buf_append(line, SLICE("\\\\"));
        else if (c1)
            buf_printf(line, "\\xc2\\x%02x", (unsigned char)text.ptr[1]);
        else if (width == 0 || c < 0x20 || c == 0x7f)
            buf_printf(line, "\\x%02x", c);
        else
            buf_append(line, slice_head(text, width));
        text = slice_skip(text, width ? width : 1);
    }
}

static void format_time(char *stamp, size_t size)
{
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t at = strftime(stamp, size, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(stamp + at, size - at, ".%03ldZ", now.tv_nsec / 1000000);
}

static void format_line(struct buf *line, const struct log *log, enum log_level level,
                        const char *event, struct slice message)
{
    char stamp[40];
    format_time(stamp, sizeof stamp);
    struct slice context = slice_str(log->context);
    context.len = MIN_OF(context.len, (size_t)MESSAGE_BYTES_MAX);
    if (log->format == LOG_JSON) {
        buf_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", stamp,
                   level_names[level], event);
        if (log->context) {
            buf_append(line, SLICE(",\"context\":"));
            buf_append_json(line, context);
        }
        buf_append(line, SLICE(",\"message\":"));
        buf_append_json(line, message);
        buf_append(line, SLICE("}\n"));
        return;
    }
    buf_printf(line, "%s %-5s %s%s", stamp, level_names[level], event, log->context ? " " : "");
    append_text(line, context);
    buf_append(line, SLICE(": "));
    append_text(line, message);
    buf_append_char(line, '\n');
}

void log_write(const struct log *log, enum log_level level, const char *event, const char *fmt, ...)
{
    int errnum = errno; /* callers log before they look at it */
    char text[MESSAGE_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n >= 0) {
        struct buf line = { .bytes_max = LINE_BYTES_MAX };
        format_line(&line, log, level, event, slice_of(text, MIN_OF((size_t)n, sizeof text - 1)));
        struct slice out = buf_slice(&line);
        ssize_t written = write(log->fd, out.ptr, out.len);
        (void)written; /* nowhere left to say so */
        buf_free(&line);
    }
    errno = errnum;
}

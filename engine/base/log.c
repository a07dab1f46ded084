#include "engine/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/buf.h"

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

void log_write(const struct log *log, enum log_level level, const char *event, const char *fmt, ...)
{
    char text[2048];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    struct slice message = slice_of(text, MIN_OF((size_t)n, sizeof text - 1));

    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    char stamp[40];
    size_t at = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(stamp + at, sizeof stamp - at, ".%03ldZ", now.tv_nsec / 1000000);

    struct buf line = { .bytes_max = 16384 };
    if (log->format == LOG_JSON) {
        buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", stamp,
                   level_names[level], event);
        if (log->context) {
            buf_append(&line, SLICE(",\"context\":"));
            buf_append_json(&line, slice_str(log->context));
        }
        buf_append(&line, SLICE(",\"message\":"));
        buf_append_json(&line, message);
        buf_append(&line, SLICE("}\n"));
    } else {
        buf_printf(&line, "%s %-5s %s%s%s: ", stamp, level_names[level], event,
                   log->context ? " " : "", log->context ? log->context : "");
        for (size_t i = 0; i < message.len; i++) {
            unsigned char c = (unsigned char)message.ptr[i];
            if (c < 0x20 || c == 0x7f)
                buf_printf(&line, "\\x%02x", c);
            else
                buf_append_char(&line, (char)c);
        }
        buf_append_char(&line, '\n');
    }
    struct slice out = buf_slice(&line);
    ssize_t written = write(log->fd, out.ptr, out.len);
    (void)written; /* nowhere left to say so */
    buf_free(&line);
}

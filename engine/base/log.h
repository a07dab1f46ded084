#pragma once
/* Structured log: one line per event, JSON or text, to stderr or a file descriptor, whole lines in one write.
 * No secrets, no bodies. Fields' values are escaped, so a hostile reply can't forge a line. */
#include "engine/base/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

struct log {
    int fd;
    enum log_level level;
    enum log_format format;
    const char *context; /* e.g. "worker=1", put on each line; may be NULL */
};

/** Where a line goes: pass the log in, there is no global one. `event` is a short constant such as "redis-lost". */
void log_write(const struct log *log, enum log_level level, const char *event, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
bool log_level_parse(struct slice name, enum log_level *out);

#define log_debug(log, event, ...) log_at(log, LOG_DEBUG, event, __VA_ARGS__)
#define log_info(log, event, ...) log_at(log, LOG_INFO, event, __VA_ARGS__)
#define log_warn(log, event, ...) log_at(log, LOG_WARN, event, __VA_ARGS__)
#define log_error(log, event, ...) log_at(log, LOG_ERROR, event, __VA_ARGS__)
#define log_at(log, at, event, ...)                                                              \
    do {                                                                                         \
        if ((log)->level <= (at))                                                                \
            log_write(log, at, event, __VA_ARGS__);                                              \
    } while (0)

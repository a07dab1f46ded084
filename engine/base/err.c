#include "engine/base/err.h"

#include <stdio.h>
#include <string.h>

bool err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
{
    if (!err)
        return false;
    va_list args;
    va_start(args, fmt);
    err->kind = kind;
    vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    return false;
}

bool err_system(struct err *err, int errnum, const char *fmt, ...)
{
    if (!err)
        return false;
    va_list args;
    va_start(args, fmt);
    err->kind = ERR_SYSTEM;
    int used = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof err->text)
        snprintf(err->text + used, sizeof err->text - (size_t)used, ": %s", strerror(errnum));
    return false;
}

bool err_prefix(struct err *err, const char *fmt, ...)
{
    if (!err)
        return false;
    char text[sizeof err->text * 2];
    va_list args;
    va_start(args, fmt);
    int used = vsnprintf(text, sizeof err->text, fmt, args);
    va_end(args);
    if (used < 0)
        return false;
    size_t at = strlen(text);
    snprintf(text + at, sizeof text - at, ": %s", err->text);
    snprintf(err->text, sizeof err->text, "%.*s", (int)sizeof err->text - 1, text);
    return false;
}

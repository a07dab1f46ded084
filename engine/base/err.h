#pragma once
/* Failures of our environment (STYLE, "three kinds of failure"): a function returns bool, and on false `err`
 * says what and where. The world's answers (SMTP replies, NXDOMAIN) are data, not errors. */
#include <stdarg.h>

#include "engine/base/compiler.h"

enum err_kind {
    ERR_NONE,
    ERR_USAGE,    /* wrong arguments */
    ERR_CONFIG,   /* wrong configuration */
    ERR_INPUT,    /* data from outside is malformed */
    ERR_PROTO,    /* a peer broke its protocol */
    ERR_SYSTEM,   /* the operating system refused */
    ERR_REDIS,    /* Redis refused or isn't there */
    ERR_LIMIT,    /* a configured limit was reached */
    ERR_NOT_FOUND,
    ERR_CANCELLED,
};

struct err {
    enum err_kind kind;
    char text[384]; /* one line, without a full stop */
};

/** Sets `err` (may be NULL) and returns false, so that `return err_set(…)` reads well. */
bool err_set(struct err *err, enum err_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** As err_set with ERR_SYSTEM and ": " strerror(errnum) at the end. */
bool err_system(struct err *err, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** Puts "CONTEXT: " in front of what `err` says; returns false. */
bool err_prefix(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

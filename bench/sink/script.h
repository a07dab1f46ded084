#pragma once
/* The sink's bad moods: which commands it refuses, delays, or doesn't answer. One rule per line of
 * the script; bench/README.md describes the language. */
#include "bench/sink/hashset.h"
#include "engine/base/err.h"
#include "engine/base/rng.h"
#include "engine/base/slice.h"

enum script_phase {
    SCRIPT_GREETING,
    SCRIPT_EHLO,
    SCRIPT_MAIL,
    SCRIPT_RCPT,
    SCRIPT_DATA, /* the DATA command; a BDAT command has only SCRIPT_DOT */
    SCRIPT_DOT,  /* end-of-data, also that of BDAT LAST */
    SCRIPT_PHASES
};

enum script_action {
    SCRIPT_PASS,    /* the ordinary reply */
    SCRIPT_REPLY,   /* another reply */
    SCRIPT_CLOSE,   /* the connection ends, after the reply if there is one */
    SCRIPT_RESET,   /* the same with a TCP reset */
    SCRIPT_SILENCE, /* no reply, and none to anything that follows on this session */
};

/** What a rule can look at; what isn't known in a phase is empty and matches no pattern but "*". */
struct script_subject {
    enum script_phase phase;
    struct slice address;   /* the sink's own, that the session came to */
    struct slice sender;    /* lower case */
    struct slice recipient; /* lower case */
};

struct script_verdict {
    enum script_action action;
    struct slice reply; /* with its CRLF, possibly several lines; belongs to the script */
    unsigned code;      /* of that reply, or 0 */
    uint32_t delay_ms;
};

struct script;

/** On false `err` names the line. */
MUST_USE bool script_parse(struct slice text, struct script **out, struct err *err);
void script_destroy(struct script **script);

/** The first matching rule with a reply or an action decides that; the first with a delay decides
 * the delay. Any thread, each with its own `rng`. */
void script_judge(struct script *script, const struct script_subject *subject, struct rng *rng,
                  struct script_verdict *out);

/** Whether `text` matches `pattern`, in which '*' stands for any bytes and '?' for one. */
bool script_glob(struct slice pattern, struct slice text);

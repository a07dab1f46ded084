#pragma once
/* Inside the configuration only: the rows of its one table, and what each step does with them. */
#include "engine/app/config.h"

enum setting_kind {
    SETTING_TEXT,   /* const char * */
    SETTING_UINT,   /* unsigned */
    SETTING_BOOL,   /* bool */
    SETTING_CHOICE, /* an enum, by name */
    SETTING_UINTS,  /* unsigned *, and a count right behind it */
    SETTING_SOURCES,
};

struct setting_choice {
    const char *name; /* NULL ends the list */
    unsigned value;
};

struct setting {
    const char *key; /* with the sections in front: "smtp.port" */
    enum setting_kind kind;
    size_t offset; /* in struct config; of the parts of a source: in struct config_source */
    unsigned initial, min, max; /* of numbers; min and max also of each number in a list */
    const char *text;           /* initial of texts; of SETTING_UINTS: the numbers with commas */
    const char *unit;           /* or NULL */
    const char *help;
    bool secret; /* its value never appears in a message */
    const struct setting_choice *choices;
    /** Says in words what is wrong with a text, for "KEY: …"; or NULL if it's good. */
    const char *(*check)(const char *text);
};

#define SETTING_LIST_MAX 1000 /* entries of a list */
#define SETTING_TEXT_MAX 4096 /* bytes of a text */

/** The rows, sections in one piece each, in the order of the example file. */
const struct setting *settings(size_t *count);
/** The rows of one entry of `sources`. */
const struct setting *source_settings(size_t *count);
/** The part of the key behind the last dot. */
const char *setting_leaf(const struct setting *setting);
/** The row with this key, or NULL. */
const struct setting *setting_find(const char *key);

/** What the file says, still text. Rows that it doesn't name are NULL. */
struct config_raw {
    /** By row of settings(): a char *; for SETTING_UINTS a char *[], for SETTING_SOURCES a char *[]
     * with as many texts per entry as source_settings() has rows. */
    void **values;
    unsigned *counts; /* by row: entries of a list */
    void *loaded;     /* private */
};

/** Reads YAML text through libcyaml. `path` is for messages: "PATH:LINE: what is wrong with KEY".
 */
MUST_USE bool config_raw_load(const char *path, struct slice yaml, struct config_raw *raw,
                              struct err *err);
void config_raw_free(struct config_raw *raw);
/** The line (from 1) on which a key stands, the n-th time (from 1) that it's given; 0 if it
 * isn't. Keys: "smtp.port", "sources[2].name". */
unsigned config_line_of(struct slice yaml, const char *key, unsigned nth);

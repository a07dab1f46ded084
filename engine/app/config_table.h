#pragma once
/* Inside the configuration only: the rows of its one table, and what each step does with them. */
#include "engine/app/config.h"

enum setting_kind {
    SETTING_TEXT,   /* const char * */
    SETTING_UINT,   /* unsigned */
    SETTING_BOOL,   /* bool */
    SETTING_CHOICE, /* an enum, by name */
    SETTING_UINTS,  /* unsigned *, and a count right behind it */
    SETTING_TEXTS,  /* const char *const *, and a count right behind it */
    SETTING_TABLE,  /* a list of entries with keys of their own: a pointer, a count behind it */
};

struct setting;

/** What one entry of a SETTING_TABLE is made of. */
struct setting_table {
    const struct setting *rows; /* no tables among them */
    size_t count;
    size_t entry_bytes;  /* of the structure that an entry fills */
    const void *initial; /* entries; NULL: none */
    unsigned initial_count;
    const char *example; /* lines of YAML that the dump of an empty table shows */
};

struct setting_choice {
    const char *name; /* NULL ends the list */
    unsigned value;
};

struct setting {
    const char *key; /* with the sections in front: "smtp.port" */
    enum setting_kind kind;
    size_t offset;              /* in struct config; of a table's rows: in the entry */
    unsigned initial, min, max; /* of numbers; min and max also of each number in a list */
    const char *text;           /* initial of texts; of lists: what's in them, with commas; NULL: a
                                   list that must not be empty when it's given */
    const char *unit;           /* or NULL */
    const char *help;
    bool secret; /* its value never appears in a message */
    const struct setting_choice *choices;
    const struct setting_table *table;
    /** Says in words what is wrong with a text, for "KEY: …"; or NULL if it's good. */
    const char *(*check)(const char *text);
};

#define SETTING_LIST_MAX 1000 /* entries of a list */
#define SETTING_TEXT_MAX 4096 /* bytes of a text */

/** The rows, sections in one piece each, in the order of the example file. */
const struct setting *settings(size_t *count);
/** The part of the key behind the last dot. */
const char *setting_leaf(const struct setting *setting);
/** The row with this key, or NULL. */
const struct setting *setting_find(const char *key);

/** What the file says, still text. Rows that it doesn't name are NULL. */
struct config_raw {
    /** By row of settings(): a char *; for SETTING_UINTS and SETTING_TEXTS a char *[]; for a table
     * entries, to be read with config_raw_cell(). */
    void **values;
    unsigned *counts; /* by row: entries of a list */
    void *loaded;     /* private */
};

/** Reads YAML text through libcyaml. `path` is for messages: "PATH:LINE: what is wrong with KEY".
 */
MUST_USE bool config_raw_load(const char *path, struct slice yaml, struct config_raw *raw,
                              struct err *err);
void config_raw_free(struct config_raw *raw);
/** The value of a row of a table's entry, as in config_raw.values; *count is that of a list. */
void *config_raw_cell(const struct setting_table *table, void *entries, unsigned entry, size_t row,
                      unsigned *count);
/** The line (from 1) on which a key stands, the n-th time (from 1) that it's given; 0 if it
 * isn't. Keys: "smtp.port", "sources[2].name". */
unsigned config_line_of(struct slice yaml, const char *key, unsigned nth);

/** A file being read: what messages need. */
struct reading {
    struct config *config;
    struct slice yaml;
    struct err *err;
};

/** Refuses a value (NULL: nothing to show) with "FILE:LINE: 'KEY' is 'VALUE': MUST". False. */
bool config_refuse(struct reading *reading, const char *key, const char *value, const char *must);
/** What no single row can tell. */
MUST_USE bool config_check(struct reading *reading);

#pragma once
/* What operators' commands (queue, campaign, node, suppression) share: the connection, who asks and
 * why, Ctrl-C, tables, and commands with commands below them. */
#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/cli/cli.h"
#include "queue/orders.h"

struct operation {
    const char *command; /* "queue list": for messages */
    const char *config_path, *by, *reason;
    bool as_json;
    struct config config;
    struct producer *producer;
    char login[64];
    int signals; /* a signalfd; -1: none */
    bool progress_shown, quiet;
};

/** Rows for --config and --json. */
#define OPERATION_OPTIONS(operation)                                                               \
    { "config",                                                                                    \
      "FILE",                                                                                      \
      "The configuration; without it /etc/eilpost/eilpost.yaml.",                                  \
      CLI_TEXT,                                                                                    \
      &(operation)->config_path,                                                                   \
      false },                                                                                     \
    {                                                                                              \
        "json", NULL, "JSON in place of text.", CLI_FLAG, &(operation)->as_json, false             \
    }
/** Rows for --reason and --by, of commands that change something. */
#define OPERATION_WHY_OPTIONS(operation)                                                           \
    { "reason",                                                                                    \
      "TEXT",                                                                                      \
      "Why; shown with the order and kept in the log.",                                            \
      CLI_TEXT,                                                                                    \
      &(operation)->reason,                                                                        \
      false },                                                                                     \
    {                                                                                              \
        "by", "WHO", "Who; without it the login name.", CLI_TEXT, &(operation)->by, false          \
    }

/** Parses the line and connects. CLI_PARSED: go on, and end with operation_end(); else the exit
 * code is in *code. */
MUST_USE bool operation_begin(struct operation *operation, const struct cli_usage *usage, int argc,
                              char **argv, unsigned *operands, int *code);
/** Closes all; reports `err` if not `good`. Returns the exit code. */
int operation_end(struct operation *operation, bool good, const struct err *err);
/** Shows progress on a terminal, and stops at Ctrl-C, which it takes over. */
struct order_watch operation_watch(struct operation *operation);
/** Ends the line with the progress, if there is one. */
void operation_progress_end(struct operation *operation);

/** Prints it and frees it. */
void operation_print(json_t *json);

/* ---- tables ---- */

/** Rows of cells, printed in columns; numbers are on the right. */
struct table {
    const char *const *titles;
    unsigned columns;
    const char *kinds; /* a letter a column: l or r */
    struct buf cells;  /* NUL-terminated each */
    size_t count;
};
void table_begin(struct table *table, const char *const *titles, unsigned columns,
                 const char *kinds);
void table_cell(struct table *table, const char *text);
void table_number(struct table *table, uint64_t number);
/** "in 3 min", "5 s ago", or "-" for 0. */
void table_time(struct table *table, int64_t ms, int64_t now_ms);
/** Prints and frees it. */
void table_end(struct table *table);

/** "2026-11-23 14:05:09Z" */
const char *operation_time(int64_t ms, char out[24]);
uint64_t json_count(const json_t *object, const char *name);
/** The text, or "". */
const char *json_text(const json_t *object, const char *name);

/* ---- commands below a command ---- */

struct subcommand {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
};
/** Runs argv[1] of the table with its own argv. */
int subcommand_run(const char *command, const char *summary, const struct subcommand *table,
                   size_t count, int argc, char **argv);

/* ---- filters ---- */

struct filter_options {
    const char *destination, *site, *tenant, *campaign, *class, *submission;
    int64_t older_than_s;
    bool all;
    char domain[260], host[260], owner[65], name[65]; /* what the filter points at */
};

#define FILTER_OPTIONS(filter)                                                                       \
    { "destination",                                                                                 \
      "DOMAIN",                                                                                      \
      "A recipients' domain; *.example.org is all below it.",                                        \
      CLI_TEXT,                                                                                      \
      &(filter)->destination,                                                                        \
      false },                                                                                       \
        { "site",                                                                                    \
          "HOST",                                                                                    \
          "Domains that this MX host serves; *.example.net is all below it.",                        \
          CLI_TEXT,                                                                                  \
          &(filter)->site,                                                                           \
          false },                                                                                   \
        { "tenant", "TENANT", "Of this tenant.", CLI_TEXT, &(filter)->tenant, false },               \
        { "campaign", "CAMPAIGN",          "Of this campaign; also TENANT/CAMPAIGN.",                \
          CLI_TEXT,   &(filter)->campaign, false },                                                  \
        { "class", "CLASS", "transactional, deadline or bulk.", CLI_TEXT, &(filter)->class, false }, \
        { "submission", "ID", "Of this submission.", CLI_TEXT, &(filter)->submission, false },       \
    {                                                                                                \
        "older-than", "TIME", "Accepted longer ago than 90s, 15m, 2h, 3d …", CLI_DURATION,           \
            &(filter)->older_than_s, false                                                           \
    }

/** Checks the options and makes the filter; it lives as long as `options`. With `needed` an empty
 * one must be meant: --all. */
MUST_USE bool filter_make(struct filter_options *options, bool needed, struct order_filter *out,
                          struct err *err);
/** "destination=example.org tenant=acme", "everything". */
void filter_text(const json_t *filter, struct buf *out);
/** Whether a text can be kept and shown: at most 200 bytes of UTF-8 without control characters. */
MUST_USE bool note_valid(const char *option, const char *text, struct err *err);

#pragma once
/* The command line: one file per command. A command parses its options with cli_parse(), which also
 * makes its --help, does its work, and returns an exit code; what went wrong is one line on stderr.
 */
#include "engine/app/config.h"
#include "engine/base/err.h"
#include "engine/base/slice.h"

/** Documented in README.md; scripts depend on them. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* what was asked for was done, and its result is bad; or anything without a
                       code of its own */
    CLI_USAGE = 2,  /* the command line is wrong */
    CLI_CONFIG = 3, /* the configuration is wrong */
    CLI_INPUT = 4,  /* a list, template or message is wrong; nothing was submitted */
    CLI_REDIS = 5,  /* Redis isn't there, or refused */
    CLI_SYSTEM = 6, /* the system refused: a port in use, a file that can't be read, … */
};

/** The whole program; returns the exit code. */
int cli_main(int argc, char **argv);

int command_run(int argc, char **argv);
int command_demo(int argc, char **argv);
int command_send(int argc, char **argv);
int command_status(int argc, char **argv);
int command_events(int argc, char **argv);
int command_dkim(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_tls_report(int argc, char **argv);
int command_queue(int argc, char **argv);
int command_campaign(int argc, char **argv);
int command_node(int argc, char **argv);
int command_suppression(int argc, char **argv);
int command_check_config(int argc, char **argv);
int command_version(int argc, char **argv);

/* ---- options ---- */

enum cli_option_kind {
    CLI_FLAG,     /* bool * */
    CLI_TEXT,     /* const char ** */
    CLI_TEXTS,    /* struct cli_texts *: may be given several times */
    CLI_COUNT,    /* uint64_t *: digits */
    CLI_DURATION, /* int64_t *, seconds: 90, 90s, 15m, 4h, 2d */
};

struct cli_texts {
    const char *items[64];
    unsigned count;
};

struct cli_option {
    const char *name;     /* without the dashes */
    const char *argument; /* as shown in --help; NULL for flags */
    const char *help;
    enum cli_option_kind kind;
    void *target;
    bool required;
};

struct cli_usage {
    const char *command;
    const char *operands; /* as shown: "[SUBMISSION…]"; NULL: none are taken */
    const char *summary;  /* one line */
    const char *notes;    /* behind the options: examples, exit codes; may be NULL */
    const struct cli_option *options;
    size_t option_count;
};

enum cli_parsed { CLI_PARSED, CLI_HELP_SHOWN, CLI_PARSE_FAILED };

/** Parses argv[1…] (argv[0] is the command). Operands are moved to the front of argv + 1, and
 * *operand_count is their number. --help is printed to stdout; a mistake is reported on stderr. */
MUST_USE enum cli_parsed cli_parse(const struct cli_usage *usage, int argc, char **argv,
                                   unsigned *operand_count);

/* ---- shared by commands ---- */

/** Prints "eilpost COMMAND: …" to stderr and returns the exit code of the kind of error. */
int cli_fail(const char *command, const struct err *err);
enum cli_exit cli_exit_of(enum err_kind kind);

/** Loads the file, or /etc/eilpost/eilpost.yaml for NULL. */
MUST_USE bool cli_config_load(const char *path, struct config *config, struct err *err);
/** Where the configured Redis is, the private one included. */
MUST_USE bool cli_redis_url(const struct config *config, char *url, size_t room, struct err *err);

struct producer;
/** Connects to the configured Redis. A failure says how to make it work. */
MUST_USE bool cli_producer_open(struct producer **out, const struct config *config,
                                struct err *err);

struct buf;
/** Reads a whole file of at most `bytes_max`. */
MUST_USE bool cli_read_file(const char *path, size_t bytes_max, struct buf *out, struct err *err);

/** "1,234,567" into `out` (at least 28 bytes); returns `out`. */
char *cli_thousands(uint64_t n, char out[28]);

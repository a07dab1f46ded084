#pragma once
/* A campaign on its way into the queue: content, and a list that is read twice, first to check
 * every row, then to submit it in chunks. Memory is bounded by a chunk, whatever the length of the
 * list. */
#include <stdio.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/message/content.h"
#include "engine/message/list.h"

struct producer;
struct producer_submission;

struct campaign_content {
    struct buf json; /* as it's submitted */
    struct message_content *compiled;
};

/** From a template file and perhaps an HTML file, or from a raw message. All paths but one of
 * `template_path` and `raw_path` may be NULL. `err` names the file and, where it can, the line. */
MUST_USE bool campaign_content_load(struct campaign_content *out, const char *template_path,
                                    const char *html_path, const char *raw_path, struct err *err);
void campaign_content_free(struct campaign_content *content);

struct campaign {
    const struct campaign_content *content;
    struct slice from; /* the envelope sender */
    FILE *list;        /* seekable */
    const char *name;  /* of the list, for messages */
    enum recipient_list_format format;
    bool keyed;    /* it has an idempotency key */
    bool single;   /* one recipient: its fault is the error, without a line number */
    bool skip_bad; /* submit the good rows of a list with bad ones */
};

/** Opens a list by its name: *.csv, *.jsonl and *.ndjson tell the format; "-" copies stdin to a
 * temporary file first. `format` is NULL, "csv" or "jsonl". */
MUST_USE bool campaign_list_open(struct campaign *campaign, const char *path, const char *format,
                                 struct err *err);
void campaign_list_close(struct campaign *campaign);

struct campaign_counts {
    uint64_t rows, bad;   /* rows: good ones */
    char fingerprint[65]; /* of the good rows, with a key only */
};

/** Reads the whole list and checks each row as delivery will: the address, a value for each field
 * of the template, and that the message can be made from them. `report` gets the first bad rows in
 * words. False when there's nothing to submit: the list is unusable, a field is nowhere in it, or
 * rows are bad and aren't to be skipped. */
MUST_USE bool campaign_check(const struct campaign *campaign,
                             void (*report)(void *user, const char *text), void *user,
                             struct campaign_counts *out, struct err *err);

struct campaign_progress {
    void (*submitted)(void *user, uint64_t rows); /* after each chunk; may be NULL */
    void *user;
    int64_t patience_ms; /* how long to wait for a queue that is full */
};

struct campaign_result {
    char id[25];   /* of the submission; of the first one with its key */
    bool repeated; /* its key was used before: nothing was submitted */
    uint64_t done; /* recipients that are queued for certain */
};

/** Submits the list that was checked. `terms`: what goes with it, but for sender and content, which
 * are the campaign's, and the fingerprint, which is campaign_check()'s. `result` is right also on
 * failure. */
MUST_USE bool campaign_submit(const struct campaign *campaign, struct producer *producer,
                              const struct producer_submission *terms,
                              const struct campaign_progress *progress,
                              struct campaign_result *result, struct err *err);

/** Renders the message of one recipient as it would be sent, appended to `out`. */
MUST_USE bool campaign_render(const struct campaign *campaign, const struct recipient_row *row,
                              struct buf *out, struct err *err);

/** A list of one recipient with its values, as JSON lines in a temporary file. */
MUST_USE bool campaign_list_single(struct campaign *campaign, const char *address,
                                   const char *const *settings, unsigned count, struct err *err);

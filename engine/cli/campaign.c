/* Content and lists for `send` and `demo`. A list is read twice because a mistake in row nine
 * million should be known before row one is sent. The second reading is compared with the first: a
 * list that changes in between is an error. */
#include "engine/cli/campaign.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/utf8.h"
#include "engine/cli/cli.h"
#include "engine/message/template_file.h"
#include "queue/content.h"
#include "queue/producer.h"

#define FILE_BYTES_MAX ((size_t)52 << 20) /* a message of 50 MiB, and its headers */
#define CHUNK_ROWS 1000
#define CHUNK_BYTES (512U << 10)
#define BAD_ROWS_SHOWN 20
#define FINGERPRINT_BLOCK_BYTES ((size_t)64 << 10)
#define RENDER_BLOCK_BYTES 16384
#define RENDER_BYTES_MAX ((size_t)128 << 20)

/* ---- content ---- */

static void append_base64(struct buf *out, struct slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        uint32_t group = 0;
        size_t n = MIN_OF(bytes.len - i, (size_t)3);
        for (size_t j = 0; j < 3; j++)
            group = group << 8 | (j < n ? (unsigned char)bytes.ptr[i + j] : 0);
        for (size_t j = 0; j < 4; j++)
            buf_append_char(out, j <= n ? digits[group >> (18 - 6 * j) & 63] : '=');
    }
}

static void raw_json(struct slice raw, struct buf *json)
{
    bool text = utf8_valid(raw) && !memchr(raw.ptr, '\0', raw.len);
    buf_append(json, text ? SLICE("{\"raw\":") : SLICE("{\"raw_base64\":\""));
    if (text)
        buf_append_json(json, raw);
    else
        append_base64(json, raw);
    buf_append(json, text ? SLICE("}") : SLICE("\"}"));
}

bool campaign_content_load(struct campaign_content *out, const char *template_path,
                           const char *html_path, const char *raw_path, struct err *err)
{
    *out = (struct campaign_content){ 0 };
    struct buf text = BUF_EMPTY, html = BUF_EMPTY;
    const char *path = raw_path ? raw_path : template_path;
    bool good = cli_read_file(path, FILE_BYTES_MAX, &text, err) &&
                (!html_path || cli_read_file(html_path, FILE_BYTES_MAX, &html, err));
    if (good && raw_path) {
        raw_json(buf_slice(&text), &out->json);
    } else if (good) {
        struct slice html_text = html_path ? buf_slice(&html) : (struct slice){ 0 };
        good = template_file_content(buf_slice(&text), html_text, &out->json, err) ||
               err_prefix(err, "%s", path);
    }
    buf_free(&text);
    buf_free(&html);
    if (good)
        good = message_content_compile(&out->compiled, buf_slice(&out->json),
                                       &(struct message_limits){ 0 }, err) ||
               err_prefix(err, "%s", path);
    if (!good)
        campaign_content_free(out);
    return good;
}

void campaign_content_free(struct campaign_content *content)
{
    if (content->compiled)
        message_content_destroy(&content->compiled);
    buf_free(&content->json);
    *content = (struct campaign_content){ 0 };
}

/* ---- lists ---- */

/** A file that is gone when it's closed. */
static FILE *temporary_file(struct err *err)
{
    const char *directory = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/eilpost-list-XXXXXX",
             directory && *directory ? directory : "/var/tmp");
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        err_system(err, errno, "can't create a temporary file %s", path);
        return NULL;
    }
    unlink(path);
    return fdopen(fd, "w+");
}

static bool spool_stdin(FILE **out, struct err *err)
{
    *out = temporary_file(err);
    if (!*out)
        return false;
    char block[65536];
    size_t n;
    while ((n = fread(block, 1, sizeof block, stdin)) > 0)
        if (fwrite(block, 1, n, *out) != n)
            return err_system(err, errno,
                              "can't spool the list (is there room? TMPDIR names another place)");
    if (ferror(stdin))
        return err_system(err, errno, "can't read the list from stdin");
    return fflush(*out) == 0 || err_system(err, errno, "can't spool the list");
}

static bool list_format(const char *path, const char *format, enum recipient_list_format *out,
                        struct err *err)
{
    struct slice name = slice_str(path);
    bool json_name =
        slice_ends_with(name, SLICE(".jsonl")) || slice_ends_with(name, SLICE(".ndjson"));
    if (format ? strcmp(format, "jsonl") == 0 : json_name)
        *out = RECIPIENT_LIST_JSON;
    else if (format ? strcmp(format, "csv") == 0 : slice_ends_with(name, SLICE(".csv")))
        *out = RECIPIENT_LIST_CSV;
    else if (format)
        return err_set(err, ERR_USAGE, "--format is '%s', must be csv or jsonl", format);
    else
        return err_set(err, ERR_USAGE,
                       "%s: is it CSV or JSON lines? Tell with --format csv or --format jsonl",
                       path);
    return true;
}

bool campaign_list_open(struct campaign *campaign, const char *path, const char *format,
                        struct err *err)
{
    bool from_stdin = strcmp(path, "-") == 0;
    campaign->name = from_stdin ? "stdin" : path;
    if (!list_format(path, format, &campaign->format, err))
        return false;
    if (from_stdin)
        return spool_stdin(&campaign->list, err);
    campaign->list = fopen(path, "re");
    if (!campaign->list)
        return err_system(err, errno, "%s", path);
    return fseek(campaign->list, 0, SEEK_END) == 0 ||
           err_set(err, ERR_USAGE, "%s can't be read twice; pass it on stdin (--list -)", path);
}

bool campaign_list_single(struct campaign *campaign, const char *address,
                          const char *const *settings, unsigned count, struct err *err)
{
    struct buf line = BUF_EMPTY;
    buf_append(&line, SLICE("{\"email\":"));
    buf_append_json(&line, slice_str(address));
    buf_append(&line, SLICE(",\"data\":{"));
    bool good = true;
    for (unsigned i = 0; i < count && good; i++) {
        struct slice value = slice_str(settings[i]);
        bool has_value = slice_find(value, '=') > 0;
        struct slice name = slice_cut(&value, '=');
        good = has_value || err_set(err, ERR_USAGE, "--set '%s': must be NAME=VALUE", settings[i]);
        buf_append(&line, i ? SLICE(",") : SLICE(""));
        buf_append_json(&line, name);
        buf_append_char(&line, ':');
        buf_append_json(&line, value);
    }
    buf_append(&line, SLICE("}}\n"));
    campaign->format = RECIPIENT_LIST_JSON;
    campaign->name = "--to";
    campaign->single = true;
    if (good)
        campaign->list = temporary_file(err);
    good = good && campaign->list != NULL;
    if (good &&
        (fwrite(line.data, 1, line.len, campaign->list) != line.len || fflush(campaign->list) != 0))
        good = err_system(err, errno, "can't write a temporary file");
    buf_free(&line);
    return good;
}

void campaign_list_close(struct campaign *campaign)
{
    if (campaign->list)
        fclose(campaign->list);
    campaign->list = NULL;
}

/* ---- reading ---- */

/** One reading of a campaign's list against its template. */
struct reading {
    const struct campaign *campaign;
    struct recipient_list *list;
    const struct slice *fields;
    size_t field_count;
    struct slice *values; /* of the row at hand, in the order of the fields */
    struct message_blocks *blocks;
    bool rendered_once;
};

static bool reading_open(struct reading *reading, const struct campaign *campaign, struct err *err)
{
    if (fseek(campaign->list, 0, SEEK_SET) != 0)
        return err_system(err, errno, "%s", campaign->name);
    *reading = (struct reading){ .campaign = campaign };
    struct recipient_list_options options = { .format = campaign->format };
    reading->list = recipient_list_create(&options, recipient_list_read_file, campaign->list);
    reading->fields = message_content_fields(campaign->content->compiled, &reading->field_count);
    reading->values = calloc(reading->field_count + 1, sizeof *reading->values);
    reading->blocks = message_blocks_create(RENDER_BLOCK_BYTES, RENDER_BYTES_MAX);
    assert(reading->values);
    return true;
}

static void reading_close(struct reading *reading)
{
    recipient_list_destroy(&reading->list);
    message_blocks_destroy(&reading->blocks);
    free(reading->values);
}

/** A field that no row can have is the template's mistake, or the header row's: one error, not one
 * for each row. */
static bool check_columns(const struct reading *reading, struct err *err)
{
    size_t count;
    const struct slice *columns = recipient_list_columns(reading->list, &count);
    for (size_t i = 0; i < reading->field_count && reading->campaign->format == RECIPIENT_LIST_CSV;
         i++) {
        bool found = false;
        for (size_t c = 0; c < count && !found; c++)
            found = slice_eq(columns[c], reading->fields[i]);
        if (found)
            continue;
        err_set(err, ERR_INPUT, "the template's field {{%.*s}} is no column of %s; its columns:",
                (int)MIN_OF(reading->fields[i].len, (size_t)64), reading->fields[i].ptr,
                reading->campaign->name);
        for (size_t c = 0; c < count; c++) {
            size_t len = strlen(err->text);
            snprintf(err->text + len, sizeof err->text - len, "%s %.*s", c ? "," : "",
                     SLICE_FMT(columns[c]));
        }
        return false;
    }
    return true;
}

static bool take_values(struct reading *reading, const struct recipient_row *row, struct err *err)
{
    for (size_t i = 0; i < reading->field_count; i++) {
        reading->values[i] = recipient_row_value(row, reading->fields[i]);
        if (!reading->values[i].ptr)
            return err_set(err, ERR_INPUT, "no value for the template's field {{%.*s}}",
                           SLICE_FMT(reading->fields[i]));
    }
    return true;
}

static bool render(const struct reading *reading, const struct recipient_row *row,
                   struct message_output *out, struct err *err)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct slice domain = reading->campaign->from;
    slice_cut(&domain, '@');
    struct message_recipient recipient = { row->address, reading->values, reading->field_count };
    struct message_stamp stamp = { .date_ms = now.tv_sec * 1000,
                                   .id = SLICE("dry-run-0"),
                                   .id_domain = domain };
    return message_render(reading->campaign->content->compiled, &recipient, &stamp, MESSAGE_CHUNK,
                          reading->blocks, out, err);
}

/** Whether this row becomes a message. Without fields, one message tells about all. */
static bool check_row(struct reading *reading, const struct recipient_row *row, struct err *err)
{
    if (!take_values(reading, row, err))
        return false;
    if (reading->field_count == 0 && reading->rendered_once)
        return true;
    struct message_output output = { 0 };
    if (!render(reading, row, &output, err))
        return false;
    message_output_release(&output);
    reading->rendered_once = true;
    return true;
}

/** Adds a row to the fingerprint of its list, block by block: the hash of the blocks before goes
 * into the next. */
static void fingerprint_add(char fingerprint[65], struct buf *rows, const struct reading *reading,
                            const struct recipient_row *row)
{
    if (row) {
        buf_append_json(rows, row->address);
        for (size_t i = 0; i < reading->field_count; i++)
            buf_append_json(rows, reading->values[i]);
        if (rows->len < FINGERPRINT_BLOCK_BYTES)
            return;
    }
    content_hash(buf_slice(rows), fingerprint);
    buf_clear(rows);
    buf_append(rows, slice_of(fingerprint, 64));
}

bool campaign_check(const struct campaign *campaign, void (*report)(void *user, const char *text),
                    void *user, struct campaign_counts *out, struct err *err)
{
    *out = (struct campaign_counts){ 0 };
    struct reading reading;
    if (!reading_open(&reading, campaign, err))
        return false;
    struct buf rows = BUF_EMPTY;
    bool good = true, first = true;
    for (enum recipient_list_result result = RECIPIENT_LIST_ROW;
         good && result != RECIPIENT_LIST_END;) {
        struct recipient_row row;
        struct err wrong = { 0 };
        result = recipient_list_next(reading.list, &row, &wrong);
        if (result == RECIPIENT_LIST_FAILED) {
            *err = wrong;
            good = err_prefix(err, "%s", campaign->name);
            break;
        }
        if (first && result != RECIPIENT_LIST_END)
            good = check_columns(&reading, err);
        first = false;
        if (result == RECIPIENT_LIST_ROW && !check_row(&reading, &row, &wrong)) {
            if (!campaign->single)
                err_prefix(&wrong, "line %llu", (unsigned long long)row.line);
            result = RECIPIENT_LIST_BAD;
        }
        if (result == RECIPIENT_LIST_BAD && campaign->single) {
            *err = wrong;
            good = err_prefix(err, "%s", campaign->name);
        }
        out->rows += result == RECIPIENT_LIST_ROW;
        if (result == RECIPIENT_LIST_ROW && campaign->keyed)
            fingerprint_add(out->fingerprint, &rows, &reading, &row);
        if (good && result == RECIPIENT_LIST_BAD && out->bad++ < BAD_ROWS_SHOWN) {
            err_prefix(&wrong, "%s", campaign->name);
            report(user, wrong.text);
        }
    }
    if (campaign->keyed)
        fingerprint_add(out->fingerprint, &rows, &reading, NULL);
    buf_free(&rows);
    reading_close(&reading);
    if (!good)
        return false;
    if (out->bad > 0 && !campaign->skip_bad)
        return err_set(
            err, ERR_INPUT,
            "%s: %llu of %llu rows are bad; nothing was submitted (--skip-bad leaves them out)",
            campaign->name, (unsigned long long)out->bad,
            (unsigned long long)(out->bad + out->rows));
    return out->rows > 0 || err_set(err, ERR_INPUT, "%s has no recipients", campaign->name);
}

bool campaign_render(const struct campaign *campaign, const struct recipient_row *row,
                     struct buf *out, struct err *err)
{
    struct reading reading;
    if (!reading_open(&reading, campaign, err))
        return false;
    struct message_output output = { 0 };
    struct recipient_row first;
    bool good = true;
    if (!row) {
        enum recipient_list_result result;
        do
            result = recipient_list_next(reading.list, &first, err);
        while (result == RECIPIENT_LIST_BAD);
        good = result == RECIPIENT_LIST_ROW;
        row = &first;
    }
    good = good && take_values(&reading, row, err) && render(&reading, row, &output, err);
    for (unsigned i = 0; good && i < output.iov_count; i++)
        buf_append(out, slice_of(output.iov[i].iov_base, output.iov[i].iov_len));
    if (good)
        message_output_release(&output);
    reading_close(&reading);
    return good;
}

/* ---- submitting ---- */

struct chunk {
    struct buf json;
    uint64_t first; /* number of the first recipient in it */
    unsigned rows;
};

static void chunk_add(struct chunk *chunk, const struct reading *reading,
                      const struct recipient_row *row)
{
    buf_append(&chunk->json, chunk->rows++ ? SLICE(",{\"to\":") : SLICE("[{\"to\":"));
    buf_append_json(&chunk->json, row->address);
    for (size_t i = 0; i < reading->field_count; i++) {
        buf_append(&chunk->json, i ? SLICE(",") : SLICE(",\"data\":{"));
        buf_append_json(&chunk->json, reading->fields[i]);
        buf_append_char(&chunk->json, ':');
        buf_append_json(&chunk->json, reading->values[i]);
    }
    buf_append(&chunk->json, reading->field_count ? SLICE("}}") : SLICE("}"));
}

static bool chunk_send(struct chunk *chunk, struct producer *producer, const char *id, bool last,
                       const struct campaign_progress *progress, struct err *err)
{
    buf_append(&chunk->json, chunk->rows ? SLICE("]") : SLICE("[]"));
    if (!producer_append(producer, id, chunk->first, buf_slice(&chunk->json), last,
                         progress->patience_ms, err))
        return false;
    chunk->first += chunk->rows;
    chunk->rows = 0;
    buf_clear(&chunk->json);
    if (progress->submitted)
        progress->submitted(progress->user, chunk->first);
    return true;
}

/* A chunk leaves when there is a row for the next one, so that the last one is known for it. */
static bool row_submit(struct reading *reading, const struct recipient_row *row,
                       struct producer *producer, const char *id,
                       const struct campaign_progress *progress, struct chunk *chunk,
                       struct err *err)
{
    if ((chunk->rows == CHUNK_ROWS || chunk->json.len >= CHUNK_BYTES) &&
        !chunk_send(chunk, producer, id, false, progress, err))
        return false;
    chunk_add(chunk, reading, row);
    return true;
}

static bool submit_rows(struct reading *reading, struct producer *producer, const char *id,
                        const struct campaign_progress *progress, struct chunk *chunk,
                        struct err *err)
{
    for (;;) {
        struct recipient_row row;
        switch (recipient_list_next(reading->list, &row, err)) {
        case RECIPIENT_LIST_END:
            return chunk_send(chunk, producer, id, true, progress, err);
        case RECIPIENT_LIST_FAILED:
            return err_prefix(err, "%s", reading->campaign->name);
        case RECIPIENT_LIST_ROW:
            if (check_row(reading, &row, err)) {
                if (!row_submit(reading, &row, producer, id, progress, chunk, err))
                    return false;
            } else if (!reading->campaign->skip_bad) {
                return err_set(err, ERR_INPUT, "%s changed while it was read",
                               reading->campaign->name);
            }
            break;
        case RECIPIENT_LIST_BAD:
            if (!reading->campaign->skip_bad)
                return err_set(err, ERR_INPUT, "%s changed while it was read",
                               reading->campaign->name);
            break;
        }
    }
}

bool campaign_submit(const struct campaign *campaign, struct producer *producer,
                     const struct producer_submission *terms,
                     const struct campaign_progress *progress, struct campaign_result *result,
                     struct err *err)
{
    struct reading reading;
    struct chunk chunk = { 0 };
    struct producer_submission submission = *terms;
    enum producer_begun begun;
    *result = (struct campaign_result){ 0 };
    submission.from = campaign->from;
    submission.content = buf_slice(&campaign->content->json);
    if (!reading_open(&reading, campaign, err))
        return false;
    bool good = producer_begin(producer, &submission, result->id, &begun, err);
    result->repeated = good && begun == PRODUCER_REPEATED;
    if (good && !result->repeated)
        good = submit_rows(&reading, producer, result->id, progress, &chunk, err) &&
               producer_end(producer, &submission, result->id, err);
    result->done = chunk.first;
    buf_free(&chunk.json);
    reading_close(&reading);
    return good;
}

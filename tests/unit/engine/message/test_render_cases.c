/* Renders cases for a judge that isn't ours: tests/unit/test_message_python.py starts this program
 * with the argument "serve", writes one JSON object a line to it and compares what it gets with
 * Python's `email`:
 *
 *   {"content": {…}, "address": "…", "values_base64": {"name": "…"}, "transfer": "data" | "chunk",
 * "block_bytes": n} → "ok BYTES ESTIMATE\n" and the message, or "error TEXT\n"
 *
 * As a unit test it checks that it answers at all. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/message/content.h"
#include "engine/message/encode.h"
#include "tests/support/check_main.h"

/* libcheck's own assertions work inside tests only. */
static void must(bool ok)
{
    if (!ok)
        abort();
}

static void collect_values(const struct message_content *content, json_t *given,
                           struct slice **values, size_t *count, struct buf *store)
{
    const struct slice *names = message_content_fields(content, count);
    size_t *ends = mem_array(*count + 1, sizeof *ends);
    for (size_t i = 0; i < *count; i++) {
        char *name = slice_dup(names[i]);
        json_t *value = json_object_get(given, name);
        if (value)
            must(base64_decode(slice_str(json_string_value(value)), store));
        ends[i + 1] = store->len;
        free(name);
    }
    *values = mem_array(*count + 1, sizeof **values);
    for (size_t i = 0; i < *count; i++)
        (*values)[i] = slice_skip(slice_head(buf_slice(store), ends[i + 1]), ends[i]);
    free(ends);
}

static void write_output(const struct message_output *out, size_t estimate, FILE *to)
{
    size_t sum = 0;
    fprintf(to, "ok %zu %zu\n", out->bytes, estimate);
    for (unsigned i = 0; i < out->iov_count; i++) {
        fwrite(out->iov[i].iov_base, 1, out->iov[i].iov_len, to);
        sum += out->iov[i].iov_len;
    }
    must(sum == out->bytes);
}

static void render_case(json_t *job, FILE *to)
{
    char *json = json_dumps(json_object_get(job, "content"), 0);
    struct message_content *content;
    struct err err;
    if (!message_content_compile(&content, slice_str(json), NULL, &err)) {
        fprintf(to, "error %s\n", err.text);
        free(json);
        return;
    }
    struct slice *values;
    size_t count;
    struct buf store = BUF_EMPTY;
    collect_values(content, json_object_get(job, "values_base64"), &values, &count, &store);
    json_t *address = json_object_get(job, "address"), *transfer = json_object_get(job, "transfer");
    struct message_recipient recipient = {
        .address = slice_str(address ? json_string_value(address) : "anna@example.org"),
        .values = values,
        .value_count = count,
    };
    struct message_stamp stamp = { 1751373296000, SLICE("job-17"), SLICE("mail.example") };
    struct message_blocks *pool = message_blocks_create(
        (size_t)json_integer_value(json_object_get(job, "block_bytes")), (size_t)256 << 20);
    struct message_output out;
    bool chunk = transfer && strcmp(json_string_value(transfer), "chunk") == 0;
    if (message_render(content, &recipient, &stamp, chunk ? MESSAGE_CHUNK : MESSAGE_DATA, pool,
                       &out, &err))
        write_output(&out, message_size_estimate(content, &recipient), to);
    else
        fprintf(to, "error %s\n", err.text);
    message_output_release(&out);
    message_blocks_destroy(&pool);
    message_content_destroy(&content);
    buf_free(&store);
    free(values);
    free(json);
}

static int serve(void)
{
    char *line = NULL;
    size_t room = 0;
    for (ssize_t len; (len = getline(&line, &room, stdin)) > 0;) {
        json_t *job = json_loadb(line, (size_t)len, 0, NULL);
        if (!job)
            return EXIT_FAILURE;
        render_case(job, stdout);
        fflush(stdout);
        json_decref(job);
    }
    free(line);
    return EXIT_SUCCESS;
}

START_TEST(a_case_is_answered_with_a_message)
{
    char answer[4096] = { 0 };
    FILE *to = fmemopen(answer, sizeof answer, "w");
    json_t *job = json_loads(
        "{\"content\": {\"headers\": {\"From\": \"a@example.org\"}, \"text\": \"{{x}}\"},"
        " \"values_base64\": {\"x\": \"SGk=\"}}",
        0, NULL);
    render_case(job, to);
    fclose(to);
    json_decref(job);
    ck_assert_msg(strncmp(answer, "ok ", 3) == 0 && strstr(answer, "\r\n\r\nHi\r\n"), "%s", answer);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "serve") == 0)
        return serve();
    return check_main(SUITE_OF("render_cases", a_case_is_answered_with_a_message));
}

/* bench-render: what a rendered, and a rendered and signed, message costs; one line of JSON. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/message/content.h"

#define EXIT_USAGE 2
enum { BLOCK_BYTES = 16384, WARM_UP = 50, SLICE_MESSAGES = 400, UNSIGNED_FACTOR = 100 };

static const char usage[] = "bench-render: renders and signs messages; CPU per message as JSON\n";

/* ---- allocations of this process, OpenSSL's among them ---- */

static uint64_t allocations;

#ifndef __SANITIZE_ADDRESS__
void *__libc_malloc(size_t size);               // NOLINT: the C library's own names
void *__libc_calloc(size_t count, size_t size); // NOLINT
void *__libc_realloc(void *old, size_t size);   // NOLINT

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    allocations++;
    return __libc_realloc(old, size);
}
#endif

/* ---- */

struct subject {
    const char *name;
    size_t bytes;    /* of the text */
    bool common;     /* the text has no fields: its hash is computed once */
    const char *key; /* NULL: not signed */
};

static const struct subject subjects[] = {
    { "plain_4k", 4096, false, NULL },          { "plain_50k", 51200, false, NULL },
    { "rsa_4k", 4096, false, "rsa" },           { "rsa_50k", 51200, false, "rsa" },
    { "ed25519_4k", 4096, false, "ed25519" },   { "ed25519_4k_common", 4096, true, "ed25519" },
    { "ed25519_50k", 51200, false, "ed25519" }, { "ed25519_50k_common", 51200, true, "ed25519" },
};

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool content_make(const struct subject *subject, struct message_content **out,
                         struct err *err)
{
    struct buf json = BUF_EMPTY;
    buf_append(&json, SLICE("{\"headers\": {\"From\": \"Shop <news@shop.example>\", \"To\": "
                            "\"{{name}} <{{email}}>\", \"Subject\": \"Hello {{name}}\", "
                            "\"List-Unsubscribe\": \"<https://shop.example/u>\"}, \"text\": \""));
    if (!subject->common)
        buf_append(&json, SLICE("Dear {{name}} of {{city}}, your number is {{number}}.\\n"));
    for (size_t len = 0; len < subject->bytes; len += 61)
        buf_append(&json, SLICE("A line of text as they stand in many letters to many people\\n"));
    buf_append(&json, SLICE("\"}"));
    bool good = message_content_compile(out, buf_slice(&json), NULL, err);
    buf_free(&json);
    return good;
}

static bool signer_make(const char *kind, struct dkim_signer **out, struct err *err)
{
    char folder[] = "/tmp/bench-render-XXXXXX", file[sizeof folder + 8];
    if (!mkdtemp(folder))
        return err_set(err, ERR_SYSTEM, "no folder below /tmp");
    snprintf(file, sizeof file, "%s/key", folder);
    const struct dkim_key_options key = { .domain = "shop.example", .selector = "s", .file = file };
    bool good = dkim_key_make(file, kind[0] == 'r' ? 2048 : 0, err) &&
                dkim_signer_create(out, &key, 1, err);
    unlink(file);
    rmdir(folder);
    return good;
}

static bool render_many(const struct message_content *content, struct message_blocks *pool,
                        struct dkim_signer *signer, unsigned count, size_t *bytes, struct err *err)
{
    static const struct slice values[] = { SLICE("Anna Berg"), SLICE("Hamburg"), SLICE("4711") };
    const struct message_recipient recipient = { SLICE("anna@mail.example"), values,
                                                 ARRAY_LEN(values) };
    const struct message_signing signing = { .signer = signer, .now_s = 1795000000 };
    const struct message_stamp stamp = { 1795000000000, SLICE("job-17"), SLICE("shop.example"),
                                         signer ? &signing : NULL };
    for (unsigned i = 0; i < count; i++) {
        struct message_output out;
        if (!message_render(content, &recipient, &stamp, MESSAGE_CHUNK, pool, &out, err))
            return false;
        *bytes = out.bytes;
        message_output_release(&out);
    }
    return true;
}

static bool measure(const struct subject *subject, struct err *err)
{
    struct message_content *content = NULL;
    struct dkim_signer *signer = NULL;
    struct message_blocks *pool = message_blocks_create(BLOCK_BYTES, 1 << 20);
    unsigned count = SLICE_MESSAGES * (subject->key ? 1 : UNSIGNED_FACTOR);
    size_t bytes = 0;
    bool good = content_make(subject, &content, err) &&
                (!subject->key || signer_make(subject->key, &signer, err)) &&
                render_many(content, pool, signer, WARM_UP, &bytes, err);
    uint64_t before = allocations;
    double start = cpu_s();
    good = good && render_many(content, pool, signer, count, &bytes, err);
    double us = (cpu_s() - start) * 1e6 / count;
    double made = (double)(allocations - before) / count;
    printf("%c\"%s_us\": %.3f, \"%s_bytes\": %zu, \"%s_allocations\": %.2f",
           subject == subjects ? '{' : ',', subject->name, us, subject->name, bytes, subject->name,
           made);
    dkim_signer_destroy(&signer);
    message_content_destroy(&content);
    message_blocks_destroy(&pool);
    return good;
}

int main(int argc, char **argv)
{
    struct err err = { 0 };
    (void)argv;
    if (argc > 1) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        if (!measure(&subjects[i], &err)) {
            fprintf(stderr, "bench-render: %s\n", err.text);
            return 1;
        }
    }
    puts("}");
    return 0;
}

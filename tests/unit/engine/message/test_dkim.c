/* DKIM: canonical forms as RFC 6376 shows them, however a body is cut into pieces; which keys are
 * refused; room for the largest signatures. That signatures are valid is what two other
 * implementations say in tests/scenario/test_dkim.py. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/rng.h"
#include "engine/message/content.h"
#include "engine/message/dkim_canon.h"
#include "tests/support/check_main.h"

static void hash_pieces(struct slice body, const size_t *cuts, unsigned count, bool relaxed,
                        unsigned char out[32])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    struct dkim_body state;
    size_t from = 0;
    ck_assert_int_eq(EVP_DigestInit_ex(digest, EVP_sha256(), NULL), 1);
    dkim_body_begin(&state, digest, relaxed);
    for (unsigned i = 0; i < count; i++) {
        dkim_body_feed(&state, slice_of(body.ptr + from, cuts[i] - from));
        from = cuts[i];
    }
    dkim_body_feed(&state, slice_skip(body, from));
    dkim_body_end(&state);
    ck_assert_int_eq(EVP_DigestFinal_ex(digest, out, NULL), 1);
    EVP_MD_CTX_free(digest);
}

static const struct {
    struct slice body, relaxed, simple;
} bodies[] = {
    /* RFC 6376, 3.4.5 */
    { SLICE(" C \r\nD \t E\r\n\r\n\r\n"), SLICE(" C\r\nD E\r\n"), SLICE(" C \r\nD \t E\r\n") },
    /* 3.4.3 and 3.4.4: an empty body */
    { SLICE(""), SLICE(""), SLICE("\r\n") },
    { SLICE("\r\n\r\n"), SLICE(""), SLICE("\r\n") },
    { SLICE(" \t\r\n \r\n"), SLICE(""), SLICE(" \t\r\n \r\n") },
    { SLICE("a"), SLICE("a\r\n"), SLICE("a\r\n") },
    { SLICE("a\r\n\r\nb\r\n"), SLICE("a\r\n\r\nb\r\n"), SLICE("a\r\n\r\nb\r\n") },
    { SLICE("\r\n\r\na\tb\r\n"), SLICE("\r\n\r\na b\r\n"), SLICE("\r\n\r\na\tb\r\n") },
    { SLICE("a \r\n\t\r\n b\r\n"), SLICE("a\r\n\r\n b\r\n"), SLICE("a \r\n\t\r\n b\r\n") },
};

START_TEST(bodies_are_hashed_in_their_canonical_form)
{
    unsigned char ours[32], theirs[32];
    struct slice body = bodies[_i].body;
    for (int relaxed = 0; relaxed < 2; relaxed++) {
        struct slice form = relaxed ? bodies[_i].relaxed : bodies[_i].simple;
        ck_assert_int_eq(EVP_Digest(form.ptr, form.len, theirs, NULL, EVP_sha256(), NULL), 1);
        for (size_t a = 0; a <= body.len; a++) {
            for (size_t b = a; b <= body.len; b++) {
                size_t cuts[2] = { a, b };
                hash_pieces(body, cuts, 2, relaxed, ours);
                ck_assert_mem_eq(ours, theirs, sizeof ours);
            }
        }
    }
}
END_TEST

START_TEST(fields_are_written_in_relaxed_form)
{
    /* RFC 6376, 3.4.5, and a folded one */
    struct slice header = SLICE("A: X\r\nB : Y\t\r\n\tZ  \r\nSubject:\r\n\r\n");
    static const struct slice forms[] = { SLICE("a:X"), SLICE("b:Y Z"), SLICE("subject:") };
    struct slice name, value;
    struct buf out = BUF_EMPTY;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        buf_clear(&out);
        dkim_field_take(&header, &name, &value);
        dkim_field_append(&out, name, value);
        ck_assert_msg(slice_eq(buf_slice(&out), forms[i]), "%.*s", SLICE_FMT(buf_slice(&out)));
    }
    buf_free(&out);
}
END_TEST

static char folder[] = "/tmp/eilpost-dkim-XXXXXX";

static const char *key_path(const char *name)
{
    static char path[4][100];
    static unsigned next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static void sign_message(struct dkim_signer *signer, const char *json, struct buf *into)
{
    const struct message_signing signing = { .signer = signer, .now_s = 1751373296 };
    const struct message_stamp stamp = { 1751373296789, SLICE("job-17"), SLICE("mail.example"),
                                         &signing };
    struct message_content *content;
    struct message_recipient recipient = { SLICE("a@x.example"), NULL, 0 };
    struct message_blocks *pool = message_blocks_create(16384, 1 << 20);
    struct message_output out;
    struct err err;
    ck_assert_msg(message_content_compile(&content, slice_str(json), NULL, &err), "%s", err.text);
    ck_assert_msg(message_render(content, &recipient, &stamp, MESSAGE_CHUNK, pool, &out, &err),
                  "%s", err.text);
    buf_clear(into);
    for (unsigned i = 0; i < out.iov_count; i++)
        buf_append(into, slice_of(out.iov[i].iov_base, out.iov[i].iov_len));
    ck_assert_uint_eq(into->len, out.bytes);
    message_output_release(&out);
    ck_assert_uint_eq(message_blocks_in_use(pool), 0);
    message_blocks_destroy(&pool);
    message_content_destroy(&content);
}

static unsigned count_of(struct slice text, const char *what)
{
    unsigned count = 0;
    size_t len = strlen(what);
    for (size_t i = 0; i + len <= text.len; i++)
        count += memcmp(text.ptr + i, what, len) == 0;
    return count;
}

START_TEST(three_signatures_of_the_largest_keys_have_room)
{
    /* 253 bytes of domain and of selector each, 4,096 bits, and many fields to sign. */
    char domain[254], selector[254];
    for (size_t i = 0; i < 253; i++) {
        domain[i] = i % 64 == 60 ? '.' : 'd';
        selector[i] = i % 64 == 60 ? '.' : 's';
    }
    domain[253] = selector[253] = '\0';
    struct err err;
    struct buf json = BUF_EMPTY, message = BUF_EMPTY;
    const char *file = key_path("large.pem");
    struct dkim_key_options keys[4];
    struct dkim_signer *signer;
    ck_assert_msg(dkim_key_make(file, DKIM_RSA_BITS_MAX, &err), "%s", err.text);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        keys[i] = (struct dkim_key_options){
            .domain = domain, .selector = selector, .file = file, .expires_s = 31536000
        };
    ck_assert_msg(dkim_signer_create(&signer, keys, ARRAY_LEN(keys), &err), "%s", err.text);
    buf_printf(&json, "{\"raw\": \"From: a@%s\\r\\n", domain);
    for (int i = 0; i < 60; i++)
        buf_append(&json, SLICE("List-Unsubscribe-Post: x\\r\\n"));
    buf_append(&json, SLICE("Subject: s\\r\\n\\r\\ntext\\r\\n\"}"));
    buf_append_char(&json, '\0');
    sign_message(signer, json.data, &message);
    ck_assert_uint_eq(count_of(buf_slice(&message), "DKIM-Signature:"), DKIM_SIGNATURES_MAX);
    ck_assert_uint_eq(count_of(buf_slice(&message), "From: a@"), 1);
    dkim_signer_destroy(&signer);
    unlink(file);
    buf_free(&json);
    buf_free(&message);
}
END_TEST

START_TEST(without_a_key_for_the_domain_nothing_is_added)
{
    struct err err;
    struct buf message = BUF_EMPTY;
    const char *file = key_path("other.pem");
    struct dkim_signer *signer;
    ck_assert_msg(dkim_key_make(file, 0, &err), "%s", err.text);
    const struct dkim_key_options key = { .domain = "b.example", .selector = "s", .file = file };
    ck_assert_msg(dkim_signer_create(&signer, &key, 1, &err), "%s", err.text);
    sign_message(signer, "{\"headers\": {\"From\": \"a@ab.example\"}, \"text\": \"x\"}", &message);
    ck_assert(slice_starts_with(buf_slice(&message), SLICE("From: a@ab.example\r\n")));
    dkim_signer_destroy(&signer);
    unlink(file);
    buf_free(&message);
}
END_TEST

START_TEST(bad_keys_are_refused_with_the_reason)
{
    struct err err;
    struct dkim_signer *signer;
    struct dkim_key_options key = { .domain = "b.example", .selector = "s" };
    key.file = key_path("none.pem");
    ck_assert(!dkim_signer_create(&signer, &key, 1, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "No such file"));
    FILE *out = fopen(key.file, "w");
    fputs("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", out);
    fclose(out);
    ck_assert(!dkim_signer_create(&signer, &key, 1, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "no private key in PEM"));
    ck_assert(!dkim_key_make(key.file, 2048, &err)); /* it's there: never overwritten */
    ck_assert(!dkim_key_make(key_path("weak.pem"), 512, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "1024 to 4096"));
    unlink(key.file);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF(
        "dkim", fields_are_written_in_relaxed_form, three_signatures_of_the_largest_keys_have_room,
        without_a_key_for_the_domain_nothing_is_added, bad_keys_are_refused_with_the_reason);
    TCase *table = tcase_create("bodies");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, bodies_are_hashed_in_their_canonical_form, 0, ARRAY_LEN(bodies));
    suite_add_tcase(suite, table);
    if (!mkdtemp(folder))
        return 1;
    int status = check_main(suite);
    rmdir(folder);
    return status;
}

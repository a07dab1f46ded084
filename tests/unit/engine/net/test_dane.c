/* DANE (RFC 7672): TLSA records against what a server shows. */
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "tests/unit/engine/net/tls_rig.h"

/* Which certificate's data a record has. */
enum of { MX, CA, SELF, OTHER, NOTHING };

static char chain[96];
static unsigned char data[8][4096];
static struct tls_tlsa records[8];

static X509 *load(const char *path)
{
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    X509 *x509 = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    ck_assert_ptr_nonnull(x509);
    return x509;
}

/* A record as the DNS would hold it. */
static struct tls_tlsa record_of(unsigned char out[4096], uint8_t usage, uint8_t selector,
                                 uint8_t matching, enum of of)
{
    struct tls_tlsa record = { usage, selector, matching, { 0 } };
    unsigned char *der = NULL;
    X509 *x509 = load(of == CA ? certs.ca : of == SELF ? certs.self : certs.mx);
    int len =
        selector == 1 ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der) : i2d_X509(x509, &der);
    unsigned digest_len = (unsigned)len;
    if (matching == 1)
        EVP_Digest(der, (size_t)len, out, &digest_len, EVP_sha256(), NULL);
    else if (matching == 2)
        EVP_Digest(der, (size_t)len, out, &digest_len, EVP_sha512(), NULL);
    else
        memcpy(out, der, (size_t)len);
    if (of == OTHER)
        out[digest_len - 1] ^= 1;
    record.data = slice_of((char *)out, of == NOTHING ? 5 : digest_len);
    OPENSSL_free(der);
    X509_free(x509);
    return record;
}

struct tlsa {
    uint8_t usage, selector, matching;
    enum of of;
};

static const char mismatch[] = "certificate verify failed: no matching DANE TLSA records";

/* The server's file: its certificate alone, with the authority's behind it, its own signature's,
 * one whose time is over. */
enum file { ALONE, WITH_CA, SELF_SIGNED, EXPIRED };

static const struct {
    struct tlsa records[3];
    unsigned count;
    enum file file;
    const char *name, *domain;
    const char *wrong; /* NULL: it must be secured */
    enum tls_problem problem;
    unsigned usable;
} cases[] = {
    { { { 3, 1, 1, MX } }, 1, ALONE, "mx.test.example", NULL, NULL, 0, 1 },
    { { { 3, 0, 1, MX } }, 1, ALONE, "mx.test.example", NULL, NULL, 0, 1 },
    { { { 3, 1, 2, MX } }, 1, ALONE, "mx.test.example", NULL, NULL, 0, 1 },
    { { { 3, 1, 0, MX } }, 1, ALONE, "mx.test.example", NULL, NULL, 0, 1 },
    { { { 3, 0, 0, MX } }, 1, ALONE, "mx.test.example", NULL, NULL, 0, 1 },
    /* usage 3: neither name nor dates count (RFC 7672, 3.1.1) */
    { { { 3, 1, 1, MX } }, 1, ALONE, "other.example", NULL, NULL, 0, 1 },
    { { { 3, 1, 1, MX } }, 1, EXPIRED, "mx.test.example", NULL, NULL, 0, 1 },
    { { { 3, 1, 1, MX } }, 1, SELF_SIGNED, "mx.test.example", NULL, NULL, 0, 1 },
    { { { 3, 1, 1, OTHER } },
      1,
      ALONE,
      "mx.test.example",
      NULL,
      mismatch,
      TLS_PROBLEM_VALIDATION,
      1 },
    /* usage 2: the authority must be shown (3.1.2), the name must fit */
    { { { 2, 0, 1, CA } }, 1, WITH_CA, "mx.test.example", NULL, NULL, 0, 1 },
    { { { 2, 1, 1, CA } }, 1, WITH_CA, "mx.test.example", NULL, NULL, 0, 1 },
    { { { 2, 0, 1, CA } }, 1, WITH_CA, "other.example", "mx.test.example", NULL, 0, 1 },
    { { { 2, 0, 1, CA } },
      1,
      WITH_CA,
      "other.example",
      NULL,
      "certificate verify failed: it isn't for other.example",
      TLS_PROBLEM_HOST_MISMATCH,
      1 },
    { { { 2, 0, 1, CA } }, 1, ALONE, "mx.test.example", NULL, "", TLS_PROBLEM_VALIDATION, 1 },
    /* one that fits is enough; those that can't be used don't count (3.1.3) */
    { { { 3, 1, 1, OTHER }, { 0, 0, 1, MX }, { 3, 1, 1, MX } },
      3,
      ALONE,
      "mx.test.example",
      NULL,
      NULL,
      0,
      2 },
    { { { 1, 0, 1, MX }, { 3, 1, 1, OTHER } },
      2,
      ALONE,
      "mx.test.example",
      NULL,
      mismatch,
      TLS_PROBLEM_VALIDATION,
      1 },
    { { { 1, 0, 1, MX }, { 0, 0, 1, CA } },
      2,
      ALONE,
      "mx.test.example",
      NULL,
      "no usable TLSA record",
      TLS_PROBLEM_NONE,
      0 },
    { { { 3, 2, 1, MX }, { 3, 1, 3, MX }, { 4, 0, 1, MX } },
      3,
      ALONE,
      "mx.test.example",
      NULL,
      "no usable TLSA record",
      TLS_PROBLEM_NONE,
      0 },
    { { { 3, 1, 1, NOTHING }, { 3, 1, 2, NOTHING }, { 3, 1, 0, NOTHING } },
      3,
      ALONE,
      "mx.test.example",
      NULL,
      "no usable TLSA record",
      TLS_PROBLEM_NONE,
      0 },
};

static const char *file_of(enum file file)
{
    return file == ALONE     ? certs.mx
           : file == WITH_CA ? chain
           : file == EXPIRED ? certs.expired
                             : certs.self;
}

static struct tls_context *dane;

static void setup_dane(void)
{
    setup();
    dane = context_with((struct tls_context_options){ .verify = TLS_VERIFY_DANE });
    snprintf(chain, sizeof chain, "%s/chain.pem", certs.folder);
    certs_run("cat %s %s > %s", certs.mx, certs.ca, chain);
}

static void teardown_dane(void)
{
    tls_context_destroy(&dane);
    teardown();
}

static void serve(const char *file)
{
    server.certificate = file;
    tls_server_prepare(&server);
}

static void use(const struct tlsa *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        records[i] =
            record_of(data[i], list[i].usage, list[i].selector, list[i].matching, list[i].of);
    client.tls.tlsa = records;
    client.tls.tlsa_count = count;
}

START_TEST(records_decide)
{
    serve(file_of(cases[_i].file));
    use(cases[_i].records, cases[_i].count);
    ck_assert_uint_eq(tls_tlsa_usable(records, cases[_i].count), cases[_i].usable);
    client.tls.domain = cases[_i].domain;
    connect_with(dane, cases[_i].name);
    if (!cases[_i].wrong) {
        ck_assert_msg(stream_secure(&client.stream), "%s", client.failure.text);
        ck_assert(facts().verified);
        return;
    }
    ck_assert_int_eq(client.failure.end, STREAM_END_TLS_FAILED);
    ck_assert_msg(strstr(client.failure.text, cases[_i].wrong), "%s", client.failure.text);
    ck_assert_str_eq(tls_problem_name(client.failure.problem), tls_problem_name(cases[_i].problem));
}
END_TEST

START_TEST(a_session_is_resumed_only_under_the_same_records)
{
    static const struct tlsa fits[] = { { 3, 1, 1, MX }, { 3, 1, 1, OTHER } };
    serve(certs.mx);
    use(fits, 1);
    connect_with(dane, "mx.test.example");
    ck_assert(!facts().resumed);
    struct tls_client_options options = client.tls;
    struct tls_ticket *ticket = client.ticket;
    ck_assert_ptr_nonnull(ticket);
    client.ticket = NULL;
    finish_client();
    client_init(&client, rig.ring);
    client.tls = options;
    client.tls.resume = ticket;
    connect_with(dane, "mx.test.example");
    ck_assert(facts().resumed && facts().verified);
    ticket = client.ticket;
    ck_assert_ptr_nonnull(ticket);
    client.ticket = NULL;
    finish_client();
    client_init(&client, rig.ring);
    use(fits, 2);
    client.tls.resume = ticket;
    connect_with(dane, "mx.test.example");
    ck_assert(stream_secure(&client.stream) && !facts().resumed);
}
END_TEST

/* What verification by name tells of each certificate, for reports. */
static const struct {
    enum file file;
    const char *name;
    enum tls_problem problem;
} problems[] = {
    { EXPIRED, "mx.test.example", TLS_PROBLEM_EXPIRED },
    { ALONE, "other.example", TLS_PROBLEM_HOST_MISMATCH },
    { SELF_SIGNED, "mx.test.example", TLS_PROBLEM_NOT_TRUSTED },
};

START_TEST(problems_have_the_names_of_reports)
{
    serve(file_of(problems[_i].file));
    connect_with(verifying, problems[_i].name);
    ck_assert_int_eq(client.failure.end, STREAM_END_TLS_FAILED);
    ck_assert_str_eq(tls_problem_name(client.failure.problem),
                     tls_problem_name(problems[_i].problem));
}
END_TEST

START_TEST(a_certificate_can_be_looked_at)
{
    serve(certs.mx);
    connect_with(trusting, "mx.test.example");
    struct tls_certificate it;
    ck_assert(stream_tls_certificate(&client.stream, &it));
    ck_assert_str_eq(it.subject, "CN=mx.test.example");
    ck_assert_str_eq(it.issuer, "CN=Authority");
    ck_assert_str_eq(it.names, "mx.test.example 127.0.0.1");
    ck_assert_int_eq((it.until_s - it.from_s) / 86400, 30);
    record_of(data[0], 3, 1, 1, MX);
    char digest[65];
    for (unsigned i = 0; i < 32; i++)
        snprintf(digest + 2 * i, 3, "%02x", data[0][i]);
    ck_assert_str_eq(it.sha256, digest);
    tls_certificate_clear(&it);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dane");
    TCase *tcase = tcase_create("simulation");
    tcase_add_unchecked_fixture(tcase, make_certs, remove_certs);
    tcase_add_checked_fixture(tcase, setup_dane, teardown_dane);
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, records_decide, 0, (int)ARRAY_LEN(cases));
    tcase_add_test(tcase, a_session_is_resumed_only_under_the_same_records);
    tcase_add_loop_test(tcase, problems_have_the_names_of_reports, 0, (int)ARRAY_LEN(problems));
    tcase_add_test(tcase, a_certificate_can_be_looked_at);
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}

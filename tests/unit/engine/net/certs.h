#pragma once
/* Certificates for tests, made with the openssl command in a temporary folder: an authority, a
 * server it vouches for (mx.test.example and 127.0.0.1), and a server's whose time is over. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/check_main.h"

struct certs {
    char folder[64];
    char ca[96], mx[96], mx_key[96], expired[96], self[96];
};

static inline void certs_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void certs_run(const char *fmt, ...)
{
    char command[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    ck_assert_msg(system(command) == 0, "failed: %s", command);
}

static inline void certs_make(struct certs *certs)
{
    snprintf(certs->folder, sizeof certs->folder, "/tmp/eilpost-certs-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(certs->folder));
    const char *f = certs->folder;
    snprintf(certs->ca, sizeof certs->ca, "%s/ca.pem", f);
    snprintf(certs->mx, sizeof certs->mx, "%s/mx.pem", f);
    snprintf(certs->mx_key, sizeof certs->mx_key, "%s/mx.key", f);
    snprintf(certs->expired, sizeof certs->expired, "%s/expired.pem", f);
    snprintf(certs->self, sizeof certs->self, "%s/self.pem", f);
    const char *key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    const char *names =
        "-addext subjectAltName=DNS:mx.test.example,IP:127.0.0.1 -subj /CN=mx.test.example";
    certs_run("cd %s && openssl req -x509 %s -keyout ca.key -out ca.pem -days 30 -subj "
              "/CN=Authority 2>err",
              f, key);
    certs_run("cd %s && openssl req -x509 %s -keyout mx.key -out mx.pem -days 30 -CA ca.pem -CAkey "
              "ca.key %s "
              "-addext basicConstraints=CA:FALSE 2>err",
              f, key, names);
    certs_run("cd %s && openssl req -x509 -key mx.key -out self.pem -days 30 %s 2>err", f, names);
    /* Only `openssl ca` sets dates in the past. */
    certs_run(
        "cd %s && touch index.txt && printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index.txt\\n"
        "new_certs_dir=.\\npolicy=p\\ndefault_md=sha256\\nrand_serial=yes\\nx509_extensions=e\\n"
        "[p]\\ncommonName=supplied\\n[e]\\nsubjectAltName=DNS:mx.test.example\\n' > ca.conf && "
        "openssl req -new -key mx.key -subj /CN=mx.test.example -out mx.csr 2>err && "
        "openssl ca -batch -config ca.conf -in mx.csr -cert ca.pem -keyfile ca.key -out "
        "expired.pem "
        "-startdate 20200101000000Z -enddate 20200201000000Z -notext 2>err",
        f);
}

static inline void certs_remove(const struct certs *certs)
{
    certs_run("rm -r %s", certs->folder);
}

// module: net
/* Whatever a server says: no mechanism answers more often than it may, SCRAM never believes a
 * server that doesn't know the password, responses stay bounded; Base64 that is taken is the one
 * that encoding gives. The first byte is the mechanism, lines are challenges, "!" is the server's
 * yes. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/net/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ANSWERS_MAX = 3, RESPONSE_BYTES_MAX = 2048 };

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void base64(struct slice text)
{
    struct buf bytes = BUF_EMPTY, again = BUF_EMPTY;
    if (sasl_decode(&bytes, text)) {
        sasl_encode(&again, buf_slice(&bytes));
        check(slice_eq(buf_slice(&again), text));
    } else {
        check(bytes.len == 0);
    }
    buf_free(&bytes);
    buf_free(&again);
}

static void exchange(enum sasl_mechanism mechanism, bool early, struct slice lines)
{
    /* No input holds the proof of a password that it can't see. */
    char secret[] = "6f1c9a2e";
    const struct sasl_identity identity = {
        .user = "us=er", .secret = secret, .host = "h", .port = 1, .nonce = "nonce"
    };
    struct sasl *sasl;
    struct err err;
    struct buf response = BUF_EMPTY;
    check(sasl_start(&sasl, mechanism, &identity, &err));
    if (early && sasl_speaks_first(sasl))
        sasl_initial(sasl, &response);
    unsigned answers = 0;
    while (lines.len > 0) {
        struct slice line = slice_cut(&lines, '\n');
        if (line.len == 1 && line.ptr[0] == '!') {
            bool yes = sasl_success(sasl, &err);
            check(!yes || mechanism != SASL_SCRAM_SHA_256);
            continue;
        }
        base64(line);
        /* On the heap, so that a read past its end is seen. */
        char *copy = mem_alloc(line.len);
        memcpy(copy, line.ptr, line.len);
        buf_clear(&response);
        bool ok = sasl_challenge(sasl, slice_of(copy, line.len), &response, &err);
        free(copy);
        check(response.len <= RESPONSE_BYTES_MAX);
        check(sasl_error(sasl).len <= 200);
        if (!ok)
            break;
        check(++answers <= ANSWERS_MAX);
    }
    sasl_destroy(&sasl);
    buf_free(&response);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum sasl_mechanism mechanism = (enum sasl_mechanism)(data[0] % SASL_MECHANISMS);
    exchange(mechanism, data[0] & 0x80, slice_of(data + 1, size - 1));
    return 0;
}

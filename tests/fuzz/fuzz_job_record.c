// module: queue
/* A record that parses must be written back as the same bytes; nothing else may happen. */
#include <stdlib.h>

#include "queue/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct slice values[QUEUE_RECORD_VALUES_MAX];
    struct slice bytes = slice_of(data, size);
    struct record record;
    struct err err;
    if (!record_parse(bytes, &record, values, QUEUE_RECORD_VALUES_MAX, &err))
        return 0;
    if (record.last_reply.len > QUEUE_RECORD_REPLY_BYTES_MAX)
        return 0; /* cut when written */
    struct buf again = BUF_EMPTY;
    bool ok = record_write(&again, &record);
    assert(ok && slice_eq(buf_slice(&again), bytes));
    buf_free(&again);
    return 0;
}

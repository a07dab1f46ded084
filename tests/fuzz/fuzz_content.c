// module: queue
/* Whatever is stored as a submission's object unpacks to a text of bounded size, or is refused;
 * what is packed comes back. */
#include <stdlib.h>

#include "queue/content.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf room = BUF_EMPTY, packed = BUF_EMPTY;
    struct slice text, back, input = slice_of(data, size);
    struct err err;
    if (content_unpack(input, &room, &text, &err)) {
        assert(text.len <= CONTENT_BYTES_MAX || text.ptr == input.ptr);
        struct slice stored = content_pack(text, &packed);
        struct buf again = BUF_EMPTY;
        bool ok = content_unpack(stored, &again, &back, &err);
        /* What begins like a frame but is none can't have come from here: objects begin with '{'.
         */
        assert(ok ? slice_eq(back, text)
                  : text.len < CONTENT_PACK_BYTES_MIN || stored.ptr == text.ptr);
        buf_free(&again);
    } else {
        assert(err.text[0]);
    }
    buf_free(&room);
    buf_free(&packed);
    return 0;
}

// module: message
/* A content, a form feed, and values separated by form feeds: whatever compiles and renders keeps
 * the wire's rules. Content that isn't JSON is taken as the text of a template file and as a raw
 * message. */
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/message/content.h"
#include "engine/message/template_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_wire(struct slice message, bool data)
{
    check(message.len > 2);
    while (message.len > 0) {
        ptrdiff_t end = slice_find(message, '\n');
        check(end > 0 && message.ptr[end - 1] == '\r');
        struct slice line = slice_head(message, (size_t)end - 1);
        check(line.len <= (data && line.len > 0 && line.ptr[0] == '.' ? 999u : 998u));
        check(slice_find(line, '\r') < 0 && slice_find(line, '\0') < 0);
        check(!data || line.len == 0 || line.ptr[0] != '.' || (line.len > 1 && line.ptr[1] == '.'));
        message = slice_skip(message, (size_t)end + 1);
    }
}

static void render(const struct message_content *content, struct slice *values, size_t count,
                   enum message_transfer transfer)
{
    struct message_recipient recipient = { SLICE("a@x.example"), values, count };
    struct message_stamp stamp = { 1751373296000, SLICE("17"), SLICE("x.example") };
    struct message_blocks *pool = message_blocks_create(1024, 16 << 20);
    struct message_output out;
    struct err err;
    struct buf whole = BUF_EMPTY;
    if (message_render(content, &recipient, &stamp, transfer, pool, &out, &err)) {
        for (unsigned i = 0; i < out.iov_count; i++)
            check(buf_append(&whole, slice_of(out.iov[i].iov_base, out.iov[i].iov_len)));
        check(whole.len == out.bytes);
        check(transfer == MESSAGE_DATA || out.bytes <= message_size_estimate(content, &recipient));
        check_wire(buf_slice(&whole), transfer == MESSAGE_DATA);
    } else {
        check(err.kind == ERR_INPUT);
    }
    message_needs_smtputf8(content, &recipient);
    message_output_release(&out);
    check(message_blocks_in_use(pool) == 0);
    message_blocks_destroy(&pool);
    buf_free(&whole);
}

static void try_content(struct slice json, struct slice rest)
{
    struct message_content *content;
    struct slice values[16];
    struct err err;
    size_t count = 0;
    if (!message_content_compile(&content, json, NULL, &err)) {
        check(err.kind == ERR_INPUT && err.text[0] != '\0');
        return;
    }
    while (count < ARRAY_LEN(values) && rest.len > 0)
        values[count++] = slice_cut(&rest, '\f');
    render(content, values, count, MESSAGE_DATA);
    render(content, values, count, MESSAGE_CHUNK);
    message_content_destroy(&content);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size), head = slice_cut(&rest, '\f');
    struct buf json = BUF_EMPTY;
    if (head.len > 0 && head.ptr[0] == '{') {
        try_content(head, rest);
    } else {
        if (template_file_content(head, rest, &json, NULL))
            try_content(buf_slice(&json), rest);
        buf_clear(&json);
        buf_append(&json, SLICE("{\"raw\": "));
        buf_append_json(&json, head);
        buf_append_char(&json, '}');
        try_content(buf_slice(&json), rest);
    }
    buf_free(&json);
    return 0;
}

/* Bodies: text, HTML, or both as multipart/alternative, in quoted-printable, so that what is sent
 * is always 7-bit and its lines are short. The delimiter begins with "--=_": a "=" in
 * quoted-printable is always followed by two hexadecimal digits or a line end, so no body can
 * contain it. */
#include "engine/message/compiled.h"

static void add_qp(struct message_content *content, struct slice text)
{
    struct qp_state state = { 0 };
    size_t start = content->bytes.len;
    while (text.len > 0) {
        char *at = buf_reserve(&content->bytes, 4096);
        assert(at);
        buf_grow(&content->bytes, qp_encode(&state, &text, at, 4096, QP_TEXT));
    }
    struct slice made = slice_skip(buf_slice(&content->bytes), start);
    ptrdiff_t end = slice_find(made, '\r');
    size_t head = end < 0 ? made.len : (size_t)end;
    if (end > 0 && made.ptr[end - 1] == '=') /* only a soft break is a "=" at the end of a line */
        head--;
    struct segment *segment = content_segment_add(content, SEGMENT_QP);
    segment->at = (uint32_t)start;
    segment->len = (uint32_t)made.len;
    segment->head_columns = (uint8_t)head;
    segment->has_break = end >= 0;
    segment->tail_column = (uint8_t)state.column;
    segment->tail_blank = state.blank;
}

static bool add_part(struct message_content *content, const char *name, struct slice text,
                     enum segment_kind field_kind, struct template_fields *fields, struct err *err)
{
    struct template_pieces pieces;
    if (!template_parse(text, name, fields, &pieces, err))
        return false;
    for (size_t i = 0; i < pieces.count; i++) {
        if (pieces.list[i].text.ptr)
            add_qp(content, pieces.list[i].text);
        else
            content_segment_add(content, field_kind)->field = pieces.list[i].field;
    }
    return true;
}

static void add_part_headers(struct message_content *content, bool html)
{
    content_bytes_add(content, html ? SLICE("Content-Type: text/html; charset=utf-8\r\n")
                                    : SLICE("Content-Type: text/plain; charset=utf-8\r\n"));
    content_literal_add(content, "Content-Transfer-Encoding: quoted-printable\r\n\r\n");
}

static bool add_single(struct message_content *content, struct slice text, bool html,
                       struct template_fields *fields, struct err *err)
{
    add_part_headers(content, html);
    if (!add_part(content, html ? "html" : "text", text, html ? SEGMENT_HTML : SEGMENT_TEXT, fields,
                  err))
        return false;
    content_segment_add(content, SEGMENT_BODY_END);
    return true;
}

static bool add_alternative(struct message_content *content, struct slice text, struct slice html,
                            struct slice boundary, struct template_fields *fields, struct err *err)
{
    content_literal_add(content, "Content-Type: multipart/alternative; boundary=\"=_");
    content_bytes_add(content, boundary);
    content_literal_add(content, "\"\r\n\r\n--=_");
    content_bytes_add(content, boundary);
    content_literal_add(content, "\r\n");
    add_part_headers(content, false);
    if (!add_part(content, "text", text, SEGMENT_TEXT, fields, err))
        return false;
    content_segment_add(content, SEGMENT_PART_END);
    content_literal_add(content, "\r\n--=_");
    content_bytes_add(content, boundary);
    content_literal_add(content, "\r\n");
    add_part_headers(content, true);
    if (!add_part(content, "html", html, SEGMENT_HTML, fields, err))
        return false;
    content_segment_add(content, SEGMENT_PART_END);
    content_literal_add(content, "\r\n--=_");
    content_bytes_add(content, boundary);
    content_literal_add(content, "--\r\n");
    return true;
}

bool body_compile(struct message_content *content, struct slice text, struct slice html,
                  const char boundary[static 17], struct template_fields *fields, struct err *err)
{
    content_literal_add(content, "MIME-Version: 1.0\r\n");
    if (text.ptr && html.ptr)
        return add_alternative(content, text, html, slice_str(boundary), fields, err);
    return add_single(content, html.ptr ? html : text, html.ptr != NULL, fields, err);
}

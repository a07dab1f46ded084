#include "engine/base/utf8.h"

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

size_t utf8_sequence_len(struct slice text)
{
    if (text.len == 0)
        return 0;
    unsigned char a = (unsigned char)text.ptr[0];
    if (a < 0x80)
        return 1;
    if (a < 0xc2 || a > 0xf4)
        return 0;
    size_t width = a < 0xe0 ? 2 : a < 0xf0 ? 3 : 4;
    if (text.len < width)
        return 0;
    for (size_t i = 1; i < width; i++)
        if (!is_continuation(text.ptr[i]))
            return 0;
    unsigned char b = (unsigned char)text.ptr[1];
    if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f) || (a == 0xf0 && b < 0x90) ||
        (a == 0xf4 && b > 0x8f))
        return 0;
    return width;
}

bool utf8_valid(struct slice text)
{
    while (text.len > 0) {
        size_t width = utf8_sequence_len(text);
        if (width == 0)
            return false;
        text = slice_skip(text, width);
    }
    return true;
}

bool ascii_only(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] >= 0x80)
            return false;
    return true;
}

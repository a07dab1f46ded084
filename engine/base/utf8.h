#pragma once
#include "engine/base/slice.h"

/** Bytes (1–4) of the well-formed UTF-8 sequence at the front, 0 if there is none (RFC 3629). */
size_t utf8_sequence_len(struct slice text);
/** Whether all of it is well-formed UTF-8. */
bool utf8_valid(struct slice text);
/** Whether all bytes are below 0x80. */
bool ascii_only(struct slice text);

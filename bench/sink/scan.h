#pragma once
/* Finds the end of mail data, CRLF "." CRLF (RFC 5321, 4.1.1.4), in bytes that arrive in pieces cut
 * anywhere. */
#include "engine/base/slice.h"

/** How many bytes of the terminator the data seen so far ends with. Start with SCAN_START. */
struct scan {
    uint8_t matched;
};

/* The CRLF of the DATA command counts as the first of an empty message's terminator. */
#define SCAN_START ((struct scan){ 2 })

/**
 * Reads `in`; returns how many of its bytes belong to the message, terminator included. `*found`
 * says whether the terminator's last byte was among them; if not, all of `in` was taken.
 */
size_t scan_end_of_data(struct scan *scan, struct slice in, bool *found);

/** As scan_end_of_data, without vector instructions: the reference that the fast one is tested
 * against. */
size_t scan_end_of_data_scalar(struct scan *scan, struct slice in, bool *found);

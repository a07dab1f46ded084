#pragma once
/* Cuts a template's text at its {{fields}}. What a field becomes where it stands is not decided
 * here: the header, text and HTML compilers take the pieces. Sections, partials and the like are
 * further kinds of tags; until they exist each is an error with its place. */
#include "engine/base/arena.h"
#include "engine/base/err.h"
#include "engine/base/map.h"

#define TEMPLATE_FIELD_EMAIL UINT32_MAX /* the recipient's address, always there */

/** The names of the fields met so far, in order of first appearance. */
struct template_fields {
    struct arena *arena; /* keeps the names and the pieces */
    struct slice *names;
    size_t count, room, count_max;
    struct map index; /* name → position + 1 */
};

void template_fields_init(struct template_fields *fields, struct arena *arena, size_t count_max);
/** Frees the index; the names are copied to the arena by template_fields_names. */
void template_fields_deinit(struct template_fields *fields);
/** The names as an array in the arena. */
const struct slice *template_fields_names(const struct template_fields *fields);

struct template_piece {
    struct slice text; /* static text, a slice of the parsed text; ptr NULL: a field */
    uint32_t field;    /* TEMPLATE_FIELD_EMAIL or a position in the names */
    size_t at;         /* where in the parsed text */
};

struct template_pieces {
    struct template_piece *list;
    size_t count;
};

/**
 * Cuts `text` (valid UTF-8 without NUL, else refused) into pieces that live in the arena. On false
 * `err` says "PART, line L, column C: …"; columns count characters.
 */
MUST_USE bool template_parse(struct slice text, const char *part, struct template_fields *fields,
                             struct template_pieces *out, struct err *err);

/** Sets `err` to "PART, line L, column C: WHAT" for the place `at` in `text`; returns false. */
bool template_err(struct err *err, const char *part, struct slice text, size_t at,
                  const char *what);

/** Whether any of the pieces is a field. */
bool template_has_fields(const struct template_pieces *pieces);

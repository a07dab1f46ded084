#pragma once
/* The template file of `eilpost send --template FILE [--html FILE]`: header lines, an empty line,
 * the text part, as in RFC 5322 but in plain UTF-8 with {{fields}}; long headers may be folded. */
#include "engine/base/buf.h"
#include "engine/base/err.h"

/**
 * Appends the content JSON (README) of a template file to `json`. `html` is the HTML part, ptr NULL
 * for none; with one, a template without a body has no text part. On false `err` names the line and
 * `json` is untouched. What is wrong with the headers' values or the fields,
 * message_content_compile() finds.
 */
MUST_USE bool template_file_content(struct slice text, struct slice html, struct buf *json,
                                    struct err *err);

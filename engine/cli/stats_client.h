#pragma once
/* The stats endpoint's client: one request, one JSON object. */
#include <jansson.h>

#include "engine/base/err.h"

/** GET http://ADDRESS:PORT/v1/stats. NULL when the endpoint isn't there or answers nonsense; else a
 * new reference. */
json_t *stats_fetch(const char *address, struct err *err);
/** Whether /healthz answers 200. */
bool stats_healthy(const char *address);
/** A number on a path such as "sessions.busy"; 0 when there's none. */
double stats_number(const json_t *stats, const char *path);

#pragma once
/* An order as JSON: the record in ns:orders that people see, the entry in a partition's orders that
 * scripts and engines see, and the filter that both are made of. */
#include <jansson.h>

#include "queue/orders.h"

/** The filter as people see it: only what is named. */
json_t *order_filter_json(const struct order_filter *filter);
/** The other way; strings live as long as `json`. False when it can't be read. */
MUST_USE bool order_filter_parse(const json_t *json, struct order_filter *out);

/** The record of a fresh order, state "entering". */
json_t *order_record_create(const struct order_request *request, const char *id, int64_t now_ms);
/** The entry for ns:{p}:a; the caller frees it. */
char *order_record_entry(const json_t *record);

enum order_action order_record_action(const json_t *record);
const char *order_record_id(const json_t *record);
const char *order_record_state(const json_t *record);
void order_record_set_state(json_t *record, const char *state);
/** Whether it's in the partitions: neither over nor taken back. */
bool order_record_in_force(const json_t *record);
void order_record_set_counts(json_t *record, const char *name, const struct order_counts *counts);
void order_record_counts(const json_t *record, const char *name, struct order_counts *out);

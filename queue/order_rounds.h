#pragma once
/* Orders that end jobs, in the engine: who owns a partition walks over it again and again for each
 * cancellation and purge that is in force there, so that what came back from flight after the
 * commander's walk is caught, and what an interrupted command left is done. Orders that are over
 * are taken out of the partition. queue/README.md, "Campaigns and orders in the engine". */
#include "queue/redis_value.h"

struct order_rounds;
struct queue;
struct queue_partition;

struct order_rounds *order_rounds_create(struct queue *queue);
void order_rounds_start(struct order_rounds *rounds);
/** No timer fires after it. Calls under way must be answered before order_rounds_destroy(). */
void order_rounds_stop(struct order_rounds *rounds);
void order_rounds_destroy(struct order_rounds **rounds);

/** The orders in a partition changed: `texts` are all that there are now. */
void order_rounds_heard(struct queue_partition *partition, const struct redis_value *texts);
void order_rounds_forget(struct queue_partition *partition);

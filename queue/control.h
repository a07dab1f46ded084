#pragma once
/* Campaigns in the engine: rates, canaries, and the samples that tell how fast a campaign goes. One
 * worker of all nodes does it for all partitions: the one that owns partition 0.
 * queue/README.md, "Campaigns and orders in the engine". */
struct control;
struct queue;

struct control *control_create(struct queue *queue);
void control_start(struct control *control);
/** No timer fires after it. Calls under way must be answered before control_destroy(). */
void control_stop(struct control *control);
void control_destroy(struct control **control);

#pragma once
/* What ingest needs to know about content and addresses, answered by the message and dns modules,
 * which the queue mustn't know. */
#include "queue/ingest.h"

extern const struct ingest_callbacks app_ingest_callbacks;

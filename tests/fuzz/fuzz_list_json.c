// module: message
#define LIST_FORMAT RECIPIENT_LIST_JSON
#include "tests/fuzz/list_target.h"

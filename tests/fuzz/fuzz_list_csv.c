// module: message
#define LIST_FORMAT RECIPIENT_LIST_CSV
#include "tests/fuzz/list_target.h"

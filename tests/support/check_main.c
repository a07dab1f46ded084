/* Keeps the support library non-empty and gives every test program the same way to run its suites.
 */
#include "tests/support/check_main.h"

#include <stdlib.h>

int check_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

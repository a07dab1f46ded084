#pragma once
/* Shared by all libcheck programs: a test's main() builds a suite and returns check_main(suite). */
#include <check.h>

/** Runs the suite (fork mode on, unless CK_FORK=no) and returns the exit code for main(). Frees the
 * suite. */
int check_main(Suite *suite);

/** A suite of one case with the given tests: SUITE_OF("reply", test_a, test_b). */
#define SUITE_OF(name, ...)                                                                        \
    __extension__({                                                                                \
        const TTest *suite_tests_[] = { __VA_ARGS__ };                                             \
        Suite *suite_ = suite_create(name);                                                        \
        TCase *case_ = tcase_create(name);                                                         \
        tcase_set_timeout(case_, 0); /* no time limits: a slow machine is not a failure */         \
        for (size_t i_ = 0; i_ < sizeof suite_tests_ / sizeof suite_tests_[0]; i_++)               \
            tcase_add_test(case_, suite_tests_[i_]);                                               \
        suite_add_tcase(suite_, case_);                                                            \
        suite_;                                                                                    \
    })

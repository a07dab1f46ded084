#include "queue/journal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check_main.h"

static char folder[64];
static struct queue_journal_file *file;
static struct err err;

static void folder_make(void)
{
    snprintf(folder, sizeof folder, "/tmp/eilpost-journal-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void folder_remove(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static struct queue_journal *reopen(unsigned workers, unsigned slots)
{
    queue_journal_close(&file);
    ck_assert_msg(queue_journal_open(&file, folder, workers, slots, &err), "%s", err.text);
    return queue_journal_worker(file, 0);
}

START_TEST(what_was_in_doubt_is_found_after_a_restart)
{
    struct queue_journal *journal = reopen(1, 16);
    int32_t sent = journal_take(journal, 3, SLICE("s-1"), 7);
    int32_t replied = journal_take(journal, 3, SLICE("s-2"), 7);
    int32_t done = journal_take(journal, 3, SLICE("s-3"), 7);
    journal_replied(journal, replied, 550);
    journal_free(journal, done);
    ck_assert_int_ge(sent, 0);
    journal = reopen(1, 16);
    ck_assert_uint_eq(journal_taken(journal), 2);
    struct journal_entry entry;
    ck_assert(journal_claim(journal, SLICE("s-1"), 7, &entry));
    ck_assert_int_eq(entry.state, JOURNAL_DOT_SENT);
    ck_assert(!journal_claim(journal, SLICE("s-1"), 7, &entry)); /* once */
    ck_assert(!journal_claim(journal, SLICE("s-2"), 8, &entry)); /* another lease */
    ck_assert(journal_claim(journal, SLICE("s-2"), 7, &entry));
    ck_assert_int_eq(entry.state, JOURNAL_REPLIED);
    ck_assert_uint_eq(entry.code, 550);
    ck_assert(!journal_claim(journal, SLICE("s-3"), 7, &entry));
    journal_free(journal, entry.slot);
    journal = reopen(1, 16); /* a claim alone frees nothing */
    ck_assert(journal_claim(journal, SLICE("s-1"), 7, &entry));
    ck_assert(!journal_claim(journal, SLICE("s-2"), 7, &entry));
}
END_TEST

START_TEST(a_full_journal_says_so_and_a_freed_slot_serves_again)
{
    struct queue_journal *journal = reopen(1, 4);
    int32_t last = -1;
    for (unsigned i = 0; i < 4; i++) {
        last = journal_take(journal, 0, SLICE("s-1"), i);
        ck_assert_int_ge(last, 0);
    }
    ck_assert_int_eq(journal_take(journal, 0, SLICE("s-1"), 9), -1);
    journal_free(journal, last);
    ck_assert_int_eq(journal_take(journal, 0, SLICE("s-1"), 9), last);
}
END_TEST

START_TEST(what_nobody_claims_is_forgotten_with_its_partition)
{
    struct queue_journal *journal = reopen(1, 4);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_ge(journal_take(journal, i % 2, SLICE("s-1"), i), 0);
    journal = reopen(1, 4);
    ck_assert_int_eq(journal_take(journal, 0, SLICE("s-2"), 9), -1);
    journal_forget(journal, 1);
    ck_assert_uint_eq(journal_taken(journal), 2);
    ck_assert_int_ge(journal_take(journal, 0, SLICE("s-2"), 9), 0);
    ck_assert_int_ge(journal_take(journal, 0, SLICE("s-2"), 10), 0);
    ck_assert_int_eq(journal_take(journal, 0, SLICE("s-2"), 11), -1);
}
END_TEST

START_TEST(fewer_workers_still_find_what_more_workers_left)
{
    reopen(4, 8);
    ck_assert_int_ge(journal_take(queue_journal_worker(file, 3), 3, SLICE("s-1"), 7), 0);
    struct queue_journal *journal = reopen(1, 8);
    struct journal_entry entry;
    ck_assert(journal_claim(journal, SLICE("s-1"), 7, &entry));
    journal_free(journal, entry.slot);
    journal = reopen(1, 8);
    ck_assert(!journal_claim(journal, SLICE("s-1"), 7, &entry));
}
END_TEST

START_TEST(a_second_engine_on_the_same_folder_is_refused)
{
    reopen(1, 4);
    struct queue_journal_file *second = NULL;
    ck_assert(!queue_journal_open(&second, folder, 1, 4, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "in use"));
    ck_assert_ptr_null(second);
}
END_TEST

START_TEST(a_file_that_is_no_journal_is_refused)
{
    char path[96];
    snprintf(path, sizeof path, "%s/journal", folder);
    FILE *other = fopen(path, "w");
    for (unsigned i = 0; i < 64; i++)
        fputs("something else, of a size that fits...", other);
    fclose(other);
    ck_assert(!queue_journal_open(&file, folder, 1, 4, &err));
}
END_TEST

START_TEST(a_slot_with_a_wrong_checksum_counts_as_idle)
{
    struct queue_journal *journal = reopen(1, 4);
    int32_t slot = journal_take(journal, 0, SLICE("s-1"), 7);
    queue_journal_close(&file);
    char path[96];
    snprintf(path, sizeof path, "%s/journal", folder);
    int fd = open(path, O_RDWR);
    ck_assert_int_eq(pwrite(fd, "z", 1, slot * 64 + 18), 1); /* in the id */
    close(fd);
    journal = reopen(1, 4);
    ck_assert_uint_eq(journal_taken(journal), 0);
}
END_TEST

/* Killed while it takes, answers and frees slots: what is found was taken, and a reply's code is
 * one that was written. */
START_TEST(a_kill_at_any_moment_leaves_no_torn_slot)
{
    for (unsigned round = 0; round < 20; round++) {
        queue_journal_close(&file);
        int go[2];
        ck_assert_int_eq(pipe(go), 0);
        pid_t pid = fork();
        if (pid == 0) {
            struct queue_journal *journal = reopen(1, 8);
            journal_forget(journal, 0);
            for (uint64_t i = 0;; i++) {
                char id[32];
                int len = snprintf(id, sizeof id, "s-%llu", (unsigned long long)i);
                int32_t slot = journal_take(journal, 0, slice_of(id, (size_t)len), i);
                if (i == 10 && write(go[1], "x", 1) != 1)
                    _exit(1);
                if (i % 3)
                    journal_replied(journal, slot, 200 + (unsigned)(i % 100));
                if (i % 4)
                    journal_free(journal, slot);
                else if (i % 16 == 0) {
                    queue_journal_close(&file);
                    journal = reopen(1, 8);
                    journal_forget(journal, 0);
                }
            }
        }
        char byte;
        ck_assert_int_eq(read(go[0], &byte, 1), 1);
        for (volatile unsigned spin = 0; spin < round * 10000; spin++)
            continue;
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        close(go[0]);
        close(go[1]);
        struct queue_journal *journal = reopen(1, 8);
        unsigned found = 0, taken = journal_taken(journal);
        for (uint64_t i = 0; found < taken && i < 100000000; i++) {
            char id[32];
            int len = snprintf(id, sizeof id, "s-%llu", (unsigned long long)i);
            struct journal_entry entry;
            if (!journal_claim(journal, slice_of(id, (size_t)len), i, &entry))
                continue;
            found++;
            if (entry.state == JOURNAL_REPLIED)
                ck_assert_uint_eq(entry.code, 200 + i % 100);
        }
        ck_assert_uint_eq(found, taken);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal");
    TCase *tests = tcase_create("journal");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, folder_make, folder_remove);
    tcase_add_test(tests, what_was_in_doubt_is_found_after_a_restart);
    tcase_add_test(tests, a_full_journal_says_so_and_a_freed_slot_serves_again);
    tcase_add_test(tests, what_nobody_claims_is_forgotten_with_its_partition);
    tcase_add_test(tests, fewer_workers_still_find_what_more_workers_left);
    tcase_add_test(tests, a_second_engine_on_the_same_folder_is_refused);
    tcase_add_test(tests, a_file_that_is_no_journal_is_refused);
    tcase_add_test(tests, a_slot_with_a_wrong_checksum_counts_as_idle);
    tcase_add_test(tests, a_kill_at_any_moment_leaves_no_torn_slot);
    suite_add_tcase(suite, tests);
    return check_main(suite);
}

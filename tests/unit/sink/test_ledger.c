#include "bench/sink/ledger.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/rng.h"
#include "tests/support/check_main.h"

static struct ledger_entry entry_of(const char *recipient, const char *id)
{
    return (struct ledger_entry){ .recipient = slice_str(recipient),
                                  .id = slice_str(id),
                                  .time_us = 5 };
}

START_TEST(a_recipient_seen_again_is_a_duplicate_and_named)
{
    struct ledger ledger;
    struct err err;
    ck_assert(ledger_open(&ledger, (struct ledger_options){ .duplicates_listed_max = 1 }, &err));
    struct ledger_batch batch = { .ledger = &ledger };
    struct ledger_entry a1 = entry_of("a@x", "1"), a2 = entry_of("a@x", "2"),
                        b = entry_of("b@x", "1");
    ck_assert(ledger_accept(&batch, &a1));
    ck_assert(ledger_accept(&batch, &b));
    ck_assert(!ledger_accept(&batch, &a2));
    ck_assert(!ledger_accept(&batch, &a1));
    ck_assert_uint_eq(ledger.duplicates, 2);
    ck_assert_str_eq(buf_cstr(&ledger.listed), "a@x\t2\n");
    ledger_close(&ledger);
}
END_TEST

START_TEST(with_ids_in_the_key_only_the_same_message_is_a_duplicate)
{
    struct ledger ledger;
    struct err err;
    ck_assert(ledger_open(&ledger, (struct ledger_options){ .id_in_key = true }, &err));
    struct ledger_batch batch = { .ledger = &ledger };
    struct ledger_entry a1 = entry_of("a@x", "1"), a2 = entry_of("a@x", "2");
    ck_assert(ledger_accept(&batch, &a1));
    ck_assert(ledger_accept(&batch, &a2));
    ck_assert(!ledger_accept(&batch, &a1));
    ledger_close(&ledger);
}
END_TEST

START_TEST(each_acceptance_is_a_line_and_no_address_can_forge_one)
{
    char path[] = "/tmp/eilpost-ledger-XXXXXX", text[400] = "";
    close(mkstemp(path));
    struct ledger ledger;
    struct err err;
    ck_assert(ledger_open(&ledger, (struct ledger_options){ .file = path }, &err));
    struct ledger_batch batch = { .ledger = &ledger };
    struct ledger_entry good = entry_of("a@x", "<1@x>"), bad = entry_of("\"a\tb\n5\tc@x\"@x", "");
    ledger_accept(&batch, &good);
    ledger_accept(&batch, &bad);
    ledger_accept(&batch, &good);
    ck_assert(ledger_flush(&batch, &err));
    ck_assert_uint_eq(batch.lines.len, 0);
    FILE *file = fopen(path, "re");
    ck_assert_ptr_nonnull(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    ck_assert_str_eq(text, "5\ta@x\t<1@x>\t-\tnew\n"
                           "5\t\"a?b?5?c@x\"@x\t-\t-\tnew\n"
                           "5\ta@x\t<1@x>\t-\tagain\n");
    unlink(path);
    buf_free(&batch.lines);
    ledger_close(&ledger);
}
END_TEST

START_TEST(a_ledger_that_cannot_be_opened_says_so)
{
    struct ledger ledger;
    struct err err;
    ck_assert(!ledger_open(&ledger, (struct ledger_options){ .file = "/nowhere/at/all" }, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/at/all"));
}
END_TEST

START_TEST(the_set_holds_what_was_put_in_while_it_grows)
{
    struct hashset set;
    struct rng rng, again;
    hashset_init(&set);
    rng_seed(&rng, 7);
    again = rng;
    for (int i = 0; i < 200000; i++)
        ck_assert(hashset_insert(&set, rng_next(&rng)));
    ck_assert(hashset_insert(&set, 0));
    ck_assert(!hashset_insert(&set, 0));
    for (int i = 0; i < 200000; i++)
        ck_assert(!hashset_insert(&set, rng_next(&again)));
    ck_assert_uint_eq(hashset_count(&set), 200001);
    hashset_deinit(&set);
}
END_TEST

struct filler {
    struct hashset *set;
    uint64_t fresh;
};

static void *fill(void *argument)
{
    struct filler *filler = argument;
    for (uint64_t i = 1; i <= 50000; i++)
        filler->fresh += hashset_insert(filler->set, i * 0x9e3779b97f4a7c15u);
    return NULL;
}

START_TEST(of_two_threads_exactly_one_is_first_with_each_hash)
{
    struct hashset set;
    hashset_init(&set);
    struct filler fillers[2] = { { &set, 0 }, { &set, 0 } };
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, fill, &fillers[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(fillers[0].fresh + fillers[1].fresh, 50000);
    ck_assert_uint_eq(hashset_count(&set), 50000);
    hashset_deinit(&set);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("ledger", a_recipient_seen_again_is_a_duplicate_and_named,
                               with_ids_in_the_key_only_the_same_message_is_a_duplicate,
                               each_acceptance_is_a_line_and_no_address_can_forge_one,
                               a_ledger_that_cannot_be_opened_says_so,
                               the_set_holds_what_was_put_in_while_it_grows,
                               of_two_threads_exactly_one_is_first_with_each_hash));
}

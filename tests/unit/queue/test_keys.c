#include "queue/keys.h"

#include <stdlib.h>
#include <string.h>

#include "queue/loader.h"
#include "queue/scripts.h"
#include "tests/support/check_main.h"

START_TEST(a_partition_is_the_crc32_of_the_name_in_lower_case)
{
    /* zlib.crc32(b"example.org") and others, from another implementation */
    ck_assert_uint_eq(queue_partition_of(SLICE("123456789"), 4096), 0xcbf43926u % 4096);
    ck_assert_uint_eq(queue_partition_of(SLICE("Example.ORG"), 16),
                      queue_partition_of(SLICE("example.org"), 16));
    ck_assert_uint_eq(queue_partition_of(SLICE(""), 16), 0);
}
END_TEST

START_TEST(keys_are_built_with_the_partition_as_hash_tag)
{
    struct queue_key key = queue_key_partition("e", 12, "m:", SLICE("1-0"));
    ck_assert_str_eq(key.text, "e:{12}:m:1-0");
    ck_assert_uint_eq(key.len, strlen(key.text));
    key = queue_key_global("prod", "s:", SLICE("abc"));
    ck_assert_str_eq(key.text, "prod:s:abc");
}
END_TEST

START_TEST(job_ids_fit_for_any_number)
{
    char id[QUEUE_ID_BYTES_MAX];
    struct slice submission = SLICE("123456789012345678901234");
    ck_assert_uint_eq(queue_job_id(submission, UINT64_MAX, id), QUEUE_ID_BYTES_MAX);
    ck_assert(slice_eq(slice_of(id, 38), SLICE("123456789012345678901234-3w5e11264sgsf")));
    ck_assert_uint_eq(queue_job_id(SLICE("s"), 35, id), 3);
    ck_assert_int_eq(id[2], 'z');
}
END_TEST

START_TEST(only_harmless_names_are_taken)
{
    ck_assert(queue_submission_id_valid(SLICE("Camp-2024_1.x")));
    ck_assert(!queue_submission_id_valid(SLICE("")));
    ck_assert(!queue_submission_id_valid(SLICE("a b")));
    ck_assert(!queue_submission_id_valid(SLICE("a{b")));
    ck_assert(!queue_submission_id_valid(SLICE("1234567890123456789012345")));
}
END_TEST

START_TEST(old_servers_get_scripts_without_a_shebang)
{
    for (unsigned i = 0; i < SCRIPT_COUNT; i++) {
        ck_assert(slice_starts_with(script_text(i, 7), SLICE("#!lua")));
        ck_assert(slice_starts_with(script_text(i, 6), SLICE("--")));
    }
    ck_assert_uint_eq(redis_info_major(SLICE("# Server\r\nredis_version:7.0.15\r\n")), 7);
    ck_assert_uint_eq(redis_info_major(SLICE("# Server\r\n")), 0);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("keys", a_partition_is_the_crc32_of_the_name_in_lower_case,
                               keys_are_built_with_the_partition_as_hash_tag,
                               job_ids_fit_for_any_number, only_harmless_names_are_taken,
                               old_servers_get_scripts_without_a_shebang));
}

/* Append-only files that were cut anywhere. */
#include "engine/app/append_only.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/compiler.h"
#include "tests/support/check_main.h"

#define SELECT "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"
#define SET "*3\r\n$3\r\nSET\r\n$5\r\nMULTI\r\n$4\r\n\r\n$9\r\n"
#define MULTI "*1\r\n$5\r\nMULTI\r\n"
#define EXEC "*1\r\n$4\r\nEXEC\r\n"
#define PUSH "*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$12\r\nMULTI\r\n*EXEC\r\n"

static const char *const parts[] = {
    SELECT, SET, MULTI PUSH PUSH EXEC, SET, MULTI PUSH EXEC, MULTI PUSH SET PUSH EXEC
};

static char folder[64], path[128];

static void setup(void)
{
    char text[128];
    snprintf(folder, sizeof folder, "/tmp/eilpost-aof-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(text, sizeof text, "%s/appendonlydir", folder);
    ck_assert_int_eq(mkdir(text, 0700), 0);
    snprintf(text, sizeof text, "%s/appendonlydir/appendonly.aof.manifest", folder);
    FILE *file = fopen(text, "w");
    ck_assert_ptr_nonnull(file);
    fputs("file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.1.incr.aof seq 1 type "
          "h\nfile appendonly.aof.7.incr.aof seq 7 type i\n",
          file);
    fclose(file);
    snprintf(path, sizeof path, "%s/appendonlydir/appendonly.aof.7.incr.aof", folder);
}

static void teardown(void)
{
    char command[96];
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *bytes, size_t len)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, len, file), len);
    fclose(file);
}

static long size_now(void)
{
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    return info.st_size;
}

START_TEST(a_file_cut_anywhere_ends_with_what_is_whole)
{
    char all[1024] = "";
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        strcat(all, parts[i]);
    for (size_t len = 0; len <= strlen(all); len++) {
        size_t whole = 0;
        for (size_t i = 0; i < ARRAY_LEN(parts) && whole + strlen(parts[i]) <= len; i++)
            whole += strlen(parts[i]);
        write_file(all, len);
        ck_assert_int_eq(append_only_mend(folder), (long)(len - whole));
        ck_assert_int_eq(size_now(), (long)whole);
        ck_assert_int_eq(append_only_mend(folder), 0);
    }
}
END_TEST

START_TEST(what_isnt_commands_is_left_to_redis)
{
    static const char *const texts[] = { "garbage", SET "garbage", "*0\r\n",
                                         SET "#TS:1\r\n" MULTI };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        write_file(texts[i], strlen(texts[i]));
        ck_assert_int_eq(append_only_mend(folder), 0);
        ck_assert_int_eq(size_now(), (long)strlen(texts[i]));
    }
}
END_TEST

START_TEST(without_a_file_there_is_nothing_to_do)
{
    ck_assert_int_eq(append_only_mend(folder), 0);
    ck_assert_int_eq(append_only_mend("/nonexistent"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("append only");
    TCase *tcase = tcase_create("files");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_file_cut_anywhere_ends_with_what_is_whole);
    tcase_add_test(tcase, what_isnt_commands_is_left_to_redis);
    tcase_add_test(tcase, without_a_file_there_is_nothing_to_do);
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}

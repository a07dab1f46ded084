#include "engine/message/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "tests/support/check_main.h"
#include "tests/unit/engine/message/list_harness.h"

static const struct {
    struct slice in;
    const char *out;
} cases[] = {
    { SLICE("email,name\na@x.example,Anna\nb@x.example,Bob\n"),
      "2: a@x.example name=Anna\n3: b@x.example name=Bob\n" },
    { SLICE("name,To\r\nAnna,a@x.example\r\n"), "2: a@x.example name=Anna\n" },
    { SLICE("\xef\xbb\xbf"
            "EMAIL\na@x.example"),
      "2: a@x.example\n" },
    { SLICE("to,email\nx,a@x.example\n"), "2: a@x.example to=x\n" },
    { SLICE("email, name \n a@x.example , Anna \n"), "2: a@x.example name= Anna \n" },
    { SLICE("email,q\na@x.example,\"a \"\"b\"\", c\"\n"), "2: a@x.example q=a \"b\", c\n" },
    { SLICE("email,q\na@x.example,\"\"\n"), "2: a@x.example q=\n" },
    { SLICE("email,q\na@x.example,\"\"\"\"\n"), "2: a@x.example q=\"\n" },
    { SLICE("email,q\n\"a@x.example\",\"1\n2\r\n3\"\nb@x.example,4\n"),
      "2: a@x.example q=1\n2\r\n3\n5: b@x.example q=4\n" },
    { SLICE("\n\r\nemail\n\na@x.example\n\n\nb@x.example\n\n"),
      "5: a@x.example\n8: b@x.example\n" },
    { SLICE("email,a\nx@x.example\ny@x.example,1,2\nz@x.example,\n"),
      "! line 2: 1 columns, but the header row has 2\n! line 3: 3 columns, but the header row has "
      "2\n"
      "4: z@x.example a=\n" },
    { SLICE("email\nnobody\na@x.example\n"),
      "! line 2: \"nobody\": no '@' in the address\n3: a@x.example\n" },
    { SLICE("email,n\n,1\na@x.example,2\n"),
      "! line 2: the address is empty\n3: a@x.example n=2\n" },
    { SLICE("email,n\na@x.example,b\"c\nd@x.example,1\n"),
      "! line 2: a quotation mark inside a cell that doesn't begin with one\n3: d@x.example "
      "n=1\n" },
    { SLICE("email,n\na@x.example,b\"c\"\nd@x.example,1\n"),
      "! line 2: a quotation mark inside a cell that doesn't begin with one\n3: d@x.example "
      "n=1\n" },
    { SLICE("email,n\na@x.example,\"b\"c\nd@x.example,1\n"),
      "! line 2: text behind a closing quotation mark\n3: d@x.example n=1\n" },
    { SLICE("email,n\na@x.example,\"b\nc@x.example,\"\"\"1\"\nd@x.example,\"2\"\ne@x.example,3\n"),
      "! line 2: a row longer than 48 bytes (a quotation mark that isn't closed?)\n3: c@x.example "
      "n=\"1\n4: d@x.example "
      "n=2\n5: e@x.example n=3\n" },
    { SLICE("email,n\na@x.example,\"b\nc@x.example,1\n"),
      "! line 2: a quotation mark that isn't closed\n3: c@x.example n=1\n" },
    { SLICE("email,n\na@x.example,\xff\nb@x.example,1\n"),
      "! line 2: column \"n\" is not UTF-8\n3: b@x.example n=1\n" },
    { SLICE("email,n\na@x.example,\0\n"), "! line 2: column \"n\" has a NUL character\n" },
    { SLICE("email,n\na@x.example,b\rc\n"), "! line 2: a bare carriage return\n" },
    { SLICE("email,n\n\"a@x.example\r\n\",1\nb@x.example,1\n"),
      "2: a@x.example n=1\n4: b@x.example n=1\n" },
    { SLICE("email,n\n\"a@x.example\r\nBcc: c@x.example\",1\n"),
      "! line 2: \"a@x.example\r\nBcc: c@x.example\": an address can't have a line break\n" },
    { SLICE("email,n\na@x.example,1234567890123456789012345678901234567890123456789\nb@x.example,"
            "2\n"),
      "! line 2: a row longer than 48 bytes (a quotation mark that isn't closed?)\n3: b@x.example "
      "n=2\n" },
    { SLICE("email,n\na@x.example,\"1\n2\n3\nb@x.example,1\nc@x.example,2\nd@x.example,3\n"),
      "! line 2: a row longer than 48 bytes (a quotation mark that isn't closed?)\n"
      "! line 3: 1 columns, but the header row has 2\n! line 4: 1 columns, but the header row has "
      "2\n"
      "5: b@x.example n=1\n6: c@x.example n=2\n7: d@x.example n=3\n" },
    { SLICE("to,n\na@x.de,\"b\nc@x.de,\"\"\"1\"\"\"\nd@x.de,2\n"),
      "! line 2: text behind a closing quotation mark\n3: c@x.de n=\"1\"\n4: d@x.de n=2\n" },
    { SLICE(""), "failed: line 1: the list is empty: no header row\n" },
    { SLICE("\n\n"), "failed: line 3: the list is empty: no header row\n" },
    { SLICE("name\nAnna\n"), "failed: line 1: no column \"email\" or \"to\" in the header row\n" },
    { SLICE("email,,x\n"), "failed: line 1: column 2 has no name\n" },
    { SLICE("email,x,x\n"), "failed: line 1: two columns have the name \"x\"\n" },
    { SLICE("email,a,b,c,d\n"), "failed: line 1: more than 4 columns\n" },
    { SLICE("email,\"x\n"), "failed: line 1: a quotation mark that isn't closed\n" },
    { SLICE("email,12345678901234567890123456789012345678901234567890\n"),
      "failed: line 1: a row longer than 48 bytes (a quotation mark that isn't closed?)\n" },
};

START_TEST(rows_and_bad_rows_come_out_the_same_however_the_input_is_cut)
{
    struct buf out = BUF_EMPTY;
    const struct recipient_list_options options = { .row_bytes_max = 48, .columns_max = 4 };
    static const size_t steps[] = { 100000, 1, 2, 3, 7, 16 };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        list_transcribe(&options, cases[_i].in, steps[i], &out);
        ck_assert_msg(slice_eq(buf_slice(&out), slice_str(cases[_i].out)), "case %d, step %zu:\n%s",
                      _i, steps[i], buf_cstr(&out));
    }
    buf_free(&out);
}
END_TEST

START_TEST(another_separator_can_be_chosen)
{
    struct buf out = BUF_EMPTY;
    list_transcribe(&(struct recipient_list_options){ .separator = ';' },
                    SLICE("email;n\na@x.example;1,5\n"), 5, &out);
    ck_assert_str_eq(buf_cstr(&out), "2: a@x.example n=1,5\n");
    buf_free(&out);
}
END_TEST

/* A list that is made as it is read. */
struct endless {
    uint64_t row, rows;
};

static ssize_t endless_read(void *context, char *at, size_t room)
{
    struct endless *source = context;
    size_t used = 0;
    if (source->row == 0)
        used = (size_t)snprintf(at, room, "email,name\n");
    while (source->row < source->rows && room - used > 100) {
        used += (size_t)snprintf(at + used, room - used, "user%llu@x.example,\"Name, %llu\"\n",
                                 (unsigned long long)source->row, (unsigned long long)source->row);
        source->row++;
    }
    return (ssize_t)used;
}

START_TEST(a_long_list_takes_no_more_memory_than_a_short_one)
{
    struct endless source = { 0, 300000 };
    struct recipient_list *list =
        recipient_list_create(&(struct recipient_list_options){ 0 }, endless_read, &source);
    struct recipient_row row;
    struct err err;
    uint64_t rows = 0;
    struct rusage early = { 0 }, late;
    while (recipient_list_next(list, &row, &err) == RECIPIENT_LIST_ROW) {
        if (++rows == 10000)
            getrusage(RUSAGE_SELF, &early);
        if (row.line != rows + 1) /* libcheck's assertions take memory each time */
            ck_abort_msg("row %llu is in line %llu", (unsigned long long)rows,
                         (unsigned long long)row.line);
    }
    getrusage(RUSAGE_SELF, &late);
    ck_assert_uint_eq(rows, source.rows);
    ck_assert_msg(late.ru_maxrss - early.ru_maxrss < 1024, "%ld KiB more",
                  late.ru_maxrss - early.ru_maxrss);
    recipient_list_destroy(&list);
}
END_TEST

static ssize_t failing_read(void *context, char *at, size_t room)
{
    int *calls = context;
    (void)room;
    if ((*calls)++ == 0) {
        memcpy(at, "email\na@x.example\nb@x", 21);
        return 21;
    }
    errno = EIO;
    return -1;
}

START_TEST(a_read_that_fails_is_no_end_of_the_list)
{
    int calls = 0;
    struct recipient_list *list =
        recipient_list_create(&(struct recipient_list_options){ 0 }, failing_read, &calls);
    struct recipient_row row;
    struct err err;
    ck_assert_int_eq(recipient_list_next(list, &row, &err), RECIPIENT_LIST_ROW);
    ck_assert_int_eq(recipient_list_next(list, &row, &err), RECIPIENT_LIST_FAILED);
    ck_assert_int_eq(err.kind, ERR_SYSTEM);
    ck_assert_int_eq(recipient_list_next(list, &row, &err), RECIPIENT_LIST_FAILED);
    recipient_list_destroy(&list);
}
END_TEST

START_TEST(columns_and_values_are_found_by_name)
{
    struct list_source source = { SLICE("a,email,b\n1,x@x.example,2\n"), 100 };
    struct recipient_list *list =
        recipient_list_create(&(struct recipient_list_options){ 0 }, list_source_read, &source);
    struct recipient_row row;
    struct err err;
    ck_assert_int_eq(recipient_list_next(list, &row, &err), RECIPIENT_LIST_ROW);
    size_t count;
    const struct slice *columns = recipient_list_columns(list, &count);
    ck_assert_uint_eq(count, 2);
    ck_assert(slice_eq(columns[0], SLICE("a")) && slice_eq(columns[1], SLICE("b")));
    ck_assert(slice_eq(recipient_row_value(&row, SLICE("b")), SLICE("2")));
    ck_assert(slice_eq(recipient_row_value(&row, SLICE("email")), SLICE("x@x.example")));
    ck_assert_ptr_null(recipient_row_value(&row, SLICE("c")).ptr);
    recipient_list_destroy(&list);
}
END_TEST

START_TEST(a_file_can_be_read)
{
    FILE *file = tmpfile();
    fputs("email\na@x.example\n", file);
    rewind(file);
    struct recipient_list *list = recipient_list_create(&(struct recipient_list_options){ 0 },
                                                        recipient_list_read_file, file);
    struct recipient_row row;
    struct err err;
    ck_assert_int_eq(recipient_list_next(list, &row, &err), RECIPIENT_LIST_ROW);
    ck_assert_int_eq(recipient_list_next(list, &row, &err), RECIPIENT_LIST_END);
    recipient_list_destroy(&list);
    fclose(file);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("list_csv", another_separator_can_be_chosen,
                            a_long_list_takes_no_more_memory_than_a_short_one,
                            a_read_that_fails_is_no_end_of_the_list,
                            columns_and_values_are_found_by_name, a_file_can_be_read);
    TCase *table = tcase_create("tables");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, rows_and_bad_rows_come_out_the_same_however_the_input_is_cut, 0,
                        ARRAY_LEN(cases));
    suite_add_tcase(suite, table);
    return check_main(suite);
}

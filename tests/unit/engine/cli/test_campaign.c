/* Lists and templates before anything is submitted: each mistake is found, and told by its line. */
#include "engine/cli/campaign.h"

#include <stdlib.h>
#include <unistd.h>

#include "tests/support/check_main.h"

#define TEMPLATE                                                                                   \
    "From: Shop <shop@shop.example>\nSubject: Hi {{name}}\n\nHello {{name}} of {{city}}.\n"

/** A file with this text, in a folder of its own. */
static char *file_with(const char *name, const char *text)
{
    char folder[] = "/tmp/eilpost-campaign-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    char *path = malloc(128);
    snprintf(path, 128, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static void remove_file(char *path)
{
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    free(path);
}

static void collect(void *user, const char *text)
{
    struct buf *out = user;
    const char *slash = strrchr(text, '/'); /* the path in front differs from run to run */
    buf_append(out, slice_str(slash ? slash + 1 : text));
    buf_append_char(out, '\n');
}

struct check {
    bool good;
    struct campaign_counts counts;
    struct buf reports;
    struct err err;
};

static struct check check_list(const char *template_text, const char *list_name,
                               const char *list_text, bool skip_bad)
{
    struct check check = { 0 };
    struct campaign_content content;
    char *template_path = file_with("t.txt", template_text),
         *list_path = file_with(list_name, list_text);
    ck_assert_msg(campaign_content_load(&content, template_path, NULL, NULL, &check.err), "%s",
                  check.err.text);
    struct campaign campaign = { .content = &content,
                                 .from = SLICE("b@shop.example"),
                                 .skip_bad = skip_bad };
    ck_assert_msg(campaign_list_open(&campaign, list_path, NULL, &check.err), "%s", check.err.text);
    check.good = campaign_check(&campaign, collect, &check.reports, &check.counts, &check.err);
    campaign_list_close(&campaign);
    campaign_content_free(&content);
    remove_file(template_path);
    remove_file(list_path);
    return check;
}

START_TEST(a_good_list_is_counted)
{
    struct check check = check_list(
        TEMPLATE, "l.csv", "email,name,city\na@x.example,Ann,Rome\nb@x.example,Bob,\n", false);
    ck_assert_msg(check.good, "%s", check.err.text);
    ck_assert_uint_eq(check.counts.rows, 2);
    ck_assert_uint_eq(check.counts.bad, 0);
}
END_TEST

START_TEST(bad_rows_are_told_by_line_and_nothing_is_good)
{
    struct check check = check_list(TEMPLATE, "l.csv",
                                    "email,name,city\na@x.example,Ann,Rome\nnobody,Bob,Oslo\n"
                                    "c@x.example,Cy\nd@x.example,Dee,Bern\n",
                                    false);
    ck_assert(!check.good);
    ck_assert_int_eq(check.err.kind, ERR_INPUT);
    ck_assert_msg(strstr(check.err.text, "2 of 4 rows are bad; nothing was submitted"), "%s",
                  check.err.text);
    const char *reports = buf_cstr(&check.reports);
    ck_assert_msg(strstr(reports, "l.csv: line 3: \"nobody\": ") &&
                      strstr(reports, "l.csv: line 4: "),
                  "%s", reports);
    buf_free(&check.reports);
}
END_TEST

START_TEST(bad_rows_can_be_left_out)
{
    struct check check = check_list(
        TEMPLATE, "l.csv", "email,name,city\na@x.example,Ann,Rome\nnobody,Bob,Oslo\n", true);
    ck_assert_msg(check.good, "%s", check.err.text);
    ck_assert_uint_eq(check.counts.rows, 1);
    ck_assert_uint_eq(check.counts.bad, 1);
    buf_free(&check.reports);
}
END_TEST

START_TEST(only_the_first_bad_rows_are_told)
{
    struct buf list = BUF_EMPTY;
    buf_append(&list, SLICE("email,name,city\n"));
    for (int i = 0; i < 100; i++)
        buf_printf(&list, "bad %d,x,y\n", i);
    struct check check = check_list(TEMPLATE, "l.csv", buf_cstr(&list), false);
    ck_assert(!check.good);
    ck_assert_uint_eq(check.counts.bad, 100);
    size_t lines = 0;
    for (size_t i = 0; i < check.reports.len; i++)
        lines += buf_slice(&check.reports).ptr[i] == '\n';
    ck_assert_uint_eq(lines, 20);
    buf_free(&check.reports);
    buf_free(&list);
}
END_TEST

START_TEST(a_field_that_is_no_column_is_named)
{
    struct check check =
        check_list(TEMPLATE, "l.csv", "email,name,town\na@x.example,Ann,Rome\n", false);
    ck_assert(!check.good);
    ck_assert_msg(strstr(check.err.text, "field {{city}} is no column") &&
                      strstr(check.err.text, "name, town"),
                  "%s", check.err.text);
    ck_assert_uint_eq(check.reports.len, 0);
}
END_TEST

START_TEST(a_json_row_without_a_value_is_a_bad_row)
{
    struct check check =
        check_list(TEMPLATE, "l.jsonl",
                   "{\"email\":\"a@x.example\",\"name\":\"Ann\",\"city\":\"Rome\"}\n"
                   "{\"to\":\"b@x.example\",\"data\":{\"name\":\"Bob\"}}\n",
                   false);
    ck_assert(!check.good);
    const char *reports = buf_cstr(&check.reports);
    ck_assert_msg(strstr(reports, "l.jsonl: line 2: no value for the template's field {{city}}"),
                  "%s", reports);
    buf_free(&check.reports);
}
END_TEST

START_TEST(a_value_that_no_header_can_hold_is_a_bad_row)
{
    struct check check =
        check_list("From: a@x.example\nTo: {{name}} <{{email}}>\nSubject: x\n\nx\n", "l.csv",
                   "email,name\na@x.example,\"Ann\r\nBcc: victim@y.example\"\n", false);
    ck_assert_msg(!check.good, "a line break got into a header");
    ck_assert_uint_eq(check.counts.bad, 1);
    buf_free(&check.reports);
}
END_TEST

START_TEST(a_list_without_rows_is_an_error)
{
    struct check check = check_list(TEMPLATE, "l.csv", "email,name,city\n", false);
    ck_assert(!check.good);
    ck_assert_msg(strstr(check.err.text, "has no recipients"), "%s", check.err.text);
}
END_TEST

START_TEST(the_format_comes_from_the_name_or_is_asked_for)
{
    struct campaign campaign = { 0 };
    struct err err = { 0 };
    ck_assert(!campaign_list_open(&campaign, "/tmp/list.txt", NULL, &err));
    ck_assert_int_eq(err.kind, ERR_USAGE);
    ck_assert(!campaign_list_open(&campaign, "/tmp/list.csv", "xml", &err));
    ck_assert_int_eq(err.kind, ERR_USAGE);
    ck_assert(!campaign_list_open(&campaign, "/nonexistent/list.csv", NULL, &err));
    ck_assert_int_eq(err.kind, ERR_SYSTEM);
}
END_TEST

START_TEST(one_recipient_renders_with_its_values)
{
    struct err err = { 0 };
    struct campaign_content content;
    char *path = file_with("t.txt", TEMPLATE);
    ck_assert_msg(campaign_content_load(&content, path, NULL, NULL, &err), "%s", err.text);
    struct campaign campaign = { .content = &content, .from = SLICE("b@shop.example") };
    const char *const settings[] = { "name=Ann \"A\" Lee", "city=x=y" };
    ck_assert_msg(campaign_list_single(&campaign, "a@x.example", settings, 2, &err), "%s",
                  err.text);
    struct buf message = BUF_EMPTY;
    ck_assert_msg(campaign_render(&campaign, NULL, &message, &err), "%s", err.text);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&message), "Subject: Hi Ann \"A\" Lee\r\n"));
    const char *body = strstr(buf_cstr(&message), "\r\n\r\n");
    ck_assert_msg(body && strstr(body, "Hello Ann \"A\" Lee"), "%s", buf_cstr(&message));
    buf_free(&message);
    campaign_list_close(&campaign);
    const char *const wrong[] = { "name" };
    ck_assert(!campaign_list_single(&campaign, "a@x.example", wrong, 1, &err));
    ck_assert_int_eq(err.kind, ERR_USAGE);
    campaign_content_free(&content);
    remove_file(path);
}
END_TEST

START_TEST(raw_messages_of_any_bytes_become_content)
{
    static const char *const messages[] = {
        "From: a@x.example\nSubject: x\n\nplain\n",
        "From: a@x.example\nSubject: x\nContent-Type: text/plain; charset=iso-8859-1\n"
        "Content-Transfer-Encoding: 8bit\n\ngr\xfc\xdf\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
        struct err err = { 0 };
        struct campaign_content content;
        char *path = file_with("m.eml", messages[i]);
        ck_assert_msg(campaign_content_load(&content, NULL, NULL, path, &err), "%s", err.text);
        struct campaign campaign = { .content = &content, .from = SLICE("b@shop.example") };
        ck_assert(campaign_list_single(&campaign, "a@x.example", NULL, 0, &err));
        struct buf out = BUF_EMPTY;
        ck_assert_msg(campaign_render(&campaign, NULL, &out, &err), "%s", err.text);
        const char *body = strstr(buf_cstr(&out), "\r\n\r\n");
        ck_assert_ptr_nonnull(body);
        ck_assert_str_eq(body + 4, i == 0 ? "plain\r\n" : "gr\xfc\xdf\r\n");
        buf_free(&out);
        campaign_list_close(&campaign);
        campaign_content_free(&content);
        remove_file(path);
    }
}
END_TEST

int main(void)
{
    return check_main(
        SUITE_OF("campaign", a_good_list_is_counted, bad_rows_are_told_by_line_and_nothing_is_good,
                 bad_rows_can_be_left_out, only_the_first_bad_rows_are_told,
                 a_field_that_is_no_column_is_named, a_json_row_without_a_value_is_a_bad_row,
                 a_value_that_no_header_can_hold_is_a_bad_row, a_list_without_rows_is_an_error,
                 the_format_comes_from_the_name_or_is_asked_for,
                 one_recipient_renders_with_its_values, raw_messages_of_any_bytes_become_content));
}

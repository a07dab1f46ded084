/* Whole conversations, each fed at once, cut at every byte into two pieces, and byte by byte: what
 * comes out must not depend on the cuts. */
#include "bench/sink/dialogue.h"

#include <stdlib.h>

#include "tests/support/check_main.h"

struct rig {
    struct dialogue_features features;
    struct dialogue_env env;
    struct sink_counters counters;
    struct ledger ledger;
    struct ledger_batch batch;
    struct outbox outbox;
    struct dialogue dialogue;
    struct script *script;
};

static void rig_open(struct rig *rig, const char *script)
{
    struct err err;
    *rig =
        (struct rig){ .features = { .hostname = "sink.test",
                                    .chunking = true,
                                    .pipelining = true,
                                    .starttls = true,
                                    .size_bytes_max = 1000,
                                    .content = { .id = true, .digest = true, .inspect = true } } };
    bool opened =
        ledger_open(&rig->ledger, (struct ledger_options){ .duplicates_listed_max = 10 }, &err);
    ck_assert(opened);
    if (script) {
        bool parsed = script_parse(slice_str(script), &rig->script, &err);
        ck_assert_msg(parsed, "%s", err.text);
    }
    rig->batch.ledger = &rig->ledger;
    rig->env = (struct dialogue_env){ .features = &rig->features,
                                      .script = rig->script,
                                      .ledger = &rig->batch,
                                      .counters = &rig->counters,
                                      .now_us = 1000000,
                                      .unix_us = 1 };
    rng_seed(&rig->env.rng, 1);
    dialogue_init(&rig->dialogue, &rig->env, &rig->outbox, SLICE("127.0.0.9"));
}

static void rig_close(struct rig *rig)
{
    dialogue_deinit(&rig->dialogue);
    outbox_free(&rig->outbox);
    ledger_close(&rig->ledger);
    buf_free(&rig->batch.lines);
    script_destroy(&rig->script);
}

/* The codes of the replies' last lines, with blanks between. */
static void codes_of(struct slice replies, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    while (replies.len > 0) {
        struct slice line = slice_cut(&replies, '\n');
        ck_assert_uint_ge(line.len, 5);
        ck_assert_int_eq(line.ptr[line.len - 1], '\r');
        if (line.ptr[3] == '-')
            continue;
        ck_assert_uint_lt(len + 5, size);
        len += (size_t)snprintf(out + len, size - len, "%s%.3s", len ? " " : "", line.ptr);
    }
}

static void feed(struct rig *rig, struct slice bytes)
{
    char *copy = slice_dup(bytes); /* exact, so that ASan sees an over-read */
    dialogue_feed(&rig->dialogue, slice_of(copy, bytes.len));
    free(copy);
}

struct conversation {
    const char *script, *said, *codes;
    uint64_t messages, recipients, unique, duplicates;
};

#define HELLO "EHLO client.test\r\n"
#define FROM "MAIL FROM:<a@client.test>\r\n"
#define TO(x) "RCPT TO:<" x ">\r\n"

static const struct conversation conversations[] = {
    { NULL, HELLO FROM TO("u@d.test") "DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n",
      "220 250 250 250 354 250 221", 1, 1, 1, 0 },
    /* the next envelope behind end-of-data */
    { NULL,
      HELLO FROM TO("u@d.test") "DATA\r\nx\r\n.\r\n" FROM TO("v@d.test")
          TO("w@d.test") "DATA\r\n.\r\n",
      "220 250 250 250 354 250 250 250 250 354 250", 2, 3, 3, 0 },
    /* transparency: a line of two dots doesn't end the message */
    { NULL, HELLO FROM TO("u@d.test") "DATA\r\n..\r\n.x\r\n\r\n.\r\nNOOP\r\n",
      "220 250 250 250 354 250 250", 1, 1, 1, 0 },
    /* three whole messages in one flight */
    { NULL,
      HELLO FROM TO("u@d.test") "BDAT 5 LAST\r\n1234\nRSET\r\n" FROM
          TO("v@d.test") "BDAT 7 LAST\r\n\r\n.\r\nxxRSET\r\n" FROM TO(
              "U@D.test") "BDAT 2\r\nabBDAT 0 LAST\r\n",
      "220 250 250 250 250 250 250 250 250 250 250 250 250 250", 3, 3, 2, 1 },
    /* a body for nobody is read and refused */
    { "recipient=bad* rcpt=550 5.1.1 no such user\n",
      HELLO FROM TO("bad@d.test") "BDAT 10 LAST\r\nQUIT\r\nQUITRSET\r\n" FROM TO(
          "good@d.test") "BDAT 1 LAST\r\nx",
      "220 250 250 550 554 250 250 250 250", 1, 1, 1, 0 },
    /* a body without an envelope, in two chunks */
    { NULL, HELLO "BDAT 3\r\nabcBDAT 2 LAST\r\ndeNOOP\r\n", "220 250 503 503 250", 0, 0, 0, 0 },
    /* a refused LAST chunk leaves nothing behind */
    { NULL, HELLO "BDAT 1 LAST\r\nx" FROM TO("u@d.test") "BDAT 1 LAST\r\nx",
      "220 250 503 250 250 250", 1, 1, 1, 0 },
    /* out of order */
    { NULL, FROM TO("u@d.test") "DATA\r\n" HELLO FROM FROM "DATA\r\nXYZZY\r\n",
      "220 503 503 503 250 250 503 554 500", 0, 0, 0, 0 },
    /* one refused recipient of two; the message goes to the other */
    { "recipient=bad@* rcpt=452 4.2.2 full\\nreally full\n",
      HELLO FROM TO("bad@d.test") TO("good@d.test") "DATA\r\nx\r\n.\r\n",
      "220 250 250 452 250 354 250", 1, 1, 1, 0 },
    /* deferred the first time, accepted afterwards */
    { "recipient=defer-* first rcpt=451 4.2.0 greylisted\n",
      HELLO FROM TO("defer-1@d.test") "RSET\r\n" FROM TO("Defer-1@d.test") "DATA\r\nx\r\n.\r\n",
      "220 250 250 451 250 250 250 354 250", 1, 1, 1, 0 },
    /* refused at end-of-data: not in the ledger */
    { "domain=full.test phase=dot reply=552 5.2.2 full\n",
      HELLO FROM TO("u@full.test") "DATA\r\nx\r\n.\r\n" FROM TO("u@d.test") "DATA\r\nx\r\n.\r\n",
      "220 250 250 250 354 552 250 250 354 250", 1, 1, 1, 0 },
    /* too big, said before and found out later */
    { NULL, HELLO "MAIL FROM:<a@b.test> BODY=8BITMIME SIZE=1001\r\nMAIL FROM:<> SIZE=1000\r\n",
      "220 250 552 250", 0, 0, 0, 0 },
    /* the script closes: nothing after it is answered */
    { "domain=d.test phase=rcpt reply=421 4.3.2 going down\n", HELLO FROM TO("u@d.test") "DATA\r\n",
      "220 250 250 421", 0, 0, 0, 0 },
    { "domain=d.test phase=dot silence\n", HELLO FROM TO("u@d.test") "DATA\r\nx\r\n.\r\nNOOP\r\n",
      "220 250 250 250 354", 0, 0, 0, 0 },
    { "address=127.0.0.9 greeting=554 5.3.2 no service\n", "", "554", 0, 0, 0, 0 },
    /* injected behind STARTTLS: dropped */
    { NULL, HELLO "STARTTLS\r\n" FROM, "220 250 220", 0, 0, 0, 0 },
    { NULL, "HELO x\r\nEHLO\r\nVRFY x\r\nMAIL FROM:a@b\r\nMAILFROM\r\n", "220 250 250 252 501 500",
      0, 0, 0, 0 },
};

static void check_outcome(struct rig *rig, const struct conversation *conversation)
{
    char codes[400];
    codes_of(buf_slice(&rig->outbox.bytes), codes, sizeof codes);
    ck_assert_str_eq(codes, conversation->codes);
    ck_assert_uint_eq(rig->counters.messages, conversation->messages);
    ck_assert_uint_eq(rig->counters.recipients, conversation->recipients);
    ck_assert_uint_eq(hashset_count(&rig->ledger.seen), conversation->unique);
    ck_assert_uint_eq(rig->ledger.duplicates, conversation->duplicates);
}

START_TEST(a_conversation_goes_the_same_way_at_every_split)
{
    const struct conversation *conversation = &conversations[_i];
    struct slice said = slice_str(conversation->said);
    for (size_t cut = 0; cut <= said.len; cut++) {
        struct rig rig;
        rig_open(&rig, conversation->script);
        feed(&rig, slice_head(said, cut));
        feed(&rig, slice_skip(said, cut));
        check_outcome(&rig, conversation);
        rig_close(&rig);
    }
    struct rig rig;
    rig_open(&rig, conversation->script);
    for (size_t i = 0; i < said.len; i++)
        feed(&rig, slice_of(said.ptr + i, 1));
    check_outcome(&rig, conversation);
    rig_close(&rig);
}
END_TEST

START_TEST(what_must_end_its_group_is_counted_when_it_does_not)
{
    struct rig rig;
    rig_open(&rig, NULL);
    feed(&rig, slice_str(HELLO FROM));
    ck_assert_uint_eq(rig.counters.pipelining_violations, 1);
    feed(&rig, slice_str(TO("u@d.test") "DATA\r\nearly\r\n.\r\n" FROM TO("v@d.test") "DATA\r\n"));
    ck_assert_uint_eq(rig.counters.pipelining_violations, 2);
    feed(&rig, slice_str("x\r\n.\r\nRSET\r\n" FROM "RSET\r\nNOOP\n"));
    ck_assert_uint_eq(rig.counters.pipelining_violations, 2);
    ck_assert_uint_eq(rig.counters.bare_lf_commands, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(a_line_that_never_ends_is_refused_once_and_costs_bounded_memory)
{
    struct rig rig;
    char junk[1000], codes[100];
    memset(junk, 'x', sizeof junk);
    rig_open(&rig, NULL);
    for (int i = 0; i < 1000; i++) {
        feed(&rig, slice_of(junk, sizeof junk));
        ck_assert_uint_le(rig.dialogue.line.room, 2 * DIALOGUE_LINE_BYTES_MAX);
    }
    feed(&rig, SLICE("\r\nNOOP\r\n"));
    codes_of(buf_slice(&rig.outbox.bytes), codes, sizeof codes);
    ck_assert_str_eq(codes, "220 500 250");
    rig_close(&rig);
}
END_TEST

START_TEST(a_message_above_the_size_offered_is_refused_at_its_end)
{
    struct rig rig;
    char body[1001], codes[100];
    memset(body, 'x', sizeof body);
    rig_open(&rig, NULL);
    feed(&rig, slice_str(HELLO FROM TO("u@d.test") "BDAT 1001 LAST\r\n"));
    feed(&rig, slice_of(body, sizeof body));
    codes_of(buf_slice(&rig.outbox.bytes), codes, sizeof codes);
    ck_assert_str_eq(codes, "220 250 250 250 552");
    ck_assert_uint_eq(rig.counters.messages, 0);
    rig_close(&rig);
}
END_TEST

/* The digest in the ledger's line of the last message. */
static void digest_of(const char *said, char out[static 65])
{
    struct rig rig;
    rig_open(&rig, NULL);
    rig.ledger.fd = 1; /* lines are made, and never flushed */
    feed(&rig, slice_str(said));
    struct slice line = buf_slice(&rig.batch.lines);
    for (int column = 0; column < 3; column++)
        slice_cut(&line, '\t');
    struct slice digest = slice_cut(&line, '\t');
    ck_assert_uint_eq(digest.len, 64);
    memcpy(out, digest.ptr, 64);
    out[64] = '\0';
    rig.ledger.fd = -1;
    rig_close(&rig);
}

START_TEST(data_without_its_dots_has_the_digest_of_the_same_message_by_bdat)
{
    char data[65], bdat[65];
    digest_of(HELLO FROM TO("u@d.test") "DATA\r\n..a\r\nb\r\n...\r\n.\r\n", data);
    digest_of(HELLO FROM TO("u@d.test") "BDAT 11 LAST\r\n.a\r\nb\r\n..\r\n", bdat);
    ck_assert_str_eq(data, bdat);
    /* printf '.a\r\nb\r\n..\r\n' | sha256sum */
    ck_assert_str_eq(data, "6b278813ee636335d3745379f7964bce367a3df7f08e9acb894eb7249d785d3c");
}
END_TEST

START_TEST(bare_line_ends_and_long_lines_in_content_are_counted)
{
    struct rig rig;
    char line[999];
    memset(line, 'x', sizeof line);
    rig_open(&rig, NULL);
    feed(&rig, slice_str(HELLO FROM TO("u@d.test") "DATA\r\na\rb\nc\r\n"));
    feed(&rig, slice_of(line, sizeof line));
    feed(&rig, slice_str("\r\n"));
    feed(&rig, slice_of(line, sizeof line - 1));
    feed(&rig, slice_str("\r\n.\r\n"));
    ck_assert_uint_eq(rig.counters.bare_cr, 1);
    ck_assert_uint_eq(rig.counters.bare_lf, 1);
    ck_assert_uint_eq(rig.counters.long_lines, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(delayed_replies_wait_their_time_and_keep_their_order)
{
    struct rig rig;
    rig_open(&rig, "domain=slow.test phase=rcpt delay=100ms\n");
    feed(&rig, slice_str(HELLO FROM TO("u@slow.test") "RSET\r\n"));
    struct slice all = buf_slice(&rig.outbox.bytes);
    ck_assert_uint_lt(rig.outbox.ready_bytes, all.len);
    ck_assert(slice_starts_with(slice_skip(all, rig.outbox.ready_bytes), SLICE("250 2.1.5")));
    ck_assert_int_eq(outbox_next_due(&rig.outbox), 1100000);
    outbox_release(&rig.outbox, 1099999);
    ck_assert_uint_lt(rig.outbox.ready_bytes, all.len);
    outbox_release(&rig.outbox, 1100000);
    ck_assert_uint_eq(rig.outbox.ready_bytes, all.len);
    ck_assert_int_eq(outbox_next_due(&rig.outbox), INT64_MAX);
    rig_close(&rig);
}
END_TEST

START_TEST(the_message_id_is_found_folded_or_not_and_only_in_the_header)
{
    static const struct {
        const char *content, *id;
    } cases[] = {
        { "Subject: x\r\nMessage-ID: <1@x>\r\n\r\nbody", "<1@x>" },
        { "message-id:\r\n <2@x>\r\n\r\n", "<2@x>" },
        { "X-Job: 7-1\r\n\r\nMessage-ID: <no>\r\n", "7-1" },
        { "Subject: x\r\n\r\nMessage-ID: <no>\r\n", "" },
    };
    struct sink_counters counters = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct content content;
        content_init(&content, (struct content_options){ .id = true });
        content_start(&content);
        for (const char *c = cases[i].content; *c; c++)
            content_feed(&content, slice_of(c, 1), true, &counters);
        ck_assert(slice_eq(content_id(&content), slice_str(cases[i].id)));
        content_deinit(&content);
    }
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("dialogue", what_must_end_its_group_is_counted_when_it_does_not,
                            a_line_that_never_ends_is_refused_once_and_costs_bounded_memory,
                            a_message_above_the_size_offered_is_refused_at_its_end,
                            data_without_its_dots_has_the_digest_of_the_same_message_by_bdat,
                            bare_line_ends_and_long_lines_in_content_are_counted,
                            delayed_replies_wait_their_time_and_keep_their_order,
                            the_message_id_is_found_folded_or_not_and_only_in_the_header);
    TCase *splits = tcase_create("splits");
    tcase_set_timeout(splits, 0);
    tcase_add_loop_test(splits, a_conversation_goes_the_same_way_at_every_split, 0,
                        (int)ARRAY_LEN(conversations));
    suite_add_tcase(suite, splits);
    return check_main(suite);
}

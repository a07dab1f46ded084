/* One pass over each received piece: whole command lines are read where they lie, content is only
 * searched for its end, and what is cut is kept until the rest comes. Refusals keep to what real
 * servers do, because a sender is judged here: commands out of order are refused, and a group that
 * goes on behind a command which must end it (RFC 2920, 3.1) is counted. */
#include "bench/sink/dialogue.h"

#include <stdio.h>

static void say_at(struct dialogue *dialogue, struct slice reply, uint32_t delay_ms,
                   enum outbox_then then)
{
    if (dialogue->silent || dialogue->closing)
        return;
    uint32_t total_ms = delay_ms + dialogue->env->features->delay_ms;
    int64_t due_us = total_ms ? dialogue->env->now_us + (int64_t)total_ms * 1000 : 0;
    outbox_put(dialogue->outbox, reply, due_us, then);
    if (then != OUTBOX_KEEP) {
        dialogue->closing = true;
        dialogue->input = DIALOGUE_DEAF;
    }
}

static void say(struct dialogue *dialogue, struct slice reply)
{
    say_at(dialogue, reply, 0, OUTBOX_KEEP);
}

/* What the script says for this phase and recipient (may be empty). */
static struct script_verdict judge(struct dialogue *dialogue, enum script_phase phase,
                                   struct slice recipient)
{
    struct script_verdict verdict = { .action = SCRIPT_PASS };
    if (dialogue->env->script) {
        struct script_subject subject = { phase, dialogue->address, buf_slice(&dialogue->sender),
                                          recipient };
        script_judge(dialogue->env->script, &subject, &dialogue->env->rng, &verdict);
    }
    return verdict;
}

/* Carries a verdict out; `ordinary` is the reply of a command that the script lets pass. True if it
 * passed. */
static bool carry_out(struct dialogue *dialogue, const struct script_verdict *verdict,
                      struct slice ordinary)
{
    struct sink_counters *counters = dialogue->env->counters;
    switch (verdict->action) {
    case SCRIPT_PASS:
        say_at(dialogue, ordinary, verdict->delay_ms, OUTBOX_KEEP);
        return true;
    case SCRIPT_REPLY:
        say_at(dialogue, verdict->reply, verdict->delay_ms, OUTBOX_KEEP);
        return verdict->code < 400;
    case SCRIPT_CLOSE:
    case SCRIPT_RESET:
        counter_add(&counters->scripted_closes, 1);
        say_at(dialogue, verdict->reply, verdict->delay_ms,
               verdict->action == SCRIPT_CLOSE ? OUTBOX_CLOSE : OUTBOX_RESET);
        return false;
    case SCRIPT_SILENCE:
        counter_add(&counters->scripted_silences, 1);
        dialogue->silent = true;
        dialogue->input = DIALOGUE_DEAF;
        return false;
    }
    return false;
}

static void envelope_clear(struct dialogue *dialogue)
{
    dialogue->mail = false;
    dialogue->bdat_begun = false;
    dialogue->bdat_refused = false;
    dialogue->recipients_count = 0;
    dialogue->message_bytes = 0;
    buf_clear(&dialogue->sender);
    buf_clear(&dialogue->recipients);
}

void dialogue_init(struct dialogue *dialogue, struct dialogue_env *env, struct outbox *outbox,
                   struct slice address)
{
    *dialogue = (struct dialogue){ .env = env, .outbox = outbox, .address = address };
    content_init(&dialogue->content, env->features->content);
    char greeting[300];
    int len =
        snprintf(greeting, sizeof greeting, "220 %.255s ESMTP sink\r\n", env->features->hostname);
    struct script_verdict verdict = judge(dialogue, SCRIPT_GREETING, SLICE(""));
    carry_out(dialogue, &verdict, slice_of(greeting, (size_t)len));
}

void dialogue_deinit(struct dialogue *dialogue)
{
    buf_free(&dialogue->line);
    buf_free(&dialogue->sender);
    buf_free(&dialogue->recipients);
    content_deinit(&dialogue->content);
}

void dialogue_tls_started(struct dialogue *dialogue)
{
    envelope_clear(dialogue);
    dialogue->tls = true;
    dialogue->tls_wanted = false;
    dialogue->greeted = false;
}

/* ---- end of a message ---- */

/* The script may judge each recipient; the strictest verdict (the first that doesn't pass) counts,
 * and the longest delay. */
static struct script_verdict judge_message(struct dialogue *dialogue)
{
    struct script_verdict strictest = { .action = SCRIPT_PASS };
    if (!dialogue->env->script)
        return strictest;
    struct slice rest = buf_slice(&dialogue->recipients);
    while (rest.len > 0) {
        struct slice recipient = slice_cut(&rest, '\n');
        struct script_verdict verdict = judge(dialogue, SCRIPT_DOT, recipient);
        uint32_t delay_ms = MAX_OF(verdict.delay_ms, strictest.delay_ms);
        if (strictest.action == SCRIPT_PASS)
            strictest = verdict;
        strictest.delay_ms = delay_ms;
    }
    return strictest;
}

static void record_message(struct dialogue *dialogue)
{
    struct dialogue_env *env = dialogue->env;
    char digest[65];
    struct ledger_entry entry = {
        .id = content_id(&dialogue->content),
        .digest = content_digest(&dialogue->content, digest),
        .time_us = env->unix_us,
    };
    struct slice rest = buf_slice(&dialogue->recipients);
    while (rest.len > 0) {
        entry.recipient = slice_cut(&rest, '\n');
        ledger_accept(env->ledger, &entry);
    }
    counter_add(&env->counters->messages, 1);
    counter_add(&env->counters->recipients, dialogue->recipients_count);
    if (env->latency)
        histogram_record(env->latency, env->now_us - dialogue->mail_us);
    dialogue->messages++;
}

static void message_end(struct dialogue *dialogue, bool bdat)
{
    struct sink_counters *counters = dialogue->env->counters;
    counter_add(bdat ? &counters->bdat : &counters->data, 1);
    counter_add(&counters->bytes, dialogue->message_bytes);
    struct script_verdict verdict = judge_message(dialogue);
    if (verdict.action == SCRIPT_PASS &&
        dialogue->message_bytes > dialogue->env->features->size_bytes_max) {
        verdict.action = SCRIPT_REPLY;
        verdict.code = 552;
        verdict.reply = SLICE("552 5.3.4 message too big\r\n");
    }
    /* The ledger comes first: who hears 250 finds the message in it, whatever happens to this
     * process. */
    bool accepted =
        verdict.action == SCRIPT_PASS || (verdict.action == SCRIPT_REPLY && verdict.code < 400);
    if (accepted)
        record_message(dialogue);
    else if (verdict.code >= 500)
        counter_add(&counters->messages_rejected, 1);
    else if (verdict.code >= 400)
        counter_add(&counters->messages_deferred, 1);
    carry_out(dialogue, &verdict, SLICE("250 2.0.0 OK queued\r\n"));
    envelope_clear(dialogue);
}

/* ---- commands ---- */

static void protocol_error(struct dialogue *dialogue, struct slice reply)
{
    counter_add(&dialogue->env->counters->protocol_errors, 1);
    say(dialogue, reply);
}

static void command_ehlo(struct dialogue *dialogue, bool extended)
{
    const struct dialogue_features *features = dialogue->env->features;
    envelope_clear(dialogue);
    char reply[512];
    int len;
    if (extended)
        len = snprintf(reply, sizeof reply,
                       "250-%.255s\r\n%s%s%s%s250-SIZE %llu\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
                       "250 ENHANCEDSTATUSCODES\r\n",
                       features->hostname, features->pipelining ? "250-PIPELINING\r\n" : "",
                       features->chunking ? "250-CHUNKING\r\n" : "",
                       features->starttls && !dialogue->tls ? "250-STARTTLS\r\n" : "",
                       features->requiretls && dialogue->tls ? "250-REQUIRETLS\r\n" : "",
                       (unsigned long long)features->size_bytes_max);
    else
        len = snprintf(reply, sizeof reply, "250 %.255s\r\n", features->hostname);
    struct script_verdict verdict = judge(dialogue, SCRIPT_EHLO, SLICE(""));
    dialogue->greeted |= carry_out(dialogue, &verdict, slice_of(reply, (size_t)len));
}

/* The path of "MAIL FROM:<path> …" behind the keyword; false if it isn't one. */
static bool path_take(struct slice *rest, struct slice keyword, struct slice *path)
{
    if (!slice_starts_with_nocase(*rest, keyword))
        return false;
    *rest = slice_skip(*rest, keyword.len);
    while (rest->len > 0 && rest->ptr[0] == ' ')
        *rest = slice_skip(*rest, 1);
    if (rest->len < 2 || rest->ptr[0] != '<')
        return false;
    ptrdiff_t end = slice_find(*rest, '>');
    if (end < 0)
        return false;
    *path = slice_of(rest->ptr + 1, (size_t)end - 1);
    *rest = slice_skip(*rest, (size_t)end + 1);
    return true;
}

static void append_lower(struct buf *out, struct slice text)
{
    char *to = buf_reserve(out, text.len + 1);
    for (size_t i = 0; i < text.len; i++)
        to[i] = ascii_lower(text.ptr[i]);
    buf_grow(out, text.len);
}

/* SIZE=n of MAIL's parameters (RFC 1870), or 0. */
static uint64_t size_parameter(struct slice parameters)
{
    while (parameters.len > 0) {
        struct slice word = slice_cut(&parameters, ' ');
        uint64_t size;
        if (slice_starts_with_nocase(word, SLICE("SIZE=")) &&
            slice_to_u64(slice_skip(word, 5), &size))
            return size;
    }
    return 0;
}

/* Whether MAIL's parameters have a keyword without a value. */
static bool has_parameter(struct slice parameters, struct slice keyword)
{
    while (parameters.len > 0)
        if (slice_eq_nocase(slice_cut(&parameters, ' '), keyword))
            return true;
    return false;
}

static void command_mail(struct dialogue *dialogue, struct slice line)
{
    struct slice path;
    if (!dialogue->greeted || dialogue->mail) {
        counter_add(&dialogue->env->counters->mail_rejected, 1);
        protocol_error(dialogue, SLICE("503 5.5.1 bad sequence of commands\r\n"));
        return;
    }
    if (!path_take(&line, SLICE("MAIL FROM:"), &path)) {
        counter_add(&dialogue->env->counters->mail_rejected, 1);
        protocol_error(dialogue, SLICE("501 5.5.4 syntax: MAIL FROM:<address>\r\n"));
        return;
    }
    if (has_parameter(line, SLICE("REQUIRETLS"))) {
        if (!dialogue->env->features->requiretls || !dialogue->tls) {
            protocol_error(dialogue, SLICE("555 5.5.4 REQUIRETLS wasn't offered\r\n"));
            return;
        }
        counter_add(&dialogue->env->counters->requiretls, 1);
    }
    append_lower(&dialogue->sender, path);
    struct script_verdict verdict = judge(dialogue, SCRIPT_MAIL, SLICE(""));
    if (verdict.action == SCRIPT_PASS && line.len > 0 &&
        size_parameter(line) > dialogue->env->features->size_bytes_max)
        verdict =
            (struct script_verdict){ SCRIPT_REPLY, SLICE("552 5.3.4 message too big\r\n"), 552, 0 };
    if (carry_out(dialogue, &verdict, SLICE("250 2.1.0 OK\r\n"))) {
        dialogue->mail = true;
        dialogue->mail_us = dialogue->env->now_us;
    } else {
        buf_clear(&dialogue->sender);
        counter_add(&dialogue->env->counters->mail_rejected, 1);
    }
}

static void command_rcpt(struct dialogue *dialogue, struct slice line)
{
    struct sink_counters *counters = dialogue->env->counters;
    struct slice path;
    if (!dialogue->mail) {
        counter_add(&counters->rcpt_rejected, 1);
        protocol_error(dialogue, SLICE("503 5.5.1 need MAIL first\r\n"));
        return;
    }
    if (!path_take(&line, SLICE("RCPT TO:"), &path) || path.len == 0) {
        counter_add(&counters->rcpt_rejected, 1);
        protocol_error(dialogue, SLICE("501 5.1.3 syntax: RCPT TO:<address>\r\n"));
        return;
    }
    if (dialogue->recipients_count == DIALOGUE_RECIPIENTS_MAX) {
        counter_add(&counters->rcpt_deferred, 1);
        say(dialogue, SLICE("452 4.5.3 too many recipients\r\n"));
        return;
    }
    size_t before = dialogue->recipients.len;
    append_lower(&dialogue->recipients, path);
    struct slice lower = slice_skip(buf_slice(&dialogue->recipients), before);
    struct script_verdict verdict = judge(dialogue, SCRIPT_RCPT, lower);
    if (carry_out(dialogue, &verdict, SLICE("250 2.1.5 OK\r\n"))) {
        buf_append_char(&dialogue->recipients, '\n');
        dialogue->recipients_count++;
        return;
    }
    dialogue->recipients.len = before;
    if (verdict.code >= 500)
        counter_add(&counters->rcpt_rejected, 1);
    else if (verdict.code >= 400)
        counter_add(&counters->rcpt_deferred, 1);
}

static void command_data(struct dialogue *dialogue)
{
    if (!dialogue->mail || dialogue->bdat_begun) {
        protocol_error(dialogue, SLICE("503 5.5.1 bad sequence of commands\r\n"));
        return;
    }
    if (dialogue->recipients_count == 0) {
        say(dialogue, SLICE("554 5.5.1 no valid recipients\r\n"));
        return;
    }
    struct script_verdict verdict = { .action = SCRIPT_PASS };
    if (dialogue->env->script) {
        struct slice rest = buf_slice(&dialogue->recipients);
        verdict = judge(dialogue, SCRIPT_DATA, slice_cut(&rest, '\n'));
    }
    if (!carry_out(dialogue, &verdict, SLICE("354 go ahead\r\n")))
        return;
    dialogue->input = DIALOGUE_DATA;
    dialogue->scan = SCAN_START;
    content_start(&dialogue->content);
}

static void bdat_chunk_end(struct dialogue *dialogue)
{
    dialogue->input = DIALOGUE_COMMAND;
    if (dialogue->bdat_refused) {
        dialogue->bdat_refused = !dialogue->bdat_last;
        say(dialogue, dialogue->mail ? SLICE("554 5.5.1 no valid recipients\r\n")
                                     : SLICE("503 5.5.1 need MAIL first\r\n"));
        return;
    }
    if (dialogue->bdat_last)
        message_end(dialogue, true);
    else
        say(dialogue, SLICE("250 2.0.0 chunk OK\r\n"));
}

/* "BDAT size [LAST]" (RFC 3030). A refused chunk's octets come anyway, and have to be read. */
static void command_bdat(struct dialogue *dialogue, struct slice line)
{
    struct slice rest = slice_skip(line, 4);
    while (rest.len > 0 && rest.ptr[0] == ' ')
        rest = slice_skip(rest, 1);
    uint64_t size;
    struct slice number = slice_cut(&rest, ' ');
    rest = slice_trim(rest);
    bool last = slice_eq_nocase(rest, SLICE("LAST"));
    if (!dialogue->env->features->chunking || !slice_to_u64(number, &size) ||
        (rest.len > 0 && !last)) {
        /* Where the chunk ends isn't known, so neither is where the next command begins. */
        counter_add(&dialogue->env->counters->protocol_errors, 1);
        say_at(dialogue, SLICE("502 5.5.1 no such BDAT\r\n"), 0, OUTBOX_CLOSE);
        return;
    }
    counter_add(&dialogue->env->counters->bdat_chunks, 1);
    dialogue->bdat_last = last;
    dialogue->bdat_left = size;
    if (dialogue->recipients_count == 0 && !dialogue->bdat_refused) {
        dialogue->bdat_refused = true;
        if (!dialogue->mail)
            counter_add(&dialogue->env->counters->protocol_errors, 1);
        if (size > 0)
            counter_add(&dialogue->env->counters->bodies_without_rcpt, 1);
    }
    if (!dialogue->bdat_begun && !dialogue->bdat_refused) {
        dialogue->bdat_begun = true;
        content_start(&dialogue->content);
    }
    dialogue->input = DIALOGUE_BDAT;
    if (size == 0)
        bdat_chunk_end(dialogue);
}

static void command_starttls(struct dialogue *dialogue)
{
    if (!dialogue->env->features->starttls || dialogue->tls) {
        protocol_error(dialogue, SLICE("503 5.5.1 no TLS here\r\n"));
        return;
    }
    say(dialogue, SLICE("220 2.0.0 go ahead\r\n"));
    dialogue->tls_wanted = true;
}

/* Four letters as one number, lower case, so that commands are told apart by one comparison. */
#define VERB(a, b, c, d)                                                                           \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

static uint32_t verb_of(struct slice line)
{
    unsigned char c[4];
    if (line.len < 4)
        return 0;
    if (line.len > 4 && line.ptr[4] != ' ' && !slice_eq_nocase(line, SLICE("STARTTLS")))
        return 0;
    memcpy(c, line.ptr, 4);
    return VERB(c[0] | 32, c[1] | 32, c[2] | 32, c[3] | 32);
}

/* `more` says that bytes of the peer lie behind this command already. */
static void command(struct dialogue *dialogue, struct slice line, bool more)
{
    bool ends_group = true;
    switch (verb_of(line)) {
    case VERB('m', 'a', 'i', 'l'):
        ends_group = false;
        command_mail(dialogue, line);
        break;
    case VERB('r', 'c', 'p', 't'):
        ends_group = false;
        command_rcpt(dialogue, line);
        break;
    case VERB('b', 'd', 'a', 't'):
        ends_group = false;
        command_bdat(dialogue, line);
        break;
    case VERB('r', 's', 'e', 't'):
        ends_group = false;
        envelope_clear(dialogue);
        say(dialogue, SLICE("250 2.0.0 OK\r\n"));
        break;
    case VERB('d', 'a', 't', 'a'):
        command_data(dialogue);
        break;
    case VERB('e', 'h', 'l', 'o'):
        command_ehlo(dialogue, true);
        break;
    case VERB('h', 'e', 'l', 'o'):
        command_ehlo(dialogue, false);
        break;
    case VERB('n', 'o', 'o', 'p'):
        say(dialogue, SLICE("250 2.0.0 OK\r\n"));
        break;
    case VERB('q', 'u', 'i', 't'):
        say_at(dialogue, SLICE("221 2.0.0 bye\r\n"), 0, OUTBOX_CLOSE);
        break;
    case VERB('s', 't', 'a', 'r'):
        command_starttls(dialogue);
        break;
    case VERB('v', 'r', 'f', 'y'):
        say(dialogue, SLICE("252 2.1.5 try it\r\n"));
        break;
    default:
        protocol_error(dialogue, SLICE("500 5.5.2 unknown command\r\n"));
        break;
    }
    if (more && ends_group)
        counter_add(&dialogue->env->counters->pipelining_violations, 1);
}

/* ---- input ---- */

static void too_long(struct dialogue *dialogue)
{
    buf_clear(&dialogue->line);
    dialogue->input = DIALOGUE_LONG_LINE;
}

/* Takes one command line, or what there is of it, off `in`. */
static void feed_line(struct dialogue *dialogue, struct slice *in)
{
    ptrdiff_t end = slice_find(*in, '\n');
    size_t len = end < 0 ? in->len : (size_t)end + 1;
    struct slice part = slice_head(*in, len);
    *in = slice_skip(*in, len);
    if (dialogue->input == DIALOGUE_LONG_LINE) {
        if (end >= 0) {
            dialogue->input = DIALOGUE_COMMAND;
            protocol_error(dialogue, SLICE("500 5.5.2 line too long\r\n"));
        }
        return;
    }
    if (dialogue->line.len + len > DIALOGUE_LINE_BYTES_MAX) {
        too_long(dialogue);
        if (end >= 0) {
            dialogue->input = DIALOGUE_COMMAND;
            protocol_error(dialogue, SLICE("500 5.5.2 line too long\r\n"));
        }
        return;
    }
    if (end < 0 || dialogue->line.len > 0) {
        buf_append(&dialogue->line, part);
        if (end < 0)
            return;
        part = buf_slice(&dialogue->line);
    }
    part.len--;
    if (part.len > 0 && part.ptr[part.len - 1] == '\r')
        part.len--;
    else
        counter_add(&dialogue->env->counters->bare_lf_commands, 1);
    command(dialogue, part, in->len > 0);
    buf_clear(&dialogue->line);
}

static void feed_content(struct dialogue *dialogue, struct slice part, bool stuffed)
{
    dialogue->message_bytes += part.len;
    const struct content_options *options = &dialogue->content.options;
    if (options->id || options->digest || options->inspect)
        content_feed(&dialogue->content, part, stuffed, dialogue->env->counters);
}

static void feed_data(struct dialogue *dialogue, struct slice *in)
{
    bool found;
    size_t len = scan_end_of_data(&dialogue->scan, *in, &found);
    feed_content(dialogue, slice_head(*in, len), true);
    *in = slice_skip(*in, len);
    if (found) {
        dialogue->input = DIALOGUE_COMMAND;
        message_end(dialogue, false);
    }
}

static void feed_bdat(struct dialogue *dialogue, struct slice *in)
{
    size_t len = (size_t)MIN_OF((uint64_t)in->len, dialogue->bdat_left);
    if (!dialogue->bdat_refused)
        feed_content(dialogue, slice_head(*in, len), false);
    *in = slice_skip(*in, len);
    dialogue->bdat_left -= len;
    if (dialogue->bdat_left == 0)
        bdat_chunk_end(dialogue);
}

void dialogue_feed(struct dialogue *dialogue, struct slice in)
{
    while (in.len > 0 && !dialogue->tls_wanted) {
        switch (dialogue->input) {
        case DIALOGUE_COMMAND:
        case DIALOGUE_LONG_LINE:
            feed_line(dialogue, &in);
            break;
        case DIALOGUE_DATA:
            feed_data(dialogue, &in);
            break;
        case DIALOGUE_BDAT:
            feed_bdat(dialogue, &in);
            break;
        case DIALOGUE_DEAF:
            return;
        }
    }
}

/* The minimum of RELIABILITY's reply table: action by scope and first digit, category by enhanced
 * code (RFC 3463). The order of the tables matters: the first match wins. */
#include "engine/classify/verdict.h"

struct category_rule {
    uint8_t subject;
    int16_t detail; /* -1: any */
    const char *category;
};

static const struct category_rule category_rules[] = {
    { 1, 1, "bad-mailbox" },   { 1, 2, "bad-domain" },  { 1, 3, "bad-mailbox" },
    { 1, 6, "bad-mailbox" },   { 1, 10, "bad-domain" }, { 2, 1, "inactive" },
    { 2, 2, "mailbox-full" },  { 2, 3, "too-large" },   { 3, 4, "too-large" },
    { 4, 1, "network" },       { 4, 2, "network" },     { 4, 3, "dns" },
    { 4, 4, "dns" },           { 4, 7, "expired" },     { 6, -1, "content" },
    { 7, 28, "rate-limited" }, { 7, 1, "policy" },      { 7, 10, "tls" },
    { 7, -1, "policy" },       { 5, -1, "protocol" },   { 4, -1, "network" },
    { 1, -1, "bad-mailbox" },
};

/* What a temporary refusal means by its words: providers use the same codes for "greylisted" and
 * "too fast" (451 4.7.1, 450 4.2.0), and the two are waited for differently. In lower case; '-' and
 * ' ' are the same. */
static const struct {
    const char *words, *category;
} text_rules[] = {
    { "greylist", "greylisted" },
    { "graylist", "greylisted" },
    { "grey list", "greylisted" },
    { "gray list", "greylisted" },
    { "rate limit", "rate-limited" },
    { "ratelimit", "rate-limited" },
    { "connection rate", "rate-limited" },
    { "sending rate", "rate-limited" },
    { "unusual rate", "rate-limited" },
    { "at a rate that", "rate-limited" },
    { "unexpected volume", "rate-limited" },
    { "throttl", "rate-limited" },
    { "slow down", "rate-limited" },
    { "too fast", "rate-limited" },
    { "too quickly", "rate-limited" },
    { "too frequent", "rate-limited" },
    { "too many connections", "rate-limited" },
    { "too many concurrent", "rate-limited" },
    { "too many sessions", "rate-limited" },
    { "too many messages", "rate-limited" },
    { "too many mails", "rate-limited" },
    { "too many emails", "rate-limited" },
    { "too much mail", "rate-limited" },
    { "frequency limit", "rate-limited" },
};

static bool starts_with_words(const char *text, const char *words)
{
    while (*words && ascii_lower(*text == '-' ? ' ' : *text) == *words) {
        text++;
        words++;
    }
    return !*words;
}

static const char *category_of_text(struct slice text)
{
    for (size_t i = 0; i < ARRAY_LEN(text_rules); i++) {
        size_t len = strlen(text_rules[i].words);
        for (size_t at = 0; at + len <= text.len; at++)
            if (starts_with_words(text.ptr + at, text_rules[i].words))
                return text_rules[i].category;
    }
    return NULL;
}

static const char *category_of(const struct classify_reply *reply)
{
    if (!reply->local && reply->code < 500) {
        const char *category = category_of_text(reply->text);
        if (category)
            return category;
    }
    if (reply->enhanced_class)
        for (size_t i = 0; i < ARRAY_LEN(category_rules); i++) {
            const struct category_rule *rule = &category_rules[i];
            if (rule->subject == reply->enhanced_subject &&
                (rule->detail < 0 || (unsigned)rule->detail == reply->enhanced_detail))
                return rule->category;
        }
    switch (reply->scope) {
    case CLASSIFY_DNS:
        return "dns";
    case CLASSIFY_HOST:
        return "network";
    case CLASSIFY_RECIPIENT:
        return reply->code == 552 || reply->code == 452 ? "mailbox-full"
               : reply->code >= 500                     ? "bad-mailbox"
                                                        : "other";
    case CLASSIFY_MESSAGE:
        return reply->code == 552 ? "too-large" : "other";
    }
    return "other";
}

bool classify_category_known(struct slice category)
{
    if (slice_eq(category, SLICE("other")))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(category_rules); i++)
        if (slice_eq(category, slice_str(category_rules[i].category)))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(text_rules); i++)
        if (slice_eq(category, slice_str(text_rules[i].category)))
            return true;
    return false;
}

struct verdict classify_verdict(const struct classify_reply *reply)
{
    if (reply->code < 400)
        return (struct verdict){ .action = VERDICT_DELIVERED };
    struct verdict verdict = { .category = category_of(reply) };
    bool permanent = reply->code >= 500;
    switch (reply->scope) {
    case CLASSIFY_DNS:
        verdict.destination_wide =
            !permanent; /* a permanent one is cached and costs nothing to repeat */
        break;
    case CLASSIFY_HOST:
        /* A refusing host says nothing about the message, and it may let us in later. */
        permanent = false;
        verdict.destination_wide = true;
        break;
    case CLASSIFY_RECIPIENT:
        /* 552 to RCPT means "too many recipients" and is to be read as 452 (RFC 5321, 4.5.3.1.10).
         */
        if (reply->code == 552)
            permanent = false;
        break;
    case CLASSIFY_MESSAGE:
        break;
    }
    verdict.action = permanent ? VERDICT_BOUNCE : VERDICT_RETRY;
    if (!permanent && !reply->local)
        verdict.retry_after_s = classify_retry_after_s(reply->text);
    return verdict;
}

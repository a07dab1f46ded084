/* "Please try again in 5 minutes": the pause that a reply's words ask for.
 *
 * There is no standard for it, only habits of greylisting and rate-limiting servers. A number is
 * believed only when three things agree: it has a unit (or is a clock of three parts), a word like
 * "in" or "after" leads to it, and a word like "again" or "wait" stands before that in the same
 * sentence. Limits ("100 messages in 60 minutes"), dates, addresses and identifiers fail at one of
 * these. Reading too little costs one attempt that comes early; reading too much holds mail back.
 *
 * The text is read once, word by word; a word's punctuation is reduced to what matters here. */
#include "engine/classify/verdict.h"

/* What a word means for the pause. */
enum word_kind {
    WORD_OTHER,
    WORD_CUE,     /* asks to come back */
    WORD_TRY,     /* does, too, but "retry for 5 days" is how long somebody else will */
    WORD_LINK,    /* leads from the cue to the pause */
    WORD_FOR,     /* likewise, except behind WORD_TRY */
    WORD_FILLER,  /* may stand between link and pause */
    WORD_COUNTED, /* what limits count: the pause that follows belongs to the limit */
};

static const struct {
    const char *word; /* '*' at its end: any ending */
    enum word_kind kind;
} words[] = {
    { "again", WORD_CUE },
    { "wait", WORD_CUE },
    { "later", WORD_CUE },
    { "back", WORD_CUE },
    { "resend", WORD_CUE },
    { "reconnect", WORD_CUE },
    { "resubmit", WORD_CUE },
    { "greylist*", WORD_CUE },
    { "graylist*", WORD_CUE },
    { "return", WORD_CUE },
    { "try", WORD_TRY },
    { "retry", WORD_TRY },
    { "in", WORD_LINK },
    { "after", WORD_LINK },
    { "for", WORD_FOR },

    { "least", WORD_LINK },
    { "about", WORD_FILLER },
    { "another", WORD_FILLER },
    { "approximately", WORD_FILLER },
    { "approx", WORD_FILLER },
    { "messages", WORD_COUNTED },
    { "mails", WORD_COUNTED },
    { "emails", WORD_COUNTED },
    { "connections", WORD_COUNTED },
    { "recipients", WORD_COUNTED },
    { "limit*", WORD_COUNTED },
    { "exceeded", WORD_COUNTED },
    { "attempts", WORD_COUNTED },
    { "times", WORD_COUNTED },
    { "errors", WORD_COUNTED },
    { "sent", WORD_COUNTED },
    { "received", WORD_COUNTED },
};

static const struct {
    const char *name;
    unsigned seconds;
} units[] = {
    { "s", 1 },     { "sec", 1 },     { "secs", 1 },     { "second", 1 },  { "seconds", 1 },
    { "m", 60 },    { "min", 60 },    { "mins", 60 },    { "minute", 60 }, { "minutes", 60 },
    { "h", 3600 },  { "hr", 3600 },   { "hrs", 3600 },   { "hour", 3600 }, { "hours", 3600 },
    { "d", 86400 }, { "day", 86400 }, { "days", 86400 },
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z';
}

/* Cuts the next run of non-blanks off. */
static struct slice next_run(struct slice *text)
{
    while (text->len > 0 && (unsigned char)text->ptr[0] <= ' ')
        *text = slice_skip(*text, 1);
    size_t len = 0;
    while (len < text->len && (unsigned char)text->ptr[len] > ' ')
        len++;
    struct slice run = slice_head(*text, len);
    *text = slice_skip(*text, len);
    return run;
}

/* Without the punctuation around it: "(again)," is "again". */
static struct slice bare(struct slice run)
{
    while (run.len > 0 && !is_letter(run.ptr[0]) && !is_digit(run.ptr[0]))
        run = slice_skip(run, 1);
    while (run.len > 0 && !is_letter(run.ptr[run.len - 1]) && !is_digit(run.ptr[run.len - 1]))
        run.len--;
    return run;
}

static bool ends_sentence(struct slice run)
{
    char last = run.len ? run.ptr[run.len - 1] : ' ';
    return last == '.' || last == ';' || last == '!';
}

static enum word_kind kind_of(struct slice word)
{
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        struct slice known = slice_str(words[i].word);
        bool any_ending = slice_ends_with(known, SLICE("*"));
        if (any_ending)
            known.len--;
        if (any_ending ? slice_starts_with_nocase(word, known) : slice_eq_nocase(word, known))
            return words[i].kind;
    }
    return WORD_OTHER;
}

static unsigned unit_seconds(struct slice name)
{
    /* "minute(s)" */
    if (slice_ends_with(name, SLICE("(s")))
        name.len -= 2;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (slice_eq_nocase(name, slice_str(units[i].name)))
            return units[i].seconds;
    return 0;
}

/* Takes digits off the front; numbers that no pause has stay at a value beyond the cap. */
static bool take_number(struct slice *text, uint64_t *number)
{
    size_t len = 0;
    *number = 0;
    while (len < text->len && is_digit(text->ptr[len])) {
        *number = MIN_OF(*number * 10 + (uint64_t)(text->ptr[len] - '0'), (uint64_t)1000000000);
        len++;
    }
    *text = slice_skip(*text, len);
    return len > 0;
}

/* "00:10:00". Two parts could be a time of day as well. */
static uint64_t clock_seconds(struct slice word)
{
    uint64_t hours, minutes, seconds;
    bool good = take_number(&word, &hours) && word.len > 0 && word.ptr[0] == ':';
    if (!good)
        return 0;
    word = slice_skip(word, 1);
    if (!take_number(&word, &minutes) || word.len == 0 || word.ptr[0] != ':')
        return 0;
    word = slice_skip(word, 1);
    if (!take_number(&word, &seconds) || word.len > 0 || minutes > 59 || seconds > 59)
        return 0;
    return hours * 3600 + minutes * 60 + seconds;
}

/* "5" with its unit in the next word, "5min", "1h30m", "00:05:00". Whether the word is such a
 * thing; then `text` is behind it. */
static bool take_part(struct slice word, struct slice *text, bool closed, uint64_t *seconds)
{
    *seconds = clock_seconds(word);
    if (*seconds > 0)
        return true;
    uint64_t number;
    if (!take_number(&word, &number))
        return false;
    if (word.len == 0) {
        struct slice rest = *text;
        unsigned unit = closed ? 0 : unit_seconds(bare(next_run(&rest)));
        if (unit == 0)
            return false;
        *text = rest;
        *seconds = number * unit;
        return true;
    }
    for (;;) {
        size_t len = 0;
        while (len < word.len && !is_digit(word.ptr[len]))
            len++;
        unsigned unit = unit_seconds(slice_head(word, len));
        if (unit == 0)
            return false;
        *seconds += number * unit;
        word = slice_skip(word, len);
        if (word.len == 0)
            return true;
        if (!take_number(&word, &number))
            return false;
    }
}

/* Reads "1 hour, 30 minutes" or "1 hour and 30 minutes" from the word at hand on. */
static uint64_t take_pause(struct slice run, struct slice *text)
{
    uint64_t sum = 0, seconds;
    while (take_part(bare(run), text, ends_sentence(run), &seconds)) {
        sum += seconds;
        struct slice rest = *text;
        run = next_run(&rest);
        if (slice_eq_nocase(run, SLICE("and")))
            run = next_run(&rest);
        if (run.len == 0 || !is_digit(run.ptr[0]))
            break;
        *text = rest;
    }
    struct slice rest = *text;
    return slice_eq_nocase(bare(next_run(&rest)), SLICE("ago")) ? 0 : sum;
}

/* "allow 5 minutes before retrying" */
static bool cue_follows(struct slice text)
{
    if (!slice_eq_nocase(bare(next_run(&text)), SLICE("before")))
        return false;
    for (unsigned i = 0; i < 3; i++) {
        struct slice word = bare(next_run(&text));
        if (slice_starts_with_nocase(word, SLICE("retry")) ||
            slice_starts_with_nocase(word, SLICE("try")) ||
            slice_starts_with_nocase(word, SLICE("resend")) ||
            slice_starts_with_nocase(word, SLICE("reconnect")))
            return true;
    }
    return false;
}

unsigned classify_retry_after_s(struct slice text)
{
    bool cue = false;    /* asked to come back, in this sentence */
    bool linked = false; /* and what follows is the pause */
    enum word_kind before = WORD_OTHER;
    while (text.len > 0) {
        struct slice run = next_run(&text), word = bare(run);
        if (run.len > 0 && word.len > 0 && is_digit(word.ptr[0])) {
            uint64_t pause = take_pause(run, &text);
            if (pause > 0 && ((cue && linked) || cue_follows(text)))
                return (unsigned)MIN_OF(pause, (uint64_t)CLASSIFY_RETRY_AFTER_S_MAX);
            linked = false;
            before = WORD_OTHER;
            continue;
        }
        enum word_kind kind = kind_of(word);
        switch (kind) {
        case WORD_CUE:
            cue = linked = true;
            break;
        case WORD_TRY:
            cue = true;
            linked = false;
            break;
        case WORD_LINK:
            linked = true;
            break;
        case WORD_FOR:
            linked = before != WORD_TRY;
            break;
        case WORD_FILLER:
            break;
        case WORD_COUNTED:
            cue = linked = false;
            break;
        case WORD_OTHER:
            /* "Greylisted (see http://…) 300 seconds" */
            linked = run.len > 0 && run.ptr[run.len - 1] == ')';
            break;
        }
        before = kind;
        if (ends_sentence(run))
            cue = linked = false;
    }
    return 0;
}

/* Rules are few and looked at in order; a sink without a script never gets here. "first" rules
 * remember in a set whom they have refused, so that a greylisting exchanger is one line. */
#include "bench/sink/script.h"

#include <stdlib.h>

#include "engine/base/mem.h"

#define RULES_MAX 1000

struct script_rule {
    char *domain, *recipient, *sender, *address; /* patterns in lower case; NULL: any */
    unsigned phases; /* bit per script_phase; 0: all in which the patterns are known */
    double probability;
    bool first;
    bool delays;
    uint32_t delay_ms;
    enum script_action action;
    char *reply;
    unsigned code;
};

struct script {
    struct script_rule *rules;
    size_t count;
    struct hashset refused; /* by "first" rules */
};

static const char *const phase_names[SCRIPT_PHASES] = {
    [SCRIPT_GREETING] = "greeting", [SCRIPT_EHLO] = "ehlo", [SCRIPT_MAIL] = "mail",
    [SCRIPT_RCPT] = "rcpt",         [SCRIPT_DATA] = "data", [SCRIPT_DOT] = "dot",
};

bool script_glob(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, resume = 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == text.ptr[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

static char *pattern_dup(struct slice text)
{
    char *copy = slice_dup(text);
    for (char *c = copy; *c; c++)
        *c = ascii_lower(*c);
    return copy;
}

static bool phase_parse(struct slice name, enum script_phase *out)
{
    for (unsigned i = 0; i < SCRIPT_PHASES; i++) {
        if (slice_eq(name, slice_str(phase_names[i]))) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* "delay" of "100ms", "2s" or "100". */
static bool delay_parse(struct slice text, uint32_t *out)
{
    uint64_t factor = 1, value;
    if (slice_ends_with(text, SLICE("ms"))) {
        text.len -= 2;
    } else if (slice_ends_with(text, SLICE("s"))) {
        text.len -= 1;
        factor = 1000;
    }
    if (!slice_to_u64(text, &value) || value > 86400000 / factor)
        return false;
    *out = (uint32_t)(value * factor);
    return true;
}

/* Parts separated by "\n" become the lines of one reply; each gets the first one's code. */
static bool reply_parse(struct slice text, struct script_rule *rule)
{
    struct slice code_at = text;
    unsigned code;
    if (!slice_take_digits(&code_at, 3, &code) || code < 200 || code > 599 ||
        (code_at.len > 0 && code_at.ptr[0] != ' '))
        return false;
    struct slice rest = slice_trim(code_at);
    char *out = mem_alloc(text.len * 4 + 16); /* the worst case: empty parts of two bytes */
    char *to = out;
    for (bool last = false; !last;) {
        const char *cut = rest.len ? memmem(rest.ptr, rest.len, "\\n", 2) : NULL;
        size_t len = cut ? (size_t)(cut - rest.ptr) : rest.len;
        last = cut == NULL;
        memcpy(to, text.ptr, 3);
        to[3] = last ? ' ' : '-';
        if (len)
            memcpy(to + 4, rest.ptr, len);
        memcpy(to + 4 + len, "\r\n", 2);
        to += len + 6;
        rest = slice_skip(rest, len + (last ? 0 : 2));
    }
    *to = '\0';
    free(rule->reply);
    rule->reply = out;
    rule->code = code;
    if (rule->action == SCRIPT_PASS)
        rule->action = code == 421 ? SCRIPT_CLOSE : SCRIPT_REPLY;
    return true;
}

static bool word_parse(struct slice word, struct script_rule *rule, struct err *err)
{
    if (slice_eq(word, SLICE("first")))
        rule->first = true;
    else if (slice_eq(word, SLICE("close")))
        rule->action = SCRIPT_CLOSE;
    else if (slice_eq(word, SLICE("reset")))
        rule->action = SCRIPT_RESET;
    else if (slice_eq(word, SLICE("silence")))
        rule->action = SCRIPT_SILENCE;
    else
        return err_set(err, ERR_INPUT, "unknown word '%.*s'", SLICE_FMT(word));
    return true;
}

static bool phases_parse(struct slice names, struct script_rule *rule, struct err *err)
{
    while (names.len > 0) {
        struct slice name = slice_cut(&names, ',');
        enum script_phase phase;
        if (!phase_parse(name, &phase))
            return err_set(err, ERR_INPUT, "unknown phase '%.*s'", SLICE_FMT(name));
        rule->phases |= 1u << phase;
    }
    return true;
}

static bool probability_parse(struct slice text, double *out)
{
    char buffer[32], *end;
    if (text.len == 0 || text.len >= sizeof buffer)
        return false;
    memcpy(buffer, text.ptr, text.len);
    buffer[text.len] = '\0';
    *out = strtod(buffer, &end);
    return *end == '\0' && *out >= 0 && *out <= 1;
}

static bool setting_parse(struct slice name, struct slice value, struct script_rule *rule,
                          struct err *err)
{
    struct {
        struct slice name;
        char **pattern;
    } patterns[] = {
        { SLICE("domain"), &rule->domain },
        { SLICE("recipient"), &rule->recipient },
        { SLICE("sender"), &rule->sender },
        { SLICE("address"), &rule->address },
    };
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        if (slice_eq(name, patterns[i].name)) {
            free(*patterns[i].pattern);
            *patterns[i].pattern = pattern_dup(value);
            return true;
        }
    }
    if (slice_eq(name, SLICE("phase")))
        return phases_parse(value, rule, err);
    if (slice_eq(name, SLICE("delay"))) {
        rule->delays = true;
        return delay_parse(value, &rule->delay_ms) ||
               err_set(err, ERR_INPUT, "'%.*s' is not a delay", SLICE_FMT(value));
    }
    if (slice_eq(name, SLICE("probability")))
        return probability_parse(value, &rule->probability) ||
               err_set(err, ERR_INPUT, "'%.*s' is not a probability from 0 to 1", SLICE_FMT(value));
    return err_set(err, ERR_INPUT, "unknown setting '%.*s'", SLICE_FMT(name));
}

/* "rcpt=550 5.1.1 no" is short for "phase=rcpt reply=550 5.1.1 no"; a reply reaches to the end of
 * the line. */
static bool reply_setting_parse(struct slice name, struct slice value, struct script_rule *rule,
                                bool *is_reply, struct err *err)
{
    enum script_phase phase;
    *is_reply = true;
    if (phase_parse(name, &phase))
        rule->phases |= 1u << phase;
    else if (!slice_eq(name, SLICE("reply")))
        *is_reply = false;
    if (*is_reply && !reply_parse(slice_trim(value), rule))
        return err_set(err, ERR_INPUT, "'%.*s' is not a reply such as \"550 5.1.1 no such user\"",
                       SLICE_FMT(value));
    return true;
}

static bool rule_parse(struct slice line, struct script_rule *rule, struct err *err)
{
    rule->probability = 1;
    while (line.len > 0) {
        struct slice rest = line;
        struct slice word = slice_cut(&line, ' ');
        if (word.len == 0)
            continue;
        ptrdiff_t equals = slice_find(word, '=');
        if (equals < 0) {
            if (!word_parse(word, rule, err))
                return false;
            continue;
        }
        struct slice name = slice_head(word, (size_t)equals);
        bool is_reply;
        if (!reply_setting_parse(name, slice_skip(rest, (size_t)equals + 1), rule, &is_reply, err))
            return false;
        if (is_reply)
            break;
        if (!setting_parse(name, slice_skip(word, (size_t)equals + 1), rule, err))
            return false;
    }
    if (rule->action == SCRIPT_PASS && !rule->delays)
        return err_set(err, ERR_INPUT, "a rule needs a reply, a delay, close, reset or silence");
    if (rule->action == SCRIPT_REPLY && rule->phases == 0)
        return err_set(err, ERR_INPUT, "a rule with reply= needs phase=");
    return true;
}

bool script_parse(struct slice text, struct script **out, struct err *err)
{
    struct script *script = mem_zalloc(sizeof *script);
    hashset_init(&script->refused);
    for (size_t number = 1; text.len > 0; number++) {
        struct slice line = slice_trim(slice_cut(&text, '\n'));
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        script->rules = mem_realloc(script->rules, (script->count + 1) * sizeof script->rules[0]);
        struct script_rule *rule = &script->rules[script->count++];
        *rule = (struct script_rule){ 0 };
        bool parsed = script->count <= RULES_MAX
                          ? rule_parse(line, rule, err)
                          : err_set(err, ERR_INPUT, "more than %d rules", RULES_MAX);
        if (!parsed) {
            err_prefix(err, "script line %zu", number);
            script_destroy(&script);
            return false;
        }
    }
    *out = script;
    return true;
}

void script_destroy(struct script **script)
{
    if (!*script)
        return;
    for (size_t i = 0; i < (*script)->count; i++) {
        struct script_rule *rule = &(*script)->rules[i];
        free(rule->domain);
        free(rule->recipient);
        free(rule->sender);
        free(rule->address);
        free(rule->reply);
    }
    free((*script)->rules);
    hashset_deinit(&(*script)->refused);
    free(*script);
    *script = NULL;
}

static struct slice domain_of(struct slice mailbox)
{
    for (size_t i = mailbox.len; i > 0; i--)
        if (mailbox.ptr[i - 1] == '@')
            return slice_skip(mailbox, i);
    return SLICE("");
}

/* A recipient pattern without '@' is one for the local part: "bounce-*" means bounce-… at any
 * domain. */
static bool mailbox_matches(const char *pattern, struct slice mailbox)
{
    struct slice glob = slice_str(pattern);
    if (slice_find(glob, '@') < 0 && mailbox.len > 0)
        mailbox.len -= domain_of(mailbox).len + (slice_find(mailbox, '@') >= 0);
    return script_glob(glob, mailbox);
}

static bool rule_matches(struct script *script, const struct script_rule *rule,
                         const struct script_subject *subject, struct rng *rng)
{
    if (rule->phases != 0 && !(rule->phases & (1u << subject->phase)))
        return false;
    if (rule->domain && (subject->recipient.len == 0 ||
                         !script_glob(slice_str(rule->domain), domain_of(subject->recipient))))
        return false;
    if (rule->recipient &&
        (subject->recipient.len == 0 || !mailbox_matches(rule->recipient, subject->recipient)))
        return false;
    if (rule->sender && !mailbox_matches(rule->sender, subject->sender))
        return false;
    if (rule->address && !script_glob(slice_str(rule->address), subject->address))
        return false;
    if (rule->probability < 1 && (double)(rng_next(rng) >> 11) * 0x1p-53 >= rule->probability)
        return false;
    if (!rule->first)
        return true;
    uint64_t key = (uint64_t)(rule - script->rules) * SCRIPT_PHASES + subject->phase + 1;
    return hashset_insert(&script->refused, slice_hash(subject->recipient, key));
}

void script_judge(struct script *script, const struct script_subject *subject, struct rng *rng,
                  struct script_verdict *out)
{
    bool delayed = false;
    *out = (struct script_verdict){ .action = SCRIPT_PASS };
    for (size_t i = 0; i < script->count; i++) {
        const struct script_rule *rule = &script->rules[i];
        bool adds_action = rule->action != SCRIPT_PASS && out->action == SCRIPT_PASS;
        bool adds_delay = rule->delays && !delayed;
        if ((!adds_action && !adds_delay) || !rule_matches(script, rule, subject, rng))
            continue;
        if (adds_action) {
            out->action = rule->action;
            out->reply = slice_str(rule->reply);
            out->code = rule->code;
        }
        if (adds_delay) {
            delayed = true;
            out->delay_ms = rule->delay_ms;
        }
    }
}

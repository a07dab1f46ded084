#include "dns/sts_policy.h"

#include <stdlib.h>

#include "dns/name.h"
#include "dns/resolver.h"
#include "engine/base/mem.h"

const char *sts_mode_name(enum sts_mode mode)
{
    static const char *const names[] = { "none", "testing", "enforce" };
    return names[mode];
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim_blanks(struct slice text)
{
    while (text.len > 0 && is_blank(text.ptr[0]))
        text = slice_skip(text, 1);
    while (text.len > 0 && is_blank(text.ptr[text.len - 1]))
        text.len--;
    return text;
}

/* ---- the policy ---- */

struct fields {
    struct slice version, mode, max_age;
    struct slice mx[STS_MX_MAX];
    unsigned mx_count;
};

static void take(struct slice *field, struct slice value)
{
    if (!field->ptr)
        *field = value;
}

/* One line: a key of letters, digits, '_', '-' and '.', a colon, blanks, a value. */
static bool line_read(struct slice line, unsigned number, struct fields *fields, struct err *err)
{
    ptrdiff_t colon = slice_find(line, ':');
    if (colon <= 0)
        return err_set(err, ERR_INPUT, "line %u isn't \"key: value\"", number);
    struct slice key = slice_head(line, (size_t)colon);
    struct slice value = trim_blanks(slice_skip(line, (size_t)colon + 1));
    if (slice_eq(key, SLICE("version"))) {
        take(&fields->version, value);
    } else if (slice_eq(key, SLICE("mode"))) {
        take(&fields->mode, value);
    } else if (slice_eq(key, SLICE("max_age"))) {
        take(&fields->max_age, value);
    } else if (slice_eq(key, SLICE("mx"))) {
        if (fields->mx_count == STS_MX_MAX)
            return err_set(err, ERR_INPUT, "more than %d mx patterns", STS_MX_MAX);
        fields->mx[fields->mx_count++] = value;
    }
    return true;
}

static bool fields_read(struct slice text, struct fields *fields, struct err *err)
{
    for (unsigned number = 1; text.len > 0; number++) {
        struct slice line = slice_cut(&text, '\n');
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (line.len > 0 && !line_read(line, number, fields, err))
            return false;
        /* Who doesn't begin with it isn't a policy, but e.g. a page about a missing one. */
        if (number == 1 && !slice_eq(fields->version, SLICE("STSv1")))
            return err_set(err, ERR_INPUT, "the first line isn't \"version: STSv1\"");
    }
    return true;
}

static bool mode_read(struct slice text, enum sts_mode *out)
{
    for (unsigned i = STS_NONE; i <= STS_ENFORCE; i++)
        if (slice_eq(text, slice_str(sts_mode_name(i)))) {
            *out = i;
            return true;
        }
    return false;
}

/* Normalises a pattern into `out`, which has room for 256 bytes and "*.". */
static bool pattern_read(struct slice text, char *out, size_t *len)
{
    size_t head = text.len > 2 && memcmp(text.ptr, "*.", 2) == 0 ? 2 : 0;
    memcpy(out, "*.", head);
    if (!dns_name_normalise(slice_skip(text, head), out + head, len))
        return false;
    *len += head;
    return true;
}

struct sts_policy *sts_policy_parse(struct slice text, struct err *err)
{
    struct fields fields = { 0 };
    enum sts_mode mode;
    uint64_t max_age;
    if (text.len == 0 || text.len > STS_TEXT_MAX) {
        err_set(err, ERR_INPUT, text.len ? "longer than %d bytes" : "empty", STS_TEXT_MAX);
        return NULL;
    }
    if (!fields_read(text, &fields, err))
        return NULL;
    if (!mode_read(fields.mode, &mode)) {
        err_set(err, ERR_INPUT, "'mode' isn't enforce, testing or none");
        return NULL;
    }
    if (!slice_to_u64(fields.max_age, &max_age)) {
        err_set(err, ERR_INPUT, "'max_age' isn't a number of seconds");
        return NULL;
    }
    if (mode != STS_NONE && fields.mx_count == 0) {
        err_set(err, ERR_INPUT, "no 'mx'");
        return NULL;
    }
    size_t room = 0;
    for (unsigned i = 0; i < fields.mx_count; i++)
        room += 2 + 256;
    struct sts_policy *policy =
        mem_zalloc(sizeof *policy + fields.mx_count * sizeof policy->mx[0] + room);
    char *at = (char *)&policy->mx[fields.mx_count];
    policy->mode = mode;
    policy->max_age_s = (uint32_t)MIN_OF(max_age, (uint64_t)STS_AGE_MAX_S);
    for (unsigned i = 0; i < fields.mx_count; i++) {
        size_t len;
        if (!pattern_read(fields.mx[i], at, &len)) {
            free(policy);
            err_set(err, ERR_INPUT, "mx '%.*s' isn't a host name or \"*.\" and one",
                    (int)MIN_OF(fields.mx[i].len, (size_t)100), fields.mx[i].ptr);
            return NULL;
        }
        policy->mx[policy->mx_count++] = slice_of(at, len);
        at += len;
    }
    return policy;
}

bool sts_policy_allows(const struct sts_policy *policy, struct slice host)
{
    for (unsigned i = 0; i < policy->mx_count; i++) {
        struct slice pattern = policy->mx[i];
        if (pattern.ptr[0] != '*') {
            if (slice_eq(pattern, host))
                return true;
            continue;
        }
        ptrdiff_t dot = slice_find(host, '.');
        if (dot > 0 && slice_eq(slice_skip(pattern, 1), slice_skip(host, (size_t)dot)))
            return true;
    }
    return false;
}

/* ---- the record ---- */

static bool id_valid(struct slice id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
            return false;
    }
    return id.len > 0 && id.len <= STS_ID_MAX;
}

bool sts_record_parse(struct slice text, char *id)
{
    struct slice version = trim_blanks(slice_cut(&text, ';'));
    if (!slice_eq(version, SLICE("v=STSv1")))
        return false;
    bool found = false;
    while (text.len > 0) {
        struct slice field = trim_blanks(slice_cut(&text, ';'));
        if (field.len < 3 || memcmp(field.ptr, "id=", 3) != 0)
            continue; /* an extension */
        struct slice value = slice_skip(field, 3);
        if (found || !id_valid(value))
            return false;
        memcpy(id, value.ptr, value.len);
        id[value.len] = '\0';
        found = true;
    }
    return found;
}

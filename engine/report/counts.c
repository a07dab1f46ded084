#include "engine/report/counts.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"

#define KEPT_S SLICE("691200") /* eight days: reports are tried for two */
#define LOCK_MS SLICE("3600000")

static struct slice key_day(struct admin *admin, int64_t day)
{
    char name[40];
    snprintf(name, sizeof name, "tr:%lld", (long long)day);
    return admin_key_global(admin, name);
}

static struct slice key_domain(struct admin *admin, int64_t day, struct slice domain)
{
    char name[320];
    snprintf(name, sizeof name, "tr:%lld:%.*s", (long long)day, SLICE_FMT(domain));
    return admin_key_global(admin, name);
}

static bool run_and_reset(struct admin *admin, struct err *err)
{
    bool good = admin_run(admin, err);
    admin_reset(admin);
    return good;
}

bool tls_counts_add(struct admin *admin, struct tls_tally_row *const *rows, size_t count,
                    struct err *err)
{
    struct slice days = admin_key_global(admin, "tr");
    for (size_t i = 0; i < count; i++) {
        const struct tls_tally_row *row = rows[i], *before = i > 0 ? rows[i - 1] : NULL;
        struct slice hash = key_domain(admin, row->day, row->domain);
        struct buf field = BUF_EMPTY;
        buf_printf(&field, "%.*s\n%.*s", SLICE_FMT(row->policy), SLICE_FMT(row->failure));
        ADMIN_COMMAND(admin, hash, SLICE("HINCRBY"), hash, buf_slice(&field),
                      admin_number(admin, (int64_t)row->count));
        buf_free(&field);
        if (before && before->day == row->day && slice_eq(before->domain, row->domain))
            continue;
        struct slice day = key_day(admin, row->day);
        ADMIN_COMMAND(admin, hash, SLICE("EXPIRE"), hash, KEPT_S);
        ADMIN_COMMAND(admin, day, SLICE("SADD"), day, row->domain);
        if (before && before->day == row->day)
            continue;
        ADMIN_COMMAND(admin, day, SLICE("EXPIRE"), day, KEPT_S);
        ADMIN_COMMAND(admin, days, SLICE("SADD"), days, admin_number(admin, row->day));
    }
    return run_and_reset(admin, err);
}

const struct redis_value *tls_counts_days(struct admin *admin, struct err *err)
{
    struct slice key = admin_key_global(admin, "tr");
    return ADMIN_ASK(admin, err, key, SLICE("SMEMBERS"), key);
}

const struct redis_value *tls_counts_domains(struct admin *admin, int64_t day, struct err *err)
{
    struct slice key = key_day(admin, day);
    return ADMIN_ASK(admin, err, key, SLICE("SMEMBERS"), key);
}

bool tls_counts_read(struct admin *admin, int64_t day, struct slice domain,
                     struct tls_report_count **out, size_t *count, struct err *err)
{
    struct slice key = key_domain(admin, day, domain);
    const struct redis_value *hash = ADMIN_ASK(admin, err, key, SLICE("HGETALL"), key);
    if (!hash)
        return false;
    *count = hash->count / 2;
    *out = mem_array(*count + 1, sizeof **out);
    for (size_t i = 0; i < *count; i++) {
        struct slice field = admin_item(hash, 2 * i)->text;
        struct tls_report_count *it = &(*out)[i];
        it->policy = slice_cut(&field, '\n');
        it->failure = field;
        it->sessions = (uint64_t)admin_int(admin_item(hash, 2 * i + 1));
    }
    return true;
}

bool tls_counts_done(struct admin *admin, int64_t day, struct slice domain, struct err *err)
{
    struct slice hash = key_domain(admin, day, domain), set = key_day(admin, day);
    ADMIN_COMMAND(admin, hash, SLICE("DEL"), hash);
    ADMIN_COMMAND(admin, set, SLICE("SREM"), set, domain);
    if (!run_and_reset(admin, err))
        return false;
    struct slice days = admin_key_global(admin, "tr");
    set = key_day(admin, day);
    const struct redis_value *left = ADMIN_ASK(admin, err, set, SLICE("EXISTS"), set);
    if (left && admin_int(left) == 0)
        left = ADMIN_ASK(admin, err, days, SLICE("SREM"), days, admin_number(admin, day));
    admin_reset(admin);
    return left != NULL;
}

bool tls_counts_lock(struct admin *admin, const char *node, bool *mine, struct err *err)
{
    struct slice key = admin_key_global(admin, "tr:lock");
    const struct redis_value *reply = ADMIN_ASK(admin, err, key, SLICE("SET"), key, slice_str(node),
                                                SLICE("NX"), SLICE("PX"), LOCK_MS);
    *mine = reply && redis_value_is(reply, "OK");
    admin_reset(admin);
    return reply != NULL;
}

bool tls_counts_unlock(struct admin *admin, struct err *err)
{
    struct slice key = admin_key_global(admin, "tr:lock");
    bool good = ADMIN_ASK(admin, err, key, SLICE("DEL"), key) != NULL;
    admin_reset(admin);
    return good;
}

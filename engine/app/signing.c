#include "engine/app/signing.h"

#include <stdlib.h>
#include <time.h>

#include "engine/base/mem.h"

/* The configuration was checked. */
static int64_t day_begin_s(const char *text)
{
    struct tm tm = { 0 };
    return *text && strptime(text, "%Y-%m-%d", &tm) ? (int64_t)timegm(&tm) : 0;
}

bool app_signer_create(struct dkim_signer **out, const struct config *config, struct err *err)
{
    *out = NULL;
    if (config->dkim_count == 0)
        return true;
    struct dkim_key_options *keys = mem_array(config->dkim_count, sizeof *keys);
    for (unsigned i = 0; i < config->dkim_count; i++) {
        const struct config_dkim *from = &config->dkim[i];
        keys[i] = (struct dkim_key_options){
            .domain = from->domain,
            .selector = from->selector,
            .file = from->key_file,
            .tenants = from->tenants,
            .tenant_count = from->tenants_count,
            .from_s = day_begin_s(from->not_before),
            .until_s = *from->not_after ? day_begin_s(from->not_after) + 86400 : 0,
            .expires_s = from->expires_s,
            .simple_body = strcmp(from->body, "simple") == 0,
        };
    }
    bool good = dkim_signer_create(out, keys, config->dkim_count, err);
    free(keys);
    return good || err_prefix(err, "dkim");
}

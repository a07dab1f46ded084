#include "engine/app/schema.h"

#include "dns/resolver.h"
#include "engine/message/address.h"
#include "engine/message/content.h"

static bool schema_open(void *user, struct slice content, struct ingest_schema *out,
                        struct err *err)
{
    (void)user;
    struct message_content *compiled;
    if (!message_content_compile(&compiled, content, NULL, err))
        return false;
    out->compiled = compiled;
    out->fields = message_content_fields(compiled, &out->count);
    return true;
}

static void schema_close(void *user, struct ingest_schema *schema)
{
    (void)user;
    struct message_content *compiled = schema->compiled;
    message_content_destroy(&compiled);
}

static bool destination(void *user, struct slice address, char out[256], size_t *len,
                        struct err *err)
{
    (void)user;
    struct address parsed;
    if (!address_parse(address, &parsed, err))
        return false;
    if (!dns_name_normalise(parsed.domain, out, len))
        return err_set(err, ERR_INPUT, "'%.*s' isn't a domain that can be looked up",
                       SLICE_FMT(parsed.domain));
    return true;
}

const struct ingest_callbacks app_ingest_callbacks = {
    .schema_open = schema_open,
    .schema_close = schema_close,
    .destination = destination,
};

// module: queue
/* A URL that is accepted is whole: hosts with ports, strings that end, what TLS needs together. */
#include <stdlib.h>

#include "queue/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct redis_url url;
    struct err err = { 0 };
    if (!redis_url_parse(slice_of(data, size), &url, &err)) {
        check(err.kind == ERR_CONFIG && err.text[0] != '\0');
        check(url.password[0] == '\0' && url.sentinel_password[0] == '\0');
        return 0;
    }
    check(size < REDIS_URL_BYTES && url.host_count >= 1 && url.host_count <= REDIS_HOSTS_MAX);
    check(url.host_count == 1 || url.kind != REDIS_URL_SERVER);
    bool unix_socket = url.hosts[0].port == 0;
    check(!unix_socket ||
          (url.kind == REDIS_URL_SERVER && !url.tls && url.hosts[0].name[0] == '/'));
    for (unsigned i = 0; i < url.host_count; i++) {
        char place[300];
        check(url.hosts[i].name[0] != '\0' && (url.hosts[i].port != 0 || unix_socket));
        redis_host_print(&url.hosts[i], place, sizeof place);
        check(strlen(place) >= strlen(url.hosts[i].name));
    }
    check(!url.user[0] || url.password[0]);
    check((url.kind == REDIS_URL_SENTINEL) == (url.master[0] != '\0'));
    check(url.kind != REDIS_URL_CLUSTER || url.db == 0);
    check(url.tls || (url.verify && !url.ca[0] && !url.cert[0] && !url.key[0] && !url.name[0]));
    check(!url.cert[0] == !url.key[0]);
    redis_url_clear(&url);
    check(url.password[0] == '\0');
    return 0;
}

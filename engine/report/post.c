#include "engine/report/post.h"

#include <curl/curl.h>
#include <stdio.h>

enum { TIMEOUT_S = 60 };

bool tls_report_url(const char *url, char host[256], char port[8], struct err *err)
{
    char *its_host = NULL, *its_port = NULL;
    CURLU *parsed = curl_url();
    bool good = parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(parsed, CURLUPART_HOST, &its_host, 0) == CURLUE_OK &&
                curl_url_get(parsed, CURLUPART_PORT, &its_port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                strlen(its_host) < 256 && strlen(its_port) < 8;
    if (good) {
        strcpy(host, its_host);
        strcpy(port, its_port);
    }
    curl_free(its_host);
    curl_free(its_port);
    curl_url_cleanup(parsed);
    return good || err_set(err, ERR_INPUT, "not a URL");
}

static size_t ignore(char *bytes, size_t size, size_t count, void *user)
{
    (void)bytes;
    (void)user;
    return size * count;
}

static bool perform(CURL *curl, struct err *err)
{
    long status = 0;
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK)
        return err_set(err, ERR_SYSTEM, "%s", curl_easy_strerror(code));
    return status / 100 == 2 || err_set(err, ERR_SYSTEM, "HTTP status %ld", status);
}

bool tls_report_post(const char *url, const char *resolve, struct slice file, struct err *err)
{
    CURL *curl = curl_easy_init();
    assert(curl); /* only without memory */
    struct curl_slist *hosts = curl_slist_append(NULL, resolve);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/tlsrpt+gzip");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_RESOLVE, hosts);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "Eilpost/" EILPOST_VERSION);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, file.ptr);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)file.len);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    bool good = perform(curl, err);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    curl_slist_free_all(hosts);
    return good;
}

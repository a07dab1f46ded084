#pragma once
/* Sending a report by HTTPS (RFC 8460, 3): libcurl, blocking. */
#include "engine/base/err.h"
#include "engine/base/slice.h"

/** The host and the port of a URL. */
MUST_USE bool tls_report_url(const char *url, char host[256], char port[8], struct err *err);
/** Posts the gzip file. `resolve`: "host:port:address,address", the only ones that are used. The
 * server's certificate isn't checked: what is wrong with it may be what the report tells. */
MUST_USE bool tls_report_post(const char *url, const char *resolve, struct slice file,
                              struct err *err);

#pragma once
/* SMTP commands as bytes, appended to a buffer without a cap. Whatever comes from outside was
 * checked by the caller; here a byte that could end the line or the path is our bug and asserted,
 * because it would smuggle a command. */
#include "engine/base/buf.h"

/** `verb` is EHLO, HELO or LHLO. */
void smtp_command_hello(struct buf *out, struct slice verb, const char *name);
/** "AUTH MECHANISM", with the first response (raw; here it becomes Base64) if there is one: NULL,
 * none; empty, "=" (RFC 4954, 4). */
void smtp_command_auth(struct buf *out, const char *mechanism, const struct slice *initial);
/** A line of an authentication exchange: a response (raw). */
void smtp_command_response(struct buf *out, struct slice response);

struct smtp_mail_parameters { /* ask only for what the server offers */
    size_t size;              /* SIZE= (RFC 1870); 0: not given */
    bool body_8bit;           /* BODY=8BITMIME (RFC 6152) */
    bool smtputf8;            /* SMTPUTF8 (RFC 6531) */
    bool requiretls;          /* REQUIRETLS (RFC 8689) */
};
/** MAIL FROM; an empty sender is the null reverse-path. */
void smtp_command_mail(struct buf *out, struct slice sender,
                       const struct smtp_mail_parameters *parameters);
void smtp_command_rcpt(struct buf *out, struct slice address);
/** "BDAT n" or "BDAT n LAST" (RFC 3030); the n bytes follow at once. */
void smtp_command_bdat(struct buf *out, size_t bytes, bool last);
/** A command without arguments: "RSET", "DATA", "STARTTLS", "QUIT", and "." for the end of data. */
void smtp_command_plain(struct buf *out, struct slice verb);

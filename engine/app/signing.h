#pragma once
/* The keys that messages are signed with, as the configuration names them. */
#include "engine/app/config.h"
#include "engine/message/dkim.h"

/** *out is NULL when there are none. */
MUST_USE bool app_signer_create(struct dkim_signer **out, const struct config *config,
                                struct err *err);

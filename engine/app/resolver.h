#pragma once
/* A resolver as the configuration wants it. */
#include "dns/resolver.h"
#include "engine/app/config.h"

MUST_USE bool app_resolver_create(struct dns_resolver **out, struct ring *ring,
                                  const struct config *config, struct err *err);

#pragma once
/* Policies, relays and routes of the configuration, as delivery wants them. TLS contexts belong to
 * one thread, so each worker has its own. */
#include "engine/app/config.h"
#include "engine/deliver/deliver.h"

struct ways {
    struct deliver_policy *policies; /* the default, the modes by their names, those configured */
    unsigned policy_count;
    struct deliver_relay *relays;
    struct deliver_rule *rules; /* as many as config->relays, config->routes */
    struct login *logins;       /* one per relay */
    const struct config *config;
};

/** Reads the files that policies name. On false `err` says which one is wrong; ways_free() is due
 * either way. Refers to `config`. */
MUST_USE bool ways_create(struct ways *ways, const struct config *config, struct err *err);
/** Reads secrets whose files have changed; what can't be read now stays as it was. */
void ways_refresh(struct ways *ways, const struct log *log);
void ways_free(struct ways *ways);

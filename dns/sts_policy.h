#pragma once
/* MTA-STS (RFC 8461) as text: what a domain's TXT record announces, and what its policy says. Pure
 * functions; any bytes are allowed. */
#include "engine/base/err.h"
#include "engine/base/slice.h"

#define STS_ID_MAX 32           /* RFC 8461, 3.1 */
#define STS_TEXT_MAX 65536      /* bytes of a policy that are read (3.3) */
#define STS_MX_MAX 100          /* patterns; more than anybody has */
#define STS_AGE_MAX_S 31557600u /* 3.2: a year */

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };
/** "none", "testing", "enforce". */
const char *sts_mode_name(enum sts_mode mode);

/** A policy: immutable, counted by who shares it (sts.h). */
struct sts_policy {
    enum sts_mode mode;
    uint32_t max_age_s;
    unsigned mx_count;
    struct slice mx[]; /* patterns: lower-case names, or "*." and one; the text is behind them */
};

/** Reads the policy's text (3.2): `version: STSv1`, mode, max_age and, unless the mode is none, at
 * least one mx. Keys that aren't known are ignored, of several the first one counts. The result is
 * one block for free(); NULL: `err` says what is wrong. */
struct sts_policy *sts_policy_parse(struct slice text, struct err *err);
/** Whether a mail exchanger (normalised) fits one of the patterns (4.1): a wildcard stands for
 * exactly one label. */
bool sts_policy_allows(const struct sts_policy *policy, struct slice host);

/** Reads one TXT record (3.1) if it begins with "v=STSv1;": false if it isn't one, or has no valid
 * id. `id` has room for STS_ID_MAX + 1 bytes. */
bool sts_record_parse(struct slice text, char *id);

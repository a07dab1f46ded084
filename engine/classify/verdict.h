#pragma once
/* From a reply to a verdict: delivered, retry or bounce, the category, and how far it reaches
 * (DESIGN, decision 12). A reply of our own making (DNS failure, time-out, TLS refused) goes
 * through the same rules as a peer's. */
#include "engine/base/slice.h"

/** What the reply was an answer to, which decides how much it says about. */
enum classify_scope {
    CLASSIFY_DNS,       /* look-ups: about the destination */
    CLASSIFY_HOST,      /* connect, greeting, EHLO, TLS: about the host, never about a message */
    CLASSIFY_MESSAGE,   /* MAIL, DATA, end-of-data */
    CLASSIFY_RECIPIENT, /* RCPT */
};

enum verdict_action { VERDICT_DELIVERED, VERDICT_RETRY, VERDICT_BOUNCE };

struct verdict {
    enum verdict_action action;
    const char *category;  /* "bad-mailbox", "greylisted", …; NULL when delivered */
    bool destination_wide; /* holds for every job of the destination: try one later, not all of them
                            */
    unsigned retry_after_s; /* "try again in 5 minutes": no attempt before; 0: it says nothing */
};

struct classify_reply {
    unsigned code;                                              /* 200…599 */
    unsigned enhanced_class, enhanced_subject, enhanced_detail; /* class 0: none */
    bool local;
    enum classify_scope scope;
    struct slice text; /* may be empty; only a peer's is read */
};

/** Never fails: what no rule knows is decided by the code's first digit (RFC 5321, 4.2.1). */
struct verdict classify_verdict(const struct classify_reply *reply);

/** Whether a verdict can have this category. */
bool classify_category_known(struct slice category);

/** A longer pause than this is taken for this one. */
#define CLASSIFY_RETRY_AFTER_S_MAX 86400u
/** The pause that a reply's text asks for, in seconds; 0 if it asks for none. */
unsigned classify_retry_after_s(struct slice text);

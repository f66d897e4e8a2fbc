/* The shapes of secrets that are known to everybody: secret_rules.c is the table. */
#ifndef CONTEXT_SECRET_RULES_H
#define CONTEXT_SECRET_RULES_H

#include <stdbool.h>
#include <stdint.h>

enum secret_check {
    SECRET_SHAPE,      /* the shape says it all */
    SECRET_RANDOM,     /* words of the same shape are none */
    SECRET_NO_EXAMPLE, /* placeholders are none */
    SECRET_ASSIGNED    /* what is assigned to a name: the name counts as well */
};

/* One rule has no anchor: secrets.c looks for its two dots. A match begins with one of the anchors, where the
 * regular expression is tried; so texts are searched for anchors only. All but SECRET_ASSIGNED: group 1, or
 * all, is the secret. SECRET_ASSIGNED: group 1 is the quotation mark, if any, group 2 the secret. */
struct secret_rule {
    const char *anchors; /* separated by spaces; each of at least three characters */
    bool is_caseless;    /* anchors and expression */
    enum secret_check check;
    const char *regex;
};

extern const struct secret_rule secret_rules[];
extern const int32_t secret_rules_n;

#endif

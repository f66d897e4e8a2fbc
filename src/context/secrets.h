/* What must never be shown to a model: files that hold secrets, told by their names, and secrets within other
 * texts, told by their shape. Patterns are built in; a user may add some. Constant once made: any thread. */
#ifndef CONTEXT_SECRETS_H
#define CONTEXT_SECRETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct secrets;

struct secrets_options {
    const char *names;    /* further file names, shell patterns separated by spaces; or null */
    const char *contents; /* further contents, regular expressions (PCRE2) one per line; what their first
                             group matches is the secret, or all if there is none; or null */
};

/* ERR_ARG: a pattern does not compile; msg names it and says where. */
MUST_CHECK enum err secrets_new(const struct secrets_options *o, struct secrets **out, struct errmsg *msg);
void secrets_free(struct secrets **s);

/* Whether a file of this name holds secrets: .env, id_rsa, *.pem, .netrc, credentials, ... Either slash. */
bool secrets_is_file(const struct secrets *s, const char *path);

/* The first secret at or after `from`: private keys, access keys, tokens, passwords in assignments and URLs.
 * False: none. A text of any bytes. */
bool secrets_find(const struct secrets *s, const char *text, size_t len, size_t from, size_t *start,
                  size_t *end);

/* The text with each secret replaced by SECRETS_MASK, appended to out; *n how many there were. */
#define SECRETS_MASK "REDACTED"
MUST_CHECK enum err secrets_mask(const struct secrets *s, const char *text, size_t len, struct buf *out,
                                 int32_t *n);

#endif

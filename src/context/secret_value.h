/* Whether a literal that is called a password, key or token looks like a real one. Thread: any. */
#ifndef CONTEXT_SECRET_VALUE_H
#define CONTEXT_SECRET_VALUE_H

#include <stdbool.h>
#include <stddef.h>

/* Letters and digits as no word, name or number has them. */
bool secret_value_is_random(const char *value, size_t len);

/* What is written where a secret belongs: "your-api-key", "xxxx", "${TOKEN}", a regular expression. */
bool secret_value_is_placeholder(const char *value, size_t len);

/* What a person would choose for a password that has to have "a digit and a special character". */
bool secret_value_is_password(const char *value, size_t len);

/* Whether something of this name holds secrets themselves, not where they are or how they look: not
 * token_url, secretName, password-length, tokenizer. */
bool secret_value_is_named(const char *name, size_t len);

#endif

/* The table of pre-tokenizers that we know. */
#ifndef MODEL_PRETOK_KINDS_H
#define MODEL_PRETOK_KINDS_H

#include <stddef.h>

#include "model/pretok.h"

/* Most expressions that any pre-tokenizer has. */
#define PRETOK_MAX_PATTERNS 8

/* null if there is none of this name */
const struct pretok_kind *pretok_kinds_find(const char *name, size_t len);

#endif

/* Lines of a private key without the line that says so: a text that was cut in the middle of one. */
#ifndef CONTEXT_SECRET_BLOCK_H
#define CONTEXT_SECRET_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

/* The first block of such lines that ends after `from` and begins before `to`: lines of base64 alone, all of
 * one length and the last one shorter, before the line that ends a private key or without any. What a
 * BEGIN line tells to be something else (a certificate) is none. */
bool secret_block_find(const char *text, size_t len, size_t from, size_t to, size_t *start, size_t *end);

#endif

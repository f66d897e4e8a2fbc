/* UTF-8 decoding and encoding (RFC 3629). */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decode the code point at s, len > 0. Returns the bytes consumed, always >= 1. A byte that starts no
 * valid sequence is consumed alone and gives *code = -1. */
size_t utf8_decode(const char *s, size_t len, int32_t *code);

/* Encode a code point (0..0x10FFFF) into out; returns the number of bytes, 1..4. */
size_t utf8_encode(int32_t code, char out[4]);

/* A byte that goes on with a character, so that a text may not be cut before it. */
static inline bool utf8_is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Length of the longest prefix of s that is valid UTF-8. */
size_t utf8_valid_len(const char *s, size_t len);

/* Length of s without a sequence that is cut off at the end; a text cut at any byte can be streamed up
 * to here and the rest later. */
size_t utf8_complete_len(const char *s, size_t len);

#endif

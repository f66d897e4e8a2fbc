/* SHA-256 (FIPS 180-4), incremental. */
#ifndef MODEL_SHA256_H
#define MODEL_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX   65 /* with the NUL */

struct sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    unsigned char block[64]; /* n_bytes % 64 of them are waiting */
};

void sha256_init(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *bytes, size_t len);
/* Lower-case hexadecimal; h must be initialised again before it is used again. */
void sha256_finish(struct sha256 *h, char hex[SHA256_HEX]);

#endif

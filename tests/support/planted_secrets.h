/* Fifty secrets in plausible lines of C, Python, JavaScript, YAML and shell, for tests that nothing of them
 * gets through. They are put together when the program runs, so that the repository holds none. */
#ifndef TESTS_SUPPORT_PLANTED_SECRETS_H
#define TESTS_SUPPORT_PLANTED_SECRETS_H

#include <stddef.h>

#define PLANTED_SECRETS 50

struct planted_secret {
    const char *language; /* "c", "python", ... */
    char before[256];     /* what stands in front of the secret and behind it: whole lines all together */
    char secret[2048];
    char after[256];
};

/* The same for the same i, 0..PLANTED_SECRETS - 1. */
void planted_secret(int i, struct planted_secret *out);

#endif

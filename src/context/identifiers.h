/* Texts as sets of identifiers, to tell how much two of them are about the same things. Identifiers are
 * hashed; keywords of common languages, short names and numbers do not count. Thread: any. */
#ifndef CONTEXT_IDENTIFIERS_H
#define CONTEXT_IDENTIFIERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDENTIFIERS_MAX 1024 /* of one set; later ones are left out */

struct identifiers {
    uint32_t hashes[IDENTIFIERS_MAX]; /* ascending, each once */
    int32_t n;
};

/* One identifier of a text, from `at` on: letters, digits and underscores that do not begin with a digit,
 * and what is not ASCII. False: there is none any more. */
bool identifiers_next(const char *text, size_t len, size_t *at, const char **name, size_t *name_len);
bool identifiers_counts(const char *name, size_t len); /* not a keyword, not too short */
uint32_t identifiers_hash(const char *name, size_t len);

/* The next part of a name from *at on, that is a word: "takeReading", "take_reading" and "TAKE_READING" have
 * the parts "take" and "reading". Parts of fewer than three letters are left out. *hash is the same for all
 * ways to write it. False: there is none any more. */
bool identifiers_part(const char *name, size_t len, size_t *at, uint32_t *hash);

void identifiers_of(const char *text, size_t len, struct identifiers *out);
/* |a and b| / |a or b| (Jaccard 1912); 0 if both are empty. */
double identifiers_similarity(const struct identifiers *a, const struct identifiers *b);
bool identifiers_has(const struct identifiers *s, uint32_t hash);

#endif

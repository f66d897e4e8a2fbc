/* A document that an editor keeps open: UTF-8 text under incremental edits, in the units of LSP positions.
 * One owner. */
#ifndef CONTEXT_TEXT_H
#define CONTEXT_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum text_encoding { TEXT_UTF8, TEXT_UTF16, TEXT_UTF32 }; /* units of text_position.character */

struct text_position { /* from 0 */
    int64_t line, character;
};

struct text {
    char *bytes; /* owned; valid UTF-8 (what is not becomes U+FFFD); NUL-terminated; line ends as they came */
    size_t len, cap;
    int64_t version;
};

/* ERR_LIMIT: longer than DOCUMENT_MAX_BYTES; ERR_NOMEM. The text is unchanged then. */
MUST_CHECK enum err text_init(struct text *t, const char *bytes, size_t len);
void text_clear(struct text *t);

/* A position past the end of its line is the line's end; past the last line, the end of the text; inside a
 * character, its start. Lines end in \n, \r\n or \r (LSP). */
size_t text_offset(const struct text *t, struct text_position p, enum text_encoding unit);
struct text_position text_position_of(const struct text *t, size_t offset, enum text_encoding unit);

/* The start of the character that holds the byte `at`; the text's length from there on. */
size_t text_char_start(const struct text *t, size_t at);

/* Replace bytes from..to (clamped to character starts and order) by others. */
MUST_CHECK enum err text_splice(struct text *t, size_t from, size_t to, const char *bytes, size_t len);

/* How long bytes will be once each that is not UTF-8 has become U+FFFD. */
size_t text_repaired_len(const char *bytes, size_t len);

/* How many bytes two texts have in common at their beginnings, and at their ends. */
size_t text_common_prefix(const char *a, size_t n_a, const char *b, size_t n_b);
size_t text_common_suffix(const char *a, size_t n_a, const char *b, size_t n_b);

#endif

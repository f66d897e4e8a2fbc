/* A text under edit: what an editor holds while a trace is replayed. */
#ifndef CLI_BENCH_TEXT_H
#define CLI_BENCH_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Zero-initialise; free with bench_text_clear. */
struct bench_text {
    char *text; /* owned; UTF-8, not NUL-terminated */
    size_t len, cap;
    size_t cursor; /* byte offset */
};

/* Read a file; line and column as for `inline complete`. */
MUST_CHECK enum err bench_text_open(const char *path, int64_t line, int64_t column, struct bench_text *out,
                                    struct errmsg *msg);
void bench_text_clear(struct bench_text *t);

/* The cursor goes along with the text behind it: an insertion at the cursor is text typed before it. */
MUST_CHECK enum err bench_text_insert(struct bench_text *t, size_t at, const char *bytes, size_t n);
void bench_text_delete(struct bench_text *t, size_t at, size_t n);

/* Bytes of the character at text[at], at least 1 (at < len). */
size_t bench_text_char(const char *text, size_t len, size_t at);

/* Where the line `n` lines before the one at `at` begins, and where the line `n` lines after it ends, its
 * newline included; the text's own ends where there are fewer. */
size_t bench_text_lines_before(const struct bench_text *t, size_t at, int32_t n);
size_t bench_text_lines_after(const struct bench_text *t, size_t at, int32_t n);

#endif

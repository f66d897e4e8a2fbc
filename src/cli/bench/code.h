/* Source code to measure with: C as people write it, as much as is wanted, always the same. */
#ifndef CLI_BENCH_CODE_H
#define CLI_BENCH_CODE_H

#include <stdint.h>

#include "base/buf.h"

/* Append about n_lines lines: definitions, each with other names, that use each other. */
void bench_code_write(int64_t n_lines, struct buf *out);

/* Definitions as somebody might type them into that code; ends in a newline. */
extern const char bench_code_typed[];

#endif

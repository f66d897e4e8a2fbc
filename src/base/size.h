/* Byte counts for people. */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include <stdbool.h>
#include <stdint.h>

#define SIZE_TEXT_MAX 16

/* "531 MB", "1.6 GB": decimal units, as file managers and download pages show them; one decimal place
 * below ten. Returns out. A negative count gives "?". */
const char *size_text(int64_t bytes, char out[SIZE_TEXT_MAX]);

/* The reverse, as people write it: "6G", "512M", "1.5GB", "800000000". Decimal units, in either case, the B
 * optional. False: not a size, negative, or beyond an int64. */
bool size_parse(const char *text, int64_t *bytes);

#endif

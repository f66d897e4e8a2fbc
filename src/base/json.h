/* JSON output, written straight into a buffer.
 *
 * A writer keeps track of commas and nesting; the caller pairs begin and end. Strings that are not UTF-8
 * have each bad byte replaced by U+FFFD, so that the output is always valid JSON (RFC 8259). Numbers that
 * are not finite are written as 0. Output is one line without spaces. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct json {
    struct buf *out; /* borrowed */
    bool needs_comma;
};

void json_init(struct json *j, struct buf *out);
/* key is null inside arrays and at the top. */
void json_begin_object(struct json *j, const char *key);
void json_end_object(struct json *j);
void json_begin_array(struct json *j, const char *key);
void json_end_array(struct json *j);
void json_str(struct json *j, const char *key, const char *value); /* a null value writes null */
void json_str_len(struct json *j, const char *key, const char *value, size_t len);
void json_int(struct json *j, const char *key, int64_t value);
void json_num(struct json *j, const char *key, double value, int decimals);
void json_flag(struct json *j, const char *key, bool value);
void json_raw(struct json *j, const char *key, const char *value, size_t len); /* is JSON already */

#endif

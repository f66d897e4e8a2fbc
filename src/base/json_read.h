/* Reading JSON that strangers sent: a face on json-c that cannot be held wrong.
 *
 * A member that is null counts as absent. Asking a null value, or one of another kind, for something is
 * allowed and answers "absent", so that lookups chain without checks. Strings are valid UTF-8 (lone
 * surrogates become U+FFFD) and may hold NUL. One owner; not thread-safe. */
#ifndef BASE_JSON_READ_H
#define BASE_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define JSON_DEPTH_MAX 64 /* deeper nesting is ERR_LIMIT */

struct json_value; /* a node of the tree; freed with its root */

/* Parse one value; nothing but white space may follow. ERR_FORMAT says at which byte; ERR_LIMIT: too deep. */
MUST_CHECK enum err json_read(const char *text, size_t len, struct json_value **root, struct errmsg *msg);
void json_read_free(struct json_value **root);

bool json_is_object(const struct json_value *v);
bool json_is_array(const struct json_value *v);
bool json_is_str(const struct json_value *v);
bool json_is_number(const struct json_value *v);
bool json_is_flag(const struct json_value *v);

const struct json_value *json_get(const struct json_value *object, const char *key); /* null: absent */
size_t json_count(const struct json_value *array);                                   /* 0: not an array */
const struct json_value *json_at(const struct json_value *array, size_t i);

/* The string's bytes and length (len may be null), NUL-terminated; null if it is not a string. */
const char *json_get_str(const struct json_value *v, size_t *len);
/* False, and *out unchanged, if it is not a number (integers take 3.0 as 3; out of range saturates). */
bool json_get_int(const struct json_value *v, int64_t *out);
bool json_get_num(const struct json_value *v, double *out);
bool json_get_flag(const struct json_value *v, bool *out);

/* Members of an object in their order, for merging unknown shapes: calls fn until it returns false. */
void json_each(const struct json_value *object,
               bool (*fn)(void *ctx, const char *key, const struct json_value *v), void *ctx);

/* The value as one line of JSON, appended: for echoing an id or a parameter as it came. */
struct buf;
void json_write_value(const struct json_value *v, struct buf *out);

#endif

/* GGUF files (versions 2 and 3, little-endian): memory-mapped, validated once, then trusted.
 *
 * gguf_open checks every count, offset, string, type and dimension against the file's size before it is
 * used; after OK, every pointer handed out lies inside the map, whatever becomes of the bytes: somebody may
 * overwrite a file while it is mapped. Specification: docs/gguf.md of the ggml project. Immutable after open:
 * any thread may read. */
#ifndef MODEL_GGUF_H
#define MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kern/kern.h"
#include "os/map.h"

#define GGUF_MAX_DIMS 4

/* Value types with the file's numbers. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_END
};

struct gguf_str {
    const char *data; /* view into the map, not NUL-terminated */
    size_t len;
};

struct gguf_tensor {
    struct gguf_str name;
    enum kern_type type;
    int32_t n_dims;
    int64_t dims[GGUF_MAX_DIMS]; /* dims[0] is the row length (n_cols); unused ones are 1 */
    const void *data;            /* view into the map */
    size_t len;                  /* bytes */
};

struct gguf;

MUST_CHECK enum err gguf_open(const char *path, struct gguf **out, struct errmsg *msg);
/* The same of an open file; path is for messages. The descriptor stays the caller's. */
MUST_CHECK enum err gguf_open_fd(int fd, const char *path, struct gguf **out, struct errmsg *msg);
/* The same over bytes in memory, which must outlive it (tests and fuzzing). */
MUST_CHECK enum err gguf_open_bytes(const void *data, size_t len, struct gguf **out, struct errmsg *msg);
void gguf_close(struct gguf **g);

uint32_t gguf_version(const struct gguf *g);
const struct map *gguf_map(const struct gguf *g);

/* Metadata by key. Each returns OK, ERR_NOT_FOUND if the key is missing, or ERR_FORMAT if its type does
 * not fit; the message names the key. Integers are accepted from any integer type that holds the value,
 * floats from F32 and F64. *out is untouched on failure. */
MUST_CHECK enum err gguf_get_int(const struct gguf *g, const char *key, int64_t min, int64_t max,
                                 int64_t *out, struct errmsg *msg);
MUST_CHECK enum err gguf_get_float(const struct gguf *g, const char *key, double *out, struct errmsg *msg);
MUST_CHECK enum err gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct errmsg *msg);
MUST_CHECK enum err gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out,
                                 struct errmsg *msg);

/* An array value: `type` is the element type, data views into the map (fixed-size elements lie packed,
 * unaligned; strings are walked with gguf_next_str). */
struct gguf_array {
    enum gguf_type type;
    uint64_t n;
    const unsigned char *data, *end;
};
MUST_CHECK enum err gguf_get_array(const struct gguf *g, const char *key, enum gguf_type type,
                                   struct gguf_array *out, struct errmsg *msg);

/* Walk a string array: *pos starts as a->data; call at most a->n times. Lengths stand in the file, so that
 * they are cut to what is left of the array, and strings behind its end are empty. */
struct gguf_str gguf_next_str(const struct gguf_array *a, const unsigned char **pos);
/* Element i of an array of integers or floats, as a double or an int64 (i < a->n). */
int64_t gguf_array_int(const struct gguf_array *a, uint64_t i);
double gguf_array_float(const struct gguf_array *a, uint64_t i);

int32_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int32_t i);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name); /* null if missing */

int32_t gguf_n_keys(const struct gguf *g);
/* Key number i: its name and value type (GGUF_ARRAY for arrays). */
struct gguf_str gguf_key_at(const struct gguf *g, int32_t i, enum gguf_type *type);

#endif

/* The parsed file and the parser that makes it. Part of gguf.c: nothing else includes this. */
#ifndef MODEL_GGUF_PARSE_H
#define MODEL_GGUF_PARSE_H

#include <string.h>

#include "model/gguf.h"
#include "model/gguf_index.h"

/* One key with its value, validated: data holds all n elements. */
struct gguf_pair {
    struct gguf_str key;
    bool is_array;
    enum gguf_type type;       /* of the value or, for an array, of its elements; never GGUF_ARRAY */
    uint64_t n;                /* elements; 1 for a single value */
    const unsigned char *data; /* view of the first element, unaligned */
    const unsigned char *end;  /* of the last */
};

struct gguf {
    struct map map; /* the file's bytes */
    bool owns_map;  /* false: the bytes are the caller's */
    uint32_t version;
    size_t alignment; /* of the tensor data; general.alignment */

    struct gguf_pair *pairs; /* [n_pairs], owned, in file order */
    int32_t n_pairs;
    struct gguf_tensor *tensors; /* [n_tensors], owned, in file order */
    int32_t n_tensors;
    struct gguf_index pair_index;
    struct gguf_index tensor_index;
};

/* Parse and validate g->map into the zeroed rest of g. On failure g is partly filled, fit for gguf_close. */
MUST_CHECK enum err gguf_parse(struct gguf *g, struct errmsg *msg);

/* Bytes of one element; 0 for strings, whose length varies, and for arrays. */
size_t gguf_type_bytes(enum gguf_type type);

/* Read one element of an integer type (or bool) or of a float type. An unsigned value above INT64_MAX reads
 * as INT64_MAX. */
int64_t gguf_read_int(enum gguf_type type, const unsigned char *p);
double gguf_read_float(enum gguf_type type, const unsigned char *p);

#endif

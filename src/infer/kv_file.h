/* One saved KV cache: the format of kv_store's files. */
#ifndef INFER_KV_FILE_H
#define INFER_KV_FILE_H

#include <stdint.h>

#include "base/err.h"
#include "infer/kv.h"

/* What a file must have been written for. */
struct kv_file_kind {
    uint64_t key; /* of what computed the KV */
    struct kv_shape shape;
};

/* Tokens that a file can hold. */
#define KV_FILE_TOKENS_MAX (1 << 24)

/* Size of a file of n tokens. */
int64_t kv_file_bytes(const struct kv_file_kind *kind, int32_t n);

/* Write positions 0..n-1 of kv, which hold these tokens. Errors as file_write_parts; ERR_NOMEM. */
MUST_CHECK enum err kv_file_write(const char *path, const struct kv_file_kind *kind, const struct kv *kv,
                                  const int32_t *tokens, int32_t n, struct errmsg *msg);

/* The tokens that a file holds; the caller frees them with mem_free. ERR_FORMAT: the file is damaged, or of
 * another kind; ERR_IO: it cannot be read; ERR_NOMEM. */
MUST_CHECK enum err kv_file_read_tokens(const char *path, const struct kv_file_kind *kind, int32_t **tokens,
                                        int32_t *n);

/* Read positions 0..n-1 into kv, where they have been reserved; the file must hold these tokens. Errors as
 * kv_file_read_tokens; what the positions hold is then undefined. */
MUST_CHECK enum err kv_file_read_pages(const char *path, const struct kv_file_kind *kind,
                                       const int32_t *tokens, int32_t n, struct kv *kv);

#endif

/* The KV cache of one sequence: keys and values of every past position, F16.
 *
 * Laid out so that one head's positions follow each other, which is how attention reads them. Memory is
 * reserved for the whole context and becomes resident as positions are used. Owner: one engine_seq. */
#ifndef INFER_KV_CACHE_H
#define INFER_KV_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct arch_params;

struct kv_cache {
    uint16_t *k, *v; /* [n_layers][n_kv_heads][n_ctx][head_dim] */
    int32_t n_ctx, n_layers, n_kv_heads, head_dim;
    size_t bytes; /* of k, and of v */
};

MUST_CHECK enum err kv_init(struct kv_cache *kv, const struct arch_params *p, int32_t n_ctx,
                            struct errmsg *msg);
void kv_clear(struct kv_cache *kv);

/* Offset in k and v of a head's first position, in values. */
size_t kv_head_offset(const struct kv_cache *kv, int32_t layer, int32_t head);

/* Bytes that n positions occupy, keys and values together. */
size_t kv_used_bytes(const struct kv_cache *kv, int32_t n);

#endif

/* The KV cache of one sequence. */
#include "infer/kv_cache.h"

#include "model/arch.h"
#include "os/pages.h"

enum err kv_init(struct kv_cache *kv, const struct arch_params *p, int32_t n_ctx, struct errmsg *msg)
{
    *kv = (struct kv_cache){
        .n_ctx = n_ctx, .n_layers = p->n_layers, .n_kv_heads = p->n_kv_heads, .head_dim = p->head_dim};
    kv->bytes = kv_used_bytes(kv, n_ctx) / 2;
    kv->k = pages_reserve(kv->bytes);
    kv->v = pages_reserve(kv->bytes);
    if (kv->k && kv->v) return OK;
    kv_clear(kv);
    return err_set(msg, ERR_NOMEM,
                   "cannot reserve %zu MB for the KV cache of %d tokens; ask for a smaller context",
                   2 * kv->bytes >> 20, n_ctx);
}

void kv_clear(struct kv_cache *kv)
{
    pages_release(kv->k, kv->bytes);
    pages_release(kv->v, kv->bytes);
    kv->k = kv->v = NULL;
}

size_t kv_head_offset(const struct kv_cache *kv, int32_t layer, int32_t head)
{
    return ((size_t)layer * (size_t)kv->n_kv_heads + (size_t)head) * (size_t)kv->n_ctx * (size_t)kv->head_dim;
}

size_t kv_used_bytes(const struct kv_cache *kv, int32_t n)
{
    return 2 * sizeof(uint16_t) * (size_t)n * (size_t)kv->n_layers * (size_t)kv->n_kv_heads *
           (size_t)kv->head_dim;
}

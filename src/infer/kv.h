/* KV caches: keys and values of the positions of many sequences, in pages of 32 positions.
 *
 * A page holds all layers and heads of its positions. Sequences that begin alike share pages by reference
 * count; a shared page is copied when one of them is about to write to it. The pool hands out pages up to a
 * budget of bytes and gives memory back to the system when pages are freed. Thread: engine. */
#ifndef INFER_KV_H
#define INFER_KV_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kern/kern.h"

struct arch_params;
struct compute;
struct kv_pool;
struct rope;

struct kv_shape {
    int32_t n_layers, n_kv_heads, head_dim;
    enum kern_kv_type type;
    size_t block_bytes; /* of one head's keys, or values, in a page */
    size_t page_bytes;  /* whole memory pages of the system */
};

/* budget: bytes of pages at most. ERR_ARG: the type does not suit head_dim, or not even one page fits the
 * budget. */
MUST_CHECK enum err kv_pool_new(const struct arch_params *p, enum kern_kv_type type, int64_t budget,
                                struct kv_pool **out, struct errmsg *msg);
void kv_pool_free(struct kv_pool **pool); /* its sequences must be closed before */
const struct kv_shape *kv_pool_shape(const struct kv_pool *pool);
int64_t kv_pool_used(const struct kv_pool *pool);   /* bytes of pages in use, each counted once */
int64_t kv_pool_budget(const struct kv_pool *pool); /* bytes */
/* Another budget, at least one page and at most the first one. What is in use beyond it stays; nothing more
 * is handed out until enough of it is free. */
void kv_pool_set_budget(struct kv_pool *pool, int64_t budget);
/* Give the memory of all free pages back to the system. */
void kv_pool_trim(struct kv_pool *pool);

/* One sequence's page table. */
struct kv {
    struct kv_pool *pool; /* borrowed */
    char **pages;         /* [n_pages] references; room for twice what n_ctx positions need (kv_rearrange) */
    int32_t n_pages, n_ctx;
};

MUST_CHECK enum err kv_open(struct kv_pool *pool, int32_t n_ctx, struct kv *out, struct errmsg *msg);
void kv_close(struct kv *kv); /* tolerates a zeroed one */

/* Where keys (values: is_value) of a head begin inside every page. */
size_t kv_block_offset(const struct kv_shape *s, int32_t layer, int32_t head, bool is_value);

/* Zero what a page holds of its positions `index` (below KERN_KV_BLOCK) and following. */
void kv_page_clear(const struct kv_shape *s, char *page, int32_t index);

/* Make positions from..to-1 writable: allocates pages, and copies those that others share; what they hold is
 * undefined until they are written, other positions keep what they hold. Does not allocate other memory.
 * ERR_LIMIT: to > n_ctx, or the budget is used up; nothing has changed; free other sequences and try again.
 */
MUST_CHECK enum err kv_reserve(struct kv *kv, int32_t from, int32_t to);

/* Drop the pages that hold no position below n. */
void kv_truncate(struct kv *kv, int32_t n);

/* Bytes of kv's pages that no other sequence shares: what truncating it to 0 would free. */
int64_t kv_own_bytes(const struct kv *kv);

/* Make dst hold what src (of the same pool) holds of positions 0..n-1 and nothing else, sharing pages.
 * n is at most dst's n_ctx. */
void kv_share(struct kv *dst, const struct kv *src, int32_t n);

/* A run of n positions that is to stand elsewhere. */
struct kv_run {
    int32_t from, to, n;
};

/* Keep positions 0..keep-1 and move runs behind them: `to` ascending, not below keep, not overlapping;
 * `from` anywhere. Keys are rotated by the distance (RoPE is relative: arXiv 2104.09864, section 3.2.2), so
 * what a run computed for its old context is reused for the new one. Ends with the last run; positions not
 * covered hold nothing yet but are writable. Needs free pages for all that changes, while the old ones are
 * still there. global, local: the model's rotations (of layers without and with has_local_rope, told by
 * is_local[layer]); local may be null. Uses the threads of c. ERR_LIMIT as kv_reserve. */
MUST_CHECK enum err kv_rearrange(struct kv *kv, int32_t keep, const struct kv_run *runs, int32_t n_runs,
                                 const struct compute *c, const struct rope *global, const struct rope *local,
                                 const bool *is_local, bool neox);

#endif

/* KV caches of evicted sequences on disk, so that coming back to a file costs reading, not prefill.
 *
 * One directory per model; one file per saved sequence: its tokens, then its pages, each part with a
 * checksum. The store keeps the tokens of all files in memory, and finds the file that shares the longest
 * beginning with a prompt. Files are keyed by what computed them (model content, KV format, kernel variant
 * where it matters); foreign, truncated or corrupt ones are ignored and deleted. The directory's bytes stay
 * under a ceiling: the least recently used file goes first. Thread: engine. */
#ifndef INFER_KV_STORE_H
#define INFER_KV_STORE_H

#include <stdint.h>

#include "base/err.h"
#include "infer/kv.h"

struct kv_store;

/* dir is created when something is first saved; several processes may use it. key: identifies the model's
 * content and how KV is computed. max_bytes: ceiling of all files. An unreadable directory is an empty
 * store. */
MUST_CHECK enum err kv_store_open(const char *dir, const char *key, const struct kv_shape *shape,
                                  int64_t max_bytes, struct kv_store **out, struct errmsg *msg);
void kv_store_close(struct kv_store **s);

/* Save positions 0..n-1 of kv, which hold these tokens. Skipped where the store already has as much; replaces
 * files that hold less of the same. Files are not synced: it takes a copy into the page cache. ERR_IO,
 * ERR_LIMIT (disk full, or larger than the ceiling): nothing is left behind. */
MUST_CHECK enum err kv_store_save(struct kv_store *s, const struct kv *kv, const int32_t *tokens, int32_t n,
                                  struct errmsg *msg);

/* Tokens at the start of tokens[0..n-1] that some file holds. */
int32_t kv_store_match(const struct kv_store *s, const int32_t *tokens, int32_t n);

/* Load what kv_store_match found into kv (whose former contents go), or the next best where that proves bad.
 * *n_loaded: positions that kv then holds, possibly 0. ERR_LIMIT as kv_reserve, ERR_NOMEM: kv is empty. */
MUST_CHECK enum err kv_store_load(struct kv_store *s, const int32_t *tokens, int32_t n, struct kv *kv,
                                  int32_t *n_loaded);

int64_t kv_store_bytes(const struct kv_store *s); /* of all files */

#endif

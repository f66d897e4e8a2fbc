/* Keys of questions in the caches of answers (store/record.h).
 *
 * A key holds everything that decides what the model generates: the maker (what model, how its prompt is laid
 * out, how numbers are computed), and of the snapshot all but the rules, which are replayed (replay.h). The
 * prompt is what the snapshot shows, so that context which came from elsewhere is in the key as it stands. */
#ifndef SERVICE_CACHE_KEY_H
#define SERVICE_CACHE_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "service/snapshot.h"
#include "store/memory_cache.h"

/* Changes whenever the same snapshot could lead to other text: when prompts are laid out in another way
 * (context/fim_layout.c, fim_prompt.c, fim_spell.c; complete/prompt.c, remote_prompt.c), or sampling or token
 * healing change. */
#define CACHE_KEY_VERSION 1

struct cache_maker {
    const char *model_key; /* weight_pack_model_key */
    const char *isa;       /* of the kernels: others round differently */
    int32_t kv_type;       /* engine_options, as are the following */
    bool is_moving;
    bool is_packed; /* weights that are packed are summed up in another order */
};
uint64_t cache_maker_hash(const struct cache_maker *m);

/* False: the cursor's line is too long. `out` is a view of the snapshot. */
bool cache_key_of(const struct snapshot *s, uint64_t maker, struct store_key *out);

/* The keys at which an answer of this maker stands: the one where it was asked, which is the snapshot's less
 * the last n_less bytes before the cursor, and those at the beginnings of its later lines, while they are
 * typed. Views of the snapshot. Returns how many. */
int32_t cache_keys_of_answer(const struct snapshot *s, uint64_t maker, size_t n_less, const char *text,
                             size_t len, struct memory_key out[MEMORY_KEYS_MAX]);

#endif

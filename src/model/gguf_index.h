/* A hash table from names to their positions in an array; filled once, then read-only. Part of gguf.c. */
#ifndef MODEL_GGUF_INDEX_H
#define MODEL_GGUF_INDEX_H

#include "base/err.h"
#include "model/gguf.h"

struct gguf_index_slot {
    const struct gguf_str *name; /* borrowed from the indexed array; null: free */
    int32_t position;
};

struct gguf_index {
    struct gguf_index_slot *slots; /* owned; [mask + 1], a power of two at least twice the names */
    size_t mask;
};

/* Room for n names. ERR_NOMEM. */
MUST_CHECK enum err gguf_index_init(struct gguf_index *index, int32_t n);
void gguf_index_clear(struct gguf_index *index); /* tolerates a zeroed index */

/* Remember name (which must outlive the index); false if an equal name is there already. */
bool gguf_index_add(struct gguf_index *index, const struct gguf_str *name, int32_t position);

/* The position of name, or -1. */
int32_t gguf_index_find(const struct gguf_index *index, const char *name, size_t len);

#endif

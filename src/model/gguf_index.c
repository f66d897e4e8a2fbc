/* A hash table from names to their positions: open addressing with linear probing, at most half full. */
#include "model/gguf_index.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"

enum err gguf_index_init(struct gguf_index *index, int32_t n)
{
    size_t size = 2;
    while (size < 2 * (size_t)n) size *= 2;
    index->slots = mem_try(size, sizeof *index->slots);
    index->mask = size - 1;
    return index->slots ? OK : ERR_NOMEM;
}

void gguf_index_clear(struct gguf_index *index)
{
    mem_free(index->slots);
    *index = (struct gguf_index){0};
}

/* The slot that holds name, or the free one where it belongs. */
static struct gguf_index_slot *find_slot(const struct gguf_index *index, const char *name, size_t len)
{
    for (size_t i = XXH3_64bits(name, len) & index->mask;; i = (i + 1) & index->mask) {
        struct gguf_index_slot *slot = &index->slots[i];
        if (!slot->name) return slot;
        if (slot->name->len == len && memcmp(slot->name->data, name, len) == 0) return slot;
    }
}

bool gguf_index_add(struct gguf_index *index, const struct gguf_str *name, int32_t position)
{
    struct gguf_index_slot *slot = find_slot(index, name->data, name->len);
    if (slot->name) return false;
    *slot = (struct gguf_index_slot){.name = name, .position = position};
    return true;
}

int32_t gguf_index_find(const struct gguf_index *index, const char *name, size_t len)
{
    const struct gguf_index_slot *slot = find_slot(index, name, len);
    return slot->name ? slot->position : -1;
}

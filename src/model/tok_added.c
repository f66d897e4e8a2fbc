/* Added tokens: per position one table lookup, and where a token can start, one hash lookup for each
 * length that tokens with this first byte have (a handful in real vocabularies). */
#include "model/tok_added.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/tokenizer.h"

/* A pair of first byte and length, packed so that pairs sort by byte, then by falling length. */
static uint64_t pack(unsigned char byte, uint32_t len)
{
    return (uint64_t)byte << 32 | (UINT32_MAX - len);
}

static int compare(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static bool belongs(const struct tok_added *a, const struct tok_vocab *v, int32_t id)
{
    return tok_vocab_type(v, id) == a->type && tok_vocab_key(v, id).len > 0;
}

enum err tok_added_init(struct tok_added *a, const struct tok_vocab *v, enum tok_type type)
{
    size_t n = 0, n_lens = 0;
    *a = (struct tok_added){.type = type};
    for (int32_t id = 0; id < v->n; id++) n += belongs(a, v, id);
    uint64_t *pairs = mem_try(n, sizeof *pairs);
    a->lens = mem_try(n, sizeof *a->lens);
    if (!pairs || !a->lens) {
        mem_free(pairs);
        return ERR_NOMEM;
    }
    n = 0;
    for (int32_t id = 0; id < v->n; id++) {
        if (!belongs(a, v, id)) continue;
        struct gguf_str key = tok_vocab_key(v, id);
        pairs[n++] = pack((unsigned char)key.data[0], (uint32_t)key.len);
    }
    qsort(pairs, n, sizeof *pairs, compare);

    size_t i = 0;
    for (uint64_t byte = 0; byte < 256; byte++) {
        a->first[byte] = (uint32_t)n_lens;
        for (; i < n && pairs[i] >> 32 == byte; i++) {
            if (i > 0 && pairs[i] == pairs[i - 1]) continue;
            a->lens[n_lens++] = UINT32_MAX - (uint32_t)pairs[i];
            if (a->lens[n_lens - 1] > a->max_len) a->max_len = a->lens[n_lens - 1];
        }
    }
    a->first[256] = (uint32_t)n_lens;
    mem_free(pairs);
    return OK;
}

void tok_added_clear(struct tok_added *a)
{
    mem_free(a->lens);
    *a = (struct tok_added){0};
}

bool tok_added_find(const struct tok_added *a, const struct tok_vocab *v, const char *text, size_t len,
                    size_t from, struct tok_match *out)
{
    if (!a->first[256]) return false;
    for (size_t at = from; at < len; at++) {
        unsigned char byte = (unsigned char)text[at];
        for (uint32_t i = a->first[byte]; i < a->first[byte + 1]; i++) {
            if (a->lens[i] > len - at) continue;
            int32_t id = tok_vocab_find(v, TOK_LITERAL, text + at, a->lens[i]);
            if (id == TOKEN_NONE || tok_vocab_type(v, id) != a->type) continue;
            *out = (struct tok_match){.start = at, .len = a->lens[i], .id = id};
            return true;
        }
    }
    return false;
}

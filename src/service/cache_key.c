/* Hashing snapshots: what stands before the cursor's line last, so that the keys of the lines that follow
 * come of the same beginning. */
#include "service/cache_key.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/buf.h"

struct line_hash {
    uint64_t h[2];
};

uint64_t cache_maker_hash(const struct cache_maker *m)
{
    char text[160];
    int n = snprintf(text, sizeof text, "%d %s %s %s %d %d %d", CACHE_KEY_VERSION, INLINE_VERSION,
                     m->model_key, m->isa, m->kv_type, m->is_moving, m->is_packed);
    return XXH3_64bits(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static struct line_hash add(struct line_hash seed, const void *bytes, size_t len)
{
    return (struct line_hash){
        {XXH3_64bits_withSeed(bytes, len, seed.h[0]), XXH3_64bits_withSeed(bytes, len, seed.h[1])}};
}

/* Of everything but the text before the cursor. */
static struct line_hash hash_rest(const struct snapshot *s, uint64_t maker)
{
    static const struct line_hash start = {{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f}}; /* any two numbers */
    /* A prompt without text gets a token to begin with, which it has not once something is typed. */
    bool is_empty = s->input.is_raw ? s->input.text_len == 0 : s->input.before_len == 0;
    const unsigned char kind[] = {s->input.is_raw, s->input.before || s->input.text, is_empty};
    struct line_hash h = add(start, &maker, sizeof maker);
    h = add(h, kind, sizeof kind);
    return add(h, s->bytes.data + s->rest_from, s->rest_to - s->rest_from);
}

/* The text before the cursor; "" of a prompt of tokens. */
static const char *before_of(const struct snapshot *s, size_t *len)
{
    const char *text = s->input.is_raw ? s->input.text : s->input.before;
    *len = s->input.is_raw ? s->input.text_len : s->input.before_len;
    return text ? text : "";
}

static size_t line_start(const char *text, size_t len)
{
    const char *newline = len > 0 ? memrchr(text, '\n', len) : NULL;
    return newline ? (size_t)(newline - text) + 1 : 0;
}

/* Of the line that begins after text[0..start). */
static struct store_key key_at(struct line_hash rest, const char *text, size_t start)
{
    struct line_hash h = add(rest, text, start);
    return (struct store_key){.line = {h.h[0], h.h[1]}, .typed = ""};
}

bool cache_key_of(const struct snapshot *s, uint64_t maker, struct store_key *out)
{
    size_t len;
    const char *text = before_of(s, &len);
    size_t start = line_start(text, len);
    *out = (struct store_key){.typed = ""};
    if (len - start > RECORD_TYPED_MAX) return false;
    *out = key_at(hash_rest(s, maker), text, start);
    out->typed = text + start;
    out->typed_len = len - start;
    return true;
}

int32_t cache_keys_of_answer(const struct snapshot *s, uint64_t maker, size_t n_less, const char *text,
                             size_t len, struct memory_key out[MEMORY_KEYS_MAX])
{
    size_t before_len;
    const char *before = before_of(s, &before_len);
    if (n_less > before_len) return 0;
    before_len -= n_less;
    size_t start = line_start(before, before_len);
    struct line_hash rest = hash_rest(s, maker);
    int32_t n = 1;
    out[0] = (struct memory_key){.key = key_at(rest, before, start)};
    out[0].key.typed = before + start;
    out[0].key.typed_len = before_len - start;
    struct buf whole;
    buf_init(&whole, SIZE_MAX);
    buf_add(&whole, before, before_len);
    buf_add(&whole, text, len);
    for (size_t at = 0; n < MEMORY_KEYS_MAX && !whole.err && s->limits.n_candidates == 1;) {
        const char *newline = at < len ? memchr(text + at, '\n', len - at) : NULL;
        if (!newline || newline + 1 == text + len) break;
        at = (size_t)(newline - text) + 1;
        out[n].key = key_at(rest, whole.data, before_len + at);
        out[n++].n_typed = at;
    }
    buf_clear(&whole);
    return n;
}

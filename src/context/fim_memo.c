/* A prompt's memory. Prefix and suffix change with every key: their tokens follow the change
 * (tokenizer_encode_again). Other files change seldom and as wholes: a part is found by the hash of what it
 * was made of, and made anew when that differs. */
#include "context/fim_memo.h"

#include <string.h>

#include <xxhash.h>

#include "base/buf.h"
#include "base/mem.h"

struct fim_part {
    struct fim_key key;
    struct token_list tokens;
    bool is_used;
};

void fim_memo_clear(struct fim_memo *memo)
{
    for (int32_t i = 0; i < memo->n_parts; i++) token_list_clear(&memo->parts[i].tokens);
    mem_free(memo->parts);
    token_memo_clear(&memo->prefix);
    token_memo_clear(&memo->suffix);
    token_memo_clear(&memo->tail);
    token_memo_clear(&memo->head);
    *memo = (struct fim_memo){0};
}

size_t fim_memo_bytes(const struct fim_memo *memo)
{
    size_t bytes = (size_t)memo->n_parts * sizeof *memo->parts;
    for (int32_t i = 0; i < memo->n_parts; i++)
        bytes += (size_t)memo->parts[i].tokens.cap * sizeof *memo->parts[i].tokens.ids;
    return bytes + token_memo_bytes(&memo->prefix) + token_memo_bytes(&memo->suffix) +
           token_memo_bytes(&memo->tail) + token_memo_bytes(&memo->head);
}

/* The space goes before a newline put in front, whose tokens are then dropped. Where the vocabulary merges
 * that newline with the text, the text is encoded with its space. */
static enum err encode_joined(const struct tokenizer *t, struct token_memo *memo, const char *text,
                              size_t len, struct fim_tokens *out)
{
    struct token_list guard = {0};
    struct buf guarded;
    buf_init(&guarded, len + 1);
    buf_add_char(&guarded, '\n');
    buf_add(&guarded, text, len);
    enum err err = guarded.err;
    if (!err) err = tokenizer_encode(t, "\n", 1, 0, &guard);
    if (!err) err = tokenizer_encode_again(t, guarded.data, guarded.len, memo);
    const struct token_list *tokens = &memo->tokens;
    size_t guard_bytes = (size_t)guard.n * sizeof *guard.ids;
    bool is_apart = !err && tokens->n >= guard.n && memcmp(tokens->ids, guard.ids, guard_bytes) == 0;
    if (!err && !is_apart) err = tokenizer_encode_again(t, text, len, memo);
    int32_t first = is_apart ? guard.n : 0;
    if (!err) *out = (struct fim_tokens){tokens->ids + first, tokens->n - first};
    buf_clear(&guarded);
    token_list_clear(&guard);
    return err;
}

enum err fim_memo_encode(const struct tokenizer *t, struct token_memo *memo, const char *text, size_t len,
                         enum fim_place place, struct fim_tokens *out)
{
    *out = (struct fim_tokens){0};
    if (len == 0) return OK;
    if (place == FIM_PLACE_JOINED && tokenizer_adds_space_prefix(t))
        return encode_joined(t, memo, text, len, out);
    enum err err = tokenizer_encode_again(t, text, len, memo);
    if (!err) *out = (struct fim_tokens){memo->tokens.ids, memo->tokens.n};
    return err;
}

struct fim_key fim_key_add(struct fim_key key, const void *bytes, size_t len)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes, len, key.low);
    /* The seed carries one half on; the other follows by an odd factor, so that order counts. */
    return (struct fim_key){.low = hash.low64, .high = hash.high64 ^ (key.high * 0x9e3779b97f4a7c15u)};
}

bool fim_memo_find(struct fim_memo *memo, struct fim_key key, struct fim_tokens *out)
{
    for (int32_t i = 0; i < memo->n_parts; i++) {
        struct fim_part *p = &memo->parts[i];
        if (p->key.low != key.low || p->key.high != key.high) continue;
        p->is_used = true;
        *out = (struct fim_tokens){p->tokens.ids, p->tokens.n};
        return true;
    }
    return false;
}

enum err fim_memo_keep(struct fim_memo *memo, struct fim_key key, struct token_list *take,
                       struct fim_tokens *out)
{
    struct fim_part *parts = mem_try_resize(memo->parts, (size_t)memo->n_parts + 1, sizeof *parts);
    if (!parts) return ERR_NOMEM;
    memo->parts = parts;
    parts[memo->n_parts++] = (struct fim_part){.key = key, .tokens = *take, .is_used = true};
    *out = (struct fim_tokens){take->ids, take->n};
    *take = (struct token_list){0};
    return OK;
}

void fim_memo_tidy(struct fim_memo *memo)
{
    int32_t n = 0;
    for (int32_t i = 0; i < memo->n_parts; i++) {
        if (memo->parts[i].is_used) {
            memo->parts[n] = memo->parts[i];
            memo->parts[n++].is_used = false;
        } else {
            token_list_clear(&memo->parts[i].tokens);
        }
    }
    memo->n_parts = n;
}

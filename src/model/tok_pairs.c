/* Loading merges: about 150 000 lines, each of which looks up two tokens and the one that they make. Almost
 * all of the time would be cache misses, so lines are taken in batches: each step of a batch prefetches what
 * the next step will touch. */
#include "model/tok_pairs.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/tokenizer.h"

static const char merges_key[] = "tokenizer.ggml.merges";

/* Enough lines to hide a cache miss, few enough for the first-level cache. */
#define BATCH_LINES 32

/* Bytes for the keys of a batch; a longer line has a batch of its own. */
#define BATCH_BYTES 4096

/* One line of the list: two token texts and a space between. */
struct merge_line {
    uint32_t rank;
    const char *key; /* of the joined token: left key, then right key */
    size_t left_len, len;
    uint64_t left_hash, right_hash;
    int32_t left, right;
};

struct merge_batch {
    struct merge_line lines[BATCH_LINES];
    int32_t n;
    char *keys; /* owned; room for keys_cap bytes */
    size_t keys_len, keys_cap;
    int32_t last_id; /* the joined token of the line before */
};

/* Fibonacci hashing (Knuth, TAOCP volume 3, section 6.4): multiply by 2^64 / golden ratio, keep high bits. */
static uint64_t first_slot(const struct tok_pairs *p, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (pair * 0x9e3779b97f4a7c15u) >> p->shift;
}

bool tok_pairs_find(const struct tok_pairs *p, int32_t left, int32_t right, struct tok_joint *out)
{
    for (uint64_t i = first_slot(p, left, right);; i = (i + 1) & p->mask) {
        const struct tok_pair *slot = &p->slots[i];
        if (!slot->left_plus1) return false;
        if (slot->left_plus1 != left + 1 || slot->right != right) continue;
        *out = (struct tok_joint){.rank = slot->rank, .id = slot->id};
        return true;
    }
}

static void add_pair(struct tok_pairs *p, const struct merge_line *line, int32_t id)
{
    uint64_t i = first_slot(p, line->left, line->right);
    for (; p->slots[i].left_plus1; i = (i + 1) & p->mask) {
        /* A pair that is listed twice keeps its first rank. */
        if (p->slots[i].left_plus1 == line->left + 1 && p->slots[i].right == line->right) return;
    }
    p->slots[i] = (struct tok_pair){line->left + 1, line->right, line->rank, id};
}

/* Vocabularies mostly list what the merges make in the order of the merges, so the token after the last
 * one found is tried before the hash table. */
static int32_t find_joined(const struct tok_vocab *v, int32_t last, const char *key, size_t len)
{
    int32_t guess = last + 1;
    if (guess < v->n && tok_vocab_namespace(v, guess) == TOK_ORDINARY) {
        struct gguf_str have = tok_vocab_key(v, guess);
        if (have.len == len && !memcmp(have.data, key, len)) return guess;
    }
    return tok_vocab_find(v, TOK_ORDINARY, key, len);
}

/* Add a line to the batch, which has room for it. The first character belongs to the left text whatever it
 * is. Returns false if the line is malformed. */
static bool parse_line(struct merge_batch *b, const struct tok_vocab *v, struct gguf_str line, uint32_t rank)
{
    const char *gap = line.len < 3 ? NULL : memchr(line.data + 1, ' ', line.len - 2);
    if (!gap) return false;
    size_t left_len = (size_t)(gap - line.data);
    char *key = b->keys + b->keys_len;
    ptrdiff_t left = tok_vocab_decode(v, line.data, left_len, key);
    if (left < 0) return false;
    ptrdiff_t right = tok_vocab_decode(v, gap + 1, line.len - left_len - 1, key + left);
    if (right < 0) return false;
    struct merge_line *l = &b->lines[b->n++];
    *l = (struct merge_line){
        .rank = rank, .key = key, .left_len = (size_t)left, .len = (size_t)(left + right)};
    l->left_hash = tok_vocab_hash(TOK_ORDINARY, key, l->left_len);
    l->right_hash = tok_vocab_hash(TOK_ORDINARY, key + left, (size_t)right);
    tok_vocab_prefetch(v, l->left_hash);
    tok_vocab_prefetch(v, l->right_hash);
    b->keys_len += l->len;
    return true;
}

/* Empty the batch into p; returns the number of lines that name unknown tokens. */
static uint32_t flush(struct merge_batch *b, struct tok_pairs *p, const struct tok_vocab *v)
{
    uint32_t n_unknown = 0;
    for (int32_t i = 0; i < b->n; i++) {
        struct merge_line *l = &b->lines[i];
        l->left = tok_vocab_find_hashed(v, TOK_ORDINARY, l->left_hash, l->key, l->left_len);
        l->right =
            tok_vocab_find_hashed(v, TOK_ORDINARY, l->right_hash, l->key + l->left_len, l->len - l->left_len);
        __builtin_prefetch(&p->slots[first_slot(p, l->left, l->right)], 1);
    }
    for (int32_t i = 0; i < b->n; i++) {
        const struct merge_line *l = &b->lines[i];
        int32_t id = find_joined(v, b->last_id, l->key, l->len);
        if (l->left == TOKEN_NONE || l->right == TOKEN_NONE || id == TOKEN_NONE) {
            n_unknown++;
            continue;
        }
        b->last_id = id;
        add_pair(p, l, id);
    }
    b->n = 0;
    b->keys_len = 0;
    return n_unknown;
}

/* Returns the number of lines that are malformed or name unknown tokens. */
static uint32_t read_lines(struct tok_pairs *p, struct merge_batch *b, const struct tok_vocab *v,
                           const struct gguf_array *merges)
{
    uint32_t n_bad = 0;
    const unsigned char *record = merges->data;
    for (uint32_t rank = 0; rank < merges->n; rank++) {
        struct gguf_str line = gguf_next_str(merges, &record);
        if (line.len > b->keys_cap) { /* longer than any two tokens */
            n_bad++;
            continue;
        }
        if (b->n == BATCH_LINES || line.len > b->keys_cap - b->keys_len) n_bad += flush(b, p, v);
        n_bad += !parse_line(b, v, line, rank);
    }
    return n_bad + flush(b, p, v);
}

enum err tok_pairs_init(struct tok_pairs *p, const struct gguf *g, const struct tok_vocab *v,
                        struct errmsg *msg)
{
    struct gguf_array merges;
    struct merge_batch batch = {.last_id = 255}; /* GPT-2's order: the 256 bytes, then what merges make */
    int32_t bits = 4;
    *p = (struct tok_pairs){0};
    enum err err = gguf_get_array(g, merges_key, GGUF_STRING, &merges, msg);
    if (err) return err == ERR_NOT_FOUND ? ERR_FORMAT : err;
    if (merges.n >= INT32_MAX / 2) {
        return err_set(msg, ERR_FORMAT, "key %s: %llu entries", merges_key, (unsigned long long)merges.n);
    }
    while ((uint64_t)1 << bits < merges.n + merges.n / 2) bits++; /* at most two thirds full */
    p->mask = ((uint64_t)1 << bits) - 1;
    p->shift = 64 - bits;
    p->slots = mem_try_aligned((size_t)1 << bits, sizeof *p->slots);
    batch.keys_cap = 2 * v->max_text_len + 1;
    if (batch.keys_cap < BATCH_BYTES) batch.keys_cap = BATCH_BYTES;
    batch.keys = mem_try(batch.keys_cap, 1);
    if (!p->slots || !batch.keys) {
        mem_free(batch.keys);
        return err_set(msg, ERR_NOMEM, "not enough memory for %llu merges", (unsigned long long)merges.n);
    }
    uint32_t n_bad = read_lines(p, &batch, v, &merges);
    mem_free(batch.keys);
    /* A merge whose tokens are not in the vocabulary can never apply, and some files have such. */
    if (merges.n && n_bad == merges.n) {
        return err_set(msg, ERR_FORMAT, "key %s: none of its %u entries fits the vocabulary", merges_key,
                       n_bad);
    }
    if (n_bad) log_line(LOG_INFO, "%u of %u merges name unknown tokens", n_bad, (uint32_t)merges.n);
    return OK;
}

void tok_pairs_clear(struct tok_pairs *p)
{
    mem_free(p->slots);
    *p = (struct tok_pairs){0};
}

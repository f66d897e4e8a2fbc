/* Byte-pair merging. The heap method is the usual one for this problem (sentencepiece's BPE model uses the
 * same idea): stale candidates are not removed from the heap but recognised when they come up. */
#include "model/tok_merge.h"

#include <string.h>

#include "base/mem.h"

#define NO_RANK UINT64_MAX

void tok_merge_init(struct tok_merge *m)
{
    m->large = NULL;
    m->links = NULL;
    m->heap = NULL;
    m->cap = 0;
}

void tok_merge_clear(struct tok_merge *m)
{
    mem_free(m->large);
    mem_free(m->links);
    mem_free(m->heap);
    tok_merge_init(m);
}

struct tok_symbol *tok_merge_symbols(struct tok_merge *m, size_t n)
{
    if (n <= TOK_MERGE_SMALL) return m->small;
    if (n <= m->cap) return m->large;
    if (n < 2 * m->cap) n = 2 * m->cap;
    tok_merge_clear(m);
    /* A symbol starts at most one candidate, and each join adds at most two and uses one up. */
    m->large = mem_try(n, sizeof *m->large);
    m->links = mem_try(n, sizeof *m->links);
    m->heap = mem_try(2 * n, sizeof *m->heap);
    if (!m->large || !m->links || !m->heap) {
        tok_merge_clear(m);
        return NULL;
    }
    m->cap = n;
    return m->large;
}

/* rank is 64 bits wide so that NO_RANK is above every rank. */
struct small_joint {
    uint64_t rank;
    int32_t id;
};

static struct small_joint small_join(const struct tok_symbol *pair, const char *text, tok_join_fn *join,
                                     const void *ctx)
{
    struct tok_joint joint;
    if (!join(ctx, text, pair, pair + 1, &joint)) return (struct small_joint){.rank = NO_RANK};
    return (struct small_joint){.rank = joint.rank, .id = joint.id};
}

static size_t merge_small(struct tok_symbol *s, size_t n, const char *text, tok_join_fn *join,
                          const void *ctx)
{
    struct small_joint joints[TOK_MERGE_SMALL]; /* joints[i]: symbols i and i + 1 */
    for (size_t i = 0; i + 1 < n; i++) joints[i] = small_join(s + i, text, join, ctx);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (joints[i].rank < joints[best].rank) best = i;
        }
        if (joints[best].rank == NO_RANK) break;
        s[best].id = joints[best].id;
        s[best].len += s[best + 1].len;
        memmove(s + best + 1, s + best + 2, (n - best - 2) * sizeof *s);
        if (best + 2 < n) memmove(joints + best, joints + best + 1, (n - best - 2) * sizeof *joints);
        n--;
        if (best > 0) joints[best - 1] = small_join(s + best - 1, text, join, ctx);
        if (best + 1 < n) joints[best] = small_join(s + best, text, join, ctx);
    }
    return n;
}

/* A binary min-heap by `order`. */
struct heap {
    struct tok_candidate *at;
    size_t n;
};

static void sift_down(struct heap *h, size_t i)
{
    struct tok_candidate moving = h->at[i];
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->at[child + 1].order < h->at[child].order) child++;
        if (moving.order <= h->at[child].order) break;
        h->at[i] = h->at[child];
    }
    h->at[i] = moving;
}

static void heap_push(struct heap *h, struct tok_candidate c)
{
    size_t i = h->n++;
    for (; i > 0 && h->at[(i - 1) / 2].order > c.order; i = (i - 1) / 2) h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = c;
}

static struct tok_candidate heap_pop(struct heap *h)
{
    struct tok_candidate top = h->at[0];
    h->at[0] = h->at[--h->n];
    if (h->n > 1) sift_down(h, 0);
    return top;
}

struct large_merge {
    struct tok_merge *m;
    struct heap heap;
    const char *text;
    tok_join_fn *join;
    const void *ctx;
};

static bool find_candidate(const struct large_merge *l, int32_t left, struct tok_candidate *out)
{
    int32_t right = left < 0 ? -1 : l->m->links[left].next;
    struct tok_joint joint;
    if (right < 0) return false;
    const struct tok_symbol *a = &l->m->large[left], *b = &l->m->large[right];
    if (!l->join(l->ctx, l->text, a, b, &joint)) return false;
    *out = (struct tok_candidate){
        .order = (uint64_t)joint.rank << 32 | (uint32_t)left, .len = a->len + b->len, .id = joint.id};
    return true;
}

/* Joined-away symbols have length 0, and a pair only ever grows, so its length tells whether it is still
 * the pair that was looked up. */
static bool is_current(const struct large_merge *l, int32_t left, uint32_t len)
{
    int32_t right = l->m->links[left].next;
    if (!l->m->large[left].len || right < 0) return false;
    return l->m->large[left].len + l->m->large[right].len == len;
}

static void join_pair(struct large_merge *l, int32_t left, int32_t id)
{
    struct tok_link *links = l->m->links;
    struct tok_symbol *s = l->m->large;
    struct tok_candidate c;
    int32_t right = links[left].next;
    s[left].id = id;
    s[left].len += s[right].len;
    s[right].len = 0;
    links[left].next = links[right].next;
    if (links[left].next >= 0) links[links[left].next].prev = left;
    if (find_candidate(l, links[left].prev, &c)) heap_push(&l->heap, c);
    if (find_candidate(l, left, &c)) heap_push(&l->heap, c);
}

static size_t merge_large(struct large_merge *l, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        l->m->links[i] = (struct tok_link){(int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    }
    for (size_t i = 0; i < n; i++) {
        if (find_candidate(l, (int32_t)i, &l->heap.at[l->heap.n])) l->heap.n++;
    }
    for (size_t i = l->heap.n / 2; i-- > 0;) sift_down(&l->heap, i);
    while (l->heap.n) {
        struct tok_candidate c = heap_pop(&l->heap);
        int32_t left = (int32_t)(uint32_t)c.order;
        if (is_current(l, left, c.len)) join_pair(l, left, c.id);
    }
    size_t n_left = 0;
    for (size_t i = 0; i < n; i++) {
        if (l->m->large[i].len) l->m->large[n_left++] = l->m->large[i];
    }
    return n_left;
}

size_t tok_merge_run(struct tok_merge *m, struct tok_symbol *s, size_t n, const char *text, tok_join_fn *join,
                     const void *ctx)
{
    if (n <= TOK_MERGE_SMALL) return merge_small(s, n, text, join, ctx);
    struct large_merge l = {.m = m, .heap = {.at = m->heap}, .text = text, .join = join, .ctx = ctx};
    return merge_large(&l, n);
}

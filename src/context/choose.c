/* Choosing: greedily by worth per token, which for pieces much smaller than the budget is close to the best
 * (Dantzig 1957). Ties are broken by kind, path and place, so that the outcome depends on nothing else. */
#include "context/choose.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "context/shown.h"

/* Tokens that a piece costs besides its text, about: a file's name and what separates it. Also keeps the
 * smallest pieces from driving out all others. */
#define OVERHEAD_TOKENS 16
/* A budget with less left than a signature needs is used up. */
#define REST_TOKENS 8
/* As alike as a text and the same text somewhat edited; it takes some identifiers to tell. */
#define ALIKE_SIMILARITY  0.9
#define ALIKE_IDENTIFIERS 5

/* See enum context_kind. What is chosen by likeness alone is worth no more than a name that is sure to be
 * meant, unless it is very much alike. */
static const double weights[] = {
    [CONTEXT_ENCLOSING] = 10, [CONTEXT_EDIT] = 8,       [CONTEXT_SIMILAR] = 8, [CONTEXT_CLIENT] = 8,
    [CONTEXT_IMPORT] = 6,     [CONTEXT_DEFINITION] = 6, [CONTEXT_COMMENT] = 4, [CONTEXT_DISTANT] = 2,
};

/* What changes with what is worked on comes last, so that a change leaves most of a prompt as it was. */
static const int order[] = {
    [CONTEXT_DEFINITION] = 0, [CONTEXT_DISTANT] = 0, [CONTEXT_COMMENT] = 0,   [CONTEXT_SIMILAR] = 1,
    [CONTEXT_CLIENT] = 2,     [CONTEXT_EDIT] = 3,    [CONTEXT_ENCLOSING] = 4, [CONTEXT_IMPORT] = 4,
};

double choose_weight(enum context_kind kind)
{
    return weights[kind];
}

struct entry {
    const struct candidate *c;
    double score, per_token;
};

static int compare_place(const struct candidate *a, const struct candidate *b)
{
    int path = strcmp(a->path, b->path);
    if (path) return path;
    if (a->line != b->line) return a->line < b->line ? -1 : 1;
    if (a->from != b->from) return a->from < b->from ? -1 : 1;
    return a->to < b->to ? -1 : a->to > b->to;
}

static int compare_worth(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->per_token != y->per_token) return x->per_token > y->per_token ? -1 : 1;
    if (x->c->kind != y->c->kind) return x->c->kind < y->c->kind ? -1 : 1;
    int place = compare_place(x->c, y->c);
    return place ? place : x->c < y->c ? -1 : x->c > y->c; /* in the order in which they were gathered */
}

static int compare_shown(const void *a, const void *b)
{
    const struct choice *x = a, *y = b;
    int difference = order[x->candidate->kind] - order[y->candidate->kind];
    return difference ? difference : compare_place(x->candidate, y->candidate);
}

bool choice_joins(const struct choice *a, const struct choice *b)
{
    const struct candidate *x = a->candidate, *y = b->candidate;
    return order[x->kind] == order[y->kind] && x->doc == y->doc && strcmp(x->path, y->path) == 0;
}

enum err choose_count_tokens(const struct tokenizer *t, const char *text, size_t len, int32_t *n)
{
    struct token_list tokens = {0};
    if (!t) {
        *n = (int32_t)((len + FIM_BYTES_PER_TOKEN_MIN - 1) / FIM_BYTES_PER_TOKEN_MIN);
        return OK;
    }
    enum err err = tokenizer_encode(t, text, len, 0, &tokens);
    *n = tokens.n;
    token_list_clear(&tokens);
    return err;
}

static enum err show(const struct candidate *c, const struct secrets *secrets, struct choice *out)
{
    struct shown_text t = {secrets, c->whole ? c->whole : c->owned, c->whole ? c->whole_len : c->owned_len};
    size_t from = c->whole ? c->from : 0, to = c->whole ? c->to : c->owned_len;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    out->n_secrets = c->n_secrets;
    enum err err = shown_add(&t, from, to, to, &text, &text, &out->n_secrets);
    if (!err && text.len > 0 && text.data[text.len - 1] != '\n') buf_add_char(&text, '\n');
    if (!err) err = text.err;
    out->candidate = c;
    out->len = text.len;
    if (!err) out->text = buf_take(&text);
    buf_clear(&text);
    return err;
}

/* Overlapping lines, the same text, or nearly. */
static bool repeats(const struct choice *a, const struct choice *b)
{
    const struct candidate *x = a->candidate, *y = b->candidate;
    if (x->doc && x->doc == y->doc && x->from < y->to && y->from < x->to) return true;
    if (a->len == b->len && memcmp(a->text, b->text, a->len) == 0) return true;
    struct identifiers x_ids, y_ids;
    identifiers_of(a->text, a->len, &x_ids);
    identifiers_of(b->text, b->len, &y_ids);
    return x_ids.n >= ALIKE_IDENTIFIERS && identifiers_similarity(&x_ids, &y_ids) > ALIKE_SIMILARITY;
}

/* Take the candidate if it is new and there is room for it. */
static enum err consider(const struct entry *e, const struct choose_limits *l, struct choices *out)
{
    struct choice *c = &out->items[out->n];
    int32_t n_path = 0;
    bool is_named = false, is_known = false;
    *c = (struct choice){.score = e->score};
    enum err err = show(e->c, l->secrets, c);
    for (int32_t i = 0; i < out->n && !err; i++) {
        is_known = is_known || repeats(c, &out->items[i]);
        is_named = is_named || choice_joins(c, &out->items[i]);
    }
    if (!err) err = choose_count_tokens(l->tokenizer, c->text, c->len, &c->n_tokens);
    if (!err) err = choose_count_tokens(l->tokenizer, e->c->path, strlen(e->c->path), &n_path);
    /* A name's line and its separator, or the elision between joined pieces. */
    int32_t n = c->n_tokens + (is_named ? 4 : n_path + 3);
    if (!err && !is_known && out->n_tokens + n <= l->max_tokens) {
        out->n_tokens += n;
        out->n++;
    } else {
        mem_free(c->text);
    }
    return err;
}

enum err choose(struct candidates *from, const struct choose_limits *l, struct choices *out)
{
    if (from->n == 0) return OK;
    struct entry *entries = mem_try((size_t)from->n, sizeof *entries);
    if (!entries) return ERR_NOMEM;
    enum err err = OK;
    for (int32_t i = 0; i < from->n; i++) {
        const struct candidate *c = &from->items[i];
        double score = choose_weight(c->kind) * c->relevance;
        double n_tokens = (double)candidate_len(c) / l->bytes_per_token;
        entries[i] = (struct entry){c, score, score / (n_tokens + OVERHEAD_TOKENS)};
    }
    qsort(entries, (size_t)from->n, sizeof *entries, compare_worth);
    for (int32_t i = 0; i < from->n && !err; i++) {
        int32_t left = l->max_tokens - out->n_tokens;
        if (out->n == CHOICES_MAX || left < REST_TOKENS) break;
        /* Far too long to be worth counting; the estimate may be wrong by a third. */
        if ((double)candidate_len(entries[i].c) / l->bytes_per_token > left * 1.5) continue;
        err = consider(&entries[i], l, out);
    }
    mem_free(entries);
    if (!err) qsort(out->items, (size_t)out->n, sizeof *out->items, compare_shown);
    return err;
}

void choices_clear(struct choices *c)
{
    for (int32_t i = 0; i < c->n; i++) mem_free(c->items[i].text);
    *c = (struct choices){0};
}

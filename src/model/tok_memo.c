/* Comparing texts, and splicing tokens and marks. */
#include "model/tok_memo.h"

#include <string.h>

#include "base/mem.h"

/* Marks before a change where encoding begins: each stands for a word at least. */
#define MARKS_BACK 6
/* Bytes between marks. Words are a third as long: a mark for each would take more memory than the text and
 * its tokens together. */
#define MARK_DISTANCE 8

void token_memo_clear(struct token_memo *memo)
{
    mem_free(memo->text);
    mem_free(memo->marks);
    token_list_clear(&memo->tokens);
    *memo = (struct token_memo){0};
}

size_t token_memo_bytes(const struct token_memo *memo)
{
    return memo->text_cap + (size_t)memo->tokens.cap * sizeof *memo->tokens.ids +
           (size_t)memo->mark_cap * sizeof *memo->marks;
}

static size_t common_start(const char *a, const char *b, size_t max)
{
    size_t n = 0;
    uint64_t x, y;
    for (; n + sizeof x <= max; n += sizeof x) {
        memcpy(&x, a + n, sizeof x);
        memcpy(&y, b + n, sizeof y);
        if (x != y) break;
    }
    while (n < max && a[n] == b[n]) n++;
    return n;
}

/* Of the bytes before a and b. */
static size_t common_end(const char *a, const char *b, size_t max)
{
    size_t n = 0;
    uint64_t x, y;
    for (; n + sizeof x <= max; n += sizeof x) {
        memcpy(&x, a - n - sizeof x, sizeof x);
        memcpy(&y, b - n - sizeof y, sizeof y);
        if (x != y) break;
    }
    while (n < max && a[-1 - (ptrdiff_t)n] == b[-1 - (ptrdiff_t)n]) n++;
    return n;
}

/* The first mark at or after a byte. */
static int32_t find_mark(const struct token_memo *memo, size_t at)
{
    int32_t low = 0, high = memo->n_marks;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if ((size_t)memo->marks[middle].at < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool tok_change_begin(struct tok_change *c, struct token_memo *memo, const char *text, size_t len,
                      size_t max_token, size_t *from)
{
    size_t shorter = len < memo->len ? len : memo->len;
    size_t same = shorter > 0 ? common_start(text, memo->text, shorter) : 0;
    if (same == len && same == memo->len) return false;
    *c = (struct tok_change){.memo = memo, .text = text, .len = len};
    if (same < shorter) c->same_end = common_end(text + len, memo->text + memo->len, shorter - same);
    int32_t keep = find_mark(memo, same + 1) - 1 - MARKS_BACK; /* the last mark within `same`, and back */
    while (keep > 0 && (size_t)memo->marks[keep].at + max_token > same) keep--;
    c->keep = keep > 0 ? keep : 0;
    c->meet = find_mark(memo, memo->len - c->same_end);
    *from = c->keep > 0 ? (size_t)memo->marks[c->keep].at : 0;
    return true;
}

/* Does this word begin where one began before, with the same text behind it? */
static bool meets(struct tok_change *c, size_t at)
{
    const struct token_memo *memo = c->memo;
    if (c->len - at > c->same_end) return false;
    size_t before = memo->len - (c->len - at);
    while (c->meet < memo->n_marks && (size_t)memo->marks[c->meet].at < before) c->meet++;
    return c->meet < memo->n_marks && (size_t)memo->marks[c->meet].at == before;
}

bool tok_change_begins(void *ctx, const char *word, int32_t n_tokens)
{
    struct tok_change *c = ctx;
    size_t at = (size_t)(word - c->text);
    c->is_met = meets(c, at);
    if (c->is_met) return false;
    if (c->n_marks > 0 && at - (size_t)c->marks[c->n_marks - 1].at < MARK_DISTANCE) return true;
    if (c->n_marks == c->mark_cap) {
        int32_t cap = c->mark_cap ? 2 * c->mark_cap : 64;
        struct token_mark *marks = mem_try_resize(c->marks, (size_t)cap, sizeof *marks);
        c->is_out_of_memory = !marks;
        if (!marks) return false;
        c->marks = marks;
        c->mark_cap = cap;
    }
    c->marks[c->n_marks++] = (struct token_mark){.at = (int32_t)at, .first = n_tokens};
    return true;
}

/* Room for n things and some more: texts grow while somebody types. */
static int32_t with_slack(int32_t n)
{
    return n + n / 8 + 64;
}

static enum err reserve(struct token_memo *memo, int32_t len, int32_t n_tokens, int32_t n_marks)
{
    void *larger;
    if ((size_t)len > memo->text_cap) {
        size_t cap = (size_t)with_slack(len);
        if (!(larger = mem_try_resize(memo->text, cap, 1))) return ERR_NOMEM;
        memo->text = larger;
        memo->text_cap = cap;
    }
    if (n_tokens > memo->tokens.cap) {
        int32_t cap = with_slack(n_tokens);
        if (!(larger = mem_try_resize(memo->tokens.ids, (size_t)cap, sizeof *memo->tokens.ids)))
            return ERR_NOMEM;
        memo->tokens.ids = larger;
        memo->tokens.cap = cap;
    }
    if (n_marks > memo->mark_cap) {
        int32_t cap = with_slack(n_marks);
        if (!(larger = mem_try_resize(memo->marks, (size_t)cap, sizeof *memo->marks))) return ERR_NOMEM;
        memo->marks = larger;
        memo->mark_cap = cap;
    }
    return OK;
}

static enum err splice(struct tok_change *c)
{
    struct token_memo *memo = c->memo;
    int32_t meet = c->is_met ? c->meet : memo->n_marks;
    int32_t n_tail_marks = memo->n_marks - meet;
    int32_t tail_token = n_tail_marks > 0 ? memo->marks[meet].first : memo->tokens.n;
    int32_t n_tail = memo->tokens.n - tail_token;
    int32_t head = c->keep > 0 ? memo->marks[c->keep].first : 0;
    int32_t n_tokens = head + c->tokens.n + n_tail, n_marks = c->keep + c->n_marks + n_tail_marks;
    enum err err = reserve(memo, (int32_t)c->len, n_tokens, n_marks);
    if (err) return err;
    int32_t moved = head + c->tokens.n - tail_token, shift = (int32_t)(c->len - memo->len);
    int32_t *ids = memo->tokens.ids;
    struct token_mark *marks = memo->marks;
    memmove(ids + head + c->tokens.n, ids + tail_token, (size_t)n_tail * sizeof *ids);
    if (c->tokens.n > 0) memcpy(ids + head, c->tokens.ids, (size_t)c->tokens.n * sizeof *ids);
    struct token_mark *tail = marks + c->keep + c->n_marks;
    memmove(tail, marks + meet, (size_t)n_tail_marks * sizeof *marks);
    for (int32_t i = 0; i < n_tail_marks; i++) tail[i].at += shift, tail[i].first += moved;
    for (int32_t i = 0; i < c->n_marks; i++) {
        marks[c->keep + i] = c->marks[i];
        marks[c->keep + i].first += head;
    }
    if (c->len > 0) memcpy(memo->text, c->text, c->len);
    memo->len = c->len;
    memo->tokens.n = n_tokens;
    memo->n_marks = n_marks;
    return OK;
}

enum err tok_change_end(struct tok_change *c, enum err err)
{
    if (c->is_met) err = OK;
    if (c->is_out_of_memory) err = ERR_NOMEM;
    if (!err) err = splice(c);
    if (err) token_memo_clear(c->memo);
    token_list_clear(&c->tokens);
    mem_free(c->marks);
    return err;
}

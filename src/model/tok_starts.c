/* A counting sort by the first two bytes. Finer order would make loading a vocabulary slower than all the
 * searches that it saves: of 150 thousand tokens, a few hundred share two bytes, a few thousand at most. */
#include "model/tok_starts.h"

#include <string.h>

#include "base/mem.h"

/* For each first byte: no second one, or one of 256. */
#define SECONDS 257
#define STARTS  ((size_t)256 * SECONDS)

static size_t start_of(const char *bytes, size_t len)
{
    size_t second = len > 1 ? 1 + (size_t)(unsigned char)bytes[1] : 0;
    return (size_t)(unsigned char)bytes[0] * SECONDS + second;
}

enum err tok_starts_init(struct tok_starts *s, const struct tok_vocab *v)
{
    s->ids = mem_try((size_t)v->n + 1, sizeof *s->ids);
    s->first = mem_try(STARTS + 2, sizeof *s->first);
    if (!s->ids || !s->first) return ERR_NOMEM;
    /* Counts stand two places late: summed up, one place late are the places where the next token of a start
     * goes, which move on to where they belong as the tokens are put in. */
    for (int32_t id = 0; id < v->n; id++) {
        struct gguf_str piece = tok_vocab_piece(v, id);
        if (piece.len > 0) s->first[start_of(piece.data, piece.len) + 2]++;
    }
    for (size_t i = 2; i < STARTS + 2; i++) s->first[i] += s->first[i - 1];
    for (int32_t id = 0; id < v->n; id++) {
        struct gguf_str piece = tok_vocab_piece(v, id);
        if (piece.len > 0) s->ids[s->first[start_of(piece.data, piece.len) + 1]++] = id;
    }
    return OK;
}

void tok_starts_clear(struct tok_starts *s)
{
    mem_free(s->ids);
    mem_free(s->first);
    *s = (struct tok_starts){0};
}

void tok_starts_each(const struct tok_starts *s, const struct tok_vocab *v, const char *text, size_t len,
                     void (*fn)(void *ctx, int32_t id, size_t piece_len), void *ctx)
{
    /* The tokens of one byte, and those that go on as the text does; where it does not, any. */
    size_t alone = start_of(text, 1), longer = len > 1 ? start_of(text, len) : alone + 1;
    size_t n_longer = len > 1 ? 1 : SECONDS - 1;
    const size_t ranges[][2] = {{alone, alone + 1}, {longer, longer + n_longer}};
    for (size_t r = 0; r < 2; r++) {
        for (uint32_t i = s->first[ranges[r][0]]; i < s->first[ranges[r][1]]; i++) {
            struct gguf_str piece = tok_vocab_piece(v, s->ids[i]);
            size_t common = piece.len < len ? piece.len : len;
            if (memcmp(piece.data, text, common) == 0) fn(ctx, s->ids[i], piece.len);
        }
    }
}

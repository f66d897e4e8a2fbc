/* Laying out a FIM prompt within a budget of tokens.
 *
 * Text is measured with the model's own tokenizer, but never all of it: a window of a few bytes per token
 * of budget is cut first, and what the last prompt had in common with this one is not encoded again
 * (fim_memo.c). Where prefix and suffix do not fit, they are cut where fim_window.c says. The parts are
 * tokenised one by one, as in training (arXiv 2207.14255, section 3), and never parsed for special tokens. */
#include "context/fim.h"

#include <string.h>

#include "context/fim_layout.h"
#include "context/fim_memo.h"
#include "context/fim_window.h"
#include "model/model.h"

/* One fim_build. */
struct building {
    struct fim_layout l;
    const struct tokenizer *t;
    struct fim_memo *memo;
};

static enum err add_tokens(struct token_list *out, struct fim_tokens tokens)
{
    return token_list_add_all(out, tokens.ids, tokens.n);
}

/* Bytes of text that n tokens stand for. */
static size_t piece_bytes(const struct tokenizer *t, const int32_t *ids, int32_t n)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < n; i++) {
        size_t len;
        tokenizer_piece(t, ids[i], &len);
        bytes += len;
    }
    return bytes;
}

/* The end of a text that has too many tokens: `all` are those of its last bytes. Offsets are counted from the
 * start of the whole text: they are what the window is anchored to. */
static enum err cut_to_tail(const struct building *b, struct fim_span whole, struct fim_tokens all,
                            int32_t max, enum fim_place place, struct fim_tokens *out)
{
    size_t len = whole.len;
    for (*out = all; out->n > max;) {
        if (max <= 0) {
            out->n = 0;
            break;
        }
        size_t keep = piece_bytes(b->t, out->ids + out->n - max, max);
        if (keep >= len) keep = len - 1; /* the tokenizer's own space counts as a byte */
        size_t start = fim_span_start(whole, keep);
        len = whole.len - start;
        enum err err = fim_memo_encode(b->t, &b->memo->tail, whole.text + start, len, place, out);
        if (err) return err;
    }
    return OK;
}

/* The beginning of a text that has too many tokens: `all` are those of its first bytes. */
static enum err cut_to_head(const struct building *b, struct fim_span s, struct fim_tokens all, int32_t max,
                            struct fim_tokens *out)
{
    for (*out = all; out->n > max;) {
        if (max <= 0) {
            out->n = 0;
            break;
        }
        size_t keep = piece_bytes(b->t, out->ids, max);
        if (keep >= s.len) keep = s.len - 1;
        s.len = fim_span_end(s, keep);
        enum err err = fim_memo_encode(b->t, &b->memo->head, s.text, s.len, FIM_PLACE_JOINED, out);
        if (err) return err;
    }
    return OK;
}

/* All of the suffix if it fits into `left`, else what fits into its share. */
static enum err encode_suffix(const struct building *b, int32_t left, int32_t share, struct fim_tokens *out)
{
    struct fim_span after = {b->l.in->suffix, b->l.in->suffix_len};
    struct fim_tokens all;
    size_t max_bytes = (size_t)(left > share ? left : share) * FIM_BYTES_PER_TOKEN;
    size_t end = after.len > max_bytes ? fim_span_end(after, max_bytes) : after.len;
    enum err err = fim_memo_encode(b->t, &b->memo->suffix, after.text, end, FIM_PLACE_JOINED, &all);
    return err ? err : cut_to_head(b, after, all, all.n > left ? share : left, out);
}

/* Tokens by which the prefix can grow until one of the cuts moves. */
static int32_t room_to_grow(int32_t room, int32_t n_prefix, int32_t n_suffix, bool is_suffix_cut)
{
    size_t left = fim_room_left((size_t)room, (size_t)n_prefix, (size_t)n_suffix, is_suffix_cut);
    return left > FIM_ROOM_MARGIN ? (int32_t)left - FIM_ROOM_MARGIN : 0;
}

/* Prefix and suffix share `room` tokens. */
static enum err encode_window(const struct building *b, int32_t room, enum fim_place place,
                              struct fim_tokens *prefix, struct fim_tokens *suffix)
{
    struct fim_span before = {b->l.in->prefix, b->l.in->prefix_len};
    struct fim_tokens all;
    size_t max_bytes = (size_t)room * FIM_BYTES_PER_TOKEN;
    size_t start = before.len > max_bytes ? fim_span_start(before, max_bytes) : 0;
    enum err err =
        fim_memo_encode(b->t, &b->memo->prefix, before.text + start, before.len - start, place, &all);
    if (!err && b->l.f->order != FIM_PREFIX_ONLY) {
        int32_t left = room > all.n ? room - all.n : 0;
        err = encode_suffix(b, left, (int32_t)fim_suffix_share((size_t)room, (size_t)all.n), suffix);
    }
    if (!err) err = cut_to_tail(b, before, all, room - suffix->n, place, prefix);
    if (err) return err;
    bool is_cut = start > 0 || prefix->n != all.n;
    bool is_suffix_cut =
        b->l.f->order != FIM_PREFIX_ONLY && piece_bytes(b->t, suffix->ids, suffix->n) < b->l.in->suffix_len;
    b->memo->room = is_cut ? 0 : room_to_grow(room, all.n, suffix->n, is_suffix_cut);
    return OK;
}

/* ---- What stands before the window ---- */

/* Where the tokens of a part go. */
struct part_tokens {
    const struct tokenizer *t;
    struct token_list *out;
};

static enum err add_mark(void *ctx, int32_t token, const char *spelling)
{
    (void)spelling;
    struct part_tokens *part = ctx;
    return token_list_add(part->out, token);
}

static enum err add_text(void *ctx, const char *text, size_t len)
{
    struct part_tokens *part = ctx;
    struct token_memo scratch = {0};
    struct fim_tokens tokens;
    enum err err = fim_memo_encode(part->t, &scratch, text, len, FIM_PLACE_JOINED, &tokens);
    if (!err) err = add_tokens(part->out, tokens);
    token_memo_clear(&scratch);
    return err;
}

/* The tokens of a part, from the memo or into it. */
static enum err get_part(const struct building *b, enum fim_header_part part, const struct fim_file *file,
                         struct fim_tokens *out)
{
    struct fim_key key = fim_key_add((struct fim_key){.low = part}, file->path, strlen(file->path));
    key = fim_key_add(key, file->text, file->text_len);
    const char *comment = b->l.in->line_comment;
    if (b->l.is_text && comment) key = fim_key_add(key, comment, strlen(comment));
    if (fim_memo_find(b->memo, key, out)) return OK;
    struct token_list tokens = {0};
    struct fim_writer w = {add_mark, add_text, &(struct part_tokens){b->t, &tokens}};
    enum err err = fim_layout_part(&b->l, part, file, &w);
    if (!err) err = fim_memo_keep(b->memo, key, &tokens, out);
    token_list_clear(&tokens);
    return err;
}

struct header {
    const struct building *b;
    struct token_list *out;
};

static enum err measure_part(void *ctx, enum fim_header_part part, const struct fim_file *file, size_t most,
                             size_t *size)
{
    struct header *h = ctx;
    struct fim_tokens tokens;
    *size = SIZE_MAX;
    if (file->text_len / FIM_BYTES_PER_TOKEN > most) return OK;
    enum err err = get_part(h->b, part, file, &tokens);
    if (!err) *size = (size_t)tokens.n;
    return err;
}

static enum err write_part(void *ctx, enum fim_header_part part, const struct fim_file *file)
{
    struct header *h = ctx;
    struct fim_tokens tokens;
    enum err err = get_part(h->b, part, file, &tokens);
    return err ? err : add_tokens(h->out, tokens);
}

static enum err build_header(const struct building *b, int32_t room, struct token_list *out)
{
    struct fim_header_writer w = {measure_part, write_part, &(struct header){b, out}};
    return fim_layout_header(&b->l, (size_t)room, &w);
}

/* ---- The whole ---- */

static enum err assemble(const struct building *b, struct fim_tokens header, struct fim_tokens prefix,
                         struct fim_tokens suffix, struct token_list *out)
{
    const struct fim *f = b->l.f;
    const struct fim_tokens slots[] = {
        [FIM_SLOT_HEADER] = header, [FIM_SLOT_PREFIX_MARK] = {&f->prefix, 1},
        [FIM_SLOT_PREFIX] = prefix, [FIM_SLOT_SUFFIX_MARK] = {&f->suffix, 1},
        [FIM_SLOT_SUFFIX] = suffix, [FIM_SLOT_MIDDLE_MARK] = {&f->middle, f->middle != TOKEN_NONE}};
    enum fim_slot order[FIM_MAX_SLOTS];
    int32_t n = fim_layout_slots(&b->l, order);
    enum err err = OK;
    for (int32_t i = 0; i < n && !err; i++) err = add_tokens(out, slots[order[i]]);
    return err;
}

/* A prompt needs a token to predict from. Where there is no text, a fresh line is the most neutral one. */
static enum err add_some_token(const struct tokenizer *t, struct token_list *out)
{
    enum err err = tokenizer_encode(t, "\n", 1, 0, out);
    if (err || out->n > 0) return err;
    int32_t id = tokenizer_bos(t) != TOKEN_NONE ? tokenizer_bos(t) : tokenizer_eos(t);
    return token_list_add(out, id != TOKEN_NONE ? id : 0);
}

static enum err build(const struct building *b, int32_t room, bool has_bos, struct token_list *out)
{
    struct token_list header = {0};
    struct fim_tokens prefix = {0}, suffix = {0};
    enum err err = build_header(b, room, &header);
    enum fim_place place = header.n > 0 && b->l.is_inside ? FIM_PLACE_JOINED : FIM_PLACE_FRESH;
    if (!err) err = encode_window(b, room - header.n, place, &prefix, &suffix);
    if (!err && has_bos) err = token_list_add(out, tokenizer_bos(b->t));
    if (!err) err = assemble(b, (struct fim_tokens){header.ids, header.n}, prefix, suffix, out);
    if (!err && out->n == 0) err = add_some_token(b->t, out);
    token_list_clear(&header);
    return err;
}

enum err fim_build(const struct fim *f, const struct model *m, const struct fim_input *in, int32_t max_tokens,
                   struct fim_memo *memo, struct token_list *out, struct errmsg *msg)
{
    const struct tokenizer *t = m->tokenizer;
    struct fim_memo own = {0};
    struct building b = {.t = t, .memo = memo ? memo : &own};
    fim_layout_init(&b.l, f, in, f->repo != TOKEN_NONE, f->file != TOKEN_NONE);
    bool is_fim = f->order != FIM_PREFIX_ONLY,
         has_bos = tokenizer_adds_bos(t) && tokenizer_bos(t) != TOKEN_NONE;
    int32_t n_fixed = (has_bos ? 1 : 0) + (is_fim ? 2 + (f->middle != TOKEN_NONE) : 0);
    out->n = 0;
    if (max_tokens < n_fixed + 1) {
        return err_set(msg, ERR_LIMIT, "a prompt of %d tokens is too short; at least %d are needed",
                       max_tokens, n_fixed + 1);
    }
    enum err err = build(&b, max_tokens - n_fixed, has_bos, out);
    fim_memo_tidy(b.memo);
    fim_memo_clear(&own);
    return err ? err_set(msg, err, "cannot lay out the prompt: %s", err_text(err)) : OK;
}

int32_t fim_suffix_start(const struct fim *f, const struct token_list *prompt)
{
    int32_t i = prompt->n - 1;
    if (f->order != FIM_PSM) return prompt->n;
    while (i > 0 && prompt->ids[i] != f->suffix) i--;
    return i > 0 ? i : prompt->n;
}

enum fim_part_kind fim_part_at(const struct fim *f, const struct token_list *prompt, int32_t i)
{
    if (f->order == FIM_PREFIX_ONLY) return FIM_PART_PREFIX;
    for (; i >= 0; i--) {
        if (prompt->ids[i] == f->suffix) return FIM_PART_SUFFIX;
        if (prompt->ids[i] == f->prefix) return FIM_PART_PREFIX;
    }
    return FIM_PART_CONTEXT;
}

enum err fim_draft_text(const struct fim *f, const struct token_list *prompt, struct token_list *out)
{
    int32_t suffix = fim_suffix_start(f, prompt), middle = suffix + 1;
    if (suffix == prompt->n) return OK;
    while (middle < prompt->n && prompt->ids[middle] != f->middle) middle++;
    enum err err = token_list_add_all(out, prompt->ids + suffix + 1, middle - suffix - 1);
    return err ? err : token_list_add_all(out, prompt->ids, suffix);
}

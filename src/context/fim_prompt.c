/* Laying out a FIM prompt within a budget of tokens.
 *
 * Text is measured with the model's own tokenizer, but never all of it: a window of a few bytes per token
 * of budget is cut first. Where a prefix does not fit, its start is anchored: it moves in steps of about a
 * quarter of the window rather than with each typed character, so that successive prompts share their
 * beginning, and with it the KV cache. The parts are tokenised one by one, as in training (arXiv
 * 2207.14255, section 3), and never parsed for special tokens. */
#include "context/fim.h"

#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "context/fim_family.h"
#include "model/model.h"

struct span {
    const char *text;
    size_t len;
};

/* Where a part of the prompt stands, which decides about SentencePiece's space before the first word. */
enum place {
    PLACE_FRESH, /* starts a text: the space is there, if the tokenizer adds one */
    PLACE_JOINED /* goes on after other text or a suffix token: no space */
};

/* The space goes before a newline put in front, whose tokens are then dropped. Where the vocabulary merges
 * that newline with the text, the text is encoded with its space. */
static enum err encode_joined(const struct tokenizer *t, struct span s, struct token_list *out)
{
    struct token_list guard = {0}, guarded = {0};
    struct buf text;
    buf_init(&text, s.len + 1);
    buf_add_char(&text, '\n');
    buf_add(&text, s.text, s.len);
    enum err err = text.err;
    if (!err) err = tokenizer_encode(t, "\n", 1, 0, &guard);
    if (!err) err = tokenizer_encode(t, text.data, text.len, 0, &guarded);
    if (!err) {
        size_t guard_bytes = (size_t)guard.n * sizeof *guard.ids;
        bool is_apart = guarded.n >= guard.n && memcmp(guarded.ids, guard.ids, guard_bytes) == 0;
        err = is_apart ? token_list_add_all(out, guarded.ids + guard.n, guarded.n - guard.n)
                       : tokenizer_encode(t, s.text, s.len, 0, out);
    }
    buf_clear(&text);
    token_list_clear(&guard);
    token_list_clear(&guarded);
    return err;
}

static enum err encode(const struct tokenizer *t, struct span s, enum place place, struct token_list *out)
{
    if (s.len == 0) return OK;
    if (place == PLACE_JOINED && tokenizer_adds_space_prefix(t)) return encode_joined(t, s, out);
    return tokenizer_encode(t, s.text, s.len, 0, out);
}

static enum err encode_str(const struct tokenizer *t, const char *text, enum place place,
                           struct token_list *out)
{
    return text ? encode(t, (struct span){text, strlen(text)}, place, out) : OK;
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

/* Where to start so that at most the last `keep` bytes remain: at the first line after the next multiple of a
 * quarter of them; or, where that would drop half of the text that fits, at the next character. The quarter
 * is rounded down to a power of two, because `keep` itself changes with each edit. */
static size_t anchor_start(struct span s, size_t keep)
{
    size_t least = s.len - keep, step = 1;
    while (step <= keep / 8) step *= 2;
    size_t rounded = (least + step - 1) / step * step;
    if (rounded > 0 && rounded < s.len) {
        const char *newline = memchr(s.text + rounded - 1, '\n', s.len - rounded + 1);
        size_t line = newline ? (size_t)(newline - s.text) + 1 : s.len;
        if (s.len - line >= keep / 2 && line < s.len) return line;
    }
    while (least < s.len && utf8_is_continuation(s.text[least])) least++;
    return least;
}

/* Where to end so that at most the first `keep` bytes remain: after a line, or else after a character. */
static size_t cut_end(struct span s, size_t keep)
{
    const char *newline = keep > 0 ? memrchr(s.text, '\n', keep) : NULL;
    size_t line = newline ? (size_t)(newline - s.text) + 1 : 0;
    if (line > keep / 2) return line;
    while (keep > 0 && utf8_is_continuation(s.text[keep])) keep--;
    return keep;
}

/* The end of a text in at most max tokens. Offsets are counted from the start of the whole text, also after
 * a first cut: they are what the window is anchored to. */
static enum err encode_tail(const struct tokenizer *t, struct span whole, int32_t max, enum place place,
                            struct token_list *out)
{
    struct span s = whole;
    size_t keep = (size_t)max * FIM_BYTES_PER_TOKEN;
    for (;;) {
        out->n = 0;
        if (max <= 0) return OK;
        if (s.len > keep) {
            size_t start = anchor_start(whole, keep);
            s = (struct span){whole.text + start, whole.len - start};
        }
        enum err err = encode(t, s, place, out);
        if (err || out->n <= max) return err;
        keep = piece_bytes(t, out->ids + out->n - max, max);
        if (keep >= s.len) keep = s.len - 1; /* the tokenizer's own space counts as a byte */
    }
}

/* The beginning of a text in at most max tokens. */
static enum err encode_head(const struct tokenizer *t, struct span s, int32_t max, enum place place,
                            struct token_list *out)
{
    size_t keep = (size_t)max * FIM_BYTES_PER_TOKEN;
    for (;;) {
        out->n = 0;
        if (max <= 0) return OK;
        if (s.len > keep) s.len = cut_end(s, keep);
        enum err err = encode(t, s, place, out);
        if (err || out->n <= max) return err;
        keep = piece_bytes(t, out->ids, max);
        if (keep >= s.len) keep = s.len - 1;
    }
}

/* Prefix and suffix share `room` tokens: the suffix gets a quarter, or what the prefix leaves. */
static enum err encode_window(const struct fim *f, const struct tokenizer *t, const struct fim_input *in,
                              int32_t room, enum place prefix_place, struct token_list *prefix,
                              struct token_list *suffix)
{
    struct span before = {in->prefix, in->prefix_len}, after = {in->suffix, in->suffix_len};
    enum err err = encode_tail(t, before, room, prefix_place, prefix);
    if (err || f->order == FIM_PREFIX_ONLY) return err;
    int32_t quarter = room / 4, left = room - prefix->n;
    err = encode_head(t, after, left > quarter ? left : quarter, PLACE_JOINED, suffix);
    if (err || prefix->n <= room - suffix->n) return err;
    return encode_tail(t, before, room - suffix->n, prefix_place, prefix);
}

/* A line that names a file, as the family writes it. */
static enum err add_file_name(const struct fim *f, const struct tokenizer *t, const char *path,
                              struct token_list *out)
{
    enum err err = OK;
    if (f->row->files != FIM_FILES_BETWEEN) {
        err = f->file != TOKEN_NONE ? token_list_add(out, f->file)
                                    : encode_str(t, f->row->file_mark, PLACE_JOINED, out);
    }
    if (!err) err = encode_str(t, path, PLACE_JOINED, out);
    if (!err) err = encode_str(t, "\n", PLACE_JOINED, out);
    return err;
}

static enum err add_file(const struct fim *f, const struct tokenizer *t, const struct fim_file *file,
                         struct token_list *out)
{
    const struct fim_family *row = f->row;
    enum err err = add_file_name(f, t, file->path, out);
    if (!err) err = encode(t, (struct span){file->text, file->text_len}, PLACE_JOINED, out);
    bool ends_line = file->text_len > 0 && file->text[file->text_len - 1] == '\n';
    if (!err && !ends_line) err = encode_str(t, "\n", PLACE_JOINED, out);
    if (!err) err = encode_str(t, row->file_gap, PLACE_JOINED, out);
    if (!err && row->files == FIM_FILES_BETWEEN) err = token_list_add(out, f->file);
    return err;
}

/* True if prompts of this model can name files. */
static bool names_files(const struct fim *f)
{
    if (f->row->files == FIM_FILES_NONE) return false;
    return f->file != TOKEN_NONE || (f->row->file_mark && f->row->files != FIM_FILES_BETWEEN);
}

/* The other files in their order, as many of the nearest as fit into max tokens. */
static enum err add_files(const struct fim *f, const struct tokenizer *t, const struct fim_input *in,
                          int32_t max, struct token_list *out)
{
    struct token_list part = {0}, nearer = {0};
    enum err err = OK;
    int32_t left = max;
    for (int32_t i = in->n_files - 1; i >= 0 && !err; i--) {
        if (in->files[i].text_len / FIM_BYTES_PER_TOKEN > (size_t)left) break;
        part.n = 0;
        err = add_file(f, t, &in->files[i], &part);
        if (err || part.n > left) break;
        left -= part.n;
        err = token_list_add_all(&part, nearer.ids, nearer.n);
        struct token_list swap = part;
        part = nearer;
        nearer = swap;
    }
    if (!err) err = token_list_add_all(out, nearer.ids, nearer.n);
    token_list_clear(&part);
    token_list_clear(&nearer);
    return err;
}

/* What stands before the window: the project's name, other files, the edited file's name. The name goes
 * first when there is little room, and the other files take at most half. */
static enum err build_header(const struct fim *f, const struct tokenizer *t, const struct fim_input *in,
                             int32_t room, struct token_list *out)
{
    if (!names_files(f)) return OK;
    struct token_list name = {0};
    enum err err = OK;
    if (in->path) err = add_file_name(f, t, in->path, &name);
    if (name.n > room / 4) name.n = 0;
    if (!err && in->repo && f->repo != TOKEN_NONE) {
        err = token_list_add(out, f->repo);
        if (!err) err = encode_str(t, in->repo, PLACE_JOINED, out);
        if (!err) err = encode_str(t, "\n", PLACE_JOINED, out);
        if (out->n > room / 4) out->n = 0;
    }
    if (!err) err = add_files(f, t, in, room / 2 - name.n - out->n, out);
    if (!err) err = token_list_add_all(out, name.ids, name.n);
    token_list_clear(&name);
    return err;
}

static enum err add_part(int32_t opener, const struct token_list *header, const struct token_list *text,
                         struct token_list *out)
{
    enum err err = token_list_add(out, opener);
    if (!err && header) err = token_list_add_all(out, header->ids, header->n);
    return err ? err : token_list_add_all(out, text->ids, text->n);
}

static enum err assemble(const struct fim *f, const struct token_list *header,
                         const struct token_list *prefix, const struct token_list *suffix,
                         struct token_list *out)
{
    bool is_inside = f->row->files == FIM_FILES_IN_PREFIX;
    const struct token_list *inner = is_inside ? header : NULL;
    enum err err = OK;
    if (!is_inside) err = token_list_add_all(out, header->ids, header->n);
    if (!err && f->order == FIM_SPM) err = add_part(f->suffix, NULL, suffix, out);
    if (!err) err = add_part(f->prefix, inner, prefix, out);
    if (!err && f->order == FIM_PSM) err = add_part(f->suffix, NULL, suffix, out);
    if (!err && f->middle != TOKEN_NONE) err = token_list_add(out, f->middle);
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

enum err fim_build(const struct fim *f, const struct model *m, const struct fim_input *in, int32_t max_tokens,
                   struct token_list *out, struct errmsg *msg)
{
    const struct tokenizer *t = m->tokenizer;
    struct token_list header = {0}, prefix = {0}, suffix = {0};
    bool is_fim = f->order != FIM_PREFIX_ONLY,
         has_bos = tokenizer_adds_bos(t) && tokenizer_bos(t) != TOKEN_NONE;
    int32_t n_fixed = (has_bos ? 1 : 0) + (is_fim ? 2 + (f->middle != TOKEN_NONE) : 0);
    int32_t room = max_tokens - n_fixed;
    out->n = 0;
    if (room < 1) {
        return err_set(msg, ERR_LIMIT, "a prompt of %d tokens is too short; at least %d are needed",
                       max_tokens, n_fixed + 1);
    }
    enum err err = OK;
    if (is_fim) err = build_header(f, t, in, room, &header);
    bool continues = header.n > 0 && f->row->files == FIM_FILES_IN_PREFIX;
    if (!err) {
        err = encode_window(f, t, in, room - header.n, continues ? PLACE_JOINED : PLACE_FRESH, &prefix,
                            &suffix);
    }
    if (!err && has_bos) err = token_list_add(out, tokenizer_bos(t));
    if (!err)
        err = is_fim ? assemble(f, &header, &prefix, &suffix, out)
                     : token_list_add_all(out, prefix.ids, prefix.n);
    if (!err && out->n == 0) err = add_some_token(t, out);
    token_list_clear(&header);
    token_list_clear(&prefix);
    token_list_clear(&suffix);
    return err ? err_set(msg, err, "cannot lay out the prompt: %s", err_text(err)) : OK;
}

int32_t fim_suffix_start(const struct fim *f, const struct token_list *prompt)
{
    int32_t i = prompt->n - 1;
    if (f->order != FIM_PSM) return prompt->n;
    while (i > 0 && prompt->ids[i] != f->suffix) i--;
    return i > 0 ? i : prompt->n;
}

enum err fim_draft_text(const struct fim *f, const struct token_list *prompt, struct token_list *out)
{
    int32_t suffix = fim_suffix_start(f, prompt), middle = suffix + 1;
    if (suffix == prompt->n) return OK;
    while (middle < prompt->n && prompt->ids[middle] != f->middle) middle++;
    enum err err = token_list_add_all(out, prompt->ids + suffix + 1, middle - suffix - 1);
    return err ? err : token_list_add_all(out, prompt->ids, suffix);
}

/* Laying out a FIM prompt within a budget of tokens.
 *
 * Text is measured with the model's own tokenizer, but never all of it: a window of a few bytes per token
 * of budget is cut first, and what the last prompt had in common with this one is not encoded again
 * (fim_memo.c). Where a prefix does not fit, its start is anchored: it moves in steps of about a quarter of
 * the window rather than with each typed character, and the suffix' share is counted in quarters, so that
 * successive prompts share their beginning, and with it the KV cache. The parts are tokenised one by one, as
 * in training (arXiv 2207.14255, section 3), and never parsed for special tokens. */
#include "context/fim.h"

#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "context/fim_family.h"
#include "context/fim_memo.h"
#include "model/model.h"

struct span {
    const char *text;
    size_t len;
};

/* One fim_build. */
struct layout {
    const struct fim *f;
    const struct tokenizer *t;
    const struct fim_input *in;
    struct fim_memo *memo;
    bool is_text; /* other files are shown as text */
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

/* The end of a text that has too many tokens: `all` are those of its last bytes. Offsets are counted from the
 * start of the whole text: they are what the window is anchored to. */
static enum err cut_to_tail(const struct layout *l, struct span whole, struct fim_tokens all, int32_t max,
                            enum fim_place place, struct fim_tokens *out)
{
    size_t len = whole.len;
    for (*out = all; out->n > max;) {
        if (max <= 0) {
            out->n = 0;
            break;
        }
        size_t keep = piece_bytes(l->t, out->ids + out->n - max, max);
        if (keep >= len) keep = len - 1; /* the tokenizer's own space counts as a byte */
        size_t start = anchor_start(whole, keep);
        len = whole.len - start;
        enum err err = fim_memo_encode(l->t, &l->memo->tail, whole.text + start, len, place, out);
        if (err) return err;
    }
    return OK;
}

/* The beginning of a text that has too many tokens: `all` are those of its first bytes. */
static enum err cut_to_head(const struct layout *l, struct span s, struct fim_tokens all, int32_t max,
                            struct fim_tokens *out)
{
    for (*out = all; out->n > max;) {
        if (max <= 0) {
            out->n = 0;
            break;
        }
        size_t keep = piece_bytes(l->t, out->ids, max);
        if (keep >= s.len) keep = s.len - 1;
        s.len = cut_end(s, keep);
        enum err err = fim_memo_encode(l->t, &l->memo->head, s.text, s.len, FIM_PLACE_JOINED, out);
        if (err) return err;
    }
    return OK;
}

/* Tokens for the suffix where it does not fit: the quarters of the room that the prefix leaves, at least one.
 */
static int32_t suffix_share(int32_t room, int32_t n_prefix)
{
    int32_t quarter = room / 4;
    int32_t n_taken = quarter > 0 ? (n_prefix + quarter - 1) / quarter : 4;
    return n_taken < 3 ? room - n_taken * quarter : quarter;
}

/* All of the suffix if it fits into `left`, else what fits into its share. */
static enum err encode_suffix(const struct layout *l, int32_t left, int32_t share, struct fim_tokens *out)
{
    struct span after = {l->in->suffix, l->in->suffix_len};
    struct fim_tokens all;
    size_t max_bytes = (size_t)(left > share ? left : share) * FIM_BYTES_PER_TOKEN;
    size_t end = after.len > max_bytes ? cut_end(after, max_bytes) : after.len;
    enum err err = fim_memo_encode(l->t, &l->memo->suffix, after.text, end, FIM_PLACE_JOINED, &all);
    return err ? err : cut_to_head(l, after, all, all.n > left ? share : left, out);
}

/* Tokens by which the prefix can grow until one of the cuts moves: none where it is cut itself; else until it
 * needs another quarter of a suffix that is cut, or all of the room. */
static int32_t room_to_grow(const struct layout *l, int32_t room, int32_t n_prefix, int32_t n_suffix,
                            bool is_suffix_cut)
{
    int32_t left = room - n_prefix - n_suffix, quarter = room / 4;
    if (is_suffix_cut && l->f->order != FIM_PREFIX_ONLY) {
        int32_t to_quarter = quarter > 0 ? (quarter - n_prefix % quarter) % quarter : 0;
        if (to_quarter < left) left = to_quarter;
    }
    left -= FIM_ROOM_MARGIN;
    return left > 0 ? left : 0;
}

/* Prefix and suffix share `room` tokens. */
static enum err encode_window(const struct layout *l, int32_t room, enum fim_place place,
                              struct fim_tokens *prefix, struct fim_tokens *suffix)
{
    struct span before = {l->in->prefix, l->in->prefix_len};
    struct fim_tokens all;
    size_t max_bytes = (size_t)room * FIM_BYTES_PER_TOKEN;
    size_t start = before.len > max_bytes ? anchor_start(before, max_bytes) : 0;
    enum err err =
        fim_memo_encode(l->t, &l->memo->prefix, before.text + start, before.len - start, place, &all);
    if (!err && l->f->order != FIM_PREFIX_ONLY) {
        int32_t left = room > all.n ? room - all.n : 0;
        err = encode_suffix(l, left, suffix_share(room, all.n), suffix);
    }
    if (!err) err = cut_to_tail(l, before, all, room - suffix->n, place, prefix);
    if (err) return err;
    bool is_cut = start > 0 || prefix->n != all.n;
    bool is_suffix_cut = piece_bytes(l->t, suffix->ids, suffix->n) < l->in->suffix_len;
    l->memo->room = is_cut ? 0 : room_to_grow(l, room, all.n, suffix->n, is_suffix_cut);
    return OK;
}

/* ---- What stands before the window ---- */

enum part { PART_REPO, PART_NAME, PART_FILE };

static enum err add_text(const struct layout *l, const char *text, size_t len, struct token_list *out)
{
    struct token_memo scratch = {0};
    struct fim_tokens tokens;
    enum err err = fim_memo_encode(l->t, &scratch, text, len, FIM_PLACE_JOINED, &tokens);
    if (!err) err = add_tokens(out, tokens);
    token_memo_clear(&scratch);
    return err;
}

static enum err add_str(const struct layout *l, const char *text, struct token_list *out)
{
    return text ? add_text(l, text, strlen(text), out) : OK;
}

/* A line that names a file, as the family writes it. */
static enum err add_file_name(const struct layout *l, const char *path, struct token_list *out)
{
    const struct fim *f = l->f;
    enum err err = OK;
    if (f->row->files != FIM_FILES_BETWEEN) {
        err = f->file != TOKEN_NONE ? token_list_add(out, f->file) : add_str(l, f->row->file_mark, out);
    }
    if (!err) err = add_str(l, path, out);
    return err ? err : add_str(l, "\n", out);
}

static bool ends_line(const struct fim_file *file)
{
    return file->text_len > 0 && file->text[file->text_len - 1] == '\n';
}

static enum err add_file(const struct layout *l, const struct fim_file *file, struct token_list *out)
{
    const struct fim_family *row = l->f->row;
    enum err err = add_file_name(l, file->path, out);
    if (!err) err = add_text(l, file->text, file->text_len, out);
    if (!err && !ends_line(file)) err = add_str(l, "\n", out);
    if (!err) err = add_str(l, row->file_gap, out);
    if (!err && row->files == FIM_FILES_BETWEEN) err = token_list_add(out, l->f->file);
    return err;
}

static const char *line_comment(const struct layout *l)
{
    return l->in->line_comment ? l->in->line_comment : "#";
}

/* The same for a model that knows no format: one text, as it might stand in a file. */
static enum err add_as_text(const struct layout *l, enum part part, const struct fim_file *file,
                            struct token_list *out)
{
    struct buf text;
    buf_init(&text, file->text_len + strlen(file->path) + strlen(line_comment(l)) + 8);
    buf_printf(&text, "%s %s\n", line_comment(l), file->path);
    if (part == PART_FILE) {
        buf_add(&text, file->text, file->text_len);
        buf_add_str(&text, ends_line(file) ? "\n" : "\n\n");
    }
    enum err err = text.err ? text.err : add_text(l, text.data, text.len, out);
    buf_clear(&text);
    return err;
}

static enum err add_repo(const struct layout *l, const char *name, struct token_list *out)
{
    enum err err = token_list_add(out, l->f->repo);
    if (!err) err = add_str(l, name, out);
    return err ? err : add_str(l, "\n", out);
}

/* The tokens of a part, from the memo or into it. A name is a file without text. */
static enum err get_part(const struct layout *l, enum part part, const struct fim_file *file,
                         struct fim_tokens *out)
{
    struct fim_key key = fim_key_add((struct fim_key){.low = part}, file->path, strlen(file->path));
    key = fim_key_add(key, file->text, file->text_len);
    if (l->is_text) key = fim_key_add(key, line_comment(l), strlen(line_comment(l)));
    if (fim_memo_find(l->memo, key, out)) return OK;
    struct token_list tokens = {0};
    enum err err;
    if (l->is_text)
        err = add_as_text(l, part, file, &tokens);
    else if (part == PART_REPO)
        err = add_repo(l, file->path, &tokens);
    else
        err = part == PART_NAME ? add_file_name(l, file->path, &tokens) : add_file(l, file, &tokens);
    if (!err) err = fim_memo_keep(l->memo, key, &tokens, out);
    token_list_clear(&tokens);
    return err;
}

/* The other files in their order, as many of the nearest as fit into max tokens. */
static enum err add_files(const struct layout *l, int32_t max, struct token_list *out)
{
    const struct fim_input *in = l->in;
    struct fim_tokens tokens;
    int32_t first = in->n_files;
    enum err err = OK;
    for (; first > 0; first--) {
        const struct fim_file *file = &in->files[first - 1];
        if (file->text_len / FIM_BYTES_PER_TOKEN > (size_t)max) break;
        err = get_part(l, PART_FILE, file, &tokens);
        if (err) return err;
        if (tokens.n > max) break;
        max -= tokens.n;
    }
    for (; first < in->n_files && !err; first++) {
        err = get_part(l, PART_FILE, &in->files[first], &tokens);
        if (!err) err = add_tokens(out, tokens);
    }
    return err;
}

/* The project's name, other files, the edited file's name. The names go first when there is little room, and
 * the other files take at most half. Where all of this is text, the edited file is named only to tell it from
 * others. */
static enum err build_header(const struct layout *l, int32_t room, struct token_list *out)
{
    const struct fim_input *in = l->in;
    struct fim_tokens name = {0}, repo = {0};
    enum err err = OK;
    if (in->path && (!l->is_text || in->n_files > 0))
        err = get_part(l, PART_NAME, &(struct fim_file){.path = in->path}, &name);
    if (!err && in->repo && !l->is_text && l->f->repo != TOKEN_NONE)
        err = get_part(l, PART_REPO, &(struct fim_file){.path = in->repo}, &repo);
    if (err) return err;
    if (name.n > room / 4) name.n = 0;
    if (repo.n > room / 4) repo.n = 0;
    err = add_tokens(out, repo);
    if (!err) err = add_files(l, room / 2 - name.n - repo.n, out);
    if (l->is_text && out->n == 0) return err;
    return err ? err : add_tokens(out, name);
}

/* True if prompts of this model name files in a format of their own. */
static bool has_file_format(const struct fim *f)
{
    if (f->row->files == FIM_FILES_AS_TEXT) return false;
    return f->file != TOKEN_NONE || (f->row->file_mark && f->row->files != FIM_FILES_BETWEEN);
}

/* ---- The whole ---- */

static enum err add_part(int32_t opener, struct fim_tokens header, struct fim_tokens text,
                         struct token_list *out)
{
    enum err err = opener == TOKEN_NONE ? OK : token_list_add(out, opener);
    if (!err) err = add_tokens(out, header);
    return err ? err : add_tokens(out, text);
}

static enum err assemble(const struct layout *l, struct fim_tokens header, struct fim_tokens prefix,
                         struct fim_tokens suffix, struct token_list *out)
{
    const struct fim *f = l->f;
    if (f->order == FIM_PREFIX_ONLY) return add_part(TOKEN_NONE, header, prefix, out);
    bool is_inside = l->is_text || f->row->files == FIM_FILES_IN_PREFIX;
    const struct fim_tokens none = {0};
    enum err err = is_inside ? OK : add_tokens(out, header);
    if (!err && f->order == FIM_SPM) err = add_part(f->suffix, none, suffix, out);
    if (!err) err = add_part(f->prefix, is_inside ? header : none, prefix, out);
    if (!err && f->order == FIM_PSM) err = add_part(f->suffix, none, suffix, out);
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

static enum err build(const struct layout *l, int32_t room, bool has_bos, struct token_list *out)
{
    struct token_list header = {0};
    struct fim_tokens prefix = {0}, suffix = {0};
    enum err err = build_header(l, room, &header);
    bool continues = header.n > 0 && (l->is_text || l->f->row->files == FIM_FILES_IN_PREFIX);
    enum fim_place place = continues ? FIM_PLACE_JOINED : FIM_PLACE_FRESH;
    if (!err) err = encode_window(l, room - header.n, place, &prefix, &suffix);
    if (!err && has_bos) err = token_list_add(out, tokenizer_bos(l->t));
    if (!err) err = assemble(l, (struct fim_tokens){header.ids, header.n}, prefix, suffix, out);
    if (!err && out->n == 0) err = add_some_token(l->t, out);
    token_list_clear(&header);
    return err;
}

enum err fim_build(const struct fim *f, const struct model *m, const struct fim_input *in, int32_t max_tokens,
                   struct fim_memo *memo, struct token_list *out, struct errmsg *msg)
{
    const struct tokenizer *t = m->tokenizer;
    struct fim_memo own = {0};
    struct layout l = {.f = f, .t = t, .in = in, .memo = memo ? memo : &own, .is_text = !has_file_format(f)};
    bool is_fim = f->order != FIM_PREFIX_ONLY,
         has_bos = tokenizer_adds_bos(t) && tokenizer_bos(t) != TOKEN_NONE;
    int32_t n_fixed = (has_bos ? 1 : 0) + (is_fim ? 2 + (f->middle != TOKEN_NONE) : 0);
    out->n = 0;
    if (max_tokens < n_fixed + 1) {
        return err_set(msg, ERR_LIMIT, "a prompt of %d tokens is too short; at least %d are needed",
                       max_tokens, n_fixed + 1);
    }
    enum err err = build(&l, max_tokens - n_fixed, has_bos, out);
    fim_memo_tidy(l.memo);
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

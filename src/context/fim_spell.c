/* A prompt as text, for a server that has the tokenizer and reads the names of special tokens as those
 * tokens.
 *
 * It is laid out as fim_build does, sizes counted in bytes. What a document holds is to stay text there:
 * where it spells one of the family's tokens, a space after that token's first character breaks the spelling
 * up. Tokens of other families mean nothing to the server's tokenizer and stay as they are. */
#include "context/fim.h"

#include <string.h>

#include "base/buf.h"
#include "context/fim_family.h"
#include "context/fim_layout.h"

/* In front of a token's name SentencePiece's space stands for a space of the text. */
static bool begins_with_space(const char *mark)
{
    return strncmp(mark, FIM_SPACE, strlen(FIM_SPACE)) == 0;
}

static void add_mark(const char *mark, struct buf *out)
{
    if (begins_with_space(mark)) {
        if (out->len > 0) buf_add_char(out, ' '); /* at the start the tokenizer adds its own */
        mark += strlen(FIM_SPACE);
    }
    buf_add_str(out, mark);
}

/* ---- Text that stays text ---- */

#define MAX_SPELLINGS (5 + sizeof((struct fim_family){0}).ends / sizeof(char *))

/* How the family spells its tokens, without a space in front. */
struct spellings {
    const char *items[MAX_SPELLINGS];
    size_t lens[MAX_SPELLINGS];
    int32_t n;
    bool is_first[256]; /* of a spelling: most bytes of a text are not */
};

static void add_spelling(struct spellings *s, const char *mark)
{
    if (!mark) return;
    s->items[s->n] = begins_with_space(mark) ? mark + strlen(FIM_SPACE) : mark;
    s->lens[s->n] = strlen(s->items[s->n]);
    s->is_first[(unsigned char)s->items[s->n][0]] = true;
    s->n++;
}

static struct spellings spellings_of(const struct fim_family *row)
{
    struct spellings s = {0};
    add_spelling(&s, row->prefix);
    add_spelling(&s, row->suffix);
    add_spelling(&s, row->middle);
    add_spelling(&s, row->repo);
    add_spelling(&s, row->file);
    for (size_t i = 0; i < sizeof row->ends / sizeof row->ends[0]; i++) add_spelling(&s, row->ends[i]);
    return s;
}

/* Where the next token is spelled in text[at..len); len: nowhere. */
static size_t find_spelling(const struct spellings *s, const char *text, size_t len, size_t at)
{
    for (; at < len; at++) {
        if (!s->is_first[(unsigned char)text[at]]) continue;
        for (int32_t i = 0; i < s->n; i++) {
            if (s->lens[i] <= len - at && memcmp(text + at, s->items[i], s->lens[i]) == 0) return at;
        }
    }
    return len;
}

static size_t count_spellings(const struct spellings *s, const char *text, size_t len)
{
    size_t n = 0;
    for (size_t at = 0; (at = find_spelling(s, text, len, at)) < len; at++) n++;
    return n;
}

static void add_text(const struct spellings *s, const char *text, size_t len, struct buf *out)
{
    size_t from = 0;
    while (from < len) {
        size_t at = find_spelling(s, text, len, from);
        size_t to = at < len ? at + 1 : len;
        buf_add(out, text + from, to - from);
        if (at < len) buf_add_char(out, ' ');
        from = to;
    }
}

void fim_spell_text(const struct fim *f, const char *text, size_t len, struct buf *out)
{
    struct spellings s = spellings_of(f->row);
    add_text(&s, text, len, out);
}

/* ---- What stands before the window ---- */

struct speller {
    struct fim_layout l;
    struct spellings spellings;
    struct buf header, part; /* part: to be measured */
};

struct sink {
    const struct spellings *spellings;
    struct buf *out;
};

static enum err sink_mark(void *ctx, int32_t token, const char *spelling)
{
    (void)token;
    struct sink *sink = ctx;
    add_mark(spelling, sink->out);
    return sink->out->err;
}

static enum err sink_text(void *ctx, const char *text, size_t len)
{
    struct sink *sink = ctx;
    add_text(sink->spellings, text, len, sink->out);
    return sink->out->err;
}

static enum err spell_part(struct speller *s, enum fim_header_part part, const struct fim_file *file,
                           struct buf *out)
{
    struct fim_writer w = {sink_mark, sink_text, &(struct sink){&s->spellings, out}};
    return fim_layout_part(&s->l, part, file, &w);
}

static enum err measure_part(void *ctx, enum fim_header_part part, const struct fim_file *file, size_t most,
                             size_t *size)
{
    struct speller *s = ctx;
    *size = SIZE_MAX;
    if (file->text_len > most) return OK;
    buf_reset(&s->part);
    enum err err = spell_part(s, part, file, &s->part);
    if (!err) *size = s->part.len;
    return err;
}

static enum err write_part(void *ctx, enum fim_header_part part, const struct fim_file *file)
{
    struct speller *s = ctx;
    return spell_part(s, part, file, &s->header);
}

/* ---- The whole ---- */

/* A window of at most `room` bytes, those included that break up spellings: as many are set aside as there
 * are in what is shown. Text that is typed changes nothing of this while it has room at each step. */
static void cut_window(const struct speller *s, size_t room, struct fim_window *out)
{
    size_t n_aside = 0;
    int32_t least = INT32_MAX;
    for (;;) {
        fim_cut_bytes(s->l.f->order, s->l.in, room - n_aside, out);
        if (out->room < least) least = out->room;
        size_t n = count_spellings(&s->spellings, out->prefix, out->prefix_len) +
                   count_spellings(&s->spellings, out->suffix, out->suffix_len);
        if (n <= n_aside) break;
        n_aside = n; /* fewer than the window's bytes */
    }
    out->room = least;
}

static void add_prefix_mark(const struct fim_family *row, struct buf *out)
{
    add_mark(row->prefix, out);
    /* Where tokens begin with a space, the tokenizer's own stands before the first word: "<PRE> P". */
    if (begins_with_space(row->prefix)) buf_add_char(out, ' ');
}

static void assemble(const struct speller *s, const struct fim_window *w, struct buf *out)
{
    const struct fim_family *row = s->l.f->row;
    enum fim_slot slots[FIM_MAX_SLOTS];
    int32_t n = fim_layout_slots(&s->l, slots);
    for (int32_t i = 0; i < n; i++) {
        switch (slots[i]) {
        case FIM_SLOT_HEADER:
            buf_add(out, s->header.data, s->header.len);
            break;
        case FIM_SLOT_PREFIX_MARK:
            add_prefix_mark(row, out);
            break;
        case FIM_SLOT_PREFIX:
            add_text(&s->spellings, w->prefix, w->prefix_len, out);
            break;
        case FIM_SLOT_SUFFIX_MARK:
            add_mark(row->suffix, out);
            break;
        case FIM_SLOT_SUFFIX:
            add_text(&s->spellings, w->suffix, w->suffix_len, out);
            break;
        case FIM_SLOT_MIDDLE_MARK:
            if (row->middle) add_mark(row->middle, out);
            break;
        }
    }
}

/* All but the family's tokens around the parts, which take n_fixed bytes: s->header and the window. */
static enum err choose_parts(struct speller *s, size_t max_bytes, size_t n_fixed, struct fim_window *w,
                             struct errmsg *msg)
{
    struct fim_header_writer header = {measure_part, write_part, s};
    if (max_bytes < n_fixed + 1) {
        return err_set(msg, ERR_LIMIT, "a prompt of %zu bytes is too short; at least %zu are needed",
                       max_bytes, n_fixed + 1);
    }
    enum err err = fim_layout_header(&s->l, max_bytes - n_fixed, &header);
    if (err) return err_set(msg, err, "cannot lay out the prompt: %s", err_text(err));
    cut_window(s, max_bytes - n_fixed - s->header.len, w);
    return OK;
}

static void speller_init(struct speller *s, const struct fim *f, const struct fim_input *in, bool has_tokens)
{
    const struct fim_family *row = f->row;
    *s = (struct speller){.spellings = spellings_of(row)};
    fim_layout_init(&s->l, f, in, has_tokens && row->repo, has_tokens && row->file);
    buf_init(&s->header, SIZE_MAX);
    buf_init(&s->part, SIZE_MAX);
}

static void speller_clear(struct speller *s)
{
    buf_clear(&s->header);
    buf_clear(&s->part);
}

static enum err finish(enum err err, const struct buf *out, struct errmsg *msg)
{
    if (err || !out->err) return err;
    return err_set(msg, out->err, "cannot lay out the prompt: %s", err_text(out->err));
}

enum err fim_spell(const struct fim *f, const struct fim_input *in, size_t max_bytes, struct buf *out,
                   int32_t *room, struct errmsg *msg)
{
    struct speller s;
    struct fim_window w = {0};
    buf_reset(out);
    if (f->order != FIM_PREFIX_ONLY && !f->row->prefix)
        return err_set(msg, ERR_ARG, "the tokens of a %s prompt have no known spelling", f->family);
    speller_init(&s, f, in, true);
    assemble(&s, &w, out); /* nothing but the family's tokens */
    enum err err = finish(OK, out, msg);
    if (!err) err = choose_parts(&s, max_bytes, out->len, &w, msg);
    buf_reset(out);
    if (!err) assemble(&s, &w, out);
    if (!err && out->len == 0) buf_add_char(out, '\n'); /* as fim_build: something to go on from */
    if (room) *room = w.room;
    speller_clear(&s);
    return finish(err, out, msg);
}

enum err fim_spell_parts(const struct fim *f, const struct fim_input *in, size_t max_bytes,
                         struct buf *prefix, struct buf *suffix, int32_t *room, struct errmsg *msg)
{
    struct speller s;
    struct fim_window w = {0};
    buf_reset(prefix);
    buf_reset(suffix);
    speller_init(&s, f, in, false);
    enum err err = choose_parts(&s, max_bytes, 0, &w, msg);
    if (!err) buf_add(prefix, s.header.data, s.header.len);
    if (!err) add_text(&s.spellings, w.prefix, w.prefix_len, prefix);
    if (!err) add_text(&s.spellings, w.suffix, w.suffix_len, suffix);
    if (room) *room = w.room;
    speller_clear(&s);
    err = finish(err, prefix, msg);
    return finish(err, suffix, msg);
}

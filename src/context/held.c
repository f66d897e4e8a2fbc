/* Keeping what was chosen, and finding out whether it still is what it was. */
#include "context/held.h"

#include <string.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/mem.h"
#include "context/shown.h"

/* Definitions of one name that are compared with the one shown: more than are offered (gather_definitions).
 */
#define DEFINITIONS_MAX 8

/* The block moves while it grows: until it is done, places in it are offsets. */
struct filling {
    struct held *h;
    const struct context_input *in;
    struct buf block;
    struct {
        size_t path, name, text;
    } at[CHOICES_MAX + LEAD_PARTS_MAX]; /* of each piece */
    size_t file_end[CHOICES_MAX];       /* of each file's text */
    int32_t file_piece[CHOICES_MAX];    /* its first piece */
};

static size_t add_str(struct filling *f, const char *s)
{
    size_t at = f->block.len;
    buf_add(&f->block, s, strlen(s) + 1);
    return at;
}

/* The line of the byte `at`, from 1; 0 where the document is a part of a longer one. */
static int32_t line_of(const struct open_document *doc, size_t at)
{
    int32_t line = 1;
    if (doc->origin) return 0;
    const char *p = doc->text.bytes, *end = p + at;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) line++, p++;
    return line;
}

static int32_t lines_in(const char *text, size_t len)
{
    int32_t n = 0;
    for (size_t i = 0; i < len; i++) n += text[i] == '\n';
    return n;
}

static uint64_t hash_of(const struct text *t, size_t from, size_t to)
{
    return XXH3_64bits(t->bytes + from, to - from);
}

/* A piece but for its text. */
static struct context_piece *start_piece(struct filling *f, const struct candidate *c)
{
    struct context_piece *p = &f->h->pieces[f->h->n_pieces];
    struct context_source *s = &f->h->sources[f->h->n_pieces];
    *p = (struct context_piece){.kind = c->kind};
    *s = (struct context_source){.from = c->from, .to = c->to};
    if (c->doc) {
        p->line = line_of(c->doc, c->from);
        if (p->line) p->n_lines = lines_in(c->doc->text.bytes + c->from, c->to - c->from);
        s->origin = c->doc == f->in->doc ? CONTEXT_FROM_HERE : CONTEXT_FROM_DOCUMENT;
        s->hash = hash_of(&c->doc->text, c->from, c->to);
        s->n_edits = c->doc->n_edits;
        s->len = c->doc->text.len;
    } else if (c->name) {
        p->line = c->line;
        p->n_lines = lines_in(c->whole, c->whole_len);
        s->origin = CONTEXT_FROM_PROJECT;
        s->hash = c->hash;
    }
    f->at[f->h->n_pieces].path = add_str(f, c->path);
    f->at[f->h->n_pieces].name = add_str(f, c->doc ? c->doc->uri : c->name ? c->name : "");
    f->h->n_pieces++;
    return p;
}

static void fill_names(struct filling *f, const struct choices *chosen, const struct lead *lead)
{
    for (int32_t i = 0; i < chosen->n; i++) {
        const struct choice *c = &chosen->items[i];
        struct context_piece *p = start_piece(f, c->candidate);
        p->n_tokens = c->n_tokens;
        p->score = c->score;
        p->len = c->len;
        f->h->n_secrets += c->n_secrets;
    }
    for (int32_t i = 0; i < lead->n; i++) {
        const struct lead_part *part = &lead->parts[i];
        struct candidate c = {.kind = part->kind,
                              .path = f->in->doc->path,
                              .doc = f->in->doc,
                              .from = part->from,
                              .to = part->to};
        struct context_piece *p = start_piece(f, &c);
        p->n_tokens = part->n_tokens;
        p->score = choose_weight(part->kind);
        p->len = part->text_len;
    }
    f->h->n_secrets += lead->n_secrets;
}

/* Files, the pieces of each one after the other with elisions between them. */
static void fill_texts(struct filling *f, const struct choices *chosen, const struct lead *lead)
{
    struct held *h = f->h;
    for (int32_t i = 0; i < chosen->n; i++) {
        const struct choice *c = &chosen->items[i];
        if (i > 0 && choice_joins(&chosen->items[i - 1], c)) {
            const struct shown_text nothing = {0};
            shown_add_elision(language_of_path(c->candidate->path, NULL, 0), &nothing, 0, &f->block);
        } else {
            f->file_piece[h->n_files++] = i;
        }
        f->at[i].text = f->block.len;
        buf_add(&f->block, c->text, c->len);
        f->file_end[h->n_files - 1] = f->block.len;
    }
    for (int32_t i = 0; i < lead->n; i++) f->at[chosen->n + i].text = f->block.len + lead->parts[i].text;
    h->lead_len = lead->text.len;
    buf_add(&f->block, lead->text.data, lead->text.len);
}

static enum err allocate(struct held *h, int32_t n_pieces, int32_t n_files)
{
    h->pieces = mem_try((size_t)n_pieces + 1, sizeof *h->pieces);
    h->sources = mem_try((size_t)n_pieces + 1, sizeof *h->sources);
    h->files = mem_try((size_t)n_files + 1, sizeof *h->files);
    return h->pieces && h->sources && h->files ? OK : ERR_NOMEM;
}

static void resolve(struct filling *f)
{
    struct held *h = f->h;
    size_t block_len = f->block.len;
    h->block = buf_take(&f->block);
    for (int32_t i = 0; i < h->n_pieces; i++) {
        h->pieces[i].path = h->block + f->at[i].path;
        h->pieces[i].text = h->block + f->at[i].text;
        h->sources[i].name = h->block + f->at[i].name;
    }
    for (int32_t i = 0; i < h->n_files; i++) {
        const struct context_piece *first = &h->pieces[f->file_piece[i]];
        h->files[i] = (struct fim_file){.path = first->path,
                                        .text = first->text,
                                        .text_len = f->file_end[i] - f->at[f->file_piece[i]].text};
    }
    h->lead = h->block + block_len - h->lead_len;
    h->n_bytes = block_len + (size_t)h->n_pieces * (sizeof *h->pieces + sizeof *h->sources) +
                 (size_t)h->n_files * sizeof *h->files;
}

enum err held_fill(struct held *h, const struct context_input *in, const struct choices *chosen,
                   const struct lead *lead)
{
    struct filling f = {.h = h, .in = in};
    held_clear(h);
    buf_init(&f.block, SIZE_MAX);
    enum err err = allocate(h, chosen->n + lead->n, chosen->n);
    if (!err) {
        fill_names(&f, chosen, lead);
        fill_texts(&f, chosen, lead);
        err = f.block.err;
    }
    if (!err)
        resolve(&f);
    else
        held_clear(h);
    buf_clear(&f.block);
    return err;
}

void held_clear(struct held *h)
{
    mem_free(h->pieces);
    mem_free(h->sources);
    mem_free(h->files);
    mem_free(h->block);
    *h = (struct held){0};
}

void held_edit(struct held *h, size_t from, size_t old_to, size_t new_to)
{
    for (int32_t i = 0; i < h->n_pieces; i++) {
        struct context_source *s = &h->sources[i];
        if (s->origin != CONTEXT_FROM_HERE || from > s->to) continue;
        if (old_to >= s->from) {
            h->is_stale = true;
        } else {
            s->from = s->from - old_to + new_to;
            s->to = s->to - old_to + new_to;
        }
    }
}

/* An edit stands behind the lines, which are then where they were, or before them, which are then as far from
 * the end as they were. Lines between two edits are taken for changed. */
static bool is_there(struct context_source *s, const struct open_document *doc)
{
    const struct text *t = &doc->text;
    size_t len = s->to - s->from, from_end = s->len - s->from;
    if (doc->n_edits == s->n_edits) return true;
    bool is_found = s->to <= t->len && hash_of(t, s->from, s->to) == s->hash;
    if (!is_found && from_end <= t->len) {
        s->from = t->len - from_end;
        s->to = s->from + len;
        is_found = hash_of(t, s->from, s->to) == s->hash;
    }
    s->n_edits = doc->n_edits;
    s->len = t->len;
    return is_found;
}

bool held_is_current(struct held *h, struct documents *docs)
{
    const struct open_document *doc = NULL;
    for (int32_t i = 0; i < h->n_pieces; i++) {
        struct context_source *s = &h->sources[i];
        if (s->origin != CONTEXT_FROM_DOCUMENT) continue;
        if (!doc || strcmp(doc->uri, s->name) != 0) doc = documents_find(docs, s->name);
        if (!doc || !is_there(s, doc)) return false;
    }
    return !h->is_stale;
}

bool held_is_defined(const struct held *h, struct project *p, const char *path)
{
    bool is_defined = true;
    for (int32_t i = 0; i < h->n_pieces && is_defined; i++) {
        const struct context_source *s = &h->sources[i];
        struct project_answer answer = {0};
        if (s->origin != CONTEXT_FROM_PROJECT) continue;
        is_defined = false;
        if (project_find(p, s->name, strlen(s->name), path, DEFINITIONS_MAX, &answer)) return false;
        for (int32_t k = 0; k < answer.n; k++) {
            const struct project_definition *d = &answer.items[k];
            is_defined = is_defined || (d->hash == s->hash && strcmp(d->path, h->pieces[i].path) == 0);
        }
        project_answer_clear(&answer);
    }
    return is_defined;
}

bool held_overlaps(const struct held *h, size_t from, size_t to)
{
    for (int32_t i = 0; i < h->n_pieces; i++) {
        const struct context_source *s = &h->sources[i];
        if (s->origin == CONTEXT_FROM_HERE && s->from < to && from < s->to) return true;
    }
    return false;
}

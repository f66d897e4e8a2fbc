/* Anchoring, holding, and putting together what a prompt is made of.
 *
 * The budget is shared out in 44ths of the prompt's tokens. Anchored, the window takes 10 before the cursor
 * and 2.5 after it; other files may take 8 and the lead 2. The rest is room to grow: at 2,816 tokens it is
 * more than 100 lines of twelve tokens, typed before anything is computed anew. */
#include "context/builder.h"

#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "context/candidates.h"
#include "context/choose.h"
#include "context/held.h"
#include "context/lead.h"
#include "context/project.h"
#include "context/secrets.h"
#include "context/shown.h"
#include "context/view.h"

#define SHARES      44
#define SHARE_FILES 8
#define SHARE_LEAD  2

/* Of the window. Where nothing else is shown, it has the others' shares as well. */
struct shares {
    double before, after, after_max;
};
static const struct shares shares_usual = {10, 2.5, 3};
static const struct shares shares_alone = {20, 7, 8};

/* Below this a prompt is too short to be shared with anything but the window. */
#define WINDOW_ONLY_TOKENS 256
#define LIMITS_BYTES_MIN   64 /* a window of less would be chosen anew at every other key */

/* Special tokens, the newline after the file's name, and a token more at each place where parts meet. */
#define RESERVED_TOKENS 16

/* Too little text tells nothing about what will be typed: then, and where nothing can be measured, tokens are
 * taken to be short. */
#define BYTES_PER_TOKEN_DEFAULT ((double)FIM_BYTES_PER_TOKEN_MIN)
#define MEASURED_BYTES_MIN      512
/* What is typed may have more tokens per byte than what is there. */
#define GROWTH_MARGIN (31.0 / 32)

/* The window as it is shown. */
struct builder_window {
    struct buf before, after; /* `before` begins with the lead */
    size_t start, end, cursor;
    uint64_t n_edits; /* of the document then */
    int32_t n_secrets;
    bool is_set;
};

/* Apart from the documents, what a choice depends on. */
struct builder_terms {
    const struct tokenizer *tokenizer;
    const struct project *project;
    const struct secrets *secrets;
    int32_t max_tokens;
    bool is_window_only;
    uint64_t client; /* hash of its chunks */
};

struct builder {
    struct view view;
    struct view_limits limits;
    struct builder_terms terms;
    struct held held;
    struct builder_window window;
    size_t line_at; /* where the window began when its line was counted */
    int32_t line;   /* 0: to be counted */
    uint64_t project_version;
    uint64_t chosen, built; /* documents_time: when this was chosen; of the last context_build */
    bool is_chosen;
    bool is_partial; /* chosen while the index was not complete */
};

const char *context_kind_name(enum context_kind kind)
{
    static const char *const names[] = {
        [CONTEXT_ENCLOSING] = "enclosing", [CONTEXT_EDIT] = "edit",      [CONTEXT_SIMILAR] = "similar",
        [CONTEXT_CLIENT] = "client",       [CONTEXT_IMPORT] = "import",  [CONTEXT_DEFINITION] = "definition",
        [CONTEXT_COMMENT] = "comment",     [CONTEXT_DISTANT] = "distant"};
    return names[kind];
}

static struct builder *builder_of(struct open_document *doc)
{
    if (!doc->builder) {
        doc->builder = MEM_NEW(struct builder);
        buf_init(&doc->builder->window.before, SIZE_MAX);
        buf_init(&doc->builder->window.after, SIZE_MAX);
    }
    return doc->builder;
}

void builder_free(struct builder **b)
{
    if (!*b) return;
    held_clear(&(*b)->held);
    buf_clear(&(*b)->window.before);
    buf_clear(&(*b)->window.after);
    mem_free(*b);
    *b = NULL;
}

size_t builder_bytes(const struct builder *b)
{
    if (!b) return 0;
    return sizeof *b + b->held.n_bytes + b->window.before.cap + b->window.after.cap;
}

void builder_edit(struct builder *b, size_t from, size_t old_to, size_t new_to)
{
    if (!b) return;
    if (from < b->view.start) b->line = 0;
    view_edit(&b->view, from, old_to, new_to);
    held_edit(&b->held, from, old_to, new_to);
}

/* ---- whether what was chosen still holds ---- */

static struct builder_terms terms_of(const struct context_input *in)
{
    uint64_t client = 0;
    for (int32_t i = 0; i < in->n_files; i++) {
        const struct fim_file *f = &in->files[i];
        if (f->path) client = XXH3_64bits_withSeed(f->path, strlen(f->path), client + 1);
        client = XXH3_64bits_withSeed(f->text, f->text_len, client + 1);
    }
    return (struct builder_terms){.tokenizer = in->tokenizer,
                                  .project = in->project,
                                  .secrets = in->secrets,
                                  .max_tokens = in->max_tokens,
                                  .is_window_only = in->is_window_only,
                                  .client = client};
}

static bool is_same(const struct builder_terms *a, const struct builder_terms *b)
{
    return a->tokenizer == b->tokenizer && a->project == b->project && a->secrets == b->secrets &&
           a->max_tokens == b->max_tokens && a->is_window_only == b->is_window_only && a->client == b->client;
}

/* Whether completions were asked for in another document meanwhile, and one was edited: that may bear on what
 * comes next here. Documents that change by themselves do not count. */
static bool came_from_edit(const struct builder *b, const struct context_input *in)
{
    bool was_elsewhere = false, was_edited = false;
    for (int32_t i = 0; i < documents_n(in->docs); i++) {
        const struct open_document *doc = documents_at(in->docs, i);
        if (doc == in->doc) continue;
        was_elsewhere = was_elsewhere || (doc->builder && doc->builder->built > b->built);
        was_edited = was_edited || (doc->n_changes > 0 && doc->changes[0].time > b->chosen);
    }
    return was_elsewhere && was_edited;
}

static bool is_index_as_it_was(struct builder *b, const struct context_input *in)
{
    if (!in->project) return true;
    uint64_t version = project_version(in->project);
    if (version == b->project_version && !b->is_partial) return true;
    if (b->is_partial) {
        struct project_stats stats;
        project_stats(in->project, &stats);
        if (stats.n_waiting == 0) return false;
    }
    if (version != b->project_version && !held_is_defined(&b->held, in->project, in->doc->path)) return false;
    b->project_version = version;
    return true;
}

static bool holds(struct builder *b, const struct context_input *in, const struct builder_terms *terms)
{
    return b->is_chosen && is_same(&b->terms, terms) && held_is_current(&b->held, in->docs) &&
           !came_from_edit(b, in) && is_index_as_it_was(b, in);
}

/* ---- choosing ---- */

static double measure_bytes_per_token(const struct context_input *in)
{
    const struct text *t = &in->doc->text;
    size_t most = (size_t)in->max_tokens;
    size_t from = in->cursor > most ? text_char_start(t, in->cursor - most) : 0;
    size_t to = t->len - in->cursor > most / 4 ? text_char_start(t, in->cursor + most / 4) : t->len;
    int32_t n = 0;
    if (!in->tokenizer || to - from < MEASURED_BYTES_MIN) return BYTES_PER_TOKEN_DEFAULT;
    if (choose_count_tokens(in->tokenizer, t->bytes + from, to - from, &n) || n == 0)
        return BYTES_PER_TOKEN_DEFAULT;
    return (double)(to - from) / n;
}

static size_t at_least(double bytes)
{
    return bytes > LIMITS_BYTES_MIN ? (size_t)bytes : LIMITS_BYTES_MIN;
}

/* other: tokens that are not the window's. */
static struct view_limits limits_for(int32_t max_tokens, int32_t other, const struct shares *shares,
                                     double bytes_per_token)
{
    double share = max_tokens * bytes_per_token / SHARES;
    double after_max = share * shares->after_max, before = share * shares->before;
    double room = (max_tokens - other) * bytes_per_token - after_max - before;
    struct view_limits l = {.before = at_least(before),
                            .after = at_least(share * shares->after),
                            .max_after = at_least(after_max)};
    l.max_before = l.before + (room > 0 ? (size_t)(room * GROWTH_MARGIN) : 0);
    return l;
}

/* What the lead shows is not shown twice. */
static void drop_led(struct candidates *l, const struct open_document *doc, const struct lead *lead)
{
    int32_t n = 0;
    for (int32_t i = 0; i < l->n; i++) {
        struct candidate *c = &l->items[i];
        if (c->doc == doc && lead_overlaps(lead, c->from, c->to))
            mem_free(c->owned);
        else
            l->items[n++] = *c;
    }
    l->n = n;
}

/* Fill b->held for the window. *n: tokens of what was chosen. */
static enum err choose_pieces(struct builder *b, const struct context_input *in, double bytes_per_token,
                              int32_t *n)
{
    struct candidates candidates = {0};
    struct choices choices = {0};
    struct lead lead = {0};
    int32_t share = in->max_tokens / SHARES;
    struct gathering *g = MEM_NEW(struct gathering);
    struct choose_limits limits = {.tokenizer = in->tokenizer,
                                   .secrets = in->secrets,
                                   .max_tokens = share * SHARE_FILES,
                                   .bytes_per_token = bytes_per_token};
    *g = (struct gathering){.in = in,
                            .view = &b->view,
                            .outline = documents_outline(in->doc, SYNTAX_BYTES_MAX),
                            .max_bytes = (size_t)(share * (SHARE_FILES / 2.0) * bytes_per_token),
                            .out = &candidates};
    gathering_start(g);
    enum err err = lead_build(g, (size_t)(share * SHARE_LEAD * bytes_per_token), &lead);
    gather_definitions(g);
    gather_related(g);
    gather_imports(g);
    gather_documents(g);
    drop_led(&candidates, in->doc, &lead);
    if (!err) err = candidates.err;
    if (!err) err = choose(&candidates, &limits, &choices);
    if (!err) err = held_fill(&b->held, in, &choices, &lead);
    *n = choices.n_tokens + lead.n_tokens;
    choices_clear(&choices);
    lead_clear(&lead);
    candidates_clear(&candidates);
    mem_free(g);
    return err;
}

static void anchor(struct builder *b, const struct context_input *in, const struct view_limits *l)
{
    b->limits = *l;
    b->view = (struct view){0};
    view_update(&b->view, in->doc->text.bytes, in->doc->text.len, in->cursor, l);
}

static enum err choose_anew(struct builder *b, const struct context_input *in,
                            const struct builder_terms *terms)
{
    double bytes_per_token = measure_bytes_per_token(in);
    int32_t share = in->max_tokens / SHARES, n_path = 0, n_pieces = 0;
    bool is_window_only = in->is_window_only || in->max_tokens < WINDOW_ONLY_TOKENS;
    b->is_chosen = false;
    held_clear(&b->held);
    enum err err = choose_count_tokens(in->tokenizer, in->doc->path, strlen(in->doc->path), &n_path);
    int32_t other = RESERVED_TOKENS + n_path;
    int32_t planned = is_window_only ? 0 : share * (SHARE_FILES + SHARE_LEAD);
    const struct shares *shares = is_window_only ? &shares_alone : &shares_usual;
    struct view_limits limits = limits_for(in->max_tokens, other + planned, shares, bytes_per_token);
    anchor(b, in, &limits);
    if (in->project) b->project_version = project_version(in->project);
    if (!err && !is_window_only) err = choose_pieces(b, in, bytes_per_token, &n_pieces);
    if (err) return err;
    /* What pieces did not take is room to grow. */
    limits = limits_for(in->max_tokens, other + n_pieces, shares, bytes_per_token);
    if (limits.max_before > b->limits.max_before) b->limits.max_before = limits.max_before;
    struct project_stats stats = {0};
    if (in->project) project_stats(in->project, &stats);
    b->is_partial = stats.n_waiting > 0;
    b->terms = *terms;
    b->chosen = documents_time(in->docs);
    b->is_chosen = true;
    b->window.is_set = false;
    return OK;
}

/* ---- showing ---- */

static enum err show_window(struct builder *b, const struct context_input *in)
{
    struct builder_window *w = &b->window;
    struct shown_text t = {in->secrets, in->doc->text.bytes, in->doc->text.len};
    if (w->is_set && w->n_edits == in->doc->n_edits && w->start == b->view.start && w->end == b->view.end &&
        w->cursor == in->cursor)
        return OK;
    w->start = b->view.start;
    w->end = b->view.end;
    w->cursor = in->cursor;
    w->n_edits = in->doc->n_edits;
    w->n_secrets = 0;
    buf_reset(&w->before);
    buf_reset(&w->after);
    buf_add(&w->before, b->held.lead, b->held.lead_len);
    enum err err = shown_add(&t, w->start, w->cursor, w->end, &w->before, &w->after, &w->n_secrets);
    w->is_set = !err;
    return err;
}

/* Counted once for as long as nothing before it changes. */
static int32_t first_line(struct builder *b, const struct open_document *doc)
{
    if (doc->origin) return 0;
    if (b->line == 0 || b->line_at != b->window.start) {
        const char *at = doc->text.bytes, *end = at + b->window.start;
        b->line = 1;
        b->line_at = b->window.start;
        while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) b->line++, at++;
    }
    return b->line;
}

static void fill(struct builder *b, const struct context_input *in, struct context *out)
{
    out->prefix = buf_str(&b->window.before);
    out->prefix_len = b->window.before.len;
    out->suffix = buf_str(&b->window.after);
    out->suffix_len = b->window.after.len;
    out->lead_len = b->held.lead_len;
    out->path = in->doc->path[0] ? in->doc->path : NULL;
    out->files = b->held.files;
    out->n_files = b->held.n_files;
    out->pieces = b->held.pieces;
    out->sources = b->held.sources;
    out->n_pieces = b->held.n_pieces;
    out->from = b->window.start;
    out->to = b->window.end;
    out->line = first_line(b, in->doc);
    out->n_secrets = b->window.n_secrets + b->held.n_secrets;
}

static bool is_secret(const struct context_input *in)
{
    const struct open_document *doc = in->doc;
    return in->secrets && secrets_is_file(in->secrets, doc->path[0] ? doc->path : doc->uri);
}

enum err context_build(const struct context_input *input, struct context *out, struct errmsg *msg)
{
    struct context_input in = *input;
    const struct text *t = &in.doc->text;
    *out = (struct context){0};
    out->prefix = out->suffix = "";
    out->is_secret_file = is_secret(&in);
    if (out->is_secret_file) return OK;
    if (in.cursor > t->len) in.cursor = t->len;
    /* A cursor inside a '\r\n' is at the end of its line. */
    if (in.cursor > 0 && t->bytes[in.cursor - 1] == '\r' && t->bytes[in.cursor] == '\n') in.cursor--;
    struct builder *b = builder_of(in.doc);
    struct builder_terms terms = terms_of(&in);
    enum err err = OK;
    out->is_anchored_anew = !holds(b, &in, &terms) ||
                            view_update(&b->view, t->bytes, t->len, in.cursor, &b->limits) ||
                            held_overlaps(&b->held, b->view.start, b->view.end);
    if (out->is_anchored_anew) err = choose_anew(b, &in, &terms);
    if (!err) err = show_window(b, &in);
    if (err) return err_set(msg, err, "cannot gather the context of a prompt: %s", err_text(err));
    b->built = documents_time(in.docs);
    fill(b, &in, out);
    return OK;
}

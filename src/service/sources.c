/* Taking down what a prompt was drawn from. */
#include "service/sources.h"

#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "context/project.h"

uint64_t sources_file(const char *path)
{
    return XXH3_64bits(path, strlen(path));
}

static uint32_t count_lines(const char *text, size_t len)
{
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++) n += text[i] == '\n';
    return n;
}

static void add_lines(struct sources *s, const char *path, uint32_t line, uint32_t n_lines, const char *text,
                      size_t len)
{
    if (s->n_lines == RECORD_SOURCES_MAX || len == 0) return;
    s->lines[s->n_lines++] = (struct record_source){
        .file = sources_file(path), .line = line, .n_lines = n_lines, .hash = XXH3_64bits(text, len)};
}

/* The two parts of the window. */
static void add_window(struct sources *s, const struct question *q, const struct context_input *in)
{
    const struct context *c = &q->context;
    const struct open_document *doc = in->doc;
    const char *path = doc->path[0] ? doc->path : doc->uri, *prefix = c->prefix + c->lead_len;
    size_t prefix_len = c->prefix_len - c->lead_len;
    uint32_t first = (uint32_t)c->line, n_before = count_lines(prefix, prefix_len) + 1;
    uint32_t at = first ? first + n_before - 1 : 0;
    add_lines(s, path, first, n_before, prefix, prefix_len);
    add_lines(s, path, at, count_lines(c->suffix, c->suffix_len) + 1, c->suffix, c->suffix_len);
}

static void add_piece(struct sources *s, const struct context_piece *p, const struct context_source *from,
                      const struct context_input *in, uint32_t number)
{
    struct memory_source *m = &s->shown[s->place.n_sources];
    const struct open_document *doc = in->doc;
    add_lines(s, p->path, (uint32_t)p->line, (uint32_t)p->n_lines, p->text, p->len);
    if (from->origin == CONTEXT_FROM_CLIENT || s->place.n_sources == RECORD_SOURCES_MAX) return;
    if (from->origin == CONTEXT_FROM_PROJECT) {
        *m = (struct memory_source){.file = (uint64_t)number << 32 | project_path_hash(p->path),
                                    .hash = from->hash};
    } else {
        if (from->origin == CONTEXT_FROM_DOCUMENT) doc = documents_find(in->docs, from->name);
        if (!doc) return;
        *m = (struct memory_source){.file = doc->id, .from = from->from, .to = from->to, .is_open = true};
    }
    s->place.n_sources++;
}

void sources_fill(const struct question *q, const struct context_input *in, uint32_t number,
                  const struct repository *repository, struct sources *out)
{
    const struct context *c = &q->context;
    out->place = (struct memory_place){
        .file = in->doc->id, .from = c->from, .cursor = in->cursor, .to = c->to, .sources = out->shown};
    out->n_lines = 0;
    out->project = repository ? repository->id : 0;
    out->is_private = c->n_secrets > 0;
    add_window(out, q, in);
    for (int32_t i = 0; i < c->n_pieces; i++) add_piece(out, &c->pieces[i], &c->sources[i], in, number);
}

struct sources *sources_copy(const struct sources *from)
{
    if (!from) return NULL;
    struct sources *copy = MEM_NEW(struct sources);
    *copy = *from;
    copy->place.sources = copy->shown;
    return copy;
}

/* See explain.h. */
#include "complete/explain.h"

#include "base/json.h"

static const char *inside_name(enum syntax_place inside)
{
    static const char *const names[] = {
        [SYNTAX_CODE] = "code", [SYNTAX_COMMENT] = "comment", [SYNTAX_STRING] = "string"};
    return names[inside];
}

static const char *extent_name(enum stop_extent extent)
{
    static const char *const names[] = {[STOP_EXTENT_ANY] = "any",
                                        [STOP_EXTENT_LINE] = "line",
                                        [STOP_EXTENT_UNIT] = "unit",
                                        [STOP_EXTENT_BLOCK] = "block"};
    return names[extent];
}

static void add_piece(struct json *j, const struct context_piece *p)
{
    json_begin_object(j, NULL);
    json_str(j, "kind", context_kind_name(p->kind));
    json_str(j, "path", p->path ? p->path : "");
    json_int(j, "line", p->line);
    json_int(j, "lines", p->n_lines);
    json_int(j, "tokens", p->n_tokens);
    json_num(j, "score", p->score, 3);
    json_str_len(j, "text", p->text, p->len);
    json_end_object(j);
}

void explain_write(const struct question *q, const struct open_document *doc, struct buf *out)
{
    const struct context *c = &q->context;
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str(&j, "path", c->path ? c->path : "");
    json_str(&j, "language", doc->language->name);
    json_str(&j, "inside", inside_name(q->inside));
    json_str(&j, "extent", extent_name(q->extent));
    json_str(&j, "quiet", q->quiet);
    json_flag(&j, "anchored", c->is_anchored_anew);
    json_int(&j, "secrets", c->n_secrets);
    json_int(&j, "lead", (int64_t)c->lead_len);
    json_str_len(&j, "prefix", c->prefix, c->prefix_len);
    json_str_len(&j, "suffix", c->suffix, c->suffix_len);
    json_begin_array(&j, "context");
    for (int32_t i = 0; i < c->n_pieces; i++) add_piece(&j, &c->pieces[i]);
    json_end_array(&j);
    json_end_object(&j);
}

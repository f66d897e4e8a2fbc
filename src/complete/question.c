/* Asking: the context first, then what its text says about the place. */
#include "complete/question.h"

/* Of documents that are too long to be parsed while somebody types (documents.h), and languages whose parsers
 * cannot be interrupted, the lines around the cursor have to do.
 *
 * How long parsing may hold up a keystroke. Most edits are parsed in a third of that; after one that turns
 * half of the file over, the lines around the cursor have to do, and the next keystroke goes on. */
#define PARSE_MS 0.5

/* Looked at to tell the line ends: as much as prompts show. */
#define EOL_BYTES ((size_t)32 << 10)

static enum syntax_place inside_of(const struct open_document *doc, size_t cursor)
{
    const struct text *t = &doc->text;
    bool is_parsed = doc->syntax && t->len <= DOCUMENTS_TREE_BYTES_MAX && !doc->language->is_parsed_whole;
    bool is_current = is_parsed && syntax_parse(doc->syntax, t->bytes, t->len, PARSE_MS);
    return syntax_place_at(is_current ? doc->syntax : NULL, doc->language, t->bytes, t->len, cursor);
}

static enum document_eol eol_of(const struct text *t, size_t cursor)
{
    size_t start = cursor > EOL_BYTES / 2 ? cursor - EOL_BYTES / 2 : 0;
    size_t len = t->len - start < EOL_BYTES ? t->len - start : EOL_BYTES;
    return document_eol_of(t->bytes + start, len);
}

enum err question_ask(const struct context_input *in, struct question *out, struct errmsg *msg)
{
    const struct open_document *doc = in->doc;
    struct context *c = &out->context;
    *out = (struct question){.quiet = "", .eol = eol_of(&doc->text, in->cursor), .language = doc->language};
    enum err err = context_build(in, c, msg);
    if (err) return err;
    out->is_secret_file = c->is_secret_file;
    out->inside = inside_of(doc, in->cursor);
    out->input = (struct prompt_input){.before = c->prefix,
                                       .before_len = c->prefix_len,
                                       .after = c->suffix,
                                       .after_len = c->suffix_len,
                                       .path = c->path,
                                       .line_comment = doc->language->line_comment,
                                       .files = c->files,
                                       .n_files = c->n_files};
    struct place place = {.before = c->prefix,
                          .before_len = c->prefix_len,
                          .after = c->suffix,
                          .after_len = c->suffix_len,
                          .language = doc->language,
                          .inside = out->inside,
                          .n_deletions = doc->n_deletions};
    out->extent = place_extent(&place);
    out->quiet = out->is_secret_file ? "secret-file" : place_quiet_name(place_quiet(&place));
    return OK;
}

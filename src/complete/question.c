/* Asking: the context first, then what its text says about the place. */
#include "complete/question.h"

/* Looked at to tell the line ends: as much as prompts show. */
#define EOL_BYTES ((size_t)32 << 10)

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
    /* Of the whole document: the window may begin inside of a comment. */
    out->inside = syntax_place_at(doc->language, doc->text.bytes, doc->text.len, in->cursor);
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

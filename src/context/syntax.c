/* Parsing a text, all at once or in slices of time.
 *
 * A parse that ran out of time stays in the parser and goes on if the text is still the same. Without
 * tree-sitter there are no trees: syntax_new returns null, and the other functions meet nothing. */
#include "context/syntax.h"

#include "base/mem.h"

#ifdef INLINE_HAVE_GRAMMARS

#include <tree_sitter/api.h>

/* tree-sitter 0.20 reads a null pointer if its time is up inside a comment that the grammar makes of several
 * tokens, as Rust's and Lua's do. Texts in such languages are parsed to the end, whatever the time, or if
 * they are longer than this, only where there is no limit. */
#define WHOLE_BYTES_MAX ((size_t)256 << 10)

struct syntax {
    const struct language *language;
    TSParser *parser; /* owned */
    TSTree *tree;     /* owned; null: not parsed */
};

struct syntax *syntax_new(const struct language *l)
{
    if (!l->grammar) return NULL;
    struct syntax *s = MEM_NEW(struct syntax);
    s->language = l;
    s->parser = ts_parser_new();
    /* False: the grammar is of a later version than the library. */
    if (!s->parser || !ts_parser_set_language(s->parser, l->grammar())) syntax_free(&s);
    return s;
}

static void drop_tree(struct syntax *s)
{
    if (s->tree) ts_tree_delete(s->tree);
    s->tree = NULL;
}

void syntax_free(struct syntax **s)
{
    if (!*s) return;
    drop_tree(*s);
    if ((*s)->parser) ts_parser_delete((*s)->parser);
    mem_free(*s);
    *s = NULL;
}

bool syntax_parse(struct syntax *s, const char *text, size_t len, double max_ms)
{
    drop_tree(s);
    if (len > SYNTAX_BYTES_MAX) return false;
    if (max_ms > 0 && s->language->is_parsed_whole) {
        if (len > WHOLE_BYTES_MAX) return false;
        max_ms = 0;
    }
    uint64_t max_us = (uint64_t)(max_ms * 1000);
    ts_parser_set_timeout_micros(s->parser, max_ms > 0 && max_us == 0 ? 1 : max_us); /* 0: no limit */
    s->tree = ts_parser_parse_string(s->parser, NULL, text, (uint32_t)len);
    return s->tree != NULL;
}

const struct TSTree *syntax_tree(const struct syntax *s)
{
    return s->tree;
}

#else

struct syntax {
    char unused;
};

struct syntax *syntax_new(const struct language *l)
{
    (void)l;
    return NULL;
}

void syntax_free(struct syntax **s)
{
    *s = NULL;
}

bool syntax_parse(struct syntax *s, const char *text, size_t len, double max_ms)
{
    (void)s, (void)text, (void)len, (void)max_ms;
    return false;
}

const struct TSTree *syntax_tree(const struct syntax *s)
{
    (void)s;
    return NULL;
}

#endif

/* The syntax tree of one text (tree-sitter), and what a place in a text is.
 *
 * A tree takes 20 to 30 times the text's memory: whoever has read out of it what he needs frees it. One
 * owner; any thread, one at a time. */
#ifndef CONTEXT_SYNTAX_H
#define CONTEXT_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>

#include "context/language.h"

struct TSTree;
struct syntax;

/* Texts longer than this have no tree: parsing them would take too long. */
#define SYNTAX_BYTES_MAX ((size_t)2 << 20)

/* Null if the language has no grammar. */
struct syntax *syntax_new(const struct language *l);
void syntax_free(struct syntax **s); /* tolerates null */

/* Parse the text, in at most max_ms (0: however long it takes). False: time was up, and the next call with
 * the same text goes on; or the text is too long. Where a text has errors, slices may end in another tree
 * than one go. Languages that are parsed whole take their time: syntax.c says why. */
bool syntax_parse(struct syntax *s, const char *text, size_t len, double max_ms);

/* Null until the text is parsed. Borrowed. */
const struct TSTree *syntax_tree(const struct syntax *s);

enum syntax_place { SYNTAX_CODE, SYNTAX_COMMENT, SYNTAX_STRING };

/* Where the text before `at` leads into: told by the quotes and comment marks in it, from its beginning or
 * over a bounded distance. The text alone decides. */
enum syntax_place syntax_place_at(const struct language *l, const char *text, size_t len, size_t at);

#endif

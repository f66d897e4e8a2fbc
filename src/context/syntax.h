/* The syntax tree of one text under edits (tree-sitter): re-parsed incrementally, within a time.
 *
 *     syntax_new -> syntax_parse;  text_splice -> syntax_edit ... -> syntax_parse
 *
 * One owner; any thread, one at a time. */
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

/* Bytes from..old_to of the text were replaced; they now end at new_to. `text` is the text before the edit in
 * full up to `from` and need only agree there: it serves to count lines. Cheap: nothing is parsed. */
void syntax_edit(struct syntax *s, const char *text, size_t from, size_t old_to, size_t new_to,
                 const char *old_bytes, const char *new_bytes);

/* Bring the tree up to date with the text, in at most max_ms (0: however long it takes). False: time was up,
 * or the text is too long; the tree is as it was (none, if too long), and the next call goes on. Costs
 * nothing while no edit has come. Languages that are parsed whole take their time: syntax.c says why. */
bool syntax_parse(struct syntax *s, const char *text, size_t len, double max_ms);

/* As syntax_parse, to a tree that the text alone decides. Where a text has errors, the tree that came of
 * edits may put them right in another way than one parsed from scratch, which this then does: milliseconds
 * per thousand lines. False: time was up; the tree may still be current. */
bool syntax_parse_exact(struct syntax *s, const char *text, size_t len, double max_ms);

/* Give the tree's memory back, some 20 to 30 bytes per byte of text; the next parse starts from scratch. */
void syntax_drop(struct syntax *s);

/* Null until the first parse. Positions follow the edits even if it is not up to date. Borrowed. */
const struct TSTree *syntax_tree(const struct syntax *s);
bool syntax_is_current(const struct syntax *s); /* no edits since the last whole parse */
bool syntax_is_exact(const struct syntax *s);   /* current, and as if parsed from scratch */
size_t syntax_bytes(const struct syntax *s);    /* memory it holds, about */

enum syntax_place { SYNTAX_CODE, SYNTAX_COMMENT, SYNTAX_STRING };

/* Where the text before `at` leads into: told by the tree if it is current (s may be null), else by the
 * quotes and comment marks of the lines before, looking back over a bounded distance. */
enum syntax_place syntax_place_at(const struct syntax *s, const struct language *l, const char *text,
                                  size_t len, size_t at);

#endif

/* The grammars that the build may have, of context/language.c's table; null for those that it has not
 * (cmake/grammars.cmake). */
#ifndef CONTEXT_LANGUAGE_GRAMMARS_H
#define CONTEXT_LANGUAGE_GRAMMARS_H

#include <stddef.h>

struct TSLanguage;

#ifdef INLINE_GRAMMAR_C
const struct TSLanguage *tree_sitter_c(void);
#else
#define tree_sitter_c NULL
#endif
#ifdef INLINE_GRAMMAR_CPP
const struct TSLanguage *tree_sitter_cpp(void);
#else
#define tree_sitter_cpp NULL
#endif
#ifdef INLINE_GRAMMAR_PYTHON
const struct TSLanguage *tree_sitter_python(void);
#else
#define tree_sitter_python NULL
#endif
#ifdef INLINE_GRAMMAR_JAVASCRIPT
const struct TSLanguage *tree_sitter_javascript(void);
#else
#define tree_sitter_javascript NULL
#endif
#ifdef INLINE_GRAMMAR_TYPESCRIPT
const struct TSLanguage *tree_sitter_typescript(void);
#else
#define tree_sitter_typescript NULL
#endif
#ifdef INLINE_GRAMMAR_TSX
const struct TSLanguage *tree_sitter_tsx(void);
#else
#define tree_sitter_tsx NULL
#endif
#ifdef INLINE_GRAMMAR_GO
const struct TSLanguage *tree_sitter_go(void);
#else
#define tree_sitter_go NULL
#endif
#ifdef INLINE_GRAMMAR_RUST
const struct TSLanguage *tree_sitter_rust(void);
#else
#define tree_sitter_rust NULL
#endif
#ifdef INLINE_GRAMMAR_JAVA
const struct TSLanguage *tree_sitter_java(void);
#else
#define tree_sitter_java NULL
#endif
#ifdef INLINE_GRAMMAR_LUA
const struct TSLanguage *tree_sitter_lua(void);
#else
#define tree_sitter_lua NULL
#endif
#ifdef INLINE_GRAMMAR_BASH
const struct TSLanguage *tree_sitter_bash(void);
#else
#define tree_sitter_bash NULL
#endif
#ifdef INLINE_GRAMMAR_JSON
const struct TSLanguage *tree_sitter_json(void);
#else
#define tree_sitter_json NULL
#endif

#endif

/* Programming languages: how a file's is told, how its comments look, and its grammar, where one is built in.
 * Thread: any; all is constant. */
#ifndef CONTEXT_LANGUAGE_H
#define CONTEXT_LANGUAGE_H

#include <stdbool.h>
#include <stddef.h>

struct TSLanguage;
struct outline_rule;

struct language {
    const char *name;             /* LSP's identifier: "c", "cpp", "python", "typescriptreact", "plaintext" */
    const char *extensions;       /* "c h": space-separated; also whole names: "Makefile" */
    const char *line_comment;     /* "//"; null: none */
    const char *block_comment[2]; /* the opening and the closing; nulls: none */
    const char *quotes;           /* characters that open and close strings: "\"'`" */
    bool is_indented;             /* blocks are told by indentation, as in Python */
    bool is_prose;                /* no code: Markdown, plain text */
    bool has_templates; /* strings in `...` may hold code, as in JavaScript; patterns stand in /.../ */
    const struct TSLanguage *(*grammar)(void); /* null: indentation and brackets have to do */
    bool is_parsed_whole;                      /* its parser must not be stopped half-way (syntax.c) */
    const struct outline_rule *rules; /* what outline.c looks for in its trees; null: has no grammar */
};

/* By the end of the path, or by its last part; never null. Where the path says nothing, by the text's first
 * line ("#!/usr/bin/env python3"), if there is one; a header of C that reads like C++ is C++. text: all of
 * it or its beginning; null: not known. */
const struct language *language_of_path(const char *path, const char *text, size_t len);
/* By LSP's languageId, or another common name of it; null if unknown. */
const struct language *language_of_id(const char *id);

#endif

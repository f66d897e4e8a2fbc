/* What a text defines and imports, and where: found in its syntax tree, or, for languages without a grammar,
 * by indentation and brackets. The same text gives the same outline. */
#ifndef CONTEXT_OUTLINE_H
#define CONTEXT_OUTLINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "context/language.h"

struct syntax;

#define OUTLINE_UNITS_MAX   20000 /* of one text; what comes after is left out */
#define OUTLINE_IMPORTS_MAX 1000

enum outline_kind { OUTLINE_FUNCTION, OUTLINE_TYPE, OUTLINE_VALUE, OUTLINE_BLOCK };

/* A definition; all offsets are bytes of the text, uint32_t because texts are below 4 GiB. */
struct outline_unit {
    uint32_t comment;        /* where the comment or decorators right above it begin; `start` if none */
    uint32_t start, end;     /* whole lines: from the start of its first one past the end of its last */
    uint32_t body, body_end; /* what an elision leaves out, types' fields too; equal if it has none */
    uint32_t name, name_len; /* len 0: it has none */
    int32_t parent;          /* the unit that encloses it; -1: none */
    enum outline_kind kind;
};

/* `target` is what is imported as it is written, without quotes or brackets: "stdio.h", "./util", "a.b". */
struct outline_import {
    uint32_t start, end; /* whole lines */
    uint32_t target, target_len;
};

struct outline {
    struct outline_unit *units; /* owned; in the order of start, the enclosing before the enclosed */
    int32_t n_units;
    struct outline_import *imports; /* owned; in order */
    int32_t n_imports;
};

/* s: null, or what has parsed the text, or failed to. Replaces what out holds (zero it first).
 * ERR_NOMEM. */
MUST_CHECK enum err outline_build(const struct language *l, const struct syntax *s, const char *text,
                                  size_t len, struct outline *out);
void outline_clear(struct outline *o);

/* The innermost unit that holds `at` (its comment included), or -1. */
int32_t outline_at(const struct outline *o, size_t at);

/* The unit as a reader needs it who only calls it: comment, signature, and for types their fields, with
 * bodies of functions replaced by "..." in the language's way ("{ ... }", "..."). At most max bytes, whole
 * lines. Appended to out. */
struct buf;
void outline_write_signature(const struct outline *o, int32_t unit, const struct language *l,
                             const char *text, size_t max, struct buf *out);

#endif

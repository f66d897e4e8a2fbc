/* What the model is shown: the window around the cursor, and what else in the file, in open documents and in
 * the project helps to fill it in.
 *
 *     files:   signatures of what is named near the cursor, other code of this file, similar blocks, chunks
 *              that the client sent, recent edits: from stable to volatile
 *     prefix:  the file's imports and the heads of what encloses the window, then the window to the cursor
 *     suffix:  the window after the cursor
 *
 * Choosing is done when the window is anchored (view.h) and then held: what was chosen is shown, byte for
 * byte, until the cursor leaves, something shown has changed or would overlap the window, or the user comes
 * back from editing another document. So a keystroke costs a few comparisons here, and a few tokens in the
 * engine. Everything is chosen by scores that depend on the documents and the index alone, ties by place: the
 * same state gives the same bytes.
 *
 * builder.c holds; candidates.h gathers, choose.h chooses, lead.h and held.h keep the outcome. */
#ifndef CONTEXT_BUILDER_H
#define CONTEXT_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "context/documents.h"
#include "context/fim.h"
#include "context/syntax.h"
#include "model/tokenizer.h"

struct project;
struct secrets;

/* In the order of weights (10, 8, 6, 4, 2): the current function, recent edits and recently visited code,
 * imports and the signatures of what they define, comments, distant code. What a client sends, and windows
 * that are similar, are weighed as recent code, less or more by likeness. */
enum context_kind {
    CONTEXT_ENCLOSING,  /* heads of the functions and types around the window */
    CONTEXT_EDIT,       /* lines that were edited lately, elsewhere */
    CONTEXT_SIMILAR,    /* a window of another document that is about the same identifiers */
    CONTEXT_CLIENT,     /* a chunk that the client sent */
    CONTEXT_IMPORT,     /* the file's own imports */
    CONTEXT_DEFINITION, /* the signature of something named near the cursor */
    CONTEXT_COMMENT,    /* the comment that documents what the cursor is in */
    CONTEXT_DISTANT     /* other code of this file */
};
const char *context_kind_name(enum context_kind kind); /* "enclosing", "edit", "similar", ... */

struct context_piece {
    enum context_kind kind;
    const char *path;
    int32_t line, n_lines; /* from 1; 0: not known */
    int32_t n_tokens;
    double score;
    const char *text; /* as it is shown */
    size_t len;
};

/* Where a piece comes from, so that it can be told whether it is still there. */
enum context_origin { CONTEXT_FROM_CLIENT, CONTEXT_FROM_HERE, CONTEXT_FROM_DOCUMENT, CONTEXT_FROM_PROJECT };
struct context_source {
    enum context_origin origin;
    size_t from, to;  /* here, document: bytes of the text */
    const char *name; /* document: its URI; project: what is defined */
    uint64_t hash;    /* document: of the lines; project: project_definition.hash */
    /* The builder's. */
    uint64_t n_edits; /* document: when it was last looked at */
    size_t len;       /* document: of the whole text then */
};

struct context_input {
    struct documents *docs;
    struct open_document *doc;
    size_t cursor;                     /* in doc->text */
    struct project *project;           /* or null */
    const struct secrets *secrets;     /* or null: nothing is looked for */
    const struct tokenizer *tokenizer; /* what tokens are counted with; null: they are estimated from bytes */
    const struct fim_file *files;      /* chunks of the client, most distant first; borrowed for the call */
    int32_t n_files;
    int32_t max_tokens;  /* of the whole prompt */
    bool is_window_only; /* nothing but the text around the cursor */
};

/* Views, valid until the document is edited or closed, or built for again. Lines end in '\n'; secrets are
 * masked. */
struct context {
    const char *prefix, *suffix;
    size_t prefix_len, suffix_len;
    size_t lead_len; /* of the prefix: what stands in front of the window */
    const char *path;
    const struct fim_file *files; /* most distant first; what is volatile comes last */
    int32_t n_files;
    const struct context_piece
        *pieces; /* all of the above but the window, in the order in which it is shown */
    const struct context_source *sources; /* of the pieces, in the same order */
    int32_t n_pieces;
    size_t from, to;       /* bytes of the document: the window */
    int32_t line;          /* of the document, from 1, where the window begins; 0: not known */
    int32_t n_secrets;     /* that were masked */
    bool is_anchored_anew; /* what was shown before does not hold any more */
    bool is_secret_file;   /* the document itself must not be shown: everything else is empty */
};

/* ERR_NOMEM, ERR_LIMIT. */
MUST_CHECK enum err context_build(const struct context_input *in, struct context *out, struct errmsg *msg);

/* documents.c's: the builder of a document follows its edits, and goes with it. */
void builder_edit(struct builder *b, size_t from, size_t old_to, size_t new_to); /* tolerates null */
void builder_free(struct builder **b);
size_t builder_bytes(const struct builder *b);

#endif

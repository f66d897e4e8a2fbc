/* What could be shown besides the window: pieces of this document, of other open ones, of the project and of
 * the client, each with how relevant it is. Gathering looks at everything within bounds; choose.h takes what
 * the budget allows. Lives for one choosing. */
#ifndef CONTEXT_CANDIDATES_H
#define CONTEXT_CANDIDATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "context/builder.h"
#include "context/identifiers.h"
#include "context/outline.h"
#include "context/project.h"
#include "context/view.h"

#define CANDIDATES_MAX 512
#define CANDIDATES_NAMES_MAX                                                                                 \
    40 /* names near the cursor that are looked up; each may cost a look into the index */
#define CANDIDATES_IMPORTS   12 /* files that are imported whose definitions are looked at */
#define CANDIDATES_DOCUMENTS 8  /* other documents that are looked at, those worked in last */

struct candidate {
    enum context_kind kind;
    double relevance; /* 0..1 */
    const char *path;
    /* Where it stands: in a document, a chunk of the client, a definition of the project. */
    struct open_document *doc; /* null: it is the client's or the project's */
    const char *whole;         /* the text of which from..to are shown as they are; null: `owned` is shown */
    size_t whole_len;
    size_t from, to; /* the lines that it is made of */
    char *owned;     /* or null */
    size_t owned_len;
    int32_t n_secrets; /* masked in `owned` */
    /* Of the project: */
    int32_t line;     /* from 1 */
    const char *name; /* that it is looked up by */
    uint64_t hash;    /* project_definition.hash */
};

struct candidates {
    struct candidate *items; /* owned */
    int32_t n;
    /* Owned; what candidates of the project view. */
    struct project_answer answers[CANDIDATES_NAMES_MAX + CANDIDATES_IMPORTS + 1];
    int32_t n_answers;
    enum err err; /* the first failure to keep one; ERR_NOMEM */
};

/* What the surroundings of the cursor are about. */
struct candidates_name {
    const char *text; /* view of the document */
    size_t len;
    uint32_t hash;
    size_t distance; /* bytes from the cursor */
    bool is_known;   /* defined in this document: no need to look elsewhere */
};

struct candidates_near {
    size_t from, to; /* of the document: lines before and after the cursor */
    struct identifiers identifiers;
    struct candidates_name names[CANDIDATES_NAMES_MAX]; /* nearest first, each once */
    int32_t n_names;
};

struct gathering {
    const struct context_input *in;
    const struct view *view;
    const struct outline *outline; /* of in->doc */
    int32_t unit;                  /* of the outline: the innermost that the cursor is in; -1: none */
    size_t max_bytes;              /* of a piece: larger ones are cut down or left out */
    struct candidates_near near;
    struct open_document *others[CANDIDATES_DOCUMENTS]; /* the one worked in last first */
    int32_t n_others;
    struct candidates *out;
};

/* Fill in everything but what the caller sets: in, view, outline, max_bytes, out. */
void gathering_start(struct gathering *g);

/* Add all candidates. Failures are in g->out->err. */
void gather_definitions(struct gathering *g); /* gather_definitions.c: definitions, distant code, comment */
void gather_imports(struct gathering *g);     /* gather_imports.c: what imported files define */
void gather_related(struct gathering *g); /* gather_related.c: what shares words with names near the cursor */
void gather_documents(struct gathering *g); /* gather_documents.c: edits, similar windows, client chunks */

/* For all of these (gather_definitions.c): */

/* The signature of a unit of a document. */
void gather_signature(struct gathering *g, enum context_kind kind, struct open_document *doc,
                      const struct outline *o, int32_t unit, double relevance);
/* A definition of the index, whose answer is kept, without its comment. */
void gather_head(struct gathering *g, const struct project_definition *d, double relevance);
/* The open document of this path, which is newer than the index; null: none. */
struct open_document *gather_open(const struct gathering *g, const char *path);
/* Whether a unit can be named from elsewhere: it does not stand inside of a function. */
bool gather_is_visible(const struct outline *o, int32_t unit);
/* Whether a name is near the cursor: what it means is gathered by the name. */
bool gather_is_near(const struct gathering *g, const char *name, size_t len);
/* The name at rank 0 (nearest) counts fully, at rank 8 half: what stands nearest is most likely to matter. */
double gather_rank_relevance(int32_t rank);

/* Takes c->owned, also where the list is full, the text is empty or memory is out. */
void candidates_add(struct candidates *l, const struct candidate *c);
/* Where the index's next answer goes, and whether to keep it: false if there is an error instead. */
struct project_answer *candidates_next_answer(struct candidates *l);
bool candidates_keep_answer(struct candidates *l, enum err err);
void candidates_clear(struct candidates *l);
size_t candidate_len(const struct candidate *c); /* bytes, before secrets are masked */

/* Past the lines that say what a unit is, before its body; a bounded number of them. */
size_t candidates_head_end(const struct text *t, const struct outline_unit *u);

/* Other documents that are longer are not outlined. */
#define CANDIDATES_OUTLINE_BYTES ((size_t)256 << 10)

#endif

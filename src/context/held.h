/* What was chosen and is shown until something about it changes: pieces, the files they make up, the lead,
 * and from where each was taken. One block of text, no views into documents. */
#ifndef CONTEXT_HELD_H
#define CONTEXT_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "context/builder.h"
#include "context/choose.h"
#include "context/lead.h"

enum held_source { HELD_FIXED, HELD_HERE, HELD_DOCUMENT, HELD_PROJECT };

/* Where a piece comes from, so that it can be told whether it is still there. */
struct held_piece {
    enum held_source source; /* fixed: what the client sent */
    size_t from, to;         /* here, document: bytes of the text */
    const char *name;        /* document: its URI; project: what is defined. A view of the block */
    uint64_t hash;           /* document: of the lines; project: project_definition.hash */
    uint64_t n_edits;        /* document: when it was last looked at */
    size_t len;              /* document: of the whole text then */
};

struct held {
    struct context_piece *pieces; /* owned; files' pieces, then the lead's */
    struct held_piece *sources;   /* owned; one for each piece */
    int32_t n_pieces;
    struct fim_file *files; /* owned */
    int32_t n_files;
    char *block; /* owned; all texts and names */
    const char *lead;
    size_t lead_len;
    int32_t n_secrets;
    bool is_stale; /* lines of this document that a piece shows were edited */
    size_t n_bytes;
};

/* Replaces what h holds. ERR_NOMEM. */
MUST_CHECK enum err held_fill(struct held *h, const struct context_input *in, const struct choices *chosen,
                              const struct lead *lead);
void held_clear(struct held *h);

/* This document was edited. */
void held_edit(struct held *h, size_t from, size_t old_to, size_t new_to);

/* Whether what was taken from open documents is still there. Costs a comparison for each document that was
 * not edited. */
bool held_is_current(struct held *h, struct documents *docs);

/* Whether the project still defines what it was asked for as it is shown. */
bool held_is_defined(const struct held *h, struct project *p, const char *path);

/* Whether a piece of this document overlaps these bytes. */
bool held_overlaps(const struct held *h, size_t from, size_t to);

#endif

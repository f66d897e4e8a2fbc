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

struct held {
    struct context_piece *pieces;   /* owned; files' pieces, then the lead's */
    struct context_source *sources; /* owned; one for each piece */
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

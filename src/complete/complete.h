/* The completion pipeline: from a cursor in a document to a suggestion.
 *
 * Cuts the window around the cursor, lays out the FIM prompt, runs the engine, applies the stop rules and
 * trims the result. */
#ifndef COMPLETE_COMPLETE_H
#define COMPLETE_COMPLETE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "context/fim.h"
#include "infer/engine.h"

/* The usual length of a prompt. Of a cold request most of the time is prefill: this much takes seconds on a
 * laptop's processor, a full context of 4096 tokens four times as long. */
#define COMPLETE_PROMPT_TOKENS 1024

struct complete_request {
    const char *text; /* the whole document, UTF-8 */
    size_t len;
    size_t cursor;             /* byte offset, <= len */
    const char *path;          /* shown to the model; or null */
    int32_t max_tokens;        /* generated at most */
    int32_t max_prompt_tokens; /* 0: COMPLETE_PROMPT_TOKENS; never more than the sequence holds */
    struct sampler_params sampling;
    double max_prompt_ms, max_predict_ms; /* 0: no limit; the answer is what is there by then */
    const atomic_bool *cancel;            /* or null */
    /* Called with each piece of text that is certain to be part of the result, whole UTF-8 characters;
     * or null. Return false to stop. */
    bool (*on_text)(void *ctx, const char *text, size_t len);
    void *ctx;
};

enum complete_stop {
    COMPLETE_EOG,        /* the model ended the middle */
    COMPLETE_LIMIT,      /* max_tokens */
    COMPLETE_WORD,       /* a stop text appeared */
    COMPLETE_SUFFIX,     /* it began to repeat the text after the cursor */
    COMPLETE_REPETITION, /* it began to repeat itself */
    COMPLETE_BLOCK,      /* model without FIM: the block at the cursor is complete */
    COMPLETE_INDENT,     /* a line was indented less than asked for */
    COMPLETE_TIME,       /* max_prompt_ms or max_predict_ms */
    COMPLETE_CANCELLED   /* by the flag, or on_text returned false */
};
/* "eog", "limit", "word", "suffix", "repetition", "block", "indent", "time", "cancelled" */
const char *complete_stop_name(enum complete_stop stop);

struct complete_result {
    enum complete_stop stop;
    struct engine_result engine; /* tokens and times */
};

/* Append the suggestion to out: exactly the text that on_text was given. It may be empty. Line endings follow
 * the document's; white space at its end is dropped unless text follows on the cursor's line. OK also when
 * cancelled. ERR_LIMIT: the context cannot hold max_tokens and a prompt. */
MUST_CHECK enum err complete_run(struct engine_seq *seq, const struct fim *fim,
                                 const struct complete_request *r, struct buf *out,
                                 struct complete_result *result, struct errmsg *msg);

#endif

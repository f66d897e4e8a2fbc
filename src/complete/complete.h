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

struct documents;
struct secrets;

/* The usual bound of a prompt's length. A cold one is about half as long (builder.h): most of its time is
 * prefill, which takes seconds on a laptop's processor; typing then fills the rest at no cost. */
#define COMPLETE_PROMPT_TOKENS 2816

struct complete_request {
    const char *text; /* the whole document, UTF-8 */
    size_t len;
    size_t cursor;          /* byte offset, <= len */
    const char *path;       /* shown to the model; or null */
    struct documents *docs; /* what was completed before, so that only what changed is looked at; or null */
    const struct secrets *secrets; /* what the prompt must not hold; or null */
    bool is_window_only;           /* the prompt shows the text around the cursor and nothing else */
    int32_t max_tokens;            /* generated at most */
    int32_t max_prompt_tokens;     /* 0: COMPLETE_PROMPT_TOKENS; never more than the sequence holds */
    struct sampler_params sampling;
    double max_prompt_ms, max_predict_ms; /* 0: no limit; the answer is what is there by then */
    const atomic_bool *cancel;            /* or null */
    /* Called with each piece of text that is certain to be part of the result, whole UTF-8 characters;
     * or null. Return false to stop. */
    bool (*on_text)(void *ctx, const char *text, size_t len);
    void *ctx;
    struct buf *explanation; /* appended to (explain.h); or null */
};

enum complete_stop {
    COMPLETE_EOG,        /* the model ended the middle */
    COMPLETE_LIMIT,      /* max_tokens */
    COMPLETE_WORD,       /* a stop text appeared */
    COMPLETE_SUFFIX,     /* it began to repeat the text after the cursor */
    COMPLETE_REPETITION, /* it began to repeat itself */
    COMPLETE_LINE,       /* the line is complete, */
    COMPLETE_UNIT,       /* the statement is, */
    COMPLETE_BLOCK,      /* or the block, and more was not wanted */
    COMPLETE_INDENT,     /* a line was indented less than asked for */
    COMPLETE_TIME,       /* max_prompt_ms or max_predict_ms */
    COMPLETE_CANCELLED   /* by the flag, or on_text returned false */
};
/* "eog", "limit", "word", "suffix", "repetition", "line", "unit", "block", "indent", "time", "cancelled" */
const char *complete_stop_name(enum complete_stop stop);

struct complete_result {
    enum complete_stop stop;
    struct engine_result engine; /* tokens and times */
};

/* Append the suggestion to out: exactly the text that on_text was given. It may be empty. Line endings follow
 * the document's; white space at its end is dropped unless text follows on the cursor's line. OK also when
 * cancelled. Nothing is suggested in a document that is a secret. ERR_LIMIT: the context cannot hold
 * max_tokens and a prompt. */
MUST_CHECK enum err complete_run(struct engine_seq *seq, const struct fim *fim,
                                 const struct complete_request *r, struct buf *out,
                                 struct complete_result *result, struct errmsg *msg);

#endif

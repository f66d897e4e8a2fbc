/* One completion of a text under edit, timed: the text around the cursor, the FIM prompt, the engine. What
 * tidies an answer up (complete/stop.h) is left out, so that an answer is max_tokens long unless the model
 * ends it, on whichever engine it is measured. */
#ifndef CLI_BENCH_ASK_H
#define CLI_BENCH_ASK_H

#include <stdatomic.h>
#include <stdint.h>

#include "cli/bench/text.h"
#include "complete/prompt.h"
#include "context/documents.h"
#include "context/fim.h"
#include "infer/engine.h"
#include "model/tokenizer.h"

struct bench_asker {
    const struct model *model;
    struct engine_seq *seq; /* borrowed */
    struct fim fim;
    const char *path; /* that the model is told */
    /* Whole lines around the cursor's own that the prompt may hold, as llama.vim chooses them; negative: what
     * the context builder chooses. */
    int32_t lines_before, lines_after;
    int32_t max_prompt; /* tokens */
    int32_t max_tokens; /* of an answer */
    /* Owned, bench_asker_clear. */
    struct prompt prompt;   /* of the last question */
    struct documents *docs; /* the text as an editor would keep it open */
    struct fim_memo memo;
    const struct secrets *secrets; /* borrowed; or null */
    bool is_anchored_anew;         /* by the last question in a document */
};

struct bench_answer {
    struct engine_result engine;
    double build_ms; /* until the prompt was there */
    double ttft_ms;  /* until the first token was; 0: there was none */
    double total_ms;
    struct token_list *tokens; /* the caller's; those generated are added. Or null */
};

void bench_asker_clear(struct bench_asker *a);

/* Lay out the prompt for a place in a document of a->docs in a->prompt: all that a daemon does before it has
 * one. */
MUST_CHECK enum err bench_ask_document(struct bench_asker *a, struct open_document *doc, size_t cursor,
                                       struct errmsg *msg);

/* Lay out the prompt for the text's cursor in a->prompt. */
MUST_CHECK enum err bench_ask_prompt(struct bench_asker *a, const struct bench_text *t, struct errmsg *msg);

/* The greedy answer; tokens of *out must be set. OK also when cancelled: engine.stop tells. */
MUST_CHECK enum err bench_ask(struct bench_asker *a, const struct bench_text *t, const atomic_bool *cancel,
                              struct bench_answer *out, struct errmsg *msg);

#endif

/* The answer to one prompt while it is generated: fed by the engine, judged by the stop rules, collected in
 * the document's line ends.
 *
 *     generation_init, generation_on_token ... (engine_request), generation_finish, generation_clear
 *
 * Thread: the engine's caller. */
#ifndef COMPLETE_GENERATION_H
#define COMPLETE_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "complete/complete.h"
#include "complete/prompt.h"
#include "complete/stop.h"
#include "context/document.h"

/* What ends the answer besides the model and its limits of tokens and time. Views. */
struct generation_rules {
    enum document_eol eol; /* of the answer */
    const struct stop_word *words;
    int32_t n_words;
    int32_t min_indent; /* stop_place; not in the answer to a raw prompt: */
    enum stop_extent extent;
    const struct language *language; /* null: not known */
    double two_line_ms; /* counted from the first token, in force once there is a second line; 0: none */
    /* Pieces of the answer as they become certain; false ends it. Or null. */
    bool (*on_text)(void *ctx, const char *text, size_t len);
    void *ctx;
};

struct generation { /* stays where it was initialised */
    const struct fim *fim;
    struct generation_rules rules;
    struct stop_word marks[FIM_MAX_MARKS];
    struct stop stop;
    struct buf *out;     /* the caller's */
    size_t emitted;      /* bytes of stop.text that were appended to out */
    int64_t deadline_ns; /* of two_line_ms; 0 until the first token */
    bool is_ended;       /* by an end token of the FIM family */
    bool is_refused;     /* by on_text */
    bool is_late;        /* two_line_ms are over */
};

/* The input and out stay until generation_clear. The answer is appended to out. */
void generation_init(struct generation *g, const struct fim *fim, const struct prompt_input *in,
                     const struct generation_rules *rules, struct buf *out);
void generation_clear(struct generation *g); /* tolerates a zeroed one */

/* An engine_token_fn; ctx is the generation. */
bool generation_on_token(void *ctx, int32_t token, const char *bytes, size_t len);

/* In place of the engine: take text that was generated before, from the same place or by having typed what
 * came before it there. False: the rules ended it. */
bool generation_replay(struct generation *g, const char *text, size_t len);

/* The engine has stopped: decide what was not certain, and why it ended. ERR_NOMEM, ERR_LIMIT: the text is
 * not whole. */
MUST_CHECK enum err generation_finish(struct generation *g, enum engine_stop stop, enum complete_stop *why,
                                      struct errmsg *msg);

#endif

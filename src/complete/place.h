/* What the place of the cursor asks for: how far a suggestion may go, and whether one would only disturb. */
#ifndef COMPLETE_PLACE_H
#define COMPLETE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "complete/stop.h"
#include "context/language.h"
#include "context/syntax.h"

/* Views. Lines end in '\n'. */
struct place {
    const char *before,
        *after; /* the text around the cursor; at least the cursor's line and the ones next to it */
    size_t before_len, after_len;
    const struct language *language;
    enum syntax_place inside;
    int32_t n_deletions; /* open_document.n_deletions */
};

/* Block start, empty line: several lines. In a comment or a string, or with text after the cursor other than
 * closing brackets: this line. Else the statement, over lines only while its brackets are open. */
enum stop_extent place_extent(const struct place *p);

/* Why nothing should be suggested here unless the user asks. */
enum place_quiet {
    PLACE_NOT_QUIET,
    PLACE_DELETING, /* the user is taking text away */
    PLACE_IN_WORD,  /* the cursor stands in the middle of a word */
    PLACE_IN_NUMBER /* a number is being typed */
};
enum place_quiet place_quiet(const struct place *p);
const char *place_quiet_name(enum place_quiet q); /* "", "deleting", "in-word", "in-number" */

/* Whether the model is sure enough: the geometric mean of the tokens' probabilities, exp(mean_logprob), is at
 * least `least` (0: always). */
bool place_is_sure(double mean_logprob, int32_t n_tokens, double least);

#endif

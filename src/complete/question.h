/* What is asked at a place in a document: the text that the prompt will show, how far the answer may go, and
 * whether one would disturb. The step from context/ to the pipeline, the same for one request and for many.
 */
#ifndef COMPLETE_QUESTION_H
#define COMPLETE_QUESTION_H

#include "complete/place.h"
#include "complete/prompt.h"
#include "context/builder.h"
#include "context/document.h"

struct question { /* views, as those of struct context */
    struct context context;
    struct prompt_input input;
    enum document_eol eol;
    enum syntax_place inside;
    enum stop_extent extent; /* that the place asks for */
    const struct language *language;
    const char *quiet;   /* why nothing should be suggested unless the user asks; "" */
    bool is_secret_file; /* nothing may be suggested at all */
};

/* ERR_NOMEM, ERR_LIMIT. */
MUST_CHECK enum err question_ask(const struct context_input *in, struct question *out, struct errmsg *msg);

#endif

/* The tokens that the model continues: a FIM prompt laid out around a cursor, or a prompt as the client made
 * it. Thread: any; a prompt has one owner. */
#ifndef COMPLETE_PROMPT_H
#define COMPLETE_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "context/fim.h"
#include "model/tokenizer.h"

struct model;

/* Views. */
struct prompt_input {
    bool is_raw;
    /* A place in a document: its window, lines ending in '\n'. */
    const char *before, *after;
    size_t before_len, after_len;
    const char *path;             /* or null */
    const char *repo;             /* project's name, or null */
    const char *line_comment;     /* fim_input */
    const struct fim_file *files; /* most distant first */
    int32_t n_files;
    /* Raw: tokens, or text in which special tokens' names become those tokens. */
    const char *text;
    size_t text_len;
    const int32_t *tokens; /* null: text */
    int32_t n_tokens;
};

/* A document's, as it is laid out. */
struct fim_input prompt_fim_input(const struct prompt_input *in);

#define PROMPT_HEAL_MAX 32 /* bytes; few tokens of code are longer */

struct prompt {
    struct token_list tokens; /* at least one */
    struct token_list drafts; /* where drafts are looked up (engine_request); empty: the prompt itself */
    int32_t move_from;        /* engine_request */
    /* The end of the text before the cursor that is not in the tokens: the answer begins with it
     * (engine_request). */
    char heal[PROMPT_HEAL_MAX];
    size_t heal_len;
    bool was_cut; /* a raw prompt lost its beginning to max_tokens */
    int32_t room; /* bytes that can be typed before more or less of the text is cut off than now */
};

/* A document's prompt is fim_build's; memo (or null) is handed on to it. A raw one keeps its end, and BOS;
 * ERR_ARG: a token outside the vocabulary. */
MUST_CHECK enum err prompt_build(const struct fim *fim, const struct model *m, const struct prompt_input *in,
                                 int32_t max_tokens, struct fim_memo *memo, struct prompt *out,
                                 struct errmsg *msg);
void prompt_clear(struct prompt *p); /* tolerates a zeroed one */

#endif

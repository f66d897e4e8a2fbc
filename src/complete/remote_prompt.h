/* The prompt for a model on another machine: which FIM format it is asked in, and what is shown of a document
 * where only the server has the tokenizer.
 *
 * Without a tokenizer tokens are estimated from bytes, on the safe side; where prefix and suffix do not fit
 * they are cut by the rules of fim_build (anchored steps, quarters of the suffix), so that successive prompts
 * share their beginning and the server's prefix cache is of use. Thread: any; a prompt has one owner. */
#ifndef COMPLETE_REMOTE_PROMPT_H
#define COMPLETE_REMOTE_PROMPT_H

#include "base/buf.h"
#include "base/err.h"
#include "complete/prompt.h"
#include "context/fim.h"
#include "remote/ask.h"

/* How the format is chosen. Setting: "auto": the server's own where it has one (remote_traits.has_fim), else
 * the family that its model's name tells, else none: the text before the cursor is continued. "server": the
 * server's own, "none", or a family's name (fim_of_family). ERR_ARG: none of these, with what there is. */
MUST_CHECK enum err remote_prompt_check_setting(const char *setting, struct errmsg *msg);

/* What the stop rules need to know, before or without a prompt. *is_servers: the server lays it out. */
void remote_prompt_fim(const char *setting, const struct remote_traits *t, struct fim *out, bool *is_servers);

struct remote_prompt { /* stays where it was built */
    struct fim fim;
    struct buf text;           /* owned: the prompt, or the files' texts */
    struct buf prefix, suffix; /* owned */
    struct remote_file *files; /* owned */
    bool was_cut;              /* as struct prompt's */
    int32_t room;
};

/* Fill in what is asked of `ask`, but for sampling, limits and stops: views of `out` and of `in`, which
 * stays. max_tokens bounds the prompt. A raw prompt is text or tokens as it stands, its beginning cut off
 * where it is too long. Special tokens' names that stand in a document's text are not sent as such. */
MUST_CHECK enum err remote_prompt_build(const char *setting, const struct remote_traits *t,
                                        const struct prompt_input *in, int32_t max_tokens,
                                        struct remote_prompt *out, struct remote_ask *ask,
                                        struct errmsg *msg);
void remote_prompt_clear(struct remote_prompt *p); /* tolerates a zeroed one */

#endif

/* Private to the dialects: the table that dialect.c keeps of them, and what they share.
 *
 * What comes from servers may have any shape: whatever is missing, null or of another kind counts as not
 * told (base/json_read.h), and every number is clamped to what its field holds. */
#ifndef REMOTE_DIALECT_IMPL_H
#define REMOTE_DIALECT_IMPL_H

#include "base/json.h"
#include "base/json_read.h"
#include "remote/dialect.h"

/* What a server answered to a question. */
struct dialect_answer {
    int32_t question;
    int status;
    const struct json_value *json; /* null: none */
    const char *wanted;            /* the configured name of the model, or "" */
};

struct dialect {
    const char *name;    /* as the setting spells it */
    const char *service; /* as messages call it */
    const char *probe_path;
    int32_t n_questions;
    const char *(*write)(const struct remote_traits *t, const struct remote_ask *ask, struct buf *body);
    /* An event that is an object and no failure. False: no such event in this API. */
    bool (*read)(const struct json_value *event, struct buf *text, struct dialect_piece *out);
    void (*ask)(int32_t i, const char *wanted, const struct remote_traits *so_far,
                struct dialect_question *out, struct buf *body);
    /* The first question's answer is an object of status 200; others have any status below 500 and 501. */
    enum err (*learn)(const struct dialect_answer *a, struct remote_traits *inout, struct errmsg *msg);
    /* Whether the first question's answer comes from this API. */
    bool (*is_from)(const struct json_value *json);
};

extern const struct dialect dialect_openai, dialect_llama, dialect_ollama;

/* Requests. Servers refuse an empty prompt, or take it for something else: it becomes "\n". */
void dialect_write_prompt(struct json *j, const char *key, const char *text, size_t len);
void dialect_write_tokens(struct json *j, const char *key, const int32_t *tokens, int32_t n);
void dialect_write_stops(struct json *j, const struct remote_ask *ask, int32_t max);
/* The seed, as every server takes it: 31 bits. */
int64_t dialect_seed(const struct remote_ask *ask);

/* Answers. A count of tokens; -1: not told. */
int32_t dialect_count(const struct json_value *v);
/* Append a string; others are nothing. */
void dialect_add_text(const struct json_value *v, struct buf *text);
/* Add up log probabilities: an array of numbers, or of objects that hold them as "logprob". */
void dialect_add_logprobs(const struct json_value *list, struct dialect_piece *out);
bool dialect_is_str(const struct json_value *v, const char *text);
/* Copy a string that fits into a name; false, and nothing changed, if it does not. */
bool dialect_copy_name(const struct json_value *v, char name[REMOTE_NAME_MAX]);

/* The model that is meant among those listed, whose names are their `key`: the wanted one, or without one the
 * only one that completes text. ERR_NOT_FOUND names what there is. */
MUST_CHECK enum err dialect_choose(const struct json_value *list, const char *key, const char *wanted,
                                   const struct json_value **out, struct errmsg *msg);

#endif

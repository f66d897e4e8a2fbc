/* What the HTTP dialects ask for, as one struct service_request.
 *
 * The dialects name most things alike, so that one table of fields serves them all: aliases are rows, a null
 * is an absent field, unknown fields are ignored, numbers out of range become the nearest in range, and a
 * value of another kind is ERR_ARG with the field's name and what it should be. How a dialect names the text
 * itself differs: it picks one of the api_params_... functions for that. Thread: loop. */
#ifndef SERVE_API_PARAMS_H
#define SERVE_API_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service/service.h"

struct json_value;

#define API_FILES_MAX 256 /* of the files that a request shows, the nearest so many count */

struct api_params {
    /* Its strings are views of the body, of `text` and of `client`: all must stay until service_submit. */
    struct service_request request;
    bool is_stream;
    int32_t id_slot;        /* as the client sent it; -1: any */
    const char *user;       /* view of the body; or "" */
    char client[32];        /* what request.client points to */
    char *text;             /* owned: prefix, middle and suffix in a row */
    struct fim_file *files; /* owned; their strings are views */
    int32_t *tokens;        /* owned */
};

/* Defaults: the service's usual number of tokens, greedy, not streamed. */
void api_params_init(struct api_params *p);
void api_params_clear(struct api_params *p);

/* All fields of `object` that are the same everywhere (api_params.c has the table); may be called for several
 * objects, the last one wins. */
MUST_CHECK enum err api_params_fields(struct api_params *p, const struct json_value *object,
                                      struct errmsg *msg);

/* A place in a document: the text is prefix, middle and suffix in a row, and the cursor stands before the
 * suffix. The three are members of `object` or absent. */
MUST_CHECK enum err api_params_place(struct api_params *p, const struct json_value *object,
                                     const char *prefix, const char *middle, const char *suffix,
                                     struct errmsg *msg);

/* A prompt as it stands: a string, a list of token ids, or a list of one string. ERR_ARG if it is absent. */
MUST_CHECK enum err api_params_prompt(struct api_params *p, const struct json_value *object, const char *name,
                                      struct errmsg *msg);

/* Append object[name], a list of {path_name: string, text_name: string}, to the files shown. */
MUST_CHECK enum err api_params_files(struct api_params *p, const struct json_value *object, const char *name,
                                     const char *path_name, const char *text_name, struct errmsg *msg);

/* A string member; *out keeps its value if it is absent. */
MUST_CHECK enum err api_params_str(const struct json_value *object, const char *name, const char **out,
                                   size_t *len, struct errmsg *msg);

/* Last of all, what depends on several fields: a request for no tokens is a warm-up without time limits, and
 * the client is named by a hash of what tells it from others, so that no secret is kept. */
void api_params_settle(struct api_params *p, const char *authorization, const char *user_agent);

#endif

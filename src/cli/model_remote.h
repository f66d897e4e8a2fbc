/* What the command line says about models on other machines ([model.NAME]): `inline model list`, `info` and
 * `check`, and `inline doctor`. */
#ifndef CLI_MODEL_REMOTE_H
#define CLI_MODEL_REMOTE_H

#include <stdbool.h>

#include "cli/settings.h"
#include "remote/remote.h"

struct buf;
struct json;

#define MODEL_REMOTE_LEARN_MS 5000 /* for a server to say what it has: nothing is computed for that */
#define MODEL_REMOTE_CTX      4096 /* tokens, where neither settings nor servers tell */

/* The section that a command's argument means (null or "": models.main); null: it is none. */
const struct settings_remote *model_remote_named(const char *name, const struct settings *s);

/* `inline model info` and `check` of such a model; they return the exit status. */
int model_remote_info(const struct settings_remote *r, const struct settings *s, bool is_json);
int model_remote_check(const struct settings_remote *r, const struct settings *s, bool is_json);

/* Their part of `inline model list`: lines, or objects in the array that was begun. */
void model_remote_list(const struct settings *s, struct buf *out);
void model_remote_list_json(const struct settings *s, struct json *j);

/* A pool of one of its servers, or of all (url: null). key: settings_remote_key. */
MUST_CHECK enum err model_remote_open(const struct settings_remote *r, const struct settings *s,
                                      const char *url, const char *key, double timeout_ms,
                                      struct remote **out, struct errmsg *msg);

/* What each server says about itself, asked all at once. */
struct model_remote_look {
    char url[REMOTE_NAME_MAX];
    struct remote_traits traits;
    enum err err; /* with msg: why it could not be asked */
    struct errmsg msg;
    double ms; /* until it had answered */
};
struct model_remote_looks {
    struct model_remote_look at[REMOTE_SERVERS_MAX];
    int32_t n, n_up;
    const struct model_remote_look *first_up; /* or null */
};
/* ERR_ARG, ERR_NOT_FOUND: the key; ERR_UNSUPPORTED: no libcurl. Servers that do not answer are no error. */
MUST_CHECK enum err model_remote_look(const struct settings_remote *r, const struct settings *s,
                                      struct model_remote_looks *out, struct errmsg *msg);

/* "qwen (psm), as the model's name tells": how the text around the cursor is shown to it, and why so. */
void model_remote_describe_fim(const struct settings_remote *r, const struct remote_traits *t,
                               struct buf *out);

#endif

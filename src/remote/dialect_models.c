/* Which of the models that a server lists is meant. */
#include <string.h>

#include "remote/dialect_impl.h"

#define SHOWN_MAX 5 /* names in a message */

static const char *name_of(const struct json_value *model, const char *key)
{
    const char *name = json_get_str(json_get(model, key), NULL);
    return name ? name : "";
}

/* Ollama leaves out the tag of what others call NAME:latest. */
static bool is_called(const char *name, const char *wanted)
{
    size_t len = strlen(wanted);
    return strncmp(name, wanted, len) == 0 && (name[len] == '\0' || strcmp(name + len, ":latest") == 0);
}

/* Other names of a model: llama-server's and Mistral's "aliases", what vLLM and SGLang serve it from. */
static bool has_alias(const struct json_value *model, const char *wanted)
{
    const struct json_value *aliases = json_get(model, "aliases");
    for (size_t i = 0; i < json_count(aliases); i++) {
        if (dialect_is_str(json_at(aliases, i), wanted)) return true;
    }
    return dialect_is_str(json_get(model, "root"), wanted);
}

static const struct json_value *find(const struct json_value *list, const char *key, const char *wanted)
{
    for (size_t i = 0; i < json_count(list); i++) {
        if (is_called(name_of(json_at(list, i), key), wanted)) return json_at(list, i);
    }
    for (size_t i = 0; i < json_count(list); i++) {
        if (has_alias(json_at(list, i), wanted)) return json_at(list, i);
    }
    return NULL;
}

/* Not those that make embeddings, nor vLLM's adapters, which have their base as "parent". */
static bool completes(const struct json_value *model, const char *key)
{
    const char *name = name_of(model, key);
    return name[0] && !strstr(name, "embed") && !json_is_str(json_get(model, "parent"));
}

/* Up to SHOWN_MAX names; returns how many models there are. */
static size_t list_names(const struct json_value *list, const char *key, struct buf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < json_count(list); i++) {
        const char *name = name_of(json_at(list, i), key);
        if (!name[0] || n++ >= SHOWN_MAX) continue;
        buf_add_str(out, n > 1 ? ", " : "");
        buf_add_str(out, name);
    }
    if (n > SHOWN_MAX) buf_printf(out, " and %zu more", n - SHOWN_MAX);
    return n;
}

static enum err not_found(const struct json_value *list, const char *key, const char *wanted,
                          struct errmsg *msg)
{
    struct buf names;
    buf_init(&names, ERRMSG_MAX); /* names beyond that are left out */
    enum err err;
    if (list_names(list, key, &names) == 0) {
        err = err_set(msg, ERR_NOT_FOUND, "the server has no model");
    } else if (wanted[0]) {
        err = err_set(msg, ERR_NOT_FOUND, "the server has no model %s; it has %s", wanted, buf_str(&names));
    } else {
        err = err_set(msg, ERR_NOT_FOUND, "the server has several models: set model to one of %s",
                      buf_str(&names));
    }
    buf_clear(&names);
    return err;
}

enum err dialect_choose(const struct json_value *list, const char *key, const char *wanted,
                        const struct json_value **out, struct errmsg *msg)
{
    size_t n = 0;
    *out = wanted[0] ? find(list, key, wanted) : NULL;
    for (size_t i = 0; i < json_count(list) && !wanted[0]; i++) {
        if (!completes(json_at(list, i), key)) continue;
        if (n++ == 0) *out = json_at(list, i);
    }
    char name[REMOTE_NAME_MAX];
    if (n > 1 || !*out) return not_found(list, key, wanted, msg);
    if (dialect_copy_name(json_get(*out, key), name)) return OK;
    return err_set(msg, ERR_NOT_FOUND, "the model's name is longer than %d bytes", REMOTE_NAME_MAX - 1);
}

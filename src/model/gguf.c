/* GGUF files: opening them and looking things up. gguf_parse.c validates, gguf_index.c finds names.
 *
 * Once opened, nothing of struct gguf changes and every view lies inside the map, so lookups need no lock and
 * no check but that of the type the caller expects. The bytes of the map may change, if somebody writes to
 * the file: each is read once, and only strings have lengths there. */
#include "model/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/gguf_index.h"
#include "model/gguf_parse.h"
#include "os/file.h"

enum err gguf_open_bytes(const void *data, size_t len, struct gguf **out, struct errmsg *msg)
{
    struct gguf *g = MEM_NEW(struct gguf);
    g->map = (struct map){.data = data, .len = len};
    enum err err = gguf_parse(g, msg);
    if (err) gguf_close(&g);
    *out = g;
    return err;
}

enum err gguf_open_fd(int fd, const char *path, struct gguf **out, struct errmsg *msg)
{
    struct map map;
    struct errmsg why;
    *out = NULL;
    enum err err = map_open_fd(fd, path, &map, msg);
    if (err) return err;
    err = gguf_open_bytes(map.data, map.len, out, &why);
    if (err) {
        map_close(&map);
        return err_set(msg, err, "%s: %s", path, why.text);
    }
    (*out)->map = map; /* with its guard */
    (*out)->owns_map = true;
    return OK;
}

enum err gguf_open(const char *path, struct gguf **out, struct errmsg *msg)
{
    int fd;
    *out = NULL;
    enum err err = file_open(path, &fd, msg);
    if (err) return err;
    err = gguf_open_fd(fd, path, out, msg);
    close(fd);
    return err;
}

void gguf_close(struct gguf **g)
{
    struct gguf *old = *g;
    *g = NULL;
    if (!old) return;
    gguf_index_clear(&old->pair_index);
    gguf_index_clear(&old->tensor_index);
    mem_free(old->pairs);
    mem_free(old->tensors);
    if (old->owns_map) map_close(&old->map);
    mem_free(old);
}

uint32_t gguf_version(const struct gguf *g)
{
    return g->version;
}

const struct map *gguf_map(const struct gguf *g)
{
    return &g->map;
}

static bool is_int(enum gguf_type type)
{
    switch (type) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_U16:
    case GGUF_I16:
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_U64:
    case GGUF_I64:
        return true;
    default:
        return false;
    }
}

static bool is_float(enum gguf_type type)
{
    return type == GGUF_F32 || type == GGUF_F64;
}

static const char *type_text(enum gguf_type type)
{
    static const char *const texts[GGUF_TYPE_END] = {
        [GGUF_U8] = "uint8",    [GGUF_I8] = "int8",   [GGUF_U16] = "uint16",  [GGUF_I16] = "int16",
        [GGUF_U32] = "uint32",  [GGUF_I32] = "int32", [GGUF_F32] = "float32", [GGUF_BOOL] = "bool",
        [GGUF_U64] = "uint64",  [GGUF_I64] = "int64", [GGUF_F64] = "float64", [GGUF_STRING] = "string",
        [GGUF_ARRAY] = "array",
    };
    return texts[type];
}

/* The pair of a key; null, with a message, if it is missing. */
static const struct gguf_pair *find_pair(const struct gguf *g, const char *key, struct errmsg *msg)
{
    int32_t i = gguf_index_find(&g->pair_index, key, strlen(key));
    if (i >= 0) return &g->pairs[i];
    (void)err_set(msg, ERR_NOT_FOUND, "key %s: missing from the file", key);
    return NULL;
}

static enum err wrong_type(const struct gguf_pair *pair, const char *key, const char *wanted,
                           struct errmsg *msg)
{
    return err_set(msg, ERR_FORMAT, "key %s: is %s%s, not %s", key, pair->is_array ? "an array of " : "a ",
                   type_text(pair->type), wanted);
}

enum err gguf_get_int(const struct gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
                      struct errmsg *msg)
{
    const struct gguf_pair *pair = find_pair(g, key, msg);
    if (!pair) return ERR_NOT_FOUND;
    if (pair->is_array || !is_int(pair->type)) return wrong_type(pair, key, "an integer", msg);
    int64_t value = gguf_read_int(pair->type, pair->data);
    if (value < min || value > max) {
        return err_set(msg, ERR_FORMAT, "key %s: %" PRId64 " is outside %" PRId64 " to %" PRId64, key, value,
                       min, max);
    }
    *out = value;
    return OK;
}

enum err gguf_get_float(const struct gguf *g, const char *key, double *out, struct errmsg *msg)
{
    const struct gguf_pair *pair = find_pair(g, key, msg);
    if (!pair) return ERR_NOT_FOUND;
    if (pair->is_array || !is_float(pair->type)) return wrong_type(pair, key, "a float", msg);
    double value = gguf_read_float(pair->type, pair->data);
    if (!isfinite(value)) return err_set(msg, ERR_FORMAT, "key %s: not a finite number", key);
    *out = value;
    return OK;
}

enum err gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct errmsg *msg)
{
    const struct gguf_pair *pair = find_pair(g, key, msg);
    if (!pair) return ERR_NOT_FOUND;
    if (pair->is_array || pair->type != GGUF_BOOL) return wrong_type(pair, key, "a bool", msg);
    int64_t value = gguf_read_int(GGUF_U8, pair->data);
    if (value > 1) return err_set(msg, ERR_FORMAT, "key %s: a bool of value %d", key, (int)value);
    *out = value != 0;
    return OK;
}

enum err gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out, struct errmsg *msg)
{
    const struct gguf_pair *pair = find_pair(g, key, msg);
    if (!pair) return ERR_NOT_FOUND;
    if (pair->is_array || pair->type != GGUF_STRING) return wrong_type(pair, key, "a string", msg);
    struct gguf_array one = {.type = GGUF_STRING, .n = 1, .data = pair->data, .end = pair->end};
    const unsigned char *pos = one.data;
    *out = gguf_next_str(&one, &pos);
    return OK;
}

enum err gguf_get_array(const struct gguf *g, const char *key, enum gguf_type type, struct gguf_array *out,
                        struct errmsg *msg)
{
    const struct gguf_pair *pair = find_pair(g, key, msg);
    if (!pair) return ERR_NOT_FOUND;
    if (!pair->is_array || pair->type != type) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, "an array of %s", type_text(type));
        return wrong_type(pair, key, wanted, msg);
    }
    *out = (struct gguf_array){.type = type, .n = pair->n, .data = pair->data, .end = pair->end};
    return OK;
}

struct gguf_str gguf_next_str(const struct gguf_array *a, const unsigned char **pos)
{
    uint64_t len;
    size_t left = (size_t)(a->end - *pos);
    if (left < sizeof len) {
        *pos = a->end;
        return (struct gguf_str){.data = (const char *)a->end, .len = 0};
    }
    memcpy(&len, *pos, sizeof len);
    if (len > left - sizeof len) len = left - sizeof len;
    struct gguf_str str = {.data = (const char *)*pos + sizeof len, .len = (size_t)len};
    *pos += sizeof len + len;
    return str;
}

int64_t gguf_array_int(const struct gguf_array *a, uint64_t i)
{
    return gguf_read_int(a->type, a->data + i * gguf_type_bytes(a->type));
}

double gguf_array_float(const struct gguf_array *a, uint64_t i)
{
    const unsigned char *p = a->data + i * gguf_type_bytes(a->type);
    return is_float(a->type) ? gguf_read_float(a->type, p) : (double)gguf_read_int(a->type, p);
}

int32_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int32_t i)
{
    return &g->tensors[i];
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    int32_t i = gguf_index_find(&g->tensor_index, name, strlen(name));
    return i < 0 ? NULL : &g->tensors[i];
}

int32_t gguf_n_keys(const struct gguf *g)
{
    return g->n_pairs;
}

struct gguf_str gguf_key_at(const struct gguf *g, int32_t i, enum gguf_type *type)
{
    const struct gguf_pair *pair = &g->pairs[i];
    *type = pair->is_array ? GGUF_ARRAY : pair->type;
    return pair->key;
}

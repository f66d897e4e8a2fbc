/* Reading JSON that strangers sent. The parser is json-c, which only this file includes.
 *
 * A pass over the text comes first and refuses what json-c would take (NaN, control characters, bytes that
 * are not UTF-8) or would spend too much on: nesting, and trees far larger than their text. A value of json-c
 * takes some 64 bytes and an empty object some 800, so that 16 MiB of "{}," would become gigabytes. */
#include "base/json_read.h"

#include <limits.h>
#include <math.h>

#include <json-c/json.h>

#include "base/buf.h"
#include "base/utf8.h"

/* Values that a tree may have, where an object or array weighs as much as 16 numbers: at most 64 MiB. */
#define COST_MAX       ((size_t)1 << 20)
#define COST_CONTAINER 16

static const struct json_object *node(const struct json_value *v)
{
    return (const struct json_object *)v;
}

/* json-c's readers take no const, though they change nothing. */
static struct json_object *mutable_node(const struct json_value *v)
{
    return (struct json_object *)node(v);
}

static bool has_type(const struct json_value *v, enum json_type type)
{
    return json_object_is_type(node(v), type);
}

/* Index behind the string that begins at text[at] == '"'; len if it does not end. *bad is set at a control
 * character. */
static size_t skip_string(const char *text, size_t len, size_t at, bool *bad)
{
    for (at++; at < len && text[at] != '"'; at++) {
        if ((unsigned char)text[at] < 0x20) {
            *bad = true;
            return at;
        }
        if (text[at] == '\\' && at + 1 < len) at++;
    }
    return at < len ? at + 1 : len;
}

/* What must hold before json-c sees the text. */
static enum err check_text(const char *text, size_t len, struct errmsg *msg)
{
    size_t depth = 0, cost = 0, valid_len = utf8_valid_len(text, len);
    if (valid_len < len) return err_set(msg, ERR_FORMAT, "JSON: not UTF-8 at byte %zu", valid_len);
    for (size_t at = 0; at < len;) {
        unsigned char c = (unsigned char)text[at];
        bool is_bad = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 'N' || c == 'I';
        if (c == '"') {
            at = skip_string(text, len, at, &is_bad);
        } else if (!is_bad) {
            at++;
        }
        if (is_bad) return err_set(msg, ERR_FORMAT, "JSON: unexpected character at byte %zu", at);
        if (c == '{' || c == '[') {
            cost += COST_CONTAINER;
            if (++depth > JSON_DEPTH_MAX)
                return err_set(msg, ERR_LIMIT, "JSON: nested deeper than %d at byte %zu", JSON_DEPTH_MAX,
                               at - 1);
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        } else if (c == ',' && ++cost > COST_MAX) {
            break;
        }
    }
    if (cost > COST_MAX) return err_set(msg, ERR_LIMIT, "JSON: more than %zu values", COST_MAX);
    return OK;
}

enum err json_read(const char *text, size_t len, struct json_value **root, struct errmsg *msg)
{
    *root = NULL;
    enum err err = check_text(text, len, msg);
    if (err) return err;
    if (len > INT_MAX) return err_set(msg, ERR_LIMIT, "JSON: %zu bytes are too many", len);
    struct json_tokener *parser = json_tokener_new_ex(JSON_DEPTH_MAX + 1); /* the top counts as a level */
    if (!parser) return err_set(msg, ERR_NOMEM, "JSON: not enough memory");
    json_tokener_set_flags(parser, JSON_TOKENER_STRICT);

    struct json_object *tree = json_tokener_parse_ex(parser, text, (int)len);
    size_t end = json_tokener_get_parse_end(parser);
    enum json_tokener_error fault = json_tokener_get_error(parser);
    if (fault == json_tokener_continue) { /* a number may go on: a NUL says that it does not */
        tree = json_tokener_parse_ex(parser, "", 1);
        end = len;
        fault = json_tokener_get_error(parser);
    }
    json_tokener_free(parser);
    if (fault != json_tokener_success)
        return err_set(msg, ERR_FORMAT, "JSON: %s at byte %zu", json_tokener_error_desc(fault), end);
    *root = (struct json_value *)tree;
    return OK;
}

void json_read_free(struct json_value **root)
{
    if (*root) json_object_put(mutable_node(*root));
    *root = NULL;
}

bool json_is_object(const struct json_value *v)
{
    return has_type(v, json_type_object);
}

bool json_is_array(const struct json_value *v)
{
    return has_type(v, json_type_array);
}

bool json_is_str(const struct json_value *v)
{
    return has_type(v, json_type_string);
}

bool json_is_number(const struct json_value *v)
{
    return has_type(v, json_type_int) || has_type(v, json_type_double);
}

bool json_is_flag(const struct json_value *v)
{
    return has_type(v, json_type_boolean);
}

const struct json_value *json_get(const struct json_value *object, const char *key)
{
    struct json_object *member = NULL;
    if (json_is_object(object)) json_object_object_get_ex(node(object), key, &member);
    return (const struct json_value *)member;
}

size_t json_count(const struct json_value *array)
{
    return json_is_array(array) ? json_object_array_length(node(array)) : 0;
}

const struct json_value *json_at(const struct json_value *array, size_t i)
{
    if (i >= json_count(array)) return NULL;
    return (const struct json_value *)json_object_array_get_idx(node(array), i);
}

const char *json_get_str(const struct json_value *v, size_t *len)
{
    if (!json_is_str(v)) return NULL;
    if (len) *len = (size_t)json_object_get_string_len(node(v));
    return json_object_get_string(mutable_node(v));
}

bool json_get_int(const struct json_value *v, int64_t *out)
{
    if (has_type(v, json_type_int)) {
        *out = json_object_get_int64(node(v)); /* saturates */
        return true;
    }
    double num;
    if (!json_get_num(v, &num)) return false;
    if (num >= 0x1p63) {
        *out = INT64_MAX;
    } else if (num < -0x1p63) {
        *out = INT64_MIN;
    } else {
        *out = (int64_t)num;
    }
    return true;
}

bool json_get_num(const struct json_value *v, double *out)
{
    if (!json_is_number(v)) return false;
    double num = json_object_get_double(node(v));
    *out = fmax(-0x1.fffffffffffffp1023, fmin(num, 0x1.fffffffffffffp1023)); /* 1e999 is infinite */
    return true;
}

bool json_get_flag(const struct json_value *v, bool *out)
{
    if (!json_is_flag(v)) return false;
    *out = json_object_get_boolean(node(v));
    return true;
}

void json_each(const struct json_value *object,
               bool (*fn)(void *ctx, const char *key, const struct json_value *v), void *ctx)
{
    if (!json_is_object(object)) return;
    struct json_object_iterator at = json_object_iter_begin(mutable_node(object));
    struct json_object_iterator end = json_object_iter_end(node(object));
    while (!json_object_iter_equal(&at, &end)) {
        const struct json_value *member = (const struct json_value *)json_object_iter_peek_value(&at);
        if (!fn(ctx, json_object_iter_peek_name(&at), member)) return;
        json_object_iter_next(&at);
    }
}

void json_write_value(const struct json_value *v, struct buf *out)
{
    size_t len = 0;
    const char *text = json_object_to_json_string_length(
        mutable_node(v), JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    if (text) {
        buf_add(out, text, len);
    } else if (!out->err) {
        out->err = ERR_NOMEM;
    }
}

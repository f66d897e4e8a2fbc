/* Fuzz target: any bytes as a GGUF file. What opens must be readable to its last key, element and tensor
 * byte, and must find its own names; what is refused must say why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where the bytes read end up, so that no read is optimised away. */
static volatile uint64_t sink;

static void check(bool holds)
{
    if (!holds) abort();
}

static void read_str(struct gguf_str str)
{
    for (size_t i = 0; i < str.len; i++) sink += (unsigned char)str.data[i];
}

/* A view as a C string, cut at the first NUL as a caller's literal would be; the caller frees. */
static char *copy_str(struct gguf_str str)
{
    char *copy = mem_new(str.len + 1);
    memcpy(copy, str.data, str.len);
    return copy;
}

static void read_array(const struct gguf_array *array)
{
    const unsigned char *pos = array->data;
    for (uint64_t i = 0; i < array->n; i++) {
        if (array->type == GGUF_STRING) {
            read_str(gguf_next_str(array, &pos));
        } else if (array->type == GGUF_F32 || array->type == GGUF_F64) {
            sink += gguf_array_float(array, i) > 0;
        } else {
            sink += (uint64_t)gguf_array_int(array, i) + (gguf_array_float(array, i) > 0);
        }
    }
}

/* Ask for a key as every type; at most one may answer. */
static void read_key(const struct gguf *g, const char *key)
{
    struct gguf_array array;
    struct gguf_str str;
    struct errmsg msg;
    int64_t integer = 0;
    double number = 0;
    bool flag = false;
    int n_answers = 0;
    n_answers += gguf_get_int(g, key, INT64_MIN, INT64_MAX, &integer, &msg) == OK;
    n_answers += gguf_get_float(g, key, &number, &msg) == OK;
    n_answers += gguf_get_bool(g, key, &flag, &msg) == OK;
    if (gguf_get_str(g, key, &str, &msg) == OK) {
        n_answers++;
        read_str(str);
    }
    for (enum gguf_type type = GGUF_U8; type < GGUF_TYPE_END; type++) {
        if (gguf_get_array(g, key, type, &array, &msg) != OK) continue;
        n_answers++;
        read_array(&array);
    }
    check(n_answers <= 1);
    sink += (uint64_t)integer + (number > 0) + flag;
}

static void read_keys(const struct gguf *g)
{
    for (int32_t i = 0; i < gguf_n_keys(g); i++) {
        enum gguf_type type;
        struct gguf_str key = gguf_key_at(g, i, &type);
        check(type < GGUF_TYPE_END);
        char *name = copy_str(key);
        read_key(g, name);
        mem_free(name);
    }
}

static void read_tensors(const struct gguf *g, const uint8_t *data, size_t size)
{
    for (int32_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const struct kern_type_info *info = kern_type_info(t->type);
        const uint8_t *bytes = t->data;
        check(info && t->n_dims >= 1 && t->n_dims <= GGUF_MAX_DIMS);
        for (int32_t d = 0; d < GGUF_MAX_DIMS; d++) check(t->dims[d] >= 1 && t->dims[d] <= INT32_MAX);
        check(t->dims[0] % info->block_len == 0);
        check(bytes >= data && t->len > 0 && t->len <= (size_t)(data + size - bytes));
        sink += bytes[0] + bytes[t->len - 1];

        char *name = copy_str(t->name);
        if (strlen(name) == t->name.len) check(gguf_find_tensor(g, name) == t);
        mem_free(name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g;
    struct errmsg msg = {{0}};
    if (gguf_open_bytes(data, size, &g, &msg) == OK) {
        read_keys(g);
        read_tensors(g, data, size);
    } else {
        check(!g && msg.text[0] != '\0' && !strchr(msg.text, '\n'));
    }
    gguf_close(&g);
    return 0;
}

/* Builds GGUF files in memory. */
#include "support/gguf_writer.h"

#include <string.h>

#define SECTION_MAX ((size_t)64 << 20) /* test files are small */

void gguf_writer_init(struct gguf_writer *w)
{
    *w = (struct gguf_writer){.version = 3, .alignment = 32};
    buf_init(&w->keys, SECTION_MAX);
    buf_init(&w->tensors, SECTION_MAX);
    buf_init(&w->data, SECTION_MAX);
}

void gguf_writer_clear(struct gguf_writer *w)
{
    buf_clear(&w->keys);
    buf_clear(&w->tensors);
    buf_clear(&w->data);
}

void gguf_writer_add_u32(struct buf *section, uint32_t value)
{
    buf_add(section, &value, sizeof value);
}

void gguf_writer_add_u64(struct buf *section, uint64_t value)
{
    buf_add(section, &value, sizeof value);
}

void gguf_writer_add_name(struct buf *section, const char *name)
{
    gguf_writer_add_u64(section, strlen(name));
    buf_add_str(section, name);
}

static void pad(struct buf *section, size_t alignment)
{
    while (section->len % alignment != 0) buf_add_char(section, '\0');
}

static void begin_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
    w->n_keys++;
    gguf_writer_add_name(&w->keys, key);
    gguf_writer_add_u32(&w->keys, type);
}

void gguf_writer_int(struct gguf_writer *w, const char *key, enum gguf_type type, int64_t value)
{
    static const size_t bytes[GGUF_TYPE_END] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2,  [GGUF_U32] = 4,
        [GGUF_I32] = 4, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_BOOL] = 1,
    };
    begin_key(w, key, type);
    buf_add(&w->keys, &value, bytes[type]); /* the low bytes come first */
}

void gguf_writer_float(struct gguf_writer *w, const char *key, enum gguf_type type, double value)
{
    float narrow = (float)value;
    begin_key(w, key, type);
    if (type == GGUF_F32) buf_add(&w->keys, &narrow, sizeof narrow);
    if (type == GGUF_F64) buf_add(&w->keys, &value, sizeof value);
}

void gguf_writer_str(struct gguf_writer *w, const char *key, const char *value)
{
    begin_key(w, key, GGUF_STRING);
    gguf_writer_add_name(&w->keys, value);
}

void gguf_writer_array(struct gguf_writer *w, const char *key, enum gguf_type type, uint64_t n,
                       const void *elements, size_t len)
{
    begin_key(w, key, GGUF_ARRAY);
    gguf_writer_add_u32(&w->keys, type);
    gguf_writer_add_u64(&w->keys, n);
    buf_add(&w->keys, elements, len);
}

void gguf_writer_strs(struct gguf_writer *w, const char *key, const char *const *strs, uint64_t n)
{
    gguf_writer_array(w, key, GGUF_STRING, n, NULL, 0);
    for (uint64_t i = 0; i < n; i++) gguf_writer_add_name(&w->keys, strs[i]);
}

void gguf_writer_describe(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                          const uint64_t *dims, uint64_t offset)
{
    w->n_tensors++;
    gguf_writer_add_name(&w->tensors, name);
    gguf_writer_add_u32(&w->tensors, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) gguf_writer_add_u64(&w->tensors, dims[i]);
    gguf_writer_add_u32(&w->tensors, type);
    gguf_writer_add_u64(&w->tensors, offset);
}

void gguf_writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                        const uint64_t *dims, const void *data, size_t len)
{
    pad(&w->data, w->alignment);
    gguf_writer_describe(w, name, type, n_dims, dims, w->data.len);
    buf_add(&w->data, data, len);
}

void gguf_writer_finish(const struct gguf_writer *w, struct buf *out)
{
    buf_add_str(out, "GGUF");
    gguf_writer_add_u32(out, w->version);
    gguf_writer_add_u64(out, w->n_tensors);
    gguf_writer_add_u64(out, w->n_keys);
    buf_add(out, buf_str(&w->keys), w->keys.len);
    buf_add(out, buf_str(&w->tensors), w->tensors.len);
    pad(out, w->alignment);
    buf_add(out, buf_str(&w->data), w->data.len);
}

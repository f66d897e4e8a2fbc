/* Builds GGUF files in memory, well-formed or wrong on purpose.
 *
 * The three sections are plain buffers that grow by one call each, and the counts are plain fields: a test
 * that wants a broken file changes a field or appends raw bytes before gguf_writer_finish. */
#ifndef SUPPORT_GGUF_WRITER_H
#define SUPPORT_GGUF_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "model/gguf.h"

struct gguf_writer {
    uint32_t version;   /* 3 */
    uint64_t n_keys;    /* as the header will say */
    uint64_t n_tensors; /* as the header will say */
    size_t alignment;   /* of the tensor data; does not write general.alignment */
    struct buf keys;
    struct buf tensors; /* descriptions */
    struct buf data;
};

void gguf_writer_init(struct gguf_writer *w);
void gguf_writer_clear(struct gguf_writer *w);

/* Keys. The type may be any integer type, GGUF_BOOL, GGUF_F32 or GGUF_F64. */
void gguf_writer_int(struct gguf_writer *w, const char *key, enum gguf_type type, int64_t value);
void gguf_writer_float(struct gguf_writer *w, const char *key, enum gguf_type type, double value);
void gguf_writer_str(struct gguf_writer *w, const char *key, const char *value);
/* An array of n elements that lie packed in `len` bytes. */
void gguf_writer_array(struct gguf_writer *w, const char *key, enum gguf_type type, uint64_t n,
                       const void *elements, size_t len);
void gguf_writer_strs(struct gguf_writer *w, const char *key, const char *const *strs, uint64_t n);

/* A tensor with its data, aligned; `type` is the file's number of the format. */
void gguf_writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                        const uint64_t *dims, const void *data, size_t len);
/* A description alone, pointing anywhere. */
void gguf_writer_describe(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                          const uint64_t *dims, uint64_t offset);

/* Raw pieces, for appending to a section. */
void gguf_writer_add_u32(struct buf *section, uint32_t value);
void gguf_writer_add_u64(struct buf *section, uint64_t value);
void gguf_writer_add_name(struct buf *section, const char *name);

/* Append the whole file to out. */
void gguf_writer_finish(const struct gguf_writer *w, struct buf *out);

#endif

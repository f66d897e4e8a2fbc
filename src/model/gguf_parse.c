/* Parsing and validating a GGUF file.
 *
 * The layout (ggml's docs/gguf.md): a header with two counts, the key-value pairs, the tensor descriptions,
 * padding to general.alignment, the tensor data. All little-endian, as is every machine this runs on.
 *
 * The file is hostile until proven otherwise: nothing is read before its place is known to lie inside the
 * file, and no memory is allocated for a count that the bytes left in the file could not hold. */
#include "model/gguf_parse.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are used as they lie in the file, which is little-endian"
#endif

#define KEY_LEN_MAX       65535 /* the specification's limit */
#define TENSOR_NAME_MAX   127   /* the specification says 64; files exist whose converters ignored that */
#define ALIGNMENT_DEFAULT 32
#define ALIGNMENT_MAX     65536 /* the largest page size in use; no converter writes more */

/* The least bytes that one entry takes, for judging counts: key length, key of no bytes, type, one byte of
 * value; name length, name of one byte, n_dims, one dimension, format, offset. */
#define PAIR_BYTES_MIN   (8 + 4 + 1)
#define TENSOR_BYTES_MIN (8 + 1 + 4 + 8 + 4 + 8)

/* How a name or key is printed: never more than this much of it. */
#define NAME_SHOWN_MAX 128
#define SHOW(str)      (int)((str).len < NAME_SHOWN_MAX ? (str).len : NAME_SHOWN_MAX), (str).data

struct reader {
    const unsigned char *p;   /* next byte */
    const unsigned char *end; /* one past the last */
};

static size_t bytes_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

static bool read_u32(struct reader *r, uint32_t *out)
{
    if (bytes_left(r) < sizeof *out) return false;
    memcpy(out, r->p, sizeof *out);
    r->p += sizeof *out;
    return true;
}

static bool read_u64(struct reader *r, uint64_t *out)
{
    if (bytes_left(r) < sizeof *out) return false;
    memcpy(out, r->p, sizeof *out);
    r->p += sizeof *out;
    return true;
}

static bool read_str(struct reader *r, struct gguf_str *out)
{
    uint64_t len;
    if (!read_u64(r, &len) || len > bytes_left(r)) return false;
    *out = (struct gguf_str){.data = (const char *)r->p, .len = (size_t)len};
    r->p += len;
    return true;
}

size_t gguf_type_bytes(enum gguf_type type)
{
    static const unsigned char bytes[GGUF_TYPE_END] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return bytes[type];
}

int64_t gguf_read_int(enum gguf_type type, const unsigned char *p)
{
    uint64_t bits = 0;
    size_t bytes = gguf_type_bytes(type);
    memcpy(&bits, p, bytes);
    if (type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64) {
        int unused = 64 - 8 * (int)bytes;
        return (int64_t)(bits << unused) >> unused;
    }
    return bits < INT64_MAX ? (int64_t)bits : INT64_MAX;
}

double gguf_read_float(enum gguf_type type, const unsigned char *p)
{
    float narrow;
    double wide;
    if (type == GGUF_F64) {
        memcpy(&wide, p, sizeof wide);
        return wide;
    }
    memcpy(&narrow, p, sizeof narrow);
    return narrow;
}

/* Say what a file that is not GGUF seems to be. */
static enum err not_gguf(const struct map *map, struct errmsg *msg)
{
    static const struct {
        const char *start;
        const char *what;
    } known[] = {
        {"version https://git-lfs",
         "a Git LFS pointer, not the model; run `git lfs pull` or download the file"},
        {"PK\003\004", "a zip archive (perhaps a PyTorch checkpoint); convert the model to GGUF"},
        {"<", "a web page; download the file itself"},
        {"FUGG", "a big-endian GGUF file; use a little-endian one"},
        {"tjgg", "a GGML file, the format before GGUF; convert it or download a GGUF file"},
        {"fmgg", "a GGML file, the format before GGUF; convert it or download a GGUF file"},
        {"lmgg", "a GGML file, the format before GGUF; convert it or download a GGUF file"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i].start);
        if (map->len < len || memcmp(map->data, known[i].start, len) != 0) continue;
        return err_set(msg, ERR_FORMAT, "this is %s", known[i].what);
    }
    /* A safetensors file starts with the length of a JSON header. */
    if (map->len > 8 && map->data[8] == '{') {
        return err_set(msg, ERR_FORMAT, "this is a safetensors file; convert the model to GGUF");
    }
    return err_set(msg, ERR_FORMAT, "not a GGUF file");
}

static enum err cut_off(const char *where, struct errmsg *msg)
{
    return err_set(msg, ERR_FORMAT, "the file is cut off in %s; download it again", where);
}

/* A count of things that take at least `bytes` each. */
static enum err read_count(struct reader *r, const char *what, size_t bytes, int32_t *out, struct errmsg *msg)
{
    uint64_t n;
    if (!read_u64(r, &n)) return cut_off("the header", msg);
    if (n > bytes_left(r) / bytes || n > INT32_MAX) {
        return err_set(msg, ERR_FORMAT, "the header promises %" PRIu64 " %s, more than the file can hold", n,
                       what);
    }
    *out = (int32_t)n;
    return OK;
}

static enum err parse_header(struct gguf *g, struct reader *r, struct errmsg *msg)
{
    if (bytes_left(r) < 4 || memcmp(r->p, "GGUF", 4) != 0) return not_gguf(&g->map, msg);
    r->p += 4;
    if (!read_u32(r, &g->version)) return cut_off("the header", msg);
    if (g->version != 0 && (g->version & 0xffff) == 0) {
        return err_set(msg, ERR_UNSUPPORTED, "this is a big-endian GGUF file; use a little-endian one");
    }
    if (g->version < 2 || g->version > 3) {
        return err_set(msg, ERR_UNSUPPORTED, "GGUF version %u is not supported; use a file of version 2 or 3",
                       g->version);
    }
    enum err err = read_count(r, "tensors", TENSOR_BYTES_MIN, &g->n_tensors, msg);
    return err ? err : read_count(r, "keys", PAIR_BYTES_MIN, &g->n_pairs, msg);
}

/* Step over the elements of a value whose type and count are known; false if they leave the file. */
static bool skip_elements(struct reader *r, enum gguf_type type, uint64_t n)
{
    size_t bytes = gguf_type_bytes(type);
    if (bytes > 0) {
        if (n > bytes_left(r) / bytes) return false;
        r->p += n * bytes;
        return true;
    }
    struct gguf_str skipped;
    for (uint64_t i = 0; i < n; i++) {
        if (!read_str(r, &skipped)) return false;
    }
    return true;
}

static enum err parse_pair(struct reader *r, int32_t number, struct gguf_pair *pair, struct errmsg *msg)
{
    uint32_t type;
    if (!read_str(r, &pair->key)) {
        return err_set(msg, ERR_FORMAT, "the file is cut off in the name of key %d; download it again",
                       number);
    }
    if (pair->key.len > KEY_LEN_MAX) {
        return err_set(msg, ERR_FORMAT, "the name of key %d has %zu bytes, more than %d", number,
                       pair->key.len, KEY_LEN_MAX);
    }
    if (!read_u32(r, &type)) goto truncated;
    pair->n = 1;
    pair->is_array = type == GGUF_ARRAY;
    if (pair->is_array) {
        if (!read_u32(r, &type) || !read_u64(r, &pair->n)) goto truncated;
        if (type == GGUF_ARRAY) {
            return err_set(msg, ERR_UNSUPPORTED, "key %.*s: arrays of arrays are not supported",
                           SHOW(pair->key));
        }
    }
    if (type >= GGUF_TYPE_END) {
        return err_set(msg, ERR_FORMAT, "key %.*s: unknown value type %u", SHOW(pair->key), type);
    }
    pair->type = (enum gguf_type)type;
    pair->data = r->p;
    bool is_inside = skip_elements(r, pair->type, pair->n);
    pair->end = r->p;
    if (is_inside) return OK;
    if (pair->is_array) {
        return err_set(msg, ERR_FORMAT,
                       "key %.*s: its array of %" PRIu64 " leaves the file; download it again",
                       SHOW(pair->key), pair->n);
    }
truncated:
    return err_set(msg, ERR_FORMAT, "the file is cut off in key %.*s; download it again", SHOW(pair->key));
}

static enum err parse_pairs(struct gguf *g, struct reader *r, struct errmsg *msg)
{
    g->pairs = mem_try((size_t)g->n_pairs, sizeof *g->pairs);
    if (!g->pairs || gguf_index_init(&g->pair_index, g->n_pairs)) {
        return err_set(msg, ERR_NOMEM, "no memory for %d keys", g->n_pairs);
    }
    for (int32_t i = 0; i < g->n_pairs; i++) {
        struct gguf_pair *pair = &g->pairs[i];
        enum err err = parse_pair(r, i, pair, msg);
        if (err) return err;
        if (!gguf_index_add(&g->pair_index, &pair->key, i)) {
            return err_set(msg, ERR_FORMAT, "key %.*s: occurs twice", SHOW(pair->key));
        }
    }
    return OK;
}

static enum err read_alignment(struct gguf *g, struct errmsg *msg)
{
    static const char key[] = "general.alignment";
    int64_t alignment = ALIGNMENT_DEFAULT;
    if (gguf_index_find(&g->pair_index, key, strlen(key)) >= 0) {
        enum err err = gguf_get_int(g, key, 8, ALIGNMENT_MAX, &alignment, msg);
        if (err) return err;
    }
    if (alignment & (alignment - 1)) {
        return err_set(msg, ERR_FORMAT, "key %s: %" PRId64 " is not a power of two", key, alignment);
    }
    g->alignment = (size_t)alignment;
    return OK;
}

/* The name of a format that exists but is not among kern/'s; null for numbers nobody has given out. */
static const char *foreign_format(uint32_t type)
{
    static const char *const names[] = {
        [4] = "Q4_2",    [5] = "Q4_3",        [9] = "Q8_1",        [15] = "Q8_K",       [16] = "IQ2_XXS",
        [17] = "IQ2_XS", [18] = "IQ3_XXS",    [19] = "IQ1_S",      [21] = "IQ3_S",      [22] = "IQ2_S",
        [24] = "I8",     [25] = "I16",        [26] = "I32",        [27] = "I64",        [28] = "F64",
        [29] = "IQ1_M",  [31] = "Q4_0_4_4",   [32] = "Q4_0_4_8",   [33] = "Q4_0_8_8",   [34] = "TQ1_0",
        [35] = "TQ2_0",  [36] = "IQ4_NL_4_4", [37] = "IQ4_NL_4_8", [38] = "IQ4_NL_8_8", [39] = "MXFP4",
        [40] = "NVFP4",  [41] = "Q1_0",       [42] = "Q2_0",
    };
    return type < sizeof names / sizeof *names ? names[type] : NULL;
}

/* Set the tensor's length in bytes from its dimensions and format. */
static enum err measure(struct gguf_tensor *t, const struct kern_type_info *info, struct errmsg *msg)
{
    int64_t n_rows = 1;
    for (int32_t i = 0; i < t->n_dims; i++) {
        if (t->dims[i] <= 0) {
            return err_set(msg, ERR_FORMAT, "tensor %.*s: dimension %d is %" PRIu64, SHOW(t->name), i,
                           (uint64_t)t->dims[i]);
        }
        if (i > 0 && (__builtin_mul_overflow(n_rows, t->dims[i], &n_rows) || n_rows > INT32_MAX)) {
            return err_set(msg, ERR_FORMAT, "tensor %.*s: more than %d rows", SHOW(t->name), INT32_MAX);
        }
    }
    if (t->dims[0] > INT32_MAX) {
        return err_set(msg, ERR_FORMAT, "tensor %.*s: rows of %" PRId64 " values, more than %d",
                       SHOW(t->name), t->dims[0], INT32_MAX);
    }
    if (t->dims[0] % info->block_len != 0) {
        return err_set(msg, ERR_FORMAT,
                       "tensor %.*s: rows of %" PRId64 " values are not whole %s blocks of %d", SHOW(t->name),
                       t->dims[0], info->name, info->block_len);
    }
    /* Below 2^31 * 2^31 weights of at most 4 bytes: no overflow. */
    t->len = (size_t)(t->dims[0] / info->block_len) * (size_t)info->block_bytes * (size_t)n_rows;
    return OK;
}

/* One tensor's description. Its offset counts from the start of the tensor data, which is not known yet. */
static enum err parse_tensor(struct reader *r, int32_t number, struct gguf_tensor *t, uint64_t *offset,
                             struct errmsg *msg)
{
    uint32_t n_dims, type;
    uint64_t dim;
    if (!read_str(r, &t->name)) {
        return err_set(msg, ERR_FORMAT, "the file is cut off in the name of tensor %d; download it again",
                       number);
    }
    if (t->name.len == 0 || t->name.len > TENSOR_NAME_MAX) {
        return err_set(msg, ERR_FORMAT, "the name of tensor %d has %zu bytes, not 1 to %d", number,
                       t->name.len, TENSOR_NAME_MAX);
    }
    if (!read_u32(r, &n_dims)) goto truncated;
    if (n_dims < 1 || n_dims > GGUF_MAX_DIMS) {
        return err_set(msg, ERR_FORMAT, "tensor %.*s: %u dimensions, not 1 to %d", SHOW(t->name), n_dims,
                       GGUF_MAX_DIMS);
    }
    t->n_dims = (int32_t)n_dims;
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        dim = 1;
        if (i < n_dims && !read_u64(r, &dim)) goto truncated;
        t->dims[i] = (int64_t)dim;
    }
    if (!read_u32(r, &type) || !read_u64(r, offset)) goto truncated;
    const struct kern_type_info *info = kern_type_info(type);
    if (!info || info->is_own) {
        const char *name = foreign_format(type);
        return err_set(msg, ERR_UNSUPPORTED,
                       "tensor %.*s: format %s%s%u%s is not supported; use a Q4_K_M or Q8_0 file",
                       SHOW(t->name), name ? name : "", name ? " (" : "number ", type, name ? ")" : "");
    }
    t->type = (enum kern_type)type;
    return measure(t, info, msg);

truncated:
    return err_set(msg, ERR_FORMAT, "the file is cut off in tensor %.*s's description; download it again",
                   SHOW(t->name));
}

/* Turn offsets into pointers. */
static enum err place_tensors(struct gguf *g, const uint64_t *offsets, size_t data_start, struct errmsg *msg)
{
    for (int32_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (offsets[i] % g->alignment != 0) {
            return err_set(msg, ERR_FORMAT, "tensor %.*s: offset %" PRIu64 " is not a multiple of %zu",
                           SHOW(t->name), offsets[i], g->alignment);
        }
        size_t room = g->map.len > data_start ? g->map.len - data_start : 0;
        if (offsets[i] > room || t->len > room - offsets[i]) {
            return err_set(msg, ERR_FORMAT,
                           "tensor %.*s: %zu bytes at offset %" PRIu64
                           " leave the file of %zu bytes; it is cut off, download it again",
                           SHOW(t->name), t->len, offsets[i], g->map.len);
        }
        t->data = g->map.data + data_start + offsets[i];
    }
    return OK;
}

static int by_address(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;
    uintptr_t p = (uintptr_t)(*x)->data, q = (uintptr_t)(*y)->data;
    return (p > q) - (p < q);
}

static enum err check_overlap(const struct gguf *g, struct errmsg *msg)
{
    const struct gguf_tensor **sorted = mem_try((size_t)g->n_tensors, sizeof *sorted);
    if (!sorted) return err_set(msg, ERR_NOMEM, "no memory for %d tensors", g->n_tensors);
    for (int32_t i = 0; i < g->n_tensors; i++) sorted[i] = &g->tensors[i];
    qsort(sorted, (size_t)g->n_tensors, sizeof *sorted, by_address);
    enum err err = OK;
    for (int32_t i = 1; i < g->n_tensors && !err; i++) {
        const struct gguf_tensor *before = sorted[i - 1], *t = sorted[i];
        if ((const char *)before->data + before->len <= (const char *)t->data) continue;
        err =
            err_set(msg, ERR_FORMAT, "tensor %.*s: overlaps tensor %.*s", SHOW(t->name), SHOW(before->name));
    }
    mem_free(sorted);
    return err;
}

static enum err parse_tensors(struct gguf *g, struct reader *r, struct errmsg *msg)
{
    enum err err = OK;
    uint64_t *offsets = mem_try((size_t)g->n_tensors, sizeof *offsets);
    g->tensors = mem_try((size_t)g->n_tensors, sizeof *g->tensors);
    if (!offsets || !g->tensors || gguf_index_init(&g->tensor_index, g->n_tensors)) {
        err = err_set(msg, ERR_NOMEM, "no memory for %d tensors", g->n_tensors);
    }
    for (int32_t i = 0; i < g->n_tensors && !err; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        err = parse_tensor(r, i, t, &offsets[i], msg);
        if (!err && !gguf_index_add(&g->tensor_index, &t->name, i)) {
            err = err_set(msg, ERR_FORMAT, "tensor %.*s: occurs twice", SHOW(t->name));
        }
    }
    if (!err) {
        size_t described = (size_t)(r->p - g->map.data);
        err = place_tensors(g, offsets, (described + g->alignment - 1) & ~(g->alignment - 1), msg);
    }
    mem_free(offsets);
    return err ? err : check_overlap(g, msg);
}

enum err gguf_parse(struct gguf *g, struct errmsg *msg)
{
    if (g->map.len == 0) return err_set(msg, ERR_FORMAT, "the file is empty; download it again");
    struct reader r = {.p = g->map.data, .end = g->map.data + g->map.len};
    enum err err = parse_header(g, &r, msg);
    if (!err) err = parse_pairs(g, &r, msg);
    if (!err) err = read_alignment(g, msg);
    return err ? err : parse_tensors(g, &r, msg);
}

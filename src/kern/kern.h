/* Numeric kernels: one table of function pointers, filled for the CPU at start-up.
 *
 * kern_ref.c is plain C and is the specification: every other variant computes the same integers and
 * differs only in the order of floating-point sums. Kernels are pure: they touch only their arguments,
 * never allocate, and may run on any thread at once. Sizes are trusted (model/ has validated them).
 *
 * Weights keep the block layout of the GGUF file. Activations are multiplied either as F32 (weights F32,
 * F16, BF16) or as 8-bit blocks of 32 with one scale (all quantized formats); kern_type_info tells which.
 */
#ifndef KERN_KERN_H
#define KERN_KERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tensor formats with the numbers that GGUF files use. */
enum kern_type {
    KERN_F32 = 0,
    KERN_F16 = 1,
    KERN_Q4_0 = 2,
    KERN_Q4_1 = 3,
    KERN_Q5_0 = 6,
    KERN_Q5_1 = 7,
    KERN_Q8_0 = 8,
    KERN_Q2_K = 10,
    KERN_Q3_K = 11,
    KERN_Q4_K = 12,
    KERN_Q5_K = 13,
    KERN_Q6_K = 14,
    KERN_IQ4_NL = 20,
    KERN_IQ4_XS = 23,
    KERN_BF16 = 30,
    KERN_TYPE_END = 31 /* one past the highest; numbers between that are not listed are not supported */
};

struct kern_type_info {
    const char *name;    /* "Q4_K" */
    int32_t block_len;   /* weights in a block */
    int32_t block_bytes; /* bytes of a block */
    bool is_quantized;   /* multiplied with 8-bit activations */
};

/* Null for a number that is not a supported format. */
const struct kern_type_info *kern_type_info(uint32_t type);

/* A weight matrix as it lies in the file: n_rows rows of n_cols weights, rows contiguous. n_cols is a
 * multiple of the format's block length. y = W x has n_rows outputs. */
struct kern_mat {
    const void *data; /* borrowed; any alignment >= 1 must work, 32 is what files give */
    enum kern_type type;
    int32_t n_rows, n_cols;
    size_t row_bytes;
};

/* Activations of n_tokens tokens. f is always set; q, d, s only where a quantized matrix will be
 * multiplied. n_cols is then a multiple of 32. */
struct kern_act {
    const float *f;  /* [n_tokens][n_cols] */
    const int8_t *q; /* [n_tokens][n_cols] */
    const float *d;  /* [n_tokens][n_cols / 32]: f ~ d * q */
    const float *s;  /* [n_tokens][n_cols / 16]: d * sum of q over 16 values, for formats with minima */
    int32_t n_tokens, n_cols;
};

struct kern {
    const char *isa; /* "ref", "avx2", "avx512" */

    /* Quantize n (multiple of 32) floats: q = round(x / d), d = max|x| / 127 per 32. */
    void (*quantize)(const float *x, int32_t n, int8_t *q, float *d, float *s);

    /* Expand n weights (multiple of the block length) to F32. */
    void (*dequantize)(enum kern_type type, const void *src, float *dst, int32_t n);

    /* y[t][r] = sum over c of W[r][c] * x[t][c], for rows row0 <= r < row1 and all tokens; y has y_stride
     * floats between tokens. scratch: kern_scratch_bytes() bytes, 64-byte aligned, per thread.
     * Relative error against F64: that of F32 sums (format and activation rounding aside). */
    void (*matmul)(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1, float *y,
                   size_t y_stride, void *scratch);

    /* Attention of n_q query heads that share one K/V head, over cached positions 0..n_kv-1 (n_kv >= 1),
     * with online softmax. q, out: [n_q][head_dim]; k, v: F16 [n_kv] rows of head_dim, `stride` values
     * apart. head_dim is a multiple of 8, at most KERN_HEAD_DIM_MAX; n_q at most KERN_GROUP_MAX.
     * scratch as for matmul. */
    void (*attend)(const float *q, const uint16_t *k, const uint16_t *v, size_t stride, int32_t n_q,
                   int32_t n_kv, int32_t head_dim, float scale, float *out, void *scratch);

    /* y = x / rms(x) * weight; y may be x. weight null: 1. */
    void (*rms_norm)(const float *x, const float *weight, int32_t n, float eps, float *y);
    /* y = (x - mean) / sqrt(var + eps) * weight + bias; y may be x. */
    void (*layer_norm)(const float *x, const float *weight, const float *bias, int32_t n, float eps,
                       float *y);
    void (*silu_mul)(float *gate, const float *up, int32_t n);     /* gate = silu(gate) * up */
    void (*gelu_mul)(float *gate, const float *up, int32_t n);     /* gate = gelu_tanh(gate) * up */
    void (*gelu)(float *x, int32_t n);                             /* tanh form */
    void (*add)(float *y, const float *x, int32_t n);              /* y += x */
    void (*mul_add)(float *y, const float *x, float a, int32_t n); /* y += a * x */
    void (*f32_to_f16)(const float *x, uint16_t *y, int32_t n);    /* round to nearest even */

    /* Rotary embedding of one head in place: n_rot of its values (even); cos, sin: [n_rot / 2].
     * neox: pairs (i, i + n_rot / 2), else pairs (2i, 2i + 1). */
    void (*rope)(float *head, const float *cos, const float *sin, int32_t n_rot, bool neox);
};

#define KERN_HEAD_DIM_MAX 512
#define KERN_GROUP_MAX    64

/* The table for this CPU: the widest variant that the CPU has and whose registers the system saves. isa
 * forces one of "ref", "avx2", "avx512", ... or is null for the best; "exact" is ref with activations that
 * are never rounded, for comparing numbers. Null if that variant is unknown or this CPU lacks it. The table
 * is const and lives for ever. */
const struct kern *kern_select(const char *isa);

/* Names of the variants that kern_select would accept here, space-separated, narrowest first. */
const char *kern_available(void);

/* Bytes of per-thread scratch that suffice for attend and for any matmul. */
size_t kern_scratch_bytes(void);

float kern_f16_to_f32(uint16_t h);
uint16_t kern_f32_to_f16(float f);

#endif

/* Numeric kernels: one table of function pointers, filled for the CPU at start-up.
 *
 * kern_ref.c is plain C and is the specification: every other variant computes the same integers and
 * differs only in the order of floating-point sums. Kernels are pure: they touch only their arguments,
 * never allocate, and may run on any thread at once. Sizes are trusted (model/ has validated them).
 *
 * Weights keep the block layout of the GGUF file. Activations are multiplied either as F32 (weights F32, F16,
 * BF16, MXFP8) or as 8-bit blocks of 32 with one scale (all quantized formats); kern_type_info tells which.
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
    KERN_MXFP8 = 64,   /* not in files: FP8 E4M3 in blocks of 32 with an E8M0 scale before them (OCP
                        * Microscaling Formats 1.0) */
    KERN_TYPE_END = 65 /* one past the highest; numbers between that are not listed are not supported */
};

struct kern_type_info {
    const char *name;    /* "Q4_K" */
    int32_t block_len;   /* weights in a block */
    int32_t block_bytes; /* bytes of a block */
    bool is_quantized;   /* multiplied with 8-bit activations */
    bool is_own;         /* not a format of GGUF files: only what we convert ourselves has it */
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
    const void
        *packed; /* the same weights in the layout of kern/pack.h; borrowed, 64-byte aligned; or null */
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

/* Formats of the KV cache. */
enum kern_kv_type {
    KERN_KV_F16, /* [KERN_KV_BLOCK][head_dim] */
    KERN_KV_Q8_0 /* int8 [KERN_KV_BLOCK][head_dim], then F32 scales [KERN_KV_BLOCK][head_dim / 32];
                  * head_dim is a multiple of 32 */
};

/* Keys, or values, of one head come in blocks of this many positions. */
#define KERN_KV_BLOCK 32

/* Bytes of a block, a multiple of 64 for every head_dim that is a multiple of 8. */
size_t kern_kv_block_bytes(enum kern_kv_type type, int32_t head_dim);

/* Query heads that share one K/V head, of consecutive tokens, and that head's cache. Token t stands at
 * position pos + t and sees the positions up to its own, or only the last `window` of them. */
struct kern_attend {
    const float *q;            /* head h of token t at q + t * q_stride + h * head_dim */
    size_t q_stride;           /* floats */
    const char *const *pages;  /* of the cache: the block of positions 32 i .. 32 i + 31 is in pages[i], */
    size_t k_offset, v_offset; /* at these bytes; 64-byte aligned */
    enum kern_kv_type type;
    int32_t n_tokens, n_heads; /* n_tokens * n_heads is at most KERN_ATTEND_ROWS */
    int32_t head_dim;          /* a multiple of 8, at most KERN_HEAD_DIM_MAX */
    int32_t pos, window;       /* window 0: no limit */
    float scale;               /* of the products q . k */
};

/* What attend leaves: sums over the positions, weighted by exp(score - max), for the caller to add up
 * (kern_attend_merge) and divide by sum. */
struct kern_attend_out {
    float *acc;        /* head h of token t at acc + t * acc_stride + h * head_dim */
    size_t acc_stride; /* floats */
    float *max, *sum;  /* [n_tokens][n_heads] */
};

struct kern {
    const char *isa;   /* "ref", "avx2", "avx512", ... */
    bool reads_packed; /* matmul uses w->packed; else it is ignored */
    int32_t task_rows; /* with 32 tokens or more, a call of matmul should cover at least this many rows, since
                        * it prepares the tokens for all of them; 0: any number will do */

    /* Quantize n (multiple of 32) floats: q = round(x / d), d = max|x| / 127 per 32. */
    void (*quantize)(const float *x, int32_t n, int8_t *q, float *d, float *s);

    /* Expand n weights (multiple of the block length) to F32. */
    void (*dequantize)(enum kern_type type, const void *src, float *dst, int32_t n);

    /* y[t][r] = sum over c of W[r][c] * x[t][c], for rows row0 <= r < row1 and all tokens; y has y_stride
     * floats between tokens. scratch: kern_scratch_bytes() bytes, 64-byte aligned, per thread.
     * Relative error against F64: that of F32 sums (format and activation rounding aside).
     * With w->packed, row0 is a multiple of PACK_ROWS, and the result for a token does not depend on the
     * other tokens of x. One variant, "amx", computes 32 tokens or more otherwise than fewer: with weights
     * that are packed, F16, BF16 or MXFP8, and x->f, both rounded to bfloat16, it is then within 2^-7 of the
     * sum of the terms' magnitudes (kern_amx.c). */
    void (*matmul)(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1, float *y,
                   size_t y_stride, void *scratch);

    /* Attention of a tile of tokens over positions begin..end-1 of one K/V head's cache, with online softmax.
     * begin and end are multiples of KERN_KV_BLOCK, or end is past the last position; positions that a token
     * does not see are left out. A token that sees none of them gets out 0, max -INFINITY, sum 0. What a
     * token gets does not depend on the other tokens of the tile. scratch as for matmul. */
    void (*attend)(const struct kern_attend *a, int32_t begin, int32_t end, const struct kern_attend_out *out,
                   void *scratch);

    /* One position of one head into, or out of, its place in a block of the KV cache. x: [head_dim]. */
    void (*kv_store)(enum kern_kv_type type, int32_t head_dim, const float *x, void *block, int32_t index);
    void (*kv_load)(enum kern_kv_type type, int32_t head_dim, const void *block, int32_t index, float *x);

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

    /* log(sum over i of exp(x[i])), n >= 1, also where the exp of an x[i] overflows: what a softmax divides
     * by. Absolute error below 1e-4 for n up to a million. */
    float (*log_sum_exp)(const float *x, int32_t n);

    /* Rotary embedding of one head in place: n_rot of its values (even); cos, sin: [n_rot / 2].
     * neox: pairs (i, i + n_rot / 2), else pairs (2i, 2i + 1). */
    void (*rope)(float *head, const float *cos, const float *sin, int32_t n_rot, bool neox);
};

#define KERN_HEAD_DIM_MAX 512
#define KERN_ATTEND_ROWS  64

/* The table for this CPU: the widest variant that the CPU has and whose registers the system saves. isa
 * forces one of "ref", "avx2", "avx512", ... or is null for the best; "exact" is ref with activations that
 * are never rounded, for comparing numbers. Null if that variant is unknown or this CPU lacks it. The table
 * is const and lives for ever. */
const struct kern *kern_select(const char *isa);

/* acc (of the same kind as `from`, head_dim values) over more positions: both become relative to the larger
 * max. Plain C: merging is a small part of attention. */
void kern_attend_merge(float *acc, float *max, float *sum, const float *from, float from_max, float from_sum,
                       int32_t head_dim);

/* Names of the variants that kern_select would accept here, space-separated, narrowest first. */
const char *kern_available(void);

/* Bytes of per-thread scratch that suffice for attend and for any matmul. */
size_t kern_scratch_bytes(void);

float kern_f16_to_f32(uint16_t h);
uint16_t kern_f32_to_f16(float f);

#endif

/* The variants of the kernel table, for dispatch.c, and what wider variants borrow from narrower ones.
 * Internal to kern/. */
#ifndef KERN_ISA_H
#define KERN_ISA_H

#include "kern/kern.h"

/* Bytes of scratch that any variant needs; kern_scratch_bytes reports it. */
#define KERN_SCRATCH_BYTES (128 * 1024)

/* Activations whose largest magnitude in a unit is not above this are quantized to zero: the inverse of
 * their scale could overflow. */
#define KERN_QUANT_TINY 1e-30f

extern const struct kern kern_ref;
extern const struct kern kern_exact; /* selected by name only */
extern const struct kern kern_avx2;
extern const struct kern kern_avx512;

/* kern_ref.c; in every table, since it is used for one embedding row per token and costs nothing there. */
void kern_ref_dequantize(enum kern_type type, const void *src, float *dst, int32_t n);

/* kern_avx2*.c; also the AVX-512 table's where wider vectors would not pay. */
void kern_avx2_quantize(const float *x, int32_t n, int8_t *q, float *d, float *s);
void kern_avx2_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                      float *y, size_t y_stride, void *scratch);
void kern_avx2_attend(const float *q, const uint16_t *k, const uint16_t *v, size_t stride, int32_t n_q,
                      int32_t n_kv, int32_t head_dim, float scale, float *out, void *scratch);
void kern_avx2_rms_norm(const float *x, const float *weight, int32_t n, float eps, float *y);
void kern_avx2_layer_norm(const float *x, const float *weight, const float *bias, int32_t n, float eps,
                          float *y);
void kern_avx2_silu_mul(float *gate, const float *up, int32_t n);
void kern_avx2_gelu_mul(float *gate, const float *up, int32_t n);
void kern_avx2_gelu(float *x, int32_t n);
void kern_avx2_add(float *y, const float *x, int32_t n);
void kern_avx2_mul_add(float *y, const float *x, float a, int32_t n);
void kern_avx2_f32_to_f16(const float *x, uint16_t *y, int32_t n);
void kern_avx2_rope(float *head, const float *cos, const float *sin, int32_t n_rot, bool neox);

#endif

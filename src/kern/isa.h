/* The variants of the kernel table, for dispatch.c, and what wider variants borrow from narrower ones.
 * Internal to kern/. */
#ifndef KERN_ISA_H
#define KERN_ISA_H

#include "kern/kern.h"

/* Bytes of scratch that any variant needs; kern_scratch_bytes reports it. AMX needs the most, which should
 * not fill more than a part of a second-level cache of 2 MB; others touch less of it. */
#define KERN_SCRATCH_BYTES (320 * 1024)

/* Activations whose largest magnitude in a unit is not above this are quantized to zero: the inverse of
 * their scale could overflow. */
#define KERN_QUANT_TINY 1e-30f

extern const struct kern kern_ref;
extern const struct kern kern_exact; /* selected by name only */
extern const struct kern kern_avx2;
extern const struct kern kern_avxvnni;
extern const struct kern kern_avx512;
extern const struct kern kern_amx;
extern const struct kern kern_neon;
extern const struct kern kern_i8mm;

/* kern_ref.c; in every table, since it is used for one embedding row per token and costs nothing there. */
void kern_ref_dequantize(enum kern_type type, const void *src, float *dst, int32_t n);

/* kern_ref_attend.c */
void kern_ref_attend(const struct kern_attend *a, int32_t begin, int32_t end,
                     const struct kern_attend_out *out, void *scratch);
void kern_ref_kv_store(enum kern_kv_type type, int32_t head_dim, const float *x, void *block, int32_t index);
void kern_ref_kv_load(enum kern_kv_type type, int32_t head_dim, const void *block, int32_t index, float *x);

/* kern_avx2*.c; also the AVX-512 table's where wider vectors would not pay. */
void kern_avx2_quantize(const float *x, int32_t n, int8_t *q, float *d, float *s);
void kern_avx2_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                      float *y, size_t y_stride, void *scratch);
void kern_avx2_matmul_packed(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                             float *y, size_t y_stride, void *scratch); /* of w->packed */
void kern_avx2_matmul_plain(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                            float *y, size_t y_stride, void *scratch); /* not quantized */
void kern_avx2_attend(const struct kern_attend *a, int32_t begin, int32_t end,
                      const struct kern_attend_out *out, void *scratch);
void kern_avx2_kv_store(enum kern_kv_type type, int32_t head_dim, const float *x, void *block, int32_t index);
void kern_avx2_kv_load(enum kern_kv_type type, int32_t head_dim, const void *block, int32_t index, float *x);
void kern_avx2_rms_norm(const float *x, const float *weight, int32_t n, float eps, float *y);
void kern_avx2_layer_norm(const float *x, const float *weight, const float *bias, int32_t n, float eps,
                          float *y);
void kern_avx2_silu_mul(float *gate, const float *up, int32_t n);
void kern_avx2_gelu_mul(float *gate, const float *up, int32_t n);
void kern_avx2_gelu(float *x, int32_t n);
void kern_avx2_add(float *y, const float *x, int32_t n);
void kern_avx2_mul_add(float *y, const float *x, float a, int32_t n);
void kern_avx2_f32_to_f16(const float *x, uint16_t *y, int32_t n);
float kern_avx2_log_sum_exp(const float *x, int32_t n);
void kern_avx2_rope(float *head, const float *cos, const float *sin, int32_t n_rot, bool neox);

/* kern_avx512.c; also the AMX table's. */
void kern_avx512_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                        float *y, size_t y_stride, void *scratch);
void kern_avx512_attend(const struct kern_attend *a, int32_t begin, int32_t end,
                        const struct kern_attend_out *out, void *scratch);

/* kern_neon*.c, kern_i8mm.c */
void kern_neon_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                      float *y, size_t y_stride, void *scratch);
void kern_neon_attend(const struct kern_attend *a, int32_t begin, int32_t end,
                      const struct kern_attend_out *out, void *scratch);
void kern_i8mm_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                      float *y, size_t y_stride, void *scratch);

#endif

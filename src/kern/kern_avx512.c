/* The AVX-512 table (F, BW, VL, DQ, VNNI): products of packed weights by the 512-bit vpdpbusd, and attention;
 * all else is that of AVX2. tests/kern runs it emulated where the processor lacks AVX-512. */
#if defined(__AVX512VNNI__) || defined(KERN_EMULATE_AVX512)

#include "kern/v16_avx512.h"

#include "kern/packed_vnni.h"

void kern_avx512_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                        float *y, size_t y_stride, void *scratch)
{
    packed_matmul(w, x, row0, row1, y, y_stride, scratch);
}

const struct kern kern_avx512 = {
    .isa = "avx512",
    .reads_packed = true,
    .quantize = kern_avx2_quantize,
    .dequantize = kern_ref_dequantize,
    .matmul = kern_avx512_matmul,
    .attend = kern_avx512_attend,
    .kv_store = kern_avx2_kv_store,
    .kv_load = kern_avx2_kv_load,
    .rms_norm = kern_avx2_rms_norm,
    .layer_norm = kern_avx2_layer_norm,
    .silu_mul = kern_avx2_silu_mul,
    .gelu_mul = kern_avx2_gelu_mul,
    .gelu = kern_avx2_gelu,
    .add = kern_avx2_add,
    .mul_add = kern_avx2_mul_add,
    .f32_to_f16 = kern_avx2_f32_to_f16,
    .log_sum_exp = kern_avx2_log_sum_exp,
    .rope = kern_avx2_rope,
};

#else
typedef int kern_avx512_unused; /* a translation unit must declare something */
#endif

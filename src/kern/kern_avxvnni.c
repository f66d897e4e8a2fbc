/* The AVX-VNNI table (Alder Lake, Zen 5 and later): that of AVX2 with the products of packed weights by the
 * 256-bit vpdpbusd, which does the work of two multiply-adds and an addition, without saturation. */
#if defined(__AVXVNNI__) || defined(KERN_EMULATE_AVXVNNI)

#include "kern/v16_avxvnni.h"

#include "kern/packed_vnni.h"

const struct kern kern_avxvnni = {
    .isa = "avxvnni",
    .reads_packed = true,
    .quantize = kern_avx2_quantize,
    .dequantize = kern_ref_dequantize,
    .matmul = packed_matmul,
    .attend = kern_avx2_attend,
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
typedef int kern_avxvnni_unused; /* a translation unit must declare something */
#endif

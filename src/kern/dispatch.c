/* Which variants of the kernels this CPU can run. Nothing is stored, the tables are constants: any thread
 * may select at any time. */
#include <string.h>

#include "kern/isa.h"

enum feature {
    HAS_AVX2 = 1, /* with FMA and F16C */
    HAS_AVXVNNI = 2,
    HAS_AVX512 = 4, /* F, BW, VL, DQ and VNNI */
    HAS_AMX = 8,    /* tiles and BF16; with AVX-512 */
    HAS_NEON = 16,  /* with the dot-product instructions */
    HAS_I8MM = 32
};

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Register state that the operating system saves for us (Intel SDM vol. 1, 13.3: XCR0). */
static uint32_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* Whether this process may use tile data. Linux grants that on request, for the whole process and for good;
 * the 8 KB of state are allocated to a thread that uses tiles (Documentation/arch/x86/xstate.rst). It is the
 * only system call of kern/: the instructions fault without it, so that it belongs to the question of what
 * the processor can do. Elsewhere there is no way to ask, and AMX is not used. */
static bool may_use_tiles(void)
{
#ifdef SYS_arch_prctl
    const long request_permission = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return false;
#endif
}

/* Intel SDM vol. 2, CPUID. */
static uint32_t cpu_features(void)
{
    const uint32_t leaf1_need = bit_FMA | bit_F16C | bit_OSXSAVE | bit_AVX;
    const uint32_t avx512_need = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    const uint32_t amx_need = 1u << 24 | 1u << 22; /* AMX-TILE, AMX-BF16 */
    const uint32_t avxvnni_need = 1u << 4;
    const uint32_t ymm_state = 0x06, zmm_state = 0xe6, tile_state = 0x60000;
    uint32_t a, b, c, d, sub_a, sub_b, sub_c, sub_d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & leaf1_need) != leaf1_need) return 0;
    const uint32_t state = saved_state();
    if ((state & ymm_state) != ymm_state) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2)) return 0;
    uint32_t features = HAS_AVX2;
    if (a >= 1 && __get_cpuid_count(7, 1, &sub_a, &sub_b, &sub_c, &sub_d) && sub_a & avxvnni_need)
        features |= HAS_AVXVNNI;
    if ((state & zmm_state) != zmm_state || (b & avx512_need) != avx512_need || !(c & bit_AVX512VNNI))
        return features;
    features |= HAS_AVX512;
    if ((state & tile_state) == tile_state && (d & amx_need) == amx_need && may_use_tiles())
        features |= HAS_AMX;
    return features;
}
#elif defined(__aarch64__) && defined(__has_include) && __has_include(<sys/auxv.h>)
#include <sys/auxv.h>

static uint32_t cpu_features(void)
{
    const unsigned long dot_product = 1ul << 20; /* HWCAP_ASIMDDP (Documentation/arch/arm64/elf_hwcaps.rst) */
    const unsigned long i8mm = 1ul << 13;        /* HWCAP2_I8MM */
    if (!(getauxval(AT_HWCAP) & dot_product)) return 0;
    return getauxval(AT_HWCAP2) & i8mm ? HAS_NEON | HAS_I8MM : HAS_NEON;
}
#elif defined(__ARM_FEATURE_DOTPROD)
#include <sys/sysctl.h>

/* Apple: every M has the dot product, later ones also the other. */
static uint32_t cpu_features(void)
{
    int i8mm = 0;
    size_t size = sizeof i8mm;
    bool is_known = sysctlbyname("hw.optional.arm.FEAT_I8MM", &i8mm, &size, NULL, 0) == 0;
    return is_known && i8mm ? HAS_NEON | HAS_I8MM : HAS_NEON;
}
#else
static uint32_t cpu_features(void)
{
    return 0;
}
#endif

/* Narrowest first. */
static const struct {
    const struct kern *table;
    uint32_t needs;
} variants[] = {
    {&kern_ref, 0},
#if defined(__x86_64__)
    {&kern_avx2, HAS_AVX2}, {&kern_avxvnni, HAS_AVXVNNI}, {&kern_avx512, HAS_AVX512}, {&kern_amx, HAS_AMX},
#elif defined(__aarch64__)
    {&kern_neon, HAS_NEON},
    {&kern_i8mm, HAS_I8MM},
#endif
};
#define N_VARIANTS ((int32_t)(sizeof variants / sizeof *variants))

const struct kern *kern_select(const char *isa)
{
    if (isa && strcmp(isa, kern_exact.isa) == 0) return &kern_exact;
    const uint32_t features = cpu_features();
    for (int32_t i = N_VARIANTS - 1; i >= 0; i--) {
        const struct kern *table = variants[i].table;
        if ((variants[i].needs & ~features) == 0 && (!isa || strcmp(isa, table->isa) == 0)) return table;
    }
    return NULL;
}

const char *kern_available(void)
{
    switch (cpu_features()) {
    case HAS_AVX2:
        return "ref avx2";
    case HAS_AVX2 | HAS_AVXVNNI:
        return "ref avx2 avxvnni";
    case HAS_AVX2 | HAS_AVX512:
        return "ref avx2 avx512";
    case HAS_AVX2 | HAS_AVXVNNI | HAS_AVX512:
        return "ref avx2 avxvnni avx512";
    case HAS_AVX2 | HAS_AVX512 | HAS_AMX:
        return "ref avx2 avx512 amx";
    case HAS_AVX2 | HAS_AVXVNNI | HAS_AVX512 | HAS_AMX:
        return "ref avx2 avxvnni avx512 amx";
    case HAS_NEON:
        return "ref neon";
    case HAS_NEON | HAS_I8MM:
        return "ref neon i8mm";
    default:
        return "ref";
    }
}

size_t kern_scratch_bytes(void)
{
    return KERN_SCRATCH_BYTES;
}

/* Which variant of the kernels this CPU can run. Nothing is stored, the tables are constants: any thread
 * may select at any time. */
#include <string.h>

#include "kern/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* Register state that the operating system saves for us (Intel SDM vol. 1, 13.3: XCR0). */
static uint32_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* 0: neither, 1: AVX2 with FMA and F16C, 2: also AVX-512 F, BW, VL, DQ and VNNI. Intel SDM vol. 2, CPUID. */
static int32_t cpu_level(void)
{
    const uint32_t leaf1_need = bit_FMA | bit_F16C | bit_OSXSAVE | bit_AVX;
    const uint32_t leaf7_need_b = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    const uint32_t ymm_state = 0x06, zmm_state = 0xe6;
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & leaf1_need) != leaf1_need) return 0;
    uint32_t state = saved_state();
    if ((state & ymm_state) != ymm_state) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2)) return 0;
    if ((state & zmm_state) != zmm_state || (b & leaf7_need_b) != leaf7_need_b || !(c & bit_AVX512VNNI))
        return 1;
    return 2;
}
#else
static int32_t cpu_level(void)
{
    return 0;
}
#endif

/* Narrowest first; the index is the level of CPU needed. */
static const struct kern *const tables[] = {
    &kern_ref,
#if defined(__x86_64__)
    &kern_avx2,
    &kern_avx512,
#endif
};

const struct kern *kern_select(const char *isa)
{
    int32_t level = cpu_level();
    if (!isa) return tables[level];
    if (strcmp(isa, kern_exact.isa) == 0) return &kern_exact;
    for (int32_t i = 0; i <= level; i++) {
        if (strcmp(isa, tables[i]->isa) == 0) return tables[i];
    }
    return NULL;
}

const char *kern_available(void)
{
    static const char *const names[] = {"ref", "ref avx2", "ref avx2 avx512"};
    return names[cpu_level()];
}

size_t kern_scratch_bytes(void)
{
    return KERN_SCRATCH_BYTES;
}

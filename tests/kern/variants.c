/* The variants of the kernel table. */
#include "variants.h"

#include <stddef.h>

#ifdef TEST_AVXVNNI_EMULATED
extern const struct kern kern_avxvnni_emulated;
#endif
#ifdef TEST_AVX512_EMULATED
extern const struct kern kern_avx512_emulated, kern_amx_emulated;
#endif

int32_t variants_find(const struct kern *variants[VARIANTS_MAX])
{
    static const char *const names[] = {"ref", "avx2", "avxvnni", "avx512", "amx", "neon", "i8mm"};
    int32_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct kern *k = kern_select(names[i]);
        if (k) variants[n++] = k;
    }
#ifdef TEST_AVXVNNI_EMULATED
    variants[n++] = &kern_avxvnni_emulated;
#endif
#ifdef TEST_AVX512_EMULATED
    variants[n++] = &kern_avx512_emulated;
    variants[n++] = &kern_amx_emulated;
#endif
    return n;
}

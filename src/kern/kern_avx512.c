/* The AVX-512 table. */
#include "kern/isa.h"
const struct kern kern_avx512 = {.isa = "avx512"};

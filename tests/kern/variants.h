/* The variants of the kernel table that can be tested here: those of this processor, and those that the build
 * has emulated. */
#ifndef TESTS_KERN_VARIANTS_H
#define TESTS_KERN_VARIANTS_H

#include "kern/kern.h"

#define VARIANTS_MAX 16

/* Fill variants, "ref" first, and return how many there are. */
int32_t variants_find(const struct kern *variants[VARIANTS_MAX]);

#endif

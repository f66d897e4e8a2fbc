/* Weights into the formats that they are converted to on load. Plain C; it runs once for a model. */
#ifndef KERN_QUANTIZE_H
#define KERN_QUANTIZE_H

#include <stdbool.h>

#include "kern/kern.h"

/* F32, F16, BF16, Q8_0, Q6_K, Q5_0, Q4_K, MXFP8. */
bool kern_can_quantize(enum kern_type type);

/* n weights (a multiple of the format's block length, finite) as blocks of `type` at dst. Deterministic.
 * Methods: Q8_0 and MXFP8 by their definitions; the others search scales and minima for the least weighted
 * squared error, as K-quants do. */
void kern_quantize(enum kern_type type, const float *src, void *dst, int32_t n);

#endif

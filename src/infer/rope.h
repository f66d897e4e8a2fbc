/* Angles of the rotary position embedding (RoFormer, arXiv 2104.09864) with the scalings that models use:
 * linear (arXiv 2306.15595), YaRN (arXiv 2309.00071) and per-frequency factors (Llama 3.1). */
#ifndef INFER_ROPE_H
#define INFER_ROPE_H

#include <stdbool.h>
#include <stdint.h>

struct arch_params;

struct rope {
    double *inv_freq; /* [n] radians per position; borrowed from the caller's memory */
    int32_t n;        /* pairs, = n_rot / 2 */
    double magnitude; /* cosines and sines are multiplied by this (YaRN) */
};

/* inv_freq has room for p->n_rot / 2 values. factors: divisors of the frequencies, or null. is_local: the
 * unscaled rotation of sliding-window layers. */
void rope_init(struct rope *r, double *inv_freq, const struct arch_params *p, const float *factors,
               bool is_local);

/* Cosines and sines for one position: [n] each. */
void rope_angles(const struct rope *r, int32_t pos, float *cos_out, float *sin_out);

/* Cosines and sines that move a rotated vector by `distance` positions (which may be negative): a pure
 * rotation, since the vector has its magnitude already. */
void rope_shift_angles(const struct rope *r, int32_t distance, float *cos_out, float *sin_out);

#endif

/* Angles of the rotary position embedding. */
#include "infer/rope.h"

#include <math.h>

#include "model/arch.h"

#define PI 3.14159265358979323846

/* The pair whose wavelength makes `rotations` full turns over the original context (YaRN, section 3.2). */
static double pair_of_rotations(const struct arch_params *p, double rotations)
{
    return p->n_rot * log(p->rope_n_ctx_orig / (rotations * 2 * PI)) / (2 * log(p->rope_base));
}

/* YaRN interpolates slow pairs, leaves fast ones alone and blends those between linearly. */
static double yarn_frequency(const struct arch_params *p, int32_t pair, double freq)
{
    double low = floor(pair_of_rotations(p, p->rope_beta_fast));
    double high = ceil(pair_of_rotations(p, p->rope_beta_slow));
    low = fmax(low, 0);
    high = fmin(high, p->n_rot - 1);
    double ramp = (pair - low) / fmax(high - low, 0.001); /* the floor avoids a division by zero */
    double interpolated = fmin(fmax(ramp, 0), 1);
    return freq * (1 - interpolated) + freq / p->rope_factor * interpolated;
}

void rope_init(struct rope *r, double *inv_freq, const struct arch_params *p, const float *factors,
               bool is_local)
{
    double base = is_local ? p->rope_base_local : p->rope_base;
    enum arch_rope_scaling scaling = is_local ? ARCH_ROPE_PLAIN : p->rope_scaling;
    *r = (struct rope){.inv_freq = inv_freq, .n = p->n_rot / 2, .magnitude = 1};
    for (int32_t i = 0; i < r->n; i++) {
        double freq = pow(base, -2.0 * i / p->n_rot);
        if (factors && !is_local && factors[i] > 0) freq /= factors[i];
        if (scaling == ARCH_ROPE_LINEAR) freq /= p->rope_factor;
        if (scaling == ARCH_ROPE_YARN) freq = yarn_frequency(p, i, freq);
        inv_freq[i] = freq;
    }
    if (scaling == ARCH_ROPE_YARN && p->rope_factor > 1)
        r->magnitude = p->rope_attn_factor * (0.1 * log(p->rope_factor) + 1); /* the paper's equation 22 */
}

static void angles(const struct rope *r, int32_t pos, double magnitude, float *cos_out, float *sin_out)
{
    for (int32_t i = 0; i < r->n; i++) {
        double angle = pos * r->inv_freq[i];
        cos_out[i] = (float)(cos(angle) * magnitude);
        sin_out[i] = (float)(sin(angle) * magnitude);
    }
}

void rope_angles(const struct rope *r, int32_t pos, float *cos_out, float *sin_out)
{
    angles(r, pos, r->magnitude, cos_out, sin_out);
}

void rope_shift_angles(const struct rope *r, int32_t distance, float *cos_out, float *sin_out)
{
    angles(r, distance, 1, cos_out, sin_out);
}

/* Weights into the formats that they are converted to on load.
 *
 * Q8_0 and MXFP8 follow from their definitions. Of the formats with fewer bits, the scale (and minimum) of
 * each group of weights is searched: a row of candidates gives each weight an integer, and for these integers
 * the best scale is a solution of linear least squares, weighted by magnitude, since large weights matter
 * most. The candidate with the least error stays. Then scales themselves are rounded to integers, and their
 * neighbours tried. Written from the formats' definitions (unpack.h) and the idea as the GGUF project
 * describes it for its K-quants; the file format does not say how to choose.
 *
 * Input is sanitized, so that no conversion is undefined and no block makes infinities or NaN: NaN counts as
 * 0, and magnitudes are limited to what the format can hold. F32 is copied as it is. */
#include "kern/quantize.h"

#include <float.h>
#include <math.h>

#include "kern/block.h"

/* Blocks whose largest magnitude is not above this are zeros: their scales would be zero in F16, whose
 * smallest number is 2^-24. So sums of cubes of larger ones are normal numbers of F32. */
#define TINY 0x1p-25f

/* The integers of a group of weights whose scale is searched are the first candidate's, which uses the whole
 * range, with this many others on either side: the range reaches up to one integer further or less far. */
#define N_CANDIDATES 10
#define STEP         0.1f

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static void put_u16(uint8_t *to, uint16_t v)
{
    to[0] = (uint8_t)v;
    to[1] = (uint8_t)(v >> 8);
}

/* F16 at `to`; returns the rounded value. */
static float put_f16(uint8_t *to, float f)
{
    uint16_t half = kern_f32_to_f16(f);
    put_u16(to, half);
    return kern_f16_to_f32(half);
}

/* The nearest integer in lo..hi (of less than 2^22), ties to even. The bits of f + 1.5 * 2^23 are those
 * of 1.5 * 2^23 plus the nearest integer to f, since the last bit is worth 1. Where |f| is larger they are
 * beyond lo or hi too, as bits of floats are in the order of the floats. Not written with comparisons of
 * floats, which compilers turn into branches. */
static inline int32_t nearest_in(float f, int32_t lo, int32_t hi)
{
    const int32_t zero = 0x4b400000;
    const float sum = f + 0x1.8p23f;
    int32_t bits;
    memcpy(&bits, &sum, sizeof bits);
    bits = bits < zero + lo ? zero + lo : bits;
    return (bits > zero + hi ? zero + hi : bits) - zero;
}

/* Sums go in lanes of their own, so that compilers can use vectors. */
#define LANES 8

static inline float add_lanes(const float sum[LANES])
{
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* n weights, fit to be converted: NaN is 0, magnitudes are at most `limit`. Returns the largest magnitude. */
static float take(const float *src, int32_t n, float limit, float *x)
{
    float max = 0;
    for (int32_t i = 0; i < n; i++) {
        float f = src[i];
        f = f > limit ? limit : f < -limit ? -limit : f == f ? f : 0;
        max = fabsf(f) > max ? fabsf(f) : max;
        x[i] = f;
    }
    return max;
}

#define F16_MAX 65504.0f

static void to_f16(const float *src, uint8_t *dst, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        float f;
        take(src + i, 1, F16_MAX, &f);
        put_u16(dst + 2 * i, kern_f32_to_f16(f));
    }
}

/* The upper half of an F32, rounded to nearest even. */
static void to_bf16(const float *src, uint8_t *dst, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        float f;
        take(src + i, 1, 0x1.fep127f, &f);
        uint32_t bits = bits_of(f);
        put_u16(dst + 2 * i, (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16));
    }
}

/* The nearest integer, ties away from zero: as the format's reference does it. */
static int32_t nearest_away(float f)
{
    int32_t i = (int32_t)f;
    float rest = f - (float)i; /* exact */
    return i + (rest >= 0.5f) - (rest <= -0.5f);
}

static void to_q8_0(const float *src, struct block_q8_0 *b)
{
    float x[UNIT_LEN];
    float max = take(src, UNIT_LEN, F16_MAX, x);
    float d = max / 127, inverse = d >= FLT_MIN ? 1 / d : 0;
    put_f16(b->d, d);
    for (int32_t i = 0; i < UNIT_LEN; i++) b->q[i] = (int8_t)nearest_away(x[i] * inverse);
}

#define E4M3_MAX 448.0f

/* The code of the nearest E4M3 number, ties to even; |f| above E4M3_MAX gives that. */
static uint8_t to_e4m3(float f)
{
    uint32_t bits = bits_of(f), sign = bits >> 24 & 0x80;
    float magnitude = fabsf(f);
    if (magnitude >= E4M3_MAX) return (uint8_t)(sign | 0x7e);
    if (magnitude < 0x1p-6f) { /* subnormal: a multiple of 2^-9, the last bit of the sum */
        return (uint8_t)(sign | (bits_of(magnitude + 0x1p14f) - bits_of(0x1p14f)));
    }
    bits &= 0x7fffffff;
    bits += 0x7ffff + (bits >> 20 & 1);
    return (uint8_t)(sign | ((bits >> 20) - ((127 - 7) << 3)));
}

/* A block with the scale 2^(e - 127); returns the sum of the squared errors. */
static double put_mxfp8(const float *x, int32_t e, struct block_mxfp8 *b)
{
    const float scale = block_e8m0((uint8_t)e), inverse = ldexpf(1, 127 - e);
    double error = 0;
    b->e = (uint8_t)e;
    for (int32_t i = 0; i < UNIT_LEN; i++) {
        b->q[i] = to_e4m3(x[i] * inverse);
        double off = (double)(block_e4m3(b->q[i]) * scale) - (double)x[i];
        error += off * off;
    }
    return error;
}

/* The scale's exponent is that of the largest magnitude less that of the largest number of E4M3, 8 (OCP
 * Microscaling Formats 1.0, 6.3). Then magnitudes are below 512, and those above 448 are cut down to it;
 * where that costs more than coarser small weights do, the next larger scale is taken. */
static void to_mxfp8(const float *src, struct block_mxfp8 *b)
{
    float x[UNIT_LEN];
    float max = take(src, UNIT_LEN, E4M3_MAX * 0x1p119f, x);
    int32_t e = max > 0 ? ilogbf(max) - 8 + 127 : 0;
    if (e < 0) e = 0;
    double error = put_mxfp8(x, e, b);
    if (e == BLOCK_E8M0_MAX || max <= E4M3_MAX * block_e8m0((uint8_t)e)) return;
    struct block_mxfp8 larger;
    if (put_mxfp8(x, e + 1, &larger) < error) *b = larger;
}

/* The d with the least error of d q for n weights, where q are integers of -top..top - 1; weights count by
 * their square. d may be negative: the largest magnitude gets -top. */
static float fit_scale(const float *x, int32_t n, int32_t top)
{
    float extreme = 0, best = 0, best_gain = 0;
    for (int32_t i = 0; i < n; i++) extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    if (fabsf(extreme) <= TINY) return 0;
    for (int32_t k = -N_CANDIDATES; k <= N_CANDIDATES; k++) {
        const float inverse = -((float)top + STEP * (float)k) / extreme;
        float sum_xq[LANES] = {0}, sum_qq[LANES] = {0};
        for (int32_t i = 0; i < n; i += LANES) {
            for (int32_t j = 0; j < LANES; j++) {
                const float f = x[i + j], q = (float)nearest_in(f * inverse, -top, top - 1);
                sum_xq[j] += f * f * f * q;
                sum_qq[j] += f * f * q * q;
            }
        }
        const float xq = add_lanes(sum_xq), qq = add_lanes(sum_qq);
        /* The best d for these q is xq / qq, and then the error is less by this than with d = 0. */
        if (qq > 0 && xq * xq > best_gain * qq) {
            best = xq / qq;
            best_gain = xq * best;
        }
    }
    return best;
}

static void to_q5_0(const float *src, struct block_q5_0 *b)
{
    float x[UNIT_LEN];
    take(src, UNIT_LEN, F16_MAX, x);
    float d = put_f16(b->d, fit_scale(x, UNIT_LEN, 16)), inverse = d != 0 ? 1 / d : 0;
    uint32_t hi = 0;
    for (int32_t i = 0; i < 16; i++) {
        uint32_t low = (uint32_t)nearest_in(x[i] * inverse, -16, 15) + 16;
        uint32_t high = (uint32_t)nearest_in(x[i + 16] * inverse, -16, 15) + 16;
        b->lo[i] = (uint8_t)((low & 15) | (high & 15) << 4);
        hi |= low >> 4 << i | high >> 4 << (i + 16);
    }
    for (int32_t i = 0; i < 4; i++) b->hi[i] = (uint8_t)(hi >> 8 * i);
}

/* A group of Q4_K: 32 weights, and what they count. */
struct group {
    float x[UNIT_LEN], weight[UNIT_LEN];
    float sum_w, sum_wx, sum_wxx;
};

/* x ~ d q - m, m >= 0. */
struct line {
    float d, m, error;
};

/* The weights count by their magnitude and the group's root mean square in equal parts. */
static void group_take(const float *x, struct group *g)
{
    float squares = 0;
    for (int32_t i = 0; i < UNIT_LEN; i++) squares += x[i] * x[i];
    const float rms = sqrtf(squares / UNIT_LEN);
    memcpy(g->x, x, sizeof g->x);
    g->sum_w = g->sum_wx = g->sum_wxx = 0;
    for (int32_t i = 0; i < UNIT_LEN; i++) {
        const float w = g->weight[i] = rms + fabsf(x[i]);
        g->sum_w += w;
        g->sum_wx += w * x[i];
        g->sum_wxx += w * x[i] * x[i];
    }
}

/* Where all q are alike, the determinant of the equations for d and m is 0 but for rounding, which is below
 * this part of its terms; one that differs by 1 among 32 of 15 makes it 7e-5 of them. Then there is no
 * minimum. */
#define ALL_ALIKE 1e-5f

/* The line of least error for q = nearest((x + m) * inverse) in 0..15. */
static struct line fit_line(const struct group *g, float m, float inverse)
{
    float sum_wq[LANES] = {0}, sum_wqq[LANES] = {0}, sum_wqx[LANES] = {0};
    for (int32_t i = 0; i < UNIT_LEN; i += LANES) {
        for (int32_t j = 0; j < LANES; j++) {
            const float x = g->x[i + j], q = (float)nearest_in((x + m) * inverse, 0, 15),
                        w = g->weight[i + j] * q;
            sum_wq[j] += w;
            sum_wqq[j] += w * q;
            sum_wqx[j] += w * x;
        }
    }
    const float wq = add_lanes(sum_wq), wqq = add_lanes(sum_wqq), wqx = add_lanes(sum_wqx);
    struct line l = {0, 0, g->sum_wxx};
    if (wqq <= 0) return l; /* all q are 0 */
    const float determinant = g->sum_w * wqq - wq * wq;
    if (determinant > ALL_ALIKE * g->sum_w * wqq) {
        l.d = (g->sum_w * wqx - g->sum_wx * wq) / determinant;
        l.m = (wq * wqx - wqq * g->sum_wx) / determinant;
    }
    if (l.d <= 0 || l.m < 0) l.m = 0, l.d = wqx / wqq;
    l.error = g->sum_wxx - l.d * wqx + l.m * g->sum_wx;
    return l;
}

static struct line search_line(const struct group *g)
{
    float min = 0, max = g->x[0];
    for (int32_t i = 0; i < UNIT_LEN; i++) {
        min = g->x[i] < min ? g->x[i] : min;
        max = g->x[i] > max ? g->x[i] : max;
    }
    if (max - min <= TINY) return (struct line){0, -min, 0};
    struct line best = {0, 0, g->sum_wxx};
    for (int32_t k = -N_CANDIDATES; k <= N_CANDIDATES; k++) {
        struct line l = fit_line(g, -min, (15 + STEP * (float)k) / (max - min));
        if (l.error < best.error && l.d > 0) best = l;
    }
    /* The best line may give other integers, and these a better line. */
    for (int32_t k = 0; k < 2 && best.d > 0; k++) {
        struct line l = fit_line(g, best.m, 1 / best.d);
        if (l.error < best.error && l.d > 0) best = l;
    }
    return best;
}

/* The weighted squared error of a line whose integers are the nearest; *m becomes the best for them. */
static float line_error(const struct group *g, float d, float m, float *best_m)
{
    const float inverse = d > 0 ? 1 / d : 0;
    float error[LANES] = {0}, off[LANES] = {0};
    for (int32_t i = 0; i < UNIT_LEN; i += LANES) {
        for (int32_t j = 0; j < LANES; j++) {
            const float x = g->x[i + j], rest = d * (float)nearest_in((x + m) * inverse, 0, 15) - m - x;
            error[j] += g->weight[i + j] * rest * rest;
            off[j] += g->weight[i + j] * rest;
        }
    }
    *best_m = m + add_lanes(off) / g->sum_w;
    return add_lanes(error);
}

/* Integer scale and minimum of one group. */
struct codes {
    int32_t scale, min;
};

static int32_t code_of(float f, float unit, int32_t max)
{
    return unit > 0 ? nearest_in(f / unit, 0, max) : 0;
}

/* The codes of a line, in units of d and dmin: of the nearest scale and its neighbours, each with the minimum
 * that suits it, those with the least error. */
static struct codes search_codes(const struct group *g, struct line l, float d, float dmin)
{
    const struct codes nearest_codes = {code_of(l.d, d, 63), code_of(l.m, dmin, 63)};
    struct codes best = nearest_codes;
    float best_error = FLT_MAX;
    for (int32_t scale = nearest_codes.scale - 1; scale <= nearest_codes.scale + 1; scale++) {
        if (scale < 0 || scale > 63) continue;
        struct codes c = {scale, nearest_codes.min};
        for (int32_t pass = 0; pass < 2; pass++) {
            float m;
            const float error = line_error(g, d * (float)c.scale, dmin * (float)c.min, &m);
            if (error < best_error) best_error = error, best = c;
            c.min = code_of(m, dmin, 63);
        }
    }
    return best;
}

/* Where unpack.h finds scale and minimum number i. */
static void put_codes(uint8_t scales[12], int32_t i, struct codes c)
{
    if (i < 4) {
        scales[i] |= (uint8_t)c.scale;
        scales[i + 4] |= (uint8_t)c.min;
    } else {
        scales[i + 4] = (uint8_t)((c.scale & 15) | (c.min & 15) << 4);
        scales[i - 4] |= (uint8_t)(c.scale >> 4 << 6);
        scales[i] |= (uint8_t)(c.min >> 4 << 6);
    }
}

static void to_q4_k(const float *src, struct block_q4_k *b)
{
    struct group groups[SUPER_UNITS];
    struct line lines[SUPER_UNITS];
    float max_d = 0, max_m = 0;
    for (int32_t u = 0; u < SUPER_UNITS; u++) {
        float x[UNIT_LEN];
        take(src + u * UNIT_LEN, UNIT_LEN, F16_MAX, x);
        group_take(x, &groups[u]);
        lines[u] = search_line(&groups[u]);
        max_d = lines[u].d > max_d ? lines[u].d : max_d;
        max_m = lines[u].m > max_m ? lines[u].m : max_m;
    }
    memset(b, 0, sizeof *b);
    const float d = put_f16(b->d, max_d / 63), dmin = put_f16(b->dmin, max_m / 63);
    for (int32_t u = 0; u < SUPER_UNITS; u++) {
        const struct codes c = search_codes(&groups[u], lines[u], d, dmin);
        put_codes(b->scales, u, c);
        const float scale = d * (float)c.scale, m = dmin * (float)c.min, inverse = scale > 0 ? 1 / scale : 0;
        for (int32_t i = 0; i < UNIT_LEN; i++) {
            const int32_t q = nearest_in((groups[u].x[i] + m) * inverse, 0, 15);
            b->lo[32 * (u / 2) + i] |= (uint8_t)(q << 4 * (u % 2));
        }
    }
}

#define SIX_LEN  16 /* weights that share a scale in Q6_K */
#define N_SIXES  (SUPER_LEN / SIX_LEN)
#define SIX_TOP  32
#define SIX_LAST (SIX_TOP - 1)

/* The integer scale in units of d, the nearest or a neighbour, with the least error. */
static int32_t search_scale(const float *x, float scale, float d)
{
    if (d == 0) return 0;
    const int32_t middle = nearest_in(scale / d, -128, 127);
    int32_t best = middle;
    float best_error = FLT_MAX;
    for (int32_t code = middle - 1; code <= middle + 1; code++) {
        if (code < -128 || code > 127) continue;
        const float step = d * (float)code, inverse = code ? 1 / step : 0;
        float errors[LANES] = {0};
        for (int32_t i = 0; i < SIX_LEN; i += LANES) {
            for (int32_t j = 0; j < LANES; j++) {
                const float f = x[i + j],
                            rest = step * (float)nearest_in(f * inverse, -SIX_TOP, SIX_LAST) - f;
                errors[j] += f * f * rest * rest;
            }
        }
        const float error = add_lanes(errors);
        if (error < best_error) best_error = error, best = code;
    }
    return best;
}

static void to_q6_k(const float *src, struct block_q6_k *b)
{
    float x[SUPER_LEN], scales[N_SIXES], extreme = 0;
    take(src, SUPER_LEN, F16_MAX, x);
    for (int32_t g = 0; g < N_SIXES; g++) {
        scales[g] = fit_scale(x + g * SIX_LEN, SIX_LEN, SIX_TOP);
        extreme = fabsf(scales[g]) > fabsf(extreme) ? scales[g] : extreme;
    }
    memset(b, 0, sizeof *b);
    const float d = put_f16(b->d, extreme / -128);
    for (int32_t g = 0; g < N_SIXES; g++) {
        b->scales[g] = (int8_t)search_scale(x + g * SIX_LEN, scales[g], d);
        const float step = d * (float)b->scales[g], inverse = step != 0 ? 1 / step : 0;
        for (int32_t i = 0; i < SIX_LEN; i++) {
            const int32_t q = nearest_in(x[g * SIX_LEN + i] * inverse, -SIX_TOP, SIX_LAST) + SIX_TOP;
            /* Where unpack.h finds weight j of unit u. */
            const int32_t u = g / 2, j = g % 2 * SIX_LEN + i;
            b->lo[64 * (u / 4) + 32 * (u % 2) + j] |= (uint8_t)((q & 15) << 4 * (u / 2 % 2));
            b->hi[32 * (u / 4) + j] |= (uint8_t)(q >> 4 << 2 * (u % 4));
        }
    }
}

bool kern_can_quantize(enum kern_type type)
{
    switch (type) {
    case KERN_F32:
    case KERN_F16:
    case KERN_BF16:
    case KERN_Q8_0:
    case KERN_Q5_0:
    case KERN_Q4_K:
    case KERN_Q6_K:
    case KERN_MXFP8:
        return true;
    default:
        return false;
    }
}

/* One block. */
static void to_block(enum kern_type type, const float *src, void *dst)
{
    switch (type) {
    case KERN_Q8_0:
        to_q8_0(src, dst);
        break;
    case KERN_Q5_0:
        to_q5_0(src, dst);
        break;
    case KERN_Q4_K:
        to_q4_k(src, dst);
        break;
    case KERN_Q6_K:
        to_q6_k(src, dst);
        break;
    default:
        to_mxfp8(src, dst);
        break;
    }
}

void kern_quantize(enum kern_type type, const float *src, void *dst, int32_t n)
{
    const struct kern_type_info *info = kern_type_info(type);
    uint8_t *to = dst;
    switch (type) {
    case KERN_F32:
        memcpy(dst, src, (size_t)n * sizeof *src);
        return;
    case KERN_F16:
        to_f16(src, dst, n);
        return;
    case KERN_BF16:
        to_bf16(src, dst, n);
        return;
    default:
        for (int32_t i = 0; i < n; i += info->block_len, to += info->block_bytes) to_block(type, src + i, to);
    }
}

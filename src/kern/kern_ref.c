/* The specification of every kernel, in plain C: short, sums in F64, no attention to speed. Also the
 * variant for processors that have no other, and "exact", which differs from it in one thing: activations
 * are not rounded to 8 bits. That tells rounding from mistakes when numbers differ from another engine's. */
#include <math.h>

#include "kern/isa.h"
#include "kern/unpack.h"

static float bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Weight number i of a row that is not quantized; rows may lie at any address. */
static float plain_weight(enum kern_type type, const void *row, size_t i)
{
    float f;
    if (type == KERN_F32) return memcpy(&f, (const char *)row + 4 * i, sizeof f), f;
    if (type == KERN_MXFP8) {
        const struct block_mxfp8 *b = (const struct block_mxfp8 *)row + i / UNIT_LEN;
        return block_e4m3(b->q[i % UNIT_LEN]) * block_e8m0(b->e);
    }
    uint16_t bits = block_u16((const uint8_t *)row + 2 * i);
    return type == KERN_F16 ? kern_f16_to_f32(bits) : bf16_to_f32(bits);
}

static void quantize(const float *x, int32_t n, int8_t *q, float *d, float *s)
{
    for (int32_t u = 0; u < n / UNIT_LEN; u++, x += UNIT_LEN, q += UNIT_LEN) {
        float max = 0;
        for (int32_t i = 0; i < UNIT_LEN; i++) max = fmaxf(max, fabsf(x[i]));
        d[u] = max > KERN_QUANT_TINY ? max / 127 : 0;
        float inverse = max > KERN_QUANT_TINY ? 1 / d[u] : 0;
        int32_t sums[2] = {0, 0};
        for (int32_t i = 0; i < UNIT_LEN; i++) {
            q[i] = (int8_t)lrintf(x[i] * inverse);
            sums[i / 16] += q[i];
        }
        s[2 * u] = d[u] * (float)sums[0];
        s[2 * u + 1] = d[u] * (float)sums[1];
    }
}

void kern_ref_dequantize(enum kern_type type, const void *src, float *dst, int32_t n)
{
    if (!kern_type_info(type)->is_quantized) {
        for (int32_t i = 0; i < n; i++) dst[i] = plain_weight(type, src, (size_t)i);
        return;
    }
    for (int32_t i = 0; i < n / UNIT_LEN; i++, dst += UNIT_LEN) {
        struct unit u;
        unpack_unit(type, src, i, &u);
        for (int32_t j = 0; j < UNIT_LEN; j++) dst[j] = u.d[j / 16] * (float)u.q[j] + u.m[j / 16];
    }
}

static int32_t dot16(const int8_t *a, const int8_t *b)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < 16; i++) sum += a[i] * b[i];
    return sum;
}

/* One row times token t, with 8-bit activations. */
static double dot_quantized(enum kern_type type, const void *row, const struct kern_act *x, int32_t t)
{
    int32_t n_units = x->n_cols / UNIT_LEN;
    const int8_t *q = x->q + (size_t)t * (size_t)x->n_cols;
    const float *d = x->d + (size_t)t * (size_t)n_units;
    const float *s = x->s + (size_t)t * (size_t)n_units * 2;
    double sum = 0;
    for (int32_t i = 0; i < n_units; i++, q += UNIT_LEN, s += 2) {
        struct unit u;
        unpack_unit(type, row, i, &u);
        sum += (double)d[i] * ((double)u.d[0] * dot16(u.q, q) + (double)u.d[1] * dot16(u.q + 16, q + 16));
        sum += (double)u.m[0] * (double)s[0] + (double)u.m[1] * (double)s[1];
    }
    return sum;
}

static double dot_plain(enum kern_type type, const void *row, const struct kern_act *x, int32_t t)
{
    const float *f = x->f + (size_t)t * (size_t)x->n_cols;
    double sum = 0;
    for (int32_t i = 0; i < x->n_cols; i++) sum += (double)plain_weight(type, row, (size_t)i) * (double)f[i];
    return sum;
}

/* One row times token t, with the activations as they are. */
static double dot_exact(enum kern_type type, const void *row, const struct kern_act *x, int32_t t)
{
    const float *f = x->f + (size_t)t * (size_t)x->n_cols;
    double sum = 0;
    for (int32_t i = 0; i < x->n_cols / UNIT_LEN; i++, f += UNIT_LEN) {
        struct unit u;
        unpack_unit(type, row, i, &u);
        for (int32_t j = 0; j < UNIT_LEN; j++) {
            sum += ((double)u.d[j / 16] * u.q[j] + (double)u.m[j / 16]) * (double)f[j];
        }
    }
    return sum;
}

typedef double dot_fn(enum kern_type type, const void *row, const struct kern_act *x, int32_t t);

static void multiply(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                     dot_fn *dot, float *y, size_t y_stride)
{
    for (int32_t r = row0; r < row1; r++) {
        const char *row = (const char *)w->data + (size_t)r * w->row_bytes;
        for (int32_t t = 0; t < x->n_tokens; t++)
            y[(size_t)t * y_stride + (size_t)r] = (float)dot(w->type, row, x, t);
    }
}

static void matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1, float *y,
                   size_t y_stride, void *scratch)
{
    (void)scratch;
    multiply(w, x, row0, row1, kern_type_info(w->type)->is_quantized ? dot_quantized : dot_plain, y,
             y_stride);
}

static void matmul_exact(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                         float *y, size_t y_stride, void *scratch)
{
    (void)scratch;
    multiply(w, x, row0, row1, kern_type_info(w->type)->is_quantized ? dot_exact : dot_plain, y, y_stride);
}

static void rms_norm(const float *x, const float *weight, int32_t n, float eps, float *y)
{
    double squares = 0;
    for (int32_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
    float inverse = (float)(1 / sqrt(squares / n + (double)eps));
    for (int32_t i = 0; i < n; i++) y[i] = x[i] * inverse * (weight ? weight[i] : 1);
}

static void layer_norm(const float *x, const float *weight, const float *bias, int32_t n, float eps, float *y)
{
    double sum = 0, squares = 0;
    for (int32_t i = 0; i < n; i++) sum += (double)x[i];
    float mean = (float)(sum / n);
    for (int32_t i = 0; i < n; i++) squares += (double)(x[i] - mean) * (double)(x[i] - mean);
    float inverse = (float)(1 / sqrt(squares / n + (double)eps));
    for (int32_t i = 0; i < n; i++) {
        y[i] = (x[i] - mean) * inverse * (weight ? weight[i] : 1) + (bias ? bias[i] : 0);
    }
}

static void silu_mul(float *gate, const float *up, int32_t n)
{
    for (int32_t i = 0; i < n; i++) gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

/* x * (1 + tanh(u)) / 2 with u = sqrt(2 / pi) * (x + 0.044715 x^3), Hendrycks and Gimpel, 2016. */
static float gelu_tanh(float x)
{
    return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

static void gelu_mul(float *gate, const float *up, int32_t n)
{
    for (int32_t i = 0; i < n; i++) gate[i] = gelu_tanh(gate[i]) * up[i];
}

static void gelu(float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) x[i] = gelu_tanh(x[i]);
}

static void add(float *y, const float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) y[i] += x[i];
}

static void mul_add(float *y, const float *x, float a, int32_t n)
{
    for (int32_t i = 0; i < n; i++) y[i] += a * x[i];
}

static void f32_to_f16(const float *x, uint16_t *y, int32_t n)
{
    for (int32_t i = 0; i < n; i++) y[i] = kern_f32_to_f16(x[i]);
}

static float log_sum_exp(const float *x, int32_t n)
{
    float max = x[0];
    double sum = 0;
    for (int32_t i = 1; i < n; i++) max = fmaxf(max, x[i]);
    for (int32_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)max);
    return max + (float)log(sum);
}

static void rope(float *head, const float *cos, const float *sin, int32_t n_rot, bool neox)
{
    int32_t half = n_rot / 2;
    for (int32_t i = 0; i < half; i++) {
        float *a = neox ? head + i : head + 2 * i;
        float *b = neox ? head + i + half : head + 2 * i + 1;
        float x = *a, z = *b;
        *a = x * cos[i] - z * sin[i];
        *b = x * sin[i] + z * cos[i];
    }
}

/* Everything but the matrix product is the same. */
#define TABLE(name, product)                                                                                 \
    {                                                                                                        \
        .isa = name, .quantize = quantize, .dequantize = kern_ref_dequantize, .matmul = product,             \
        .attend = kern_ref_attend, .kv_store = kern_ref_kv_store, .kv_load = kern_ref_kv_load,               \
        .rms_norm = rms_norm, .layer_norm = layer_norm, .silu_mul = silu_mul, .gelu_mul = gelu_mul,          \
        .gelu = gelu, .add = add, .mul_add = mul_add, .f32_to_f16 = f32_to_f16, .log_sum_exp = log_sum_exp,  \
        .rope = rope,                                                                                        \
    }

const struct kern kern_ref = TABLE("ref", matmul);
const struct kern kern_exact = TABLE("exact", matmul_exact);

/* Attention and the KV cache's formats in plain C: the specification of both. */
#include <math.h>
#include <string.h>

#include "kern/isa.h"

#define SCALE_LEN 32 /* values of a Q8_0 row that share one scale */

size_t kern_kv_block_bytes(enum kern_kv_type type, int32_t head_dim)
{
    size_t n = (size_t)KERN_KV_BLOCK * (size_t)head_dim;
    return type == KERN_KV_F16 ? n * sizeof(uint16_t) : n + n / SCALE_LEN * sizeof(float);
}

/* The scales of position `index`, behind all the block's values. */
static float *scales_of(void *block, int32_t head_dim, int32_t index)
{
    float *scales = (float *)((char *)block + (size_t)KERN_KV_BLOCK * (size_t)head_dim);
    return scales + index * (head_dim / SCALE_LEN);
}

void kern_ref_kv_store(enum kern_kv_type type, int32_t head_dim, const float *x, void *block, int32_t index)
{
    size_t at = (size_t)index * (size_t)head_dim;
    if (type == KERN_KV_F16) {
        for (int32_t i = 0; i < head_dim; i++) ((uint16_t *)block)[at + (size_t)i] = kern_f32_to_f16(x[i]);
        return;
    }
    int8_t *q = (int8_t *)block + at;
    float *scales = scales_of(block, head_dim, index);
    for (int32_t i = 0; i < head_dim; i += SCALE_LEN) {
        float max = 0;
        for (int32_t j = 0; j < SCALE_LEN; j++) max = fmaxf(max, fabsf(x[i + j]));
        float d = max > KERN_QUANT_TINY ? max / 127 : 0, inverse = d > 0 ? 1 / d : 0;
        scales[i / SCALE_LEN] = d;
        for (int32_t j = 0; j < SCALE_LEN; j++) q[i + j] = (int8_t)lrintf(x[i + j] * inverse);
    }
}

void kern_ref_kv_load(enum kern_kv_type type, int32_t head_dim, const void *block, int32_t index, float *x)
{
    size_t at = (size_t)index * (size_t)head_dim;
    if (type == KERN_KV_F16) {
        for (int32_t i = 0; i < head_dim; i++)
            x[i] = kern_f16_to_f32(((const uint16_t *)block)[at + (size_t)i]);
        return;
    }
    const int8_t *q = (const int8_t *)block + at;
    const float *scales = scales_of((void *)block, head_dim, index);
    for (int32_t i = 0; i < head_dim; i++) x[i] = scales[i / SCALE_LEN] * (float)q[i];
}

/* One head of one token over positions begin..end-1. Rescales what is summed so far whenever a larger score
 * appears (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018). */
static void attend_head(const struct kern_attend *a, const float *q, int32_t begin, int32_t end, float *acc,
                        float *max_out, float *sum_out)
{
    double max = -INFINITY, sum = 0, total[KERN_HEAD_DIM_MAX] = {0};
    float row[KERN_HEAD_DIM_MAX];
    for (int32_t p = begin; p < end; p++) {
        const char *page = a->pages[p / KERN_KV_BLOCK];
        kern_ref_kv_load(a->type, a->head_dim, page + a->k_offset, p % KERN_KV_BLOCK, row);
        double score = 0;
        for (int32_t i = 0; i < a->head_dim; i++) score += (double)q[i] * (double)row[i];
        score *= (double)a->scale;
        if (score > max) {
            double shrink = exp(max - score);
            for (int32_t i = 0; i < a->head_dim; i++) total[i] *= shrink;
            sum *= shrink;
            max = score;
        }
        double weight = exp(score - max);
        kern_ref_kv_load(a->type, a->head_dim, page + a->v_offset, p % KERN_KV_BLOCK, row);
        for (int32_t i = 0; i < a->head_dim; i++) total[i] += weight * (double)row[i];
        sum += weight;
    }
    for (int32_t i = 0; i < a->head_dim; i++) acc[i] = (float)total[i];
    *max_out = (float)max;
    *sum_out = (float)sum;
}

void kern_ref_attend(const struct kern_attend *a, int32_t begin, int32_t end,
                     const struct kern_attend_out *out, void *scratch)
{
    (void)scratch;
    for (int32_t t = 0; t < a->n_tokens; t++) {
        int32_t last = a->pos + t + 1, first = a->window && last > a->window ? last - a->window : 0;
        int32_t from = begin > first ? begin : first, to = end < last ? end : last;
        for (int32_t h = 0; h < a->n_heads; h++) {
            size_t head = (size_t)h * (size_t)a->head_dim, i = (size_t)t * (size_t)a->n_heads + (size_t)h;
            attend_head(a, a->q + (size_t)t * a->q_stride + head, from, to,
                        out->acc + (size_t)t * out->acc_stride + head, &out->max[i], &out->sum[i]);
        }
    }
}

void kern_attend_merge(float *acc, float *max, float *sum, const float *from, float from_max, float from_sum,
                       int32_t head_dim)
{
    if (from_sum == 0) return;
    float top = *max > from_max ? *max : from_max;
    float keep = expf(*max - top), add = expf(from_max - top);
    for (int32_t i = 0; i < head_dim; i++) acc[i] = acc[i] * keep + from[i] * add;
    *sum = *sum * keep + from_sum * add;
    *max = top;
}

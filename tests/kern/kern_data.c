/* Random test data in guarded memory. */
#include "kern_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct region region_new(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t body = (bytes + page - 1) / page * page;
    char *map = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + body, page, PROT_NONE) != 0) {
        perror("mmap");
        abort();
    }
    return (struct region){map + body - bytes, map, body + page};
}

void region_free(struct region *r)
{
    if (r->map) munmap(r->map, r->map_bytes);
    *r = (struct region){0};
}

/* xorshift64* (Vigna, 2016). */
uint32_t random_u32(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32);
}

float random_float(float min, float max)
{
    return min + (max - min) * (float)random_u32() / 4294967296.0f;
}

const enum kern_type data_types[] = {
    KERN_F32,  KERN_F16,  KERN_BF16, KERN_Q8_0, KERN_Q4_0, KERN_Q4_1,   KERN_Q5_0,   KERN_Q5_1,
    KERN_Q2_K, KERN_Q3_K, KERN_Q4_K, KERN_Q5_K, KERN_Q6_K, KERN_IQ4_NL, KERN_IQ4_XS, KERN_MXFP8,
};
const int32_t data_n_types = sizeof data_types / sizeof *data_types;

/* Where the F16 scales lie within a block, -1: none. All other bytes may have any value. */
static const int32_t scale_offsets[KERN_TYPE_END][2] = {
    [KERN_MXFP8] = {-1, -1}, [KERN_Q8_0] = {0, -1}, [KERN_Q4_0] = {0, -1},   [KERN_Q4_1] = {0, 2},
    [KERN_Q5_0] = {0, -1},   [KERN_Q5_1] = {0, 2},  [KERN_Q2_K] = {80, 82},  [KERN_Q3_K] = {108, -1},
    [KERN_Q4_K] = {0, 2},    [KERN_Q5_K] = {0, 2},  [KERN_Q6_K] = {208, -1}, [KERN_IQ4_NL] = {0, -1},
    [KERN_IQ4_XS] = {0, -1},
};

static void put_plain(enum kern_type type, char *to, float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t half = type == KERN_F16 ? kern_f32_to_f16(f) : (uint16_t)(bits >> 16);
    if (type == KERN_F32) {
        memcpy(to, &f, sizeof f);
    } else {
        memcpy(to, &half, sizeof half);
    }
}

static void put_scales(enum kern_type type, char *block)
{
    if (type == KERN_MXFP8) *block = (char)(110 + random_u32() % 10); /* 2^-17 to 2^-8, of up to 480 */
    for (int32_t s = 0; s < 2; s++) {
        uint16_t half = kern_f32_to_f16(random_float(-0.05f, 0.05f));
        if (scale_offsets[type][s] >= 0) memcpy(block + scale_offsets[type][s], &half, sizeof half);
    }
}

void data_fill_blocks(enum kern_type type, void *blocks, size_t n_weights)
{
    const struct kern_type_info *info = kern_type_info(type);
    size_t block_bytes = (size_t)info->block_bytes;
    char *block = blocks;
    for (size_t i = 0; i < n_weights / (size_t)info->block_len; i++, block += block_bytes) {
        if (info->block_len == 1) {
            put_plain(type, block, random_float(-1, 1));
            continue;
        }
        for (size_t b = 0; b < block_bytes; b++) block[b] = (char)random_u32();
        put_scales(type, block);
    }
}

void data_fill_extreme(enum kern_type type, void *blocks, size_t n_weights, uint8_t value)
{
    const struct kern_type_info *info = kern_type_info(type);
    char *block = blocks;
    for (size_t i = 0; i < n_weights / (size_t)info->block_len; i++, block += info->block_bytes) {
        memset(block, value, (size_t)info->block_bytes);
        put_scales(type, block);
    }
}

struct kern_mat data_matrix(enum kern_type type, int32_t n_rows, int32_t n_cols, struct region *memory)
{
    const struct kern_type_info *info = kern_type_info(type);
    size_t row_bytes = (size_t)(n_cols / info->block_len) * (size_t)info->block_bytes;
    *memory = region_new(row_bytes * (size_t)n_rows);
    data_fill_blocks(type, memory->data, (size_t)n_rows * (size_t)n_cols);
    return (struct kern_mat){memory->data, type, n_rows, n_cols, row_bytes, NULL};
}

struct activations data_activations(const struct kern *k, int32_t n_tokens, int32_t n_cols)
{
    size_t n = (size_t)n_tokens * (size_t)n_cols;
    struct activations a = {.f = region_new(n * sizeof(float))};
    float *f = a.f.data;
    for (size_t i = 0; i < n; i++) f[i] = random_float(-3, 3);
    a.act = (struct kern_act){.f = f, .n_tokens = n_tokens, .n_cols = n_cols};
    if (n_cols % 32 != 0) return a;
    a.q = region_new(n);
    a.d = region_new(n / 32 * sizeof(float));
    a.s = region_new(n / 16 * sizeof(float));
    k->quantize(f, (int32_t)n, a.q.data, a.d.data, a.s.data);
    a.act.q = a.q.data;
    a.act.d = a.d.data;
    a.act.s = a.s.data;
    return a;
}

void data_free_activations(struct activations *a)
{
    region_free(&a->f);
    region_free(&a->q);
    region_free(&a->d);
    region_free(&a->s);
}

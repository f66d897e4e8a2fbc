/* Included before kern_amx.c to compile it for processors without AMX: tiles in memory of the thread, and the
 * instructions as the Intel SDM (vol. 2) defines them. What would fault ends the program. */
#ifndef TESTS_KERN_AMX_EMULATED_H
#define TESTS_KERN_AMX_EMULATED_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <immintrin.h>

#define AMX_TILES 8
#define AMX_ROWS  16
#define AMX_BYTES 64

struct amx_tile {
    uint8_t bytes[AMX_ROWS][AMX_BYTES];
    int32_t n_rows, row_bytes;
};

/* Without a configuration all tiles have no rows. */
static _Thread_local struct amx_tile amx_tiles[AMX_TILES];

static inline void amx_require(int condition)
{
    if (!condition) abort();
}

static inline struct amx_tile *amx_tile(int32_t i)
{
    amx_require(i >= 0 && i < AMX_TILES && amx_tiles[i].n_rows > 0);
    return &amx_tiles[i];
}

static inline void amx_loadconfig(const void *config)
{
    const uint8_t *c = config;
    amx_require(c[0] == 1 && c[1] == 0); /* palette 1; not resuming an interrupted instruction */
    for (int32_t i = 2; i < 16; i++) amx_require(c[i] == 0);
    memset(amx_tiles, 0, sizeof amx_tiles);
    for (int32_t i = 0; i < 16; i++) {
        int32_t row_bytes = c[16 + 2 * i] | c[17 + 2 * i] << 8, n_rows = c[48 + i];
        amx_require(i < AMX_TILES || (row_bytes == 0 && n_rows == 0));
        amx_require(row_bytes <= AMX_BYTES && n_rows <= AMX_ROWS && (row_bytes == 0) == (n_rows == 0));
        if (i < AMX_TILES) amx_tiles[i].n_rows = n_rows, amx_tiles[i].row_bytes = row_bytes;
    }
}

static inline void amx_release(void)
{
    memset(amx_tiles, 0, sizeof amx_tiles);
}

static inline void amx_zero(int32_t i)
{
    memset(amx_tile(i)->bytes, 0, sizeof amx_tiles->bytes);
}

static inline void amx_load(int32_t i, const void *base, size_t stride)
{
    struct amx_tile *t = amx_tile(i);
    amx_zero(i);
    for (int32_t r = 0; r < t->n_rows; r++)
        memcpy(t->bytes[r], (const char *)base + (size_t)r * stride, (size_t)t->row_bytes);
}

static inline void amx_store(int32_t i, void *base, size_t stride)
{
    const struct amx_tile *t = amx_tile(i);
    for (int32_t r = 0; r < t->n_rows; r++)
        memcpy((char *)base + (size_t)r * stride, t->bytes[r], (size_t)t->row_bytes);
}

/* Denormals count as zero, as inputs and as results. */
static inline float amx_flush(float f)
{
    return fabsf(f) < 0x1p-126f ? copysignf(0, f) : f;
}

static inline float amx_bf16(const uint8_t *row, int32_t i)
{
    uint32_t bits = (uint32_t)row[2 * i] << 16 | (uint32_t)row[2 * i + 1] << 24;
    float f;
    memcpy(&f, &bits, sizeof f);
    return amx_flush(f);
}

/* c[m][n] += a[m][.] . b[.][n]: pairs are summed in two chains of fused multiply-adds, first and second of
 * each pair, which are added to each other and then to c. Rounding is to nearest even. */
static inline void amx_dpbf16ps(int32_t to, int32_t src1, int32_t src2)
{
    struct amx_tile *c = amx_tile(to);
    const struct amx_tile *a = amx_tile(src1), *b = amx_tile(src2);
    amx_require(to != src1 && to != src2 && src1 != src2);
    amx_require(a->n_rows == c->n_rows && b->row_bytes == c->row_bytes && a->row_bytes / 4 == b->n_rows);
    for (int32_t m = 0; m < c->n_rows; m++) {
        for (int32_t n = 0; n < c->row_bytes / 4; n++) {
            float sums[2] = {0, 0}, total;
            for (int32_t k = 0; k < a->row_bytes / 4; k++) {
                for (int32_t i = 0; i < 2; i++) {
                    float x = amx_bf16(a->bytes[m], 2 * k + i), y = amx_bf16(b->bytes[k], 2 * n + i);
                    sums[i] = amx_flush(fmaf(x, y, sums[i]));
                }
            }
            memcpy(&total, c->bytes[m] + 4 * n, sizeof total);
            total = amx_flush(amx_flush(total) + amx_flush(sums[0] + sums[1]));
            memcpy(c->bytes[m] + 4 * n, &total, sizeof total);
        }
    }
}

/* The compiler's own definitions of the instructions' names give way. */
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig amx_loadconfig
#define _tile_release    amx_release
#define _tile_loadd      amx_load
#define _tile_stored     amx_store
#define _tile_zero       amx_zero
#define _tile_dpbf16ps   amx_dpbf16ps
#define KERN_EMULATE_AMX 1

#endif

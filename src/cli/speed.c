/* Measures products of synthetic matrices, in the packed layout where the kernels read it, through the same
 * pool and kernels that models run on. All matrices together are larger than caches, and each is as large as
 * one of a small model, so that starting the threads costs what it costs there. */
#include "cli/speed.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "kern/kern.h"
#include "kern/pack.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/pages.h"
#include "os/pool.h"

#define N_COLS  2048
#define N_ROWS  4096
#define WEIGHTS ((int64_t)N_COLS * N_ROWS) /* of a matrix */
/* 143 MB of 8-bit weights, 75 MB of 4-bit ones: beyond last-level caches of desktops. */
#define N_MATRICES       16
#define MANY             64 /* tokens of a large batch */
#define MANY_MS          60 /* the time that measuring those takes */
#define PASSES           3  /* over all matrices; the best counts: what disturbs is not the machine's limit */
#define FEW_MS           120 /* no further pass after this time, on slow machines */
#define TASKS_PER_THREAD 6   /* as infer/linear.c cuts them */

struct bench {
    const struct kern *kern;
    struct pool *pool;
    char *weights; /* [N_MATRICES][matrix_bytes] */
    char *scratch; /* [threads][scratch_bytes] */
    size_t matrix_bytes, scratch_bytes;
    struct kern_mat w; /* the shape; data and packed are set for each matrix */
    struct kern_act x;
    float *y; /* [MANY][N_ROWS] */
    int32_t rows_per_task;
    int32_t matrix; /* that is being multiplied */
};

/* --- Weights -------------------------------------------------------------------------------------------- */

/* Any bytes are weights of these formats, but for the F16 scales that begin each block. */
static void fill_blocks(uint8_t *bytes, size_t len, enum kern_type type)
{
    const struct kern_type_info *info = kern_type_info(type);
    size_t scales = type == KERN_Q4_K ? 4 : 2, block = (size_t)info->block_bytes;
    uint32_t x = 12345;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u; /* Numerical Recipes' linear congruential generator */
        bytes[i] = i % block < scales ? (i % 2 ? 0x21 : 0x1f) /* about 0.01 */ : (uint8_t)(x >> 24);
    }
}

static void copy_matrix(void *ctx, int32_t task, int32_t worker)
{
    struct bench *b = ctx;
    (void)worker;
    memcpy(b->weights + (size_t)(task + 1) * b->matrix_bytes, b->weights, b->matrix_bytes);
}

/* One matrix is made, the others are its copies. */
static bool make_weights(struct bench *b, enum kern_type type)
{
    const struct kern_type_info *info = kern_type_info(type);
    size_t row_bytes = (size_t)(N_COLS / info->block_len * info->block_bytes), plain = row_bytes * N_ROWS;
    uint8_t *blocks = mem_try(plain, 1);
    b->w = (struct kern_mat){
        .data = blocks, .type = type, .n_rows = N_ROWS, .n_cols = N_COLS, .row_bytes = row_bytes};
    b->matrix_bytes = b->kern->reads_packed ? pack_bytes(type, N_ROWS, N_COLS) : plain;
    b->weights = pages_reserve(N_MATRICES * b->matrix_bytes);
    if (blocks && b->weights) {
        fill_blocks(blocks, plain, type);
        if (b->kern->reads_packed)
            pack_rows(&b->w, 0, N_ROWS, b->weights);
        else
            memcpy(b->weights, blocks, plain);
        pool_run(b->pool, N_MATRICES - 1, copy_matrix, b);
    }
    mem_free(blocks);
    return blocks && b->weights;
}

static void drop_weights(struct bench *b)
{
    pages_release(b->weights, N_MATRICES * b->matrix_bytes);
    b->weights = NULL;
}

/* --- Products ------------------------------------------------------------------------------------------- */

static void multiply_rows(void *ctx, int32_t task, int32_t worker)
{
    struct bench *b = ctx;
    struct kern_mat w = b->w;
    w.data = b->weights + (size_t)b->matrix * b->matrix_bytes;
    w.packed = b->kern->reads_packed ? w.data : NULL;
    int32_t row0 = task * b->rows_per_task, row1 = row0 + b->rows_per_task;
    b->kern->matmul(&w, &b->x, row0, row1 < N_ROWS ? row1 : N_ROWS, b->y, N_ROWS,
                    b->scratch + (size_t)worker * b->scratch_bytes);
}

static void multiply(struct bench *b, int32_t n_tokens)
{
    int32_t tasks = pool_threads(b->pool) * TASKS_PER_THREAD, least = b->kern->task_rows;
    b->x.n_tokens = n_tokens;
    b->rows_per_task = (N_ROWS / tasks + PACK_ROWS - 1) / PACK_ROWS * PACK_ROWS;
    if (n_tokens > 8 && b->rows_per_task < least && least <= N_ROWS) b->rows_per_task = least;
    if (b->rows_per_task < PACK_ROWS) b->rows_per_task = PACK_ROWS;
    pool_run(b->pool, (N_ROWS + b->rows_per_task - 1) / b->rows_per_task, multiply_rows, b);
}

/* Nanoseconds for a weight, of a few tokens at once. */
static double measure_few(struct bench *b, int32_t n_tokens)
{
    double best = 0;
    int64_t begin = clock_ns();
    for (int pass = 0; pass < PASSES && (pass == 0 || clock_ms_since(begin) < FEW_MS); pass++) {
        int64_t start = clock_ns();
        for (b->matrix = 0; b->matrix < N_MATRICES; b->matrix++) multiply(b, n_tokens);
        double ns = (double)(clock_ns() - start) / (double)(WEIGHTS * N_MATRICES);
        if (pass == 0 || ns < best) best = ns;
    }
    return best;
}

/* Nanoseconds for a weight and a token, of many tokens at once. */
static double measure_many(struct bench *b)
{
    double best = 0;
    int64_t begin = clock_ns();
    for (int32_t i = 0; i < PASSES || clock_ms_since(begin) < MANY_MS; i++) {
        b->matrix = i % N_MATRICES;
        int64_t start = clock_ns();
        multiply(b, MANY);
        double ns = (double)(clock_ns() - start) / (double)(WEIGHTS * MANY);
        if (i == 0 || ns < best) best = ns;
    }
    return best;
}

static bool measure_format(struct bench *b, enum kern_type type, struct speed_format *out)
{
    bool has_weights = make_weights(b, type);
    if (has_weights)
        *out = (struct speed_format){
            .one = measure_few(b, 1), .eight = measure_few(b, 8), .many = measure_many(b)};
    drop_weights(b);
    return has_weights;
}

/* --- All of it ------------------------------------------------------------------------------------------ */

struct tokens { /* activations of a large batch; owned */
    float *f, *d, *s;
    int8_t *q;
};

static bool make_tokens(struct bench *b, struct tokens *t)
{
    t->f = mem_try(MANY * N_COLS, sizeof *t->f);
    t->q = mem_try(MANY * N_COLS, 1);
    t->d = mem_try(MANY * N_COLS / 32, sizeof *t->d);
    t->s = mem_try(MANY * N_COLS / 16, sizeof *t->s);
    b->y = mem_try(MANY * N_ROWS, sizeof *b->y);
    b->scratch_bytes = (kern_scratch_bytes() + 63) / 64 * 64;
    b->scratch = pages_reserve((size_t)pool_threads(b->pool) * b->scratch_bytes);
    if (!t->f || !t->q || !t->d || !t->s || !b->y || !b->scratch) return false;
    for (int32_t i = 0; i < MANY * N_COLS; i++) t->f[i] = (float)(i % 17 - 8) / 8;
    b->kern->quantize(t->f, MANY * N_COLS, t->q, t->d, t->s);
    b->x = (struct kern_act){.f = t->f, .q = t->q, .d = t->d, .s = t->s, .n_cols = N_COLS};
    return true;
}

enum err speed_measure(int32_t n_threads, const char *isa, struct speed *out, struct errmsg *msg)
{
    struct bench b = {.kern = kern_select(isa && *isa ? isa : NULL)};
    struct tokens t = {0};
    *out = (struct speed){.n_threads = n_threads > 0 ? n_threads : cpu_count()};
    if (!b.kern) return err_set(msg, ERR_UNSUPPORTED, "this CPU has no \"%s\"", isa ? isa : "");
    snprintf(out->isa, sizeof out->isa, "%s", b.kern->isa);
    enum err err = pool_new(out->n_threads, &b.pool, msg);
    if (err) return err;
    if (!make_tokens(&b, &t) || !measure_format(&b, KERN_Q8_0, &out->q8_0) ||
        !measure_format(&b, KERN_Q4_K, &out->q4_k))
        err = err_set(msg, ERR_NOMEM, "not enough memory to measure the machine");
    if (!err) {
        out->read_gb_s = 8.5 / 8 / out->q8_0.one; /* bytes of a weight and its share of the scale */
        out->products_s = 1e9 / out->q8_0.many;
    }
    if (b.scratch) pages_release(b.scratch, (size_t)pool_threads(b.pool) * b.scratch_bytes);
    pool_free(&b.pool);
    mem_free(b.y);
    mem_free(t.f);
    mem_free(t.q);
    mem_free(t.d);
    mem_free(t.s);
    return err;
}

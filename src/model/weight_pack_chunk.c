/* Chunks of a pack. See weight_pack_chunk.h. */
#include "model/weight_pack_chunk.h"

#include <math.h>

#include "base/mem.h"
#include "kern/pack.h"
#include "kern/quantize.h"
#include "os/pool.h"

/* Bytes of a chunk at most: a few milliseconds of work, between which the builder looks whether it should
 * stop. Conversion costs ten times more for each byte. */
#define CHUNK_BYTES   1048576
#define CONVERT_BYTES 131072

/* Chunks made at once, for each thread: enough that a late one does not hold up the others for long. */
#define CHUNKS_PER_THREAD 4

struct weight_pack_maker {
    const struct weight_pack_plan *plan;
    struct pool *pool;
    const struct kern *kern;
    int32_t entry, row;               /* where the next chunk begins */
    int32_t n, cap;                   /* chunks made last, and at most at once */
    struct weight_pack_chunk *chunks; /* [cap]; owned, with their bytes */
    size_t row_scratch, scratch;      /* bytes for a thread: of one row as floats; of all */
    char *memory;                     /* [n_threads][scratch] */
};

static bool converts(const struct weight_pack_entry *e)
{
    return e->type != e->w->type;
}

/* Bytes of a panel's rows in the pack. */
static size_t panel_bytes(const struct weight_pack_entry *e)
{
    return weight_pack_chunk_bytes(e, PACK_ROWS);
}

int32_t weight_pack_chunk_rows(const struct weight_pack_entry *e)
{
    size_t panels = (size_t)(converts(e) ? CONVERT_BYTES : CHUNK_BYTES) / panel_bytes(e);
    int64_t rows = (int64_t)(panels ? panels : 1) * PACK_ROWS;
    return rows < e->w->n_rows ? (int32_t)rows : e->w->n_rows;
}

size_t weight_pack_chunk_bytes(const struct weight_pack_entry *e, int32_t n_rows)
{
    if (e->is_packed) return pack_bytes(e->type, n_rows, e->w->n_cols);
    return (size_t)n_rows * weight_pack_entry_row_bytes(e);
}

/* --- Converting -------------------------------------------------------------------------------------- */

/* Weights that are no numbers have no quantized form; the model is broken, and stays so without them. */
static void drop_infinite(float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) x[i] = isfinite(x[i]) ? x[i] : 0;
}

/* Quantize n rows of e from row0 on to plain rows at out; floats: one row. */
static void convert_rows(const struct weight_pack_maker *k, const struct weight_pack_entry *e, int32_t row0,
                         int32_t n, float *floats, char *out)
{
    const struct kern_mat *w = e->w;
    for (int32_t i = 0; i < n; i++, out += weight_pack_entry_row_bytes(e)) {
        k->kern->dequantize(w->type, (const char *)w->data + (size_t)(row0 + i) * w->row_bytes, floats,
                            w->n_cols);
        drop_infinite(floats, w->n_cols);
        kern_quantize(e->type, floats, out, w->n_cols);
    }
}

/* A packed chunk of converted rows: a panel's rows are quantized, then packed. */
static void convert_panels(const struct weight_pack_maker *k, const struct weight_pack_chunk *chunk,
                           float *floats, char *rows)
{
    const struct weight_pack_entry *e = &k->plan->entries[chunk->entry];
    char *out = chunk->bytes;
    for (int32_t at = 0; at < chunk->n_rows; at += PACK_ROWS, out += panel_bytes(e)) {
        int32_t n = chunk->n_rows - at < PACK_ROWS ? chunk->n_rows - at : PACK_ROWS;
        convert_rows(k, e, chunk->row + at, n, floats, rows);
        struct kern_mat panel = {.data = rows, .type = e->type, .n_rows = n, .n_cols = e->w->n_cols};
        panel.row_bytes = weight_pack_entry_row_bytes(e);
        pack_rows(&panel, 0, n, out);
    }
}

static void make_chunk(void *ctx, int32_t task, int32_t worker)
{
    struct weight_pack_maker *k = ctx;
    struct weight_pack_chunk *chunk = &k->chunks[task];
    const struct weight_pack_entry *e = &k->plan->entries[chunk->entry];
    char *scratch = k->memory + (size_t)worker * k->scratch;
    float *floats = (float *)(void *)scratch;
    if (!converts(e)) {
        struct kern_mat part = *e->w;
        part.data = (const char *)e->w->data + (size_t)chunk->row * e->w->row_bytes;
        part.n_rows = chunk->n_rows;
        pack_rows(&part, 0, part.n_rows, chunk->bytes);
    } else if (e->is_packed) {
        convert_panels(k, chunk, floats, scratch + k->row_scratch);
    } else {
        convert_rows(k, e, chunk->row, chunk->n_rows, floats, chunk->bytes);
    }
}

/* --- The maker --------------------------------------------------------------------------------------- */

static size_t align(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static enum err reserve(struct weight_pack_maker *k)
{
    size_t chunk_bytes = 1, panel = 0;
    int32_t n_threads = pool_threads(k->pool);
    for (int32_t i = 0; i < k->plan->n; i++) {
        const struct weight_pack_entry *e = &k->plan->entries[i];
        size_t bytes = weight_pack_chunk_bytes(e, weight_pack_chunk_rows(e));
        if (bytes > chunk_bytes) chunk_bytes = bytes;
        if (!converts(e)) continue;
        size_t floats = (size_t)e->w->n_cols * sizeof(float),
               rows = PACK_ROWS * weight_pack_entry_row_bytes(e);
        if (floats > k->row_scratch) k->row_scratch = floats;
        if (rows > panel) panel = rows;
    }
    k->row_scratch = align(k->row_scratch);
    k->scratch = k->row_scratch + align(panel);
    k->cap = n_threads > 1 ? n_threads * CHUNKS_PER_THREAD : 1;
    k->chunks = mem_try((size_t)k->cap, sizeof *k->chunks);
    if (k->scratch) k->memory = mem_try_aligned((size_t)n_threads, k->scratch);
    if (!k->chunks || (k->scratch && !k->memory)) return ERR_NOMEM;
    for (int32_t i = 0; i < k->cap; i++) {
        k->chunks[i].bytes = mem_try_aligned(chunk_bytes, 1);
        if (!k->chunks[i].bytes) return ERR_NOMEM;
    }
    return OK;
}

enum err weight_pack_maker_new(const struct weight_pack_plan *plan, int32_t n_threads,
                               struct weight_pack_maker **out, struct errmsg *msg)
{
    struct weight_pack_maker *k = MEM_NEW(struct weight_pack_maker);
    k->plan = plan;
    k->kern = kern_select(NULL);
    enum err err = pool_new(n_threads, &k->pool, msg);
    if (!err && (err = reserve(k))) err_set(msg, err, "no memory to pack weights");
    if (err)
        weight_pack_maker_free(&k);
    else
        *out = k;
    return err;
}

void weight_pack_maker_free(struct weight_pack_maker **kp)
{
    struct weight_pack_maker *k = *kp;
    *kp = NULL;
    if (!k) return;
    for (int32_t i = 0; k->chunks && i < k->cap; i++) mem_free(k->chunks[i].bytes);
    mem_free(k->chunks);
    mem_free(k->memory);
    pool_free(&k->pool);
    mem_free(k);
}

int32_t weight_pack_maker_next(struct weight_pack_maker *k, const struct weight_pack_chunk **out)
{
    *out = k->chunks;
    for (k->n = 0; k->n < k->cap && k->entry < k->plan->n; k->n++) {
        const struct weight_pack_entry *e = &k->plan->entries[k->entry];
        struct weight_pack_chunk *chunk = &k->chunks[k->n];
        int32_t left = e->w->n_rows - k->row, most = weight_pack_chunk_rows(e);
        chunk->entry = k->entry;
        chunk->row = k->row;
        chunk->n_rows = left < most ? left : most;
        chunk->len = weight_pack_chunk_bytes(e, chunk->n_rows);
        k->row += chunk->n_rows;
        if (k->row < e->w->n_rows) continue;
        k->row = 0;
        k->entry++;
    }
    pool_run(k->pool, k->n, make_chunk, k);
    return k->n;
}

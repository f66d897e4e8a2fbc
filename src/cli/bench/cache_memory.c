/* The first level, in memory: as many entries as people have after weeks, and look-ups of all kinds. */
#include "cli/bench/cache.h"

#include "base/mem.h"
#include "cli/bench/bench.h"
#include "os/clock.h"

#define N_ENTRIES   100000
#define N_LOOKUPS   200000
#define MEMORY_MAX  ((size_t)1 << 30) /* more than these entries take: none is evicted */
#define N_DOCUMENTS 100               /* that the entries are of; one after the other */
#define N_TOGETHER  100  /* entries of a document with the same window: it stays while one types */
#define WINDOW      4096 /* bytes of it */
#define RECORD_MAX  ((size_t)4096)

static enum err add_entry(struct memory_cache *m, uint64_t i, struct buf *bytes)
{
    char typed[2][BENCH_TYPED_MAX];
    struct memory_key keys[2];
    size_t second;
    enum err err = bench_cache_record(0, i, bytes, &second);
    if (err) return err;
    size_t at = (size_t)(i / N_DOCUMENTS), from = at / N_TOGETHER * WINDOW;
    struct memory_place place = {
        .file = 1 + i % N_DOCUMENTS, .from = from, .cursor = from + at % N_TOGETHER, .to = from + WINDOW};
    struct memory_entry *entry = memory_cache_expect(m, &place);
    if (!entry) return ERR_NOMEM;
    bench_cache_key(0, i, 0, typed[0], &keys[0].key);
    keys[0].n_typed = 0;
    bench_cache_key(0, i, second, typed[1], &keys[1].key);
    keys[1].n_typed = second;
    memory_cache_fill(m, &entry, keys, second > 0 ? 2 : 1, bytes->data, bytes->len);
    return OK;
}

static bool take_first(void *ctx, const struct record *r, size_t n_typed)
{
    (void)ctx, (void)r, (void)n_typed;
    return true;
}

static enum err look_up(struct memory_cache *m, struct bench_cache_level *out)
{
    double *ms = mem_try(N_LOOKUPS, sizeof *ms);
    if (!ms) return ERR_NOMEM;
    uint64_t state = 1;
    for (int32_t i = 0; i < N_LOOKUPS; i++) {
        char typed[BENCH_TYPED_MAX];
        struct store_key key;
        bench_cache_question(0, 0, N_ENTRIES, &state, typed, &key);
        int64_t start = clock_ns();
        out->n_found += memory_cache_find(m, &key, take_first, NULL) == MEMORY_FOUND;
        ms[i] = clock_ms_since(start);
    }
    out->n_lookups = N_LOOKUPS;
    out->p50_ms = bench_percentile(ms, N_LOOKUPS, 0.5);
    out->p99_ms = bench_percentile(ms, N_LOOKUPS, 0.99);
    out->max_ms = bench_percentile(ms, N_LOOKUPS, 1);
    mem_free(ms);
    return OK;
}

enum err bench_cache_memory(struct bench_cache_report *out, struct errmsg *msg)
{
    struct memory_cache *m = memory_cache_new(MEMORY_MAX);
    struct buf bytes;
    enum err err = m ? OK : ERR_NOMEM;
    buf_init(&bytes, RECORD_MAX);
    for (uint64_t i = 0; i < N_ENTRIES && !err; i++) err = add_entry(m, i, &bytes);
    if (!err) err = look_up(m, &out->l1);
    if (!err) {
        struct memory_stats stats;
        memory_cache_stats(m, &stats);
        out->l1.n_entries = stats.n_entries;
        out->l1.n_bytes = stats.n_bytes;
    }
    memory_cache_free(&m);
    buf_clear(&bytes);
    return err ? err_set(msg, err, "cannot fill the memory: %s", err_text(err)) : OK;
}

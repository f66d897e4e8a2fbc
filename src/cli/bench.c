/* inline bench model: how fast a model runs here. Prefill and decode speed, load time, memory, and the
 * machine's read bandwidth, which bounds decoding. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "infer/engine.h"
#include "model/gguf.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/pages.h"
#include "os/pool.h"
#include "os/usage.h"

#define MAX_RUNS 25

/* The buffer that measures read bandwidth: far larger than any last-level cache. */
#define BANDWIDTH_BYTES ((size_t)512 << 20)
#define BANDWIDTH_TASKS 64

struct bandwidth {
    const uint64_t *data;
    uint64_t sums[BANDWIDTH_TASKS];
};

static void read_part(void *ctx, int32_t task, int32_t worker)
{
    (void)worker;
    struct bandwidth *b = ctx;
    size_t n = BANDWIDTH_BYTES / sizeof(uint64_t) / BANDWIDTH_TASKS;
    const uint64_t *p = b->data + (size_t)task * n;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < n; i += 8) {
        for (int j = 0; j < 8; j++) sums[j] += p[i + (size_t)j];
    }
    for (int j = 0; j < 8; j++) b->sums[task] += sums[j];
}

/* GB/s that n_threads read together; the best of three passes. 0 if memory is short. */
static double read_bandwidth(int32_t n_threads)
{
    struct pool *pool;
    struct errmsg ignored;
    if (pool_new(n_threads, &pool, &ignored)) return 0;
    struct bandwidth b = {.data = pages_reserve(BANDWIDTH_BYTES)};
    double best = 0;
    if (b.data) {
        memset((void *)b.data, 1, BANDWIDTH_BYTES);
        for (int i = 0; i < 3; i++) {
            int64_t start = clock_ns();
            pool_run(pool, BANDWIDTH_TASKS, read_part, &b);
            double rate = (double)BANDWIDTH_BYTES / (double)(clock_ns() - start);
            if (rate > best) best = rate;
        }
    }
    pages_release((void *)b.data, BANDWIDTH_BYTES);
    pool_free(&pool);
    return best;
}

struct measure {
    const char *name;  /* key in the JSON output */
    int32_t n_prompt;  /* tokens computed before the clock starts */
    int32_t n_prefill; /* tokens of one timed prefill, or 0 */
    int32_t n_decode;  /* tokens of the timed decode, or 0 */
    double tokens_per_s[MAX_RUNS];
};

/* Deterministic token ids spread over the vocabulary. */
static void fill_tokens(int32_t *tokens, int32_t n, int32_t n_vocab)
{
    uint32_t x = 12345;
    for (int32_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u; /* Numerical Recipes' linear congruential generator */
        tokens[i] = (int32_t)((x >> 8) % (uint32_t)n_vocab);
    }
}

static enum err run_once(struct engine *e, const struct measure *m, const int32_t *tokens, double *rate,
                         struct errmsg *msg)
{
    struct engine_seq *seq;
    int32_t n_ctx = m->n_prompt + m->n_prefill + m->n_decode;
    enum err err = engine_seq_open(e, n_ctx, &seq, msg);
    if (err) return err;
    if (m->n_prompt) err = engine_seq_sync(seq, tokens, m->n_prompt, NULL, NULL);
    int64_t start = clock_ns();
    if (!err && m->n_prefill) err = engine_seq_sync(seq, tokens, m->n_prompt + m->n_prefill, NULL, NULL);
    for (int32_t i = 0; i < m->n_decode && !err; i++) err = engine_seq_append(seq, tokens[i], NULL);
    double seconds = clock_ms_since(start) / 1e3;
    engine_seq_close(&seq);
    if (err) return err_set(msg, err, "cannot run %s: %s", m->name, err_text(err));
    *rate = (m->n_prefill + m->n_decode) / seconds;
    return OK;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int64_t n)
{
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static enum err run_all(struct engine *e, struct measure *measures, int32_t n, int64_t runs,
                        struct errmsg *msg)
{
    int32_t most = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t len = measures[i].n_prompt + measures[i].n_prefill + measures[i].n_decode;
        if (len > most) most = len;
    }
    int32_t *tokens = mem_try((size_t)most, sizeof *tokens);
    if (!tokens) return err_set(msg, ERR_NOMEM, "not enough memory");
    fill_tokens(tokens, most, engine_model(e)->p.n_vocab);
    double warm_up;
    enum err err = run_once(e, &(struct measure){.name = "warm-up", .n_decode = 2}, tokens, &warm_up, msg);
    /* Round by round, so that a disturbance hits every measure alike. */
    for (int64_t run = 0; run < runs && !err; run++) {
        for (int32_t i = 0; i < n && !err; i++)
            err = run_once(e, &measures[i], tokens, &measures[i].tokens_per_s[run], msg);
    }
    mem_free(tokens);
    return err;
}

/* Bytes of weights read for each decoded token: everything but the embedding table, of which one row. */
static double bytes_per_token(const struct model *m)
{
    double total = 0;
    for (int32_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->gguf, i);
        bool is_embedding = t->data == m->tok_embd.data && m->output.data != m->tok_embd.data;
        double share = t->n_dims == 3 && m->p.n_experts ? (double)m->p.n_experts_used / m->p.n_experts : 1;
        if (!is_embedding) total += (double)t->len * share;
    }
    return total;
}

struct report {
    const struct engine *engine;
    struct measure *measures;
    int32_t n;
    int64_t runs;
    double load_ms, read_gb_s, limit;
    struct usage usage;
};

static void print_json(const struct report *r)
{
    const struct model *m = engine_model(r->engine);
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    struct buf out;
    buf_init(&out, 1 << 16);
    struct json j;
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_str(&j, "model", m->name);
    json_str(&j, "cpu", cpu);
    json_str(&j, "isa", engine_isa(r->engine));
    json_int(&j, "threads", engine_threads(r->engine));
    json_int(&j, "runs", r->runs);
    json_num(&j, "load_ms", r->load_ms, 2);
    for (int32_t i = 0; i < r->n; i++)
        json_num(&j, r->measures[i].name, median(r->measures[i].tokens_per_s, r->runs), 2);
    json_num(&j, "read_gb_per_s", r->read_gb_s, 2);
    json_num(&j, "decode_limit_tokens_per_s", r->limit, 2);
    json_int(&j, "rss_bytes", r->usage.rss_bytes);
    json_int(&j, "rss_anon_bytes", r->usage.rss_anon_bytes);
    json_end_object(&j);
    puts(buf_str(&out));
    buf_clear(&out);
}

static void print_plain(const struct report *r)
{
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    printf("%s, %s, %d threads, %s\n", engine_model(r->engine)->name, cpu, engine_threads(r->engine),
           engine_isa(r->engine));
    printf("%-28s %10.1f ms\n", "load", r->load_ms);
    for (int32_t i = 0; i < r->n; i++) {
        const struct measure *m = &r->measures[i];
        char label[64];
        snprintf(label, sizeof label, "%s %d", m->n_prefill ? "prefill" : "decode",
                 m->n_prefill ? m->n_prefill : m->n_decode);
        if (m->n_prompt)
            snprintf(label + strlen(label), sizeof label - strlen(label), " at depth %d", m->n_prompt);
        printf("%-28s %10.1f tokens/s\n", label, median(r->measures[i].tokens_per_s, r->runs));
    }
    printf("%-28s %10.1f tokens/s (%.1f GB/s read)\n", "decode, bandwidth's limit", r->limit, r->read_gb_s);
    printf("%-28s %10.1f MB, of it %.1f MB not the model's file\n", "memory",
           (double)r->usage.rss_bytes / 1e6, (double)r->usage.rss_anon_bytes / 1e6);
}

static enum err bench_model(const char *path, const struct settings *s, int64_t runs, bool is_json,
                            struct errmsg *msg)
{
    struct measure measures[] = {
        {.name = "prefill_128_tokens_per_s", .n_prefill = 128},
        {.name = "prefill_512_tokens_per_s", .n_prefill = 512},
        {.name = "prefill_2048_tokens_per_s", .n_prefill = 2048},
        {.name = "decode_64_tokens_per_s", .n_decode = 64},
        {.name = "decode_64_depth_1024_tokens_per_s", .n_prompt = 1024, .n_decode = 64},
    };
    struct report r = {.measures = measures, .n = sizeof measures / sizeof *measures, .runs = runs};
    struct model *model = NULL;
    struct engine *engine = NULL;
    struct engine_options o = {.n_threads = s->threads, .isa = s->isa[0] ? s->isa : NULL};
    int64_t start = clock_ns();
    enum err e = model_open(path, &model, msg);
    if (!e) e = engine_open(model, &o, &engine, msg);
    r.load_ms = clock_ms_since(start);
    if (!e) e = run_all(engine, measures, r.n, runs, msg);
    if (!e) {
        r.engine = engine;
        usage_self(&r.usage);
        r.read_gb_s = read_bandwidth(engine_threads(engine));
        r.limit = r.read_gb_s * 1e9 / bytes_per_token(model);
        (is_json ? print_json : print_plain)(&r);
    }
    engine_close(&engine);
    model_unref(&model);
    return e;
}

int cli_bench(int argc, char **argv, const struct settings *s)
{
    bool is_json = false;
    int64_t runs = 3;
    struct cli_option options[] = {
        {"json", CLI_FLAG, &is_json, 0, 0}, {"runs", CLI_INT, &runs, 1, MAX_RUNS}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args < 1 || n_args > 2 || strcmp(argv[1], "model") != 0)
        return cli_usage_error("say what to measure: inline bench model [MODEL]");
    struct errmsg msg = {0};
    char *path = NULL;
    enum err e = cli_pick_model(n_args == 2 ? argv[2] : NULL, s, &path, &msg);
    if (!e) e = bench_model(path, s, runs, is_json, &msg);
    mem_free(path);
    return e ? cli_fail(&msg) : CLI_OK;
}

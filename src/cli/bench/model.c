/* `inline bench model`: how fast a model runs here. Load time, prefill, decoding and small batches, beside a
 * busy neighbour too, how soon a cancelled prefill returns, memory, and the machine's read bandwidth, which
 * bounds decoding. Optionally the perplexity of a text.
 *
 * One sequence serves all measures: their tokens are prefixes of one list, so that the depth that one needs
 * is often there from the one before. Measures are taken round by round, and with --packed both side by side
 * in each round, so that a disturbance hits all alike. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/bench/bench.h"
#include "cli/bench/cancel.h"
#include "cli/bench/machine.h"
#include "cli/cli.h"
#include "cli/text_loss.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/usage.h"

#define MAX_RUNS       25
#define DEPTH_MAX      2048
#define N_DECODE       64
#define BATCH_REPEATS  5 /* of one small batch in a run: the median counts */
#define TEXT_MAX_BYTES ((size_t)16 << 20)

enum kind { PREFILL, DECODE, NEIGHBOUR, BATCH };

struct measure {
    const char *name;  /* for --only */
    const char *key;   /* in JSON output */
    const char *label; /* for people */
    enum kind kind;
    int32_t depth; /* tokens computed before the clock starts */
    int32_t n;     /* tokens computed while it runs */
};

/* Deepest first: what follows finds its depth computed. */
static const struct measure measures[] = {
    {"prefill_32", "prefill_32_tokens_per_s", "prefill 32", PREFILL, 0, 32},
    {"prefill_128", "prefill_128_tokens_per_s", "prefill 128", PREFILL, 0, 128},
    {"prefill_512", "prefill_512_tokens_per_s", "prefill 512", PREFILL, 0, 512},
    {"prefill_2048", "prefill_2048_tokens_per_s", "prefill 2048", PREFILL, 0, 2048},
    {"decode_depth_2048", "decode_64_depth_2048_tokens_per_s", "decode 64 at depth 2048", DECODE, 2048,
     N_DECODE},
    {"decode_depth_1024", "decode_64_depth_1024_tokens_per_s", "decode 64 at depth 1024", DECODE, 1024,
     N_DECODE},
    {"batch_1", "batch_1_ms", "batch of 1 at depth 256", BATCH, 256, 1},
    {"batch_2", "batch_2_ms", "batch of 2", BATCH, 256, 2},
    {"batch_4", "batch_4_ms", "batch of 4", BATCH, 256, 4},
    {"batch_8", "batch_8_ms", "batch of 8", BATCH, 256, 8},
    {"batch_16", "batch_16_ms", "batch of 16", BATCH, 256, 16},
    {"decode", "decode_64_tokens_per_s", "decode 64", DECODE, 0, N_DECODE},
    {"neighbour", "decode_64_neighbour_tokens_per_s", "decode 64 beside a busy thread", NEIGHBOUR, 0,
     N_DECODE},
};
#define N_MEASURES ((int32_t)(sizeof measures / sizeof *measures))

/* What was asked for. */
struct plan {
    int64_t runs;
    bool is_on[N_MEASURES];
    bool has_cancel;
    const char *text; /* file to measure the perplexity of, or null */
    bool is_json;
    int32_t packed;  /* enum bench_packed, or BOTH */
    int32_t kv_type; /* enum kern_kv_type */
};
#define BOTH (BENCH_PACKED_OFF + 1)

/* One way to run the model, and what was measured of it. */
struct side {
    struct bench_engine e;
    struct engine_seq *seq;
    double samples[N_MEASURES][MAX_RUNS];
    struct bench_cancel cancel;
    struct text_loss loss;
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

/* --- Measuring --------------------------------------------------------------------------------------- */

/* Compute tokens[from..from+n-1] in one go, after those before. */
static enum err time_sync(struct engine_seq *seq, const int32_t *tokens, int32_t from, int32_t n, double *ms)
{
    struct engine_reuse reuse = {0};
    enum err err = OK;
    if (from == 0) engine_seq_clear(seq, false);
    if (from > 0) err = engine_seq_sync(seq, tokens, from, NULL, NULL);
    int64_t start = clock_ns();
    if (!err) err = engine_seq_sync(seq, tokens, from + n, NULL, &reuse);
    *ms = clock_ms_since(start);
    /* Anything reused would make the figure meaningless. */
    if (!err && reuse.n_computed != n) err = ERR_UNSUPPORTED;
    return err;
}

static enum err time_batch(struct engine_seq *seq, const int32_t *tokens, const struct measure *m, double *ms)
{
    double samples[BATCH_REPEATS];
    enum err err = OK;
    for (int32_t i = 0; i < BATCH_REPEATS && !err; i++)
        err = time_sync(seq, tokens, m->depth, m->n, &samples[i]);
    if (!err) *ms = bench_percentile(samples, BATCH_REPEATS, 0.5);
    return err;
}

static enum err time_decode(struct engine_seq *seq, const int32_t *tokens, const struct measure *m,
                            double *ms)
{
    enum err err = OK;
    if (m->depth == 0) engine_seq_clear(seq, false);
    if (m->depth > 0) err = engine_seq_sync(seq, tokens, m->depth, NULL, NULL);
    int64_t start = clock_ns();
    for (int32_t i = 0; i < m->n && !err; i++) err = engine_seq_append(seq, tokens[i], NULL);
    *ms = clock_ms_since(start);
    return err;
}

static enum err run_once(struct side *side, const struct measure *m, const int32_t *tokens, double *figure,
                         struct errmsg *msg)
{
    struct bench_neighbour *neighbour = NULL;
    double ms = 0;
    enum err err = OK;
    if (m->kind == NEIGHBOUR) {
        err = bench_neighbour_start(&neighbour, msg);
        if (err) return err;
    }
    if (m->kind == PREFILL)
        err = time_sync(side->seq, tokens, 0, m->n, &ms);
    else if (m->kind == BATCH)
        err = time_batch(side->seq, tokens, m, &ms);
    else
        err = time_decode(side->seq, tokens, m, &ms);
    bench_neighbour_stop(&neighbour);
    *figure = m->kind == BATCH ? ms : m->n / ms * 1e3;
    return err ? err_set(msg, err, "cannot run %s: %s", m->name, err_text(err)) : OK;
}

static enum err run_all(struct side *sides, int32_t n_sides, const struct plan *plan, const int32_t *tokens,
                        struct errmsg *msg)
{
    const struct measure warm_up = {.name = "warm-up", .kind = DECODE, .n = 2};
    double ignored;
    enum err err = OK;
    for (int32_t i = 0; i < n_sides && !err; i++) err = run_once(&sides[i], &warm_up, tokens, &ignored, msg);
    for (int64_t run = 0; run < plan->runs && !err; run++) {
        for (int32_t m = 0; m < N_MEASURES && !err; m++) {
            for (int32_t i = 0; i < n_sides && plan->is_on[m] && !err; i++)
                err = run_once(&sides[i], &measures[m], tokens, &sides[i].samples[m][run], msg);
        }
    }
    for (int32_t i = 0; i < n_sides && plan->has_cancel && !err; i++)
        err = bench_cancel_measure(sides[i].seq, tokens, &sides[i].cancel, msg);
    return err;
}

static enum err measure_loss(struct side *side, const char *path, struct errmsg *msg)
{
    struct buf text;
    buf_init(&text, TEXT_MAX_BYTES);
    enum err err = file_read(path, &text, msg);
    if (!err) err = text_loss_add(&side->loss, side->seq, buf_str(&text), text.len, 0, msg);
    buf_clear(&text);
    return err;
}

/* --- Reporting --------------------------------------------------------------------------------------- */

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
    const struct plan *plan;
    struct side *sides; /* the second, of --packed both, is without packed weights */
    int32_t n_sides;
    double read_gb_s, limit; /* of decoding, where that is measured; else 0 */
    struct usage usage;
};

static int32_t find_measure(const char *name)
{
    for (int32_t i = 0; i < N_MEASURES; i++) {
        if (strcmp(measures[i].name, name) == 0) return i;
    }
    return -1;
}

static double figure(const struct report *r, int32_t side, int32_t measure)
{
    return bench_percentile(r->sides[side].samples[measure], (int32_t)r->plan->runs, 0.5);
}

/* How much longer 8 tokens at once take than one; 0 if that was not measured. */
static double batch_ratio(const struct report *r, int32_t side)
{
    int32_t one = find_measure("batch_1"), eight = find_measure("batch_8");
    if (!r->plan->is_on[one] || !r->plan->is_on[eight]) return 0;
    return figure(r, side, eight) / figure(r, side, one);
}

static void add_figures(struct json *j, const struct report *r, int32_t side)
{
    struct side *s = &r->sides[side];
    json_num(j, "load_ms", s->e.load_ms, 2);
    json_num(j, "load_to_first_token_ms", s->e.first_token_ms, 2);
    json_num(j, "resident_ms", s->e.resident_ms, 2);
    for (int32_t i = 0; i < N_MEASURES; i++) {
        if (r->plan->is_on[i]) json_num(j, measures[i].key, figure(r, side, i), 3);
    }
    if (batch_ratio(r, side) > 0) json_num(j, "batch_8_over_1", batch_ratio(r, side), 3);
    if (r->plan->has_cancel) {
        json_int(j, "cancel_samples", s->cancel.n);
        json_num(j, "cancel_p50_ms", bench_percentile(s->cancel.ms, s->cancel.n, 0.5), 3);
        json_num(j, "cancel_max_ms", bench_percentile(s->cancel.ms, s->cancel.n, 1), 3);
    }
    if (r->plan->text) {
        json_int(j, "text_tokens", s->loss.n);
        json_num(j, "loss", text_loss_mean(&s->loss), 6);
        json_num(j, "perplexity", text_loss_perplexity(&s->loss), 4);
    }
}

static void print_json(const struct report *r)
{
    struct buf out;
    struct json j;
    buf_init(&out, 1 << 16);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    bench_add_machine(&j, &r->sides[0].e);
    json_str(&j, "kv", r->plan->kv_type == KERN_KV_Q8_0 ? "q8_0" : "f16");
    json_int(&j, "runs", r->plan->runs);
    add_figures(&j, r, 0);
    if (r->n_sides > 1) {
        json_begin_object(&j, "unpacked");
        add_figures(&j, r, 1);
        json_end_object(&j);
    }
    if (r->read_gb_s > 0) {
        json_num(&j, "read_gb_per_s", r->read_gb_s, 2);
        json_num(&j, "decode_limit_tokens_per_s", r->limit, 2);
    }
    json_int(&j, "rss_bytes", r->usage.rss_bytes);
    json_int(&j, "rss_anon_bytes", r->usage.rss_anon_bytes);
    json_end_object(&j);
    puts(buf_str(&out));
    buf_clear(&out);
}

static void print_row(const struct report *r, const char *label, const double *figures, const char *unit)
{
    printf("%-32s", label);
    for (int32_t i = 0; i < r->n_sides; i++) printf(" %10.2f", figures[i]);
    printf(" %s\n", unit);
}

static void print_plain(const struct report *r)
{
    struct side *s = r->sides;
    int32_t last = r->n_sides - 1;
    bench_print_machine(&s[0].e);
    if (r->n_sides > 1) printf("%-32s %10s %10s\n", "", "packed", "as in file");
    print_row(r, "load", (double[]){s[0].e.load_ms, s[last].e.load_ms}, "ms");
    print_row(r, "load to first token", (double[]){s[0].e.first_token_ms, s[last].e.first_token_ms}, "ms");
    print_row(r, "all weights in memory", (double[]){s[0].e.resident_ms, s[last].e.resident_ms}, "ms");
    for (int32_t i = 0; i < N_MEASURES; i++) {
        if (!r->plan->is_on[i]) continue;
        print_row(r, measures[i].label, (double[]){figure(r, 0, i), figure(r, last, i)},
                  measures[i].kind == BATCH ? "ms" : "tokens/s");
    }
    if (batch_ratio(r, 0) > 0)
        print_row(r, "batch of 8 over batch of 1", (double[]){batch_ratio(r, 0), batch_ratio(r, last)}, "");
    if (r->plan->has_cancel) {
        double max[2];
        for (int32_t i = 0; i < r->n_sides; i++) max[i] = bench_percentile(s[i].cancel.ms, s[i].cancel.n, 1);
        print_row(r, "cancelled prefill returns within", max, "ms");
    }
    if (r->plan->text)
        print_row(r, "perplexity",
                  (double[]){text_loss_perplexity(&s[0].loss), text_loss_perplexity(&s[last].loss)},
                  r->plan->text);
    if (r->read_gb_s > 0)
        printf("%-32s %10.2f tokens/s (%.1f GB/s read)\n", "decode, bandwidth's limit", r->limit,
               r->read_gb_s);
    printf("%-32s %10.2f MB, of it %.1f MB not the model's file\n", "memory",
           (double)r->usage.rss_bytes / 1e6, (double)r->usage.rss_anon_bytes / 1e6);
}

/* --- The command ------------------------------------------------------------------------------------- */

static enum err open_sides(struct side *sides, int32_t n_sides, const char *path, const struct plan *plan,
                           const struct settings *s, struct errmsg *msg)
{
    struct engine_options o = {.kv_type = (enum kern_kv_type)plan->kv_type};
    enum err err = OK;
    for (int32_t i = 0; i < n_sides && !err; i++) {
        enum bench_packed packed = n_sides == 1 ? (enum bench_packed)plan->packed
                                   : i == 0     ? BENCH_PACKED_ON
                                                : BENCH_PACKED_OFF;
        err = bench_engine_open(path, s, &o, packed, &sides[i].e, msg);
        if (!err) err = engine_seq_open(sides[i].e.engine, DEPTH_MAX + N_DECODE, &sides[i].seq, msg);
    }
    return err;
}

static enum err measure_sides(struct side *sides, int32_t n_sides, const struct plan *plan,
                              struct errmsg *msg)
{
    int32_t tokens[DEPTH_MAX];
    fill_tokens(tokens, DEPTH_MAX, sides[0].e.model->p.n_vocab);
    enum err err = run_all(sides, n_sides, plan, tokens, msg);
    for (int32_t i = 0; i < n_sides && plan->text && !err; i++)
        err = measure_loss(&sides[i], plan->text, msg);
    return err;
}

static enum err measure_model(const char *path, const struct plan *plan, const struct settings *s,
                              struct errmsg *msg)
{
    int32_t n_sides = plan->packed == BOTH ? 2 : 1;
    struct side *sides = mem_new((size_t)n_sides * sizeof *sides);
    enum err err = open_sides(sides, n_sides, path, plan, s, msg);
    if (!err) err = measure_sides(sides, n_sides, plan, msg);
    if (!err) {
        struct report r = {.plan = plan, .sides = sides, .n_sides = n_sides};
        usage_self(&r.usage);
        if (plan->is_on[find_measure("decode")])
            r.read_gb_s = bench_machine_read_gb_s(engine_threads(sides[0].e.engine));
        r.limit = r.read_gb_s * 1e9 / bytes_per_token(sides[0].e.model);
        (plan->is_json ? print_json : print_plain)(&r);
    }
    for (int32_t i = 0; i < n_sides; i++) {
        engine_seq_close(&sides[i].seq);
        bench_engine_close(&sides[i].e);
    }
    mem_free(sides);
    return err;
}

/* Measures named by --only ("decode,prefill_512"). False after printing which name is wrong. */
static bool read_only(const char *list, struct plan *plan)
{
    for (const char *name = list; *name;) {
        char text[64];
        size_t len = strcspn(name, ",");
        snprintf(text, sizeof text, "%.*s", (int)len, name);
        int32_t at = find_measure(text);
        if (at >= 0) {
            plan->is_on[at] = true;
        } else if (strcmp(text, "cancel") == 0) {
            plan->has_cancel = true;
        } else if (strcmp(text, "load") != 0) { /* always measured, so that it can stand alone */
            struct buf names;
            buf_init(&names, 1024);
            for (int32_t i = 0; i < N_MEASURES; i++) buf_printf(&names, "%s, ", measures[i].name);
            cli_usage_error("--only: there is no measure \"%s\"; there are %scancel and load", text,
                            buf_str(&names));
            buf_clear(&names);
            return false;
        }
        name += len + (name[len] == ',');
    }
    return true;
}

int bench_model(int argc, char **argv, const struct settings *s)
{
    static const char *const packed_words[] = {"auto", "on", "off", "both"}; /* as enum bench_packed, BOTH */
    static const char *const kv_words[] = {"f16", "q8_0"};                   /* as enum kern_kv_type */
    struct plan plan = {.runs = 3, .has_cancel = true};
    const char *packed = "auto", *kv = s->kv, *only = NULL;
    bool has_neighbour = false;
    const struct cli_option options[] = {{"json", CLI_FLAG, &plan.is_json, 0, 0},
                                         {"runs", CLI_INT, &plan.runs, 1, MAX_RUNS},
                                         {"only", CLI_STRING, &only, 0, 0},
                                         {"packed", CLI_STRING, &packed, 0, 0},
                                         {"kv", CLI_STRING, &kv, 0, 0},
                                         {"text", CLI_STRING, &plan.text, 0, 0},
                                         {"neighbour", CLI_FLAG, &has_neighbour, 0, 0},
                                         {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 1) return cli_usage_error("bench model takes one MODEL");
    if (!bench_read_choice("packed", packed, packed_words, 4, &plan.packed)) return CLI_USAGE;
    if (!bench_read_choice("kv", kv, kv_words, 2, &plan.kv_type)) return CLI_USAGE;
    for (int32_t i = 0; i < N_MEASURES && !only; i++) plan.is_on[i] = measures[i].kind != NEIGHBOUR;
    if (only) {
        plan.has_cancel = false;
        if (!read_only(only, &plan)) return CLI_USAGE;
    }
    if (has_neighbour) plan.is_on[find_measure("neighbour")] = true;

    struct errmsg msg = {0};
    char *path = NULL;
    enum err err = cli_pick_model(n_args == 1 ? argv[1] : NULL, s, &path, &msg);
    if (!err) err = measure_model(path, &plan, s, &msg);
    mem_free(path);
    return err ? cli_fail(&msg) : CLI_OK;
}

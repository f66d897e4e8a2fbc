/* `inline bench context`: how long it takes to get from a large text to a prompt. Cold: the text arrives, is
 * checked, cut and tokenised. Edit: one more character is typed into it. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/bench.h"
#include "cli/bench_ask.h"
#include "cli/cli.h"
#include "complete/complete.h"
#include "context/document.h"
#include "model/model.h"
#include "os/clock.h"

#define N_COLD   100
#define N_EDITS  1000
#define TEXT_MAX ((size_t)16 << 20)

struct report {
    struct bench_asker a;
    int64_t n_lines;
    size_t n_bytes;
    double cold_ms[N_COLD], edit_ms[N_EDITS];
};

/* Lines as in a source file: each function is different from all others. */
static void write_text(struct buf *out, int64_t n_lines)
{
    static const char *const body[] = {"static int function_%d(const struct item *items, int n)\n",
                                       "{\n",
                                       "    int total_%d = 0;\n",
                                       "    for (int i = 0; i < n; i++) {\n",
                                       "        if (items[i].kind == KIND_%d) continue;\n",
                                       "        total_%d += items[i].value * %d;\n",
                                       "    }\n",
                                       "    return total_%d;\n",
                                       "}\n",
                                       "\n"};
    const int n_body = sizeof body / sizeof *body;
    for (int64_t i = 0; i < n_lines; i++) {
        int number = (int)(i / n_body);
        for (const char *c = body[i % n_body]; *c; c++) {
            bool is_number = c[0] == '%' && c[1] == 'd';
            if (is_number) buf_printf(out, "%d", number);
            if (!is_number) buf_add_char(out, *c);
            c += is_number;
        }
    }
}

/* Places all over the text, deterministic. */
static size_t place(size_t len, int32_t i)
{
    double share = 0.6180339887 * (i + 1); /* multiples of the golden ratio are spread evenly (Weyl) */
    return (size_t)((double)len * (share - (int32_t)share));
}

static enum err time_cold(struct report *r, const struct buf *source, struct errmsg *msg)
{
    enum err err = OK;
    for (int32_t i = 0; i < N_COLD && !err; i++) {
        struct document *doc = NULL;
        int64_t start = clock_ns();
        err = document_new("bench.c", source->data, source->len, &doc, msg);
        if (err) break;
        struct bench_text t = {.text = doc->text, .len = doc->len, .cursor = place(doc->len, i)};
        err = bench_ask_prompt(&r->a, &t, msg);
        r->cold_ms[i] = clock_ms_since(start);
        document_free(&doc);
    }
    return err;
}

static enum err time_edits(struct report *r, struct bench_text *t, struct errmsg *msg)
{
    static const char typed[] = "    total += items[i].value;\n";
    const int32_t n_typed = (int32_t)sizeof typed - 1;
    enum err err = OK;
    for (int32_t i = 0; i < N_EDITS && !err; i++) {
        if (i % n_typed == 0) {
            /* Go to the start of another line. It is computed once before keys follow. */
            t->cursor = bench_text_lines_before(t, place(t->len, i), 0);
            err = bench_ask_prompt(&r->a, t, msg);
        }
        int64_t start = clock_ns();
        if (!err && bench_text_insert(t, t->cursor, &typed[i % n_typed], 1))
            err = err_set(msg, ERR_NOMEM, "not enough memory");
        if (!err) err = bench_ask_prompt(&r->a, t, msg);
        r->edit_ms[i] = clock_ms_since(start);
    }
    return err;
}

static void add_times(struct json *j, const char *key, double *ms, int32_t n)
{
    json_begin_object(j, key);
    json_int(j, "samples", n);
    json_num(j, "p50_ms", bench_percentile(ms, n, 0.5), 4);
    json_num(j, "p99_ms", bench_percentile(ms, n, 0.99), 4);
    json_num(j, "max_ms", bench_percentile(ms, n, 1), 4);
    json_end_object(j);
}

static void print_json(struct report *r)
{
    struct buf out;
    struct json j;
    buf_init(&out, 1 << 16);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_str(&j, "model", r->a.model->name);
    json_int(&j, "lines", r->n_lines);
    json_int(&j, "bytes", (int64_t)r->n_bytes);
    json_int(&j, "prompt_tokens", r->a.prompt.n);
    add_times(&j, "cold", r->cold_ms, N_COLD);
    add_times(&j, "edit", r->edit_ms, N_EDITS);
    json_end_object(&j);
    puts(buf_str(&out));
    buf_clear(&out);
}

static void print_plain(struct report *r)
{
    printf("%s, %lld lines, %zu bytes, prompts of %d tokens\n", r->a.model->name, (long long)r->n_lines,
           r->n_bytes, r->a.prompt.n);
    printf("%-24s %10s %10s\n", "", "p50", "p99");
    printf("%-24s %10.3f %10.3f ms\n", "cold", bench_percentile(r->cold_ms, N_COLD, 0.5),
           bench_percentile(r->cold_ms, N_COLD, 0.99));
    printf("%-24s %10.3f %10.3f ms\n", "after a character", bench_percentile(r->edit_ms, N_EDITS, 0.5),
           bench_percentile(r->edit_ms, N_EDITS, 0.99));
}

static enum err measure(const char *path, int64_t n_lines, bool is_json, struct errmsg *msg)
{
    struct model *model = NULL;
    struct report r = {.n_lines = n_lines};
    struct bench_text t = {0};
    struct buf source;
    buf_init(&source, TEXT_MAX);
    write_text(&source, n_lines);
    enum err err =
        source.err ? err_set(msg, source.err, "cannot write a text: %s", err_text(source.err)) : OK;
    if (!err) err = model_open(path, &model, msg);
    if (!err) {
        r.n_bytes = source.len;
        r.a = (struct bench_asker){.model = model,
                                   .path = "bench.c",
                                   .lines_before = -1,
                                   .lines_after = -1,
                                   .max_prompt = COMPLETE_PROMPT_TOKENS};
        fim_detect(model, &r.a.fim);
        err = time_cold(&r, &source, msg);
    }
    if (!err && bench_text_insert(&t, 0, source.data, source.len))
        err = err_set(msg, ERR_NOMEM, "not enough memory");
    if (!err) err = time_edits(&r, &t, msg);
    if (!err) (is_json ? print_json : print_plain)(&r);
    bench_asker_clear(&r.a);
    bench_text_clear(&t);
    buf_clear(&source);
    model_unref(&model);
    return err;
}

int bench_context(int argc, char **argv, const struct settings *s)
{
    bool is_json = false;
    int64_t n_lines = 10000;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &is_json, 0, 0}, {"lines", CLI_INT, &n_lines, 100, 100000}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 1) return cli_usage_error("bench context takes one MODEL");
    struct errmsg msg = {0};
    char *path = NULL;
    enum err err = cli_pick_model(n_args == 1 ? argv[1] : NULL, s, &path, &msg);
    if (!err) err = measure(path, n_lines, is_json, &msg);
    mem_free(path);
    return err ? cli_fail(&msg) : CLI_OK;
}

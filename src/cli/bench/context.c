/* `inline bench context`: how long it takes to get from a document to a prompt, and how much of a prompt
 * stays while somebody types. Cold: the text arrives, is checked, outlined, cut and tokenised. Edit: one more
 * character is typed into it. Anchor: the cursor goes elsewhere, so that the window and what goes with it are
 * chosen anew. Parse: what the outlines of long documents would cost by a syntax tree, which they do without.
 */
#include "cli/bench/context.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/bench/bench.h"
#include "cli/bench/code.h"
#include "cli/cli.h"
#include "complete/complete.h"
#include "context/secrets.h"
#include "context/syntax.h"
#include "model/model.h"
#include "os/clock.h"

#define N_COLD      100
#define N_PARSES    20
#define N_PLACES    40
#define N_EDITS     1000
#define LINES_COLD  3000
#define LINES_USUAL 10000
#define TEXT_MAX    ((size_t)16 << 20)

struct times {
    double ms[N_EDITS];
    int32_t n;
};

struct report {
    const struct model *model;
    struct secrets *secrets;
    int64_t n_lines, n_cold_lines;
    size_t n_bytes, n_cold_bytes;
    int32_t n_prompt;
    struct times cold, parse, edit, anchor;
    double memory_per_byte; /* of the document that was edited */
    struct bench_reuse reuse;
};

static enum err open_document(const struct report *r, const struct buf *text, struct bench_document *out,
                              struct errmsg *msg)
{
    *out = (struct bench_document){.asker = {.model = r->model,
                                             .secrets = r->secrets,
                                             .max_prompt = COMPLETE_PROMPT_TOKENS,
                                             .docs = documents_new()}};
    fim_detect(r->model, &out->asker.fim);
    struct documents *docs = out->asker.docs;
    enum err err = documents_open(docs, "bench.c", "bench.c", NULL, 1, text->data, text->len, msg);
    if (!err) out->doc = documents_find(docs, "bench.c");
    return err;
}

/* Starts of lines all over the text, deterministic. */
static size_t place(const char *text, size_t len, int32_t i)
{
    double share = 0.6180339887 * (i + 1); /* multiples of the golden ratio are spread evenly (Weyl) */
    size_t at = (size_t)((double)len * (share - (int32_t)share));
    while (at > 0 && text[at - 1] != '\n') at--;
    return at;
}

static void time_parse(const struct open_document *doc, struct times *t)
{
    struct syntax *s = syntax_new(doc->language);
    int64_t start = clock_ns();
    if (s && syntax_parse(s, doc->text.bytes, doc->text.len, 0)) t->ms[t->n++] = clock_ms_since(start);
    syntax_free(&s);
}

static enum err time_cold(struct report *r, struct errmsg *msg)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    bench_code_write(r->n_cold_lines, &text);
    enum err err = text.err ? err_set(msg, text.err, "cannot write a text: %s", err_text(text.err)) : OK;
    r->n_cold_bytes = text.len;
    for (int32_t i = 0; i < N_COLD && !err; i++) {
        struct bench_document d;
        size_t cursor = place(text.data, text.len, i);
        int64_t start = clock_ns();
        err = open_document(r, &text, &d, msg);
        if (!err) err = bench_ask_document(&d.asker, d.doc, cursor, msg);
        r->cold.ms[r->cold.n++] = clock_ms_since(start);
        if (!err && i < N_PARSES) time_parse(d.doc, &r->parse);
        bench_asker_clear(&d.asker);
    }
    buf_clear(&text);
    return err;
}

static enum err time_edits(struct report *r, struct bench_document *d, struct errmsg *msg)
{
    const int32_t n_typed = N_EDITS / N_PLACES;
    size_t cursor = 0;
    enum err err = OK;
    for (int32_t i = 0; i < N_EDITS && !err; i++) {
        if (i % n_typed == 0) {
            cursor = place(d->doc->text.bytes, d->doc->text.len, i);
            int64_t start = clock_ns();
            err = bench_ask_document(&d->asker, d->doc, cursor, msg);
            if (i > 0) r->anchor.ms[r->anchor.n++] = clock_ms_since(start); /* the first is cold */
        }
        int64_t start = clock_ns();
        if (!err &&
            documents_splice(d->asker.docs, d->doc, cursor, cursor, &bench_code_typed[i % n_typed], 1))
            err = err_set(msg, ERR_NOMEM, "not enough memory");
        if (!err) err = bench_ask_document(&d->asker, d->doc, ++cursor, msg);
        r->edit.ms[r->edit.n++] = clock_ms_since(start);
    }
    r->n_prompt = d->asker.prompt.tokens.n;
    return err;
}

static void add_times(struct json *j, const char *key, struct times *t)
{
    json_begin_object(j, key);
    json_int(j, "samples", t->n);
    json_num(j, "p50_ms", bench_percentile(t->ms, t->n, 0.5), 4);
    json_num(j, "p99_ms", bench_percentile(t->ms, t->n, 0.99), 4);
    json_num(j, "max_ms", bench_percentile(t->ms, t->n, 1), 4);
    json_end_object(j);
}

static void print_json(struct report *r)
{
    struct buf out;
    struct json j;
    buf_init(&out, 1 << 16);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_str(&j, "model", r->model->name);
    json_int(&j, "lines", r->n_lines);
    json_int(&j, "bytes", (int64_t)r->n_bytes);
    json_int(&j, "cold_lines", r->n_cold_lines);
    json_int(&j, "cold_bytes", (int64_t)r->n_cold_bytes);
    json_int(&j, "prompt_tokens", r->n_prompt);
    add_times(&j, "cold", &r->cold);
    add_times(&j, "parse", &r->parse);
    add_times(&j, "edit", &r->edit);
    add_times(&j, "anchor", &r->anchor);
    json_num(&j, "memory_per_byte", r->memory_per_byte, 2);
    bench_reuse_json(&j, &r->reuse);
    json_end_object(&j);
    puts(buf_str(&out));
    buf_clear(&out);
}

static void print_times(const char *name, struct times *t)
{
    printf("%-24s %10.3f %10.3f ms\n", name, bench_percentile(t->ms, t->n, 0.5),
           bench_percentile(t->ms, t->n, 0.99));
}

static void print_plain(struct report *r)
{
    printf("%s, %lld lines, %zu bytes (cold: %lld lines), prompts of %d tokens\n", r->model->name,
           (long long)r->n_lines, r->n_bytes, (long long)r->n_cold_lines, r->n_prompt);
    printf("%-24s %10s %10s\n", "", "p50", "p99");
    print_times("cold", &r->cold);
    if (r->parse.n) print_times("parse", &r->parse);
    print_times("after a character", &r->edit);
    print_times("elsewhere", &r->anchor);
    printf("memory: %.1f times the text\n", r->memory_per_byte);
    bench_reuse_print(&r->reuse);
}

static enum err measure_edits(struct report *r, struct errmsg *msg)
{
    struct bench_document d = {0};
    struct buf text;
    buf_init(&text, TEXT_MAX);
    bench_code_write(r->n_lines, &text);
    enum err err = text.err ? err_set(msg, text.err, "cannot write a text: %s", err_text(text.err)) : OK;
    r->n_bytes = text.len;
    if (!err) err = open_document(r, &text, &d, msg);
    if (!err) err = time_edits(r, &d, msg);
    if (!err) r->memory_per_byte = (double)documents_bytes(d.asker.docs) / (double)d.doc->text.len;
    if (!err) err = bench_reuse(&d, &r->reuse, msg);
    bench_asker_clear(&d.asker);
    buf_clear(&text);
    return err;
}

static enum err measure(const char *path, int64_t n_lines, bool is_json, struct errmsg *msg)
{
    struct model *model = NULL;
    struct report *r = MEM_NEW(struct report);
    r->n_lines = n_lines;
    r->n_cold_lines = n_lines < LINES_COLD ? n_lines : LINES_COLD;
    enum err err = model_open(path, &model, msg);
    if (!err) err = secrets_new(&(struct secrets_options){0}, &r->secrets, msg);
    r->model = model;
    if (!err) err = time_cold(r, msg);
    if (!err) err = measure_edits(r, msg);
    if (!err) (is_json ? print_json : print_plain)(r);
    secrets_free(&r->secrets);
    mem_free(r);
    model_unref(&model);
    return err;
}

int bench_context(int argc, char **argv, const struct settings *s)
{
    bool is_json = false;
    int64_t n_lines = LINES_USUAL;
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

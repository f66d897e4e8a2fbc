/* What `inline bench targets` types, and where, and how it asks. See targets.h. */
#include <string.h>

#include "base/json.h"
#include "base/json_read.h"
#include "cli/bench/code.h"
#include "cli/bench/targets.h"
#include "os/clock.h"
#include "serve/ask.h"

#define TEXT_LINES 600 /* a source file as people have them */
#define TEXT_MAX   ((size_t)1 << 20)

enum err bench_targets_text_open(struct bench_targets_text *d, struct errmsg *msg)
{
    buf_init(&d->text, TEXT_MAX);
    bench_code_write(TEXT_LINES, &d->text);
    return d->text.err ? err_set(msg, d->text.err, "cannot write a text: %s", err_text(d->text.err)) : OK;
}

void bench_targets_text_clear(struct bench_targets_text *d)
{
    buf_clear(&d->text);
}

/* The beginning of a line's text, behind its indentation. */
static size_t place(const struct buf *text, int32_t i)
{
    double share = 0.6180339887 * (i + 1); /* multiples of the golden ratio are spread evenly (Weyl) */
    size_t at = (size_t)((double)text->len * (share - (int32_t)share));
    while (at > 0 && text->data[at - 1] != '\n') at--;
    return at + strspn(text->data + at, " ");
}

static void write_body(const struct bench_targets_text *d, const struct bench_targets_question *q,
                       struct buf *out)
{
    struct buf prefix;
    struct json j;
    size_t at = place(&d->text, q->place);
    buf_init(&prefix, TEXT_MAX);
    buf_add(&prefix, d->text.data, at);
    buf_add(&prefix, bench_code_typed, (size_t)q->n_typed);
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str_len(&j, "input_prefix", buf_str(&prefix), prefix.len);
    json_str_len(&j, "input_suffix", d->text.data + at, d->text.len - at);
    json_str(&j, "filename", q->file ? q->file : BENCH_TARGETS_DOCUMENT);
    if (q->file) json_str(&j, "file", q->file);
    if (q->max_tokens > 0) {
        json_int(&j, "n_predict", q->max_tokens);
        json_str(&j, "extent", "any"); /* so many, wherever a line or block ends */
    }
    json_end_object(&j);
    buf_clear(&prefix);
}

static void read_answer(const struct json_value *root, struct bench_targets_answer *out)
{
    const struct json_value *told = json_get(root, "inline"), *timings = json_get(told, "timings");
    const char *cache = json_get_str(json_get(told, "cache"), NULL);
    out->is_cached = cache && *cache;
    (void)json_get_num(json_get(timings, "total"), &out->total_ms);
    (void)json_get_num(json_get(timings, "context"), &out->context_ms);
    (void)json_get_int(json_get(root, "tokens_predicted"), &out->n_tokens);
}

enum err bench_targets_ask(const struct bench_targets *t, const struct bench_targets_text *d,
                           const struct bench_targets_question *q, struct bench_targets_answer *out,
                           struct errmsg *msg)
{
    struct buf body;
    struct json_value *root = NULL;
    *out = (struct bench_targets_answer){0};
    if (atomic_load(t->interrupted)) return err_set(msg, ERR_CANCELLED, "interrupted");
    buf_init(&body, TEXT_MAX * 2);
    write_body(d, q, &body);
    int64_t start = clock_ns();
    enum err err = ask_json_within(t->daemon.socket, "/infill", buf_str(&body), q->patience_ms, &root, msg);
    if (!err) {
        out->wall_ms = clock_ms_since(start);
        read_answer(root, out);
    }
    json_read_free(&root);
    buf_clear(&body);
    return err;
}

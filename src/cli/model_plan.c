/* `inline model plan`: which format each tensor of a model would be computed in, what that takes of memory,
 * and what it costs in quality. */
#include "cli/model_plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/cli.h"
#include "cli/model.h"
#include "model/model.h"
#include "os/file.h"

#define REPORT_LIMIT ((size_t)16 << 20)
#define TEXT_LIMIT   ((size_t)16 << 20)
#define NAME_WIDTH   30

struct report {
    const struct model *m;
    const struct model_plan *plan;
    const double *sensitivity; /* [n_layers], or null */
    struct model_plan_loss loss;
    bool is_measured, lists_all;
};

static int64_t sum_of(const struct model_plan *p)
{
    return p->precision.used_bytes + p->kv_bytes + p->scratch_bytes + p->reserve_bytes;
}

/* --- The table --------------------------------------------------------------------------------------- */

/* Tensors of one kind ("blk.*.attn_q.weight") that are stored and used alike. */
struct group {
    const struct precision_row *first;
    int32_t n;
    int64_t stored_bytes, used_bytes;
    double error2; /* sum of squares */
};

/* Where the name's part after "blk.N." begins; 0 without. */
static int32_t kind_offset(const struct precision_row *r)
{
    int32_t at = 4;
    if (r->name_len < 5 || memcmp(r->name, "blk.", 4) != 0) return 0;
    while (at < r->name_len && r->name[at] != '.') at++;
    return at < r->name_len ? at + 1 : 0;
}

static bool is_alike(const struct precision_row *a, const struct precision_row *b)
{
    int32_t from_a = kind_offset(a), from_b = kind_offset(b), len = a->name_len - from_a;
    return a->stored == b->stored && a->used == b->used && !from_a == !from_b &&
           len == b->name_len - from_b && memcmp(a->name + from_a, b->name + from_b, (size_t)len) == 0;
}

static void add_to_groups(struct group *groups, int32_t *n, const struct precision_row *r)
{
    int32_t at = 0;
    while (at < *n && !is_alike(groups[at].first, r)) at++;
    if (at == *n) groups[(*n)++] = (struct group){.first = r};
    groups[at].n++;
    groups[at].stored_bytes += r->stored_bytes;
    groups[at].used_bytes += r->used_bytes;
    groups[at].error2 += r->error * r->error;
}

static void print_group(const struct group *g, bool is_single, struct buf *out)
{
    const struct precision_row *r = g->first;
    char name[96], stored[SIZE_TEXT_MAX], used[SIZE_TEXT_MAX];
    int32_t from = is_single ? 0 : kind_offset(r);
    snprintf(name, sizeof name, "%s%.*s", from ? "blk.*." : "", (int)(r->name_len - from), r->name + from);
    buf_printf(out, "%-*s %4" PRId32 "  %-6s %8s", NAME_WIDTH, name, g->n, kern_type_info(r->stored)->name,
               size_text(g->stored_bytes, stored));
    if (r->used != r->stored) {
        buf_printf(out, "  %-6s %8s  %6.2f %%", kern_type_info(r->used)->name, size_text(g->used_bytes, used),
                   100 * sqrt(g->error2 / g->n));
    }
    buf_add_char(out, '\n');
}

/* Vectors are told in one line, unless all are to be listed. */
static bool is_vector(const struct precision_row *r)
{
    return r->n_weights == r->n_cols;
}

static void print_table(const struct report *r, struct buf *out)
{
    const struct precision_plan *p = &r->plan->precision;
    struct group *groups = mem_try((size_t)p->n, sizeof *groups), vectors = {0};
    int32_t n = 0;
    buf_printf(out, "\n%-*s %4s  %-15s  %-15s  %s\n", NAME_WIDTH, "tensors", "", "stored", "used", "error");
    for (int32_t i = 0; i < p->n && groups; i++) {
        const struct precision_row *row = &p->rows[i];
        if (r->lists_all) {
            struct group one = {.first = row, .n = 1, .error2 = row->error * row->error};
            one.stored_bytes = row->stored_bytes;
            one.used_bytes = row->used_bytes;
            print_group(&one, true, out);
        } else if (is_vector(row)) {
            vectors.n++;
            vectors.stored_bytes += row->stored_bytes;
        } else {
            add_to_groups(groups, &n, row);
        }
    }
    for (int32_t i = 0; i < n; i++) print_group(&groups[i], false, out);
    char size[SIZE_TEXT_MAX];
    if (vectors.n) {
        buf_printf(out, "%-*s %4" PRId32 "  %-6s %8s\n", NAME_WIDTH, "norms, biases", vectors.n, "",
                   size_text(vectors.stored_bytes, size));
    }
    mem_free(groups);
}

/* --- The rest ---------------------------------------------------------------------------------------- */

static void print_totals(const struct report *r, struct buf *out)
{
    const struct model_plan *p = r->plan;
    char size[SIZE_TEXT_MAX], stored[SIZE_TEXT_MAX];
    buf_printf(out, "\n%-10s %8s", "weights", size_text(p->precision.used_bytes, size));
    if (p->precision.converts)
        buf_printf(out, "  (%s as stored)", size_text(p->precision.stored_bytes, stored));
    buf_printf(out, "\n%-10s %8s  (%" PRId64 " tokens at most)\n", "KV", size_text(p->kv_bytes, size),
               p->kv_bytes / p->kv_token_bytes);
    buf_printf(out, "%-10s %8s\n", "scratch", size_text(p->scratch_bytes, size));
    buf_printf(out, "%-10s %8s\n", "reserve", size_text(p->reserve_bytes, size));
    buf_printf(out, "%-10s %8s", "together", size_text(sum_of(p), size));
    if (p->precision.memory_bytes) buf_printf(out, "  of %s", size_text(p->precision.memory_bytes, stored));
    buf_add_char(out, '\n');
}

static void print_loss(const struct report *r, struct buf *out)
{
    const struct precision_plan *p = &r->plan->precision;
    if (r->is_measured) {
        buf_printf(out, "\nperplexity %.3f as stored, %.3f with this plan: %+.2f %% (%" PRId64 " tokens)\n",
                   r->loss.stored, r->loss.planned, 100 * (r->loss.planned / r->loss.stored - 1),
                   r->loss.n_tokens);
    } else if (p->converts) {
        /* As measured with models of 135 million parameters; larger ones lose less. */
        buf_printf(out, "\nperplexity usually rises by %s; to measure it: --measure\n",
                   p->kind == PRECISION_QUANTIZED ? "2 to 6 %" : "less than 1 %");
    }
}

static void print_sensitivity(const struct report *r, struct buf *out)
{
    if (!r->sensitivity) return;
    buf_add_str(out, "\nrise of the loss with a block in 8 bits, in thousandths\n");
    for (int32_t i = 0; i < r->m->p.n_layers; i++)
        buf_printf(out, "  block %2" PRId32 " %8.3f\n", i, 1000 * r->sensitivity[i]);
}

static void report_as_text(const struct report *r, struct buf *out)
{
    buf_printf(out, "%s\n", r->m->name);
    model_plan_describe(&r->plan->precision, out);
    buf_add_str(out, "\n(");
    model_plan_explain(&r->plan->precision, out);
    buf_add_str(out, ")\n");
    print_sensitivity(r, out);
    print_table(r, out);
    print_totals(r, out);
    print_loss(r, out);
}

static void add_tensors(const struct precision_plan *p, struct json *j)
{
    json_begin_array(j, "tensors");
    for (int32_t i = 0; i < p->n; i++) {
        const struct precision_row *r = &p->rows[i];
        json_begin_object(j, NULL);
        json_str_len(j, "name", r->name, (size_t)r->name_len);
        json_int(j, "weights", r->n_weights);
        json_str(j, "stored", kern_type_info(r->stored)->name);
        json_str(j, "used", kern_type_info(r->used)->name);
        json_int(j, "stored_bytes", r->stored_bytes);
        json_int(j, "used_bytes", r->used_bytes);
        json_flag(j, "critical", r->is_critical);
        json_num(j, "error", r->error, 6);
        json_end_object(j);
    }
    json_end_array(j);
}

static void report_as_json(const struct report *r, struct buf *out)
{
    static const char *const reasons[] = {"asked", "fits", "too large", "cannot convert"};
    const struct precision_plan *p = &r->plan->precision;
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str(&j, "name", r->m->name);
    json_str(&j, "precision", precision_name(p->kind));
    json_str(&j, "reason", reasons[p->reason]);
    json_str(&j, "eight_bit", p->eight_bit == KERN_MXFP8 ? "mxfp8" : "q8_0");
    json_flag(&j, "converts", p->converts);
    json_flag(&j, "fits", precision_fits(p));
    json_int(&j, "blocks_kept", p->n_kept);
    json_int(&j, "memory_bytes", p->memory_bytes);
    json_int(&j, "stored_bytes", p->stored_bytes);
    json_int(&j, "weight_bytes", p->used_bytes);
    json_int(&j, "kv_bytes", r->plan->kv_bytes);
    json_int(&j, "kv_bytes_per_token", r->plan->kv_token_bytes);
    json_int(&j, "scratch_bytes", r->plan->scratch_bytes);
    json_int(&j, "reserve_bytes", r->plan->reserve_bytes);
    json_int(&j, "sum_bytes", sum_of(r->plan));
    if (r->is_measured) {
        json_int(&j, "text_tokens", r->loss.n_tokens);
        json_num(&j, "stored_perplexity", r->loss.stored, 4);
        json_num(&j, "planned_perplexity", r->loss.planned, 4);
    }
    if (r->sensitivity) {
        json_begin_array(&j, "sensitivity");
        for (int32_t i = 0; i < r->m->p.n_layers; i++) json_num(&j, NULL, r->sensitivity[i], 6);
        json_end_array(&j);
    }
    add_tensors(p, &j);
    json_end_object(&j);
    buf_add_char(out, '\n');
}

/* --- The command ------------------------------------------------------------------------------------- */

static enum err calibrate(struct model *m, const struct settings *s, const struct model_plan_wishes *wishes,
                          const char *path, double *sensitivity, struct errmsg *msg)
{
    struct buf text;
    buf_init(&text, TEXT_LIMIT);
    enum err err = file_read(path, &text, msg);
    if (!err) err = model_plan_calibrate(m, s, wishes, buf_str(&text), text.len, sensitivity, msg);
    buf_clear(&text);
    return err;
}

static bool read_wishes(const char *memory, int64_t kv_mb, const char *eight_bit, struct model_plan_wishes *w)
{
    *w = (struct model_plan_wishes){.kv_bytes = kv_mb * 1000000, .eight_bit = eight_bit};
    if (memory && (!size_parse(memory, &w->memory_bytes) || w->memory_bytes == 0))
        return cli_usage_error("--memory takes a size such as 6G or 512M, not \"%s\"", memory), false;
    if (eight_bit && strcmp(eight_bit, "q8_0") != 0 && strcmp(eight_bit, "mxfp8") != 0)
        return cli_usage_error("--eight-bit is one of: q8_0 mxfp8; not \"%s\"", eight_bit), false;
    return true;
}

int cli_model_plan(int argc, char **argv, const struct settings *s)
{
    bool is_json = false, measures = false, lists_all = false;
    const char *memory = NULL, *eight_bit = NULL, *calibration = NULL;
    int64_t kv_mb = 0;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &is_json, 0, 0},     {"all", CLI_FLAG, &lists_all, 0, 0},
        {"measure", CLI_FLAG, &measures, 0, 0}, {"calibrate", CLI_STRING, &calibration, 0, 0},
        {"memory", CLI_STRING, &memory, 0, 0},  {"eight-bit", CLI_STRING, &eight_bit, 0, 0},
        {"kv-mb", CLI_INT, &kv_mb, 1, 1 << 24}, {0}};
    int n_args;
    struct model_plan_wishes wishes;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 1) return cli_usage_error("model plan takes one MODEL");
    if (!read_wishes(memory, kv_mb, eight_bit, &wishes)) return CLI_USAGE;
    struct model *m = NULL;
    if (!cli_model_open(n_args ? argv[1] : NULL, s, &m)) return CLI_FAILED;

    struct errmsg msg = {0};
    struct model_plan plan = {0};
    struct report r = {.m = m, .plan = &plan, .is_measured = measures, .lists_all = lists_all};
    double *sensitivity = mem_try((size_t)m->p.n_layers, sizeof *sensitivity);
    enum err err = sensitivity ? OK : err_set(&msg, ERR_NOMEM, "%s: %s", m->path, err_text(ERR_NOMEM));
    if (!err && calibration) {
        err = calibrate(m, s, &wishes, calibration, sensitivity, &msg);
        wishes.sensitivity = r.sensitivity = sensitivity;
    }
    if (!err) err = model_plan_make(m, s, &wishes, &plan, &msg);
    if (!err) precision_measure_errors(m, &plan.precision);
    if (!err && measures) err = model_plan_measure(m, &plan, &r.loss, &msg);
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    if (!err) (is_json ? report_as_json : report_as_text)(&r, &out);
    model_plan_clear(&plan);
    model_unref(&m);
    mem_free(sensitivity);
    if (!err) return cli_print(&out);
    buf_clear(&out);
    return cli_fail(&msg);
}

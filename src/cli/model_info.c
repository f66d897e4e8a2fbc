/* `inline model info` and `inline model check`. */
#include "cli/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/model_plan.h"
#include "cli/model_remote.h"
#include "context/fim.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/residency.h"
#include "model/tokenizer.h"
#include "model/weight_pack.h"
#include "os/cpu.h"
#include "os/pool.h"

#define REPORT_LIMIT ((size_t)1 << 20)

/* A metadata string, or "" where the file has none. */
static struct gguf_str text_of(const struct gguf *g, const char *key)
{
    struct gguf_str s = {.data = "", .len = 0};
    if (gguf_get_str(g, key, &s, NULL) != OK) return (struct gguf_str){.data = "", .len = 0};
    return s;
}

/* Keys and values in F16, for every layer. */
static int64_t kv_bytes_per_token(const struct arch_params *p)
{
    return (int64_t)2 * (int64_t)sizeof(uint16_t) * p->n_layers * p->n_kv_heads * p->head_dim;
}

static int64_t count_weights(const struct cli_model_format *formats, int32_t n)
{
    int64_t total = 0;
    for (int32_t i = 0; i < n; i++) total += formats[i].n_weights;
    return total;
}

/* The packed form of the weights, converted as planned (null: not converted); null if it has not been
 * written. */
static struct weight_pack *find_pack(struct model *m, const struct precision_plan *plan)
{
    struct weight_pack *p = NULL;
    struct weight_pack_options o = {.build = false, .precision = plan};
    return weight_pack_open(m, &o, &p, NULL) == OK ? p : NULL;
}

/* How much of the weights that would be used is in memory now, be it only as the system's copy of the file.
 */
static void resident_as_text(const struct model *m, const struct weight_pack *p, struct buf *out)
{
    char size[SIZE_TEXT_MAX], of[SIZE_TEXT_MAX];
    int64_t wanted = 0, bytes = residency_look(m, p, &wanted);
    if (bytes >= 0)
        buf_printf(out, "in memory     %s of %s of weights\n", size_text(bytes, size), size_text(wanted, of));
}

static void resident_as_json(const struct model *m, const struct weight_pack *p, struct json *j)
{
    int64_t wanted = 0, bytes = residency_look(m, p, &wanted);
    json_int(j, "resident_bytes", bytes > 0 ? bytes : 0);
    json_int(j, "used_bytes", wanted);
}

static void pack_as_text(struct model *m, const struct precision_plan *plan, struct buf *out)
{
    char size[SIZE_TEXT_MAX];
    int64_t bytes = weight_pack_bytes_of(m, plan);
    struct weight_pack *p = find_pack(m, plan);
    buf_add_str(out, "precision     ");
    model_plan_describe(plan, out);
    buf_add_char(out, '\n');
    if (p) {
        buf_printf(out, "packed        %s in %s\n", size_text(bytes, size), weight_pack_path(p));
    } else if (bytes > 0) {
        buf_printf(out, "packed        no; it would take %s: inline model pack\n", size_text(bytes, size));
    } else {
        buf_add_str(out, "packed        no; these formats are read as they are\n");
    }
    resident_as_text(m, p, out);
    weight_pack_close(&p);
}

/* "state" is "present", "absent", or "none" for a model without a packed form. */
static void pack_as_json(struct model *m, const struct precision_plan *plan, struct json *j)
{
    int64_t bytes = weight_pack_bytes_of(m, plan);
    struct weight_pack *p = find_pack(m, plan);
    json_begin_object(j, "precision");
    json_str(j, "kind", precision_name(plan->kind));
    json_flag(j, "converts", plan->converts);
    json_int(j, "weight_bytes", plan->used_bytes);
    json_end_object(j);
    json_begin_object(j, "pack");
    json_str(j, "state", p ? "present" : bytes > 0 ? "absent" : "none");
    json_int(j, "bytes", bytes);
    json_str(j, "path", p ? weight_pack_path(p) : NULL);
    json_end_object(j);
    resident_as_json(m, p, j);
    weight_pack_close(&p);
}

static void info_as_text(struct model *m, const struct precision_plan *plan, struct buf *out)
{
    const struct arch_params *p = &m->p;
    struct cli_model_format formats[CLI_MODEL_FORMATS_MAX];
    int32_t n = cli_model_formats(m->gguf, formats);
    struct gguf_str license = text_of(m->gguf, "general.license");
    struct fim fim;
    fim_detect(m, &fim);
    char size[SIZE_TEXT_MAX];
    buf_printf(out, "name          %s\n", m->name);
    buf_printf(out, "file          %s (%s, GGUF version %" PRIu32 ")\n", m->path,
               size_text((int64_t)gguf_map(m->gguf)->len, size), gguf_version(m->gguf));
    buf_printf(out, "architecture  %s\n", m->arch->name);
    buf_printf(out, "parameters    %.1f million\n", (double)count_weights(formats, n) / 1e6);
    for (int32_t i = 0; i < n; i++) {
        buf_printf(out, "%-13s %-6s %4" PRId32 " tensors, %s\n", i ? "" : "formats", formats[i].name,
                   formats[i].n_tensors, size_text(formats[i].bytes, size));
    }
    buf_printf(out, "context       %" PRId32 " tokens\n", p->n_ctx_train);
    buf_printf(out,
               "shape         %" PRId32 " layers, width %" PRId32 ", %" PRId32 " heads, %" PRId32
               " key/value heads of %" PRId32 "\n",
               p->n_layers, p->d_model, p->n_heads, p->n_kv_heads, p->head_dim);
    if (p->n_experts > 0) {
        buf_printf(out, "experts       %" PRId32 ", %" PRId32 " used for each token\n", p->n_experts,
                   p->n_experts_used);
    }
    buf_printf(out, "vocabulary    %" PRId32 " tokens, %s%s%s\n", p->n_vocab, tokenizer_kind(m->tokenizer),
               *tokenizer_pre(m->tokenizer) ? ", pre-tokenizer " : "", tokenizer_pre(m->tokenizer));
    buf_printf(out, "fill-in       %s (%s, from %s)\n", fim.family, fim_order_name(fim.order), fim.detected);
    buf_printf(out, "KV cache      %s a token\n", size_text(kv_bytes_per_token(p), size));
    pack_as_text(m, plan, out);
    if (license.len > 0) buf_printf(out, "license       %.*s\n", (int)license.len, license.data);
}

static void info_as_json(struct model *m, const struct precision_plan *plan, struct buf *out)
{
    const struct arch_params *p = &m->p;
    struct cli_model_format formats[CLI_MODEL_FORMATS_MAX];
    int32_t n = cli_model_formats(m->gguf, formats);
    struct gguf_str license = text_of(m->gguf, "general.license");
    struct fim fim;
    fim_detect(m, &fim);
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str(&j, "name", m->name);
    json_str(&j, "path", m->path);
    json_str_len(&j, "license", license.data, license.len);
    json_int(&j, "bytes", (int64_t)gguf_map(m->gguf)->len);
    json_int(&j, "gguf_version", gguf_version(m->gguf));
    json_str(&j, "architecture", m->arch->name);
    json_int(&j, "parameters", count_weights(formats, n));
    json_begin_array(&j, "formats");
    for (int32_t i = 0; i < n; i++) {
        json_begin_object(&j, NULL);
        json_str(&j, "name", formats[i].name);
        json_int(&j, "tensors", formats[i].n_tensors);
        json_int(&j, "bytes", formats[i].bytes);
        json_end_object(&j);
    }
    json_end_array(&j);
    json_int(&j, "context", p->n_ctx_train);
    json_int(&j, "layers", p->n_layers);
    json_int(&j, "d_model", p->d_model);
    json_int(&j, "heads", p->n_heads);
    json_int(&j, "kv_heads", p->n_kv_heads);
    json_int(&j, "head_dim", p->head_dim);
    json_int(&j, "experts", p->n_experts);
    json_int(&j, "experts_used", p->n_experts_used);
    json_begin_object(&j, "tokenizer");
    json_str(&j, "kind", tokenizer_kind(m->tokenizer));
    json_str(&j, "pre", tokenizer_pre(m->tokenizer));
    json_int(&j, "vocab", p->n_vocab);
    json_end_object(&j);
    json_begin_object(&j, "fim");
    json_str(&j, "family", fim.family);
    json_str(&j, "order", fim_order_name(fim.order));
    json_str(&j, "detected", fim.detected);
    json_end_object(&j);
    json_int(&j, "kv_bytes_per_token", kv_bytes_per_token(p));
    pack_as_json(m, plan, &j);
    json_end_object(&j);
    buf_add_char(out, '\n');
}

/* Parse "[MODEL] [--json]". */
static bool parse_model(int argc, char **argv, const char **name, bool *is_json)
{
    const struct cli_option options[] = {{"json", CLI_FLAG, is_json, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return false;
    if (n_args > 1) return cli_usage_error("model %s takes one MODEL", argv[0]), false;
    *name = n_args ? argv[1] : NULL;
    return true;
}

int cli_model_info(int argc, char **argv, const struct settings *s)
{
    const char *name;
    bool is_json = false;
    struct model *m = NULL;
    if (!parse_model(argc, argv, &name, &is_json)) return CLI_USAGE;
    const struct settings_remote *remote = model_remote_named(name, s);
    if (remote) return model_remote_info(remote, s, is_json);
    if (!cli_model_open(name, s, &m)) return CLI_FAILED;
    struct errmsg msg = {0};
    struct model_plan plan = {0};
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    enum err err = model_plan_make(m, s, &(struct model_plan_wishes){0}, &plan, &msg);
    if (!err) (is_json ? info_as_json : info_as_text)(m, &plan.precision, &out);
    model_plan_clear(&plan);
    model_unref(&m);
    if (!err) return cli_print(&out);
    buf_clear(&out);
    return cli_fail(&msg);
}

/* --- check ------------------------------------------------------------------------------------------- */

#define CHECK_CHUNK 4096 /* weights expanded at once: a multiple of every format's block length */

/* Shared by the threads; each writes only its own scratch and its tensors' flags. */
struct check {
    const struct gguf *gguf;
    const struct kern *kern;
    float *scratch; /* [n_threads][CHECK_CHUNK] */
    bool *is_bad;   /* [n_tensors] */
};

/* All exponent bits set: infinity or NaN (IEEE 754). Without branches, so that it is vectorised. */
static bool all_finite(const float *x, int32_t n)
{
    uint32_t highest = 0;
    for (int32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7f800000;
        highest = bits > highest ? bits : highest;
    }
    return highest < 0x7f800000;
}

static void check_tensor(void *ctx, int32_t task, int32_t worker)
{
    struct check *c = ctx;
    const struct gguf_tensor *t = gguf_tensor_at(c->gguf, task);
    const struct kern_type_info *info = kern_type_info(t->type);
    float *weights = c->scratch + (size_t)worker * CHECK_CHUNK;
    const unsigned char *blocks = t->data;
    int64_t left = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    while (left > 0 && !c->is_bad[task]) {
        int32_t n = left < CHECK_CHUNK ? (int32_t)left : CHECK_CHUNK;
        c->kern->dequantize(t->type, blocks, weights, n);
        c->is_bad[task] = !all_finite(weights, n);
        blocks += (size_t)(n / info->block_len) * (size_t)info->block_bytes;
        left -= n;
    }
}

/* Read every weight of the file; the message names the first tensor with one that is not a number. */
static enum err check_weights(const struct model *m, const struct settings *s, struct errmsg *msg)
{
    struct pool *pool = NULL;
    int32_t n_tensors = gguf_n_tensors(m->gguf);
    int32_t n_threads = s->threads > 0 ? s->threads : cpu_count();
    struct check c = {.gguf = m->gguf, .kern = kern_select(*s->isa ? s->isa : NULL)};
    c.scratch = mem_try((size_t)n_threads * CHECK_CHUNK, sizeof *c.scratch);
    c.is_bad = mem_try((size_t)n_tensors, sizeof *c.is_bad);
    enum err err = OK;
    if (!c.kern) {
        err =
            err_set(msg, ERR_ARG, "this CPU cannot run the %s kernels; it can: %s", s->isa, kern_available());
    } else if (!c.scratch || !c.is_bad) {
        err = err_set(msg, ERR_NOMEM, "%s: %s", m->path, err_text(ERR_NOMEM));
    }
    if (!err) err = pool_new(n_threads, &pool, msg);
    if (!err) pool_run(pool, n_tensors, check_tensor, &c);
    for (int32_t i = 0; i < n_tensors && !err; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->gguf, i);
        if (!c.is_bad[i]) continue;
        err = err_set(msg, ERR_FORMAT,
                      "%s: tensor %.*s holds values that are not finite numbers; download the file again",
                      m->path, (int)t->name.len, t->name.data);
    }
    pool_free(&pool);
    mem_free(c.scratch);
    mem_free(c.is_bad);
    return err;
}

/* The packed weights, where there are any, are what packing this file so gives; they are deleted if not. */
static enum err check_pack(struct model *m, const struct precision_plan *plan, struct errmsg *msg)
{
    struct weight_pack *p = find_pack(m, plan);
    if (!p) return OK;
    enum err err = weight_pack_verify(p, msg);
    if (err == ERR_FORMAT) {
        weight_pack_remove(m, NULL);
        err_set(msg, err,
                "%s: its packed weights were damaged and are deleted; to make them anew: inline model pack",
                m->path);
    }
    weight_pack_close(&p);
    return err;
}

/* Those as stored, and those that the settings ask for. */
static enum err check_packs(struct model *m, const struct settings *s, struct errmsg *msg)
{
    struct model_plan plan = {0};
    enum err err = check_pack(m, NULL, msg);
    if (!err) err = model_plan_make(m, s, &(struct model_plan_wishes){0}, &plan, msg);
    if (!err && plan.precision.converts) err = check_pack(m, &plan.precision, msg);
    model_plan_clear(&plan);
    return err;
}

static int report_check(const struct model *m, bool is_json)
{
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    if (is_json) {
        struct json j;
        json_init(&j, &out);
        json_begin_object(&j, NULL);
        json_flag(&j, "ok", true);
        json_str(&j, "path", m->path);
        json_int(&j, "tensors", gguf_n_tensors(m->gguf));
        json_int(&j, "bytes", (int64_t)gguf_map(m->gguf)->len);
        json_end_object(&j);
        buf_add_char(&out, '\n');
    } else {
        char size[SIZE_TEXT_MAX];
        buf_printf(&out, "%s: ok, %" PRId32 " tensors, %s\n", m->path, gguf_n_tensors(m->gguf),
                   size_text((int64_t)gguf_map(m->gguf)->len, size));
    }
    return cli_print(&out);
}

int cli_model_check(int argc, char **argv, const struct settings *s)
{
    const char *name;
    bool is_json = false;
    struct model *m = NULL;
    struct errmsg msg = {0};
    if (!parse_model(argc, argv, &name, &is_json)) return CLI_USAGE;
    const struct settings_remote *remote = model_remote_named(name, s);
    if (remote) return model_remote_check(remote, s, is_json);
    if (!cli_model_open(name, s, &m)) return CLI_FAILED;
    enum err err = check_weights(m, s, &msg);
    if (!err) err = check_packs(m, s, &msg);
    int status = err ? cli_fail(&msg) : report_check(m, is_json);
    model_unref(&m);
    return status;
}

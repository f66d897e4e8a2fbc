/* libinline: include/inline.h over the completion pipeline.
 *
 * The boundary to programs that are not ours: every argument is checked here, and nothing below sees a null
 * text, a cursor inside a character or an option out of range. Thread: one at a time per handle; only the
 * cancel flag is shared. */
#include "inline.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "complete/complete.h"
#include "context/documents.h"
#include "context/fim.h"
#include "context/secrets.h"
#include "infer/engine.h"
#include "model/arch.h"
#include "model/library.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/machine.h"

#define DEFAULT_CONTEXT    4096 /* KV memory and prefill stay modest; a completion seldom gains from more */
#define DEFAULT_MAX_TOKENS 64
#define SUGGESTION_MAX     ((size_t)4 << 20) /* bytes; far more than any context holds */
#define EXPLANATION_MAX    ((size_t)4 << 20)

struct inline_model {
    struct model *model;
    struct engine *engine;
    struct engine_seq *seq;
    struct fim fim;
    struct documents *docs; /* what was completed, so that only what changed is looked at */
    struct secrets *secrets;
    bool is_window_only;
    double load_ms;
    atomic_bool is_cancelled; /* set by any thread, cleared when a request starts */
};

static void report(char *error, const struct errmsg *msg)
{
    if (error) snprintf(error, INLINE_ERROR_MAX, "%s", msg->text);
}

static enum err check_options(const struct inline_options *o, struct errmsg *msg)
{
    if (o->n_threads < 0)
        return err_set(msg, ERR_ARG, "n_threads is %d; 0 means all processors", o->n_threads);
    if (o->n_ctx < 0) return err_set(msg, ERR_ARG, "n_ctx is %d; 0 means the default", o->n_ctx);
    if (o->kv > INLINE_KV_Q8_0) return err_set(msg, ERR_ARG, "kv is %d; see enum inline_kv", (int)o->kv);
    if (o->kv_disk_bytes < 0) return err_set(msg, ERR_ARG, "kv_disk_bytes is negative; 0 means the default");
    if (o->precision > INLINE_PRECISION_QUANTIZED)
        return err_set(msg, ERR_ARG, "precision is %d; see enum inline_precision", (int)o->precision);
    if (o->pack > INLINE_PACK_OFF)
        return err_set(msg, ERR_ARG, "pack is %d; see enum inline_pack", (int)o->pack);
    return OK;
}

static enum err open_engine(struct inline_model *m, const struct inline_options *o, struct errmsg *msg)
{
    static const enum precision precisions[] = {[INLINE_PRECISION_AUTO] = PRECISION_AUTO,
                                                [INLINE_PRECISION_FULL] = PRECISION_FULL,
                                                [INLINE_PRECISION_MIXED] = PRECISION_MIXED,
                                                [INLINE_PRECISION_QUANTIZED] = PRECISION_QUANTIZED};
    struct machine_sample machine;
    machine_read(NULL, &machine);
    struct engine_options options = {.n_threads = o->n_threads,
                                     .isa = o->isa,
                                     .pack_dir = o->pack == INLINE_PACK_OFF ? NULL : "",
                                     .pack_build = o->pack == INLINE_PACK_BUILD,
                                     .kv_type = o->kv == INLINE_KV_Q8_0 ? KERN_KV_Q8_0 : KERN_KV_F16,
                                     .kv_dir = o->kv_dir,
                                     .kv_disk_bytes = o->kv_disk_bytes,
                                     .move = o->move ? ENGINE_MOVE_ON : ENGINE_MOVE_OFF,
                                     .no_speculation = o->no_speculation,
                                     .precision = precisions[o->precision],
                                     .eight_bit = o->mxfp8 ? KERN_MXFP8 : KERN_Q8_0,
                                     .memory_bytes = machine_memory_ours(&machine),
                                     .read_ahead = true};
    int32_t n_ctx = o->n_ctx ? o->n_ctx : DEFAULT_CONTEXT;
    if (n_ctx > m->model->p.n_ctx_train) n_ctx = m->model->p.n_ctx_train;
    enum err err = engine_open(m->model, &options, &m->engine, msg);
    return err ? err : engine_seq_open(m->engine, n_ctx, &m->seq, msg);
}

static enum err open_model(struct inline_model *m, const char *name, const struct inline_options *o,
                           struct errmsg *msg)
{
    if (!name || !*name)
        return err_set(msg, ERR_ARG, "no model given; pass a GGUF file or an installed model's name");
    enum err err = check_options(o, msg);
    if (err) return err;
    int64_t start = clock_ns();
    char *path = NULL;
    m->docs = documents_new();
    m->is_window_only = o->window_only;
    struct secrets_options secrets = {.names = o->secret_files, .contents = o->secret_contents};
    err = secrets_new(&secrets, &m->secrets, msg);
    if (!err) err = library_find(NULL, name, &path, msg);
    if (!err) err = model_open(path, &m->model, msg);
    mem_free(path);
    if (!err) err = open_engine(m, o, msg);
    if (err) return err;
    fim_detect(m->model, &m->fim);
    m->load_ms = clock_ms_since(start);
    return OK;
}

struct inline_model *inline_open(const char *path, const struct inline_options *options, char *error)
{
    static const struct inline_options defaults = {0};
    struct errmsg msg = {0};
    struct inline_model *m = MEM_NEW(struct inline_model);
    atomic_init(&m->is_cancelled, false);
    if (open_model(m, path, options ? options : &defaults, &msg)) {
        report(error, &msg);
        inline_close(m);
        return NULL;
    }
    return m;
}

void inline_close(struct inline_model *m)
{
    if (!m) return;
    if (m->seq) engine_seq_clear(m->seq, true);
    engine_seq_close(&m->seq);
    engine_close(&m->engine);
    model_unref(&m->model);
    documents_free(&m->docs);
    secrets_free(&m->secrets);
    mem_free(m);
}

void inline_info(const struct inline_model *m, struct inline_info *out)
{
    *out = (struct inline_info){.name = m->model->name,
                                .path = m->model->path,
                                .architecture = m->model->arch->name,
                                .fim_family = m->fim.family,
                                .fim_order = fim_order_name(m->fim.order),
                                .fim_detected = m->fim.detected,
                                .isa = engine_isa(m->engine),
                                .n_threads = engine_threads(m->engine),
                                .n_ctx = engine_seq_n_ctx(m->seq),
                                .load_ms = m->load_ms};
}

/* Sampling ranges are the sampler's to check; here is what it never sees. */
static enum err check_request(const struct inline_request *r, struct errmsg *msg)
{
    if (!r->text && r->len > 0) return err_set(msg, ERR_ARG, "text is null but len is %zu", r->len);
    if (r->cursor > r->len)
        return err_set(msg, ERR_ARG, "cursor %zu is past the end (%zu bytes)", r->cursor, r->len);
    if (r->max_tokens < 0)
        return err_set(msg, ERR_ARG, "max_tokens is %d; 0 means the default", r->max_tokens);
    if (r->max_prompt_tokens < 0)
        return err_set(msg, ERR_ARG, "max_prompt_tokens is %d; 0 means the default", r->max_prompt_tokens);
    if (!(r->max_prompt_ms >= 0 && r->max_predict_ms >= 0))
        return err_set(msg, ERR_ARG, "a time limit is negative; 0 means none");
    size_t valid = r->len > 0 ? utf8_valid_len(r->text, r->len) : 0;
    if (valid < r->len) return err_set(msg, ERR_ARG, "text is not UTF-8 at byte %zu", valid);
    bool is_inside = r->cursor < r->len && ((unsigned char)r->text[r->cursor] & 0xc0) == 0x80;
    if (is_inside) return err_set(msg, ERR_ARG, "cursor %zu is inside a character", r->cursor);
    return OK;
}

static struct complete_request pipeline_request(struct inline_model *m, const struct inline_request *r)
{
    struct sampler_params sampling = SAMPLER_GREEDY;
    sampling.temperature = r->temperature;
    sampling.top_k = r->top_k;
    sampling.min_p = r->min_p;
    sampling.infill = r->infill;
    sampling.seed = r->seed;
    if (r->top_p != 0) sampling.top_p = r->top_p;
    if (r->repeat_penalty != 0) sampling.repeat_penalty = r->repeat_penalty;
    return (struct complete_request){.text = r->text ? r->text : "",
                                     .len = r->len,
                                     .cursor = r->cursor,
                                     .path = r->path,
                                     .docs = m->docs,
                                     .secrets = m->secrets,
                                     .is_window_only = m->is_window_only,
                                     .max_tokens = r->max_tokens ? r->max_tokens : DEFAULT_MAX_TOKENS,
                                     .max_prompt_tokens = r->max_prompt_tokens,
                                     .sampling = sampling,
                                     .max_prompt_ms = r->max_prompt_ms,
                                     .max_predict_ms = r->max_predict_ms,
                                     .cancel = &m->is_cancelled,
                                     .on_text = r->on_text,
                                     .ctx = r->user};
}

bool inline_complete(struct inline_model *m, const struct inline_request *request,
                     struct inline_result *result, char *error)
{
    struct errmsg msg = {0};
    struct complete_result done;
    struct buf text, explanation;
    buf_init(&text, SUGGESTION_MAX);
    buf_init(&explanation, EXPLANATION_MAX);
    *result = (struct inline_result){0};
    /* Relaxed: the flag guards no other data. */
    atomic_store_explicit(&m->is_cancelled, false, memory_order_relaxed);
    enum err err = check_request(request, &msg);
    if (!err) {
        struct complete_request r = pipeline_request(m, request);
        if (request->explain) r.explanation = &explanation;
        err = complete_run(m->seq, &m->fim, &r, &text, &done, &msg);
    }
    if (err) {
        report(error, &msg);
        buf_clear(&text);
        buf_clear(&explanation);
        return false;
    }
    if (explanation.len > 0) result->explanation = buf_take(&explanation);
    buf_clear(&explanation);
    result->mean_logprob = done.engine.mean_logprob;
    result->len = text.len;
    result->text = buf_take(&text);
    result->stop_reason = complete_stop_name(done.stop);
    result->prompt_tokens = done.engine.n_prompt;
    result->reused_tokens = done.engine.n_prompt - done.engine.reuse.n_computed;
    result->generated_tokens = done.engine.n_generated;
    result->drafted_tokens = done.engine.n_drafted;
    result->accepted_tokens = done.engine.n_accepted;
    result->prompt_ms = done.engine.prompt_ms;
    result->generate_ms = done.engine.generate_ms;
    return true;
}

void inline_result_clear(struct inline_result *result)
{
    mem_free(result->text);
    mem_free(result->explanation);
    *result = (struct inline_result){0};
}

void inline_cancel(struct inline_model *m)
{
    atomic_store_explicit(&m->is_cancelled, true, memory_order_relaxed);
}

const char *inline_version(void)
{
    return INLINE_VERSION;
}

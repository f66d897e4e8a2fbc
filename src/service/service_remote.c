/* Models on other machines: a run's jobs are requests to the servers of its model (remote/remote.h).
 *
 * The servers only continue text: what is asked, where an answer ends and what of it is wanted is decided
 * here, by the same rules as for an engine of this process. What the servers say about their model (its name,
 * how much it can be shown, its FIM format) is learned with the first request. */
#include "service/service_impl.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/log.h"
#include "context/secrets.h"
#include "model/tokenizer.h"
#include "os/clock.h"
#include "remote/dialect.h"
#include "watch/metrics.h"

#define N_CTX_DEFAULT 4096 /* where nobody says how much the model can be shown */

/* ---- On the remote's thread ---- */

/* What is sent of a client's own prompt: what is drawn from documents is without secrets already. */
static enum err mask_secrets(struct service_run *run, struct prompt_input *in)
{
    const struct secrets *secrets = run->model->service->o.secrets;
    int32_t n;
    if (!secrets || !in->is_raw || in->tokens || in->text_len == 0) return OK;
    buf_init(&run->masked, SIZE_MAX);
    enum err err = secrets_mask(secrets, in->text, in->text_len, &run->masked, &n);
    in->text = buf_str(&run->masked);
    in->text_len = run->masked.len;
    return err;
}

static enum err build_prompt(struct service_run *run, const struct remote_traits *t, struct errmsg *msg)
{
    if (run->is_prompt_built) return OK;
    struct remote_prompt *p = &run->remote_prompt;
    struct prompt_input in = run->snapshot.input;
    enum err err = mask_secrets(run, &in);
    if (err) return err_set(msg, err, "cannot prepare the prompt: %s", err_text(err));
    err = remote_prompt_build(run->model->elsewhere->fim, t, &in, run->snapshot.limits.max_prompt, p,
                              &run->ask, msg);
    if (err) {
        remote_prompt_clear(p);
        return err;
    }
    run->prompt = (struct prompt){.was_cut = p->was_cut, .room = p->room};
    run->is_prompt_built = true;
    return OK;
}

static struct remote_sampling sampling_of(const struct sampler_params *p)
{
    return (struct remote_sampling){.temperature = p->temperature,
                                    .top_p = p->top_p,
                                    .min_p = p->min_p,
                                    .repeat_penalty = p->repeat_penalty,
                                    .top_k = p->top_k,
                                    .seed = p->seed};
}

static enum err prepare(void *ctx, const struct remote_traits *t, struct remote_ask *out, struct errmsg *msg)
{
    struct service_job *j = ctx;
    struct service_run *run = j->run;
    enum err err = build_prompt(run, t, msg);
    if (err) return err;
    struct generation_rules rules = run->snapshot.rules;
    rules.words = run->snapshot.words;
    if (j->index == 0) {
        rules.on_text = service_job_text;
        rules.ctx = j;
    }
    generation_init(&j->generation, &run->remote_prompt.fim, &run->snapshot.input, &rules, &j->out);
    j->has_generation = true;
    *out = run->ask;
    out->sampling = sampling_of(&j->sampling);
    out->max_tokens = run->snapshot.limits.max_tokens;
    out->wants_logprobs = run->model->service->o.min_confidence > 0;
    return OK;
}

/* A prompt that is only to be read may cost a token that nobody wants. */
static bool on_text(void *ctx, const char *text, size_t len)
{
    struct service_job *j = ctx;
    if (j->run->snapshot.limits.max_tokens == 0) return false;
    return generation_on_token(&j->generation, TOKEN_NONE, text, len);
}

static struct scheduler_report report_of(const struct remote_report *r)
{
    static const enum scheduler_outcome outcomes[] = {[REMOTE_DONE] = SCHEDULER_DONE,
                                                      [REMOTE_CANCELLED] = SCHEDULER_CANCELLED,
                                                      [REMOTE_FAILED] = SCHEDULER_FAILED};
    static const enum engine_stop stops[] = {
        [REMOTE_STOP_EOG] = ENGINE_STOP_EOG,     [REMOTE_STOP_LIMIT] = ENGINE_STOP_LIMIT,
        [REMOTE_STOP_WORD] = ENGINE_STOP_CALLER, [REMOTE_STOP_ENOUGH] = ENGINE_STOP_CALLER,
        [REMOTE_STOP_TIME] = ENGINE_STOP_TIME,   [REMOTE_STOP_CANCEL] = ENGINE_STOP_CANCEL};
    return (struct scheduler_report){
        .outcome = outcomes[r->outcome],
        .result = {.stop = stops[r->stop],
                   .n_prompt = r->n_prompt,
                   .n_generated = r->n_generated,
                   .reuse = {.n_reused = r->n_reused, .n_computed = r->n_prompt - r->n_reused},
                   .prompt_ms = r->first_ms,
                   .generate_ms = r->generate_ms,
                   .mean_logprob = r->mean_logprob},
        .seq = -1,
        .queue_ms = r->queue_ms,
        .prepare_ms = r->prepare_ms,
        .err = r->err,
        .msg = r->msg};
}

static void done(void *ctx, const struct remote_report *r)
{
    struct service_job *j = ctx;
    int64_t start = clock_ns();
    j->report = report_of(r);
    j->err = r->err;
    if (r->outcome == REMOTE_DONE) {
        j->err = generation_finish(&j->generation, j->report.result.stop, &j->stop, &j->report.msg);
        if (j->stop == COMPLETE_WORD) j->word = j->generation.stop.word;
    }
    j->is_broken_off = r->is_partial;
    j->post_ms = clock_ms_since(start);
    service_job_done(j);
}

/* ---- On the loop ---- */

/* Somebody has seen some of the answer. */
static bool is_shown(const struct service *s, const struct service_run *run)
{
    for (const struct service_ticket *t = s->first; t; t = t->next) {
        if (t->run == run && t->n_given > 0) return true;
    }
    return false;
}

bool service_remote_mend(struct service *s, struct service_job *j)
{
    struct service_run *run = j->run;
    j->is_broken_off = false;
    if (is_shown(s, run)) { /* what has come is all that can come after it */
        j->err = generation_finish(&j->generation, ENGINE_STOP_CANCEL, &j->stop, &j->report.msg);
        if (!j->err) j->report.outcome = SCHEDULER_DONE;
        return false;
    }
    if (j->was_repeated || run->is_cancelled || run->model->state != SERVICE_READY) return false;
    service_elsewhere.release(j);
    generation_clear(&j->generation);
    buf_reset(&j->out);
    if (j->index == 0) buf_reset(&run->text);
    j->has_generation = false;
    j->was_repeated = true;
    service_elsewhere.submit(j);
    return true;
}

static void submit(struct service_job *j)
{
    static const enum remote_priority priorities[] = {
        [SERVICE_ASKED] = REMOTE_ASKED,
        [SERVICE_TYPING] = REMOTE_TYPING,
        [SERVICE_WARMUP] = REMOTE_WARMUP,
        [SERVICE_PREFETCH] = REMOTE_PREFETCH,
    };
    const struct service_run *run = j->run;
    struct remote_request request = {.priority = priorities[run->priority],
                                     .document = run->document,
                                     .max_first_ms = run->snapshot.max_prompt_ms,
                                     .max_predict_ms = run->snapshot.max_predict_ms,
                                     .prepare = prepare,
                                     .on_text = on_text,
                                     .done = done,
                                     .ctx = j};
    j->remote = remote_submit(run->model->remote, &request);
}

static void cancel(struct service_job *j)
{
    if (j->remote) remote_cancel(j->run->model->remote, j->remote);
}

static void release(struct service_job *j)
{
    if (j->remote) remote_release(&j->remote);
}

const struct service_backend service_elsewhere = {submit, cancel, release};

/* What the answers are made by, as caches must tell it apart: who serves the model, under which name, and how
 * it is asked. */
static void write_key(struct service_loaded *m)
{
    const struct service_remote *e = m->elsewhere;
    const char *const parts[] = {
        dialect_api_name(e->at.api),   e->at.urls, e->fim, m->traits.model, m->traits.base,
        m->traits.has_fim ? "fim" : ""};
    uint64_t low = 0, high = 1;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        low = XXH3_64bits_withSeed(parts[i], strlen(parts[i]), low);
        high = XXH3_64bits_withSeed(parts[i], strlen(parts[i]), high);
    }
    snprintf(m->key, sizeof m->key, "remote-%016llx%016llx", (unsigned long long)low,
             (unsigned long long)high);
}

static void apply_traits(struct service_loaded *m)
{
    bool is_servers;
    remote_prompt_fim(m->elsewhere->fim, &m->traits, &m->fim, &is_servers);
    m->n_ctx = m->elsewhere->n_ctx > 0 ? m->elsewhere->n_ctx : m->traits.n_ctx;
    if (m->n_ctx <= 0) m->n_ctx = N_CTX_DEFAULT;
    write_key(m);
}

static bool is_same(const struct remote_traits *a, const struct remote_traits *b)
{
    return a->is_known == b->is_known && a->has_fim == b->has_fim && a->takes_files == b->takes_files &&
           a->n_ctx == b->n_ctx && a->program == b->program && strcmp(a->model, b->model) == 0 &&
           strcmp(a->base, b->base) == 0;
}

void service_remote_refresh(struct service_loaded *m)
{
    struct remote_traits now;
    remote_traits(m->remote, &now);
    if (is_same(&now, &m->traits)) return;
    m->traits = now;
    apply_traits(m);
    m->service->models.version++;
    log_line(LOG_INFO, "%s: served as \"%s\", %d tokens of context, FIM format %s", m->name, now.model,
             m->n_ctx, m->fim.family);
}

enum err service_remote_open(struct service_loaded *m, struct errmsg *msg)
{
    m->isa = "";
    memset(&m->traits, 0, sizeof m->traits);
    apply_traits(m);
    if (*m->elsewhere->trouble.text) return err_set(msg, ERR_ARG, "%s", m->elsewhere->trouble.text);
    return remote_new(&m->elsewhere->at, &m->remote, msg);
}

/* ---- What is measured ---- */

static int32_t label(const struct service *s, enum metric_id id, const struct remote_server_state *server)
{
    return metrics_label(s->o.metrics, id, server->name);
}

void service_remote_measure(struct service *s, struct service_loaded *m)
{
    struct remote_state state;
    remote_state(m->remote, &state);
    for (int32_t i = 0; i < state.n_servers; i++) {
        const struct remote_server_state *server = &state.servers[i];
        metrics_set(s->o.metrics, METRIC_REMOTE_UP, label(s, METRIC_REMOTE_UP, server),
                    server->health != SERVER_DOWN);
        metrics_set(s->o.metrics, METRIC_REMOTE_CONNECTIONS, label(s, METRIC_REMOTE_CONNECTIONS, server),
                    server->n_connections);
        metrics_add(s->o.metrics, METRIC_REMOTE_REQUESTS, label(s, METRIC_REMOTE_REQUESTS, server),
                    server->n_asked - m->told[i].n_asked);
        metrics_add(s->o.metrics, METRIC_REMOTE_FAILURES, label(s, METRIC_REMOTE_FAILURES, server),
                    server->n_failed - m->told[i].n_failed);
        m->told[i].n_asked = server->n_asked;
        m->told[i].n_failed = server->n_failed;
    }
}

bool service_model_server(struct service *s, int32_t model, int32_t i, struct remote_server_state *out)
{
    const struct service_loaded *m = model >= 0 && model < s->models.n_known ? s->models.known[model] : NULL;
    if (!m || m->state != SERVICE_READY || !m->remote) return false; /* until it is, a worker has the rest */
    struct remote_state state;
    remote_state(m->remote, &state);
    if (i < 0 || i >= state.n_servers) return false;
    *out = state.servers[i];
    return true;
}

const char *service_server_health(const struct remote_server_state *server)
{
    return server_health_name(server->health);
}

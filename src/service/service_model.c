/* What others see of the models: lists, tokens, slots. */
#include "service/service_impl.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "model/gguf.h"
#include "model/library.h"
#include "model/model.h"
#include "os/clock.h"
#include "remote/dialect.h"

#define LIST_MS 1e3 /* how long the list of installed models counts as fresh */

#define SLOTS_MAX 128 /* sequences that are told about; four times the usual number */

void service_model_refresh(struct service *s)
{
    struct service_models *models = &s->models;
    if (models->listed_ns && clock_ms_since(models->listed_ns) < LIST_MS) return;
    struct library_entry *list = NULL;
    int32_t n = 0;
    models->listed_ns = clock_ns();
    if (library_list(s->o.models_dir, &list, &n, NULL)) return; /* the old list stays */
    library_list_free(models->installed, models->n_installed);
    models->installed = list;
    models->n_installed = n;
}

static bool is_known(const struct service_models *models, const struct library_entry *e)
{
    for (int32_t i = 0; i < models->n_known; i++) {
        if (strcmp(models->known[i]->path, e->path) == 0) return true;
    }
    return false;
}

int32_t service_n_models(struct service *s)
{
    struct service_models *models = &s->models;
    service_model_refresh(s);
    int32_t n = models->n_known;
    for (int32_t i = 0; i < models->n_installed; i++) n += !is_known(models, &models->installed[i]);
    return n;
}

/* The weights, and the format that most of their bytes are in. */
static void describe_weights(const struct gguf *g, struct service_model *out)
{
    int64_t bytes[KERN_TYPE_END] = {0};
    enum kern_type most = KERN_F32;
    for (int32_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        int64_t n = 1;
        for (int32_t d = 0; d < t->n_dims; d++) n *= t->dims[d];
        out->n_params += n;
        bytes[t->type] += (int64_t)t->len;
        if (bytes[t->type] > bytes[most]) most = t->type;
    }
    out->format = kern_type_info(most)->name;
}

static void describe_ready(const struct service_loaded *m, struct service_model *out)
{
    const struct arch_params *p = &m->model->p;
    const struct engine *engine = scheduler_engine(m->scheduler);
    struct residency_state pages;
    struct scheduler_state state;
    engine_residency(engine, &pages);
    scheduler_state(m->scheduler, &state);
    out->n_ctx = m->n_ctx;
    out->precision = precision_name(engine_precision(engine)->kind);
    out->weight_bytes = pages.wanted_bytes;
    out->read_bytes = pages.read_bytes;
    out->kv_bytes = state.kv_bytes;
    out->n_ctx_train = p->n_ctx_train;
    out->n_vocab = p->n_vocab;
    out->n_embd = p->d_model;
    out->arch = m->model->arch->name;
    out->fim_family = m->fim.family;
    out->fim_order = fim_order_name(m->fim.order);
    out->fim_detected = m->fim.detected;
    out->isa = m->isa;
    out->load_ms = m->load_ms;
    describe_weights(m->model->gguf, out);
}

static void describe_remote(struct service_loaded *m, struct service_model *out)
{
    struct remote_state state;
    service_remote_refresh(m);
    remote_state(m->remote, &state);
    out->n_servers = state.n_servers;
    out->remote_model = m->traits.model;
    out->n_ctx = m->n_ctx;
    out->n_ctx_train = m->traits.n_ctx;
    if (!m->traits.is_known) return;
    out->fim_family = m->fim.family;
    out->fim_order = fim_order_name(m->fim.order);
    out->fim_detected = "server";
}

int64_t service_model_resident(const struct service *s, int32_t i)
{
    const struct service_loaded *m = i >= 0 && i < s->models.n_known ? s->models.known[i] : NULL;
    bool is_here = m && m->state == SERVICE_READY && m->scheduler;
    return is_here ? engine_resident_bytes(scheduler_engine(m->scheduler)) : 0;
}

uint64_t service_models_version(const struct service *s)
{
    return s->models.version;
}

void service_model(struct service *s, int32_t i, struct service_model *out)
{
    const struct service_models *models = &s->models;
    *out = (struct service_model){.name = "",
                                  .path = "",
                                  .error = "",
                                  .arch = "",
                                  .format = "",
                                  .fim_family = "",
                                  .fim_order = "",
                                  .fim_detected = "",
                                  .isa = "",
                                  .role = "",
                                  .precision = "",
                                  .api = "",
                                  .remote_model = ""};
    if (i >= 0 && i < models->n_known) {
        struct service_loaded *m = models->known[i];
        out->name = m->name;
        out->path = m->path;
        out->state = m->state;
        out->bytes = m->bytes;
        out->role = m->role;
        out->n_loads = m->n_loads;
        out->n_requests = service_registry_n_runs(s, m);
        if (out->n_requests == 0 && m->last_use_ns) out->idle_s = clock_ms_since(m->last_use_ns) / 1e3;
        if (m->state == SERVICE_MODEL_FAILED) out->error = m->error.text;
        if (m->elsewhere) out->api = dialect_api_name(m->elsewhere->at.api);
        if (m->state == SERVICE_READY && m->remote) describe_remote(m, out);
        if (m->state == SERVICE_READY && m->scheduler) describe_ready(m, out);
        return;
    }
    i -= models->n_known;
    for (int32_t j = 0; j < models->n_installed; j++) {
        const struct library_entry *e = &models->installed[j];
        if (is_known(models, e) || i-- != 0) continue;
        out->state = SERVICE_INSTALLED;
        out->name = e->name;
        out->path = e->path;
        out->bytes = e->bytes;
        return;
    }
    out->state = SERVICE_INSTALLED;
}

/* The tokenizer of a model that is ready, without loading one; null if it is not. */
static const struct tokenizer *tokenizer_of(const struct service *s, const char *name)
{
    const struct service_models *models = &s->models;
    const struct service_loaded *m = models->known[0];
    for (int32_t i = 0; name && i < models->n_known; i++) {
        if (strcasecmp(models->known[i]->name, name) == 0) m = models->known[i];
    }
    return m->state == SERVICE_READY && m->model ? m->model->tokenizer : NULL;
}

bool service_tokenize(struct service *s, const char *model, const char *text, size_t len, bool add_bos,
                      bool parse_special, struct token_list *tokens)
{
    const struct tokenizer *t = tokenizer_of(s, model);
    unsigned flags = (add_bos ? TOKENIZER_BOS : 0u) | (parse_special ? TOKENIZER_SPECIAL : 0u);
    tokens->n = 0;
    return t && tokenizer_encode(t, text, len, flags, tokens) == OK;
}

bool service_detokenize(struct service *s, const char *model, const int32_t *tokens, int32_t n,
                        struct buf *out)
{
    const struct tokenizer *t = tokenizer_of(s, model);
    for (int32_t i = 0; t && i < n; i++) {
        size_t len;
        const char *piece = tokenizer_piece(t, tokens[i], &len);
        if (len > 0) buf_add(out, piece, len);
    }
    return t && !out->err;
}

int32_t service_slots(struct service *s, struct service_slot *out, int32_t max)
{
    struct service_loaded *m = s->models.known[0];
    struct scheduler_seq_state states[SLOTS_MAX];
    if (m->state != SERVICE_READY || !m->scheduler) return 0;
    int32_t n = scheduler_seqs(m->scheduler, states, SLOTS_MAX);
    for (int32_t i = 0; i < n && i < max && i < SLOTS_MAX; i++) {
        out[i] = (struct service_slot){.id = states[i].id,
                                       .n_tokens = states[i].n_tokens,
                                       .n_ctx = states[i].n_ctx,
                                       .n_prompt = states[i].n_prompt,
                                       .n_generated = states[i].n_generated,
                                       .is_processing = states[i].is_processing};
    }
    return n < SLOTS_MAX ? n : SLOTS_MAX;
}

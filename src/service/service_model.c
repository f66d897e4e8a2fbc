/* The models of a service: found in the library, loaded in the background, each with a scheduler.
 *
 * A model in use is never unloaded before the service ends, so that pointers to it stay valid. Its file is
 * chosen by the options or by the library, never by a request: a client cannot make the daemon open a path.
 */
#include "service/service_impl.h"

#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/gguf.h"
#include "model/library.h"
#include "model/model.h"
#include "model/weight_pack.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/thread.h"

#define LIST_MS  1e3 /* how long the list of installed models counts as fresh */
#define RETRY_MS 5e3 /* before a model that could not be loaded is tried again */

#define SLOTS_MAX 128 /* sequences that are told about; four times the usual number */

static char *name_of_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = mem_dup_str(slash ? slash + 1 : path);
    size_t len = strlen(name);
    if (len > 5 && strcasecmp(name + len - 5, ".gguf") == 0) name[len - 5] = '\0';
    return name;
}

/* ---- Loading ---- */

static enum err load(struct service_loaded *m, const struct service_options *o, struct errmsg *msg)
{
    struct engine *engine = NULL;
    struct scheduler_options options = {
        .n_active = o->n_active, .n_seqs = o->n_seqs, .n_ctx = o->n_ctx, .window_ms = o->window_ms};
    enum err err = model_open(m->path, &m->model, msg);
    if (err) return err;
    if (options.n_ctx > m->model->p.n_ctx_train) options.n_ctx = m->model->p.n_ctx_train;
    err = engine_open(m->model, &o->engine, &engine, msg);
    if (err) return err;
    m->isa = engine_isa(engine);
    fim_detect(m->model, &m->fim);
    weight_pack_model_key(m->model, m->key);
    return scheduler_new(engine, &options, &m->scheduler, msg);
}

/* Thread: the loader. */
static void *loader_main(void *arg)
{
    struct service_loaded *m = arg;
    struct errmsg msg = {0};
    int64_t start = clock_ns();
    enum err err = load(m, &m->service->o, &msg);
    m->load_ms = clock_ms_since(start);
    if (err) {
        model_unref(&m->model);
        m->error = msg;
    }
    (void)service_mail_post(&m->service->box, SERVICE_MAIL_LOADED, NULL, m, NULL, 0);
    return NULL;
}

static void fail(struct service_loaded *m)
{
    m->state = SERVICE_MODEL_FAILED;
    m->failed_ns = clock_ns();
}

static void start_loading(struct service_loaded *m)
{
    m->state = SERVICE_LOADING;
    m->error = (struct errmsg){0};
    m->bytes = file_size(m->path);
    int failure = thread_create(&m->loader, loader_main, m);
    m->has_loader = failure == 0;
    if (failure == 0) return;
    err_set(&m->error, ERR_LIMIT, "cannot start a thread: %s", strerror(failure));
    fail(m);
}

void service_model_on_loaded(struct service_loaded *m)
{
    pthread_join(m->loader, NULL);
    m->has_loader = false;
    if (m->scheduler) {
        m->state = SERVICE_READY;
        log_line(LOG_INFO, "%s: loaded in %.0f ms", m->name, m->load_ms);
        return;
    }
    fail(m);
    log_line(LOG_WARN, "%s: cannot be used: %s", m->name, m->error.text);
}

static struct service_loaded *add(struct service *s, const char *name, const char *path)
{
    struct service_models *models = &s->models;
    if (models->n_loaded == SERVICE_MODELS_MAX) return NULL;
    struct service_loaded *m = MEM_NEW(struct service_loaded);
    m->service = s;
    m->name = mem_dup_str(name);
    m->path = mem_dup_str(path);
    models->loaded[models->n_loaded++] = m;
    return m;
}

/* Look for the default model and load it. */
static void start_default(struct service *s)
{
    struct service_loaded *m = s->models.loaded[0];
    char *path = NULL;
    const char *name = s->o.default_model;
    m->error = (struct errmsg){0};
    enum err err = *name ? library_find(s->o.models_dir, name, &path, &m->error)
                         : library_default(s->o.models_dir, &path, &m->error);
    if (err) {
        fail(m);
        return;
    }
    mem_free(m->path);
    mem_free(m->name);
    m->path = path;
    m->name = name_of_path(path);
    start_loading(m);
}

void service_model_init(struct service *s)
{
    (void)add(s, *s->o.default_model ? s->o.default_model : "default", "");
    start_default(s);
}

void service_model_stop(struct service *s)
{
    for (int32_t i = 0; i < s->models.n_loaded; i++) {
        struct service_loaded *m = s->models.loaded[i];
        if (m->has_loader) pthread_join(m->loader, NULL);
        m->has_loader = false;
        scheduler_free(&m->scheduler);
    }
}

void service_model_clear(struct service *s)
{
    struct service_models *models = &s->models;
    for (int32_t i = 0; i < models->n_loaded; i++) {
        struct service_loaded *m = models->loaded[i];
        for (int j = 0; j < SERVICE_MEMOS; j++) fim_memo_clear(&m->memos[j].memo);
        model_unref(&m->model);
        mem_free(m->name);
        mem_free(m->path);
        mem_free(m);
    }
    library_list_free(models->installed, models->n_installed);
}

/* ---- Finding ---- */

static void refresh_installed(struct service *s)
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

static bool is_loaded(const struct service_models *models, const struct library_entry *e)
{
    for (int32_t i = 0; i < models->n_loaded; i++) {
        if (strcmp(models->loaded[i]->path, e->path) == 0) return true;
    }
    return false;
}

/* The model that a request for this name means; one that is only installed begins to load. Null: no more can
 * be loaded. */
static struct service_loaded *find(struct service *s, const char *name, struct errmsg *why)
{
    struct service_models *models = &s->models;
    for (int32_t i = 0; i < models->n_loaded; i++) {
        if (strcasecmp(models->loaded[i]->name, name) == 0) return models->loaded[i];
    }
    refresh_installed(s);
    for (int32_t i = 0; i < models->n_installed; i++) {
        const struct library_entry *e = &models->installed[i];
        if (strcasecmp(e->name, name) != 0) continue;
        struct service_loaded *m = add(s, e->name, e->path);
        if (!m) {
            err_set(why, ERR_LIMIT, "%s is not loaded, and %d other models are: no more fit", name,
                    SERVICE_MODELS_MAX);
            return NULL;
        }
        start_loading(m);
        return m;
    }
    return models->loaded[0]; /* unknown names mean the default */
}

static void try_again(struct service *s, struct service_loaded *m)
{
    if (m->has_loader || clock_ms_since(m->failed_ns) < RETRY_MS) return;
    if (m == s->models.loaded[0]) {
        start_default(s);
    } else {
        start_loading(m);
    }
}

struct service_loaded *service_model_use(struct service *s, const char *name, struct errmsg *why)
{
    struct service_loaded *m = name && *name ? find(s, name, why) : s->models.loaded[0];
    if (!m) return NULL;
    if (m->state == SERVICE_MODEL_FAILED) try_again(s, m);
    if (m->state == SERVICE_READY) return m;
    if (m->state == SERVICE_MODEL_FAILED) {
        err_set(why, ERR_NOT_FOUND, "%s", m->error.text);
    } else {
        err_set(why, ERR_NOT_FOUND, "loading model %s; try again in a moment", m->name);
    }
    return NULL;
}

/* ---- What others see ---- */

int32_t service_n_models(struct service *s)
{
    struct service_models *models = &s->models;
    refresh_installed(s);
    int32_t n = models->n_loaded;
    for (int32_t i = 0; i < models->n_installed; i++) n += !is_loaded(models, &models->installed[i]);
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
    out->n_ctx = scheduler_n_ctx(m->scheduler);
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
                                  .isa = ""};
    if (i >= 0 && i < models->n_loaded) {
        const struct service_loaded *m = models->loaded[i];
        out->name = m->name;
        out->path = m->path;
        out->state = m->state;
        out->bytes = m->bytes;
        if (m->state == SERVICE_MODEL_FAILED) out->error = m->error.text;
        if (m->state == SERVICE_READY) describe_ready(m, out);
        return;
    }
    i -= models->n_loaded;
    for (int32_t j = 0; j < models->n_installed; j++) {
        const struct library_entry *e = &models->installed[j];
        if (is_loaded(models, e) || i-- != 0) continue;
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
    const struct service_loaded *m = models->loaded[0];
    for (int32_t i = 0; name && i < models->n_loaded; i++) {
        if (strcasecmp(models->loaded[i]->name, name) == 0) m = models->loaded[i];
    }
    return m->state == SERVICE_READY ? m->model->tokenizer : NULL;
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
    struct service_loaded *m = s->models.loaded[0];
    struct scheduler_seq_state states[SLOTS_MAX];
    if (m->state != SERVICE_READY) return 0;
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

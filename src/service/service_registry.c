/* The registry of models: loaded on first use and once for all who want them, unloaded when idle or when
 * memory is short, failed when their file is lost.
 *
 * Which file a model is comes from the options or from the library, never from a request: a client cannot
 * make the daemon open a path. Loading and unloading take a thread each time, since both wait for the disk; a
 * model has one of them at most. A load that failed is not repeated for each request: the file must have
 * changed, or somebody must ask for it (service_load). */
#include "service/service_impl.h"

#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/library.h"
#include "model/model.h"
#include "model/weight_pack.h"
#include "os/clock.h"
#include "os/machine.h"
#include "os/thread.h"
#include "os/usage.h"

#define LOOK_MS 1e3 /* between looks whether a model's file has been replaced, or a missing one has come */

static char *name_of_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = mem_dup_str(slash ? slash + 1 : path);
    size_t len = strlen(name);
    if (len > 5 && strcasecmp(name + len - 5, ".gguf") == 0) name[len - 5] = '\0';
    return name;
}

static void set_state(struct service_loaded *m, enum service_state state)
{
    m->state = state;
    m->service->models.version++;
}

/* ---- Loading ---- */

/* What the model may take, KV included: the machine's part, or that of limits.memory. */
static int64_t memory_for(const struct service *s)
{
    struct machine_sample sample;
    machine_read(NULL, &sample);
    int64_t ours = machine_memory_ours(&sample), limit = s->o.governor.memory_limit;
    return limit > 0 && limit < ours ? limit : ours;
}

static enum err load(struct service_loaded *m, struct errmsg *msg)
{
    const struct service *s = m->service;
    if (m->elsewhere) return service_remote_open(m, msg);
    struct engine *engine = NULL;
    struct engine_options with = s->o.engine;
    struct scheduler_options options = {.n_active = s->o.n_active,
                                        .n_seqs = s->o.n_seqs,
                                        .n_ctx = s->o.n_ctx,
                                        .throttle = s->govern.throttle,
                                        .window_ms = s->o.window_ms};
    enum err err = model_open(m->path, &m->model, msg);
    if (err) return err;
    if (options.n_ctx > m->model->p.n_ctx_train) options.n_ctx = m->model->p.n_ctx_train;
    with.memory_bytes = memory_for(s);
    err = engine_open(m->model, &with, &engine, msg);
    if (err) return err;
    m->isa = engine_isa(engine);
    fim_detect(m->model, &m->fim);
    weight_pack_model_key(m->model, m->key);
    precision_key(engine_precision(engine), m->key + strlen(m->key));
    err = scheduler_new(engine, &options, &m->scheduler, msg);
    if (!err) m->n_ctx = scheduler_n_ctx(m->scheduler);
    return err;
}

/* Thread: the worker. */
static void *load_main(void *arg)
{
    struct service_loaded *m = arg;
    struct errmsg msg = {0};
    int64_t start = clock_ns();
    enum err err = load(m, &msg);
    m->load_ms = clock_ms_since(start);
    if (err) {
        model_unref(&m->model);
        m->error = msg;
    }
    (void)service_mail_post(&m->service->box, SERVICE_MAIL_LOADED, NULL, m, NULL, 0);
    return NULL;
}

/* Thread: the worker. What is in memory of the KV goes to disk. */
static void *unload_main(void *arg)
{
    struct service_loaded *m = arg;
    scheduler_free(&m->scheduler);
    model_unref(&m->model);
    remote_free(&m->remote);
    (void)service_mail_post(&m->service->box, SERVICE_MAIL_UNLOADED, NULL, m, NULL, 0);
    return NULL;
}

static bool start_worker(struct service_loaded *m, void *(*run)(void *arg))
{
    int failure = thread_create(&m->worker, run, m);
    m->has_worker = failure == 0;
    if (failure) err_set(&m->error, ERR_LIMIT, "cannot start a thread: %s", strerror(failure));
    return failure == 0;
}

static void fail(struct service_loaded *m)
{
    set_state(m, SERVICE_MODEL_FAILED);
    m->looked_ns = clock_ns();
}

/* Find the file that the options name. */
static bool look_up(struct service *s, struct service_loaded *m)
{
    char *path = NULL;
    enum err err = *m->setting ? library_find(s->o.models_dir, m->setting, &path, &m->error)
                               : library_default(s->o.models_dir, &path, &m->error);
    if (err) return false;
    mem_free(m->path);
    mem_free(m->name);
    m->path = path;
    m->name = name_of_path(path);
    return true;
}

/* Whether this model, those that stay and, if so asked, those that are on their way out are too many, or too
 * much for limits.memory_mb beside the rest that the daemon has. */
static bool is_tight(const struct service *s, const struct service_loaded *for_model, bool counts_leaving)
{
    int64_t limit = s->o.governor.memory_limit, bytes = for_model->bytes;
    struct usage usage = {0};
    int32_t n = 0;
    for (int32_t i = 0; i < s->models.n_known; i++) {
        const struct service_loaded *m = s->models.known[i];
        bool is_staying = m->state == SERVICE_READY || m->state == SERVICE_LOADING;
        if (m->elsewhere || m == for_model ||
            !(is_staying || (counts_leaving && m->state == SERVICE_UNLOADING)))
            continue;
        n += is_staying;
        bytes += m->bytes;
    }
    if (limit > 0) usage_self(&usage);
    return n >= SERVICE_LOADED_MAX || (limit > 0 && bytes + usage.rss_anon_bytes > limit);
}

/* Nobody waits for its answers: what it computes is the service's own idea. */
static bool is_spare(const struct service *s, const struct service_loaded *m)
{
    for (const struct service_run *run = s->runs; run; run = run->next) {
        if (run->model == m && run->priority <= SERVICE_TYPING) return false;
    }
    return m->state == SERVICE_READY;
}

/* Unload what nobody waits for, the least recently used first, until there is room. */
static void make_room(struct service *s, const struct service_loaded *for_model)
{
    while (is_tight(s, for_model, false)) {
        struct service_loaded *oldest = NULL;
        for (int32_t i = 0; i < s->models.n_known; i++) {
            struct service_loaded *m = s->models.known[i];
            if (m->elsewhere || m == for_model || !is_spare(s, m)) continue;
            if (!oldest || m->last_use_ns < oldest->last_use_ns) oldest = m;
        }
        if (!oldest) return;
        service_registry_unload(s, oldest);
        service_registry_settle(s);
    }
}

static bool is_any_leaving(const struct service *s)
{
    for (int32_t i = 0; i < s->models.n_known; i++) {
        if (s->models.known[i]->state == SERVICE_UNLOADING) return true;
    }
    return false;
}

static void begin_loading(struct service *s, struct service_loaded *m)
{
    m->waits_for_room = false;
    m->n_loads++;
    set_state(m, SERVICE_LOADING);
    service_watch_count(s, METRIC_MODEL_LOADS, 0, 1);
    if (!start_worker(m, load_main)) fail(m);
}

static void start_loading(struct service *s, struct service_loaded *m)
{
    m->error = (struct errmsg){0};
    m->is_lost = m->is_wanted = m->is_unwanted = false;
    if (m->elsewhere) {
        begin_loading(s, m);
        return;
    }
    if (m->setting && !look_up(s, m)) {
        fail(m);
        return;
    }
    m->refused = file_id(m->path); /* if it will be: a file that is changed meanwhile is another */
    m->bytes = file_size(m->path);
    make_room(s, m);
    m->waits_for_room = is_any_leaving(s) && is_tight(s, m, true);
    if (m->waits_for_room) {
        set_state(m, SERVICE_LOADING); /* once those have gone */
    } else {
        begin_loading(s, m);
    }
}

/* ---- The loop's part ---- */

static void on_loaded(struct service *s, struct service_loaded *m)
{
    if (m->remote) {
        set_state(m, SERVICE_READY);
        log_line(LOG_INFO, "%s: a model on other machines: %s", m->name, m->elsewhere->at.urls);
    } else if (m->scheduler) {
        set_state(m, SERVICE_READY);
        m->looked_ns = clock_ns();
        service_watch_time(s, METRIC_MODEL_LOAD_SECONDS, 0, m->load_ms);
        service_registry_touch(m);
        service_govern_start(s, m);
        log_line(LOG_INFO, "%s: loaded in %.0f ms", m->name, m->load_ms);
    } else {
        fail(m);
        service_watch_count(s, METRIC_MODEL_LOAD_FAILURES, 0, 1);
        log_line(LOG_WARN, "%s: cannot be used: %s", m->name, m->error.text);
    }
    service_wait_over(s);
    if (m->is_unwanted) service_registry_unload(s, m);
}

/* ---- Unloading ---- */

int32_t service_registry_n_runs(const struct service *s, const struct service_loaded *m)
{
    int32_t n = 0;
    for (const struct service_run *run = s->runs; run; run = run->next) n += run->model == m;
    return n;
}

void service_registry_unload(struct service *s, struct service_loaded *m)
{
    m->is_unwanted = m->state == SERVICE_LOADING;
    m->is_wanted = false;
    if (m->state != SERVICE_READY) return;
    set_state(m, SERVICE_UNLOADING);
    for (struct service_run *run = s->runs; run; run = run->next) {
        if (run->model == m && run->priority > SERVICE_TYPING) service_run_cancel(run);
    }
}

void service_registry_lose(struct service *s, struct service_loaded *m, const struct errmsg *msg)
{
    if (m->is_lost || (m->state != SERVICE_READY && m->state != SERVICE_UNLOADING)) return;
    m->is_lost = true;
    m->error = *msg;
    set_state(m, SERVICE_UNLOADING);
    log_line(LOG_ERROR, "%s: %s", m->name, msg->text);
    for (struct service_run *run = s->runs; run; run = run->next) {
        if (run->model == m && !run->is_over) service_run_cancel(run);
    }
}

static void on_unloaded(struct service *s, struct service_loaded *m)
{
    for (int j = 0; j < SERVICE_MEMOS; j++) {
        fim_memo_clear(&m->memos[j].memo);
        m->memos[j] = (struct service_memo){0};
    }
    service_watch_count(s, METRIC_MODEL_UNLOADS, 0, 1);
    log_line(LOG_INFO, "%s: unloaded", m->name);
    set_state(m, m->is_lost ? SERVICE_MODEL_FAILED : SERVICE_INSTALLED);
    m->refused = (struct file_id){0};
    for (int32_t i = 0; i < s->models.n_known; i++) {
        struct service_loaded *other = s->models.known[i];
        if (other->waits_for_room && !is_any_leaving(s)) begin_loading(s, other);
    }
    if (m->is_wanted) start_loading(s, m);
    service_wait_over(s); /* who still waits for it has it loaded again */
}

void service_registry_settle(struct service *s)
{
    for (int32_t i = 0; i < s->models.n_known; i++) {
        struct service_loaded *m = s->models.known[i];
        if (m->state != SERVICE_UNLOADING || m->has_worker || service_registry_n_runs(s, m) > 0) continue;
        if (!start_worker(m, unload_main))
            set_state(m, SERVICE_READY); /* no thread: as if nothing had been asked */
    }
}

void service_registry_on_mail(struct service *s, const struct service_mail *mail)
{
    struct service_loaded *m = mail->model;
    pthread_join(m->worker, NULL);
    m->has_worker = false;
    if (mail->kind == SERVICE_MAIL_LOADED) {
        on_loaded(s, m);
    } else {
        on_unloaded(s, m);
    }
}

/* ---- Wanting ---- */

void service_registry_touch(struct service_loaded *m)
{
    m->last_use_ns = clock_ns();
}

static bool is_time_to_look(struct service_loaded *m)
{
    if (clock_ms_since(m->looked_ns) < LOOK_MS) return false;
    m->looked_ns = clock_ns();
    return true;
}

/* A file that was refused is tried again when it is another, or has other bytes. */
static bool is_worth_a_try(struct service_loaded *m)
{
    static const struct file_id none = {0};
    if (m->elsewhere) return is_time_to_look(m);
    if (file_id_is_same(&m->refused, &none) && *m->path) return true;
    if (m->setting && !*m->path) return is_time_to_look(m); /* there was no such model */
    struct file_id now = file_id(m->path);
    return !file_id_is_same(&now, &m->refused);
}

bool service_registry_want(struct service *s, struct service_loaded *m)
{
    switch (m->state) {
    case SERVICE_READY:
        if (m->elsewhere || !is_time_to_look(m) || !model_is_replaced(m->model)) break;
        log_line(LOG_INFO, "%s: there is a new file; loading it", m->name);
        service_registry_unload(s, m);
        service_registry_settle(s);
        m->is_wanted = true;
        break;
    case SERVICE_UNLOADING:
        m->is_wanted = true;
        break;
    case SERVICE_INSTALLED:
        start_loading(s, m);
        break;
    case SERVICE_MODEL_FAILED:
        if (is_worth_a_try(m)) start_loading(s, m);
        break;
    case SERVICE_LOADING:
        m->is_unwanted = false;
        break;
    }
    service_registry_touch(m);
    return m->state != SERVICE_MODEL_FAILED;
}

bool service_load(struct service *s, const char *name)
{
    struct errmsg ignored;
    struct service_loaded *m = service_registry_find(s, name, &ignored);
    if (!m || (*name && strcasecmp(m->name, name) != 0)) return false;
    m->refused = (struct file_id){0};
    if (m->state == SERVICE_MODEL_FAILED) {
        start_loading(s, m);
    } else {
        (void)service_registry_want(s, m);
    }
    return true;
}

bool service_unload(struct service *s, const char *name)
{
    struct errmsg ignored;
    struct service_loaded *m = service_registry_find(s, name, &ignored);
    if (!m || (*name && strcasecmp(m->name, name) != 0)) return false;
    service_registry_unload(s, m);
    service_registry_settle(s);
    return true;
}

struct service_loaded *service_registry_idle(const struct service *s, double idle_ms)
{
    struct service_loaded *found = NULL;
    for (int32_t i = 0; i < s->models.n_known; i++) {
        struct service_loaded *m = s->models.known[i];
        if (m->elsewhere || m->state != SERVICE_READY) continue; /* those take next to nothing */
        if (clock_ms_since(m->last_use_ns) < idle_ms) continue;
        if (service_registry_n_runs(s, m) > 0) continue;
        if (!found || m->last_use_ns < found->last_use_ns) found = m;
    }
    return found;
}

/* ---- Finding ---- */

/* The model on other machines of that name; null: there is none. */
static const struct service_remote *remote_named(const struct service *s, const char *name)
{
    for (int32_t i = 0; name && i < s->o.n_remotes; i++) {
        if (strcasecmp(s->o.remotes[i].name, name) == 0) return &s->o.remotes[i];
    }
    return NULL;
}

static struct service_loaded *add(struct service *s, const char *name, const char *path, const char *setting,
                                  const char *role)
{
    struct service_models *models = &s->models;
    if (models->n_known == SERVICE_MODELS_MAX) return NULL;
    struct service_loaded *m = MEM_NEW(struct service_loaded);
    m->service = s;
    m->name = mem_dup_str(name);
    m->path = mem_dup_str(path);
    m->setting = setting;
    m->role = role;
    m->elsewhere = remote_named(s, setting);
    m->backend = m->elsewhere ? &service_elsewhere : &service_local;
    m->state = SERVICE_INSTALLED;
    models->known[models->n_known++] = m;
    return m;
}

struct service_loaded *service_registry_find(struct service *s, const char *name, struct errmsg *why)
{
    struct service_models *models = &s->models;
    for (int32_t i = 0; name && *name && i < models->n_known; i++) {
        if (strcasecmp(models->known[i]->name, name) == 0) return models->known[i];
    }
    const struct service_remote *remote = remote_named(s, name);
    if (remote) {
        struct service_loaded *m = add(s, remote->name, "", remote->name, "");
        if (!m) err_set(why, ERR_LIMIT, "%s: more than %d models were asked for", name, SERVICE_MODELS_MAX);
        return m;
    }
    if (name && *name) service_model_refresh(s);
    for (int32_t i = 0; name && *name && i < models->n_installed; i++) {
        const struct library_entry *e = &models->installed[i];
        if (strcasecmp(e->name, name) != 0) continue;
        struct service_loaded *m = add(s, e->name, e->path, NULL, "");
        if (!m) err_set(why, ERR_LIMIT, "%s: more than %d models were asked for", name, SERVICE_MODELS_MAX);
        return m;
    }
    return models->known[0];
}

/* ---- Life ---- */

/* The model of a setting: one that is there for another already, or a new one. */
static struct service_loaded *of_setting(struct service *s, const char *setting, const char *role)
{
    for (int32_t i = 0; i < s->models.n_known; i++) {
        struct service_loaded *m = s->models.known[i];
        if (m->setting && strcasecmp(m->setting, setting) == 0) return m;
    }
    char *name = name_of_path(setting);
    struct service_loaded *m = add(s, name, "", setting, role);
    mem_free(name);
    return m;
}

/* "python=NAME,rust=NAME". */
static enum err read_languages(struct service *s, struct errmsg *msg)
{
    struct service_models *models = &s->models;
    models->language_names = mem_dup_str(s->o.languages);
    char *rest = models->language_names;
    for (char *part; (part = strsep(&rest, ", "));) {
        if (!*part) continue;
        char *name = strchr(part, '=');
        if (!name || !name[1])
            return err_set(msg, ERR_ARG, "models.languages: \"%s\" is not LANGUAGE=MODEL", part);
        *name++ = '\0';
        const struct language *language = language_of_id(part);
        if (!language) return err_set(msg, ERR_ARG, "models.languages: there is no language \"%s\"", part);
        if (models->n_languages == SERVICE_LANGUAGES_MAX)
            return err_set(msg, ERR_ARG, "models.languages: more than %d languages", SERVICE_LANGUAGES_MAX);
        models->languages[models->n_languages].language = language;
        models->languages[models->n_languages++].model = of_setting(s, name, "language");
    }
    return OK;
}

enum err service_registry_init(struct service *s, struct errmsg *msg)
{
    const char *main_setting = s->o.default_model;
    (void)add(s, *main_setting ? main_setting : "default", "", main_setting, "main");
    if (*s->o.instant_model) s->models.instant = of_setting(s, s->o.instant_model, "instant");
    if (s->models.instant == s->models.known[0]) s->models.instant = NULL;
    enum err err = read_languages(s, msg);
    if (err) return err;
    for (int32_t i = 0; i < s->o.n_remotes; i++) (void)of_setting(s, s->o.remotes[i].name, "");
    if (s->models.instant) start_loading(s, s->models.instant);
    start_loading(s, s->models.known[0]);
    return OK;
}

void service_registry_stop(struct service *s)
{
    for (int32_t i = 0; i < s->models.n_known; i++) {
        struct service_loaded *m = s->models.known[i];
        if (m->has_worker) pthread_join(m->worker, NULL);
        m->has_worker = false;
        scheduler_free(&m->scheduler);
        remote_free(&m->remote);
    }
}

void service_registry_clear(struct service *s)
{
    struct service_models *models = &s->models;
    for (int32_t i = 0; i < models->n_known; i++) {
        struct service_loaded *m = models->known[i];
        for (int j = 0; j < SERVICE_MEMOS; j++) fim_memo_clear(&m->memos[j].memo);
        model_unref(&m->model);
        mem_free(m->name);
        mem_free(m->path);
        mem_free(m);
    }
    mem_free(models->language_names);
    library_list_free(models->installed, models->n_installed);
}

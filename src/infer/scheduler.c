/* The scheduler's outside and its thread: the queue, whose turn it is, when to wait, when to interrupt. */
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "infer/engine_impl.h"
#include "infer/scheduler_impl.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/pages.h"
#include "os/thread.h"
#include "os/throttle.h"

#define DEFAULT_ACTIVE 16
#define DEFAULT_SEQS   32
#define MAX_SEQS       1024 /* far above what one machine serves; catches nonsense */

/* Nothing was asked for so long: time to tidy up. Long enough to be a pause in somebody's typing. */
#define QUIET_NS ((int64_t)2000000000)

static void unref(struct scheduler_job *j)
{
    /* Release what this owner wrote, acquire what the other did. */
    if (atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) == 1) mem_free(j);
}

static void report(struct scheduler_job *j)
{
    j->r.done(j->r.ctx, &j->report);
    unref(j);
}

/* --- Interrupting (with the lock) --------------------------------------------------------------------- */

static bool people_wait(const struct scheduler *s)
{
    for (const struct scheduler_job *j = s->waiting; j; j = j->next) {
        if (!scheduler_is_background(j) && !scheduler_is_cancelled(j)) return true;
    }
    return false;
}

/* Somebody still wants what is being computed. */
static bool is_wanted(const struct scheduler *s)
{
    if (s->n_pass == 0) return !s->waiting && !s->is_closing;
    bool only_people = people_wait(s);
    for (int32_t i = 0; i < s->n_pass; i++) {
        const struct scheduler_job *j = s->pass[i];
        if (!scheduler_is_cancelled(j) && !(only_people && scheduler_is_background(j))) return true;
    }
    return false;
}

/* Something has changed that the engine's thread should know of. */
static void notify(struct scheduler *s)
{
    if (s->is_computing && !is_wanted(s)) atomic_store_explicit(&s->interrupt, true, memory_order_relaxed);
    pthread_cond_signal(&s->changed);
}

/* What other threads may see of the engine. */
static void publish(struct scheduler *s)
{
    s->state.kv_bytes = engine_kv_bytes(s->engine);
    s->state.n_passes = s->n_passes;
    s->state.n_passes_lost = s->n_passes_lost;
    s->state.n_tokens_passed = s->n_tokens_passed;
    s->state.is_packed = s->engine->is_packed;
    for (int32_t i = 0; i < s->n_slots; i++) {
        const struct slot *slot = &s->slots[i];
        struct scheduler_seq_state *out = &s->seqs[i];
        *out = (struct scheduler_seq_state){
            .id = i, .n_tokens = engine_seq_len(slot->seq), .n_ctx = engine_seq_n_ctx(slot->seq)};
        if (!slot->job) continue;
        out->is_processing = true;
        out->is_prefilling = job_is_prefilling(slot->job->job);
        out->n_prompt = slot->job->request.n_prompt;
        out->n_generated = slot->job->report.result.n_generated;
    }
}

void scheduler_computing_begin(struct scheduler *s, int32_t n_pass)
{
    pthread_mutex_lock(&s->lock);
    publish(s);
    s->n_pass = n_pass;
    s->is_computing = true;
    atomic_store_explicit(&s->interrupt, !is_wanted(s), memory_order_relaxed);
    pthread_mutex_unlock(&s->lock);
}

void scheduler_computing_end(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_computing = false;
    pthread_mutex_unlock(&s->lock);
}

/* --- Whose turn it is (the engine's thread, with the lock) --------------------------------------------- */

static struct turn *turn_of(struct scheduler *s, uint64_t client)
{
    for (int32_t i = 0; i < TURNS_MAX; i++) {
        if (s->turns[i].number && s->turns[i].client == client) return &s->turns[i];
    }
    return NULL;
}

static int64_t last_turn(struct scheduler *s, uint64_t client)
{
    const struct turn *turn = turn_of(s, client);
    return turn ? turn->number : 0;
}

static void note_turn(struct scheduler *s, uint64_t client)
{
    struct turn *turn = turn_of(s, client), *oldest = s->turns;
    for (int32_t i = 0; i < TURNS_MAX; i++) {
        if (s->turns[i].number < oldest->number) oldest = &s->turns[i];
    }
    if (!turn) turn = oldest;
    *turn = (struct turn){.client = client, .number = ++s->n_turns};
}

static bool is_before(struct scheduler *s, const struct scheduler_job *a, const struct scheduler_job *b)
{
    if (a->r.priority != b->r.priority) return a->r.priority < b->r.priority;
    int64_t turn_a = last_turn(s, a->r.client), turn_b = last_turn(s, b->r.client);
    return turn_a != turn_b ? turn_a < turn_b : a->number < b->number;
}

/* The best of those that wait, if one more of its kind may run. It stays in the list. */
static struct scheduler_job **find_next(struct scheduler *s)
{
    struct scheduler_job **best = NULL;
    for (struct scheduler_job **j = &s->waiting; *j; j = &(*j)->next) {
        if (!best || is_before(s, *j, *best)) best = j;
    }
    if (!best) return NULL;
    int32_t n_people = 0;
    for (int32_t i = 0; i < s->n_running; i++) n_people += !scheduler_is_background(s->running[i]);
    if (scheduler_is_background(*best)) return n_people == 0 && s->n_running < s->n_background ? best : NULL;
    return n_people < s->n_active ? best : NULL;
}

static struct scheduler_job *take(struct scheduler *s, struct scheduler_job **link)
{
    struct scheduler_job *j = *link;
    *link = j->next;
    s->state.n_waiting--;
    return j;
}

/* Into `running`: by priority, then first come. */
static void insert(struct scheduler *s, struct scheduler_job *j)
{
    int32_t at = s->n_running++;
    for (; at > 0; at--) {
        const struct scheduler_job *before = s->running[at - 1];
        bool is_better = j->r.priority < before->r.priority ||
                         (j->r.priority == before->r.priority && j->number < before->number);
        if (!is_better) break;
        s->running[at] = s->running[at - 1];
    }
    s->running[at] = j;
}

void scheduler_leave(struct scheduler *s, struct scheduler_job *j)
{
    pthread_mutex_lock(&s->lock);
    int32_t at = 0;
    while (s->running[at] != j) at++;
    s->n_running--;
    memmove(s->running + at, s->running + at + 1, (size_t)(s->n_running - at) * sizeof *s->running);
    s->n_left++;
    publish(s);
    s->quiet_ns = clock_ns() + QUIET_NS;
    pthread_mutex_unlock(&s->lock);
    report(j);
}

bool scheduler_model_is_lost(const struct scheduler *s, struct scheduler_job *j)
{
    struct scheduler_report *r = &j->report;
    struct errmsg msg;
    if (engine_check(s->engine, &msg) == OK) return false;
    r->err = ERR_IO;
    r->msg = msg;
    r->is_model_lost = true;
    return true;
}

/* Ask what to run. False: it failed and was reported. */
static bool prepare(const struct scheduler *s, struct scheduler_job *j)
{
    int64_t start = clock_ns();
    if (!scheduler_model_is_lost(s, j)) j->report.err = j->r.prepare(j->r.ctx, &j->request, &j->report.msg);
    j->report.prepare_ms = clock_ms_since(start);
    j->request.cancel = &j->cancel;
    if (!j->report.err) return true;
    j->report.outcome = SCHEDULER_FAILED;
    j->report.queue_ms = clock_ms_since(j->submitted_ns);
    report(j);
    return false;
}

static void admit(struct scheduler *s)
{
    struct scheduler_job **next;
    while (!s->is_closing && (next = find_next(s))) {
        struct scheduler_job *j = take(s, next);
        note_turn(s, j->r.client);
        pthread_mutex_unlock(&s->lock);
        bool is_ready = prepare(s, j);
        pthread_mutex_lock(&s->lock);
        if (!is_ready) continue;
        if (s->is_closing) atomic_store_explicit(&j->cancel, true, memory_order_relaxed);
        insert(s, j);
    }
}

static void drop_cancelled(struct scheduler *s)
{
    struct scheduler_job **link = &s->waiting;
    while (*link) {
        if (!scheduler_is_cancelled(*link) && !s->is_closing) {
            link = &(*link)->next;
            continue;
        }
        struct scheduler_job *j = take(s, link);
        pthread_mutex_unlock(&s->lock);
        j->report.outcome = SCHEDULER_CANCELLED;
        j->report.queue_ms = clock_ms_since(j->submitted_ns);
        report(j);
        pthread_mutex_lock(&s->lock);
        link = &s->waiting; /* the list may have changed */
    }
}

/* --- The thread --------------------------------------------------------------------------------------- */

/* When the first that waits has been held back long enough for others to join; 0: now. */
static int64_t window_end(const struct scheduler *s)
{
    if (s->window_ns == 0 || !s->waiting || s->n_running > 0 || s->is_closing) return 0;
    if (s->state.n_waiting >= s->n_active) return 0;
    int64_t end = s->waiting->submitted_ns + s->window_ns;
    return clock_ns() < end ? end : 0;
}

/* Until something changes, or a time of clock_ns() (0: none) has come. */
static void wait(struct scheduler *s, int64_t until_ns)
{
    if (until_ns == 0) {
        pthread_cond_wait(&s->changed, &s->lock);
        return;
    }
    struct timespec at;
    int64_t left = until_ns - clock_ns();
    if (left <= 0) return;
    clock_gettime(CLOCK_MONOTONIC, &at);
    left += at.tv_nsec;
    at.tv_sec += (time_t)(left / 1000000000);
    at.tv_nsec = (long)(left % 1000000000);
    pthread_cond_timedwait(&s->changed, &s->lock, &at);
}

/* How long the throttle wants us to do nothing. What is being closed is not held up. */
static int64_t throttled_ns(const struct scheduler *s)
{
    return s->throttle && !s->is_closing ? throttle_rest_ns(s->throttle) : 0;
}

/* Something is to be done that takes no computing. */
static bool has_errands(const struct scheduler *s)
{
    if (s->is_closing || s->kv_bytes >= 0) return true;
    for (int32_t i = 0; i < s->n_running; i++) {
        if (scheduler_is_cancelled(s->running[i])) return true;
    }
    for (const struct scheduler_job *j = s->waiting; j; j = j->next) {
        if (scheduler_is_cancelled(j)) return true;
    }
    return false;
}

/* There is work, but its time has not come. Meanwhile no prompt is built, so that the newest is, and who
 * cancels does not wait. */
static void wait_throttled(struct scheduler *s, int64_t ns)
{
    int64_t until_ns = clock_ns() + ns;
    pthread_mutex_unlock(&s->lock);
    scheduler_end_cancelled(s);
    pthread_mutex_lock(&s->lock);
    if (!has_errands(s)) wait(s, until_ns);
}

static void change_kv(struct scheduler *s)
{
    int64_t bytes = s->kv_bytes;
    s->kv_bytes = -1;
    if (bytes < 0) return;
    pthread_mutex_unlock(&s->lock);
    engine_set_kv_bytes(s->engine, bytes);
    pthread_mutex_lock(&s->lock);
    publish(s);
}

/* Nobody wants anything: tidy up after a while, then sleep until somebody does. */
static void rest(struct scheduler *s)
{
    if (s->quiet_ns == 0 || clock_ns() < s->quiet_ns) {
        wait(s, s->quiet_ns);
        return;
    }
    int64_t throttled = throttled_ns(s);
    if (throttled) {
        wait(s, clock_ns() + throttled);
        return;
    }
    s->quiet_ns = 0;
    pthread_mutex_unlock(&s->lock);
    scheduler_tidy(s);
    pthread_mutex_lock(&s->lock);
    publish(s);
}

static void *thread_main(void *arg)
{
    struct scheduler *s = arg;
    engine_place_caller(s->engine);
    pthread_mutex_lock(&s->lock);
    for (;;) {
        drop_cancelled(s);
        change_kv(s);
        if (s->is_closing && s->n_running == 0) break;
        int64_t hold_until = window_end(s);
        if (hold_until) {
            wait(s, hold_until);
            continue;
        }
        int64_t throttled = s->waiting || s->n_running ? throttled_ns(s) : 0;
        if (throttled) {
            wait_throttled(s, throttled);
            continue;
        }
        admit(s);
        if (s->n_running == 0) {
            if (!s->waiting && !s->is_closing) rest(s);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        scheduler_begin_jobs(s);
        scheduler_run_pass(s);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* --- Life --------------------------------------------------------------------------------------------- */

static size_t logits_bytes(const struct scheduler *s)
{
    return sizeof(float) * (size_t)(s->n_slots + DRAFT_MAX) * (size_t)s->engine->model->p.n_vocab;
}

static enum err open_slots(struct scheduler *s, int32_t n_ctx, struct errmsg *msg)
{
    size_t n = (size_t)s->n_slots;
    s->slots = mem_try(n, sizeof *s->slots);
    s->seqs = mem_try(n, sizeof *s->seqs);
    s->running = mem_try(n, sizeof *s->running);
    s->pass = mem_try(n, sizeof *s->pass);
    s->spans = mem_try(n * (TOKEN_RUNS_MAX + 1), sizeof *s->spans);
    s->logits = pages_reserve(logits_bytes(s));
    if (!s->slots || !s->seqs || !s->running || !s->pass || !s->spans || !s->logits)
        return err_set(msg, ERR_NOMEM, "not enough memory for %d sequences", s->n_slots);
    for (int32_t i = 0; i < s->n_slots; i++) {
        enum err e = engine_seq_open(s->engine, n_ctx, &s->slots[i].seq, msg);
        if (e) return e;
    }
    return OK;
}

/* Waits with a deadline go by the clock of clock_ns, which nobody sets. */
static void init_condition(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

enum err scheduler_new(struct engine *take_engine, const struct scheduler_options *o, struct scheduler **out,
                       struct errmsg *msg)
{
    struct scheduler *s = MEM_NEW(struct scheduler);
    *out = NULL;
    s->engine = take_engine;
    s->throttle = o->throttle;
    s->kv_bytes = -1;
    pthread_mutex_init(&s->lock, NULL);
    init_condition(&s->changed);
    s->n_active = o->n_active ? o->n_active : DEFAULT_ACTIVE;
    s->n_slots = o->n_seqs ? o->n_seqs : DEFAULT_SEQS;
    if (s->n_slots <= s->n_active) s->n_slots = s->n_active + 1; /* one for the background */
    s->n_background = s->n_slots - s->n_active;
    s->window_ns = (int64_t)(o->window_ms * 1e6);
    enum err e = OK;
    if (s->n_active < 1 || s->n_slots > MAX_SEQS)
        e = err_set(msg, ERR_ARG, "%d requests at once in %d sequences; allowed are 1 to %d", s->n_active,
                    s->n_slots, MAX_SEQS);
    if (e) s->n_slots = 0;
    if (!e) e = open_slots(s, o->n_ctx, msg);
    if (e) goto fail;
    publish(s);
    int failure = thread_create(&s->thread, thread_main, s);
    if (failure) {
        e = err_set(msg, ERR_LIMIT, "cannot start a thread: %s", strerror(failure));
        goto fail;
    }
    s->has_thread = true;
    *out = s;
    return OK;

fail:
    scheduler_free(&s);
    return e;
}

static void end_thread(struct scheduler *s)
{
    if (!s->has_thread) return;
    pthread_mutex_lock(&s->lock);
    s->is_closing = true;
    for (int32_t i = 0; i < s->n_running; i++)
        atomic_store_explicit(&s->running[i]->cancel, true, memory_order_relaxed);
    notify(s);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
}

void scheduler_free(struct scheduler **sp)
{
    struct scheduler *s = *sp;
    *sp = NULL;
    if (!s) return;
    end_thread(s);
    for (int32_t i = 0; s->slots && i < s->n_slots; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->seq && slot->is_untidy) engine_seq_save(slot->seq);
        engine_seq_close(&slot->seq);
    }
    pages_release(s->logits, logits_bytes(s));
    mem_free(s->slots);
    mem_free(s->seqs);
    mem_free(s->running);
    mem_free(s->pass);
    mem_free(s->spans);
    engine_close(&s->engine);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

/* --- Any thread --------------------------------------------------------------------------------------- */

const struct model *scheduler_model(const struct scheduler *s)
{
    return engine_model(s->engine);
}

int32_t scheduler_n_ctx(const struct scheduler *s)
{
    return engine_seq_n_ctx(s->slots[0].seq);
}

struct engine *scheduler_engine(struct scheduler *s)
{
    return s->engine;
}

void scheduler_set_kv_bytes(struct scheduler *s, int64_t bytes)
{
    pthread_mutex_lock(&s->lock);
    s->kv_bytes = bytes > 0 ? bytes : 0;
    notify(s);
    pthread_mutex_unlock(&s->lock);
}

struct scheduler_job *scheduler_submit(struct scheduler *s, const struct scheduler_request *r)
{
    struct scheduler_job *j = MEM_NEW(struct scheduler_job);
    j->r = *r;
    j->submitted_ns = clock_ns();
    j->report.seq = -1;
    atomic_init(&j->refs, 2);
    pthread_mutex_lock(&s->lock);
    j->number = ++s->n_submitted;
    struct scheduler_job **end = &s->waiting;
    while (*end) end = &(*end)->next;
    *end = j;
    s->state.n_waiting++;
    notify(s);
    pthread_mutex_unlock(&s->lock);
    return j;
}

void scheduler_cancel(struct scheduler *s, struct scheduler_job *job)
{
    pthread_mutex_lock(&s->lock);
    atomic_store_explicit(&job->cancel, true, memory_order_relaxed);
    notify(s);
    pthread_mutex_unlock(&s->lock);
}

void scheduler_release(struct scheduler_job **job)
{
    if (*job) unref(*job);
    *job = NULL;
}

void scheduler_state(struct scheduler *s, struct scheduler_state *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->state;
    out->n_running = s->n_running;
    pthread_mutex_unlock(&s->lock);
}

int32_t scheduler_seqs(struct scheduler *s, struct scheduler_seq_state *out, int32_t max)
{
    pthread_mutex_lock(&s->lock);
    for (int32_t i = 0; i < s->n_slots && i < max; i++) out[i] = s->seqs[i];
    pthread_mutex_unlock(&s->lock);
    return s->n_slots;
}

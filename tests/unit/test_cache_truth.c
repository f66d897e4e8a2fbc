/* Caches are never wrong: whatever somebody does at random in an editor, a service with caches answers what
 * one without them does, and what was answered before is not computed again.
 *
 * Two services see the same edits and the same questions; both have the stub in place of an engine
 * (support/stub_scheduler.h), which answers by every byte that the prompt shows. The second one's answers are
 * the truth. INLINE_TEST_SEED chooses another random user. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "service/service.h"
#include "service/service_impl.h"
#include "context/project_impl.h"
#include "context/secrets.h"
#include "store/store.h"
#include "support/stub_scheduler.h"
#include "support/typist.h"

#define MODEL    FIXTURES "/models/llama.gguf"
#define TEXT_MAX ((size_t)1 << 20)
#define WAIT_S   60 /* nothing takes so long, sanitizers included */

#define PROMPT_TOKENS                                                                                        \
    1400 /* bytes, with this vocabulary: a few functions, so that documents have parts that                  \
            are not shown */
#define MAX_TOKENS    24
#define RAW_TOKENS    400 /* of a raw prompt, whose beginning is cut off in steps as it grows */
#define PROJECT_FILES 8

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SCALE 4 /* steps that are left out under sanitizers */
#else
#define SCALE 1
#endif

enum { TRUTH, CACHED, N_SIDES };

struct answer {
    bool is_done;
    enum service_outcome outcome;
    char message[128], quiet[16], stop[16], word[16], cache[16], miss[16];
    int32_t n;
    struct buf text[SERVICE_CANDIDATES_MAX], streamed;
};

struct side {
    struct service *service;
    struct store *store;         /* null: no caches */
    struct answer answer, older; /* older: of a request that was overtaken */
};

/* How somebody asks, for a while. */
struct manner {
    enum service_priority priority;
    bool is_automatic, is_raw, is_shown; /* shown: the client sends the text with each question */
    enum service_extent extent;
    int32_t max_tokens, n_candidates, n_indent;
    float temperature;
    const char *stop; /* or null */
};

struct plan {
    const char *name;
    int64_t n_steps;
    int64_t memory_bytes, disk_bytes;
    bool is_window_only, has_project, has_prefetch;
};

/* A set of hashes, by open addressing. */
#define STATES ((size_t)1 << 19) /* several times as many as are put in */

/* A prompt that was answered: what it showed of a document, for as long as that is as it was. */
#define SHOWN_MAX 2048
struct shown {
    uint64_t state;
    int document;
    size_t from, cursor, typed_to, to; /* typed_to: end of what was typed at its cursor since */
    bool is_touched;
};

struct counts {
    int64_t n_asked, n_compared, n_hits, n_repeated, n_needless, n_held, n_lost, n_shorter;
    int64_t n_overtaken, n_project_changes, n_restarts, n_kept, n_survived; /* kept: before a restart */
};

struct world {
    struct plan plan;
    uint64_t seed;
    struct secrets *secrets;
    struct typist typist;
    struct side sides[N_SIDES];
    struct manner manner;
    char dir[64], root[80]; /* where databases are; the project in there */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_awake;       /* under lock */
    bool is_engine_fast; /* it does not wait for the disk */
    uint64_t *states;    /* [STATES]; 0: free */
    struct shown *shown; /* [SHOWN_MAX], the oldest replaced */
    int64_t n_shown;
    struct counts counts;
    struct named_count {
        char name[16];
        int64_t n;
    } sources[24];
};

/* ---- Services ---- */

static void on_wake(void *ctx)
{
    struct world *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->is_awake = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for_news(struct world *w)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WAIT_S;
    pthread_mutex_lock(&w->lock);
    while (!w->is_awake) {
        if (pthread_cond_timedwait(&w->changed, &w->lock, &end)) fail_msg("nothing happens");
    }
    w->is_awake = false;
    pthread_mutex_unlock(&w->lock);
}

static struct scheduler *scheduler_of(const struct side *side)
{
    return side->service->models.known[0]->scheduler;
}

/* The indexer goes on at once, as if nobody had typed for a while, and finds what was written. */
static void settle(struct world *w)
{
    for (int i = 0; i < N_SIDES && w->plan.has_project; i++) {
        struct project *p = projects_find(w->sides[i].service->projects, w->root);
        assert_non_null(p);
        atomic_store(&p->paused_until, 0);
        assert_true(project_settle(p, WAIT_S * 1e3));
    }
}

static void open_side(struct world *w, struct side *side, bool is_cached)
{
    struct errmsg msg = {0};
    struct store_options levels = {.dir = w->plan.disk_bytes > 0 ? w->dir : "",
                                   .memory_bytes = w->plan.memory_bytes,
                                   .disk_bytes = w->plan.disk_bytes,
                                   .projects_bytes = w->plan.disk_bytes,
                                   .team = "",
                                   .wake = on_wake,
                                   .ctx = w};
    if (is_cached && store_new(&levels, &side->store, &msg)) fail_msg("%s", msg.text);
    struct service_options o = {.models_dir = "/nonexistent",
                                .default_model = MODEL,
                                .engine = {.n_threads = 1},
                                .max_tokens = MAX_TOKENS,
                                .prompt_tokens = PROMPT_TOKENS,
                                .is_window_only = w->plan.is_window_only,
                                .secrets = w->secrets,
                                .store = side->store,
                                .prefetch_mode =
                                    w->plan.has_prefetch ? SERVICE_PREFETCH_ON : SERVICE_PREFETCH_OFF,
                                .wake = on_wake,
                                .ctx = w};
    if (service_new(&o, &side->service, &msg)) fail_msg("%s", msg.text);
    for (struct service_model m;;) {
        service_model(side->service, 0, &m);
        if (m.state == SERVICE_READY) break;
        if (m.state == SERVICE_MODEL_FAILED) fail_msg("%s", m.error);
        wait_for_news(w);
        service_poll(side->service);
    }
    if (w->plan.has_project) service_hold_project(side->service, w->root);
}

static void open_sides(struct world *w)
{
    for (int i = 0; i < N_SIDES; i++) open_side(w, &w->sides[i], i == CACHED);
    settle(w);
}

static void close_sides(struct world *w)
{
    for (int i = 0; i < N_SIDES; i++) {
        service_free(&w->sides[i].service);
        store_free(&w->sides[i].store);
    }
}

/* ---- Asking ---- */

static void copy_name(char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s", name ? name : "");
}

static void on_text(void *ctx, const char *text, size_t len)
{
    struct answer *a = ctx;
    assert_false(a->is_done);
    buf_add(&a->streamed, text, len);
}

static void on_done(void *ctx, const struct service_answer *from)
{
    struct answer *a = ctx;
    assert_false(a->is_done);
    a->is_done = true;
    a->outcome = from->outcome;
    a->n = from->n_candidates;
    copy_name(a->message, sizeof a->message, from->message);
    copy_name(a->quiet, sizeof a->quiet, from->quiet);
    copy_name(a->cache, sizeof a->cache, from->cache);
    copy_name(a->miss, sizeof a->miss, from->cache_miss);
    for (int32_t i = 0; i < a->n; i++)
        buf_add(&a->text[i], from->candidates[i].text, from->candidates[i].len);
    if (a->n == 0) return;
    copy_name(a->stop, sizeof a->stop, from->candidates[0].stop);
    copy_name(a->word, sizeof a->word, from->candidates[0].stopping_word);
}

static void answer_reset(struct answer *a)
{
    a->is_done = false;
    a->n = 0;
    a->outcome = SERVICE_OK;
    a->message[0] = a->quiet[0] = a->stop[0] = a->word[0] = a->cache[0] = a->miss[0] = '\0';
    buf_reset(&a->streamed);
    for (int32_t i = 0; i < SERVICE_CANDIDATES_MAX; i++) buf_reset(&a->text[i]);
}

static void answer_init(struct answer *a)
{
    buf_init(&a->streamed, TEXT_MAX);
    for (int32_t i = 0; i < SERVICE_CANDIDATES_MAX; i++) buf_init(&a->text[i], TEXT_MAX);
}

static void answer_clear(struct answer *a)
{
    buf_clear(&a->streamed);
    for (int32_t i = 0; i < SERVICE_CANDIDATES_MAX; i++) buf_clear(&a->text[i]);
}

static void submit(struct world *w, int i, struct answer *a)
{
    const struct manner *m = &w->manner;
    const struct typist *t = &w->typist;
    const struct open_document *doc = typist_open(t, i, t->here);
    struct service_request r = {.model = "",
                                .client = "editor",
                                .document = doc->uri,
                                .priority = m->priority,
                                .is_automatic = m->is_automatic,
                                .docs = t->sides[i],
                                .doc = typist_open(t, i, t->here),
                                .cursor = typist_cursor(t),
                                .root = w->plan.has_project ? w->root : NULL,
                                .extent = m->extent,
                                .sampling = SAMPLER_GREEDY,
                                .max_tokens = m->max_tokens,
                                .n_candidates = m->n_candidates,
                                .n_indent = m->n_indent,
                                .on_text = on_text,
                                .on_done = on_done,
                                .ctx = a};
    r.sampling.temperature = m->temperature;
    if (m->stop) r.stops[r.n_stops++] = (struct service_stop){m->stop, strlen(m->stop)};
    if (m->is_shown || m->is_raw) {
        r.docs = NULL;
        r.doc = NULL;
    }
    if (m->is_shown) {
        r.text = doc->text.bytes;
        r.len = doc->text.len;
        r.path = doc->path;
    } else if (m->is_raw) {
        r.prompt = doc->text.bytes;
        r.prompt_len = r.cursor;
        r.max_prompt_tokens = RAW_TOKENS;
    }
    answer_reset(a);
    assert_non_null(service_submit(w->sides[i].service, &r));
}

static void poll(struct side *side)
{
    service_poll(side->service);
    if (side->store) store_poll(side->store);
}

static bool is_looking_up(const struct side *side)
{
    for (const struct service_run *run = side->service->runs; run; run = run->next) {
        if (run->lookup && !run->is_over) return true;
    }
    return false;
}

/* An engine is slower than a disk. */
static void finish_lookups(struct world *w, struct side *side)
{
    poll(side);
    while (is_looking_up(side)) {
        wait_for_news(w);
        poll(side);
    }
}

static void finish(struct world *w, struct side *side, const struct answer *a)
{
    if (!w->is_engine_fast) finish_lookups(w, side);
    for (;;) {
        (void)stub_scheduler_run(scheduler_of(side), INT64_MAX);
        poll(side);
        if (a->is_done) break;
        if (stub_scheduler_run(scheduler_of(side), 0) == 0) wait_for_news(w);
    }
}

/* ---- What was answered before ---- */

/* Everything that was asked: the prompt and the limit, which the stub saw, and the rules. */
static uint64_t state_of(const struct world *w)
{
    const struct manner *m = &w->manner;
    struct stub_counts asked;
    stub_scheduler_counts(scheduler_of(&w->sides[TRUTH]), &asked);
    uint64_t rules = (uint64_t)m->extent + 8 * (uint64_t)m->n_indent + 64 * (uint64_t)m->n_candidates;
    if (m->stop) rules += 4096 * (unsigned char)*m->stop;
    rules = rules * 8 + (uint64_t)m->is_raw * 2 + (uint64_t)w->typist.documents[w->typist.here].is_crlf;
    uint64_t state = (asked.asked_hash ^ rules) * 0x9e3779b97f4a7c15u;
    return state ? state : 1;
}

/* True if it was in there. */
static bool remember(struct world *w, uint64_t state)
{
    size_t at = (size_t)(state >> 20) % STATES;
    while (w->states[at] && w->states[at] != state) at = (at + 1) % STATES;
    if (w->states[at] == state) return true;
    w->states[at] = state;
    return false;
}

static void on_edit(void *ctx, int document, size_t from, size_t old_to, size_t new_to)
{
    struct world *w = ctx;
    int64_t n = w->n_shown < SHOWN_MAX ? w->n_shown : SHOWN_MAX;
    for (int64_t i = 0; i < n; i++) {
        struct shown *s = &w->shown[i];
        if (s->document != document || from > s->to) continue;
        size_t grown = new_to - old_to; /* wraps around where the text shrinks: so do the sums */
        if (old_to < s->from) {
            s->from += grown;
            s->cursor += grown;
        } else if (from < s->cursor || old_to > s->typed_to) {
            s->is_touched = true;
        }
        if (s->is_touched) continue;
        s->typed_to += grown;
        s->to += grown;
    }
}

static struct shown *find_shown(struct world *w, uint64_t state)
{
    int64_t n = w->n_shown < SHOWN_MAX ? w->n_shown : SHOWN_MAX;
    for (int64_t i = 0; i < n; i++) {
        if (w->shown[i].state == state) return &w->shown[i];
    }
    return NULL;
}

static void note_shown(struct world *w, uint64_t state, struct shown *known)
{
    struct stub_counts asked;
    struct shown *s = known ? known : &w->shown[w->n_shown++ % SHOWN_MAX];
    size_t cursor = typist_cursor(&w->typist);
    stub_scheduler_counts(scheduler_of(&w->sides[TRUTH]), &asked);
    *s = (struct shown){.state = state,
                        .document = w->typist.here,
                        .from = cursor - asked.asked.n_before,
                        .cursor = cursor,
                        .typed_to = cursor,
                        .to = cursor + asked.asked.n_after};
}

/* Whether caches keep what was just answered. */
static bool is_kept(const struct world *w)
{
    const struct answer *a = &w->sides[CACHED].answer;
    return a->outcome == SERVICE_OK && a->n > 0 && strcmp(a->miss, "long") != 0 && w->manner.max_tokens != 0;
}

/* The prompt was answered before: was the answer kept? */
static void judge_keeping(struct world *w)
{
    const struct answer *a = &w->sides[CACHED].answer;
    if (!is_kept(w)) return;
    uint64_t state = state_of(w);
    bool is_computed = !*a->cache;
    if (remember(w, state) && !w->is_engine_fast) {
        w->counts.n_repeated++;
        w->counts.n_needless += is_computed;
    }
    bool is_tracked = w->plan.is_window_only && !w->manner.is_raw && !w->manner.is_shown &&
                      !w->typist.documents[w->typist.here].is_crlf; /* whose bytes are more than are shown */
    if (!is_tracked) return;
    struct shown *known = find_shown(w, state);
    if (known && !known->is_touched) {
        w->counts.n_held++;
        w->counts.n_lost += is_computed;
    }
    note_shown(w, state, known);
}

/* ---- Comparing ---- */

static void count(struct world *w, const char *name)
{
    int i = 0;
    while (w->sources[i].n > 0 && strcmp(w->sources[i].name, name) != 0) i++;
    copy_name(w->sources[i].name, sizeof w->sources[i].name, name);
    w->sources[i].n++;
}

static bool is_same_text(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* The one difference that is allowed: part of an answer that had ended at its limit was typed, and its rest
 * is shown, which a new one would go beyond. */
static bool is_shorter(const struct answer *truth, const struct answer *a)
{
    const struct buf *all = &truth->text[0], *part = &a->text[0];
    return *a->cache && strcmp(a->stop, "limit") == 0 && a->n == 1 && truth->n == 1 &&
           part->len <= all->len && part->len > 0 && memcmp(part->data, all->data, part->len) == 0;
}

static bool is_same(const struct answer *truth, const struct answer *a)
{
    if (truth->outcome != a->outcome || truth->n != a->n || strcmp(truth->quiet, a->quiet) != 0) return false;
    for (int32_t i = 0; i < a->n; i++) {
        if (!is_same_text(&truth->text[i], &a->text[i])) return false;
    }
    return strcmp(truth->stop, a->stop) == 0 && strcmp(truth->word, a->word) == 0;
}

static void print_answer(const char *name, const struct answer *a)
{
    fprintf(stderr,
            "%s: outcome %d \"%s\" quiet \"%s\" cache \"%s\" miss \"%s\"; %d candidates, stop %s \"%s\"\n",
            name, a->outcome, a->message, a->quiet, a->cache, a->miss, a->n, a->stop, a->word);
    for (int32_t i = 0; i < a->n; i++) fprintf(stderr, "  [%s]\n", buf_str(&a->text[i]));
}

static void ask_both(struct world *w)
{
    for (int i = 0; i < N_SIDES; i++) submit(w, i, &w->sides[i].answer);
    for (int i = 0; i < N_SIDES; i++) finish(w, &w->sides[i], &w->sides[i].answer);
}

static void compare(struct world *w, int64_t step)
{
    const struct answer *truth = &w->sides[TRUTH].answer, *a = &w->sides[CACHED].answer;
    w->counts.n_compared++;
    w->counts.n_hits += *a->cache != '\0';
    count(w, *a->cache ? a->cache : *a->miss ? a->miss : "none");
    if (truth->is_done && a->n > 0 && !is_same_text(&a->streamed, &a->text[0])) {
        print_answer("cached", a);
        fail_msg("%s, seed %llu, step %lld: [%s] was streamed", w->plan.name, (unsigned long long)w->seed,
                 (long long)step, buf_str(&a->streamed));
    }
    if (is_same(truth, a)) return;
    if (is_shorter(truth, a)) {
        w->counts.n_shorter++;
        return;
    }
    print_answer("truth", truth);
    print_answer("cached", a);
    fail_msg("%s, seed %llu, step %lld: not what the engine gives", w->plan.name, (unsigned long long)w->seed,
             (long long)step);
}

/* ---- Steps ---- */

static void choose_manner(struct world *w)
{
    static const char *const stops[] = {";", "\n\n", ")", "\n"};
    struct typist *t = &w->typist;
    struct manner *m = &w->manner;
    *m = (struct manner){.priority = SERVICE_TYPING, .max_tokens = -1, .n_candidates = 1};
    if (typist_random(t, 8) == 0) m->priority = SERVICE_ASKED;
    m->is_automatic = typist_random(t, 4) == 0;
    if (typist_random(t, 3) == 0) m->extent = (enum service_extent)typist_random(t, 4);
    if (typist_random(t, 5) == 0) m->max_tokens = (int32_t)typist_random(t, 40);
    if (typist_random(t, 12) == 0) m->n_candidates = 3;
    if (typist_random(t, 20) == 0) m->temperature = 0.5f;
    if (typist_random(t, 20) == 0) m->n_indent = 4;
    if (typist_random(t, 10) == 0) m->stop = stops[typist_random(t, 4)];
    m->is_raw = typist_random(t, 20) == 0;
    m->is_shown = !m->is_raw && typist_random(t, 20) == 0;
}

static void ask(struct world *w, int64_t step)
{
    if (typist_random(&w->typist, 40) == 0) choose_manner(w);
    w->is_engine_fast = typist_random(&w->typist, 20) == 0;
    w->counts.n_asked++;
    ask_both(w);
    compare(w, step);
    judge_keeping(w);
    const struct answer *a = &w->sides[TRUTH].answer;
    if (a->n > 0) typist_show(&w->typist, a->text[0].data, a->text[0].len);
}

/* The next key comes while the answer is being computed; often it is what the answer begins with. */
static void ask_and_type_on(struct world *w, int64_t step)
{
    struct typist *t = &w->typist;
    struct side *truth = &w->sides[TRUTH], *cached = &w->sides[CACHED];
    const struct buf *text = &truth->older.text[0];
    w->counts.n_asked++;
    w->counts.n_overtaken++;
    for (int i = 0; i < N_SIDES; i++) submit(w, i, &w->sides[i].older);
    finish(w, truth, &truth->older);
    if (typist_random(t, 2) == 0) finish_lookups(w, cached);
    (void)stub_scheduler_run(scheduler_of(cached), (int64_t)typist_random(t, 8));
    poll(cached);
    if (typist_random(t, 4) > 0 && truth->older.n > 0 && text->len > 0) {
        size_t n = 1;
        while (n < text->len && (utf8_is_continuation(text->data[n]) || text->data[n] == '\n')) n++;
        typist_type(t, text->data, n);
    } else {
        typist_step(t);
    }
    ask(w, step);
    if (!cached->older.is_done) finish(w, cached, &cached->older);
}

static void write_project_file(struct world *w)
{
    struct buf text;
    char path[128];
    struct typist *t = &w->typist;
    uint64_t number = typist_random(t, PROJECT_FILES);
    buf_init(&text, TEXT_MAX);
    snprintf(path, sizeof path, "%s/%s%d.%s", w->root, number % 2 ? "tools/part" : "src/part", (int)number,
             number % 2 ? "py" : "c");
    if (typist_random(t, 6) == 0) {
        (void)unlink(path);
    } else {
        typist_write(t, path + strlen(w->root), 3, &text);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(text.data, 1, text.len, f), text.len);
        fclose(f);
    }
    buf_clear(&text);
}

static void change_project(struct world *w)
{
    if (!w->plan.has_project) return;
    for (uint64_t n = typist_random(&w->typist, 3) + 1; n > 0; n--) write_project_file(w);
    settle(w);
    w->counts.n_project_changes++;
}

/* What was in memory is gone, what was on disk is not: the same question again needs no engine. */
static void restart(struct world *w, int64_t step)
{
    const struct answer *a = &w->sides[CACHED].answer;
    typist_reconnect(&w->typist);
    ask(w, step);
    uint64_t state = is_kept(w) ? state_of(w) : 0;
    for (int i = 0; i < N_SIDES; i++) documents_on_edit(w->typist.sides[i], NULL, NULL);
    close_sides(w);
    open_sides(w);
    typist_reconnect(&w->typist);
    w->counts.n_restarts++;
    if (w->plan.disk_bytes == 0) {
        memset(w->states, 0, STATES * sizeof *w->states);
        w->n_shown = 0;
        return;
    }
    w->is_engine_fast = false;
    ask_both(w);
    compare(w, step);
    if (!is_kept(w) || state_of(w) != state) return; /* the project's index has changed what is shown */
    w->counts.n_kept++;
    w->counts.n_survived += *a->cache != '\0';
}

static void step(struct world *w, int64_t number)
{
    uint64_t dice = typist_random(&w->typist, 10000);
    if (dice < 10) {
        change_project(w);
    } else if (dice < 13) {
        restart(w, number);
    } else if (dice < 300) {
        ask_and_type_on(w, number);
    } else if (dice < 4700) {
        ask(w, number);
    } else {
        typist_step(&w->typist);
    }
}

/* ---- The whole ---- */

static void set_up(struct world *w, const struct plan *plan)
{
    const char *seed = getenv("INLINE_TEST_SEED");
    *w = (struct world){.plan = *plan, .seed = seed ? strtoull(seed, NULL, 10) : 1};
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->states = mem_new(STATES * sizeof *w->states);
    w->shown = mem_new(SHOWN_MAX * sizeof *w->shown);
    snprintf(w->dir, sizeof w->dir, "/tmp/inline-truth-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->root, sizeof w->root, "%s/project", w->dir); /* prompts show its name: always the same */
    for (int i = 0; i < 3; i++) {
        static const char *const folders[] = {"", "/src", "/tools"};
        char path[96];
        snprintf(path, sizeof path, "%s%s", w->root, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    typist_init(&w->typist, w->seed);
    w->typist.on_edit = on_edit;
    w->typist.ctx = w;
    for (int i = 0; i < PROJECT_FILES; i++) write_project_file(w);
    for (int i = 0; i < N_SIDES; i++) {
        answer_init(&w->sides[i].answer);
        answer_init(&w->sides[i].older);
    }
    choose_manner(w);
    assert_int_equal(secrets_new(&(struct secrets_options){0}, &w->secrets, NULL), OK);
    open_sides(w);
}

static void tear_down(struct world *w)
{
    char command[96];
    typist_clear(&w->typist);
    close_sides(w);
    secrets_free(&w->secrets);
    for (int i = 0; i < N_SIDES; i++) {
        answer_clear(&w->sides[i].answer);
        answer_clear(&w->sides[i].older);
    }
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
    mem_free(w->states);
    mem_free(w->shown);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
}

static void print_counts(const struct world *w)
{
    const struct counts *c = &w->counts;
    printf("%s, seed %llu: %lld questions (%lld overtaken), %lld project changes, %lld restarts; %lld from a "
           "cache, %lld of them shorter; asked before %lld, computed again %lld; unchanged %lld, lost %lld; "
           "survived "
           "%lld of %lld\n ",
           w->plan.name, (unsigned long long)w->seed, (long long)c->n_asked, (long long)c->n_overtaken,
           (long long)c->n_project_changes, (long long)c->n_restarts, (long long)c->n_hits,
           (long long)c->n_shorter, (long long)c->n_repeated, (long long)c->n_needless, (long long)c->n_held,
           (long long)c->n_lost, (long long)c->n_survived, (long long)c->n_kept);
    for (int i = 0; w->sources[i].n > 0; i++)
        printf(" %s %lld", w->sources[i].name, (long long)w->sources[i].n);
    printf("\n");
}

static void run(struct world *w, struct plan plan)
{
    plan.n_steps /= SCALE;
    set_up(w, &plan);
    for (int64_t i = 0; i < plan.n_steps; i++) step(w, i);
    print_counts(w);
    tear_down(w);
}

static void test_all_levels(void **state)
{
    struct world w;
    (void)state;
    run(&w, (struct plan){.name = "all levels",
                          .n_steps = 60000,
                          .memory_bytes = (int64_t)64 << 20,
                          .disk_bytes = (int64_t)256 << 20,
                          .has_project = true,
                          .has_prefetch = true});
    assert_true(w.counts.n_hits > w.counts.n_compared / 5);
    assert_true(w.counts.n_needless * 100 <= w.counts.n_repeated);
    assert_true(w.counts.n_survived * 10 >= w.counts.n_kept * 9); /* writing is given up after a second */
}

static void test_memory_alone(void **state)
{
    struct world w;
    (void)state;
    run(&w, (struct plan){.name = "memory alone",
                          .n_steps = 20000,
                          .memory_bytes = (int64_t)64 << 20,
                          .is_window_only = true});
    assert_true(w.counts.n_hits > w.counts.n_compared / 5);
    assert_true(w.counts.n_lost * 100 <= w.counts.n_held);
}

static void test_disk_alone(void **state)
{
    struct world w;
    (void)state;
    run(&w,
        (struct plan){
            .name = "disk alone", .n_steps = 10000, .disk_bytes = (int64_t)256 << 20, .has_project = true});
    assert_true(w.counts.n_hits >
                w.counts.n_compared / 20); /* many are asked again before they are written */
    assert_true(w.counts.n_survived * 10 >= w.counts.n_kept * 9);
}

static void test_little_memory(void **state)
{
    struct world w;
    (void)state;
    run(&w, (struct plan){
                .name = "little memory", .n_steps = 10000, .memory_bytes = 40 << 10, .has_project = true});
    assert_true(w.counts.n_hits > w.counts.n_compared / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_levels),
        cmocka_unit_test(test_memory_alone),
        cmocka_unit_test(test_disk_alone),
        cmocka_unit_test(test_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

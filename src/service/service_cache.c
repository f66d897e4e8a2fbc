/* Answers from caches, and into them.
 *
 * Memory is asked before anything else is done. A question that it cannot answer starts to be computed at
 * once, while the levels below are asked: a slow disk or server never holds up a keystroke, and what they
 * find in time ends the computation. What is kept is the text as it was generated; what each asker is given
 * is what the rules of its place leave of it (replay.h). */
#include "service/service_impl.h"

#include <string.h>

#include "base/mem.h"
#include "service/cache_key.h"
#include "context/project.h"
#include "os/clock.h"

static const char *const source_names[CACHE_N_SOURCES] = {
    [CACHE_MEMORY] = "memory", [CACHE_TYPED] = "typed",     [CACHE_IN_FLIGHT] = "in-flight",
    [CACHE_DISK] = "disk",     [CACHE_PROJECT] = "project", [CACHE_TEAM] = "team"};
static const char *const miss_names[MISS_N] = {
    [MISS_NEW] = "new",         [MISS_OTHER] = "other", [MISS_SHORT] = "short", [MISS_EDITED] = "edited",
    [MISS_EVICTED] = "evicted", [MISS_LONG] = "long",   [MISS_OFF] = "off"};

const char *service_cache_source_name(enum service_cache_source source)
{
    return source_names[source];
}

const char *service_cache_miss_name(enum service_cache_miss miss)
{
    return miss_names[miss];
}

/* ---- Keys ---- */

static uint64_t local_maker(const struct service *s, const struct service_loaded *m)
{
    struct scheduler_state state;
    scheduler_state(m->scheduler, &state);
    return cache_maker_hash(&(struct cache_maker){.model_key = m->key,
                                                  .isa = m->isa,
                                                  .kv_type = (int32_t)s->o.engine.kv_type,
                                                  .is_moving = s->o.engine.move == ENGINE_MOVE_ON,
                                                  .is_packed = state.is_packed});
}

/* 0: servers that have not said yet what they have. */
static uint64_t remote_maker(const struct service_loaded *m)
{
    if (!m->traits.is_known) return 0;
    return cache_maker_hash(&(struct cache_maker){.model_key = m->key, .isa = m->isa});
}

static uint64_t maker_of(struct service *s, struct service_loaded *m)
{
    uint64_t maker = m->remote ? remote_maker(m) : local_maker(s, m);
    if (maker != 0 && maker != m->maker) store_use_maker(s->o.store, m->remote ? m->name : m->path, maker);
    m->maker = maker;
    return maker;
}

static uint64_t key_number(const struct store_key *k)
{
    return k->line[0] ^ k->typed_len * 0x9e3779b97f4a7c15;
}

/* ---- Memory ---- */

static bool holds(void *ctx, uint64_t file, uint64_t hash)
{
    const struct service *s = ctx;
    struct project *p = projects_numbered(s->projects, sources_project_of(file));
    return p && project_defines(p, sources_path_of(file), hash);
}

struct asking {
    const struct fim *fim;
    const struct snapshot *snapshot;
    struct replay *found;
    size_t n_typed;
};

static bool use(void *ctx, const struct record *r, size_t n_typed)
{
    struct asking *a = ctx;
    if (n_typed > 0 && a->snapshot->limits.n_candidates > 1) return false;
    if (!replay_record(a->fim, a->snapshot, r, n_typed, a->found)) return false;
    a->n_typed = n_typed;
    return true;
}

static void miss(struct service_ticket *t, enum service_cache_miss why)
{
    t->has_miss = true;
    t->miss = why;
}

static void find(struct service_ticket *t, enum service_cache_source source)
{
    t->has_source = true;
    t->has_miss = false;
    t->source = source;
}

bool service_cache_find(struct service *s, struct service_loaded *m, struct snapshot *take,
                        struct service_ticket *t)
{
    static const enum service_cache_miss misses[] = {
        [MEMORY_NEW] = MISS_NEW,       [MEMORY_OTHER] = MISS_OTHER,     [MEMORY_SHORT] = MISS_SHORT,
        [MEMORY_EDITED] = MISS_EDITED, [MEMORY_EVICTED] = MISS_EVICTED, [MEMORY_OFF] = MISS_OFF};
    struct store_key key;
    struct replay found = {0};
    struct asking asking = {.fim = &m->fim, .snapshot = take, .found = &found};
    if (take->limits.max_tokens == 0) return false;
    if (!s->o.store) {
        miss(t, MISS_OFF);
        return false;
    }
    uint64_t maker = maker_of(s, m);
    if (maker == 0 || !cache_key_of(take, maker, &key)) {
        miss(t, maker == 0 ? MISS_NEW : MISS_LONG);
        return false;
    }
    struct memory_cache *memory = store_memory(s->o.store);
    if (projects_have_changed(s->projects)) memory_cache_recheck(memory, holds, s);
    if (!t->is_own) service_prefetch_note(s, key_number(&key));
    int64_t start_ns = clock_ns();
    enum memory_outcome outcome = memory_cache_find(memory, &key, use, &asking);
    t->lookup_ms = clock_ms_since(start_ns);
    if (!t->is_own) service_watch_time(s, METRIC_STAGE_SECONDS, METRIC_STAGE_CACHE_MEMORY, t->lookup_ms);
    if (outcome != MEMORY_FOUND) {
        miss(t, misses[outcome]);
        return false;
    }
    t->found = MEM_NEW(struct replay);
    *t->found = found;
    t->snapshot = *take;
    find(t, asking.n_typed > 0 ? CACHE_TYPED : CACHE_MEMORY);
    return true;
}

/* ---- Runs under way ---- */

/* Whether what was typed between two questions is how the run's text begins. */
static bool goes_on(const struct service_run *run, const struct store_key *key, size_t *n_typed)
{
    struct store_key from;
    if (!cache_key_of(&run->snapshot, run->maker, &from)) return false;
    if (memcmp(from.line, key->line, sizeof from.line) != 0 || from.typed_len >= key->typed_len) return false;
    size_t n = key->typed_len - from.typed_len;
    if (memcmp(from.typed, key->typed, from.typed_len) != 0 || n > run->text.len) return false;
    *n_typed = n;
    return memcmp(run->text.data, key->typed + from.typed_len, n) == 0;
}

struct service_run *service_cache_find_run(const struct service *s, const struct service_loaded *m,
                                           const struct snapshot *snapshot, size_t *n_typed)
{
    struct store_key key;
    if (!s->o.store || snapshot->limits.n_candidates > 1 || snapshot->limits.max_tokens == 0) return NULL;
    if (m->maker == 0 || !cache_key_of(snapshot, m->maker, &key)) return NULL;
    for (struct service_run *run = s->runs; run; run = run->next) {
        bool is_running = run->model == m && !run->is_over && !run->is_cancelled && run->text.len > 0;
        if (is_running && run->maker == m->maker && goes_on(run, &key, n_typed)) return run;
    }
    return NULL;
}

bool service_cache_take(struct service_run *run, struct service_ticket *t)
{
    struct record r;
    struct store_key key;
    struct replay found;
    size_t n_typed;
    if (run->record.len == 0 || record_read(run->record.data, run->record.len, &r)) return false;
    if (!cache_key_of(&t->snapshot, run->maker, &key) || !record_suits(&r, &key, &n_typed)) return false;
    if (!replay_record(&run->model->fim, &t->snapshot, &r, n_typed, &found)) return false;
    t->found = MEM_NEW(struct replay);
    *t->found = found;
    find(t, CACHE_IN_FLIGHT);
    return true;
}

/* ---- Below memory ---- */

static void keep_in_memory(struct service *s, struct service_run *run, size_t n_less)
{
    struct record r;
    struct memory_key keys[MEMORY_KEYS_MAX];
    if (record_read(run->record.data, run->record.len, &r)) return;
    const struct record_candidate *first = &r.candidates[0];
    int32_t n = cache_keys_of_answer(&run->snapshot, run->maker, n_less, first->text, first->len, keys);
    memory_cache_fill(store_memory(s->o.store), &run->entry, keys, n, run->record.data, run->record.len);
}

/* What a level found, if it suits. */
static bool use_found(struct service *s, struct service_run *run, const struct disk_put *found,
                      enum store_level level)
{
    static const enum service_cache_source sources[] = {[STORE_MEMORY] = CACHE_MEMORY,
                                                        [STORE_DISK] = CACHE_DISK,
                                                        [STORE_PROJECT] = CACHE_PROJECT,
                                                        [STORE_TEAM] = CACHE_TEAM};
    struct record r;
    struct store_key key;
    size_t n_typed;
    if (record_read(found->bytes, found->len, &r) || !cache_key_of(&run->snapshot, run->maker, &key))
        return false;
    if (!record_suits(&r, &key, &n_typed)) return false;
    if (n_typed > 0 && run->snapshot.limits.n_candidates > 1) return false;
    if (!replay_record(&run->model->fim, &run->snapshot, &r, n_typed, &run->found)) return false;
    run->is_found = true;
    run->found_source = sources[level];
    buf_add(&run->record, found->bytes, found->len);
    if (run->record.err) buf_reset(&run->record);
    if (run->record.len > 0) keep_in_memory(s, run, n_typed);
    if (run->found.n > 0) buf_add(&run->text, run->found.candidates[0].text, run->found.candidates[0].len);
    return true;
}

static void on_found(void *ctx, const struct store_found *found)
{
    struct service_run *run = ctx;
    struct service *s = run->model->service;
    run->lookup = NULL;
    if (run->is_over || run->is_cancelled || run->text.len > 0) return; /* it was computed before */
    for (int32_t i = 0; i < found->n; i++) {
        if (!use_found(s, run, &found->records[i], found->level)) continue;
        if (!run->is_put_off) service_run_cancel(run);
        run->is_put_off = false;
        run->is_over = true;
        return;
    }
    if (!run->is_put_off) return;
    run->is_put_off = false;
    service_run_start(run);
}

void service_cache_begin(struct service *s, struct service_run *run, struct sources *take)
{
    static const struct memory_place nowhere = {0};
    struct store_key key;
    run->sources = take;
    if (!s->o.store || run->snapshot.limits.max_tokens == 0) return;
    if (run->model->maker == 0 || !cache_key_of(&run->snapshot, run->model->maker, &key)) return;
    run->maker = run->model->maker;
    run->entry = memory_cache_expect(store_memory(s->o.store), take ? &take->place : &nowhere);
    run->lookup =
        store_lookup(s->o.store, &key, take ? take->project : 0, take && take->is_private, on_found, run);
    run->is_put_off = run->lookup && run->priority == SERVICE_PREFETCH;
}

/* ---- Keeping ---- */

/* What does not depend on the time that it took, or on the memory that there was. */
static bool is_reproducible(const struct service_run *run, const struct service_job *j)
{
    if (j->report.outcome != SCHEDULER_DONE || j->err || !j->has_generation) return false;
    if (j->stop == COMPLETE_TIME || j->stop == COMPLETE_CANCELLED) return false;
    return j->stop != COMPLETE_LIMIT || j->report.result.n_generated >= run->snapshot.limits.max_tokens;
}

static enum record_end end_of(const struct service_job *j)
{
    if (j->generation.is_ended || j->report.result.stop == ENGINE_STOP_EOG) return RECORD_EOG;
    return j->stop == COMPLETE_LIMIT ? RECORD_LIMIT : RECORD_RULE;
}

static bool write_record(struct service_run *run)
{
    struct record r = {.maker = run->maker};
    if (!run->snapshot.was_cut && run->prompt.room > 0) r.room = (uint32_t)run->prompt.room;
    struct store_key key;
    if (!cache_key_of(&run->snapshot, run->maker, &key)) return false;
    memcpy(r.line, key.line, sizeof r.line);
    r.typed = key.typed;
    r.typed_len = key.typed_len;
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++) {
        const struct service_job *j = &run->jobs[i];
        if (!is_reproducible(run, j)) return false;
        r.candidates[r.n_candidates++] =
            (struct record_candidate){.text = buf_str(&j->generation.stop.text),
                                      .len = j->generation.stop.text.len,
                                      .end = end_of(j),
                                      .n_tokens = j->report.result.n_generated,
                                      .mean_logprob = (float)j->report.result.mean_logprob};
    }
    if (run->sources) {
        r.is_private = run->sources->is_private;
        r.n_sources = run->sources->n_lines;
        memcpy(r.sources, run->sources->lines, (size_t)r.n_sources * sizeof *r.sources);
    }
    return record_write(&r, &run->record) == OK;
}

void service_cache_keep(struct service *s, struct service_run *run)
{
    /* Meanwhile the model's weights may have been packed: then nobody knows which ones were used. */
    if (!run->maker || run->is_cancelled || maker_of(s, run->model) != run->maker) return;
    if (!write_record(run)) {
        buf_reset(&run->record);
        return;
    }
    keep_in_memory(s, run, 0);
    if (run->priority == SERVICE_PREFETCH) {
        struct store_key key;
        if (cache_key_of(&run->snapshot, run->maker, &key)) service_prefetch_remember(s, key_number(&key));
    }
    store_put(s->o.store, run->sources ? run->sources->project : 0, run->record.data, run->record.len);
}

void service_cache_end(struct service *s, struct service_run *run)
{
    if (run->lookup) store_cancel(s->o.store, run->lookup);
    if (run->entry) memory_cache_give_up(store_memory(s->o.store), &run->entry);
    run->lookup = NULL;
    replay_clear(&run->found);
    buf_clear(&run->record);
    mem_free(run->sources);
    run->sources = NULL;
}

/* ---- Looking at it ---- */

void service_cache_stats(const struct service *s, struct service_cache_stats *out)
{
    *out = (struct service_cache_stats){.n_prefetched = s->prefetches.n,
                                        .n_prefetch_used = s->prefetches.n_used};
    for (int i = 0; i < CACHE_N_SOURCES; i++) {
        out->found[i] = (struct service_cache_count){source_names[i], s->n_found[i]};
        out->n_answers += s->n_found[i];
    }
    for (int i = 0; i < MISS_N; i++) {
        out->missed[i] = (struct service_cache_count){miss_names[i], s->n_missed[i]};
        out->n_answers += s->n_missed[i];
    }
    for (int i = 0; i < STORE_N_LEVELS; i++) {
        struct store_level_stats l = {0};
        if (s->o.store) store_stats(s->o.store, (enum store_level)i, &l);
        out->levels[i] = (struct service_cache_level){.name = store_level_name((enum store_level)i),
                                                      .is_on = l.is_on,
                                                      .n_entries = l.n_entries,
                                                      .n_bytes = l.n_bytes,
                                                      .max_bytes = l.max_bytes,
                                                      .n_asked = l.n_asked,
                                                      .n_found = l.n_found,
                                                      .n_put = l.n_put,
                                                      .n_evicted = l.n_evicted,
                                                      .n_failed = l.n_failed,
                                                      .n_dropped = l.n_dropped};
    }
    struct service_cache_level *memory = &out->levels[STORE_MEMORY]; /* which is asked here */
    memory->n_asked = out->n_answers - s->n_missed[MISS_OFF] - s->n_missed[MISS_LONG];
    memory->n_found = s->n_found[CACHE_MEMORY] + s->n_found[CACHE_TYPED];
}

bool service_cache_clear(struct service *s, void (*done)(void *ctx, int64_t n_deleted), void *ctx)
{
    if (!s->o.store) return false;
    store_clear(s->o.store, done, ctx);
    return true;
}

void service_cache_clear_memory(struct service *s)
{
    if (s->o.store) memory_cache_clear(store_memory(s->o.store));
}

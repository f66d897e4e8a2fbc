/* The ring of records, the models' names, ids. See journal.h.
 *
 * Records stand in the order in which their requests ended, so their ids are almost, but not quite, sorted;
 * finding one looks from the newest back, which is where what is asked for usually is. The ring's memory is
 * zeroed and large, so the system gives its pages only when they are written to. Thread: loop. */
#include "watch/journal.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* What ten thousand records take is promised in the documentation. */
_Static_assert(sizeof(struct journal_record) <= 136, "a record has grown");

#define N_MODELS 256 /* a record names its model in a byte; 0: none */

struct model_name {
    char text[JOURNAL_NAME_MAX];
    uint64_t used_at; /* a tick; 0: free */
};

struct journal {
    struct journal_record *ring; /* owned; [capacity] */
    int32_t capacity, n;
    int32_t newest; /* where the last one is; of no meaning while n is 0 */
    uint64_t last_id, tick;
    struct model_name models[N_MODELS]; /* [0] stays "" */
    void (*on_record)(void *ctx, const struct journal_record *r, const char *model);
    void *ctx;
};

/* As service_candidate.stop. Records on disk have these numbers: new ones go to the end. */
static const char *const stops[] = {"eog",  "limit", "word",   "suffix", "repetition", "line",
                                    "unit", "block", "indent", "time",   "cancelled"};
#define N_STOPS ((int32_t)(sizeof stops / sizeof *stops))

struct journal *journal_new(int32_t capacity)
{
    struct journal *j = mem_try(1, sizeof *j);
    if (!j) return NULL;
    j->capacity = capacity > 0 ? capacity : JOURNAL_RECORDS;
    j->ring = mem_try((size_t)j->capacity, sizeof *j->ring);
    if (!j->ring) journal_free(&j);
    return j;
}

void journal_free(struct journal **j)
{
    if (!*j) return;
    mem_free((*j)->ring);
    mem_free(*j);
    *j = NULL;
}

int64_t journal_memory(const struct journal *j)
{
    return (int64_t)(sizeof *j + (size_t)j->n * sizeof *j->ring);
}

/* ---- Ids and names ---- */

uint64_t journal_id(struct journal *j)
{
    return ++j->last_id;
}

void journal_continue(struct journal *j, uint64_t last_id)
{
    if (last_id > j->last_id) j->last_id = last_id;
}

/* Records of a model whose number another one gets have no name any more, rather than a wrong one. */
static void forget_model(struct journal *j, uint8_t model)
{
    for (int32_t i = 0; i < j->n; i++) {
        if (j->ring[i].model == model) j->ring[i].model = 0;
    }
}

uint8_t journal_model(struct journal *j, const char *name)
{
    int32_t oldest = 1;
    if (!name || !*name) return 0;
    for (int32_t i = 1; i < N_MODELS; i++) {
        struct model_name *m = &j->models[i];
        if (m->used_at > 0 && strncmp(m->text, name, JOURNAL_NAME_MAX - 1) == 0) {
            m->used_at = ++j->tick;
            return (uint8_t)i;
        }
        if (m->used_at < j->models[oldest].used_at) oldest = i;
    }
    struct model_name *m = &j->models[oldest];
    if (m->used_at > 0) forget_model(j, (uint8_t)oldest);
    snprintf(m->text, sizeof m->text, "%s", name);
    m->used_at = ++j->tick;
    return (uint8_t)oldest;
}

const char *journal_model_name(const struct journal *j, uint8_t model)
{
    return j->models[model].text;
}

int8_t journal_stop(const char *name)
{
    for (int32_t i = 0; name && i < N_STOPS; i++) {
        if (strcmp(stops[i], name) == 0) return (int8_t)i;
    }
    return -1;
}

const char *journal_stop_name(int8_t stop)
{
    return stop >= 0 && stop < N_STOPS ? stops[stop] : "";
}

/* ---- Records ---- */

static void report(struct journal *j, const struct journal_record *r)
{
    if (j->on_record) j->on_record(j->ctx, r, journal_model_name(j, r->model));
}

void journal_add(struct journal *j, const struct journal_record *r)
{
    if (r->id == 0) return;
    j->newest = j->n == 0 ? 0 : (j->newest + 1) % j->capacity;
    if (j->n < j->capacity) j->n++;
    j->ring[j->newest] = *r;
    journal_continue(j, r->id);
    report(j, r);
}

/* Where the i-th newest one is; i < n. */
static int32_t place(const struct journal *j, int32_t i)
{
    int32_t at = j->newest - i;
    return at < 0 ? at + j->capacity : at;
}

static struct journal_record *find(const struct journal *j, uint64_t id)
{
    for (int32_t i = 0; id > 0 && i < j->n; i++) {
        struct journal_record *r = &j->ring[place(j, i)];
        if (r->id == id) return r;
    }
    return NULL;
}

void journal_tell(struct journal *j, uint64_t id, enum journal_fate fate)
{
    struct journal_record *r = find(j, id);
    if (!r || r->fate == (uint8_t)fate) return;
    r->fate = (uint8_t)fate;
    report(j, r);
}

int32_t journal_n(const struct journal *j)
{
    return j->n;
}

const struct journal_record *journal_at(const struct journal *j, int32_t i)
{
    return i >= 0 && i < j->n ? &j->ring[place(j, i)] : NULL;
}

const struct journal_record *journal_find(const struct journal *j, uint64_t id)
{
    return find(j, id);
}

void journal_on_record(struct journal *j,
                       void (*fn)(void *ctx, const struct journal_record *r, const char *model), void *ctx)
{
    j->on_record = fn;
    j->ctx = ctx;
}

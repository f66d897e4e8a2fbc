/* What observing costs: processor time of a request with metrics and a journal against one without, of what
 * is done once a second, of a scrape; and the memory that all of it takes when every window is busy. Prints
 * one JSON object; bench/overhead sets it against what a typing user costs.
 *
 * The service is real, the engine is a stub that answers at once (tests/support/stub_scheduler.h): two
 * services answer the same requests in turn, so that whatever else the machine does falls on both, and
 * medians are compared. Linux. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/clock.h"
#include "os/usage.h"
#include "service/service.h"
#include "service/service_impl.h"
#include "store/store.h"
#include "support/stub_scheduler.h"
#include "watch/alerts.h"
#include "watch/journal.h"
#include "watch/metrics.h"

#define MODEL      FIXTURES "/models/llama.gguf"
#define N_BLOCKS   200
#define N_REQUESTS 50   /* of a block: some milliseconds, below a scheduler's time slice */
#define N_SECONDS  2000 /* of what is done once a second */
#define N_SCRAPES  200
#define SECOND     INT64_C(1000000000)

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    fprintf(stderr, "watch_cost: %s\n", what);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare);
    return values[n / 2];
}

/* ---- Requests ---------------------------------------------------------------------------------------- */

struct side {
    struct service *service;
    struct store *store;
    int n_asked;
};

static void on_wake(void *ctx)
{
    (void)ctx;
}

static void on_done(void *ctx, const struct service_answer *a)
{
    (void)ctx;
    if (a->outcome != SERVICE_OK) fail(a->message);
}

static void side_open(struct side *side, struct metrics *m, struct journal *j)
{
    struct errmsg msg = {0};
    struct store_options levels = {
        .dir = "", .memory_bytes = (int64_t)16 << 20, .team = "", .metrics = m, .wake = on_wake};
    if (store_new(&levels, &side->store, &msg)) fail(msg.text);
    struct service_options o = {.models_dir = "/nonexistent",
                                .default_model = MODEL,
                                .engine = {.n_threads = 1},
                                .has_no_projects = true,
                                .store = side->store,
                                .prefetch_mode = SERVICE_PREFETCH_OFF,
                                .metrics = m,
                                .journal = j,
                                .wake = on_wake};
    if (service_new(&o, &side->service, &msg)) fail(msg.text);
    for (struct service_model model;;) {
        service_model(side->service, 0, &model);
        if (model.state == SERVICE_READY) break;
        if (model.state == SERVICE_MODEL_FAILED) fail(model.error);
        usleep(1000);
        service_poll(side->service);
    }
}

static void side_close(struct side *side)
{
    service_free(&side->service);
    store_free(&side->store);
}

/* Somebody types: each second question was answered before. */
static void ask(struct side *side)
{
    char text[128];
    int n = snprintf(text, sizeof text, "int part_%d(int a)\n{\n    return ", side->n_asked++ / 2);
    struct service_request r = {.model = "",
                                .client = "editor",
                                .document = "a.c",
                                .priority = SERVICE_TYPING,
                                .text = text,
                                .len = (size_t)n,
                                .cursor = (size_t)n,
                                .path = "a.c",
                                .sampling = SAMPLER_GREEDY,
                                .max_tokens = 4,
                                .on_done = on_done};
    (void)service_submit(side->service, &r);
    (void)stub_scheduler_run(side->service->models.known[0]->scheduler, INT64_MAX);
    service_poll(side->service);
}

static double block_us(struct side *side)
{
    double begin = cpu_s();
    for (int i = 0; i < N_REQUESTS; i++) ask(side);
    return (cpu_s() - begin) / N_REQUESTS * 1e6;
}

/* The medians of a request without and with, in microseconds. */
static void measure_requests(struct side *without, struct side *with, double us[2])
{
    static double blocks[2][N_BLOCKS], more[N_BLOCKS];
    for (int i = 0; i < N_BLOCKS; i++) {
        blocks[0][i] = block_us(without);
        blocks[1][i] = block_us(with);
        more[i] = blocks[1][i] - blocks[0][i];
    }
    us[0] = median(blocks[0], N_BLOCKS);
    us[1] = us[0] + median(more, N_BLOCKS); /* neighbours in time: what slows one slows the other */
}

/* ---- Once a second ----------------------------------------------------------------------------------- */

/* Each series gets some of what a request of a busy user leaves there, over four orders of magnitude. */
static void make_busy(struct metrics *m, unsigned *dice)
{
    for (int id = 0; id < METRIC_N; id++) {
        for (int32_t label = 0; label < metrics_n_labels(m, (enum metric_id)id); label++) {
            for (int i = 0; i < 4; i++) {
                *dice = *dice * 1664525u + 1013904223u; /* Numerical Recipes' */
                double seconds = (double)(*dice >> 8) / (1 << 24);
                if (metric_table[id].kind == METRIC_COUNTER) metrics_add(m, (enum metric_id)id, label, 1);
                if (metric_table[id].kind == METRIC_HISTOGRAM)
                    metrics_observe(m, (enum metric_id)id, label, seconds * seconds * seconds * seconds);
                if (metric_table[id].kind == METRIC_GAUGE) metrics_set(m, (enum metric_id)id, label, seconds);
            }
        }
    }
}

/* Every slot of every window holds something. Returns the time of a roll, in microseconds. */
static double fill_windows(struct metrics *m, int64_t *now_ns)
{
    enum { N_ROLLS = 24 * 3600 / 20 };
    static double rolls[N_ROLLS];
    unsigned dice = 1;
    for (size_t i = 0; i < N_ROLLS; i++) {
        make_busy(m, &dice);
        *now_ns += (i + 40 > N_ROLLS ? 2 : 20) * SECOND; /* the last minute's slots at the end */
        double begin = cpu_s();
        metrics_roll(m, *now_ns);
        rolls[i] = (cpu_s() - begin) * 1e6;
    }
    return median(rolls, N_ROLLS);
}

static double look_us(struct metrics *m, int64_t now_ns)
{
    struct alerts *alerts;
    struct errmsg msg = {0};
    static double looks[N_SECONDS];
    if (alerts_new(&(struct alert_options){.rules = ""}, m, &alerts, &msg)) fail(msg.text);
    for (int i = 0; i < N_SECONDS; i++) {
        double begin = cpu_s();
        alerts_look(alerts, now_ns + i * SECOND, clock_unix_us());
        looks[i] = (cpu_s() - begin) * 1e6;
    }
    alerts_free(&alerts);
    return median(looks, N_SECONDS);
}

static double measure_us(struct service *s)
{
    static double times[N_SECONDS];
    for (int i = 0; i < N_SECONDS; i++) {
        s->govern.looked_ns = clock_ns(); /* as on each tick: the governor has just looked at the machine */
        double begin = cpu_s();
        service_measure(s, false);
        times[i] = (cpu_s() - begin) * 1e6;
    }
    return median(times, N_SECONDS);
}

static double scrape_us(struct service *s, struct metrics *m)
{
    static double times[N_SCRAPES];
    for (int i = 0; i < N_SCRAPES; i++) {
        struct buf out;
        buf_init(&out, (size_t)16 << 20);
        double begin = cpu_s();
        service_measure(s, true);
        metrics_write(m, &out);
        times[i] = (cpu_s() - begin) * 1e6;
        buf_clear(&out);
    }
    return median(times, N_SCRAPES);
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

/* Without code, which the first call of anything brings in. */
static int64_t resident(void)
{
    struct usage u;
    usage_self(&u);
    return u.rss_anon_bytes;
}

/* Of metrics whose windows are all busy, and of a full journal: as they tell, and as the kernel sees it. */
static void measure_memory(double *roll_us, double *alerts_us, int64_t *told, int64_t *seen)
{
    int64_t before = resident(), now_ns = 900 * SECOND;
    struct metrics *m = metrics_new();
    struct journal *j = journal_new(0);
    if (!j) fail("no memory");
    metrics_roll(m, now_ns);
    *roll_us = fill_windows(m, &now_ns);
    for (int i = 0; i < JOURNAL_RECORDS; i++) {
        struct journal_record r = {.id = journal_id(j), .model = journal_model(j, "model")};
        journal_add(j, &r);
    }
    *told = metrics_memory(m) + journal_memory(j);
    *seen = resident() - before;
    *alerts_us = look_us(m, now_ns);
    journal_free(&j);
    metrics_free(&m);
}

int main(void)
{
    struct side without = {0}, with = {0};
    double us[2], roll_us, alerts_us;
    int64_t told, seen;
    measure_memory(&roll_us, &alerts_us, &told, &seen);
    struct metrics *m = metrics_new();
    struct journal *j = journal_new(0);
    if (!j) fail("no memory");
    side_open(&without, NULL, NULL);
    side_open(&with, m, j);
    measure_requests(&without, &with, us);
    double tick_us = measure_us(with.service), page_us = scrape_us(with.service, m);
    printf("{\"request_us\":%.3f,\"request_observed_us\":%.3f,\"observing_us\":%.3f,\"roll_us\":%.2f,"
           "\"alerts_us\":%.2f,\"measure_us\":%.2f,\"scrape_us\":%.1f,\"memory_bytes\":%lld,"
           "\"memory_resident_bytes\":%lld}\n",
           us[0], us[1], us[1] - us[0], roll_us, alerts_us, tick_us, page_us, (long long)told,
           (long long)seen);
    side_close(&without);
    side_close(&with);
    journal_free(&j);
    metrics_free(&m);
    return 0;
}

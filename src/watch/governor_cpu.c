/* What other processes leave of the processors.
 *
 * Beside a busy neighbour two threads on two processors do not compute faster than one: a task that shares
 * its processor takes twice as long, and every matrix product ends with waiting for it (docs/perf.md). So a
 * thread is given up where others use more than half of its processor, and taken back where they leave three
 * quarters of one: the distance between the two, and the number of samples that must agree, keep noise from
 * changing anything. Time that a virtual machine's host took is others' too. */
#include <stdio.h>

#include "watch/governor_impl.h"

#define FEWER_AFTER 2 /* samples */
#define MORE_AFTER  5

/* Others must use this share of the machine to be the reason that it is busy; and below it they are not. */
#define OTHERS_HIGH 0.20
#define OTHERS_LOW  0.15
#define CROWD_GAP   0.05 /* between busy and free again */

/* Heat takes its time to go away. */
#define THROTTLED_NS ((int64_t)30000000000)

/* Hints to clients: shorter than the pause in which a typist looks up, long enough to save most of the
 * questions that the next key would cancel (a quick typist's keys are 100 to 200 ms apart). */
#define DEBOUNCE_BATTERY_MS 100
#define DEBOUNCE_BUSY_MS    150

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static int32_t at_most(double n, int32_t max)
{
    return n < 1 ? 1 : n > max ? max : (int32_t)n;
}

/* Processors of the machine, which may be more than this process may use. */
static double n_processors(const struct machine_sample *before, const struct machine_sample *s)
{
    double n = (double)(s->cpu_total_ns - before->cpu_total_ns) / (double)(s->at_ns - before->at_ns);
    return n > s->n_cpus ? n : s->n_cpus;
}

static void measure(struct governor_status *status, const struct machine_sample *before,
                    const struct machine_sample *s)
{
    double total = (double)(s->cpu_total_ns - before->cpu_total_ns);
    status->cpu_share = clamp((double)(s->cpu_busy_ns - before->cpu_busy_ns) / total, 0, 1);
    /* Clocks of different fineness: what is ours may seem to be more than what is busy. */
    status->own_share = clamp((double)(s->own_cpu_ns - before->own_cpu_ns) / total, 0, status->cpu_share);
    status->others_share = status->cpu_share - status->own_share;
}

/* n samples in a row have said so. */
static bool holds(int32_t *count, bool is_so, int32_t n)
{
    *count = is_so ? *count + 1 : 0;
    return *count >= n;
}

static void choose_threads(struct governor *g, double free)
{
    struct governor_cpu *c = &g->cpu;
    int32_t fewer = at_most(free + 0.5, g->o.n_threads), more = at_most(free + 0.25, g->o.n_threads);
    if (c->n_fewer == 0 || fewer > c->most_of) c->most_of = fewer;
    if (c->n_more == 0 || more < c->least_of) c->least_of = more;
    if (holds(&c->n_fewer, fewer < c->n_threads, FEWER_AFTER)) {
        c->n_threads = c->most_of;
        c->n_fewer = 0;
    } else if (holds(&c->n_more, more > c->n_threads, MORE_AFTER)) {
        c->n_threads = c->least_of;
        c->n_more = 0;
    }
}

/* Is the machine full because of others? What we ourselves compute must not decide it, else stepping back
 * would end the reason to: what counts is whether they leave room for a thread in the background. */
static void choose_busy(struct governor *g, double n_cpus)
{
    struct governor_cpu *c = &g->cpu;
    const struct governor_status *now = &g->status;
    double crowd = now->others_share + 1 / n_cpus;
    bool is_full = now->cpu_share > g->o.cpu_high && now->others_share > OTHERS_HIGH && crowd > g->o.cpu_low;
    bool is_over = now->others_share < OTHERS_LOW || crowd < g->o.cpu_low - CROWD_GAP;
    if (!c->is_busy) {
        c->is_busy = holds(&c->n_busy, is_full, FEWER_AFTER);
        c->n_free = 0;
    } else if (holds(&c->n_free, is_over, MORE_AFTER)) {
        c->is_busy = false;
        c->n_busy = 0;
    }
}

static void look_at_heat(struct governor *g, const struct machine_sample *before,
                         const struct machine_sample *s)
{
    if (before && before->n_throttled >= 0 && s->n_throttled > before->n_throttled)
        g->cpu.throttled_until_ns = s->at_ns + THROTTLED_NS;
    else if (s->at_ns >= g->cpu.throttled_until_ns)
        g->cpu.throttled_until_ns = 0;
    g->status.is_throttled = g->cpu.throttled_until_ns != 0;
}

void governor_cpu_look(struct governor *g, const struct machine_sample *before,
                       const struct machine_sample *s, struct governor_orders *orders)
{
    struct governor_cpu *c = &g->cpu;
    struct governor_status *status = &g->status;
    status->cpu_share = status->own_share = status->others_share = 0;
    look_at_heat(g, before, s);
    if (before && s->at_ns > before->at_ns && s->cpu_total_ns > before->cpu_total_ns) {
        double n_cpus = n_processors(before, s);
        measure(status, before, s);
        choose_threads(g, n_cpus * (1 - status->others_share));
        choose_busy(g, n_cpus);
    } else if (!before) { /* how it was before a pause says nothing about now */
        *c = (struct governor_cpu){.n_threads = g->o.n_threads, .throttled_until_ns = c->throttled_until_ns};
    }
    if (g->o.is_off) return;
    orders->n_threads = c->n_threads;
    orders->background = !c->is_busy && !status->is_throttled && !s->is_on_battery;
    orders->debounce_ms = c->is_busy || status->is_throttled ? DEBOUNCE_BUSY_MS
                          : s->is_on_battery                 ? DEBOUNCE_BATTERY_MS
                                                             : 0;
}

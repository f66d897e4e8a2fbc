/* The ceiling: tokens are nanoseconds of processor time; they come in at ceiling * n_cpus per nanosecond that
 * passes and go out as the process's CPU clock runs. Whatever runs without asking (the loop, the store's
 * threads) goes out as well, and what was used in advance is paid for with rest: the average over any long
 * time is the ceiling. The bucket is small, so that idle time buys no more than a short burst.
 *
 * The speed: each piece of work owes its own length times (1 - speed) / speed of rest, and time that passes
 * without work pays. What is owed is bounded, so that one very long piece does not silence us for minutes. */
#include "os/throttle.h"

#include <pthread.h>
#include <time.h>

#include "base/mem.h"
#include "os/clock.h"

#define SECOND_NS 1e9
#define BURST_NS  0.5e9 /* of processor time: an answer or two at once */
#define OWED_MAX  10e9  /* of rest */

struct throttle {
    double n_cpus;
    pthread_mutex_t lock;
    double ceiling, speed;
    double tokens_ns;      /* negative: a debt */
    int64_t at_ns, cpu_ns; /* both clocks when tokens_ns held */
    double owed_ns;        /* rest, at rested_ns */
    int64_t rested_ns;
};

static int64_t cpu_clock_ns(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) return 0;
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double at_most(double x, double max)
{
    return x < max ? x : max;
}

static double share(double x)
{
    return x > 0 && x < 1 ? x : 1;
}

struct throttle *throttle_new(int32_t n_cpus)
{
    struct throttle *t = MEM_NEW(struct throttle);
    t->n_cpus = n_cpus > 1 ? n_cpus : 1;
    t->ceiling = t->speed = 1;
    t->at_ns = t->rested_ns = clock_ns();
    t->cpu_ns = cpu_clock_ns();
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void throttle_free(struct throttle **tp)
{
    struct throttle *t = *tp;
    *tp = NULL;
    if (!t) return;
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
}

/* What has come in and gone out since the last time. */
static void refill(struct throttle *t, int64_t now_ns)
{
    int64_t cpu_ns = cpu_clock_ns();
    double in = (double)(now_ns - t->at_ns) * t->ceiling * t->n_cpus;
    t->tokens_ns = at_most(t->tokens_ns + in - (double)(cpu_ns - t->cpu_ns), BURST_NS);
    t->at_ns = now_ns;
    t->cpu_ns = cpu_ns;
}

/* Time passes, and pays. */
static void pay_rest(struct throttle *t, int64_t now_ns)
{
    t->owed_ns -= (double)(now_ns - t->rested_ns);
    if (t->owed_ns < 0) t->owed_ns = 0;
    t->rested_ns = now_ns;
}

void throttle_set(struct throttle *t, double ceiling, double speed)
{
    ceiling = share(ceiling);
    speed = share(speed);
    pthread_mutex_lock(&t->lock);
    refill(t, clock_ns());                                     /* until now the old ceiling held */
    if (t->ceiling >= 1 && t->tokens_ns < 0) t->tokens_ns = 0; /* what was allowed is no debt */
    t->ceiling = ceiling;
    t->speed = speed;
    if (speed >= 1) t->owed_ns = 0;
    pthread_mutex_unlock(&t->lock);
}

void throttle_worked(struct throttle *t, int64_t ns)
{
    pthread_mutex_lock(&t->lock);
    int64_t now_ns = clock_ns();
    /* Rest that was owed when the work began was paid for until then, not while it lasted. */
    pay_rest(t, now_ns - ns > t->rested_ns ? now_ns - ns : t->rested_ns);
    t->rested_ns = now_ns;
    t->owed_ns = at_most(t->owed_ns + (double)ns * (1 - t->speed) / t->speed, OWED_MAX);
    pthread_mutex_unlock(&t->lock);
}

int64_t throttle_rest_ns(struct throttle *t)
{
    pthread_mutex_lock(&t->lock);
    int64_t now_ns = clock_ns();
    double rest = 0;
    pay_rest(t, now_ns);
    if (t->ceiling < 1) {
        refill(t, now_ns);
        if (t->tokens_ns < 0) rest = -t->tokens_ns / (t->ceiling * t->n_cpus);
    }
    if (t->owed_ns > rest) rest = t->owed_ns;
    pthread_mutex_unlock(&t->lock);
    return (int64_t)rest;
}

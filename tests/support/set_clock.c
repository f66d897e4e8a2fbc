/* See set_clock.h. */
#include "support/set_clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "os/clock.h"

#define UNIX_US INT64_C(1700000000000000) /* of time 0, since 1970: some day */

static atomic_int_least64_t now;
static int64_t step;
static pthread_t test;
static atomic_bool has_started;

void set_clock_start(int64_t now_ns, int64_t step_ns)
{
    atomic_store(&now, now_ns);
    step = step_ns;
    test = pthread_self();
    atomic_store(&has_started, true);
}

void set_clock_advance(int64_t ns)
{
    atomic_fetch_add(&now, ns);
}

int64_t set_clock_peek(void)
{
    return atomic_load(&now);
}

int64_t clock_ns(void)
{
    bool is_test = atomic_load(&has_started) && pthread_equal(pthread_self(), test);
    return is_test ? atomic_fetch_add(&now, step) + step : atomic_load(&now);
}

double clock_ms_since(int64_t start_ns)
{
    return (double)(clock_ns() - start_ns) / 1e6;
}

int64_t clock_unix_us(void)
{
    return UNIX_US + atomic_load(&now) / 1000;
}

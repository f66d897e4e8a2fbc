/* Cancelling a prefill from another thread, as an editor's next key does. */
#include "cli/bench/cancel.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "os/clock.h"

/* Sets the flag after a delay. The main thread reads set_ns after joining. */
struct canceller {
    int64_t delay_ns, set_ns;
    atomic_bool flag;
};

static void *cancel_later(void *arg)
{
    struct canceller *c = arg;
    struct timespec delay = {.tv_sec = c->delay_ns / 1000000000, .tv_nsec = c->delay_ns % 1000000000};
    nanosleep(&delay, NULL);
    c->set_ns = clock_ns();
    atomic_store(&c->flag, true);
    return NULL;
}

/* One prefill, cancelled after delay_ms. *ms: how long it went on; negative if it had ended before. */
static enum err cancel_once(struct engine_seq *seq, const int32_t *tokens, double delay_ms, double *ms,
                            struct errmsg *msg)
{
    struct canceller c = {.delay_ns = (int64_t)(delay_ms * 1e6)};
    struct limits limits = {.cancel = &c.flag};
    pthread_t thread;
    engine_seq_clear(seq, false);
    int failure = pthread_create(&thread, NULL, cancel_later, &c);
    if (failure) return err_set(msg, ERR_NOMEM, "cannot start a thread: %s", strerror(failure));
    enum err err = engine_seq_sync(seq, tokens, BENCH_CANCEL_TOKENS, &limits, NULL);
    int64_t end = clock_ns();
    pthread_join(thread, NULL);
    *ms = err == ERR_CANCELLED ? (double)(end - c.set_ns) / 1e6 : -1;
    if (err == OK || err == ERR_CANCELLED) return OK;
    return err_set(msg, err, "cannot run a prefill to cancel: %s", err_text(err));
}

enum err bench_cancel_measure(struct engine_seq *seq, const int32_t *tokens, struct bench_cancel *out,
                              struct errmsg *msg)
{
    out->n = 0;
    engine_seq_clear(seq, false);
    int64_t start = clock_ns();
    enum err err = engine_seq_sync(seq, tokens, BENCH_CANCEL_TOKENS, NULL, NULL);
    double whole_ms = clock_ms_since(start);
    if (err) return err_set(msg, err, "cannot run a prefill: %s", err_text(err));
    for (int32_t i = 0; i < BENCH_CANCEL_TRIES && !err; i++) {
        /* Multiples of the golden ratio are spread evenly over 0..1 whatever their number is (Weyl). */
        double share = 0.6180339887 * (i + 1);
        double ms = -1;
        err = cancel_once(seq, tokens, whole_ms * (share - (int32_t)share), &ms, msg);
        if (!err && ms >= 0) out->ms[out->n++] = ms;
    }
    return err;
}

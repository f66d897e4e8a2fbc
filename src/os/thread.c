/* Single threads: starting them, and stepping behind all others. */
#include "os/thread.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

struct start {
    void (*run)(void *ctx);
    void *ctx;
};

static void *thread_main(void *arg)
{
    struct start start = *(struct start *)arg;
    mem_free(arg);
    start.run(start.ctx);
    return NULL;
}

/* A thread inherits the signal mask of the one that starts it. Faults are raised in the thread that causes
 * them and stay open. */
int thread_create(pthread_t *out, void *(*run)(void *arg), void *arg)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int failure = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

enum err thread_start(void (*run)(void *ctx), void *ctx, struct errmsg *msg)
{
    struct start *start = MEM_NEW(struct start);
    *start = (struct start){.run = run, .ctx = ctx};
    pthread_t thread;
    int failure = thread_create(&thread, thread_main, start);
    if (failure) {
        mem_free(start);
        return err_set(msg, ERR_LIMIT, "cannot start a thread: %s", strerror(failure));
    }
    pthread_detach(thread);
    return OK;
}

#ifdef __linux__

/* The kernel's struct sched_attr, as in sched_setattr(2), which the C library does not declare. */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/* With a slice of 0.1 ms instead of some 3 ms its deadline is
 * near whenever it wakes, which is what Linux chooses by (EEVDF, Stoica and Abdel-Wahab 1995; slices of one's
 * own since 6.12). Older kernels ignore it.
 */
void thread_make_prompt(void)
{
    const uint64_t reset_on_fork = 1; /* threads that this one starts are as usual */
    struct attributes a = {
        .size = sizeof a, .policy = SCHED_OTHER, .flags = reset_on_fork, .runtime = 100000};
    a.nice = getpriority(PRIO_PROCESS, 0);
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}

/* See sched(7): without preemption when it wakes. */
void thread_make_batch(void)
{
    struct sched_param param = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &param);
}

/* SCHED_IDLE yields to every other thread, see sched(7). Where a sandbox forbids it, the lowest priority of
 * the usual policy does; on Linux both calls mean the calling thread, not its process. */
void thread_make_idle(void)
{
    struct sched_param param = {0};
    if (sched_setscheduler(0, SCHED_IDLE, &param) != 0) setpriority(PRIO_PROCESS, 0, 19);
}

#else

void thread_make_prompt(void)
{
}

void thread_make_batch(void)
{
}

/* POSIX lowers the priority of whole processes only. */
void thread_make_idle(void)
{
}

#endif

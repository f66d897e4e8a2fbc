/* The handler of SIGBUS and the table in which it looks addresses up. See map_guard.h.
 *
 * A handler can wait for nobody and allocate nothing, so the table is fixed and made of atomics. An entry is
 * read as under a seqlock (Lameter, "Effective synchronization on Linux/NUMA systems", 2005), but for one
 * thing: an entry that is being changed is passed over. That is right, because it cannot be the one that is
 * looked for: nobody reads a map that is just being opened or closed. All accesses are sequentially
 * consistent, which a seqlock's proof needs and which costs nothing: they are rare.
 *
 * The whole map is replaced, not the one page: the model in it is lost with the first page, a map in ever
 * more pieces would end at the kernel's limit of maps, and a thread faults once instead of a hundred thousand
 * times. Threads that fault at once replace zeros by zeros. */
#include "os/map_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A model has two maps, its file and its pack; far more than a machine holds in memory. */
#define GUARDS_MAX 128

struct map_guard {
    atomic_uint version;         /* odd while the others change */
    atomic_uintptr_t start, end; /* 0: the entry is free */
    atomic_bool is_lost;
};

_Static_assert(ATOMIC_POINTER_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_BOOL_LOCK_FREE == 2,
               "a lock could be held by the thread that the signal interrupts");

static struct map_guard guards[GUARDS_MAX]; /* layers: allow guards, a signal handler reaches only globals */
/* A handler of ours, and the one that was there when it was installed. Others may install theirs after us and
 * call what they found; if we then come again it is as another link, so that no fault goes in a circle. */
#define LINKS_MAX 4
static struct sigaction previous[LINKS_MAX]; /* layers: allow previous, for the signal handler */

/* --- The handler: async-signal-safe ------------------------------------------------------------------- */

/* The guard of the map that holds addr, and its pages. */
static struct map_guard *find(uintptr_t addr, uintptr_t *start, uintptr_t *end)
{
    for (struct map_guard *g = guards; g < guards + GUARDS_MAX; g++) {
        unsigned version = atomic_load(&g->version);
        *start = atomic_load(&g->start);
        *end = atomic_load(&g->end);
        bool is_whole = version % 2 == 0 && atomic_load(&g->version) == version;
        if (is_whole && addr >= *start && addr < *end) return g;
    }
    return NULL;
}

/* Map zeros over [start, end). The system call itself: POSIX does not promise that the library's mmap may be
 * called in a handler, and sanitizers that watch it would report the readers, who know that what they read is
 * void. (With 32 bits the call has other parameters.) */
static bool put_zeros(uintptr_t start, uintptr_t end)
{
    const long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
#if defined __linux__ && defined __LP64__
    return syscall(SYS_mmap, start, end - start, (long)PROT_READ, flags, -1L, 0L) == (long)start;
#else
    return mmap((void *)start, end - start, PROT_READ, (int)flags, -1, 0) != MAP_FAILED;
#endif
}

/* Put zeros in place of the map that holds addr. The flag comes first: who reads zeros can see that it did.
 */
static bool lose(uintptr_t addr)
{
    uintptr_t start, end;
    struct map_guard *g = find(addr, &start, &end);
    if (!g) return false;
    atomic_store(&g->is_lost, true);
    return put_zeros(start, end);
}

/* The thread will do what it was doing again when the handler returns. Signals that were sent (their code is
 * not positive) have no address, and early warnings of failing memory interrupt something else. */
static bool is_raised_by_access(const siginfo_t *info)
{
#ifdef BUS_MCEERR_AO
    if (info->si_code == BUS_MCEERR_AO) return false;
#endif
    return info->si_code > 0;
}

/* As if our handler were not there. */
static void pass_on(const struct sigaction *to, int number, siginfo_t *info, void *context)
{
    bool is_own_fault = is_raised_by_access(info);
    if (to->sa_flags & SA_SIGINFO) {
        to->sa_sigaction(number, info, context);
    } else if (to->sa_handler == SIG_DFL || to->sa_handler == SIG_IGN) {
        if (to->sa_handler == SIG_IGN && !is_own_fault) return;
        /* The fault comes again, and ends the process where it belongs; what was sent must be sent again. */
        signal(number, SIG_DFL);
        if (!is_own_fault) raise(number);
    } else {
        to->sa_handler(number);
    }
}

static void handle(const struct sigaction *next, int number, siginfo_t *info, void *context)
{
    int saved = errno;
    /* An access that is not aligned is the program's fault, whatever the map. */
    bool is_page = is_raised_by_access(info) && info->si_code != BUS_ADRALN;
    if (!is_page || !lose((uintptr_t)info->si_addr)) pass_on(next, number, info, context);
    errno = saved;
}

static void handle_0(int number, siginfo_t *info, void *context)
{
    handle(&previous[0], number, info, context);
}

static void handle_1(int number, siginfo_t *info, void *context)
{
    handle(&previous[1], number, info, context);
}

static void handle_2(int number, siginfo_t *info, void *context)
{
    handle(&previous[2], number, info, context);
}

static void handle_3(int number, siginfo_t *info, void *context)
{
    handle(&previous[3], number, info, context);
}

/* --- Everything else ---------------------------------------------------------------------------------- */

typedef void action_fn(int number, siginfo_t *info, void *context);
static action_fn *const handlers[LINKS_MAX] = {handle_0, handle_1, handle_2, handle_3};

static bool is_same_handler(const struct sigaction *a, const struct sigaction *b)
{
    if ((a->sa_flags & SA_SIGINFO) != (b->sa_flags & SA_SIGINFO)) return false;
    return a->sa_flags & SA_SIGINFO ? a->sa_sigaction == b->sa_sigaction : a->sa_handler == b->sa_handler;
}

/* Be the one who is asked first: with the link that was installed over `now` before, else with a new one.
 * Where there are no more links the others have it. */
static void install(const struct sigaction *now, int *n_links)
{
    int i = 0;
    while (i < *n_links && !is_same_handler(&previous[i], now)) i++;
    if (i == LINKS_MAX) return;
    if (i == *n_links) previous[(*n_links)++] = *now;
    /* On the stack that the host set up for signals, if it did (some languages' runtimes insist), and with
     * what the earlier handler expects to be blocked. */
    struct sigaction action = {.sa_sigaction = handlers[i], .sa_mask = now->sa_mask};
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | (now->sa_flags & (SA_RESTART | SA_NODEFER));
    sigaction(SIGBUS, &action, NULL);
}

static void ensure_installed(void)
{
    /* The signal's handler is the process's. The lock is a leaf. */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int n_links;
    struct sigaction now;
    pthread_mutex_lock(&lock);
    bool is_ours = sigaction(SIGBUS, NULL, &now) != 0;
    for (int i = 0; i < n_links && (now.sa_flags & SA_SIGINFO); i++)
        is_ours |= now.sa_sigaction == handlers[i];
    if (!is_ours) install(&now, &n_links);
    pthread_mutex_unlock(&lock);
}

struct map_guard *map_guard_add(const void *start, size_t len)
{
    ensure_installed();
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (struct map_guard *g = guards; g < guards + GUARDS_MAX; g++) {
        unsigned version = atomic_load(&g->version);
        if (version % 2 || atomic_load(&g->start)) continue;
        if (!atomic_compare_exchange_strong(&g->version, &version, version + 1)) continue;
        atomic_store(&g->start, (uintptr_t)start);
        atomic_store(&g->end, ((uintptr_t)start + len + page - 1) / page * page);
        atomic_store(&g->is_lost, false);
        atomic_store(&g->version, version + 2);
        return g;
    }
    return NULL;
}

void map_guard_remove(struct map_guard *g)
{
    if (!g) return;
    atomic_fetch_add(&g->version, 1);
    atomic_store(&g->start, 0);
    atomic_store(&g->end, 0);
    atomic_fetch_add(&g->version, 1);
}

bool map_guard_is_lost(const struct map_guard *g)
{
    return g && atomic_load(&g->is_lost);
}

/* os/map.c, map_guard.c: what becomes of those who read a map whose file was truncated, and of faults that
 * are not the map's. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/map.h"
#include "os/thread.h"
#include "support/dying_disk.h"

#define N_PAGES   16
#define N_READERS 3
#define ROUNDS    1000
#define MAPS_MAX  200 /* more than there are guards */

struct file {
    char path[64];
    int fd;
    size_t page, len;
};

static int set_up(void **state)
{
    struct file *f = calloc(1, sizeof *f);
    snprintf(f->path, sizeof f->path, "/tmp/inline-test-guard-XXXXXX");
    f->fd = mkstemp(f->path);
    f->page = (size_t)sysconf(_SC_PAGESIZE);
    f->len = N_PAGES * f->page;
    *state = f;
    return f->fd >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    struct file *f = *state;
    close(f->fd);
    unlink(f->path);
    free(f);
    return 0;
}

/* Whole again: every byte is 1. */
static void fill(const struct file *f)
{
    char *bytes = malloc(f->len);
    memset(bytes, 1, f->len);
    assert_int_equal(pwrite(f->fd, bytes, f->len, 0), f->len);
    free(bytes);
}

static void cut(const struct file *f, size_t len)
{
    assert_int_equal(ftruncate(f->fd, (off_t)len), 0);
}

static struct map open_map(const struct file *f)
{
    struct map m;
    struct errmsg msg;
    if (map_open(f->path, &m, &msg)) fail_msg("%s", msg.text);
    assert_int_equal(m.len, f->len);
    return m;
}

static unsigned sum(const struct map *m, size_t step)
{
    unsigned n = 0;
    for (size_t i = 0; i < m->len; i += step) n += *(const volatile unsigned char *)(m->data + i);
    return n;
}

/* --- Lost pages --------------------------------------------------------------------------------------- */

static void test_reads_zeros(void **state)
{
    const struct file *f = *state;
    fill(f);
    struct map whole = open_map(f);
    assert_int_equal(sum(&whole, f->page), N_PAGES);
    assert_false(map_is_lost(&whole));
    cut(f, f->page);
    assert_false(map_is_lost(&whole)); /* nobody has looked */
    errno = 1234;
    assert_int_equal(whole.data[f->len - 1], 0);
    assert_int_equal(errno, 1234);
    assert_true(map_is_lost(&whole));
    assert_int_equal(sum(&whole, 1), 0);
    map_will_need(&whole, 0, whole.len);
    map_drop(&whole, 0, whole.len);
    assert_int_equal(sum(&whole, 1), 0);
    map_close(&whole);

    cut(f, 0);
    fill(f);
    struct map again = open_map(f); /* perhaps in the same place, with the same guard */
    assert_int_equal(sum(&again, 1), f->len);
    assert_false(map_is_lost(&again));
    map_close(&again);
}

static void test_deleted_and_replaced_files_live_on(void **state)
{
    const struct file *f = *state;
    fill(f);
    struct map m = open_map(f);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(sum(&m, 1), f->len);
    assert_false(map_is_lost(&m));
    map_close(&m);
    assert_int_equal(close(open(f->path, O_CREAT | O_EXCL | O_RDWR, 0600)), 0);
}

/* Other maps, guarded in the same table, are not touched. */
static void test_one_map_of_two(void **state)
{
    const struct file *f = *state;
    struct file other = *f;
    strcpy(other.path, "/tmp/inline-test-guard-XXXXXX"); /* NOLINT: it fits */
    other.fd = mkstemp(other.path);
    fill(f);
    fill(&other);
    struct map bad = open_map(f), good = open_map(&other);
    cut(f, 0);
    assert_int_equal(sum(&bad, 1), 0);
    assert_int_equal(sum(&good, 1), f->len);
    assert_true(map_is_lost(&bad));
    assert_false(map_is_lost(&good));
    map_close(&bad);
    assert_int_equal(sum(&good, 1), f->len);
    map_close(&good);
    close(other.fd);
    unlink(other.path);
}

/* Some pages can be read, the others not any more; nobody has changed the file. */
static void test_dying_disk(void **state)
{
    const struct file *f = *state;
    struct dying_disk disk;
    char *bytes = malloc(f->len);
    memset(bytes, 1, f->len);
    bool is_mounted = dying_disk_mount(&disk, bytes, f->len);
    free(bytes); /* the server has its own */
    if (!is_mounted) skip();
    struct map m;
    assert_int_equal(map_open(disk.path, &m, NULL), OK);
    map_expect(&m, 0, m.len, MAP_PIECES);
    assert_int_equal(m.data[0], 1);
    assert_false(map_is_lost(&m));
    dying_disk_kill(&disk);
    assert_int_equal(m.data[m.len - 1], 0);
    assert_true(map_is_lost(&m));
    assert_int_equal(sum(&m, 1), 0);
    map_close(&m);
    dying_disk_unmount(&disk);
}

struct readers {
    pthread_barrier_t start;
    _Atomic(const struct map *) map; /* null: end */
    atomic_int n_wrong;              /* bytes that are neither the file's nor zero */
    pthread_barrier_t end;
};

static void *read_rounds(void *ctx)
{
    struct readers *r = ctx;
    for (;;) {
        pthread_barrier_wait(&r->start);
        const struct map *m = atomic_load(&r->map);
        if (!m) return NULL;
        for (int pass = 0; pass < 2 || !map_is_lost(m); pass++) {
            for (size_t i = 0; i < m->len; i += 64) {
                if (*(const volatile unsigned char *)(m->data + i) > 1) atomic_fetch_add(&r->n_wrong, 1);
            }
        }
        pthread_barrier_wait(&r->end);
    }
}

static void test_truncated_while_threads_read(void **state)
{
    const struct file *f = *state;
    struct readers r = {0};
    pthread_t threads[N_READERS];
    pthread_barrier_init(&r.start, NULL, N_READERS + 1);
    pthread_barrier_init(&r.end, NULL, N_READERS + 1);
    for (int i = 0; i < N_READERS; i++)
        assert_int_equal(thread_create(&threads[i], read_rounds, &r), 0); /* as the engine's threads */
    for (int round = 0; round < ROUNDS; round++) {
        fill(f);
        struct map m = open_map(f);
        atomic_store(&r.map, &m);
        pthread_barrier_wait(&r.start);
        cut(f, (size_t)(round % N_PAGES) * f->page);
        pthread_barrier_wait(&r.end);
        assert_true(map_is_lost(&m));
        map_close(&m);
    }
    atomic_store(&r.map, NULL);
    pthread_barrier_wait(&r.start);
    for (int i = 0; i < N_READERS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&r.start);
    pthread_barrier_destroy(&r.end);
    assert_int_equal(r.n_wrong, 0);
}

/* Maps come and go in some threads while others look their faults up in the table. */
static void *open_and_close(void *ctx)
{
    struct readers *r = ctx;
    const struct file *f = (const void *)atomic_load(&r->map);
    for (int i = 0; i < ROUNDS; i++) {
        char path[] = "/tmp/inline-test-guard-XXXXXX";
        struct map m;
        int fd = mkstemp(path);
        unlink(path);
        if (ftruncate(fd, (off_t)f->len) != 0 || map_open_fd(fd, path, &m, NULL) != OK) return NULL;
        if (i % 2 && ftruncate(fd, 0) != 0) return NULL;
        unsigned n = sum(&m, f->page);
        if (n != 0 || map_is_lost(&m) != (i % 2 == 1)) atomic_fetch_add(&r->n_wrong, 1);
        map_close(&m);
        close(fd);
        atomic_fetch_add(&r->n_wrong, 0);
    }
    return r;
}

static void test_maps_come_and_go(void **state)
{
    struct readers r = {.map = *state};
    pthread_t threads[N_READERS];
    void *is_complete;
    for (int i = 0; i < N_READERS; i++) assert_int_equal(thread_create(&threads[i], open_and_close, &r), 0);
    for (int i = 0; i < N_READERS; i++) {
        pthread_join(threads[i], &is_complete);
        assert_non_null(is_complete);
    }
    assert_int_equal(r.n_wrong, 0);
}

static void test_more_maps_than_guards(void **state)
{
    const struct file *f = *state;
    static struct map maps[MAPS_MAX];
    int n_guarded = 0;
    fill(f);
    for (int i = 0; i < MAPS_MAX; i++) {
        maps[i] = open_map(f);
        n_guarded += maps[i].guard != NULL;
    }
    assert_in_range(n_guarded, 64, MAPS_MAX - 1);
    assert_int_equal(sum(&maps[MAPS_MAX - 1], 1), f->len); /* without a guard, but whole */
    assert_false(map_is_lost(&maps[MAPS_MAX - 1]));
    for (int i = 0; i < MAPS_MAX; i++) map_close(&maps[i]);
    struct map m = open_map(f);
    assert_non_null(m.guard);
    map_close(&m);
}

/* --- Faults that are none of ours: in a child, which dies or tells by its exit status ------------------ */

/* A page of a file behind its end, that nobody guards. */
static const volatile char *foreign_page(const struct file *f)
{
    cut(f, 0);
    return mmap(NULL, f->page, PROT_READ, MAP_PRIVATE, f->fd, 0);
}

static sigjmp_buf back;
static volatile sig_atomic_t n_caught;
static void *volatile caught_at;

static void on_signal(int number)
{
    n_caught += number == SIGBUS;
    siglongjmp(back, 1);
}

static void on_info(int number, siginfo_t *info, void *context)
{
    (void)context;
    n_caught += number == SIGBUS;
    caught_at = info->si_addr;
    siglongjmp(back, 1);
}

/* What a program that had `action` before its first map sees of a foreign fault; its exit status. */
static int child_with_handler(const struct file *f, const struct sigaction *action)
{
    fill(f);
    if (sigaction(SIGBUS, action, NULL) != 0) return 2;
    struct map m = open_map(f);
    const volatile char *foreign = foreign_page(f);
    if (sum(&m, f->page) != 0 || !map_is_lost(&m) || n_caught != 0) return 3; /* ours is not passed on */
    if (sigsetjmp(back, 1) == 0) (void)*foreign;
    if (sigsetjmp(back, 1) == 0) raise(SIGBUS); /* sent, not a fault */
    if (action->sa_flags & SA_SIGINFO) return n_caught == 2 ? 0 : 4;
    return n_caught == 2 ? 0 : 5;
}

static int child_tells_where(const struct file *f)
{
    struct sigaction action = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO};
    fill(f);
    if (sigaction(SIGBUS, &action, NULL) != 0) return 2;
    struct map m = open_map(f);
    const volatile char *foreign = foreign_page(f);
    if (sigsetjmp(back, 1) == 0) (void)foreign[5];
    map_close(&m);
    return n_caught == 1 && caught_at == (void *)(uintptr_t)(foreign + 5) ? 0 : 3;
}

static int child_reads_foreign(const struct file *f)
{
    fill(f);
    struct map m = open_map(f);
    const volatile char *foreign = foreign_page(f);
    (void)*foreign; /* dies here */
    map_close(&m);
    return 2;
}

/* A handler that comes after ours and, as is the custom, calls what it found. */
static struct sigaction found;

static void on_later(int number, siginfo_t *info, void *context)
{
    n_caught++;
    found.sa_sigaction(number, info, context);
}

/* Ours comes again with the next map; both are asked, and no fault goes in a circle. */
static int child_has_later_handler(const struct file *f)
{
    fill(f);
    struct sigaction first = {.sa_handler = on_signal};
    struct sigaction later = {.sa_sigaction = on_later, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGBUS, &first, NULL) != 0) return 2;
    struct map m = open_map(f);
    if (sigaction(SIGBUS, &later, &found) != 0 || !(found.sa_flags & SA_SIGINFO)) return 3;
    struct map second = open_map(f);
    const volatile char *foreign = foreign_page(f);
    if (sum(&m, f->page) != 0 || sum(&second, f->page) != 0 || n_caught != 0) return 4;
    if (sigsetjmp(back, 1) == 0) (void)*foreign;
    return n_caught == 2 ? 0 : 5;
}

static int child_is_sent_one(const struct file *f)
{
    fill(f);
    struct map m = open_map(f);
    raise(SIGBUS); /* dies here */
    map_close(&m);
    return 2;
}

static int child_ignores_sent_ones(const struct file *f)
{
    fill(f);
    signal(SIGBUS, SIG_IGN);
    struct map m = open_map(f);
    raise(SIGBUS);
    cut(f, 0);
    return sum(&m, f->page) == 0 && map_is_lost(&m) ? 0 : 2;
}

static int child_reads_after_close(const struct file *f)
{
    fill(f);
    struct map m = open_map(f);
    const volatile unsigned char *data = m.data;
    map_close(&m);
    cut(f, 0);
    /* The same place, but not guarded any more. */
    if (mmap((void *)(uintptr_t)data, f->page, PROT_READ, MAP_PRIVATE | MAP_FIXED, f->fd, 0) == MAP_FAILED)
        return 2;
    (void)*data; /* dies here */
    return 3;
}

/* The wait status of a child that runs test: each has a SIGBUS of its own, from before the first map. */
static int status_of(int (*test)(const struct file *f), const struct file *f)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGBUS, SIG_DFL); /* cmocka has its own */
        _exit(test(f));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static int child_simple_handler(const struct file *f)
{
    return child_with_handler(f, &(struct sigaction){.sa_handler = on_signal});
}

static int child_info_handler(const struct file *f)
{
    return child_with_handler(f, &(struct sigaction){.sa_sigaction = on_info, .sa_flags = SA_SIGINFO});
}

static void assert_exits_well(int status)
{
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void assert_dies_of_it(int status)
{
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
}

/* These come first: the first map of a process decides whose handler was there before. */
static void test_earlier_handler_gets_its_faults(void **state)
{
    assert_exits_well(status_of(child_simple_handler, *state));
    assert_exits_well(status_of(child_info_handler, *state));
    assert_exits_well(status_of(child_tells_where, *state));
    assert_exits_well(status_of(child_ignores_sent_ones, *state));
    assert_exits_well(status_of(child_has_later_handler, *state));
}

static void test_default_is_death(void **state)
{
    assert_dies_of_it(status_of(child_reads_foreign, *state));
    assert_dies_of_it(status_of(child_is_sent_one, *state));
    assert_dies_of_it(status_of(child_reads_after_close, *state));
}

/* A child has its parent's maps, handler and guards. */
static void test_after_fork(void **state)
{
    const struct file *f = *state;
    fill(f);
    struct map m = open_map(f);
    cut(f, 0);
    int status = -1;
    pid_t child = fork();
    if (child == 0) _exit(sum(&m, f->page) == 0 && map_is_lost(&m) ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_exits_well(status);
    assert_false(map_is_lost(&m));
    assert_int_equal(sum(&m, f->page), 0);
    map_close(&m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_earlier_handler_gets_its_faults),
        TEST(test_default_is_death),
        TEST(test_reads_zeros),
        TEST(test_deleted_and_replaced_files_live_on),
        TEST(test_one_map_of_two),
        TEST(test_dying_disk),
        TEST(test_truncated_while_threads_read),
        TEST(test_maps_come_and_go),
        TEST(test_more_maps_than_guards),
        TEST(test_after_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* model/residency*.c: weights are read in the order of need, counted, given back, locked where that is
 * allowed, and a disk that does not answer holds up nobody.
 *
 * map_populate is linked through a gate (the linker's --wrap), which records what is read and can be shut. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/residency.h"
#include "model/residency_plan.h"
#include "model/weight_pack.h"
#include "os/clock.h"
#include "os/map.h"
#include "support/shape_model.h"

#define N_LAYERS 3
#define WAIT_MS  10000
#define PIECE    ((int64_t)4 << 20) /* the largest that is read at once */

/* --- The gate ---------------------------------------------------------------------------------------- */

#define READS_MAX 256

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_shut, is_broken; /* broken: the disk fails */
    int n_inside;            /* threads in map_populate */
    const struct map *maps[READS_MAX];
    size_t offsets[READS_MAX], lens[READS_MAX];
    int n;
};

static struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

bool __real_map_populate(const struct map *m, size_t offset, size_t len);
bool __wrap_map_populate(const struct map *m, size_t offset, size_t len);

bool __wrap_map_populate(const struct map *m, size_t offset, size_t len)
{
    pthread_mutex_lock(&gate.lock);
    gate.n_inside++;
    pthread_cond_broadcast(&gate.changed);
    while (gate.is_shut) pthread_cond_wait(&gate.changed, &gate.lock);
    bool is_broken = gate.is_broken;
    if (gate.n < READS_MAX) {
        gate.maps[gate.n] = m;
        gate.offsets[gate.n] = offset;
        gate.lens[gate.n++] = len;
    }
    pthread_mutex_unlock(&gate.lock);
    bool is_read = !is_broken && __real_map_populate(m, offset, len);
    pthread_mutex_lock(&gate.lock);
    gate.n_inside--;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    return is_read;
}

static void set_gate(bool is_shut, bool is_broken)
{
    pthread_mutex_lock(&gate.lock);
    gate.is_shut = is_shut;
    gate.is_broken = is_broken;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void wait_inside(int n)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.n_inside != n) pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

/* --- Models ------------------------------------------------------------------------------------------ */

struct place {
    char root[32], packs[64], path[64];
    struct model *model;
};

static int set_up(void **state)
{
    struct errmsg msg = {0};
    struct place *p = MEM_NEW(struct place);
    gate.n = 0;
    snprintf(p->root, sizeof p->root, "/tmp/inline-test-XXXXXX");
    if (!mkdtemp(p->root)) return -1;
    snprintf(p->packs, sizeof p->packs, "%s/packs", p->root);
    snprintf(p->path, sizeof p->path, "%s/model.gguf", p->root);
    struct shape_model shape = {.fixture = FIXTURES "/models/llama.gguf",
                                .n_layers = N_LAYERS,
                                .d_model = 1024,
                                .d_ff = 2048,
                                .n_heads = 16,
                                .n_kv_heads = 2,
                                .head_dim = 64,
                                .is_tied = true,
                                .type = KERN_Q8_0}; /* 10 MB a layer, and half a MB for the head */
    if (!shape_model_write(&shape, p->path) || model_open(p->path, &p->model, &msg)) return -1;
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    char command[64];
    set_gate(false, false);
    wait_inside(0);
    model_unref(&p->model);
    snprintf(command, sizeof command, "rm -r '%s'", p->root);
    int failed = system(command);
    mem_free(p);
    return failed;
}

static struct weight_pack *make_pack(const struct place *p)
{
    struct errmsg msg = {0};
    struct weight_pack *pack = NULL;
    struct weight_pack_options o = {.dir = p->packs, .build = true, .is_foreground = true};
    if (weight_pack_open(p->model, &o, &pack, &msg)) fail_msg("%s", msg.text);
    weight_pack_wait(pack);
    assert_int_equal(weight_pack_state(pack), WEIGHT_PACK_READY);
    return pack;
}

static struct residency *make(const struct place *p, bool lock)
{
    struct errmsg msg = {0};
    struct residency *r = NULL;
    struct residency_options o = {.lock = lock};
    if (residency_new(p->model, &o, &r, &msg)) fail_msg("%s", msg.text);
    return r;
}

static struct residency_state state_of(const struct residency *r)
{
    struct residency_state s;
    residency_state(r, &s);
    return s;
}

static struct residency_state wait_done(const struct residency *r)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t start = clock_ns();
    while (!state_of(r).is_done && clock_ms_since(start) < WAIT_MS) nanosleep(&pause, NULL);
    assert_true(state_of(r).is_done);
    return state_of(r);
}

/* Where data lies in the order of the plan: the number of its extent, from `first` on, or -1. */
static int32_t rank_from(const struct residency_plan *plan, int32_t first, const struct map *map,
                         size_t offset)
{
    for (int32_t i = first; i < plan->n; i++) {
        const struct residency_extent *e = &plan->extents[i];
        if (e->map == map && offset >= e->offset && offset < e->offset + e->len) return i;
    }
    return -1;
}

static int32_t rank_of(const struct residency_plan *plan, const struct map *map, size_t offset)
{
    return rank_from(plan, 0, map, offset);
}

static size_t offset_of(const struct place *p, const void *data)
{
    return (size_t)((const unsigned char *)data - gguf_map(p->model->gguf)->data);
}

/* --- The order --------------------------------------------------------------------------------------- */

/* Every byte that is used is in the plan, blocks in their order, the head (and table) last. */
static void test_order_of_file(void **state)
{
    struct place *p = *state;
    const struct map *map = gguf_map(p->model->gguf);
    struct residency_plan plan;
    assert_int_equal(residency_plan_make(p->model, NULL, &plan), OK);
    int32_t before = 0;
    for (int32_t i = 0; i < N_LAYERS; i++) {
        const struct model_layer *l = &p->model->layers[i];
        const void *used[] = {l->wq.data, l->wk.data,   l->wv.data,   l->wo.data, l->gate.data,
                              l->up.data, l->down.data, l->attn_norm, l->ffn_norm};
        for (size_t j = 0; j < sizeof used / sizeof *used; j++) {
            int32_t rank = rank_of(&plan, map, offset_of(p, used[j]));
            assert_true(rank >= before);
        }
        before = rank_of(&plan, map, offset_of(p, l->down.data));
    }
    assert_int_equal(rank_of(&plan, map, offset_of(p, p->model->output.data)), plan.n - 1);
    int64_t sum = 0;
    for (int32_t i = 0; i < plan.n; i++) sum += (int64_t)plan.extents[i].len;
    assert_int_equal(sum, plan.bytes);
    assert_true(sum <= (int64_t)map->len);
    residency_plan_clear(&plan);
}

/* With a pack, what it holds is read there, and of the file only the vectors, first. */
static void test_order_of_pack(void **state)
{
    struct place *p = *state;
    const struct map *file = gguf_map(p->model->gguf), *map;
    struct weight_pack *pack = make_pack(p);
    struct residency_plan plan;
    assert_int_equal(residency_plan_make(p->model, pack, &plan), OK);
    size_t before = 0, offset, len;
    for (int32_t i = 0; i < N_LAYERS; i++) {
        const struct model_layer *l = &p->model->layers[i];
        assert_true(weight_pack_find(pack, &l->down, &map, &offset, &len));
        assert_true(rank_of(&plan, map, offset) >= plan.n_small);
        assert_true(rank_of(&plan, map, offset + len - 1) >= 0);
        assert_true(offset > before);
        before = offset;
        assert_int_equal(rank_of(&plan, file, offset_of(p, l->down.data) + l->down.row_bytes * 8), -1);
        int32_t norm = rank_of(&plan, file, offset_of(p, l->ffn_norm));
        assert_true(norm >= 0 && norm < plan.n_small);
    }
    assert_true(weight_pack_find(pack, &p->model->output, &map, &offset, &len));
    assert_int_equal(rank_of(&plan, map, offset), plan.n - 1);
    assert_false(weight_pack_find(pack, &(struct kern_mat){.data = p->root}, &map, &offset, &len));
    residency_plan_clear(&plan);
    weight_pack_close(&pack);
}

/* Pieces are taken in the plan's order: with two threads, none is more than one place away from it. */
static void test_reads_in_order(void **state)
{
    struct place *p = *state;
    struct residency *r = make(p, false);
    residency_begin(r, NULL);
    struct residency_state s = wait_done(r);
    struct residency_plan plan;
    assert_int_equal(residency_plan_make(p->model, NULL, &plan), OK);
    int64_t read = 0;
    int32_t furthest = 0;
    for (int i = 0; i < gate.n; i++) {
        int32_t rank = rank_from(&plan, plan.n_small, gate.maps[i], gate.offsets[i]);
        assert_true(rank >= plan.n_small);
        assert_true(rank >= furthest - 1);
        assert_true((int64_t)gate.lens[i] <= PIECE);
        if (rank > furthest) furthest = rank;
        read += (int64_t)gate.lens[i];
    }
    for (int32_t i = 0; i < plan.n_small; i++) read += (int64_t)plan.extents[i].len;
    assert_int_equal(read, plan.bytes);
    assert_int_equal(s.wanted_bytes, plan.bytes);
    assert_int_equal(s.read_bytes, plan.bytes);
    assert_true(s.ms > 0);
    assert_false(s.is_locked);
    assert_int_equal(residency_resident(r), plan.bytes);
    residency_plan_clear(&plan);
    residency_free(&r);
}

/* --- Dropping, replacing, locking -------------------------------------------------------------------- */

/* Bytes of the process's memory that are pages of files. */
static int64_t file_rss(void)
{
    char line[128];
    long long kb = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "RssFile: %lld kB", &kb);
    if (f) fclose(f);
    return kb * 1024;
}

static void test_drop_gives_memory_back(void **state)
{
    struct place *p = *state;
    struct residency *r = make(p, false);
    assert_int_equal(residency_drop(r), 0); /* nothing has begun */
    residency_begin(r, NULL);
    int64_t wanted = wait_done(r).wanted_bytes, before = file_rss();
    assert_int_equal(residency_drop(r), wanted);
    assert_true(before - file_rss() >= wanted * 9 / 10);
    assert_false(state_of(r).is_done);
    assert_int_equal(state_of(r).read_bytes, 0);
    /* The next tokens bring it back. */
    residency_expect(r, (const int32_t[]){0, 1, -5, INT32_MAX}, 4);
    assert_int_equal(wait_done(r).read_bytes, wanted);
    residency_free(&r);
}

/* A pack that comes into use takes the place of the file's matrices. */
static void test_pack_replaces_file(void **state)
{
    struct place *p = *state;
    struct residency *r = make(p, false);
    residency_begin(r, NULL);
    wait_done(r);
    struct weight_pack *pack = make_pack(p);
    const struct model_layer *l = &p->model->layers[0];
    const struct map *map;
    size_t offset, len;
    assert_true(weight_pack_find(pack, &l->up, &map, &offset, &len));
    gate.n = 0;
    residency_begin(r, pack);
    struct residency_state s = wait_done(r);
    assert_true(gate.n > 0);
    for (int i = 0; i < gate.n; i++) assert_ptr_equal(gate.maps[i], map);
    assert_int_equal(s.read_bytes, s.wanted_bytes);
    int64_t before = file_rss();
    /* Nothing of the file's matrices was left to be given back. */
    map_drop(gguf_map(p->model->gguf), offset_of(p, l->up.data), (size_t)l->up.n_rows * l->up.row_bytes);
    assert_int_equal(file_rss(), before);
    int64_t wanted = 0;
    assert_int_equal(residency_look(p->model, pack, &wanted), residency_resident(r));
    assert_int_equal(wanted, s.wanted_bytes);
    weight_pack_close(&pack); /* its pages stay as long as somebody reads them */
    assert_int_equal(residency_drop(r), wanted);
    residency_free(&r);
}

static void test_lock(void **state)
{
    struct place *p = *state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
    struct residency *r = make(p, true);
    residency_begin(r, NULL);
    struct residency_state s = wait_done(r);
    bool is_allowed = geteuid() == 0 || before.rlim_cur == RLIM_INFINITY;
    if (is_allowed) assert_true(s.is_locked);
    /* Locked or not, all can be given back. */
    int64_t rss = file_rss();
    assert_int_equal(residency_drop(r), s.wanted_bytes);
    assert_true(rss - file_rss() >= s.wanted_bytes * 9 / 10);
    assert_false(state_of(r).is_locked);
    residency_free(&r);
}

/* Root may lock whatever the limit says, so in a child that is nobody. */
static void test_lock_is_not_allowed(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)state;
    skip(); /* they make mlock do nothing, and say that it did */
#endif
    struct place *p = *state;
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit none = {0};
        bool is_nobody = geteuid() != 0 || setresuid(65534, 65534, 65534) == 0;
        if (!is_nobody || setrlimit(RLIMIT_MEMLOCK, &none) != 0) _exit(2);
        struct residency *r = make(p, true);
        residency_begin(r, NULL);
        struct residency_state s = wait_done(r);
        _exit(!s.is_locked && s.read_bytes == s.wanted_bytes ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- Disks that fail --------------------------------------------------------------------------------- */

/* Both threads wait for the disk: their owner leaves, and model and pack stay until they come back. */
static void test_free_while_disk_hangs(void **state)
{
    struct place *p = *state;
    struct weight_pack *pack = make_pack(p);
    struct residency *r = make(p, false);
    set_gate(true, false);
    residency_begin(r, pack);
    wait_inside(2);
    assert_false(state_of(r).is_done);
    int64_t start = clock_ns();
    residency_free(&r);
    assert_null(r);
    assert_true(clock_ms_since(start) < 100); /* 50, and what a busy machine adds */
    weight_pack_close(&pack);
    set_gate(false, false); /* under the address sanitizer, use after free would show now */
    wait_inside(0);
}

/* A piece that comes in after a drop is not counted. */
static void test_drop_while_disk_hangs(void **state)
{
    struct place *p = *state;
    struct residency *r = make(p, false);
    set_gate(true, false);
    residency_begin(r, NULL);
    wait_inside(2);
    residency_drop(r);
    set_gate(false, false);
    wait_inside(0);
    assert_int_equal(state_of(r).read_bytes, 0);
    assert_false(state_of(r).is_done);
    residency_begin(r, NULL);
    struct residency_state s = wait_done(r);
    assert_int_equal(s.read_bytes, s.wanted_bytes);
    residency_free(&r);
}

/* Reading stops, and never counts as done. */
static void test_disk_fails(void **state)
{
    struct place *p = *state;
    struct residency *r = make(p, false);
    set_gate(false, true);
    residency_begin(r, NULL);
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t start = clock_ns();
    double ms = -1; /* stands still once nothing more is read */
    while (state_of(r).ms != ms && clock_ms_since(start) < WAIT_MS) {
        ms = state_of(r).ms;
        nanosleep(&pause, NULL);
    }
    assert_true(clock_ms_since(start) < WAIT_MS);
    assert_false(state_of(r).is_done);
    assert_true(state_of(r).read_bytes < state_of(r).wanted_bytes);
    residency_free(&r);
}

/* --- From several threads ----------------------------------------------------------------------------- */

static void *look(void *arg)
{
    struct residency *r = arg;
    for (int i = 0; i < 200; i++) {
        struct residency_state s = state_of(r);
        assert_true(s.read_bytes >= 0 && s.ms >= 0);
        if (i % 20 == 0) residency_resident(r);
        if (i % 50 == 0) residency_drop(r);
    }
    return NULL;
}

static void test_others_look_and_drop(void **state)
{
    struct place *p = *state;
    struct weight_pack *pack = make_pack(p);
    struct residency *r = make(p, false);
    residency_begin(r, NULL);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, look, r), 0);
    for (int32_t i = 0; i < 20; i++) residency_expect(r, &i, 1);
    residency_begin(r, pack);
    for (int32_t i = 0; i < 20; i++) residency_expect(r, &i, 1);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    residency_begin(r, pack);
    struct residency_state s = wait_done(r);
    assert_int_equal(s.read_bytes, s.wanted_bytes);
    residency_free(&r);
    weight_pack_close(&pack);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order_of_file),         TEST(test_order_of_pack),
        TEST(test_reads_in_order),        TEST(test_drop_gives_memory_back),
        TEST(test_pack_replaces_file),    TEST(test_lock),
        TEST(test_lock_is_not_allowed),   TEST(test_free_while_disk_hangs),
        TEST(test_drop_while_disk_hangs), TEST(test_disk_fails),
        TEST(test_others_look_and_drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Saved KV caches: what is saved comes back, and nothing that is wrong with the directory does harm. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "infer/kv_store.h"
#include "model/arch.h"
#include "os/file.h"

#define KEY   "model 1, F16"
#define N_CTX 352
#define LARGE ((int64_t)1 << 30)

/* A pool, one sequence of random contents in it, and a fresh directory. */
struct rig {
    char root[64], dir[96], path[512]; /* the store's directory is the root unless a test moves it */
    struct kv_pool *pool;
    const struct kv_shape *shape;
    struct kv kv;
    int32_t tokens[N_CTX];
    uint64_t rng;
};

static uint32_t random_next(struct rig *r)
{
    r->rng ^= r->rng << 13, r->rng ^= r->rng >> 7, r->rng ^= r->rng << 17;
    return (uint32_t)(r->rng >> 32);
}

static void rig_open_type(struct rig *r, enum kern_kv_type type)
{
    const struct arch_params p = {.n_layers = 2, .n_kv_heads = 1, .head_dim = 32};
    memset(r, 0, sizeof *r);
    r->rng = 88172645463325252u;
    snprintf(r->root, sizeof r->root, "/tmp/inline-test-kv-XXXXXX");
    assert_non_null(mkdtemp(r->root));
    snprintf(r->dir, sizeof r->dir, "%s", r->root);
    assert_int_equal(kv_pool_new(&p, type, 1 << 20, &r->pool, NULL), OK);
    r->shape = kv_pool_shape(r->pool);
    assert_int_equal(kv_open(r->pool, N_CTX, &r->kv, NULL), OK);
    assert_int_equal(kv_reserve(&r->kv, 0, N_CTX), OK);
    for (int32_t i = 0; i < r->kv.n_pages; i++) {
        for (size_t k = 0; k < r->shape->page_bytes; k++) r->kv.pages[i][k] = (char)random_next(r);
    }
    for (int32_t i = 0; i < N_CTX; i++) r->tokens[i] = (int32_t)(random_next(r) % 1000);
}

static void rig_open(struct rig *r)
{
    rig_open_type(r, KERN_KV_F16);
}

static char *in_dir(struct rig *r, const char *name)
{
    snprintf(r->path, sizeof r->path, "%s/%s", r->dir, name);
    return r->path;
}

/* Remove all entries; returns how many there were. */
static int empty_dir(struct rig *r)
{
    int n = 0;
    DIR *dir = opendir(r->dir);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            remove(in_dir(r, e->d_name));
            n++;
        }
    }
    if (dir) closedir(dir);
    return n;
}

static int count_files(const struct rig *r)
{
    int n = -2; /* . and .. */
    DIR *dir = opendir(r->dir);
    while (dir && readdir(dir)) n++;
    if (dir) closedir(dir);
    return n;
}

/* The name of the only file that ends in .kv. */
static const char *only_file(struct rig *r)
{
    static char name[256];
    int n = 0;
    DIR *dir = opendir(r->dir);
    for (struct dirent *e; (e = readdir(dir));) {
        size_t len = strlen(e->d_name);
        if (len < 3 || strcmp(e->d_name + len - 3, ".kv") != 0) continue;
        snprintf(name, sizeof name, "%s", e->d_name);
        n++;
    }
    closedir(dir);
    assert_int_equal(n, 1);
    return name;
}

static void rig_close(struct rig *r)
{
    kv_close(&r->kv);
    assert_int_equal(kv_pool_used(r->pool), 0);
    kv_pool_free(&r->pool);
    empty_dir(r);
    rmdir(r->dir);
}

static struct kv_store *open_with(const struct rig *r, const char *key, const struct kv_shape *shape,
                                  int64_t max_bytes)
{
    struct kv_store *s = NULL;
    assert_int_equal(kv_store_open(r->dir, key, shape, max_bytes, &s, NULL), OK);
    return s;
}

static struct kv_store *open_store(const struct rig *r)
{
    return open_with(r, KEY, r->shape, LARGE);
}

/* What loading gives: checks the contents, and returns how many positions there were. */
static int32_t load(struct rig *r, struct kv_store *s, const int32_t *tokens, int32_t n)
{
    struct kv kv;
    int32_t n_loaded = -1;
    assert_int_equal(kv_open(r->pool, N_CTX, &kv, NULL), OK);
    assert_int_equal(kv_reserve(&kv, 0, 40), OK); /* former contents */
    assert_int_equal(kv_store_load(s, tokens, n, &kv, &n_loaded), OK);
    assert_int_equal(kv.n_pages, (n_loaded + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK);
    char *want = malloc(r->shape->page_bytes);
    for (int32_t i = 0; i < kv.n_pages; i++) {
        int32_t used = n_loaded - i * KERN_KV_BLOCK;
        memcpy(want, r->kv.pages[i], r->shape->page_bytes);
        if (used < KERN_KV_BLOCK) {
            kv_page_clear(r->shape, want, used);
            kv_page_clear(r->shape, kv.pages[i], used);
        }
        assert_memory_equal(kv.pages[i], want, r->shape->page_bytes);
    }
    free(want);
    kv_close(&kv);
    return n_loaded;
}

static void save(struct rig *r, struct kv_store *s, int32_t n)
{
    struct errmsg msg = {0};
    if (kv_store_save(s, &r->kv, r->tokens, n, &msg)) fail_msg("%s", msg.text);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (int type = KERN_KV_F16; type <= KERN_KV_Q8_0; type++) {
        struct rig r;
        rig_open_type(&r, (enum kern_kv_type)type);
        struct kv_store *s = open_store(&r);
        assert_int_equal(kv_store_match(s, r.tokens, 200), 0);
        assert_int_equal(load(&r, s, r.tokens, 200), 0);
        save(&r, s, 70);
        for (int reopened = 0; reopened < 2; reopened++) {
            assert_int_equal(count_files(&r), 1);
            assert_int_equal(kv_store_bytes(s), file_size(in_dir(&r, only_file(&r))));
            int32_t other[N_CTX];
            memcpy(other, r.tokens, sizeof other);
            other[40] ^= 1;
            const int32_t lengths[] = {1, 31, 32, 33, 64, 69, 70, 71, 200};
            for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
                int32_t n = lengths[i], held = n < 70 ? n : 70;
                assert_int_equal(kv_store_match(s, r.tokens, n), held);
                assert_int_equal(load(&r, s, r.tokens, n), held);
                assert_int_equal(load(&r, s, other, n), n < 40 ? n : 40);
            }
            other[0] ^= 1;
            assert_int_equal(load(&r, s, other, 200), 0);
            assert_int_equal(load(&r, s, r.tokens, 0), 0);
            kv_store_close(&s);
            assert_null(s);
            s = open_store(&r);
        }
        kv_store_close(&s);
        kv_store_close(&s);
        rig_close(&r);
    }
}

/* What a file holds behind the last token is zero, not somebody's text. */
static void test_nothing_else_is_saved(void **state)
{
    (void)state;
    for (int type = KERN_KV_F16; type <= KERN_KV_Q8_0; type++) {
        struct rig r;
        rig_open_type(&r, (enum kern_kv_type)type);
        for (int32_t i = 0; i < 2; i++) memset(r.kv.pages[i], 0x5a, r.shape->page_bytes);
        size_t per_position = 4 * r.shape->block_bytes / KERN_KV_BLOCK; /* 2 layers, keys and values */
        struct kv_store *s = open_store(&r);
        save(&r, s, 37);
        struct buf file;
        buf_init(&file, 1 << 20);
        assert_int_equal(file_read(in_dir(&r, only_file(&r)), &file, NULL), OK);
        size_t n = 0, start = file.len - 2 * r.shape->page_bytes;
        for (size_t i = start; i < file.len; i++) n += file.data[i] == 0x5a;
        size_t rounding = r.shape->page_bytes - 4 * r.shape->block_bytes; /* of page 0 */
        assert_int_equal(n, 37 * per_position + 2 * rounding);
        buf_clear(&file);
        kv_store_close(&s);
        rig_close(&r);
    }
}

static void test_saving_again(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct kv_store *s = open_store(&r);
    save(&r, s, 0);
    assert_int_equal(count_files(&r), 0);
    save(&r, s, 70);
    int64_t bytes = kv_store_bytes(s);
    save(&r, s, 70); /* there already */
    save(&r, s, 50);
    assert_int_equal(count_files(&r), 1);
    assert_int_equal(kv_store_bytes(s), bytes);
    save(&r, s, 150); /* replaces the shorter one */
    assert_int_equal(count_files(&r), 1);
    assert_int_equal(load(&r, s, r.tokens, N_CTX), 150);
    int32_t saved = r.tokens[100];
    r.tokens[100]++; /* another text: both stay */
    save(&r, s, 150);
    assert_int_equal(count_files(&r), 2);
    assert_int_equal(load(&r, s, r.tokens, N_CTX), 150);
    r.tokens[100] = saved;
    assert_int_equal(load(&r, s, r.tokens, N_CTX), 150);
    kv_store_close(&s);
    rig_close(&r);
}

/* A file that was written whole, for tests that damage it. */
static struct buf saved_file(struct rig *r, int32_t n)
{
    struct kv_store *s = open_store(r);
    save(r, s, n);
    kv_store_close(&s);
    struct buf file;
    buf_init(&file, 1 << 20);
    assert_int_equal(file_read(in_dir(r, only_file(r)), &file, NULL), OK);
    return file;
}

static void put_file(struct rig *r, const char *name, const char *bytes, size_t len)
{
    FILE *f = fopen(in_dir(r, name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

static void test_truncated(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct buf file = saved_file(&r, 70);
    char name[64];
    snprintf(name, sizeof name, "%s", only_file(&r));
    for (size_t len = 0; len < file.len; len += len < 100 ? 1 : 511) {
        /* Found at opening ... */
        put_file(&r, name, file.data, len);
        struct kv_store *s = open_store(&r);
        assert_int_equal(kv_store_match(s, r.tokens, 70), 0);
        assert_int_equal(kv_store_bytes(s), 0);
        assert_int_equal(count_files(&r), 0);
        kv_store_close(&s);
        /* ... and when it happens to a file that is known. */
        put_file(&r, name, file.data, file.len);
        s = open_store(&r);
        assert_int_equal(kv_store_match(s, r.tokens, 70), 70);
        put_file(&r, name, file.data, len);
        assert_int_equal(load(&r, s, r.tokens, 70), 0);
        assert_int_equal(count_files(&r), 0);
        assert_int_equal(kv_store_bytes(s), 0);
        kv_store_close(&s);
    }
    /* Longer than it should be. */
    buf_add(&file, "x", 1);
    put_file(&r, name, file.data, file.len);
    struct kv_store *s = open_store(&r);
    assert_int_equal(kv_store_match(s, r.tokens, 70), 0);
    /* Damaged while the store is open, and saved again. */
    save(&r, s, 70);
    put_file(&r, name, file.data, 5000);
    save(&r, s, 70);
    assert_int_equal(load(&r, s, r.tokens, 70), 70);
    kv_store_close(&s);
    buf_clear(&file);
    rig_close(&r);
}

static void test_flipped_bits(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct buf file = saved_file(&r, 70);
    char name[64];
    snprintf(name, sizeof name, "%s", only_file(&r));
    size_t last_page = file.len - r.shape->page_bytes;
    for (size_t i = 0; i < file.len; i += i < 200 ? 1 : 397) {
        for (int bit = 0; bit < 8; bit += i < 64 ? 1 : 8) {
            file.data[i] ^= (char)(1 << bit);
            put_file(&r, name, file.data, file.len);
            struct kv_store *s = open_store(&r);
            /* Two of three pages are still good if the third is damaged. */
            assert_int_equal(load(&r, s, r.tokens, 64), i < last_page ? 0 : 64);
            assert_int_equal(load(&r, s, r.tokens, 70), 0);
            assert_int_equal(count_files(&r), 0);
            kv_store_close(&s);
            file.data[i] ^= (char)(1 << bit);
        }
    }
    buf_clear(&file);
    rig_close(&r);
}

/* Sizes in the header that no file has, with everything else in order, must not be believed. */
static void test_absurd_sizes(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct buf file = saved_file(&r, 70);
    char name[64];
    snprintf(name, sizeof name, "%s", only_file(&r));
    const int32_t counts[] = {0, -1, INT32_MIN, INT32_MAX, 1 << 24, (1 << 24) + 1, 71, 96, 97};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        memcpy(file.data + 36, &counts[i], sizeof counts[i]); /* n_tokens of the header */
        put_file(&r, name, file.data, file.len);
        struct kv_store *s = open_store(&r);
        assert_int_equal(kv_store_match(s, r.tokens, 70), 0);
        assert_int_equal(count_files(&r), 0);
        kv_store_close(&s);
    }
    buf_clear(&file);
    rig_close(&r);
}

static void test_other_kinds(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct kv_shape shapes[5];
    for (int i = 0; i < 5; i++) shapes[i] = *r.shape;
    shapes[1].n_layers++;
    shapes[2].n_kv_heads++;
    shapes[3].type = KERN_KV_Q8_0;
    shapes[4].page_bytes += 4096;
    for (int i = 0; i < 5; i++) {
        struct kv_store *s = open_store(&r);
        save(&r, s, 70);
        kv_store_close(&s);
        s = open_with(&r, i == 0 ? "model 2, F16" : KEY, &shapes[i], LARGE);
        assert_int_equal(kv_store_match(s, r.tokens, 70), 0);
        assert_int_equal(count_files(&r), 0);
        kv_store_close(&s);
    }
    rig_close(&r);
}

static void test_directory_missing(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    snprintf(r.dir, sizeof r.dir, "%s/a/b", r.root);
    struct kv_store *s = open_store(&r);
    assert_int_equal(kv_store_match(s, r.tokens, 70), 0);
    assert_int_equal(load(&r, s, r.tokens, 70), 0);
    assert_int_equal(access(r.dir, F_OK), -1);
    save(&r, s, 70);
    assert_int_equal(load(&r, s, r.tokens, 70), 70);
    /* It goes, and comes back. */
    empty_dir(&r);
    rmdir(r.dir);
    assert_int_equal(load(&r, s, r.tokens, 70), 0);
    save(&r, s, 70);
    assert_int_equal(load(&r, s, r.tokens, 70), 70);
    kv_store_close(&s);
    empty_dir(&r);
    rmdir(r.dir);
    r.dir[strlen(r.dir) - 2] = '\0';
    rmdir(r.dir);
    snprintf(r.dir, sizeof r.dir, "%s", r.root);
    rig_close(&r);
}

static void test_unwritable(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct errmsg msg = {0};
    put_file(&r, "file", "x", 1);
    snprintf(r.dir, sizeof r.dir, "%s/file/sub", r.root); /* nobody can make that a directory */
    struct kv_store *s = open_store(&r);
    assert_int_equal(kv_store_save(s, &r.kv, r.tokens, 70, &msg), ERR_IO);
    assert_non_null(strstr(msg.text, "file"));
    assert_int_equal(kv_store_bytes(s), 0);
    kv_store_close(&s);
    snprintf(r.dir, sizeof r.dir, "%s", r.root);

    if (geteuid() != 0) { /* root may write everywhere */
        chmod(r.dir, 0500);
        s = open_store(&r);
        assert_int_equal(kv_store_save(s, &r.kv, r.tokens, 70, &msg), ERR_IO);
        kv_store_close(&s);
        chmod(r.dir, 0700);
    }
    rig_close(&r);
}

static void test_full_disk(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct errmsg msg = {0};
    struct rlimit before, limit;
    struct kv_store *s = open_store(&r);
    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    const rlim_t sizes[] = {0, 100, 4096, 10000, 20000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        limit = (struct rlimit){.rlim_cur = sizes[i], .rlim_max = before.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
        enum err err = kv_store_save(s, &r.kv, r.tokens, 70, &msg);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_int_equal(err, ERR_LIMIT);
        assert_int_equal(count_files(&r), 0);
        assert_int_equal(kv_store_bytes(s), 0);
        assert_int_equal(kv_store_match(s, r.tokens, 70), 0);
    }
    save(&r, s, 70);
    assert_int_equal(load(&r, s, r.tokens, 70), 70);
    kv_store_close(&s);
    rig_close(&r);
}

/* Saves a text of its own: `id` is its first token. */
static void save_text(struct rig *r, struct kv_store *s, int32_t id, int32_t n)
{
    r->tokens[0] = id;
    save(r, s, n);
}

static bool has_text(struct rig *r, const struct kv_store *s, int32_t id, int32_t n)
{
    r->tokens[0] = id;
    return kv_store_match(s, r->tokens, n) == n;
}

static void test_ceiling(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct kv_store *s = open_store(&r);
    save_text(&r, s, 1, 70);
    int64_t one = kv_store_bytes(s);
    kv_store_close(&s);

    s = open_with(&r, KEY, r.shape, 3 * one);
    save_text(&r, s, 2, 70);
    save_text(&r, s, 3, 70);
    assert_int_equal(load(&r, s, r.tokens, 70), 70);
    r.tokens[0] = 1;
    assert_int_equal(load(&r, s, r.tokens, 70), 70); /* used: 2 is now the oldest */
    save_text(&r, s, 4, 70);
    assert_true(has_text(&r, s, 1, 70) && !has_text(&r, s, 2, 70));
    assert_true(has_text(&r, s, 3, 70) && has_text(&r, s, 4, 70));
    save_text(&r, s, 3, 70); /* saving again is use, too */
    save_text(&r, s, 5, 70);
    assert_true(!has_text(&r, s, 1, 70) && has_text(&r, s, 3, 70));
    assert_int_equal(kv_store_bytes(s), 3 * one);
    assert_int_equal(count_files(&r), 3);

    /* Too large a file: refused, and nothing has to go for it. */
    struct errmsg msg = {0};
    r.tokens[0] = 6;
    assert_int_equal(kv_store_save(s, &r.kv, r.tokens, N_CTX, &msg), ERR_LIMIT);
    assert_non_null(strstr(msg.text, "ceiling"));
    assert_int_equal(count_files(&r), 3);
    kv_store_close(&s);

    /* The order survives reopening; a lower ceiling deletes at once, and first what is too large anyway. */
    s = open_store(&r);
    save_text(&r, s, 6, N_CTX);
    assert_int_equal(count_files(&r), 4);
    kv_store_close(&s);
    s = open_with(&r, KEY, r.shape, 2 * one);
    assert_int_equal(count_files(&r), 2);
    assert_true(has_text(&r, s, 3, 70) && has_text(&r, s, 5, 70) && !has_text(&r, s, 4, 70));
    kv_store_close(&s);
    s = open_with(&r, KEY, r.shape, one - 1);
    assert_int_equal(count_files(&r), 0);
    kv_store_close(&s);
    s = open_with(&r, KEY, r.shape, 0);
    r.tokens[0] = 7;
    assert_int_equal(kv_store_save(s, &r.kv, r.tokens, 1, NULL), ERR_LIMIT);
    kv_store_close(&s);
    rig_close(&r);
}

/* Random saves and loads under a ceiling of five files against a list in order of use. */
static void test_order_of_use(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct kv_store *s = open_store(&r);
    save_text(&r, s, 1000, 40);
    int64_t one = kv_store_bytes(s);
    kv_store_close(&s);
    empty_dir(&r);
    int32_t used[6]; /* the most recent one first */
    int n = 0;
    s = open_with(&r, KEY, r.shape, 5 * one);
    for (int step = 0; step < 600; step++) {
        int32_t id = 1 + (int32_t)(random_next(&r) % 9);
        int at = 0;
        while (at < n && used[at] != id) at++;
        r.tokens[0] = id;
        if (random_next(&r) % 2) {
            assert_int_equal(load(&r, s, r.tokens, 40), at < n ? 40 : 0);
            if (at == n) continue;
        } else {
            save_text(&r, s, id, 40);
        }
        memmove(used + 1, used, (size_t)at * sizeof *used);
        used[0] = id;
        if (at == n && n < 5) n++;
        if (step % 50 == 0) {
            kv_store_close(&s);
            s = open_with(&r, KEY, r.shape, 5 * one);
        }
        for (id = 1; id < 10; id++) {
            bool wanted = false;
            for (int i = 0; i < n; i++) wanted |= used[i] == id;
            assert_int_equal(has_text(&r, s, id, 40), wanted);
        }
        assert_int_equal(kv_store_bytes(s), n * one);
    }
    kv_store_close(&s);
    rig_close(&r);
}

static void test_two_stores(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct kv_store *a = open_store(&r), *b = open_store(&r);
    save_text(&r, a, 1, 70);
    assert_false(has_text(&r, b, 1, 70)); /* not yet known */
    save_text(&r, b, 2, 70);              /* looks at the directory */
    assert_true(has_text(&r, b, 1, 70));
    assert_int_equal(kv_store_bytes(b), 2 * kv_store_bytes(a));
    save_text(&r, a, 2, 70); /* the other's will do */
    assert_int_equal(count_files(&r), 2);
    r.tokens[0] = 2;
    assert_int_equal(load(&r, a, r.tokens, 70), 70);

    /* Both under a ceiling of two: each makes room at the other's cost, and copes. */
    int64_t one = kv_store_bytes(a) / 2;
    kv_store_close(&a);
    kv_store_close(&b);
    a = open_with(&r, KEY, r.shape, 2 * one);
    b = open_with(&r, KEY, r.shape, 2 * one);
    for (int32_t id = 10; id < 30; id++) {
        save_text(&r, id % 3 ? a : b, id, 70);
        assert_int_equal(count_files(&r), 2);
        assert_int_equal(load(&r, id % 3 ? a : b, r.tokens, 70), 70);
        load(&r, id % 3 ? b : a, r.tokens, 70); /* may be there or not: contents are checked */
    }
    kv_store_close(&a);
    kv_store_close(&b);
    rig_close(&r);
}

static void test_file_vanishes(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct kv_store *s = open_store(&r);
    save(&r, s, 100);
    char name[64];
    snprintf(name, sizeof name, "%s", only_file(&r));
    r.tokens[90]++;
    save(&r, s, 150);
    r.tokens[90]--;
    /* The best file is gone: the next best serves. */
    assert_int_equal(kv_store_match(s, r.tokens, 100), 100);
    assert_int_equal(unlink(in_dir(&r, name)), 0);
    assert_int_equal(load(&r, s, r.tokens, 100), 90);
    assert_int_equal(kv_store_match(s, r.tokens, 100), 90);
    save(&r, s, 100);
    assert_int_equal(load(&r, s, r.tokens, 100), 100);
    empty_dir(&r);
    save(&r, s, 90); /* notices what is gone */
    assert_int_equal(kv_store_bytes(s), file_size(in_dir(&r, only_file(&r))));
    empty_dir(&r);
    assert_int_equal(load(&r, s, r.tokens, 100), 0);
    assert_int_equal(kv_store_bytes(s), 0);
    kv_store_close(&s);
    rig_close(&r);
}

static void test_no_room_in_memory(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct kv_store *s = open_store(&r);
    save(&r, s, 100);
    struct kv filler, kv;
    int32_t n_loaded = -1, n_filler = 0;
    assert_int_equal(kv_open(r.pool, 1 << 20, &filler, NULL), OK);
    while (!kv_reserve(&filler, n_filler, n_filler + 1)) n_filler++;
    assert_int_equal(kv_open(r.pool, N_CTX, &kv, NULL), OK);
    assert_int_equal(kv_store_load(s, r.tokens, 100, &kv, &n_loaded), ERR_LIMIT);
    assert_int_equal(n_loaded, 0);
    assert_int_equal(kv.n_pages, 0);
    kv_close(&kv);
    kv_close(&filler);
    assert_int_equal(load(&r, s, r.tokens, 100), 100);

    /* A shorter context takes what fits. */
    assert_int_equal(kv_open(r.pool, 50, &kv, NULL), OK);
    assert_int_equal(kv_store_load(s, r.tokens, 100, &kv, &n_loaded), OK);
    assert_int_equal(n_loaded, 50);
    kv_close(&kv);
    kv_store_close(&s);
    rig_close(&r);
}

/* Another name for a file in the directory: much cheaper than another file. */
static void put_link(struct rig *r, const char *old, const char *name)
{
    char from[sizeof r->path];
    snprintf(from, sizeof from, "%s", in_dir(r, old));
    assert_int_equal(link(from, in_dir(r, name)), 0);
}

static void make_old(struct rig *r, const char *name)
{
    struct timespec old[2] = {{.tv_sec = time(NULL) - 7200}, {.tv_sec = time(NULL) - 7200}};
    utimensat(AT_FDCWD, in_dir(r, name), old, 0);
}

/* A directory full of other things, among them some that bear our names. */
static void test_junk(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct kv_store *s = open_store(&r);
    save(&r, s, 70);
    kv_store_close(&s);
    char name[64];
    put_file(&r, "junk", "junk", 4);
    for (int i = 0; i < 3000; i++) { /* not ours: they stay */
        snprintf(name, sizeof name, i % 2 ? "%016x.kvx" : "%015x.kv", i);
        put_link(&r, "junk", name);
    }
    put_file(&r, "0123456789ABCDEF.kv", "junk", 4);
    mkdir(in_dir(&r, "aaaaaaaaaaaaaaaa.kv"), 0700);
    mkfifo(in_dir(&r, "bbbbbbbbbbbbbbbb.kv"), 0600);
    assert_int_equal(symlink("nowhere", in_dir(&r, "cccccccccccccccc.kv")), 0);
    assert_int_equal(symlink("/dev/zero", in_dir(&r, "dddddddddddddddd.kv")), 0);
    put_file(&r, "1111111111111111.kv.abcdef", "being written", 13);
    int n_kept = count_files(&r);
    for (int i = 0; i < 300; i++) { /* ours by name: deleted */
        snprintf(name, sizeof name, "%016x.kv", i);
        put_file(&r, name, "junk that is longer than a header, so that it is looked at closely ......",
                 i % 74);
    }
    put_file(&r, "2222222222222222.kv.abcdef", "left behind", 11);
    make_old(&r, "2222222222222222.kv.abcdef");
    s = open_store(&r);
    assert_int_equal(count_files(&r), n_kept);
    assert_int_equal(load(&r, s, r.tokens, 70), 70);
    save(&r, s, 100);
    assert_int_equal(count_files(&r), n_kept);
    assert_int_equal(load(&r, s, r.tokens, 100), 100);
    kv_store_close(&s);
    rig_close(&r);
}

/* More good files than the store cares to remember. */
static void test_too_many_files(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r);
    struct buf file = saved_file(&r, 5);
    char original[64], name[64];
    snprintf(original, sizeof original, "%s", only_file(&r));
    for (int i = 0; i < 1500; i++) {
        snprintf(name, sizeof name, "%016x.kv", i);
        put_link(&r, original, name);
    }
    struct kv_store *s = open_store(&r);
    assert_in_range(count_files(&r), 500, 1024);
    assert_int_equal(kv_store_bytes(s), count_files(&r) * (int64_t)file.len);
    assert_int_equal(load(&r, s, r.tokens, 5), 5);
    kv_store_close(&s);
    buf_clear(&file);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),        cmocka_unit_test(test_nothing_else_is_saved),
        cmocka_unit_test(test_saving_again),      cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_flipped_bits),      cmocka_unit_test(test_absurd_sizes),
        cmocka_unit_test(test_other_kinds),       cmocka_unit_test(test_directory_missing),
        cmocka_unit_test(test_unwritable),        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_ceiling),           cmocka_unit_test(test_order_of_use),
        cmocka_unit_test(test_two_stores),        cmocka_unit_test(test_file_vanishes),
        cmocka_unit_test(test_no_room_in_memory), cmocka_unit_test(test_junk),
        cmocka_unit_test(test_too_many_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

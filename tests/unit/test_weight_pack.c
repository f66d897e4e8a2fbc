/* model/weight_pack*.c: packs are built, found again, shared, refused and deleted as they should be. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "kern/pack.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/weight_pack.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/usage.h"
#include "support/toy_model.h"
#include "support/model_place.h"

#define MB        1000000
#define FILE_MAX  ((size_t)256 << 20)
#define DENSE     FIXTURES "/models/format-q8_0.gguf" /* one layer, tied output */
#define MIXTURE   FIXTURES "/models/qwen3moe.gguf"
#define NO_PACK   FIXTURES "/models/llama.gguf" /* F16 */
#define HEADER    72                            /* bytes before the table, and of a row of it */
#define TABLE_ROW 48
#define PAGE      4096 /* where the first matrix lies */

/* --- Directories, files, models ---------------------------------------------------------------------- */

static void make_model(const struct toy_model *toy, const char *path)
{
    assert_true(toy_model_write(toy, path));
}

/* Takes a tenth of a second to pack, and about 50 MB. */
static void make_large_model(const char *path)
{
    make_model(
        &(struct toy_model){
            .fixture = DENSE, .n_layers = 16, .d_ff = 32768, .type = KERN_Q8_0, .down = KERN_Q8_0, .seed = 1},
        path);
}

static struct model *load(const char *path)
{
    struct errmsg msg = {0};
    struct model *m = NULL;
    if (model_open(path, &m, &msg)) fail_msg("%s", msg.text);
    return m;
}

static void read_whole(const char *path, struct buf *out)
{
    struct errmsg msg = {0};
    buf_init(out, FILE_MAX);
    if (file_read(path, out, &msg)) fail_msg("%s", msg.text);
}

static void write_whole(const char *path, const void *bytes, size_t len)
{
    struct errmsg msg = {0};
    if (file_write(path, bytes, len, &msg)) fail_msg("%s", msg.text);
}

/* A sparse file that was last used `days` days ago. */
static void make_file(const char *dir, const char *name, int64_t bytes, int days)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, bytes), 0);
    struct timespec times[2] = {{.tv_sec = time(NULL) - days * 86400}, {.tv_sec = time(NULL) - days * 86400}};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static bool exists(const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* Number of files in the directory whose names end with suffix. */
static int count_files(const char *dir, const char *suffix)
{
    char command[128];
    int n = -1;
    snprintf(command, sizeof command, "ls '%s' 2>/dev/null | grep -c '%s$'", dir, suffix);
    FILE *f = popen(command, "r");
    assert_int_equal(fscanf(f, "%d", &n), 1);
    pclose(f);
    return n;
}

/* --- Packs ------------------------------------------------------------------------------------------- */

static struct weight_pack *open_pack(struct model *m, const char *dir, bool build)
{
    struct errmsg msg = {0};
    struct weight_pack *p = NULL;
    struct weight_pack_options o = {.dir = dir, .build = build};
    if (weight_pack_open(m, &o, &p, &msg)) fail_msg("%s", msg.text);
    return p;
}

static struct weight_pack *build_pack(struct model *m, const char *dir)
{
    struct weight_pack *p = open_pack(m, dir, true);
    weight_pack_wait(p);
    if (weight_pack_state(p) != WEIGHT_PACK_READY) fail_msg("%s", weight_pack_message(p));
    return p;
}

/* There is no usable pack, and the message says something. */
static void assert_no_pack(struct model *m, const char *dir)
{
    struct errmsg msg = {0};
    struct weight_pack *p = NULL;
    struct weight_pack_options o = {.dir = dir};
    assert_int_equal(weight_pack_open(m, &o, &p, &msg), ERR_NOT_FOUND);
    assert_true(*msg.text);
    assert_null(p);
}

/* Building fails, with a message that holds `says`, and leaves no file that was being written. */
static void assert_cannot_build(struct model *m, const struct weight_pack_options *o, const char *says)
{
    struct errmsg msg = {0};
    struct weight_pack *p = NULL;
    if (weight_pack_open(m, o, &p, &msg)) fail_msg("%s", msg.text);
    weight_pack_wait(p);
    assert_int_equal(weight_pack_state(p), WEIGHT_PACK_FAILED);
    if (!strstr(weight_pack_message(p), says)) fail_msg("\"%s\" lacks %s", weight_pack_message(p), says);
    weight_pack_close(&p);
    assert_int_equal(count_files(o->dir, ".part"), 0);
}

/* The pack's form of w is what pack_rows makes of it. */
static void assert_packed(const struct weight_pack *p, const struct kern_mat *w)
{
    struct kern_mat copy = *w;
    weight_pack_apply(p, &copy);
    assert_non_null(copy.packed);
    assert_int_equal((uintptr_t)copy.packed % 64, 0);
    assert_ptr_equal(copy.data, w->data);
    size_t bytes = pack_bytes(w->type, w->n_rows, w->n_cols);
    void *expected = mem_try_aligned(bytes, 1);
    assert_non_null(expected);
    pack_rows(w, 0, w->n_rows, expected);
    assert_memory_equal(copy.packed, expected, bytes);
    mem_free(expected);
}

static void assert_plain(const struct weight_pack *p, const struct kern_mat *w)
{
    struct kern_mat copy = *w;
    weight_pack_apply(p, &copy);
    assert_null(copy.packed);
}

static void assert_layer_packed(const struct weight_pack *p, const struct model_layer *l)
{
    assert_packed(p, &l->wq);
    assert_packed(p, &l->wk);
    assert_packed(p, &l->wv);
    assert_packed(p, &l->wo);
    assert_packed(p, &l->gate);
    assert_packed(p, &l->up);
    assert_packed(p, &l->down);
}

/* --- Building and finding ---------------------------------------------------------------------------- */

static void test_build_and_reopen(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE);
    assert_no_pack(m, place->packs);
    assert_false(exists(place->root, "packs"));

    struct weight_pack *p = build_pack(m, place->packs);
    assert_true(weight_pack_progress(p) == 1);
    assert_layer_packed(p, &m->layers[0]);
    assert_packed(p, &m->output); /* tied: the embedding table's data */
    assert_plain(p, &m->layers[0].router);
    assert_int_equal(file_size(weight_pack_path(p)), weight_pack_bytes(p));
    assert_int_equal(weight_pack_bytes(p), weight_pack_bytes_of(m, NULL));
    assert_int_equal(count_files(place->packs, ".pack"), 1);
    assert_int_equal(count_files(place->packs, ".part"), 0);
    assert_int_equal(weight_pack_verify(p, NULL), OK);
    weight_pack_close(&p);
    assert_null(p);
    model_unref(&m);

    m = load(DENSE);
    p = open_pack(m, place->packs, false);
    assert_int_equal(weight_pack_state(p), WEIGHT_PACK_READY);
    weight_pack_wait(p);
    model_unref(&m); /* the pack keeps the model */
    weight_pack_close(&p);
    weight_pack_close(&p);
}

/* Matrices larger than one chunk, rows that fill no panel, every packed format. */
static void test_large_and_odd_matrices(void **state)
{
    const struct model_place *place = *state;
    static const enum kern_type types[] = {KERN_Q8_0, KERN_Q4_0, KERN_Q4_1,
                                           KERN_Q5_0, KERN_Q5_1, KERN_IQ4_NL};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct toy_model toy = {
            .fixture = DENSE, .d_ff = 65536 + 32, .type = types[i], .down = types[i], .seed = (uint32_t)i};
        make_model(&toy, place->model);
        struct model *m = load(place->model);
        struct weight_pack *p = build_pack(m, place->packs);
        assert_layer_packed(p, &m->layers[0]);
        weight_pack_close(&p);
        model_unref(&m);
    }
    assert_int_equal(count_files(place->packs, ".pack"), (int)(sizeof types / sizeof *types));
    static const char *const fixtures[] = {"format-q4_k", "format-q5_k", "format-q6_k"};
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        char path[256];
        snprintf(path, sizeof path, FIXTURES "/models/%s.gguf", fixtures[i]);
        struct model *m = load(path);
        struct weight_pack *p = build_pack(m, place->packs);
        assert_layer_packed(p, &m->layers[0]);
        weight_pack_close(&p);
        model_unref(&m);
    }
}

static void test_experts(void **state)
{
    const struct model_place *place = *state;
    struct toy_model toy = {.fixture = MIXTURE, .d_ff = 32, .type = KERN_Q8_0, .down = KERN_Q8_0, .seed = 3};
    make_model(&toy, place->model);
    struct model *m = load(place->model);
    struct weight_pack *p = build_pack(m, place->packs);
    const struct model_layer *l = &m->layers[1];
    assert_packed(p, &l->gate_exps);
    assert_packed(p, &l->up_exps);
    assert_packed(p, &l->down_exps);
    assert_plain(p, &l->router); /* F32 */
    /* An expert's rows of the whole packed matrix are what packing that expert alone gives. */
    struct kern_mat stack = l->up_exps, one = l->up_exps;
    weight_pack_apply(p, &stack);
    one.n_rows = 32;
    one.data = (const char *)one.data + 2 * 32 * one.row_bytes;
    size_t bytes = pack_bytes(one.type, one.n_rows, one.n_cols);
    char *alone = mem_try_aligned(bytes, 1);
    assert_non_null(alone);
    pack_rows(&one, 0, one.n_rows, alone);
    assert_memory_equal((const char *)stack.packed + 2 * bytes, alone, bytes);
    mem_free(alone);
    weight_pack_close(&p);
    model_unref(&m);

    /* 24 rows for each expert do not begin with a panel: they stay as they are. */
    toy = (struct toy_model){.fixture = MIXTURE, .d_ff = 24, .type = KERN_Q8_0, .down = KERN_F16, .seed = 4};
    make_model(&toy, place->other);
    m = load(place->other);
    p = build_pack(m, place->packs);
    assert_plain(p, &m->layers[0].gate_exps);
    assert_plain(p, &m->layers[0].up_exps);
    assert_plain(p, &m->layers[0].down_exps);
    assert_packed(p, &m->layers[0].wq);
    weight_pack_close(&p);
    model_unref(&m);
}

static void test_model_without_packed_form(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(NO_PACK);
    struct errmsg msg = {0};
    struct weight_pack *p = NULL;
    struct weight_pack_options o = {.dir = place->packs, .build = true};
    assert_int_equal(weight_pack_open(m, &o, &p, &msg), ERR_NOT_FOUND);
    assert_non_null(strstr(msg.text, "nothing to pack"));
    assert_int_equal(weight_pack_bytes_of(m, NULL), 0);
    assert_false(exists(place->root, "packs"));
    model_unref(&m);
}

static void test_memory_is_counted_once(void **state)
{
    const struct model_place *place = *state;
    make_large_model(place->model);
    struct model *m = load(place->model);
    struct weight_pack *p = build_pack(m, place->packs);
    struct usage before, after;
    usage_self(&before);
    for (int32_t i = 0; i < m->p.n_layers; i++) {
        struct kern_mat all[] = {m->layers[i].gate, m->layers[i].up, m->layers[i].down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) weight_pack_apply(p, &all[j]);
    }
    usage_self(&after);
    if (before.rss_file_bytes > 0) /* known on this system */
        assert_true(before.rss_file_bytes - after.rss_file_bytes > 40 * MB);
    assert_int_equal(weight_pack_verify(p, NULL), OK); /* the plain weights are still there */
    weight_pack_close(&p);
    model_unref(&m);
}

/* --- What must not be used --------------------------------------------------------------------------- */

static void test_truncated(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE);
    struct weight_pack *p = build_pack(m, place->packs);
    char *path = mem_dup_str(weight_pack_path(p));
    weight_pack_close(&p);
    struct buf whole;
    read_whole(path, &whole);
    for (size_t len = 0; len < whole.len; len += len < 512 ? 1 : 1021) {
        write_whole(path, whole.data, len);
        assert_no_pack(m, place->packs);
    }
    write_whole(path, whole.data, whole.len - 1);
    assert_no_pack(m, place->packs);
    buf_add_char(&whole, '\0');
    write_whole(path, whole.data, whole.len);
    assert_no_pack(m, place->packs);

    p = build_pack(m, place->packs); /* over the bad one */
    assert_layer_packed(p, &m->layers[0]);
    weight_pack_close(&p);
    buf_clear(&whole);
    mem_free(path);
    model_unref(&m);
}

static void test_damaged_header(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE);
    struct weight_pack *p = build_pack(m, place->packs);
    char *path = mem_dup_str(weight_pack_path(p));
    weight_pack_close(&p);
    struct buf whole;
    read_whole(path, &whole);
    uint32_t n;
    memcpy(&n, whole.data + 12, sizeof n);
    assert_int_equal(n, 8); /* seven matrices and the output */
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    for (size_t at = 0; at < HEADER + n * TABLE_ROW; at++) {
        for (int bit = 0; bit < 8; bit += 7) {
            char wrong = (char)(whole.data[at] ^ (1 << bit));
            assert_int_equal(pwrite(fd, &wrong, 1, (off_t)at), 1);
            assert_no_pack(m, place->packs);
        }
        assert_int_equal(pwrite(fd, whole.data + at, 1, (off_t)at), 1);
    }
    close(fd);
    p = open_pack(m, place->packs, false);
    weight_pack_close(&p);
    buf_clear(&whole);
    mem_free(path);
    model_unref(&m);
}

static void test_damaged_data_is_found_by_verify(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE);
    struct weight_pack *p = build_pack(m, place->packs);
    struct kern_mat first = m->layers[0].wq, last = m->output;
    weight_pack_apply(p, &first);
    weight_pack_apply(p, &last);
    off_t at = PAGE + ((const char *)last.packed - (const char *)first.packed) + 100;
    int fd = open(weight_pack_path(p), O_RDWR);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    struct errmsg msg = {0};
    assert_int_equal(weight_pack_verify(p, &msg), ERR_FORMAT);
    assert_non_null(strstr(msg.text, "damaged"));
    weight_pack_close(&p);
    model_unref(&m);
}

/* The same size, keys and samples: only a full comparison tells the weights apart. */
static void test_pack_of_other_weights_is_found_by_verify(void **state)
{
    const struct model_place *place = *state;
    struct toy_model toy = {.fixture = DENSE, .d_ff = 4096, .type = KERN_Q8_0, .down = KERN_Q8_0, .seed = 5};
    make_model(&toy, place->model);
    struct model *m = load(place->model);
    struct weight_pack *p = build_pack(m, place->packs);
    weight_pack_close(&p);
    size_t last = (size_t)((const unsigned char *)m->layers[0].up.data - gguf_map(m->gguf)->data);
    model_unref(&m);
    struct buf file;
    read_whole(place->model, &file);
    file.data[last] ^= 1;
    write_whole(place->other, file.data, file.len);
    buf_clear(&file);
    m = load(place->other);
    p = open_pack(m, place->packs, false);
    struct errmsg msg = {0};
    assert_int_equal(weight_pack_verify(p, &msg), ERR_FORMAT);
    assert_non_null(strstr(msg.text, "not those of"));
    weight_pack_close(&p);
    model_unref(&m);
}

static void test_pack_of_another_model(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE), *other = load(FIXTURES "/models/format-q4_0.gguf");
    struct weight_pack *p = build_pack(m, place->packs), *q = build_pack(other, place->packs);
    struct buf bytes;
    read_whole(weight_pack_path(q), &bytes);
    write_whole(weight_pack_path(p), bytes.data, bytes.len);
    buf_clear(&bytes);
    assert_no_pack(m, place->packs);
    weight_pack_close(&p);
    weight_pack_close(&q);
    model_unref(&m);
    model_unref(&other);
}

/* --- The key ----------------------------------------------------------------------------------------- */

static void key_of(const char *path, char key[33])
{
    struct model *m = load(path);
    weight_pack_model_key(m, key);
    assert_int_equal(strspn(key, "0123456789abcdef"), 32);
    assert_int_equal(strlen(key), 32);
    model_unref(&m);
}

static void test_key_follows_the_content(void **state)
{
    const struct model_place *place = *state;
    struct toy_model toy = {.fixture = DENSE, .d_ff = 4096, .type = KERN_Q8_0, .down = KERN_Q8_0, .seed = 6};
    char first[33], second[33];
    make_model(&toy, place->model);
    make_model(&toy, place->other);
    key_of(place->model, first);
    key_of(place->other, second);
    assert_string_equal(first, second); /* wherever the file lies */

    toy.seed = 7; /* trained further: the same size and keys */
    make_model(&toy, place->other);
    assert_int_equal(file_size(place->other), file_size(place->model));
    key_of(place->other, second);
    assert_string_not_equal(first, second);

    struct buf file;
    read_whole(place->model, &file);
    char *name = memmem(file.data, file.len, "Inline test model", 17);
    assert_non_null(name);
    *name = 'i';
    write_whole(place->other, file.data, file.len);
    buf_clear(&file);
    key_of(place->other, second);
    assert_string_not_equal(first, second);
}

static void test_replaced_model_gets_its_own_pack(void **state)
{
    const struct model_place *place = *state;
    struct toy_model toy = {.fixture = DENSE, .type = KERN_Q8_0, .down = KERN_Q8_0, .seed = 8};
    make_model(&toy, place->model);
    struct model *m = load(place->model);
    struct weight_pack *p = build_pack(m, place->packs);
    toy.seed = 9;
    make_model(&toy, place->model); /* by rename: m keeps the old one */
    struct model *replaced = load(place->model);
    assert_no_pack(replaced, place->packs);
    struct weight_pack *q = build_pack(replaced, place->packs);
    assert_layer_packed(p, &m->layers[0]);
    assert_layer_packed(q, &replaced->layers[0]);
    weight_pack_close(&p);
    weight_pack_close(&q);
    model_unref(&m);
    model_unref(&replaced);
}

/* --- Where it cannot be written ---------------------------------------------------------------------- */

static void test_directory_cannot_be_made(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE);
    struct weight_pack_options o = {.dir = place->packs, .build = true};
    write_whole(place->packs, "", 0); /* a file where the directory should be */
    assert_cannot_build(m, &o, "packs");
    model_unref(&m);
}

static void test_read_only_directory(void **state)
{
    const struct model_place *place = *state;
    if (geteuid() == 0) skip(); /* permissions do not bind root */
    struct model *m = load(DENSE);
    struct weight_pack *p = build_pack(m, place->packs);
    weight_pack_close(&p);
    assert_int_equal(chmod(place->packs, 0500), 0);
    p = open_pack(m, place->packs, true); /* what is there serves */
    assert_int_equal(weight_pack_state(p), WEIGHT_PACK_READY);
    weight_pack_close(&p);
    struct model *other = load(FIXTURES "/models/format-q4_0.gguf");
    assert_cannot_build(other, &(struct weight_pack_options){.dir = place->packs, .build = true},
                        "Permission");
    assert_int_equal(chmod(place->packs, 0700), 0);
    model_unref(&m);
    model_unref(&other);
}

/* A limit on the file's size stands for a full disk: write fails half-way. */
static void test_write_fails(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE);
    struct rlimit before, limit;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 8192;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_cannot_build(m, &(struct weight_pack_options){.dir = place->packs, .build = true}, "cannot write");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(count_files(place->packs, ".pack"), 0);
    model_unref(&m);
}

static void test_ceiling(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE), *used = load(FIXTURES "/models/format-q4_0.gguf");
    struct weight_pack *in_use = build_pack(used, place->packs);
    int64_t need = weight_pack_bytes_of(m, NULL), used_bytes = weight_pack_bytes(in_use);
    struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, weight_pack_path(in_use), long_ago, 0), 0);
    make_file(place->packs, "11-v1.pack", 10 * MB, 3);
    make_file(place->packs, "22-v1.pack", 10 * MB, 5);
    make_file(place->packs, "33-v1.pack", 10 * MB, 1);
    make_file(place->packs, "notes.txt", 10 * MB, 9);

    struct weight_pack_options o = {.dir = place->packs, .build = true, .max_bytes = used_bytes + need - 1};
    assert_cannot_build(m, &o, "are allowed");
    assert_int_equal(count_files(place->packs, ".pack"), 4); /* deleting would not have helped */

    o.max_bytes = used_bytes + 20 * MB + need - 1; /* two of the three must go, the oldest */
    struct errmsg msg = {0};
    struct weight_pack *p = NULL;
    assert_int_equal(weight_pack_open(m, &o, &p, &msg), OK);
    weight_pack_wait(p);
    assert_int_equal(weight_pack_state(p), WEIGHT_PACK_READY);
    assert_false(exists(place->packs, "11-v1.pack"));
    assert_false(exists(place->packs, "22-v1.pack"));
    assert_true(exists(place->packs, "33-v1.pack"));
    assert_true(exists(place->packs, "notes.txt"));
    assert_int_equal(access(weight_pack_path(in_use), F_OK), 0); /* the oldest, but used */
    weight_pack_close(&in_use);
    weight_pack_close(&p);
    model_unref(&m);
    model_unref(&used);
}

static void test_leftovers_and_old_versions_go(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE);
    char old[64];
    weight_pack_model_key(m, old);
    memcpy(old + 32, "-v0.pack", sizeof "-v0.pack");
    assert_int_equal(mkdir(place->packs, 0700), 0);
    make_file(place->packs, old, MB, 0);
    make_file(place->packs, "11-v1.part", MB, 0);
    make_file(place->packs, "22-v1.part", MB, 0);
    make_file(place->packs, "33-v1.pack", MB, 0);
    char alive[128];
    snprintf(alive, sizeof alive, "%s/22-v1.part", place->packs);
    int fd = open(alive, O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    struct weight_pack *p = build_pack(m, place->packs);
    assert_false(exists(place->packs, old));
    assert_false(exists(place->packs, "11-v1.part"));
    assert_true(exists(place->packs, "22-v1.part"));
    assert_true(exists(place->packs, "33-v1.pack"));
    close(fd);
    weight_pack_close(&p);
    model_unref(&m);
}

/* --- Several at once, and stopping ------------------------------------------------------------------- */

static void test_two_builders(void **state)
{
    const struct model_place *place = *state;
    make_large_model(place->model);
    struct model *m = load(place->model);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct errmsg msg;
        struct weight_pack *p = NULL;
        struct weight_pack_options o = {.dir = place->packs, .build = true};
        bool is_open = weight_pack_open(m, &o, &p, &msg) == OK;
        if (is_open) weight_pack_wait(p);
        _exit(is_open && weight_pack_state(p) == WEIGHT_PACK_READY ? 0 : 1);
    }
    struct weight_pack *p = open_pack(m, place->packs, true), *q = open_pack(m, place->packs, true);
    weight_pack_wait(p);
    weight_pack_wait(q);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(weight_pack_state(p), WEIGHT_PACK_READY);
    assert_int_equal(weight_pack_state(q), WEIGHT_PACK_READY);
    assert_int_equal(count_files(place->packs, ".pack"), 1);
    assert_int_equal(count_files(place->packs, ".part"), 0);
    assert_layer_packed(p, &m->layers[15]);
    assert_layer_packed(q, &m->layers[15]);
    weight_pack_close(&p);
    weight_pack_close(&q);
    model_unref(&m);
}

/* A process that dies while writing leaves its file; the next one takes it over. */
static void test_builder_dies(void **state)
{
    const struct model_place *place = *state;
    make_large_model(place->model);
    struct model *m = load(place->model);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct errmsg msg;
        struct weight_pack *p = NULL;
        struct weight_pack_options o = {.dir = place->packs, .build = true};
        if (weight_pack_open(m, &o, &p, &msg) == OK) {
            while (weight_pack_progress(p) < 0.2) usleep(100);
        }
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(count_files(place->packs, ".part"), 1);
    assert_no_pack(m, place->packs);
    struct weight_pack *p = build_pack(m, place->packs);
    assert_int_equal(count_files(place->packs, ".part"), 0);
    assert_layer_packed(p, &m->layers[0]);
    weight_pack_close(&p);
    model_unref(&m);
}

/* Wait until the thread of a closed pack has cleaned up after itself. */
static void await_no_part(const char *dir)
{
    for (int i = 0; i < 1000 && count_files(dir, ".part") > 0; i++) usleep(10000);
    assert_int_equal(count_files(dir, ".part"), 0);
}

static void test_close_while_building(void **state)
{
    const struct model_place *place = *state;
    make_large_model(place->model);
    struct model *m = load(place->model);
    for (int i = 0; i < 5; i++) {
        struct weight_pack *p = open_pack(m, place->packs, true);
        assert_int_equal(weight_pack_state(p), WEIGHT_PACK_BUILDING);
        while (weight_pack_progress(p) < 0.1 * i) usleep(100);
        int64_t start = clock_ns();
        weight_pack_close(&p);
        /* 40 ms and what the scheduler of a busy machine adds. */
        assert_true(clock_ms_since(start) < 1000);
        await_no_part(place->packs);
        assert_int_equal(count_files(place->packs, ".pack"), 0);
    }
    model_unref(&m);
}

/* Closing also ends the wait for another process. */
static void test_close_while_waiting(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE);
    char key[33], part[128];
    weight_pack_model_key(m, key);
    snprintf(part, sizeof part, "%s-v%d.part", key, PACK_VERSION);
    assert_int_equal(mkdir(place->packs, 0700), 0);
    make_file(place->packs, part, 0, 0);
    snprintf(part, sizeof part, "%s/%s-v%d.part", place->packs, key, PACK_VERSION);
    int fd = open(part, O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    struct weight_pack *p = open_pack(m, place->packs, true);
    usleep(20000);
    assert_int_equal(weight_pack_state(p), WEIGHT_PACK_BUILDING);
    weight_pack_close(&p);
    p = open_pack(m, place->packs, true);
    close(fd);
    weight_pack_wait(p); /* it sees that the other one gave up, and builds */
    assert_int_equal(weight_pack_state(p), WEIGHT_PACK_READY);
    weight_pack_close(&p);
    model_unref(&m);
}

static void test_remove(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(DENSE), *other = load(FIXTURES "/models/format-q4_0.gguf");
    assert_int_equal(weight_pack_remove(m, place->packs), 0);
    struct weight_pack *p = build_pack(m, place->packs), *q = build_pack(other, place->packs);
    assert_int_equal(weight_pack_remove(m, place->packs), weight_pack_bytes(p));
    assert_no_pack(m, place->packs);
    assert_layer_packed(p, &m->layers[0]); /* who has it keeps it */
    assert_int_equal(count_files(place->packs, ".pack"), 1);
    weight_pack_close(&p);
    weight_pack_close(&q);
    model_unref(&m);
    model_unref(&other);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, model_place_set_up, model_place_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_build_and_reopen),
        TEST(test_large_and_odd_matrices),
        TEST(test_experts),
        TEST(test_model_without_packed_form),
        TEST(test_memory_is_counted_once),
        TEST(test_truncated),
        TEST(test_damaged_header),
        TEST(test_damaged_data_is_found_by_verify),
        TEST(test_pack_of_other_weights_is_found_by_verify),
        TEST(test_pack_of_another_model),
        TEST(test_key_follows_the_content),
        TEST(test_replaced_model_gets_its_own_pack),
        TEST(test_directory_cannot_be_made),
        TEST(test_read_only_directory),
        TEST(test_write_fails),
        TEST(test_ceiling),
        TEST(test_leftovers_and_old_versions_go),
        TEST(test_two_builders),
        TEST(test_builder_dies),
        TEST(test_close_while_building),
        TEST(test_close_while_waiting),
        TEST(test_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

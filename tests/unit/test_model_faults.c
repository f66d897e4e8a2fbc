/* Model files that are cut off, overwritten, deleted or replaced while they are in use, and files full of
 * garbage: whoever computes with them gets an error or tokens, never a crash, and never an answer that was
 * computed from lost pages. (model/model.c, weight_pack.c, infer/engine.c, scheduler.c; os/map_guard.c has a
 * test of its own.) */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "infer/engine.h"
#include "infer/scheduler.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "os/file.h"
#include "os/map.h"
#include "support/model_place.h"

#define DENSE      FIXTURES "/models/llama.gguf"
#define PACKED     FIXTURES "/models/format-q8_0.gguf" /* has packed weights */
#define N_CTX      256
#define N_PROMPT   140 /* KV of so many tokens is saved to disk */
#define MAX_TOKENS 40

/* --- Files --------------------------------------------------------------------------------------------- */

static void cut(const char *path, int64_t len)
{
    assert_int_equal(truncate(path, (off_t)len), 0);
}

/* Write `byte` over [from, to) in place. */
static void overwrite(const char *path, int64_t from, int64_t to, int byte)
{
    char bytes[4096];
    memset(bytes, byte, sizeof bytes);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    while (from < to) {
        size_t n = to - from < (int64_t)sizeof bytes ? (size_t)(to - from) : sizeof bytes;
        assert_int_equal(pwrite(fd, bytes, n, (off_t)from), n);
        from += (int64_t)n;
    }
    close(fd);
}

static int count_files(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static struct model *load(const char *path)
{
    struct errmsg msg = {0};
    struct model *m = NULL;
    if (model_open(path, &m, &msg)) fail_msg("%s", msg.text);
    return m;
}

/* A copy of a fixture, whose last write is a while ago: more than a tick of the clock that files' times come
 * from. */
static struct model *load_copy(const char *fixture, const char *path)
{
    struct timespec then;
    assert_true(model_place_copy(fixture, path));
    clock_gettime(CLOCK_REALTIME, &then);
    then.tv_sec -= 1;
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){then, then}, 0), 0);
    return load(path);
}

/* --- What model_check sees ----------------------------------------------------------------------------- */

static void assert_lost(const struct model *m, const char *says)
{
    struct errmsg msg = {0};
    assert_int_equal(model_check(m, &msg), ERR_IO);
    if (!strstr(msg.text, says)) fail_msg("\"%s\" lacks %s", msg.text, says);
    assert_non_null(strstr(msg.text, m->path));
    assert_int_equal(model_check(m, NULL), ERR_IO);
}

static void test_names_and_modes_do_not_matter(void **state)
{
    struct model_place *p = *state;
    struct model *m = load_copy(DENSE, p->model);
    assert_int_equal(model_check(m, NULL), OK);
    assert_false(model_is_replaced(m));
    assert_int_equal(link(p->model, p->other), 0); /* as `inline model import` does */
    assert_int_equal(unlink(p->other), 0);
    assert_int_equal(chmod(p->model, 0400), 0);
    assert_int_equal(model_check(m, NULL), OK);
    assert_false(model_is_replaced(m));

    assert_int_equal(rename(p->model, p->other), 0); /* its name is free */
    assert_int_equal(model_check(m, NULL), OK);
    assert_false(model_is_replaced(m));
    assert_true(model_place_copy(DENSE, p->model)); /* and now another's */
    assert_int_equal(model_check(m, NULL), OK);
    assert_true(model_is_replaced(m));
    assert_int_equal(unlink(p->other), 0); /* the last name */
    assert_int_equal(model_check(m, NULL), OK);
    assert_memory_equal(gguf_map(m->gguf)->data, "GGUF", 4);
    model_unref(&m);
}

static void test_writes_matter(void **state)
{
    struct model_place *p = *state;
    struct model *m = load_copy(DENSE, p->model);
    overwrite(p->model, m->id.size - 1, m->id.size, 7); /* one byte */
    assert_lost(m, "was written to");
    model_unref(&m);

    m = load_copy(DENSE, p->model);
    overwrite(p->model, m->id.size, m->id.size + 1, 7);
    assert_lost(m, "was written to");
    model_unref(&m);

    m = load_copy(DENSE, p->model);
    cut(p->model, m->id.size - 1);
    assert_lost(m, "was cut off");
    model_unref(&m);

    m = load_copy(DENSE, p->model);
    int64_t size = m->id.size;
    cut(p->model, 0);
    cut(p->model, size); /* as large as before */
    assert_lost(m, "was written to");
    model_unref(&m);
}

/* Pages could not be read, as from a dying disk; the file looks as it did. */
static void test_lost_pages_matter(void **state)
{
    struct model_place *p = *state;
    struct model *m = load_copy(DENSE, p->model);
    struct stat st;
    assert_int_equal(stat(p->model, &st), 0);
    cut(p->model, 0);
    const volatile unsigned char *last = gguf_map(m->gguf)->data + m->id.size - 1;
    assert_int_equal(*last, 0);
    cut(p->model, m->id.size);
    assert_int_equal(utimensat(AT_FDCWD, p->model, (struct timespec[]){st.st_atim, st.st_mtim}, 0), 0);
    assert_lost(m, "could not be read in parts");
    model_unref(&m);
}

/* Texts are views into the file, their lengths are not. */
static void test_tokenizer_of_an_overwritten_file(void **state)
{
    static const char *const fixtures[] = {DENSE, FIXTURES "/models/qwen2.gguf",
                                           FIXTURES "/models/gemma.gguf"};
    static const int bytes[] = {0xff, 0, 0x20, 0xc4};
    struct model_place *p = *state;
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
        struct model *m = load_copy(fixtures[i], p->model);
        const char *start = (const char *)gguf_map(m->gguf)->data, *end = start + m->id.size;
        for (size_t b = 0; b < sizeof bytes / sizeof *bytes; b++) {
            overwrite(p->model, 0, m->id.size, bytes[b]);
            for (int32_t id = -1; id <= m->p.n_vocab; id++) {
                size_t len, text_len;
                const char *piece = tokenizer_piece(m->tokenizer, id, &len);
                const char *text = tokenizer_text(m->tokenizer, id, &text_len);
                assert_true(len < 1000 && text_len < 1000);
                assert_true(len == 0 || memchr(piece, 0, len) != text + text_len); /* reads all of it */
                if (text >= start && text < end) assert_true(text + text_len <= end);
            }
            struct token_list tokens = {0};
            const char *code = "int main(void)\n{\n    return 0;\n}\n\t<|fim_prefix|>\xff\xfe";
            assert_int_equal(tokenizer_encode(m->tokenizer, code, strlen(code), 0, &tokens), OK);
            for (int32_t n = 0; n < tokens.n; n++) assert_in_range(tokens.ids[n], 0, m->p.n_vocab - 1);
            token_list_clear(&tokens);
        }
        assert_lost(m, "was written to");
        model_unref(&m);
    }
}

struct vandal {
    const char *path;
    int64_t size;
    atomic_bool is_over;
};

static void *write_garbage(void *ctx)
{
    struct vandal *v = ctx;
    uint32_t random = 1;
    while (!atomic_load(&v->is_over)) {
        random = random * 1664525u + 1013904223u;
        int64_t at = (int64_t)(random >> 8) % v->size, end = at + 1 + (random >> 4) % 4096;
        if (random >> 28 == 0)
            cut(v->path, at);
        else if (random >> 28 < 4)
            overwrite(v->path, at, end < v->size ? end : v->size, (int)(random & 255));
        else if (model_place_copy(DENSE, v->path))
            usleep(300);
    }
    return NULL;
}

/* Whatever happens to the file while it is opened: a model or an error. */
static void test_opening_what_changes(void **state)
{
    struct model_place *p = *state;
    assert_true(model_place_copy(DENSE, p->model));
    struct vandal v = {.path = p->model, .size = file_size(p->model)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_garbage, &v), 0);
    int32_t n_opened = 0;
    for (int32_t i = 0; i < 300; i++) {
        struct errmsg msg = {0};
        struct model *m = NULL;
        enum err err = model_open(p->model, &m, &msg);
        assert_true(err ? !m && *msg.text : m != NULL);
        if (m) n_opened++;
        if (m) model_unref(&m);
    }
    atomic_store(&v.is_over, true);
    pthread_join(thread, NULL);
    assert_true(n_opened > 0);
    struct model *m = load_copy(DENSE, p->model);
    assert_non_null(gguf_map(m->gguf)->guard); /* those that were closed have given theirs back */
    model_unref(&m);
}

/* --- Engines alone ------------------------------------------------------------------------------------- */

static struct engine_options plain(void)
{
    return (struct engine_options){.n_threads = 2, .n_batch = 16};
}

static struct engine *open_engine(struct model *m, const struct engine_options *o)
{
    struct errmsg msg = {0};
    struct engine *e = NULL;
    if (engine_open(m, o, &e, &msg)) fail_msg("%s", msg.text);
    return e;
}

static struct engine_seq *open_seq(struct engine *e)
{
    struct errmsg msg = {0};
    struct engine_seq *s = NULL;
    if (engine_seq_open(e, N_CTX, &s, &msg)) fail_msg("%s", msg.text);
    return s;
}

static int32_t prompt[N_PROMPT]; /* filled by main, then read by all threads */

enum fault { CUT_OFF, CUT_MOSTLY, OVERWRITTEN, OVERWRITTEN_NAN, N_FAULTS };

static void spoil(const char *path, enum fault fault)
{
    int64_t size = file_size(path);
    if (fault == CUT_OFF) cut(path, 0);
    if (fault == CUT_MOSTLY) cut(path, size / 3);
    if (fault == OVERWRITTEN) overwrite(path, 0, size, 0x3c);
    if (fault == OVERWRITTEN_NAN) overwrite(path, 0, size, 0xff);
}

/* Spoils the file with the token number `at`. */
struct saboteur {
    const char *path; /* null: does not */
    enum fault fault;
    int32_t at, n;
    int32_t tokens[MAX_TOKENS];
};

static bool spoil_at_token(void *ctx, int32_t token, const char *bytes, size_t len)
{
    struct saboteur *s = ctx;
    (void)bytes;
    (void)len;
    assert_true(s->n < MAX_TOKENS);
    if (s->n == s->at && s->path) spoil(s->path, s->fault);
    s->tokens[s->n++] = token;
    return true;
}

static struct engine_request request_of(struct saboteur *s)
{
    return (struct engine_request){.prompt = prompt,
                                   .n_prompt = N_PROMPT,
                                   .sampling = SAMPLER_GREEDY,
                                   .max_tokens = MAX_TOKENS,
                                   .on_token = spoil_at_token,
                                   .ctx = s};
}

static enum err generate(struct engine_seq *seq, struct saboteur *s, struct errmsg *msg)
{
    struct engine_result result;
    struct engine_request r = request_of(s);
    return engine_generate(seq, &r, &result, msg);
}

static void test_spoilt_while_generating(void **state)
{
    struct model_place *p = *state;
    for (int32_t round = 0; round < 3 * N_FAULTS; round++) {
        struct errmsg msg = {0};
        struct model *m = load_copy(DENSE, p->model);
        struct engine_options o = plain();
        o.kv_dir = p->kv;
        struct engine *e = open_engine(m, &o);
        struct engine_seq *seq = open_seq(e);
        struct saboteur s = {
            .path = p->model, .fault = (enum fault)(round % N_FAULTS), .at = round / N_FAULTS};
        assert_int_equal(engine_check(e, &msg), OK);
        assert_int_equal(generate(seq, &s, &msg), ERR_IO);
        assert_non_null(strstr(msg.text, "model.gguf: the model's file was "));
        assert_true(s.n > s.at);
        assert_int_equal(engine_check(e, &msg), ERR_IO);
        assert_int_equal(engine_seq_sync(seq, prompt, 30, NULL, NULL), ERR_IO);
        double loss;
        assert_int_equal(engine_seq_loss(seq, prompt, 30, &loss), ERR_IO);
        engine_seq_save(seq);
        engine_seq_clear(seq, true);
        assert_int_equal(count_files(p->kv), 0); /* KV of garbage is not kept */
        engine_seq_close(&seq);
        engine_close(&e);
        model_unref(&m);
    }
}

static void *spoil_later(void *ctx)
{
    struct saboteur *s = ctx;
    usleep((unsigned)(s->at * 131 % 4000));
    spoil(s->path, s->fault);
    return NULL;
}

/* At any time, while the prompt is computed or later. Who was ready before is right. */
static void test_spoilt_at_any_time(void **state)
{
    struct model_place *p = *state;
    struct saboteur expected = {.path = NULL};
    for (int32_t round = 0; round < 101; round++) {
        struct errmsg msg = {0};
        struct model *m = load_copy(DENSE, p->model);
        struct engine_options o = plain();
        struct engine *e = open_engine(m, &o);
        struct engine_seq *seq = open_seq(e);
        struct saboteur s = {.path = p->model, .fault = (enum fault)(round % N_FAULTS), .at = round};
        struct saboteur quiet = {.path = NULL};
        pthread_t thread;
        if (round > 0) assert_int_equal(pthread_create(&thread, NULL, spoil_later, &s), 0);
        enum err err = generate(seq, &quiet, &msg);
        if (round > 0) pthread_join(thread, NULL);
        if (round == 0) expected = quiet;
        assert_true(err == OK || (round > 0 && err == ERR_IO));
        if (!err) assert_memory_equal(expected.tokens, quiet.tokens, sizeof quiet.tokens);
        if (round > 0) assert_int_equal(engine_seq_sync(seq, prompt, 5, NULL, NULL), ERR_IO);
        engine_seq_close(&seq);
        engine_close(&e);
        model_unref(&m);
    }
}

/* The pack is lost, the model is not: an error, and the next engine builds it anew. */
static void test_spoilt_pack(void **state)
{
    struct model_place *p = *state;
    struct saboteur expected = {.path = NULL}, got = {.path = NULL};
    struct model *m = load_copy(PACKED, p->model);
    struct engine_options o = plain();
    o.pack_dir = p->packs;
    o.pack_build = true;
    for (int32_t round = 0; round < 3; round++) {
        struct errmsg msg = {0};
        char command[160];
        struct engine *e = open_engine(m, &o);
        assert_true(engine_wait_packed(e));
        struct engine_seq *seq = open_seq(e);
        got = (struct saboteur){.path = NULL};
        if (generate(seq, &got, &msg)) fail_msg("%s", msg.text);
        if (round == 0) expected = got;
        assert_int_equal(got.n, expected.n);
        assert_memory_equal(got.tokens, expected.tokens, sizeof got.tokens);

        snprintf(command, sizeof command, "truncate -s %d '%s'/*.pack", round == 0 ? 0 : 5000, p->packs);
        assert_int_equal(system(command), 0);
        assert_int_equal(engine_seq_sync(seq, prompt + 1, 30, NULL, NULL), ERR_IO);
        assert_int_equal(engine_check(e, &msg), ERR_IO);
        assert_non_null(strstr(msg.text, ".pack: the packed weights were cut off"));
        assert_int_equal(model_check(m, NULL), OK);
        assert_int_equal(count_files(p->packs), 1);
        engine_seq_close(&seq);
        engine_close(&e);
        assert_int_equal(count_files(p->packs), 0);
    }
    model_unref(&m);
}

/* A pack is not made of garbage: the file that it names may come back. */
static void test_no_pack_of_a_spoilt_model(void **state)
{
    struct model_place *p = *state;
    struct model *m = load_copy(PACKED, p->model);
    spoil(p->model, OVERWRITTEN_NAN);
    struct engine_options o = plain();
    o.pack_dir = p->packs;
    o.pack_build = true;
    struct engine *e = open_engine(m, &o);
    assert_false(engine_wait_packed(e));
    assert_int_equal(count_files(p->packs), 0);
    engine_close(&e);
    model_unref(&m);
}

/* Weights that are no numbers, or too large ones: in every format, tokens come out or the text ends. */
static void test_garbage_weights(void **state)
{
    static const char *const names[] = {
        "format-bf16", "format-f32",  "format-iq4_nl", "format-iq4_xs", "format-q2_k", "format-q3_k",
        "format-q4_0", "format-q4_1", "format-q4_k",   "format-q5_0",   "format-q5_1", "format-q5_k",
        "format-q6_k", "format-q8_0", "gemma3",        "llama",         "qwen2",       "qwen3moe"};
    static const int bytes[] = {0xff, 0x7f, 0x7c, 0xfb};
    struct model_place *p = *state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char fixture[256];
        struct gguf *g = NULL;
        struct errmsg msg = {0};
        snprintf(fixture, sizeof fixture, FIXTURES "/models/%s.gguf", names[i]);
        assert_int_equal(gguf_open(fixture, &g, &msg), OK);
        int64_t start = INT64_MAX, size = (int64_t)gguf_map(g)->len;
        for (int32_t t = 0; t < gguf_n_tensors(g); t++) {
            int64_t at = (const unsigned char *)gguf_tensor_at(g, t)->data - gguf_map(g)->data;
            if (at < start) start = at;
        }
        gguf_close(&g);
        for (size_t b = 0; b < sizeof bytes / sizeof *bytes; b++) {
            assert_true(model_place_copy(fixture, p->model));
            overwrite(p->model, start, size, bytes[b]);
            struct model *m = load(p->model);
            struct engine_options o = plain();
            bool is_packed =
                b == 0 && strstr("format-q8_0 format-q4_k", names[i]); /* building waits for disks */
            o.pack_dir = is_packed ? p->packs : NULL;
            o.pack_build = is_packed;
            struct engine *e = open_engine(m, &o);
            engine_wait_packed(e);
            struct engine_seq *seq = open_seq(e);
            struct saboteur s = {.path = NULL};
            if (generate(seq, &s, &msg)) fail_msg("%s: %s", fixture, msg.text);
            for (int32_t n = 0; n < s.n; n++) assert_in_range(s.tokens[n], 0, m->p.n_vocab - 1);
            engine_seq_close(&seq);
            engine_close(&e);
            model_unref(&m);
        }
    }
}

/* --- With a scheduler ---------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* protects n_done, n_prepared and report */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct ask {
    struct saboteur saboteur;
    int32_t n_prepared, n_done;
    struct scheduler_report report;
    struct scheduler_job *job;
};

static enum err prepare(void *ctx, struct engine_request *out, struct errmsg *msg)
{
    struct ask *a = ctx;
    (void)msg;
    a->n_prepared++;
    *out = request_of(&a->saboteur);
    return OK;
}

static void done(void *ctx, const struct scheduler_report *report)
{
    struct ask *a = ctx;
    pthread_mutex_lock(&lock);
    a->report = *report;
    a->n_done++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void submit(struct scheduler *s, struct ask *a)
{
    struct scheduler_request r = {
        .priority = SCHEDULER_TYPING, .client = 1, .prepare = prepare, .done = done, .ctx = a};
    a->job = scheduler_submit(s, &r);
}

static void wait_done(struct ask *a)
{
    pthread_mutex_lock(&lock);
    while (!a->n_done) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    scheduler_release(&a->job);
}

static struct scheduler *open_scheduler(struct model *m, const char *kv_dir)
{
    struct errmsg msg = {0};
    struct scheduler *s = NULL;
    struct engine_options o = plain();
    o.kv_dir = kv_dir;
    struct scheduler_options so = {.n_ctx = N_CTX};
    if (scheduler_new(open_engine(m, &o), &so, &s, &msg)) fail_msg("%s", msg.text);
    return s;
}

static void assert_reports_loss(const struct ask *a)
{
    assert_int_equal(a->n_done, 1);
    assert_int_equal(a->report.outcome, SCHEDULER_FAILED);
    assert_int_equal(a->report.err, ERR_IO);
    assert_true(a->report.is_model_lost);
    assert_non_null(strstr(a->report.msg.text, "model.gguf: the model's file was "));
}

static void test_scheduler_reports_it(void **state)
{
    struct model_place *p = *state;
    struct model *sound = load_copy(DENSE, p->other);
    struct scheduler *others = open_scheduler(sound, NULL);
    for (int32_t fault = 0; fault < N_FAULTS; fault++) {
        struct ask before = {.n_done = 0}, spoiler = {.n_done = 0}, beside = {.n_done = 0},
                   after = {.n_done = 0}, other = {.n_done = 0};
        struct model *m = load_copy(DENSE, p->model);
        struct scheduler *s = open_scheduler(m, p->kv);
        submit(s, &before);
        wait_done(&before);
        assert_int_equal(before.report.outcome, SCHEDULER_DONE);
        assert_false(before.report.is_model_lost);

        spoiler.saboteur = (struct saboteur){.path = p->model, .fault = (enum fault)fault, .at = 2};
        submit(s, &spoiler);
        submit(s, &beside); /* both in the same passes */
        submit(others, &other);
        wait_done(&spoiler);
        wait_done(&beside);
        wait_done(&other);
        assert_reports_loss(&spoiler);
        assert_reports_loss(&beside);
        submit(s, &after);
        wait_done(&after);
        assert_reports_loss(&after);
        assert_int_equal(after.n_prepared, 0);

        assert_int_equal(other.report.outcome, SCHEDULER_DONE);
        assert_int_equal(other.saboteur.n, before.saboteur.n);
        assert_memory_equal(other.saboteur.tokens, before.saboteur.tokens, sizeof other.saboteur.tokens);
        scheduler_free(&s);
        assert_int_equal(count_files(p->kv), 0);
        model_unref(&m);
    }
    scheduler_free(&others);
    model_unref(&sound);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, model_place_set_up, model_place_tear_down)

int main(void)
{
    for (int32_t i = 0; i < N_PROMPT; i++) prompt[i] = (i * 37 + 11) % 250;
    const struct CMUnitTest tests[] = {
        TEST(test_names_and_modes_do_not_matter),
        TEST(test_writes_matter),
        TEST(test_lost_pages_matter),
        TEST(test_tokenizer_of_an_overwritten_file),
        TEST(test_opening_what_changes),
        TEST(test_spoilt_while_generating),
        TEST(test_spoilt_at_any_time),
        TEST(test_spoilt_pack),
        TEST(test_no_pack_of_a_spoilt_model),
        TEST(test_garbage_weights),
        TEST(test_scheduler_reports_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

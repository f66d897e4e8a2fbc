/* infer/engine_weights.c: an engine computes with the plan that it was given, or says that it cannot. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "infer/engine.h"
#include "model/model.h"

#define N_TOKENS 24

static const char *const models[] = {FIXTURES "/models/llama.gguf", FIXTURES "/models/qwen2.gguf",
                                     FIXTURES "/models/qwen3moe.gguf", FIXTURES "/models/starcoder2.gguf",
                                     FIXTURES "/models/gemma3.gguf"};

static int set_up(void **state)
{
    char dir[] = "/tmp/inline-test-XXXXXX";
    if (!mkdtemp(dir)) return -1;
    *state = mem_dup_str(dir);
    return 0;
}

static int tear_down(void **state)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", (char *)*state);
    mem_free(*state);
    return system(command);
}

static struct model *load(const char *path)
{
    struct errmsg msg = {0};
    struct model *m = NULL;
    if (model_open(path, &m, &msg)) fail_msg("%s", msg.text);
    return m;
}

static struct engine *open_engine(struct model *m, const struct engine_options *o)
{
    struct errmsg msg = {0};
    struct engine *e = NULL;
    if (engine_open(m, o, &e, &msg)) fail_msg("%s", msg.text);
    return e;
}

static bool can_convert(const char *isa)
{
    const struct kern *k = kern_select(isa);
    return k && k->reads_packed;
}

/* Logits after some tokens; [n_vocab], to be freed. */
static float *logits_of(struct engine *e)
{
    struct engine_seq *s = NULL;
    int32_t n_vocab = engine_model(e)->p.n_vocab, tokens[N_TOKENS];
    for (int32_t i = 0; i < N_TOKENS; i++) tokens[i] = (i * 37 + 5) % 256;
    assert_int_equal(engine_seq_open(e, 64, &s, NULL), OK);
    assert_int_equal(engine_seq_sync(s, tokens, N_TOKENS, NULL, NULL), OK);
    float *copy = mem_try((size_t)n_vocab, sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, engine_seq_logits(s), (size_t)n_vocab * sizeof *copy);
    engine_seq_close(&s);
    return copy;
}

/* |a - b| / |b| */
static double distance(const float *a, const float *b, int32_t n)
{
    double d = 0, all = 0;
    for (int32_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        all += (double)b[i] * (double)b[i];
    }
    return sqrt(d / all);
}

static struct precision_plan plan_of(const struct model *m, enum precision kind, enum kern_type eight_bit)
{
    struct precision_plan plan;
    const struct precision_options o = {.wanted = kind, .eight_bit = eight_bit, .all_blocks = true};
    assert_int_equal(precision_make(m, &o, &plan, NULL), OK);
    return plan;
}

/* --- Computing --------------------------------------------------------------------------------------- */

static void test_plans_give_about_the_same(void **state)
{
    if (!can_convert(NULL)) skip();
    static const struct {
        enum precision kind;
        enum kern_type eight_bit;
        double most; /* of the toy models, whose rows of 32 are noise, so that errors do not average out */
    } cases[] = {{PRECISION_MIXED, KERN_Q8_0, 0.08},
                 {PRECISION_MIXED, KERN_MXFP8, 0.2},
                 {PRECISION_QUANTIZED, KERN_Q8_0, 0.45}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct model *m = load(models[i]);
        struct engine *e = open_engine(m, &(struct engine_options){.n_threads = 2});
        float *expected = logits_of(e);
        engine_close(&e);
        for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
            struct precision_plan plan = plan_of(m, cases[j].kind, cases[j].eight_bit);
            assert_true(plan.converts);
            e = open_engine(
                m,
                &(struct engine_options){
                    .n_threads = 2, .pack_dir = *state, .pack_build = true, .pack_now = true, .plan = &plan});
            assert_true(engine_wait_packed(e));
            assert_string_equal(engine_pack_message(e), "");
            assert_int_equal(engine_precision(e)->kind, cases[j].kind);
            float *got = logits_of(e);
            double d = distance(got, expected, m->p.n_vocab);
            if (!(d > 0 && d < cases[j].most)) fail_msg("%s, plan %zu: %f", models[i], j, d);
            mem_free(got);
            engine_close(&e);
            precision_clear(&plan);
        }
        mem_free(expected);
        model_unref(&m);
    }
}

/* One converted layer costs less than all, and none nothing. */
static void test_one_layer(void **state)
{
    if (!can_convert(NULL)) skip();
    struct model *m = load(models[0]);
    struct precision_plan plan = plan_of(m, PRECISION_QUANTIZED, KERN_Q8_0);
    struct engine_options o = {.n_threads = 1, .pack_dir = *state, .pack_build = true, .plan = &plan};
    struct engine *stored = open_engine(m, &(struct engine_options){.n_threads = 1}), *e = open_engine(m, &o);
    assert_true(engine_wait_packed(e));
    int32_t n = m->p.n_vocab;
    float *expected = logits_of(stored), *all = logits_of(e);
    engine_use_layer(e, -1);
    float *none = logits_of(e);
    engine_use_layer(e, 1);
    float *one = logits_of(e);
    assert_true(distance(none, expected, n) < 1e-6);
    assert_true(distance(one, expected, n) > 1e-4);
    assert_true(distance(one, all, n) > 1e-4);
    mem_free(expected);
    mem_free(all);
    mem_free(none);
    mem_free(one);
    engine_close(&stored);
    engine_close(&e);
    precision_clear(&plan);
    model_unref(&m);
}

/* Sequences that were computed before the converted weights came are not taken for exact any more. */
static void test_weights_that_come_later(void **state)
{
    if (!can_convert(NULL)) skip();
    struct model *m = load(models[0]);
    struct precision_plan plan = plan_of(m, PRECISION_QUANTIZED, KERN_Q8_0);
    struct engine *e = open_engine(
        m, &(struct engine_options){.n_threads = 1, .pack_dir = *state, .pack_build = true, .plan = &plan});
    struct engine_seq *s = NULL;
    int32_t tokens[N_TOKENS];
    for (int32_t i = 0; i < N_TOKENS; i++) tokens[i] = (i * 37 + 5) % 256;
    assert_int_equal(engine_seq_open(e, 64, &s, NULL), OK);
    bool was_first = engine_seq_sync(s, tokens, N_TOKENS, NULL, NULL) == OK && engine_seq_n_inexact(s) == 0;
    assert_true(was_first);
    assert_true(engine_wait_packed(e));
    engine_seq_close(&s);
    assert_int_equal(engine_seq_open(e, 64, &s, NULL), OK);
    assert_int_equal(engine_seq_sync(s, tokens, N_TOKENS, NULL, NULL), OK);
    float *fresh = logits_of(e);
    assert_true(distance(engine_seq_logits(s), fresh, m->p.n_vocab) < 1e-6);
    mem_free(fresh);
    engine_seq_close(&s);
    engine_close(&e);
    precision_clear(&plan);
    model_unref(&m);
}

/* --- Planning ---------------------------------------------------------------------------------------- */

static void test_engine_plans_by_memory(void **state)
{
    if (!can_convert(NULL)) skip();
    struct model *m = load(models[0]);
    struct engine_options o = {.n_threads = 1, .pack_dir = *state, .pack_build = true, .kv_bytes = 1 << 20};
    struct engine *e = open_engine(m, &o);
    assert_int_equal(engine_precision(e)->kind, PRECISION_FULL); /* memory not known */
    int64_t beside = engine_beside_bytes(e);
    assert_true(beside > (1 << 20) + ENGINE_RESERVE_BYTES - 65536 + engine_scratch_bytes(e, 1));
    assert_true(engine_scratch_bytes(e, 3) > engine_scratch_bytes(e, 1));
    engine_close(&e);
    o.memory_bytes = beside + 100000; /* below the threshold: quantized, and it fits */
    e = open_engine(m, &o);
    assert_int_equal(engine_precision(e)->kind, PRECISION_QUANTIZED);
    assert_int_equal(engine_precision(e)->reason, PRECISION_FITS);
    assert_int_equal(engine_precision(e)->beside_bytes, beside);
    assert_true(engine_wait_packed(e));
    engine_close(&e);
    model_unref(&m);
}

static void assert_as_stored(struct model *m, const struct engine_options *o)
{
    struct engine *e = open_engine(m, o);
    assert_int_equal(engine_precision(e)->kind, PRECISION_FULL);
    assert_int_equal(engine_precision(e)->reason, PRECISION_STORED);
    assert_false(engine_precision(e)->converts);
    assert_false(engine_wait_packed(e));
    engine_close(&e);
}

static void test_where_nothing_can_be_converted(void **state)
{
    struct model *m = load(models[0]);
    struct engine_options o = {.n_threads = 1, .precision = PRECISION_QUANTIZED};
    assert_as_stored(m, &o); /* packs are off */
    o.pack_dir = *state;
    assert_as_stored(m, &o); /* there is none, and none is to be built */
    o.pack_build = true;
    o.isa = "ref";
    assert_as_stored(m, &o); /* these kernels do not read packed weights */
    model_unref(&m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_plans_give_about_the_same),      TEST(test_one_layer),
        TEST(test_weights_that_come_later),        TEST(test_engine_plans_by_memory),
        TEST(test_where_nothing_can_be_converted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* model/precision.c: what is converted to what, which plan is taken for which memory, and what it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "kern/pack.h"
#include "model/model.h"
#include "model/precision.h"
#include "support/shape_model.h"
#include "support/toy_model.h"

#define GB ((int64_t)1000000000)
#define MB 1000000

#define LLAMA   FIXTURES "/models/llama.gguf" /* F16; two layers, an output head of its own */
#define QWEN2   FIXTURES "/models/qwen2.gguf"
#define MIXTURE FIXTURES "/models/qwen3moe.gguf"

/* The blocks of real models; their vocabularies are the fixture's. */
static const struct shape_model half_b = {.fixture = QWEN2,
                                          .n_layers = 24,
                                          .d_model = 896,
                                          .d_ff = 4864,
                                          .n_heads = 14,
                                          .n_kv_heads = 2,
                                          .head_dim = 64,
                                          .is_tied = true,
                                          .type = KERN_F16};
static const struct shape_model one_and_half_b = {.fixture = QWEN2,
                                                  .n_layers = 28,
                                                  .d_model = 1536,
                                                  .d_ff = 8960,
                                                  .n_heads = 12,
                                                  .n_kv_heads = 2,
                                                  .head_dim = 128,
                                                  .is_tied = true,
                                                  .type = KERN_BF16};
static const struct shape_model seven_b = {.fixture = QWEN2,
                                           .n_layers = 28,
                                           .d_model = 3584,
                                           .d_ff = 18944,
                                           .n_heads = 28,
                                           .n_kv_heads = 4,
                                           .head_dim = 128,
                                           .type = KERN_F16};

static struct model *load(const char *path)
{
    struct errmsg msg = {0};
    struct model *m = NULL;
    if (model_open(path, &m, &msg)) fail_msg("%s", msg.text);
    return m;
}

/* A file that is gone as soon as it is open. */
static struct model *load_written(bool is_written, const char *path)
{
    assert_true(is_written);
    struct model *m = load(path);
    unlink(path);
    return m;
}

static void temporary(char out[64])
{
    strcpy(out, "/tmp/inline-test-XXXXXX");
    int fd = mkstemp(out);
    assert_true(fd >= 0);
    close(fd);
}

static struct model *load_shape(const struct shape_model *shape)
{
    char path[64];
    temporary(path);
    return load_written(shape_model_write(shape, path), path);
}

static struct model *load_toy(const struct toy_model *toy)
{
    char path[64];
    temporary(path);
    return load_written(toy_model_write(toy, path), path);
}

static struct precision_plan make(const struct model *m, const struct precision_options *o)
{
    struct errmsg msg = {0};
    struct precision_plan plan;
    if (precision_make(m, o, &plan, &msg)) fail_msg("%s", msg.text);
    return plan;
}

static struct precision_plan make_kind(const struct model *m, enum precision kind)
{
    return make(m, &(struct precision_options){.wanted = kind});
}

static const struct precision_row *row_of(const struct precision_plan *plan, const char *name)
{
    for (int32_t i = 0; i < plan->n; i++) {
        const struct precision_row *r = &plan->rows[i];
        if (r->name_len == (int32_t)strlen(name) && !memcmp(r->name, name, strlen(name))) return r;
    }
    fail_msg("there is no tensor %s", name);
    return NULL;
}

/* --- Names ------------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    (void)state;
    for (int i = PRECISION_AUTO; i <= PRECISION_QUANTIZED; i++) {
        enum precision p = PRECISION_AUTO;
        assert_true(precision_parse(precision_name((enum precision)i), &p));
        assert_int_equal(p, i);
    }
    enum precision p = PRECISION_MIXED;
    assert_false(precision_parse("", &p));
    assert_false(precision_parse("Full", &p));
    assert_int_equal(p, PRECISION_MIXED);
}

static void test_keys(void **state)
{
    (void)state;
    struct model *m = load(LLAMA);
    const struct precision_options options[] = {
        {.wanted = PRECISION_FULL},
        {.wanted = PRECISION_MIXED, .all_blocks = true},
        {.wanted = PRECISION_MIXED, .eight_bit = KERN_MXFP8, .all_blocks = true},
        {.wanted = PRECISION_QUANTIZED}};
    char keys[4][PRECISION_KEY_LEN + 1], again[PRECISION_KEY_LEN + 1];
    for (int i = 0; i < 4; i++) {
        struct precision_plan plan = make(m, &options[i]), copy;
        precision_key(&plan, keys[i]);
        assert_int_equal(precision_copy(&plan, &copy), OK);
        precision_clear(&plan);
        precision_key(&copy, again);
        assert_string_equal(keys[i], again);
        assert_int_equal(strlen(keys[i]), i == 0 ? 0 : PRECISION_KEY_LEN);
        for (int j = 0; j < i; j++) assert_string_not_equal(keys[i], keys[j]);
        precision_clear(&copy);
        precision_clear(&copy);
    }
    model_unref(&m);
}

/* --- What is converted ------------------------------------------------------------------------------- */

static void test_mixed(void **state)
{
    (void)state;
    struct model *m = load_toy(
        &(struct toy_model){.fixture = LLAMA, .n_layers = 4, .d_ff = 64, .type = KERN_F16, .down = KERN_F16});
    struct precision_plan plan = make_kind(m, PRECISION_MIXED);
    assert_int_equal(plan.kind, PRECISION_MIXED);
    assert_int_equal(plan.reason, PRECISION_ASKED);
    assert_int_equal(plan.n_kept, 2);
    assert_true(plan.converts);
    static const char *const kept[] = {"token_embd.weight",     "output.weight",
                                       "output_norm.weight",    "blk.0.attn_q.weight",
                                       "blk.3.ffn_down.weight", "blk.2.ffn_norm.weight"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        const struct precision_row *r = row_of(&plan, kept[i]);
        assert_int_equal(r->used, r->stored);
        assert_true(r->is_critical);
    }
    static const char *const converted[] = {"attn_q",      "attn_k",   "attn_v",
                                            "attn_output", "ffn_gate", "ffn_down"};
    for (size_t i = 0; i < sizeof converted / sizeof *converted; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.1.%s.weight", converted[i]);
        assert_int_equal(row_of(&plan, name)->used, KERN_Q8_0);
        assert_false(row_of(&plan, name)->is_critical);
        assert_int_equal(row_of(&plan, name)->layer, 1);
    }
    precision_clear(&plan);

    plan = make(m, &(struct precision_options){.wanted = PRECISION_MIXED, .all_blocks = true});
    assert_int_equal(row_of(&plan, "blk.0.attn_q.weight")->used, KERN_Q8_0);
    assert_int_equal(row_of(&plan, "output.weight")->used, KERN_F16);
    precision_clear(&plan);
    model_unref(&m);
}

/* Both layers of a model of two are kept: then nothing is left to convert. */
static void test_nothing_to_convert_is_full(void **state)
{
    (void)state;
    struct model *m = load(LLAMA);
    struct precision_plan plan = make_kind(m, PRECISION_MIXED);
    assert_int_equal(plan.kind, PRECISION_FULL);
    assert_false(plan.converts);
    precision_clear(&plan);
    model_unref(&m);

    m = load(FIXTURES "/models/format-q4_0.gguf");
    plan = make(m, &(struct precision_options){.memory_bytes = 1});
    assert_int_equal(plan.kind, PRECISION_FULL);
    assert_int_equal(plan.reason, PRECISION_TOO_LARGE);
    assert_false(plan.converts);
    for (int32_t i = 0; i < plan.n; i++) assert_int_equal(plan.rows[i].used, plan.rows[i].stored);
    precision_clear(&plan);
    model_unref(&m);
}

static void test_quantized_formats(void **state)
{
    (void)state;
    struct model *m = load_shape(&half_b); /* 896 columns do not divide by 256, 4864 do */
    struct precision_plan plan = make_kind(m, PRECISION_QUANTIZED);
    assert_int_equal(row_of(&plan, "blk.0.attn_q.weight")->used, KERN_Q5_0);
    assert_int_equal(row_of(&plan, "blk.0.ffn_down.weight")->used, KERN_Q4_K);
    assert_int_equal(row_of(&plan, "token_embd.weight")->used, KERN_Q8_0); /* tied: the head's copy */
    assert_true(row_of(&plan, "token_embd.weight")->used_bytes > 0);
    assert_int_equal(row_of(&plan, "blk.5.attn_q.bias")->used, KERN_F32);
    precision_clear(&plan);
    model_unref(&m);

    m = load_shape(&seven_b);
    plan = make_kind(m, PRECISION_QUANTIZED);
    assert_int_equal(row_of(&plan, "blk.0.attn_q.weight")->used, KERN_Q4_K);
    assert_int_equal(row_of(&plan, "output.weight")->used, KERN_Q6_K);
    assert_int_equal(row_of(&plan, "token_embd.weight")->used, KERN_F16);
    assert_int_equal(row_of(&plan, "token_embd.weight")->used_bytes, 0); /* rows are looked up */
    precision_clear(&plan);
    model_unref(&m);
}

static void test_rows_that_are_no_blocks_stay(void **state)
{
    (void)state;
    struct model *m = load_toy(
        &(struct toy_model){.fixture = LLAMA, .d_ff = 40, .type = KERN_F16, .down = KERN_F16, .seed = 1});
    struct precision_plan plan = make_kind(m, PRECISION_QUANTIZED);
    assert_int_equal(row_of(&plan, "blk.0.ffn_down.weight")->used, KERN_F16); /* rows of 40 */
    assert_int_equal(row_of(&plan, "blk.0.ffn_up.weight")->used, KERN_Q5_0);
    precision_clear(&plan);
    model_unref(&m);
}

static void test_experts(void **state)
{
    (void)state;
    struct model *m =
        load_toy(&(struct toy_model){.fixture = MIXTURE, .d_ff = 32, .type = KERN_F16, .down = KERN_F16});
    struct precision_plan plan = make_kind(m, PRECISION_QUANTIZED);
    for (int32_t i = 0; i < m->p.n_layers; i++) {
        const struct model_layer *l = &m->layers[i];
        assert_int_equal(precision_of(&plan, &l->router), l->router.type);
        assert_int_not_equal(precision_of(&plan, &l->gate_exps), l->gate_exps.type);
        assert_int_not_equal(precision_of(&plan, &l->down_exps), l->down_exps.type);
    }
    precision_clear(&plan);
    model_unref(&m);
}

/* A slice of a tensor is used as all of it; what is in no tensor stays what it is. */
static void test_slices(void **state)
{
    (void)state;
    struct model *m = load(LLAMA);
    struct precision_plan plan = make_kind(m, PRECISION_QUANTIZED);
    struct kern_mat slice = m->layers[0].wq;
    slice.data = (const char *)slice.data + 8 * slice.row_bytes;
    slice.n_rows = 8;
    assert_int_equal(precision_of(&plan, &slice), KERN_Q5_0);
    const uint16_t elsewhere[32] = {0};
    slice.data = elsewhere;
    assert_int_equal(precision_of(&plan, &slice), KERN_F16);
    precision_clear(&plan);
    model_unref(&m);
}

static void test_wrong_eight_bit(void **state)
{
    (void)state;
    struct model *m = load(LLAMA);
    struct errmsg msg = {0};
    struct precision_plan plan;
    const struct precision_options o = {.eight_bit = KERN_Q4_K};
    assert_int_equal(precision_make(m, &o, &plan, &msg), ERR_ARG);
    assert_true(*msg.text);
    precision_clear(&plan);
    model_unref(&m);
}

/* --- Which plan, and what it takes ------------------------------------------------------------------- */

static void test_plans_for_memory(void **state)
{
    (void)state;
    const int64_t beside = 800 * MB;
    static const struct {
        const struct shape_model *shape;
        enum precision kinds[4];
        bool fits[4];
    } cases[] = {{&half_b,
                  {PRECISION_QUANTIZED, PRECISION_MIXED, PRECISION_FULL, PRECISION_FULL},
                  {true, true, true, true}},
                 {&one_and_half_b,
                  {PRECISION_QUANTIZED, PRECISION_MIXED, PRECISION_FULL, PRECISION_FULL},
                  {true, true, true, true}},
                 {&seven_b,
                  {PRECISION_QUANTIZED, PRECISION_QUANTIZED, PRECISION_MIXED, PRECISION_FULL},
                  {false, true, true, true}}};
    static const int64_t memory[4] = {2 * GB, 6 * GB, 12 * GB, 24 * GB};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model *m = load_shape(cases[i].shape);
        int64_t before = 0;
        for (int j = 0; j < 4; j++) {
            const struct precision_options o = {.memory_bytes = memory[j], .beside_bytes = beside};
            struct precision_plan plan = make(m, &o);
            assert_int_equal(plan.kind, cases[i].kinds[j]);
            assert_int_equal(plan.reason, cases[i].fits[j] ? PRECISION_FITS : PRECISION_TOO_LARGE);
            assert_int_equal(precision_fits(&plan), cases[i].fits[j]);
            assert_int_equal(precision_fits(&plan), plan.used_bytes + beside <= memory[j]);
            assert_true(plan.used_bytes >= before); /* more memory, no coarser plan */
            before = plan.used_bytes;
            precision_clear(&plan);
        }
        model_unref(&m);
    }
}

static void test_thresholds(void **state)
{
    (void)state;
    struct model *m = load_toy(
        &(struct toy_model){.fixture = LLAMA, .n_layers = 4, .d_ff = 64, .type = KERN_F16, .down = KERN_F16});
    static const struct {
        int64_t memory;
        enum precision kind;
    } cases[] = {{0, PRECISION_FULL},
                 {PRECISION_FULL_BYTES + 1, PRECISION_FULL},
                 {PRECISION_FULL_BYTES, PRECISION_MIXED},
                 {PRECISION_MIXED_BYTES + 1, PRECISION_MIXED},
                 {PRECISION_MIXED_BYTES, PRECISION_QUANTIZED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct precision_plan plan = make(m, &(struct precision_options){.memory_bytes = cases[i].memory});
        assert_int_equal(plan.kind, cases[i].kind);
        precision_clear(&plan);
    }
    /* What stands beside counts; what is asked for is done whether it fits or not. */
    struct precision_options o = {.memory_bytes = 9 * GB, .beside_bytes = 9 * GB};
    struct precision_plan plan = make(m, &o);
    assert_int_equal(plan.kind, PRECISION_QUANTIZED);
    assert_int_equal(plan.reason, PRECISION_TOO_LARGE);
    precision_clear(&plan);
    o.wanted = PRECISION_FULL;
    plan = make(m, &o);
    assert_int_equal(plan.kind, PRECISION_FULL);
    assert_int_equal(plan.reason, PRECISION_ASKED);
    assert_false(precision_fits(&plan));
    precision_clear(&plan);
    model_unref(&m);
}

/* Sums are those of the rows, and rows take what their packed form takes. */
static void test_sums(void **state)
{
    (void)state;
    struct model *m = load_shape(&one_and_half_b);
    for (int kind = PRECISION_FULL; kind <= PRECISION_QUANTIZED; kind++) {
        struct precision_plan plan = make_kind(m, (enum precision)kind);
        int64_t stored = 0, used = 0;
        for (int32_t i = 0; i < plan.n; i++) {
            stored += plan.rows[i].stored_bytes;
            used += plan.rows[i].used_bytes;
        }
        assert_int_equal(stored, plan.stored_bytes);
        assert_int_equal(used, plan.used_bytes);
        if (kind == PRECISION_FULL) assert_int_equal(used, stored);
        const struct precision_row *r = row_of(&plan, "blk.7.ffn_up.weight");
        int64_t expected =
            (int64_t)(kind == PRECISION_FULL ? (size_t)2 * 1536 * 8960 : pack_bytes(r->used, 8960, 1536));
        assert_int_equal(r->used_bytes, expected);
        precision_clear(&plan);
    }
    model_unref(&m);
}

/* --- Sensitivity and error --------------------------------------------------------------------------- */

static bool is_kept(const struct precision_plan *plan, int32_t layer)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.attn_q.weight", layer);
    return row_of(plan, name)->used == KERN_F16;
}

static void test_sensitive_blocks_are_kept(void **state)
{
    (void)state;
    struct model *m = load_shape(&half_b);
    double sensitivity[24] = {[3] = 5, [7] = 4, [11] = 3, [20] = 2, [21] = 1, [22] = 0.5, [23] = 0.25};
    sensitivity[0] = -1;
    struct precision_options o = {.wanted = PRECISION_MIXED, .sensitivity = sensitivity};
    struct precision_plan plan = make(m, &o);
    assert_int_equal(plan.n_kept, 6); /* a quarter */
    for (int32_t i = 0; i < 24; i++) assert_int_equal(is_kept(&plan, i), sensitivity[i] >= 0.5);
    int64_t with_six = plan.used_bytes;
    precision_clear(&plan);

    o.memory_bytes = with_six - 1; /* one too many */
    plan = make(m, &o);
    assert_int_equal(plan.n_kept, 5);
    assert_true(precision_fits(&plan));
    assert_false(is_kept(&plan, 22));
    precision_clear(&plan);

    o.memory_bytes = 1; /* two are always kept */
    plan = make(m, &o);
    assert_int_equal(plan.n_kept, 2);
    assert_true(is_kept(&plan, 3) && is_kept(&plan, 7));
    precision_clear(&plan);

    memset(sensitivity, 0, sizeof sensitivity); /* nothing is gained by keeping more */
    o.memory_bytes = 0;
    plan = make(m, &o);
    assert_int_equal(plan.n_kept, 2);
    precision_clear(&plan);
    model_unref(&m);
}

static void test_errors(void **state)
{
    (void)state;
    struct model *m = load(LLAMA);
    static const struct {
        enum kern_type eight_bit;
        enum precision kind;
        double least, most; /* of uniform or normal weights: steps of the format, relative to their size */
    } cases[] = {{KERN_Q8_0, PRECISION_MIXED, 0.001, 0.01},
                 {KERN_MXFP8, PRECISION_MIXED, 0.01, 0.04},
                 {KERN_Q8_0, PRECISION_QUANTIZED, 0.01, 0.08}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct precision_plan plan =
            make(m, &(struct precision_options){
                        .wanted = cases[i].kind, .eight_bit = cases[i].eight_bit, .all_blocks = true});
        precision_measure_errors(m, &plan);
        double error = row_of(&plan, "blk.1.ffn_up.weight")->error;
        assert_true(error > cases[i].least && error < cases[i].most);
        assert_true(row_of(&plan, "blk.1.ffn_norm.weight")->error == 0);
        precision_clear(&plan);
    }
    model_unref(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_nothing_to_convert_is_full),
        cmocka_unit_test(test_quantized_formats),
        cmocka_unit_test(test_rows_that_are_no_blocks_stay),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_wrong_eight_bit),
        cmocka_unit_test(test_plans_for_memory),
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_sensitive_blocks_are_kept),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

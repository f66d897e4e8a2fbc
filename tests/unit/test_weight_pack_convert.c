/* model/weight_pack*.c where a plan converts matrices: what is in the pack, that packs of several plans stand
 * side by side, and that each is only taken for its own. */
#include <fcntl.h>
#include <math.h>
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
#include "kern/quantize.h"
#include "model/model.h"
#include "model/precision.h"
#include "model/weight_pack.h"
#include "support/toy_model.h"
#include "support/model_place.h"

#define LLAMA   FIXTURES "/models/llama.gguf"
#define QWEN2   FIXTURES "/models/qwen2.gguf"
#define MIXTURE FIXTURES "/models/qwen3moe.gguf"

static struct model *load(const char *path)
{
    struct errmsg msg = {0};
    struct model *m = NULL;
    if (model_open(path, &m, &msg)) fail_msg("%s", msg.text);
    return m;
}

static struct model *load_toy(const struct model_place *place, const struct toy_model *toy)
{
    assert_true(toy_model_write(toy, place->model));
    return load(place->model);
}

static struct precision_plan make_plan(const struct model *m, enum precision kind, enum kern_type eight_bit)
{
    struct precision_plan plan;
    const struct precision_options o = {.wanted = kind, .eight_bit = eight_bit, .all_blocks = true};
    assert_int_equal(precision_make(m, &o, &plan, NULL), OK);
    assert_true(plan.converts);
    return plan;
}

static struct weight_pack *open_pack(struct model *m, const char *dir, const struct precision_plan *plan,
                                     bool is_foreground)
{
    struct errmsg msg = {0};
    struct weight_pack *p = NULL;
    const struct weight_pack_options o = {
        .dir = dir, .build = true, .is_foreground = is_foreground, .precision = plan};
    if (weight_pack_open(m, &o, &p, &msg)) fail_msg("%s", msg.text);
    weight_pack_wait(p);
    if (weight_pack_state(p) != WEIGHT_PACK_READY) fail_msg("%s", weight_pack_message(p));
    return p;
}

static bool is_there(struct model *m, const char *dir, const struct precision_plan *plan)
{
    struct weight_pack *p = NULL;
    const struct weight_pack_options o = {.dir = dir, .precision = plan};
    bool is_open = weight_pack_open(m, &o, &p, NULL) == OK;
    weight_pack_close(&p);
    return is_open;
}

/* The rows of w quantized one by one. */
static struct kern_mat quantized(const struct kern_mat *w, enum kern_type type)
{
    const struct kern_type_info *info = kern_type_info(type);
    struct kern_mat out = {.type = type, .n_rows = w->n_rows, .n_cols = w->n_cols};
    out.row_bytes = (size_t)(w->n_cols / info->block_len) * (size_t)info->block_bytes;
    char *rows = mem_try((size_t)w->n_rows, out.row_bytes);
    float *floats = mem_try((size_t)w->n_cols, sizeof *floats);
    assert_true(rows && floats);
    for (int32_t r = 0; r < w->n_rows; r++) {
        kern_select("ref")->dequantize(w->type, (const char *)w->data + (size_t)r * w->row_bytes, floats,
                                       w->n_cols);
        for (int32_t c = 0; c < w->n_cols; c++) floats[c] = isfinite(floats[c]) ? floats[c] : 0;
        kern_quantize(type, floats, rows + (size_t)r * out.row_bytes, w->n_cols);
    }
    mem_free(floats);
    out.data = rows;
    return out;
}

/* Applying p to w gives what the plan says, packed where it should be. */
static void assert_converted(const struct weight_pack *p, const struct precision_plan *plan,
                             const struct kern_mat *w, bool is_packed)
{
    struct kern_mat applied = *w, expected = quantized(w, precision_of(plan, w));
    weight_pack_apply(p, &applied);
    assert_int_equal(applied.type, expected.type);
    assert_int_equal(applied.row_bytes, expected.row_bytes);
    assert_non_null(applied.data);
    assert_ptr_not_equal(applied.data, w->data);
    if (is_packed) {
        size_t bytes = pack_bytes(expected.type, w->n_rows, w->n_cols);
        char *packed = mem_try_aligned(bytes, 1);
        assert_non_null(packed);
        pack_rows(&expected, 0, w->n_rows, packed);
        assert_int_equal((uintptr_t)applied.packed % 64, 0);
        assert_memory_equal(applied.packed, packed, bytes);
        mem_free(packed);
    } else {
        assert_null(applied.packed);
        assert_memory_equal(applied.data, expected.data, (size_t)w->n_rows * expected.row_bytes);
    }
    mem_free((void *)expected.data);
}

static void assert_layer_converted(const struct weight_pack *p, const struct precision_plan *plan,
                                   const struct model_layer *l, bool is_packed)
{
    const struct kern_mat *all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) assert_converted(p, plan, all[i], is_packed);
}

/* --- What is in a pack ------------------------------------------------------------------------------- */

static void test_formats(void **state)
{
    const struct model_place *place = *state;
    static const enum kern_type stored[] = {KERN_F16, KERN_BF16, KERN_F32};
    for (size_t i = 0; i < sizeof stored / sizeof *stored; i++) {
        /* 65,536 + 256 columns and rows: many chunks, K formats for the down matrix. */
        struct model *m = load_toy(place, &(struct toy_model){.fixture = LLAMA,
                                                              .d_ff = i ? 256 : 65536 + 256,
                                                              .type = stored[i],
                                                              .down = stored[i],
                                                              .seed = 11});
        struct precision_plan plan = make_plan(m, PRECISION_QUANTIZED, KERN_Q8_0);
        struct weight_pack *p = open_pack(m, place->packs, &plan, i % 2 == 0);
        assert_layer_converted(p, &plan, &m->layers[0], true);
        assert_converted(p, &plan, &m->output, true);
        assert_int_equal(precision_of(&plan, &m->layers[1].down), KERN_Q4_K);
        assert_int_equal(weight_pack_bytes_of(m, &plan), weight_pack_bytes(p));
        assert_int_equal(weight_pack_verify(p, NULL), OK);
        weight_pack_close(&p);
        precision_clear(&plan);
        model_unref(&m);
    }
}

static void test_eight_bits(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(QWEN2);
    static const enum kern_type formats[] = {KERN_Q8_0, KERN_MXFP8};
    for (size_t i = 0; i < 2; i++) {
        struct precision_plan plan = make_plan(m, PRECISION_MIXED, formats[i]);
        struct weight_pack *p = open_pack(m, place->packs, &plan, false);
        assert_layer_converted(p, &plan, &m->layers[0], pack_bytes(formats[i], 32, 32) > 0);
        struct kern_mat head = m->output;
        weight_pack_apply(p, &head); /* stays as stored */
        assert_memory_equal(&head, &m->output, sizeof head);
        weight_pack_close(&p);
        precision_clear(&plan);
    }
    model_unref(&m);
}

/* Many threads write the same bytes as one. */
static void test_foreground_gives_the_same(void **state)
{
    const struct model_place *place = *state;
    char other[80], command[256];
    snprintf(other, sizeof other, "%s/other", place->root);
    struct model *m = load_toy(
        place,
        &(struct toy_model){.fixture = LLAMA, .d_ff = 16384, .type = KERN_F16, .down = KERN_F16, .seed = 12});
    struct precision_plan plan = make_plan(m, PRECISION_QUANTIZED, KERN_Q8_0);
    struct weight_pack *p = open_pack(m, place->packs, &plan, true), *q = open_pack(m, other, &plan, false);
    snprintf(command, sizeof command, "cmp -s '%s' '%s'", weight_pack_path(p), weight_pack_path(q));
    assert_int_equal(system(command), 0);
    weight_pack_close(&p);
    weight_pack_close(&q);
    precision_clear(&plan);
    model_unref(&m);
}

/* Rows that fill no panel, and columns that make no blocks. */
static void test_odd_rows(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load_toy(
        place,
        &(struct toy_model){.fixture = LLAMA, .d_ff = 40, .type = KERN_F16, .down = KERN_F16, .seed = 13});
    struct precision_plan plan = make_plan(m, PRECISION_QUANTIZED, KERN_Q8_0);
    struct weight_pack *p = open_pack(m, place->packs, &plan, true);
    assert_converted(p, &plan, &m->layers[0].up, true);
    struct kern_mat down = m->layers[0].down;
    weight_pack_apply(p, &down);
    assert_memory_equal(&down, &m->layers[0].down, sizeof down);
    weight_pack_close(&p);
    precision_clear(&plan);
    model_unref(&m);
}

/* Experts of 24 rows do not begin with panels: converted, but plain. */
static void test_experts(void **state)
{
    const struct model_place *place = *state;
    static const int32_t d_ff[] = {32, 24};
    for (int i = 0; i < 2; i++) {
        struct model *m = load_toy(
            place, &(struct toy_model){
                       .fixture = MIXTURE, .d_ff = d_ff[i], .type = KERN_F16, .down = KERN_F16, .seed = 14});
        struct precision_plan plan = make_plan(m, PRECISION_QUANTIZED, KERN_Q8_0);
        struct weight_pack *p = open_pack(m, place->packs, &plan, true);
        const struct model_layer *l = &m->layers[1];
        assert_converted(p, &plan, &l->gate_exps, i == 0);
        assert_converted(p, &plan, &l->up_exps, i == 0);
        struct kern_mat router = l->router;
        weight_pack_apply(p, &router);
        assert_memory_equal(&router, &l->router, sizeof router);
        assert_int_equal(weight_pack_verify(p, NULL), OK);
        weight_pack_close(&p);
        precision_clear(&plan);
        model_unref(&m);
    }
}

static void test_weights_that_are_no_numbers(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load_toy(
        place, &(struct toy_model){.fixture = LLAMA, .d_ff = 64, .type = KERN_F16, .down = KERN_F16});
    static const uint16_t broken[] = {0x7c00, 0xfc00, 0x7e00}; /* infinities and a NaN */
    int fd = open(place->model, O_RDWR);
    model_unref(&m);
    off_t end = lseek(fd, 0, SEEK_END);
    assert_true(fd >= 0 && end > 4096);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pwrite(fd, &broken[i], 2, end - 2048 + 2 * i), 2); /* in the last matrix */
    close(fd);
    m = load(place->model);
    struct precision_plan plan = make_plan(m, PRECISION_QUANTIZED, KERN_Q8_0);
    struct weight_pack *p = open_pack(m, place->packs, &plan, true);
    assert_layer_converted(p, &plan, &m->layers[1], true);
    assert_converted(p, &plan, &m->output, true);
    weight_pack_close(&p);
    precision_clear(&plan);
    model_unref(&m);
}

/* --- Several packs of a model ------------------------------------------------------------------------ */

static void test_plans_stand_side_by_side(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(LLAMA);
    struct precision_plan mixed = make_plan(m, PRECISION_MIXED, KERN_Q8_0),
                          quantized_plan = make_plan(m, PRECISION_QUANTIZED, KERN_Q8_0);
    struct weight_pack *p = open_pack(m, place->packs, &mixed, false);
    assert_false(is_there(m, place->packs, &quantized_plan));
    assert_false(is_there(m, place->packs, NULL)); /* F16 has no packed form */
    struct weight_pack *q = open_pack(m, place->packs, &quantized_plan, false);
    char key[PRECISION_KEY_LEN + 1];
    precision_key(&mixed, key);
    assert_non_null(strstr(weight_pack_path(p), key));
    assert_string_not_equal(weight_pack_path(p), weight_pack_path(q));
    assert_layer_converted(p, &mixed, &m->layers[0], true);
    assert_layer_converted(q, &quantized_plan, &m->layers[0], true);
    int64_t bytes = weight_pack_bytes(p) + weight_pack_bytes(q);
    weight_pack_close(&p);
    weight_pack_close(&q);
    assert_true(is_there(m, place->packs, &mixed));
    assert_true(is_there(m, place->packs, &quantized_plan));
    assert_int_equal(weight_pack_remove(m, place->packs), bytes);
    assert_false(is_there(m, place->packs, &mixed));
    assert_false(is_there(m, place->packs, &quantized_plan));
    precision_clear(&mixed);
    precision_clear(&quantized_plan);
    model_unref(&m);
}

/* The header tells the formats, whatever the file is called. */
static void test_pack_of_another_plan(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(LLAMA);
    struct precision_plan a = make_plan(m, PRECISION_QUANTIZED, KERN_Q8_0), b;
    assert_int_equal(precision_copy(&a, &b), OK);
    for (int32_t i = 0; i < b.n; i++) {
        if (b.rows[i].used != b.rows[i].stored) b.rows[i].used = KERN_Q8_0;
    }
    struct weight_pack *p = open_pack(m, place->packs, &a, false), *q = open_pack(m, place->packs, &b, false);
    char command[256];
    snprintf(command, sizeof command, "cp '%s' '%s'", weight_pack_path(p), weight_pack_path(q));
    weight_pack_close(&p);
    weight_pack_close(&q);
    assert_int_equal(system(command), 0);
    assert_true(is_there(m, place->packs, &a));
    assert_false(is_there(m, place->packs, &b));
    precision_clear(&a);
    precision_clear(&b);
    model_unref(&m);
}

static void test_damage_is_found(void **state)
{
    const struct model_place *place = *state;
    struct model *m = load(QWEN2);
    struct precision_plan plan = make_plan(m, PRECISION_QUANTIZED, KERN_Q8_0);
    struct weight_pack *p = open_pack(m, place->packs, &plan, true);
    int fd = open(weight_pack_path(p), O_RDWR);
    char byte;
    off_t at = lseek(fd, 0, SEEK_END) - 4096; /* the last matrix begins on a page */
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    struct errmsg msg = {0};
    assert_int_equal(weight_pack_verify(p, &msg), ERR_FORMAT);
    assert_non_null(strstr(msg.text, "damaged"));
    weight_pack_close(&p);
    precision_clear(&plan);
    model_unref(&m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, model_place_set_up, model_place_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_formats),
        TEST(test_eight_bits),
        TEST(test_foreground_gives_the_same),
        TEST(test_odd_rows),
        TEST(test_experts),
        TEST(test_weights_that_are_no_numbers),
        TEST(test_plans_stand_side_by_side),
        TEST(test_pack_of_another_plan),
        TEST(test_damage_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

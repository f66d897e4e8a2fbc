/* What a sequence reuses when its prompt changes: shifted KV and its refresh, other sequences' beginnings,
 * what was saved on disk; and that none of it, nor a cancellation in between, leaves wrong KV behind. */
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

#include "infer/engine.h"
#include "model/model.h"

#define N_CTX 640
#define N     300

static struct model *model;
static int32_t prompt[N_CTX], edited[N_CTX];

static struct engine *open_engine(struct engine_options o)
{
    struct engine *e = NULL;
    struct errmsg msg = {0};
    o.n_threads = 2;
    if (!o.n_batch) o.n_batch = 64;
    if (engine_open(model, &o, &e, &msg)) fail_msg("%s", msg.text);
    return e;
}

static struct engine_seq *open_seq(struct engine *e)
{
    struct engine_seq *s = NULL;
    struct errmsg msg = {0};
    if (engine_seq_open(e, N_CTX, &s, &msg)) fail_msg("%s", msg.text);
    return s;
}

static struct engine_reuse sync_to(struct engine_seq *s, const int32_t *tokens, int32_t n)
{
    struct engine_reuse r;
    assert_int_equal(engine_seq_sync(s, tokens, n, NULL, &r), OK);
    assert_int_equal(r.n_reused + r.n_restored + r.n_moved + r.n_computed, n);
    assert_int_equal(engine_seq_len(s), n);
    return r;
}

/* The logits are those of a computation from nothing. Batches of another size may sum in another order. */
static void assert_exact(const struct engine_seq *s, const int32_t *tokens, int32_t n)
{
    struct engine *e = open_engine((struct engine_options){0});
    struct engine_seq *alone = open_seq(e);
    sync_to(alone, tokens, n);
    for (int32_t i = 0; i < model->p.n_vocab; i++) {
        float want = engine_seq_logits(alone)[i];
        assert_true(fabsf(engine_seq_logits(s)[i] - want) < 2e-3f * (1 + fabsf(want)));
    }
    engine_seq_close(&alone);
    engine_close(&e);
}

/* edited: prompt with `deleted` tokens at `at` replaced by `inserted` others. Returns its length. */
static int32_t edit(int32_t at, int32_t deleted, int32_t inserted)
{
    memcpy(edited, prompt, (size_t)at * sizeof *edited);
    for (int32_t i = 0; i < inserted; i++) edited[at + i] = (prompt[at + i] + 101 + i) % 250;
    memcpy(edited + at + inserted, prompt + at + deleted, (size_t)(N - at - deleted) * sizeof *edited);
    return N - deleted + inserted;
}

static void test_shifted_kv_is_moved(void **state)
{
    (void)state;
    struct engine *e = open_engine((struct engine_options){.move = ENGINE_MOVE_ON});
    struct engine_seq *s = open_seq(e);
    sync_to(s, prompt, N);
    int32_t n = edit(60, 0, 3);
    struct engine_reuse r = sync_to(s, edited, n);
    assert_int_equal(r.n_reused, 60);
    assert_int_equal(r.n_computed, 3 + 1); /* what was inserted, and the last, for its logits */
    assert_int_equal(engine_seq_n_inexact(s), n - 63);
    for (int32_t i = 0; i < model->p.n_vocab; i++) assert_true(isfinite(engine_seq_logits(s)[i]));

    assert_int_equal(engine_seq_refresh(s, NULL), OK);
    assert_int_equal(engine_seq_n_inexact(s), 0);
    assert_exact(s, edited, n);
    r = sync_to(s, edited, n);
    assert_int_equal(r.n_reused, n);

    sync_to(s, prompt, N); /* and back: a deletion */
    assert_int_equal(engine_seq_refresh(s, NULL), OK);
    assert_exact(s, prompt, N);
    engine_seq_close(&s);
    engine_close(&e);
}

static void test_moving_is_off_by_default(void **state)
{
    (void)state;
    struct engine *e = open_engine((struct engine_options){0});
    struct engine_seq *s = open_seq(e);
    sync_to(s, prompt, N);
    int32_t n = edit(60, 2, 1);
    struct engine_reuse r = sync_to(s, edited, n);
    assert_int_equal(r.n_reused, 60);
    assert_int_equal(r.n_moved, 0);
    assert_exact(s, edited, n);
    engine_seq_close(&s);
    engine_close(&e);
}

/* A cancellation between moving and computing must not lose what was moved. */
static void test_cancelled_between_move_and_computation(void **state)
{
    (void)state;
    struct engine *e = open_engine((struct engine_options){.move = ENGINE_MOVE_ON});
    struct engine_seq *s = open_seq(e);
    atomic_bool cancel = true;
    struct limits limits = {.cancel = &cancel};
    sync_to(s, prompt, N);
    int32_t n = edit(60, 0, 1);
    assert_int_equal(engine_seq_sync(s, edited, n, &limits, NULL), ERR_CANCELLED);
    n = edit(60, 0, 2);
    struct engine_reuse r = sync_to(s, edited, n);
    assert_int_equal(r.n_reused, 60);
    assert_int_equal(r.n_computed, 2 + 1);

    assert_int_equal(engine_seq_refresh(s, &limits), ERR_CANCELLED);
    assert_true(engine_seq_n_inexact(s) > 0);
    assert_int_equal(engine_seq_refresh(s, NULL), OK);
    assert_exact(s, edited, n);
    engine_seq_close(&s);
    engine_close(&e);
}

/* Random edits, with cancellations and refreshes between: after a refresh the logits are exact. */
static void test_random_edits(void **state)
{
    (void)state;
    struct engine *e = open_engine((struct engine_options){.move = ENGINE_MOVE_ON, .n_batch = 16});
    struct engine_seq *s = open_seq(e);
    atomic_bool cancel = true;
    struct limits limits = {.cancel = &cancel};
    uint32_t x = 99;
    sync_to(s, prompt, N);
    for (int32_t i = 0; i < 60; i++) {
        x = x * 1664525u + 1013904223u;
        int32_t at = (int32_t)(x >> 8) % (N - 40), deleted = (int32_t)(x >> 20) % 30;
        int32_t n = edit(at, deleted, (int32_t)(x >> 12) % 40);
        if (i % 3 == 0) assert_int_equal(engine_seq_sync(s, edited, n, &limits, NULL), ERR_CANCELLED);
        if (i % 4 == 1) continue;
        sync_to(s, edited, n);
        if (i % 5) continue;
        assert_int_equal(engine_seq_refresh(s, NULL), OK);
        assert_exact(s, edited, n);
    }
    engine_seq_close(&s);
    engine_close(&e);
}

static void test_beginnings_are_shared(void **state)
{
    (void)state;
    struct engine *e = open_engine((struct engine_options){0});
    struct engine_seq *one = open_seq(e), *two = open_seq(e);
    sync_to(one, prompt, N);
    int64_t alone = engine_kv_bytes(e);
    int32_t n = edit(200, 0, 1);
    struct engine_reuse r = sync_to(two, edited, n);
    assert_int_equal(r.n_reused, 200);
    assert_true(engine_kv_bytes(e) < 2 * alone);
    assert_exact(two, edited, n);
    assert_int_equal(engine_seq_append(one, 5, NULL), OK); /* writes behind the shared part stay apart */
    r = sync_to(two, edited, n);
    assert_exact(two, edited, n);
    engine_seq_close(&one);
    assert_exact(two, edited, n);
    engine_seq_close(&two);
    assert_int_equal(engine_kv_bytes(e), 0);
    engine_close(&e);
}

/* Room for one and a half prompts. */
static int64_t tight_budget(void)
{
    struct engine *e = open_engine((struct engine_options){0});
    struct engine_seq *s = open_seq(e);
    sync_to(s, prompt, N);
    int64_t bytes = engine_kv_bytes(e);
    engine_seq_close(&s);
    engine_close(&e);
    return bytes + bytes / 2;
}

static void test_budget(void **state)
{
    (void)state;
    int64_t budget = tight_budget();
    struct engine *e = open_engine((struct engine_options){.kv_bytes = budget});
    struct engine_seq *one = open_seq(e), *two = open_seq(e);
    for (int32_t i = 0; i < N; i++) edited[i] = (prompt[i] + 17) % 250;
    for (int32_t i = 0; i < 3; i++) {
        assert_int_equal(sync_to(one, prompt, N).n_reused, 0);
        assert_true(engine_kv_bytes(e) <= budget);
        assert_exact(one, prompt, N);
        assert_int_equal(sync_to(two, edited, N).n_reused, 0);
        assert_true(engine_kv_bytes(e) <= budget);
        assert_exact(two, edited, N);
    }
    memcpy(edited + N, prompt, N * sizeof *edited);
    assert_int_equal(engine_seq_sync(two, edited, 2 * N, NULL, NULL), ERR_LIMIT); /* alone too long */
    sync_to(one, prompt, N);
    engine_seq_close(&one);
    engine_seq_close(&two);
    engine_close(&e);
}

/* Another budget under way: the least recently used goes, and comes back as if it had never been there. */
static void test_budget_changes(void **state)
{
    (void)state;
    int64_t tight = tight_budget();
    struct engine *e = open_engine((struct engine_options){.kv_bytes = 4 * tight});
    struct engine_seq *one = open_seq(e), *two = open_seq(e);
    for (int32_t i = 0; i < N; i++) edited[i] = (prompt[i] + 17) % 250;
    sync_to(one, prompt, N);
    sync_to(two, edited, N);
    engine_set_kv_bytes(e, tight);
    assert_in_range(engine_kv_bytes(e), 1, tight);
    assert_int_equal(engine_seq_len(one), 0);
    assert_int_equal(engine_seq_len(two), N);
    assert_exact(two, edited, N);
    assert_int_equal(sync_to(one, prompt, N).n_reused, 0);
    assert_exact(one, prompt, N);
    assert_in_range(engine_kv_bytes(e), 1, tight);
    engine_set_kv_bytes(e, 1);
    assert_int_equal(engine_kv_bytes(e), 0);
    assert_int_equal(engine_seq_sync(one, prompt, N, NULL, NULL), ERR_LIMIT);
    engine_set_kv_bytes(e, 0); /* as in the options */
    sync_to(one, prompt, N);
    sync_to(two, edited, N);
    assert_int_equal(engine_seq_len(one), N);
    assert_exact(one, prompt, N);
    assert_exact(two, edited, N);
    engine_seq_close(&one);
    engine_seq_close(&two);
    engine_close(&e);
}

static void remove_tree(const char *dir)
{
    char command[600];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    assert_int_equal(system(command), 0);
}

static void test_eviction_to_disk(void **state)
{
    (void)state;
    char dir[] = "/tmp/inline-test-kv-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct engine_options o = {.kv_bytes = tight_budget(), .kv_dir = dir};
    struct engine *e = open_engine(o);
    struct engine_seq *one = open_seq(e), *two = open_seq(e);
    for (int32_t i = 0; i < N; i++) edited[i] = (prompt[i] + 17) % 250;
    sync_to(one, prompt, N);
    sync_to(two, edited, N); /* evicts one */
    struct engine_reuse r = sync_to(one, prompt, N);
    assert_true(r.n_restored >= N - 1);
    assert_exact(one, prompt, N);
    engine_seq_clear(one, true);
    engine_seq_close(&one);
    engine_seq_close(&two);
    engine_close(&e);

    e = open_engine(o); /* another process, another day */
    one = open_seq(e);
    int32_t n = edit(280, 0, 4);
    r = sync_to(one, edited, n);
    assert_int_equal(r.n_restored, 280);
    assert_exact(one, edited, n);
    engine_seq_close(&one);
    engine_close(&e);
    remove_tree(dir);
}

static bool go_on(void *ctx, int32_t token, const char *bytes, size_t len)
{
    (void)ctx;
    (void)token;
    (void)bytes;
    return len < 1000;
}

static void test_deadlines(void **state)
{
    (void)state;
    struct engine *e = open_engine((struct engine_options){0});
    struct engine_seq *s = open_seq(e);
    struct engine_request request = {.prompt = prompt,
                                     .n_prompt = N,
                                     .sampling = SAMPLER_GREEDY,
                                     .max_tokens = 100,
                                     .max_prompt_ms = 1e-6,
                                     .on_token = go_on};
    struct engine_result r;
    struct errmsg msg;
    assert_int_equal(engine_generate(s, &request, &r, &msg), OK);
    assert_int_equal(r.stop, ENGINE_STOP_TIME);
    assert_int_equal(r.n_generated, 0);
    request.max_prompt_ms = 0;
    request.max_predict_ms = 1e-6;
    assert_int_equal(engine_generate(s, &request, &r, &msg), OK);
    assert_int_equal(r.stop, ENGINE_STOP_TIME);
    assert_true(r.n_generated < 100);
    request.max_predict_ms = 0;
    assert_int_equal(engine_generate(s, &request, &r, &msg), OK);
    assert_int_not_equal(r.stop, ENGINE_STOP_TIME);
    engine_seq_close(&s);
    engine_close(&e);
}

static void test_loss(void **state)
{
    (void)state;
    struct engine *e = open_engine((struct engine_options){0});
    struct engine_seq *s = open_seq(e);
    double want = 0, loss;
    for (int32_t i = 1; i < 50; i++) {
        sync_to(s, prompt, i);
        const float *logits = engine_seq_logits(s);
        double sum = 0;
        for (int32_t v = 0; v < model->p.n_vocab; v++) sum += exp((double)logits[v]);
        want += log(sum) - (double)logits[prompt[i]];
    }
    engine_seq_clear(s, false);
    assert_int_equal(engine_seq_loss(s, prompt, 50, &loss), OK);
    assert_true(fabs(loss - want / 49) < 1e-4);
    engine_seq_close(&s);
    engine_close(&e);
}

static int set_up(void **state)
{
    (void)state;
    struct errmsg msg;
    for (int32_t i = 0; i < N_CTX; i++) prompt[i] = (i * i * 37 + i * 11 + 3) % 250;
    return model_open(FIXTURES "/models/llama.gguf", &model, &msg) == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    model_unref(&model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shifted_kv_is_moved),
        cmocka_unit_test(test_moving_is_off_by_default),
        cmocka_unit_test(test_cancelled_between_move_and_computation),
        cmocka_unit_test(test_random_edits),
        cmocka_unit_test(test_beginnings_are_shared),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_eviction_to_disk),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_budget_changes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* Sequences: what is reused, what is refused, how a run stops. (Numbers: tests/model.) */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "infer/engine.h"
#include "model/model.h"
#include "model/tokenizer.h"

#define N_CTX 96
#define N     40

static struct model *model;
static struct engine *engine;
static int32_t prompt[N_CTX];
static float *expected; /* logits after prompt[0..N-1], computed in one go */

static struct engine_seq *open_seq(void)
{
    struct engine_seq *s;
    struct errmsg msg = {0};
    assert_int_equal(engine_seq_open(engine, N_CTX, &s, &msg), OK);
    return s;
}

static int set_up(void **state)
{
    (void)state;
    static float logits[1 << 12];
    struct errmsg msg = {0};
    struct engine_options o = {.n_threads = 2, .n_batch = 16};
    if (model_open(FIXTURES "/models/llama.gguf", &model, &msg) || engine_open(model, &o, &engine, &msg)) {
        print_error("%s\n", msg.text);
        return -1;
    }
    for (int32_t i = 0; i < N_CTX; i++) prompt[i] = (i * 37 + 11) % 250;
    struct engine_seq *s = open_seq();
    assert_int_equal(engine_seq_sync(s, prompt, N, NULL, NULL), OK);
    assert_true(model->p.n_vocab <= 1 << 12);
    expected = memcpy(logits, engine_seq_logits(s), (size_t)model->p.n_vocab * sizeof(float));
    engine_seq_close(&s);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    engine_close(&engine);
    model_unref(&model);
    return 0;
}

/* Batches of another size may sum in another order. */
static void assert_expected_logits(const struct engine_seq *s)
{
    for (int32_t i = 0; i < model->p.n_vocab; i++) {
        assert_true(fabsf(engine_seq_logits(s)[i] - expected[i]) < 1e-3f * (1 + fabsf(expected[i])));
    }
}

static void test_common_prefix_is_reused(void **state)
{
    (void)state;
    struct engine_seq *s = open_seq();
    struct engine_reuse reuse;
    int32_t other[N];
    assert_int_equal(engine_seq_sync(s, prompt, 25, NULL, &reuse), OK);
    assert_int_equal(reuse.n_reused, 0);
    assert_int_equal(engine_seq_sync(s, prompt, N, NULL, &reuse), OK);
    assert_int_equal(reuse.n_reused, 25);
    assert_expected_logits(s);

    memcpy(other, prompt, sizeof other);
    other[30] = (other[30] + 1) % 250;
    assert_int_equal(engine_seq_sync(s, other, N, NULL, &reuse), OK);
    assert_int_equal(reuse.n_reused, 30);
    assert_int_equal(engine_seq_sync(s, prompt, N, NULL, &reuse), OK);
    assert_int_equal(reuse.n_reused, 30);
    assert_expected_logits(s);

    assert_int_equal(engine_seq_sync(s, prompt, N, NULL, &reuse), OK);
    assert_int_equal(reuse.n_reused, N); /* logits are still there */
    assert_expected_logits(s);
    assert_int_equal(engine_seq_sync(s, prompt, 20, NULL, &reuse), OK);
    assert_int_equal(reuse.n_reused, 19); /* KV is there, logits are not */
    assert_int_equal(engine_seq_len(s), 20);
    engine_seq_close(&s);
}

static void test_appending_equals_syncing(void **state)
{
    (void)state;
    struct engine_seq *s = open_seq();
    assert_int_equal(engine_seq_sync(s, prompt, 1, NULL, NULL), OK);
    for (int32_t i = 1; i < N; i++) assert_int_equal(engine_seq_append(s, prompt[i], NULL), OK);
    assert_int_equal(engine_seq_len(s), N);
    assert_expected_logits(s);
    engine_seq_close(&s);
}

static void test_two_sequences_do_not_mix(void **state)
{
    (void)state;
    struct engine_seq *one = open_seq(), *two = open_seq();
    assert_int_equal(engine_seq_sync(two, prompt + 3, 20, NULL, NULL), OK);
    for (int32_t i = 0; i < N; i++) {
        assert_int_equal(engine_seq_append(one, prompt[i], NULL), OK);
        assert_int_equal(engine_seq_append(two, prompt[i], NULL), OK);
    }
    assert_expected_logits(one);
    engine_seq_close(&one);
    engine_seq_close(&two);
}

static void test_refusals(void **state)
{
    (void)state;
    struct engine_seq *s = open_seq();
    int32_t bad[] = {1, 2, model->p.n_vocab}, negative[] = {-1};
    assert_int_equal(engine_seq_sync(s, prompt, 0, NULL, NULL), ERR_ARG);
    assert_int_equal(engine_seq_sync(s, bad, 3, NULL, NULL), ERR_ARG);
    assert_int_equal(engine_seq_sync(s, negative, 1, NULL, NULL), ERR_ARG);
    assert_int_equal(engine_seq_append(s, -1, NULL), ERR_ARG);
    assert_int_equal(engine_seq_sync(s, prompt, N_CTX + 1, NULL, NULL), ERR_LIMIT);
    assert_int_equal(engine_seq_sync(s, prompt, N_CTX, NULL, NULL), OK);
    assert_int_equal(engine_seq_append(s, 1, NULL), ERR_LIMIT);
    assert_int_equal(engine_seq_sync(s, prompt, N, NULL, NULL), OK);
    assert_expected_logits(s);
    engine_seq_close(&s);

    struct engine *e = NULL;
    struct errmsg msg = {0};
    assert_int_equal(engine_open(model, &(struct engine_options){.isa = "mmx"}, &e, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "mmx"));
    assert_int_equal(engine_open(model, &(struct engine_options){.n_threads = -1}, &e, &msg), ERR_ARG);
    assert_int_equal(engine_open(model, &(struct engine_options){.n_batch = 1 << 20}, &e, &msg), ERR_ARG);
}

struct stop_after {
    int32_t n, max;
    atomic_bool *cancel; /* set at max, or null: return false */
};

static bool count(void *ctx, int32_t token, const char *bytes, size_t len)
{
    (void)token;
    (void)bytes;
    (void)len;
    struct stop_after *c = ctx;
    if (++c->n < c->max) return true;
    if (!c->cancel) return false;
    atomic_store(c->cancel, true);
    return true;
}

static struct engine_result generate(struct engine_seq *s, int32_t n_prompt, int32_t max_tokens,
                                     struct stop_after *c)
{
    struct engine_result r;
    struct errmsg msg = {0};
    struct engine_request request = {.prompt = prompt,
                                     .n_prompt = n_prompt,
                                     .sampling = SAMPLER_GREEDY,
                                     .max_tokens = max_tokens,
                                     .cancel = c->cancel,
                                     .on_token = count,
                                     .ctx = c};
    enum err e = engine_generate(s, &request, &r, &msg);
    if (e) fail_msg("%s", msg.text);
    return r;
}

static void test_how_generation_stops(void **state)
{
    (void)state;
    struct engine_seq *s = open_seq();
    atomic_bool cancel = false;
    struct stop_after never = {.max = 1 << 20}, after_3 = {.max = 3},
                      cancelled = {.max = 3, .cancel = &cancel};
    struct engine_result r = generate(s, 20, 8, &never);
    assert_int_equal(r.stop, ENGINE_STOP_LIMIT);
    assert_int_equal(r.n_generated, 8);
    assert_int_equal(never.n, 8);
    r = generate(s, 20, 8, &after_3);
    assert_int_equal(r.stop, ENGINE_STOP_CALLER);
    assert_int_equal(r.n_generated, 3);
    assert_int_equal(r.n_prompt, 20);
    assert_int_equal(r.reuse.n_reused, 19);
    r = generate(s, 20, 8, &cancelled);
    assert_int_equal(r.stop, ENGINE_STOP_CANCEL);
    assert_int_equal(r.n_generated, 3);
    r = generate(s, 20, 8, &cancelled); /* the flag is still set: nothing may be computed */
    assert_int_equal(r.stop, ENGINE_STOP_CANCEL);
    assert_int_equal(r.n_generated, 0);
    never.n = 0;
    r = generate(s, N_CTX - 2, 50, &never);
    assert_int_equal(r.stop, ENGINE_STOP_LIMIT);
    assert_int_equal(r.n_generated, 3); /* two that fit, and one that follows them */
    engine_seq_close(&s);
}

static void *set_flag(void *flag)
{
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

static void test_cancel_from_another_thread(void **state)
{
    (void)state;
    struct engine_seq *s = open_seq();
    atomic_bool cancel = false;
    pthread_t thread;
    struct stop_after c = {.max = 1 << 20, .cancel = &cancel};
    struct engine_result whole = generate(s, 4, N_CTX - 8, &c);
    assert_int_equal(pthread_create(&thread, NULL, set_flag, &cancel), 0);
    struct engine_result r = generate(s, 4, N_CTX - 8, &c);
    pthread_join(thread, NULL);
    /* The flag came in time, or else the run is as it would have been. */
    assert_true(r.stop == ENGINE_STOP_CANCEL || (r.stop == whole.stop && r.n_generated == whole.n_generated));
    atomic_store(&cancel, false);
    assert_int_equal(engine_seq_sync(s, prompt, N, NULL, NULL), OK); /* the sequence is still good */
    assert_expected_logits(s);
    engine_seq_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_common_prefix_is_reused),  cmocka_unit_test(test_appending_equals_syncing),
        cmocka_unit_test(test_two_sequences_do_not_mix), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_how_generation_stops),     cmocka_unit_test(test_cancel_from_another_thread),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

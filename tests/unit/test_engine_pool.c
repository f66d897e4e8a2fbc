/* Engines and their workers: two engines, each with its thread, on one pool compute what they compute alone.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "infer/engine.h"
#include "model/model.h"
#include "os/pool.h"

#define N_CTX    96
#define N_PROMPT 40
#define N_TOKENS 24
#define N_ROUNDS 5

/* One engine and what it said. */
struct side {
    struct engine *engine;
    int32_t prompt[N_PROMPT];
    int32_t tokens[N_TOKENS];
    int32_t n_tokens;
    enum err err;
};

static bool take_token(void *ctx, int32_t token, const char *bytes, size_t len)
{
    struct side *s = ctx;
    (void)bytes;
    (void)len;
    s->tokens[s->n_tokens++] = token;
    return s->n_tokens < N_TOKENS;
}

static void *generate(void *arg)
{
    struct side *s = arg;
    struct engine_seq *seq;
    struct engine_result result;
    engine_place_caller(s->engine);
    for (int i = 0; i < N_ROUNDS && !s->err; i++) {
        struct engine_request r = {.prompt = s->prompt,
                                   .n_prompt = N_PROMPT,
                                   .sampling = SAMPLER_GREEDY,
                                   .max_tokens = N_TOKENS,
                                   .on_token = take_token,
                                   .ctx = s};
        s->n_tokens = 0;
        s->err = engine_seq_open(s->engine, N_CTX, &seq, NULL);
        if (s->err) break;
        s->err = engine_generate(seq, &r, &result, NULL);
        engine_seq_close(&seq);
    }
    return NULL;
}

static void set_prompt(struct side *s, int32_t seed)
{
    int32_t n_vocab = engine_model(s->engine)->p.n_vocab;
    for (int32_t i = 0; i < N_PROMPT; i++) s->prompt[i] = (i * seed + 11) % n_vocab;
}

static void test_shared_pool(void **state)
{
    static const char *const files[2] = {FIXTURES "/models/llama.gguf", FIXTURES "/models/qwen2.gguf"};
    struct side alone[2] = {0}, together[2] = {0};
    struct model *models[2];
    struct pool *pool;
    pthread_t threads[2];
    struct errmsg msg = {0};
    (void)state;
    assert_int_equal(pool_new(3, &pool, &msg), OK);
    for (int i = 0; i < 2; i++) {
        struct engine_options own = {.n_threads = 3}, shared = {.pool = pool, .n_threads = 7};
        assert_int_equal(model_open(files[i], &models[i], &msg), OK);
        assert_int_equal(engine_open(models[i], &own, &alone[i].engine, &msg), OK);
        assert_int_equal(engine_open(models[i], &shared, &together[i].engine, &msg), OK);
        assert_int_equal(engine_threads(together[i].engine), 3); /* the pool's */
        set_prompt(&alone[i], 37 + i);
        set_prompt(&together[i], 37 + i);
        generate(&alone[i]);
        assert_int_equal(alone[i].err, OK);
        assert_true(alone[i].n_tokens > 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, generate, &together[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(together[i].err, OK);
        assert_int_equal(together[i].n_tokens, alone[i].n_tokens);
        assert_memory_equal(together[i].tokens, alone[i].tokens,
                            (size_t)alone[i].n_tokens * sizeof *alone[i].tokens);
        engine_close(&alone[i].engine);
        engine_close(&together[i].engine);
        model_unref(&models[i]);
    }
    pool_run(pool, 0, NULL, NULL); /* the engines left it alone */
    pool_free(&pool);
}

static void test_processors(void **state)
{
    struct model *model;
    struct engine *engine;
    struct errmsg msg = {0};
    (void)state;
    assert_int_equal(model_open(FIXTURES "/models/llama.gguf", &model, &msg), OK);
    struct engine_options o = {.cpus = "0-"};
    assert_int_equal(engine_open(model, &o, &engine, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "\"0-\""));
    o.cpus = ""; /* anywhere */
    o.n_threads = 2;
    assert_int_equal(engine_open(model, &o, &engine, &msg), OK);
    assert_int_equal(engine_threads(engine), 2);
    engine_close(&engine);
    model_unref(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_pool),
        cmocka_unit_test(test_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

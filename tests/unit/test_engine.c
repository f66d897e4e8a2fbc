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

/* What an answer consists of. */
struct answer {
    int32_t tokens[N_CTX];
    int32_t n;
    char text[4096];
    size_t len;
};

static bool note(void *ctx, int32_t token, const char *bytes, size_t len)
{
    struct answer *a = ctx;
    a->tokens[a->n++] = token;
    memcpy(a->text + a->len, bytes, len);
    a->len += len;
    return true;
}

static struct engine_result answer(const struct engine_request *like, struct answer *out)
{
    struct engine_request request = *like;
    struct engine_result result;
    struct errmsg msg = {0};
    struct engine_seq *s = open_seq();
    request.on_token = note;
    request.ctx = out;
    *out = (struct answer){0};
    if (engine_generate(s, &request, &result, &msg)) fail_msg("%s", msg.text);
    engine_seq_close(&s);
    return result;
}

/* Against the loss of the whole text, computed another way. */
static void test_logprobs(void **state)
{
    (void)state;
    struct engine_request request = {
        .prompt = prompt, .n_prompt = 20, .sampling = SAMPLER_GREEDY, .max_tokens = 30};
    int32_t whole[N_CTX];
    struct answer a;
    memcpy(whole, prompt, 20 * sizeof *whole);
    for (int sampled = 0; sampled < 2; sampled++) {
        if (sampled)
            request.sampling =
                (struct sampler_params){.temperature = 2, .top_k = 5, .top_p = 1, .repeat_penalty = 1};
        struct engine_result r = answer(&request, &a);
        assert_true(r.n_generated > 2 && r.n_generated == a.n);
        memcpy(whole + 20, a.tokens, (size_t)a.n * sizeof *whole);
        struct engine_seq *s = open_seq();
        double before, with_first, with_all;
        assert_int_equal(engine_seq_loss(s, whole, 20, &before), OK);
        assert_int_equal(engine_seq_loss(s, whole, 21, &with_first), OK);
        assert_int_equal(engine_seq_loss(s, whole, 20 + a.n, &with_all), OK);
        before *= 19, with_first *= 20, with_all *= 19 + a.n;
        assert_true(fabs(r.first_logprob - (before - with_first)) < 1e-3);
        assert_true(fabs(r.mean_logprob - (before - with_all) / a.n) < 1e-3);
        engine_seq_close(&s);
    }
    request.max_tokens = 0;
    struct engine_result r = answer(&request, &a);
    assert_true(r.mean_logprob == 0 && r.first_logprob == 0);
}

/* The text of tokens after a prompt. */
static size_t spell(const int32_t *tokens, int32_t n, char *out)
{
    size_t len = 0, piece_len;
    for (int32_t i = 0; i < n; i++) {
        const char *piece = tokenizer_piece(model->tokenizer, tokens[i], &piece_len);
        memcpy(out + len, piece, piece_len);
        len += piece_len;
    }
    return len;
}

/* An answer to a prompt whose end is taken off, at every byte of what the model writes itself, goes on as it
 * did before, and what was taken off is not in it. */
static void test_healing(void **state)
{
    (void)state;
    struct engine_request request = {
        .prompt = prompt, .n_prompt = 20, .sampling = SAMPLER_GREEDY, .max_tokens = 12};
    struct answer whole, rest;
    struct engine_result r = answer(&request, &whole);
    assert_int_equal(r.n_healed, 0);
    char first[64];
    size_t first_len = spell(whole.tokens, 1, first);
    request.heal = whole.text;
    int32_t n_same = 0, n_cuts = 0;
    for (size_t cut = 1; cut < whole.len / 2; cut++, n_cuts++) {
        request.heal_len = cut;
        r = answer(&request, &rest);
        assert_int_equal(r.n_generated, rest.n);
        size_t common = rest.len < whole.len - cut ? rest.len : whole.len - cut;
        n_same += common > 0 && memcmp(rest.text, whole.text + cut, common) == 0;
        if (cut < first_len) assert_memory_equal(rest.text, whole.text + cut, common); /* one token */
        assert_true(r.mean_logprob < 0 && r.mean_logprob > -20);
    }
    if (n_same < n_cuts * 3 / 4) fail_msg("%d of %d answers are as before", n_same, n_cuts);
}

/* A text that the model would never write is repeated all the same, in many tokens if it must be. */
static void test_healing_any_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"zq\n\xc3\xa9\xff{{", "\xe6\x97", " ", "<|endoftext|>"};
    struct engine_request request = {
        .prompt = prompt, .n_prompt = 20, .sampling = SAMPLER_GREEDY, .max_tokens = 5};
    struct answer a;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (int sampled = 0; sampled < 2; sampled++) {
            if (sampled)
                request.sampling =
                    (struct sampler_params){.temperature = 1, .top_p = 0.9f, .repeat_penalty = 1.1f};
            request.heal = texts[i];
            request.heal_len = strlen(texts[i]);
            struct engine_seq *s = open_seq();
            struct engine_result r;
            struct errmsg msg = {0};
            a = (struct answer){0};
            request.on_token = note;
            request.ctx = &a;
            if (engine_generate(s, &request, &r, &msg)) fail_msg("%s", msg.text);
            assert_true(r.n_healed <= (int32_t)request.heal_len);
            assert_true(r.n_generated >= 1 || r.stop == ENGINE_STOP_EOG);
            assert_int_equal(r.n_generated, a.n);
            /* All but the last token's successor is in the sequence. */
            assert_true(engine_seq_len(s) >= 20 + r.n_healed);
            engine_seq_close(&s);
        }
    }
    /* It ends where the context does. */
    request.n_prompt = N_CTX - 2;
    request.heal = "qzqzqzqz";
    request.heal_len = 8;
    struct engine_result r = answer(&request, &a);
    assert_int_equal(r.stop, ENGINE_STOP_LIMIT);
    assert_int_equal(a.n, r.n_generated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_healing),
        cmocka_unit_test(test_healing_any_text),
        cmocka_unit_test(test_common_prefix_is_reused),
        cmocka_unit_test(test_appending_equals_syncing),
        cmocka_unit_test(test_two_sequences_do_not_mix),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_how_generation_stops),
        cmocka_unit_test(test_cancel_from_another_thread),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

/* Sampling: every filter against a brute-force computation of the same distribution. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "infer/sampler.h"
#include "model/tokenizer.h"
#include "support/gguf_writer.h"

enum { A, AB, ABC, B, C, D, E, END, N_VOCAB };

#define N_DRAWS 40000

static struct tokenizer *tokenizer;
static struct gguf *gguf;
static struct buf image;

static int set_up(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "ab", "abc", "b", "c", "d", "e", "<|endoftext|>"};
    static const int32_t types[] = {1, 1, 1, 1, 1, 1, 1, 3};
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_str(&w, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", texts, N_VOCAB);
    gguf_writer_array(&w, "tokenizer.ggml.token_type", GGUF_I32, N_VOCAB, types, sizeof types);
    gguf_writer_strs(&w, "tokenizer.ggml.merges", (const char *const[]){"a b"}, 1);
    gguf_writer_int(&w, "tokenizer.ggml.eos_token_id", GGUF_U32, END);
    buf_init(&image, 1 << 20);
    gguf_writer_finish(&w, &image);
    gguf_writer_clear(&w);
    struct errmsg msg = {0};
    if (gguf_open_bytes(image.data, image.len, &gguf, &msg) || tokenizer_new(gguf, &tokenizer, &msg)) {
        print_error("%s\n", msg.text);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_free(&tokenizer);
    gguf_close(&gguf);
    buf_clear(&image);
    return 0;
}

static struct sampler *open_sampler(struct sampler_params p)
{
    struct sampler *s;
    struct errmsg msg = {0};
    assert_int_equal(sampler_new(&p, tokenizer, &s, &msg), OK);
    return s;
}

/* Share of each token over many draws. */
static void measure(struct sampler_params p, const float *logits, double share[N_VOCAB])
{
    struct sampler *s = open_sampler(p);
    int32_t counts[N_VOCAB] = {0};
    for (int32_t i = 0; i < N_DRAWS; i++) counts[sampler_pick(s, logits)]++;
    for (int32_t i = 0; i < N_VOCAB; i++) share[i] = (double)counts[i] / N_DRAWS;
    sampler_free(&s);
}

/* Four standard deviations of a share around 1/2; wider than any other share needs. */
#define TOLERANCE (4 * 0.5 / sqrt(N_DRAWS))

static void assert_shares(struct sampler_params p, const float *logits, const double *weights)
{
    double share[N_VOCAB], sum = 0;
    measure(p, logits, share);
    for (int32_t i = 0; i < N_VOCAB; i++) sum += weights[i];
    for (int32_t i = 0; i < N_VOCAB; i++) {
        if (weights[i] == 0) assert_true(share[i] == 0);
        assert_true(fabs(share[i] - weights[i] / sum) < TOLERANCE);
    }
}

/* Natural logarithms of these are the logits below. */
static const double odds[N_VOCAB] = {40, 1, 2, 20, 15, 12, 8, 2};

static void odds_to_logits(float *logits)
{
    for (int32_t i = 0; i < N_VOCAB; i++) logits[i] = (float)log(odds[i]);
}

static void test_greedy_takes_the_first_of_the_best(void **state)
{
    (void)state;
    float logits[N_VOCAB] = {1, 3, -2, 3, 0, 0, 0, 2.5f};
    struct sampler *s = open_sampler(SAMPLER_GREEDY);
    assert_int_equal(sampler_pick(s, logits), AB);
    sampler_free(&s);
}

static void test_temperature(void **state)
{
    (void)state;
    float logits[N_VOCAB];
    double weights[N_VOCAB];
    odds_to_logits(logits);
    struct sampler_params p = SAMPLER_GREEDY;
    p.temperature = 1;
    assert_shares(p, logits, odds);
    p.temperature = 0.5f;
    for (int32_t i = 0; i < N_VOCAB; i++) weights[i] = odds[i] * odds[i];
    assert_shares(p, logits, weights);
}

static void test_top_k(void **state)
{
    (void)state;
    float logits[N_VOCAB];
    odds_to_logits(logits);
    struct sampler_params p = SAMPLER_GREEDY;
    p.temperature = 1;
    p.top_k = 3;
    assert_shares(p, logits, (double[N_VOCAB]){[A] = 40, [B] = 20, [C] = 15});
}

static void test_top_p(void **state)
{
    (void)state;
    float logits[N_VOCAB];
    odds_to_logits(logits);
    struct sampler_params p = SAMPLER_GREEDY;
    p.temperature = 1;
    p.top_p = 0.5f; /* of 100: 40 is not enough, 40 + 20 is */
    assert_shares(p, logits, (double[N_VOCAB]){[A] = 40, [B] = 20});
    p.top_k = 3; /* now of 75 */
    p.top_p = 0.54f;
    assert_shares(p, logits, (double[N_VOCAB]){[A] = 40, [B] = 20});
    p.top_p = 0.5f;
    assert_shares(p, logits, (double[N_VOCAB]){[A] = 40});
}

static void test_min_p(void **state)
{
    (void)state;
    float logits[N_VOCAB];
    odds_to_logits(logits);
    struct sampler_params p = SAMPLER_GREEDY;
    p.temperature = 1;
    p.min_p = 0.36f; /* of 40: 14.4 */
    assert_shares(p, logits, (double[N_VOCAB]){[A] = 40, [B] = 20, [C] = 15});
}

static void test_repeat_penalty(void **state)
{
    (void)state;
    float logits[N_VOCAB] = {4, -1, 0, 3, 0, 0, 0, 0};
    struct sampler_params p = SAMPLER_GREEDY;
    p.repeat_penalty = 2;
    p.repeat_last_n = 2;
    struct sampler *s = open_sampler(p);
    assert_int_equal(sampler_pick(s, logits), A);
    sampler_accept(s, A);
    sampler_accept(s, A); /* twice in the window counts once */
    assert_int_equal(sampler_pick(s, logits), B);
    sampler_accept(s, D);
    sampler_accept(s, D); /* A has left the window */
    assert_int_equal(sampler_pick(s, logits), A);
    sampler_free(&s);
}

static void test_seed_repeats(void **state)
{
    (void)state;
    float logits[N_VOCAB] = {0};
    struct sampler_params p = SAMPLER_GREEDY;
    p.temperature = 1;
    int32_t differences = 0;
    for (uint64_t seed = 0; seed < 4; seed++) {
        p.seed = seed;
        struct sampler *one = open_sampler(p), *two = open_sampler(p);
        p.seed = seed + 100;
        struct sampler *other = open_sampler(p);
        for (int32_t i = 0; i < 50; i++) {
            int32_t id = sampler_pick(one, logits);
            assert_int_equal(id, sampler_pick(two, logits));
            differences += id != sampler_pick(other, logits);
        }
        sampler_free(&one);
        sampler_free(&two);
        sampler_free(&other);
    }
    assert_true(differences > 100); /* 7 of 8 differ by chance */
}

static void test_infill_ends_when_unsure(void **state)
{
    (void)state;
    struct sampler_params p = SAMPLER_GREEDY;
    p.infill = true;
    struct sampler *s = open_sampler(p);
    float logits[N_VOCAB];
    /* End tokens at 3 * 5 % * 8 candidates outweigh 95 % of text. */
    for (int32_t i = 0; i < N_VOCAB; i++) logits[i] = (float)log(i == END ? 5 : 95.0 / 7);
    assert_int_equal(sampler_pick(s, logits), END);
    /* No text candidate reaches 20 %, and END is negligible: end all the same. */
    static const double flat[N_VOCAB] = {
        [A] = 19, [B] = 19, [C] = 19, [D] = 19, [E] = 19, [AB] = 1e-6, [ABC] = 1e-6, [END] = 1e-4};
    for (int32_t i = 0; i < N_VOCAB; i++) logits[i] = (float)log(flat[i]);
    assert_int_equal(sampler_pick(s, logits), END);
    sampler_free(&s);
}

static void test_infill_merges_prefixes(void **state)
{
    (void)state;
    struct sampler_params p = SAMPLER_GREEDY;
    p.infill = true;
    struct sampler *s = open_sampler(p);
    /* "abc" takes what "ab" and "a" have, and so overtakes "b". */
    static const double shares[N_VOCAB] = {
        [A] = 15, [AB] = 17, [ABC] = 22, [B] = 40, [C] = 3, [D] = 2, [E] = 1, [END] = 1e-4};
    float logits[N_VOCAB];
    for (int32_t i = 0; i < N_VOCAB; i++) logits[i] = (float)log(shares[i]);
    assert_int_equal(sampler_pick(s, logits), ABC);
    sampler_free(&s);
}

static void test_bad_parameters(void **state)
{
    (void)state;
    struct sampler *s = NULL;
    struct sampler_params bad[6];
    for (int i = 0; i < 6; i++) bad[i] = SAMPLER_GREEDY;
    bad[0].temperature = -1;
    bad[1].top_k = -1;
    bad[2].top_p = 0;
    bad[3].min_p = 1.5f;
    bad[4].repeat_penalty = 0;
    bad[5].temperature = NAN;
    for (int i = 0; i < 6; i++) {
        struct errmsg msg = {0};
        assert_int_equal(sampler_new(&bad[i], tokenizer, &s, &msg), ERR_ARG);
        assert_string_not_equal(msg.text, "");
    }
}

#define N_LARGE 1500

/* A vocabulary of N_LARGE texts. */
static struct tokenizer *open_large(struct buf *bytes, struct gguf **file)
{
    static char texts[N_LARGE][8];
    static const char *pointers[N_LARGE];
    static int32_t types[N_LARGE];
    struct gguf_writer w;
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    for (int32_t i = 0; i < N_LARGE; i++) {
        snprintf(texts[i], sizeof texts[i], "t%d", i);
        pointers[i] = i < 3 ? (const char *const[]){"a", "b", "ab"}[i] : texts[i];
        types[i] = 1;
    }
    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_str(&w, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", pointers, N_LARGE);
    gguf_writer_array(&w, "tokenizer.ggml.token_type", GGUF_I32, N_LARGE, types, sizeof types);
    gguf_writer_strs(&w, "tokenizer.ggml.merges", (const char *const[]){"a b"}, 1);
    gguf_writer_finish(&w, bytes);
    gguf_writer_clear(&w);
    if (gguf_open_bytes(bytes->data, bytes->len, file, &msg) || tokenizer_new(*file, &t, &msg))
        fail_msg("%s", msg.text);
    return t;
}

/* Of a large vocabulary most is skipped: what is found must still be the best, wherever it stands. */
static void test_large_vocabulary(void **state)
{
    (void)state;
    static float logits[N_LARGE];
    struct buf bytes;
    struct gguf *file;
    struct errmsg msg;
    struct sampler *greedy, *two;
    struct sampler_params p = SAMPLER_GREEDY;
    buf_init(&bytes, 1 << 20);
    struct tokenizer *large = open_large(&bytes, &file);
    assert_int_equal(sampler_new(&p, large, &greedy, &msg), OK);
    p.top_k = 2;
    p.temperature = 100; /* either of the two is drawn as often */
    assert_int_equal(sampler_new(&p, large, &two, &msg), OK);
    for (int32_t i = 0; i < N_LARGE; i++) logits[i] = (float)(i * 7919 % N_LARGE) / N_LARGE;
    for (int32_t at = 0; at < N_LARGE - 1; at++) {
        int32_t second = (at * 31 + 17) % (N_LARGE - 1);
        float before = logits[at], before_second = logits[second];
        logits[second] = 2;
        logits[at] = logits[at + 1] = 3;
        assert_int_equal(sampler_pick(greedy, logits), at); /* the first of the largest */
        bool has_first = false, has_next = false;
        for (int32_t i = 0; i < 64; i++) {
            int32_t picked = sampler_pick(two, logits);
            has_first |= picked == at;
            has_next |= picked == at + 1;
            assert_true(picked == at || picked == at + 1);
        }
        assert_true(has_first && has_next);
        logits[at + 1] = (float)((at + 1) * 7919 % N_LARGE) / N_LARGE;
        logits[second] = before_second;
        logits[at] = before;
    }
    sampler_free(&greedy);
    sampler_free(&two);
    tokenizer_free(&large);
    gguf_close(&file);
    buf_clear(&bytes);
}

static struct sampler *open_for(const struct tokenizer *t, struct sampler_params p)
{
    struct sampler *s = NULL;
    struct errmsg msg;
    assert_int_equal(sampler_new(&p, t, &s, &msg), OK);
    return s;
}

/* Weights of a broken file give any logits: what is picked is a token all the same. */
static void assert_picks_tokens(const struct tokenizer *t, const float *logits)
{
    const struct sampler_params greedy = SAMPLER_GREEDY;
    for (int32_t variant = 0; variant < 64; variant++) {
        struct sampler_params p = greedy;
        if (variant & 1) p.temperature = 0.8f;
        if (variant & 2) p.top_k = 2;
        if (variant & 4) p.top_p = 0.5f;
        if (variant & 8) p.min_p = 0.1f;
        if (variant & 16) p.repeat_penalty = 1.3f;
        if (variant & 32) p.infill = true;
        struct sampler *s = open_for(t, p);
        for (int32_t i = 0; i < 8; i++) {
            int32_t id = sampler_pick(s, logits);
            assert_in_range(id, 0, tokenizer_n_vocab(t) - 1);
            sampler_accept(s, id);
        }
        double log_sum;
        int32_t id = sampler_pick_start(s, logits, "a", 1, &log_sum);
        assert_true(id == TOKEN_NONE || (id >= 0 && id < tokenizer_n_vocab(t)));
        sampler_free(&s);
    }
}

static void test_garbage_logits(void **state)
{
    (void)state;
    static const float garbage[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 3.4e38f, -3.4e38f, 1};
    static const size_t n_garbage = sizeof garbage / sizeof *garbage;
    static float logits[N_LARGE];
    struct buf bytes;
    struct gguf *file;
    buf_init(&bytes, 1 << 20);
    struct tokenizer *large = open_large(&bytes, &file);
    for (size_t i = 0; i < n_garbage; i++) {
        for (size_t at = 0; at < N_LARGE; at++) logits[at] = garbage[i]; /* all of them */
        assert_picks_tokens(tokenizer, logits);
        assert_picks_tokens(large, logits);
        for (size_t at = 1; at < N_LARGE; at++)
            logits[at] = garbage[at * (i + 1) / 3 % n_garbage]; /* a mix */
        assert_picks_tokens(tokenizer, logits);
        assert_picks_tokens(large, logits);
    }
    tokenizer_free(&large);
    gguf_close(&file);
    buf_clear(&bytes);
}

/* Of the tokens with which the text could begin, by the brute force of comparing all of them. */
static void test_starts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t allowed[4]; /* ends with END */
    } cases[] = {{"a", {A, AB, ABC, END}}, {"ab", {A, AB, ABC, END}}, {"abd", {A, AB, END}},
                 {"ba", {B, END}},         {"e", {E, END}},           {"x", {END}}};
    float logits[N_VOCAB];
    double share[N_VOCAB], log_sum;
    odds_to_logits(logits);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sampler_params p = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};
        struct sampler *drawing = open_sampler(p), *greedy = open_sampler(SAMPLER_GREEDY);
        const int32_t *allowed = cases[i].allowed;
        size_t len = strlen(cases[i].text);
        int32_t best = sampler_pick_start(greedy, logits, cases[i].text, len, &log_sum);
        if (allowed[0] == END) {
            assert_int_equal(best, TOKEN_NONE);
        } else {
            double sum = 0;
            int32_t counts[N_VOCAB] = {0}, likeliest = allowed[0];
            for (const int32_t *id = allowed; *id != END; id++) {
                sum += odds[*id];
                if (odds[*id] > odds[likeliest]) likeliest = *id;
            }
            assert_int_equal(best, likeliest);
            assert_true(fabs(log_sum - log(sum)) < 1e-5);
            for (int32_t n = 0; n < N_DRAWS; n++)
                counts[sampler_pick_start(drawing, logits, cases[i].text, len, &log_sum)]++;
            for (int32_t id = 0; id < N_VOCAB; id++) share[id] = (double)counts[id] / N_DRAWS;
            for (const int32_t *id = allowed; *id != END; id++) {
                assert_true(fabs(share[*id] - odds[*id] / sum) < TOLERANCE);
                share[*id] = 0;
            }
            for (int32_t id = 0; id < N_VOCAB; id++) assert_true(share[id] == 0);
        }
        sampler_free(&drawing);
        sampler_free(&greedy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_greedy_takes_the_first_of_the_best),
        cmocka_unit_test(test_temperature),
        cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_p),
        cmocka_unit_test(test_min_p),
        cmocka_unit_test(test_repeat_penalty),
        cmocka_unit_test(test_seed_repeats),
        cmocka_unit_test(test_infill_ends_when_unsure),
        cmocka_unit_test(test_infill_merges_prefixes),
        cmocka_unit_test(test_large_vocabulary),
        cmocka_unit_test(test_garbage_logits),
        cmocka_unit_test(test_bad_parameters),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

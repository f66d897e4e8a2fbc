/* The engine's numbers against the transformers library's, for every architecture and tensor format.
 *
 * tests/fixtures/models holds tiny random models and what the reference computes for them in float32
 * (tools/fixtures/make_models.py). Each must come out the same with every kernel variant of this CPU, any
 * number of threads, and however the prompt is cut into pieces: logits within the bound below, and the same
 * greedy tokens. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "infer/engine.h"
#include "kern/pack.h"
#include "model/model.h"

#define MAX_TOKENS 256
#define MAX_VOCAB  512
#define MAX_CASES  2

/* Largest errors of a logit, in standard deviations of the reference's logits. `plain`: against the model
 * computed without any rounding, thus what an F16 KV cache and, for quantized formats, 8-bit activations may
 * cost. `rounded`: against the model computed with just these roundings, thus what an error would have to
 * hide in; not zero because another order of sums can push a value over a rounding step. Measured with the
 * ref and avx2 kernels: 0.0075 and 0.0006 at most for exact formats, 0.144 and 0.0001 for quantized ones. */
struct bounds {
    double plain, rounded;
};
static const struct bounds exact = {0.02, 0.001}, quantized = {0.20, 0.001};

static const struct fixture {
    const char *name;
    const struct bounds *bounds;
} fixtures[] = {
    {"llama", &exact},
    {"llama-theta-1e6", &exact},
    {"llama-rope-linear", &exact},
    {"llama-rope-llama3", &exact},
    {"qwen2", &exact},
    {"qwen2-yarn", &exact},
    {"qwen3", &exact},
    {"qwen3moe", &exact},
    {"starcoder2", &exact},
    {"gemma", &exact},
    {"gemma3", &exact},
    {"granite", &exact},
    {"format-f32", &exact},
    {"format-bf16", &exact},
    {"format-q8_0", &quantized},
    {"format-q4_0", &quantized},
    {"format-q4_1", &quantized},
    {"format-q5_0", &quantized},
    {"format-q5_1", &quantized},
    {"format-iq4_nl", &quantized},
    {"format-q2_k", &quantized},
    {"format-q3_k", &quantized},
    {"format-q4_k", &quantized},
    {"format-q5_k", &quantized},
    {"format-q6_k", &quantized},
    {"format-iq4_xs", &quantized},
};
static char pack_dir[] = "/tmp/inline-test-packs-XXXXXX";
#define N_FIXTURES (sizeof fixtures / sizeof *fixtures)

/* One prompt, with what the reference computes after it. */
struct expected {
    char label[16];
    int32_t prompt[MAX_TOKENS], greedy[MAX_TOKENS];
    float plain[MAX_VOCAB], rounded[MAX_VOCAB]; /* logits, as for struct bounds */
    int32_t n_prompt, n_greedy, n_vocab;
    double deviation; /* of the plain logits */
};

/* Fixture and model under test, and the largest errors seen so far. */
struct subject {
    const struct fixture *fixture;
    struct model *model;
    struct expected cases[MAX_CASES];
    int32_t n_cases;
    struct bounds worst;
};

/* ---- The reference's numbers ---- */

static int32_t read_count(FILE *f, const char *key, int32_t max)
{
    char word[16];
    int32_t n;
    assert_int_equal(fscanf(f, "%15s %d", word, &n), 2);
    assert_string_equal(word, key);
    assert_in_range(n, 1, max);
    return n;
}

static int32_t read_ids(FILE *f, const char *key, int32_t ids[MAX_TOKENS])
{
    int32_t n = read_count(f, key, MAX_TOKENS);
    for (int32_t i = 0; i < n; i++) assert_int_equal(fscanf(f, "%d", &ids[i]), 1);
    return n;
}

static int32_t read_logits(FILE *f, const char *key, float logits[MAX_VOCAB])
{
    int32_t n = read_count(f, key, MAX_VOCAB);
    for (int32_t i = 0; i < n; i++) assert_int_equal(fscanf(f, "%f", &logits[i]), 1);
    return n;
}

static double deviation(const float *x, int32_t n)
{
    double sum = 0, sum_squares = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += x[i];
        sum_squares += (double)x[i] * x[i];
    }
    return sqrt(sum_squares / n - (sum / n) * (sum / n));
}

static void read_expected(struct subject *s)
{
    char path[512];
    snprintf(path, sizeof path, "%s/models/%s.txt", FIXTURES, s->fixture->name);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("cannot open %s", path);
    assert_int_equal(fscanf(f, "#%*[^\n]"), 0);
    while (s->n_cases < MAX_CASES && fscanf(f, " case %15s margin %*f", s->cases[s->n_cases].label) == 1) {
        struct expected *x = &s->cases[s->n_cases++];
        x->n_prompt = read_ids(f, "prompt", x->prompt);
        x->n_greedy = read_ids(f, "greedy", x->greedy);
        x->n_vocab = read_logits(f, "plain", x->plain);
        assert_int_equal(read_logits(f, "rounded", x->rounded), x->n_vocab);
        x->deviation = deviation(x->plain, x->n_vocab);
    }
    assert_int_equal(s->n_cases, MAX_CASES);
    fclose(f);
}

/* ---- Comparison ---- */

/* The largest error; fails above the bound. `what` and `where` are for the message. */
static double check_close(const struct subject *s, const struct expected *x, const float *logits,
                          const float *reference, double bound, const char *what, const char *where)
{
    double worst = 0;
    for (int32_t i = 0; i < x->n_vocab; i++) {
        double error = fabs((double)logits[i] - reference[i]) / x->deviation;
        if (!(error <= bound))
            fail_msg(
                "%s, %s prompt, %s: logit %d is %f, the %s reference's %f (error %f deviations, bound %f)",
                s->fixture->name, x->label, where, i, (double)logits[i], what, (double)reference[i], error,
                bound);
        worst = fmax(worst, error);
    }
    return worst;
}

static void check_logits(struct subject *s, const struct expected *x, const float *logits, const char *where)
{
    const struct bounds *b = s->fixture->bounds;
    assert_non_null(logits);
    double plain = check_close(s, x, logits, x->plain, b->plain, "plain", where);
    double rounded = check_close(s, x, logits, x->rounded, b->rounded, "rounded", where);
    s->worst.plain = fmax(s->worst.plain, plain);
    s->worst.rounded = fmax(s->worst.rounded, rounded);
}

static int32_t best_token(const float *logits, int32_t n_vocab)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n_vocab; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    return best;
}

/* Sync to the prompt `piece` tokens at a time. */
static void sync_in_pieces(struct engine_seq *seq, const struct expected *x, int32_t piece)
{
    int32_t n = 0;
    while (n < x->n_prompt) {
        struct engine_reuse reuse;
        int32_t n_before = n;
        n = n + piece < x->n_prompt ? n + piece : x->n_prompt;
        assert_int_equal(engine_seq_sync(seq, x->prompt, n, NULL, &reuse), OK);
        assert_int_equal(reuse.n_reused, n_before);
        assert_int_equal(engine_seq_len(seq), n);
    }
}

/* Prompt, greedy continuation, and back to the prompt. */
static void check_case(struct subject *s, struct engine *engine, const struct expected *x, int32_t piece,
                       const char *where)
{
    struct engine_seq *seq = NULL;
    struct errmsg msg = {0};
    assert_int_equal(engine_seq_open(engine, x->n_prompt + x->n_greedy, &seq, &msg), OK);
    sync_in_pieces(seq, x, piece);
    check_logits(s, x, engine_seq_logits(seq), where);

    for (int32_t i = 0; i < x->n_greedy; i++) {
        int32_t token = best_token(engine_seq_logits(seq), x->n_vocab);
        if (token != x->greedy[i])
            fail_msg("%s, %s prompt, %s: greedy token %d is %d, the reference's %d", s->fixture->name,
                     x->label, where, i, token, x->greedy[i]);
        assert_int_equal(engine_seq_append(seq, token, NULL), OK);
    }

    struct engine_reuse reuse;
    assert_int_equal(engine_seq_sync(seq, x->prompt, x->n_prompt, NULL, &reuse), OK);
    assert_true(reuse.n_reused >= x->n_prompt - 1);
    check_logits(s, x, engine_seq_logits(seq), "after going back to the prompt");
    engine_seq_close(&seq);
}

/* All prompts with one kernel variant and number of threads, cut in several ways: whole, token by token, and
 * in odd sizes on both sides of the windows and batches that kernels work in. */
static void check_engine(struct subject *s, const char *isa, int32_t n_threads, bool is_packed)
{
    static const int32_t pieces[] = {MAX_TOKENS, 1, 7, 33};
    struct engine_options options = {
        .n_threads = n_threads, .isa = isa, .pack_dir = is_packed ? pack_dir : NULL, .pack_build = true};
    struct engine *engine = NULL;
    struct errmsg msg = {0};
    if (engine_open(s->model, &options, &engine, &msg)) fail_msg("%s: %s", isa, msg.text);
    assert_int_equal(engine_wait_packed(engine), is_packed);
    assert_string_equal(engine_isa(engine), isa);
    assert_int_equal(engine_threads(engine), n_threads);
    for (int32_t i = 0; i < s->n_cases; i++) {
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            char where[64];
            snprintf(where, sizeof where, "%s%s, %d threads, pieces of %d", isa, is_packed ? " packed" : "",
                     n_threads, pieces[p]);
            check_case(s, engine, &s->cases[i], pieces[p], where);
        }
    }
    engine_close(&engine);
}

/* Whether some matrix of every layer has one; fixtures keep all of a layer's matrices in one format. */
static bool has_packed_form(const struct model *m)
{
    const struct kern_mat *w = &m->layers[0].wq;
    return pack_bytes(w->type, w->n_rows, w->n_cols) > 0;
}

static void test_fixture(void **state)
{
    static struct subject s;
    char path[512], names[128];
    struct errmsg msg = {0};
    s = (struct subject){.fixture = *state};
    read_expected(&s);
    snprintf(path, sizeof path, "%s/models/%s.gguf", FIXTURES, s.fixture->name);
    if (model_open(path, &s.model, &msg)) fail_msg("%s", msg.text);
    assert_int_equal(s.model->p.n_vocab, s.cases[0].n_vocab);

    snprintf(names, sizeof names, "%s", kern_available());
    char *rest = NULL;
    for (char *isa = strtok_r(names, " ", &rest); isa; isa = strtok_r(NULL, " ", &rest)) {
#ifdef __SANITIZE_THREAD__
        /* The reference kernels would take minutes and share memory in the same way as the others. */
        if (rest && *rest) continue;
#endif
        check_engine(&s, isa, 1, false);
        check_engine(&s, isa, 2, false);
        if (kern_select(isa)->reads_packed && has_packed_form(s.model)) check_engine(&s, isa, 2, true);
    }
    model_unref(&s.model);
    print_message("%-18s largest error %.4f (plain; bound %.2f), %.5f (rounded; bound %.3f) deviations\n",
                  s.fixture->name, s.worst.plain, s.fixture->bounds->plain, s.worst.rounded,
                  s.fixture->bounds->rounded);
}

static int make_pack_dir(void **state)
{
    (void)state;
    return mkdtemp(pack_dir) ? 0 : -1;
}

static int remove_pack_dir(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", pack_dir);
    return system(command);
}

int main(void)
{
    struct CMUnitTest tests[N_FIXTURES];
    for (size_t i = 0; i < N_FIXTURES; i++)
        tests[i] = (struct CMUnitTest){.name = fixtures[i].name,
                                       .test_func = test_fixture,
                                       .initial_state = (void *)(uintptr_t)&fixtures[i]};
    return cmocka_run_group_tests_name("logits", tests, make_pack_dir, remove_pack_dir);
}

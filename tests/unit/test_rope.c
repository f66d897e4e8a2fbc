/* Rotary angles against closed forms. (All scalings against the reference implementation: tests/model.) */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "infer/rope.h"
#include "model/arch.h"

#define N_ROT 64
#define N     (N_ROT / 2)

static void assert_near(double a, double b)
{
    assert_true(fabs(a - b) < 1e-6 * fmax(1, fabs(b)));
}

static void test_plain(void **state)
{
    (void)state;
    struct arch_params p = {.n_rot = N_ROT, .rope_base = 10000, .rope_factor = 1};
    struct rope r;
    double freq[N];
    float c[N], s[N];
    rope_init(&r, freq, &p, NULL, false);
    rope_angles(&r, 7, c, s);
    for (int i = 0; i < N; i++) {
        double angle = 7 * pow(10000, -2.0 * i / N_ROT);
        assert_near(c[i], cos(angle));
        assert_near(s[i], sin(angle));
    }
}

static void test_linear_and_factors(void **state)
{
    (void)state;
    struct arch_params p = {.n_rot = N_ROT,
                            .rope_base = 10000,
                            .rope_factor = 4,
                            .rope_scaling = ARCH_ROPE_LINEAR,
                            .rope_base_local = 500};
    float factors[N];
    for (int i = 0; i < N; i++) factors[i] = (float)(1 + i % 3);
    struct rope r;
    double freq[N];
    rope_init(&r, freq, &p, factors, false);
    for (int i = 0; i < N; i++) assert_near(freq[i], pow(10000, -2.0 * i / N_ROT) / 4 / factors[i]);
    rope_init(&r, freq, &p, factors, true);
    for (int i = 0; i < N; i++) assert_near(freq[i], pow(500, -2.0 * i / N_ROT));
}

/* YaRN leaves the fastest pair alone, divides the slowest by the factor, and lies between for the others. */
static void test_yarn(void **state)
{
    (void)state;
    struct arch_params p = {.n_rot = N_ROT,
                            .rope_base = 10000,
                            .rope_factor = 4,
                            .rope_scaling = ARCH_ROPE_YARN,
                            .rope_n_ctx_orig = 2048,
                            .rope_attn_factor = 1,
                            .rope_beta_fast = 32,
                            .rope_beta_slow = 1};
    struct rope r;
    double freq[N];
    rope_init(&r, freq, &p, NULL, false);
    assert_near(freq[0], 1);
    assert_near(freq[N - 1], pow(10000, -2.0 * (N - 1) / N_ROT) / 4);
    int n_between = 0;
    for (int i = 0; i < N; i++) {
        double plain = pow(10000, -2.0 * i / N_ROT);
        assert_true(freq[i] <= plain * (1 + 1e-12) && freq[i] >= plain / 4 * (1 - 1e-12));
        n_between += freq[i] < plain * 0.999 && freq[i] > plain / 4 * 1.001;
    }
    assert_true(n_between > 0);
    assert_near(r.magnitude, 0.1 * log(4) + 1);
}

/* Moving is turning: no magnitude, the other way round for the other direction, nothing for no distance. */
static void test_shift(void **state)
{
    (void)state;
    struct arch_params p = {.n_rot = N_ROT,
                            .rope_base = 10000,
                            .rope_factor = 4,
                            .rope_scaling = ARCH_ROPE_YARN,
                            .rope_n_ctx_orig = 2048,
                            .rope_attn_factor = 1,
                            .rope_beta_fast = 32,
                            .rope_beta_slow = 1};
    struct rope r;
    double freq[N];
    rope_init(&r, freq, &p, NULL, false);
    assert_true(r.magnitude > 1.1);
    float c[N], s[N], c_at[3][N], s_at[3][N];
    rope_angles(&r, 100, c_at[0], s_at[0]);
    rope_angles(&r, 1000, c_at[1], s_at[1]);
    rope_shift_angles(&r, 900, c, s);
    rope_shift_angles(&r, -900, c_at[2], s_at[2]);
    for (int i = 0; i < N; i++) {
        assert_near(c[i] * c[i] + s[i] * s[i], 1);
        assert_near(c[i] * c_at[0][i] - s[i] * s_at[0][i], c_at[1][i]);
        assert_near(s[i] * c_at[0][i] + c[i] * s_at[0][i], s_at[1][i]);
        assert_near(c_at[2][i], c[i]);
        assert_near(s_at[2][i], -s[i]);
    }
    rope_shift_angles(&r, 0, c, s);
    for (int i = 0; i < N; i++) assert_true(c[i] == 1 && s[i] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_linear_and_factors),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_shift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

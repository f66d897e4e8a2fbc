/* Shifted runs between token lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "infer/token_diff.h"

#define N 400

static int32_t old[N], fresh[2 * N], table[TOKEN_DIFF_INDEX(2 * N)];
static struct kv_run runs[TOKEN_RUNS_MAX];

static uint32_t next_random(void)
{
    static uint32_t x = 7;
    x = x * 1664525u + 1013904223u;
    return x >> 8;
}

static void fill(int32_t *tokens, int32_t n, uint32_t n_vocab)
{
    for (int32_t i = 0; i < n; i++) tokens[i] = (int32_t)(next_random() % n_vocab);
}

static void test_insertion(void **state)
{
    (void)state;
    fill(old, N, 10000);
    memcpy(fresh, old, 100 * sizeof *old);
    fill(fresh + 100, 3, 10000);
    memcpy(fresh + 103, old + 100, 300 * sizeof *old);
    assert_int_equal(token_diff(old, N, fresh, N + 3, 100, 0, table, runs), 1);
    assert_int_equal(runs[0].from, 100);
    assert_int_equal(runs[0].to, 103);
    assert_int_equal(runs[0].n, 300);

    assert_int_equal(token_diff(old, N, fresh, N + 3, 100, 200, table, runs), 1); /* only what is wanted */
    assert_memory_equal(&runs[0], (&(struct kv_run){.from = 197, .to = 200, .n = 203}), sizeof *runs);
}

static void test_deletion_and_replacement(void **state)
{
    (void)state;
    fill(old, N, 10000);
    memcpy(fresh, old, 50 * sizeof *old);
    memcpy(fresh + 50, old + 60, 100 * sizeof *old); /* ten deleted */
    fill(fresh + 150, 5, 10000);                     /* two replaced by five */
    memcpy(fresh + 155, old + 162, 238 * sizeof *old);
    assert_int_equal(token_diff(old, N, fresh, 393, 50, 0, table, runs), 2);
    assert_memory_equal(&runs[0], (&(struct kv_run){.from = 60, .to = 50, .n = 100}), sizeof *runs);
    assert_memory_equal(&runs[1], (&(struct kv_run){.from = 162, .to = 155, .n = 238}), sizeof *runs);
}

static void test_nothing_in_common(void **state)
{
    (void)state;
    for (int32_t i = 0; i < N; i++) old[i] = i, fresh[i] = i + N;
    assert_int_equal(token_diff(old, N, fresh, N, 0, 0, table, runs), 0);
    assert_int_equal(token_diff(old, 0, fresh, N, 0, 0, table, runs), 0);
    assert_int_equal(token_diff(old, N, fresh, 0, 0, 0, table, runs), 0);
    memcpy(fresh + 10, old + 5, (TOKEN_RUN_MIN - 1) * sizeof *old); /* too short a run */
    assert_int_equal(token_diff(old, N, fresh, N, 0, 0, table, runs), 0);
}

/* Whatever the lists, runs are what they claim to be. Small vocabularies make many near matches. */
static void test_runs_are_runs(void **state)
{
    (void)state;
    for (int32_t i = 0; i < 2000; i++) {
        uint32_t n_vocab = 1 + next_random() % 4;
        int32_t n_old = (int32_t)(next_random() % N), n_fresh = (int32_t)(next_random() % N);
        fill(old, n_old, n_vocab);
        fill(fresh, n_fresh, n_vocab);
        int32_t keep = 0;
        while (keep < n_old && keep < n_fresh && old[keep] == fresh[keep]) keep++;
        int32_t n = token_diff(old, n_old, fresh, n_fresh, keep, 0, table, runs), to = keep, from = keep;
        assert_in_range(n, 0, TOKEN_RUNS_MAX);
        for (int32_t r = 0; r < n; r++) {
            assert_true(runs[r].n >= TOKEN_RUN_MIN && runs[r].to >= to && runs[r].from >= from);
            to = runs[r].to + runs[r].n;
            from = runs[r].from + runs[r].n;
            assert_true(to <= n_fresh && from <= n_old);
            assert_memory_equal(old + runs[r].from, fresh + runs[r].to, (size_t)runs[r].n * sizeof *old);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_insertion),
        cmocka_unit_test(test_deletion_and_replacement),
        cmocka_unit_test(test_nothing_in_common),
        cmocka_unit_test(test_runs_are_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

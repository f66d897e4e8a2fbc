/* Drafts: what is proposed against a brute-force search, and how much of it against the best fixed length on
 * simulated machines. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "infer/draft.h"

#define MATCH_MAX  16 /* as in draft.c */
#define PLACES_MAX 64

struct random {
    uint64_t state;
};

/* xorshift64 (Marsaglia 2003). */
static uint32_t random_next(struct random *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return (uint32_t)(r->state >> 32);
}

static int32_t random_below(struct random *r, int32_t n)
{
    return (int32_t)(random_next(r) % (uint32_t)n);
}

static struct draft *open_draft(int32_t max_tokens)
{
    struct draft *d;
    struct errmsg msg = {0};
    assert_int_equal(draft_new(max_tokens, &d, &msg), OK);
    return d;
}

/* Report passes that cost the same at every size, so that all that was found is proposed. */
static void teach_flat_cost(struct draft *d)
{
    draft_learn(d, 0, 0, 1.0);
    for (int32_t n = 1; n <= DRAFT_MAX; n++) draft_learn(d, n, n, 1.0);
}

static int32_t propose_all(struct draft *d, int32_t *tokens, int32_t max)
{
    teach_flat_cost(d);
    return draft_propose(d, tokens, max);
}

/* What a search should find in the last `window` of n tokens, by trying every place. */
static int32_t brute_force(const int32_t *text, int32_t n, int32_t window, int32_t *tokens, int32_t max)
{
    int32_t len = n < window ? n : window;
    int32_t best = 0, distance = 0, n_places = 0;
    for (int32_t back = 1; back < len && n_places < PLACES_MAX; back++) {
        int32_t match = 0;
        while (match < MATCH_MAX && back + match < len && text[n - 1 - match] == text[n - 1 - back - match])
            match++;
        n_places += match > 0;
        if (match > best) {
            best = match;
            distance = back;
        }
    }
    if (best == 0) return 0;
    for (int32_t i = 0; i < max; i++)
        tokens[i] = i < distance ? text[n - distance + i] : tokens[i - distance];
    return max;
}

static void test_equals_brute_force(void **state)
{
    (void)state;
    enum { N = 3000 };
    static const struct {
        int32_t window, alphabet;
    } cases[] = {{16, 2},   {64, 2},    {64, 3},     {50, 8},     {1000, 2},
                 {1000, 4}, {1500, 40}, {4096, 300}, {4096, 3000}};
    static int32_t text[N];
    struct random random = {88172645463325252};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct draft *d = open_draft(cases[c].window);
        int32_t n_found = 0;
        for (int32_t n = 0; n < N;) {
            text[n] = random_below(&random, cases[c].alphabet) * 7919;
            /* Repeat a piece now and then, so that there are long matches among many tokens. */
            if (n > 20 && random_below(&random, 4)) text[n] = text[n - 17];
            draft_add(d, &text[n++], 1);
            int32_t expected[DRAFT_MAX], tokens[DRAFT_MAX], max = 1 + random_below(&random, DRAFT_MAX);
            int32_t n_expected = brute_force(text, n, cases[c].window, expected, max);
            assert_int_equal(propose_all(d, tokens, max), n_expected);
            assert_memory_equal(tokens, expected, (size_t)n_expected * sizeof *tokens);
            n_found += n_expected > 0;
        }
        assert_true(n_found > N / 2);
        draft_free(&d);
    }
}

static void test_longest_then_latest(void **state)
{
    (void)state;
    struct draft *d = open_draft(100);
    int32_t tokens[DRAFT_MAX];
    const int32_t text[] = {1, 2, 3, 50, 9, 2, 3, 60, 1, 2, 3, 70, 9, 3, 80, 5, 2, 3};
    draft_add(d, text, sizeof text / sizeof *text);
    assert_int_equal(propose_all(d, tokens, 1), 1);
    assert_int_equal(tokens[0], 70);
    draft_reset(d);
    draft_add(d, (const int32_t[]){1, 2, 3, 50, 9, 2, 3, 60, 8, 1, 2, 3}, 12);
    assert_int_equal(propose_all(d, tokens, 3), 3);
    assert_memory_equal(tokens, ((const int32_t[]){50, 9, 2}), sizeof(int32_t[3]));
    draft_free(&d);
}

static void test_repeats_beyond_the_end(void **state)
{
    (void)state;
    struct draft *d = open_draft(100);
    int32_t tokens[DRAFT_MAX];
    draft_add(d, (const int32_t[]){1, 2, 3, 1}, 4);
    assert_int_equal(propose_all(d, tokens, 7), 7);
    assert_memory_equal(tokens, ((const int32_t[]){2, 3, 1, 2, 3, 1, 2}), sizeof(int32_t[7]));
    draft_free(&d);
}

static void test_new_tokens_match_nothing(void **state)
{
    (void)state;
    struct draft *d = open_draft(100000);
    int32_t tokens[DRAFT_MAX];
    for (int32_t i = 0; i < 3000; i++) {
        draft_add(d, &i, 1);
        assert_int_equal(propose_all(d, tokens, DRAFT_MAX), 0);
    }
    draft_free(&d);
}

static void test_forgets_the_oldest(void **state)
{
    (void)state;
    struct draft *d = open_draft(5);
    int32_t tokens[DRAFT_MAX];
    draft_add(d, (const int32_t[]){1, 2, 3, 4, 1}, 5);
    assert_int_equal(propose_all(d, tokens, 1), 1);
    assert_int_equal(tokens[0], 2);
    draft_reset(d);
    draft_add(d, (const int32_t[]){1, 2, 3, 4, 5, 1}, 6);
    assert_int_equal(propose_all(d, tokens, 1), 0);
    draft_free(&d);
}

static void test_reset_forgets_text_only(void **state)
{
    (void)state;
    struct draft *d = open_draft(100);
    int32_t tokens[DRAFT_MAX];
    draft_add(d, (const int32_t[]){1, 2, 3, 1}, 4);
    assert_int_equal(propose_all(d, tokens, DRAFT_MAX), DRAFT_MAX);
    draft_reset(d);
    assert_int_equal(draft_propose(d, tokens, DRAFT_MAX), 0);
    draft_add(d, (const int32_t[]){1}, 1);
    assert_int_equal(draft_propose(d, tokens, DRAFT_MAX), 0);
    draft_add(d, (const int32_t[]){5, 1}, 2);
    assert_int_equal(draft_propose(d, tokens, DRAFT_MAX), DRAFT_MAX);
    assert_int_equal(tokens[0], 5);
    draft_free(&d);
}

static void test_bounds(void **state)
{
    (void)state;
    struct draft *d = NULL;
    struct errmsg msg = {0};
    assert_int_equal(draft_new(0, &d, &msg), ERR_ARG);
    assert_null(d);
    assert_int_equal(draft_new(-1, &d, &msg), ERR_ARG);
    draft_free(&d);
    int32_t tokens[DRAFT_MAX];
    for (int32_t room = 1; room <= 3; room++) {
        d = open_draft(room);
        assert_int_equal(propose_all(d, tokens, DRAFT_MAX), 0);
        for (int32_t n = 1; n <= 10; n++) {
            draft_add(d, (const int32_t[]){-1}, 1);
            int32_t expected = n > 1 && room > 1 ? DRAFT_MAX : 0;
            assert_int_equal(propose_all(d, tokens, DRAFT_MAX), expected);
            assert_int_equal(propose_all(d, tokens, DRAFT_MAX + 100), expected);
        }
        draft_add(d, NULL, 0);
        assert_int_equal(propose_all(d, tokens, 0), 0);
        assert_int_equal(propose_all(d, tokens, -1), 0);
        draft_free(&d);
        assert_null(d);
    }
}

/* Reports that make no sense change nothing. */
static void test_bad_reports(void **state)
{
    (void)state;
    struct draft *d = open_draft(100);
    int32_t tokens[DRAFT_MAX];
    draft_add(d, (const int32_t[]){1, 2, 3, 1}, 4);
    draft_learn(d, 0, 0, NAN);
    draft_learn(d, 0, 0, INFINITY);
    draft_learn(d, 0, 0, 0);
    draft_learn(d, 0, 0, -1);
    assert_int_equal(draft_propose(d, tokens, DRAFT_MAX), 0); /* no plain pass was measured */
    assert_int_equal(propose_all(d, tokens, DRAFT_MAX), DRAFT_MAX);
    for (int32_t i = 0; i < 1000; i++) {
        draft_learn(d, -1, 0, 9);
        draft_learn(d, 0, 1, 9);
        draft_learn(d, 1, -1, 9);
        draft_learn(d, DRAFT_MAX, DRAFT_MAX + 1, 9);
        draft_learn(d, DRAFT_MAX + 1, 0, 9);
    }
    assert_int_equal(draft_propose(d, tokens, DRAFT_MAX), DRAFT_MAX);
    draft_free(&d);
}

/* The longest chains and the longest comparisons at each of their places: the bound holds and is reached. */
static void test_search_is_bounded(void **state)
{
    (void)state;
    struct draft *d = open_draft(8192);
    int32_t tokens[DRAFT_MAX];
    int64_t most = 0;
    for (int32_t i = 0; i < 20000; i++) {
        /* Runs of 1 of growing length, each begun by another token: no match is longer than its run. */
        int32_t token = i % 300 == 0 ? i + 2 : 1;
        draft_add(d, &token, 1);
        int64_t before = draft_n_compared(d);
        propose_all(d, tokens, DRAFT_MAX);
        int64_t n = draft_n_compared(d) - before;
        if (n > most) most = n;
        assert_true(n <= PLACES_MAX * (MATCH_MAX + 1));
    }
    draft_reset(d);
    /* 15 tokens that agree and one that never does. */
    for (int32_t i = 0; i < 4096; i++) {
        int32_t token = i % 16 == 0 ? 100 + i : i % 16;
        draft_add(d, &token, 1);
        int64_t before = draft_n_compared(d);
        propose_all(d, tokens, DRAFT_MAX);
        int64_t n = draft_n_compared(d) - before;
        if (n > most) most = n;
        assert_true(n <= PLACES_MAX * (MATCH_MAX + 1));
    }
    assert_int_equal(most, PLACES_MAX * MATCH_MAX); /* 15 that agree and one that does not, at 64 places */
    draft_free(&d);
}

/* A simulated engine. Its text goes round a cycle of tokens, but each token is a new one with probability
 * 1 - predictability; its passes cost what `cost` says, in units of a plain one. */
struct machine {
    double (*cost)(int32_t n_tokens);
    double predictability;
    int32_t max_draft;
    bool reports_flat; /* report every pass as equally long: drafts are then as long as max_draft allows */
    struct random random;
    int32_t cycle, n_new;
    double spent;
    int64_t n_tokens, n_passes, n_drafts, n_proposed;
    int64_t last_draft, shortest_gap, longest_gap; /* passes between drafts */
    uint64_t trace;
};

static double cost_none(int32_t n)
{
    (void)n;
    return 1;
}

static double cost_flat(int32_t n)
{
    return 1 + 0.02 * (n - 1);
}

static double cost_gentle(int32_t n)
{
    return 1 + 0.15 * (n - 1);
}

static double cost_steep(int32_t n)
{
    return 1 + 0.5 * (n - 1);
}

static double cost_full(int32_t n)
{
    return n;
}

static double cost_knee(int32_t n)
{
    return n <= 4 ? 1 + 0.03 * (n - 1) : 1.09 + 0.5 * (n - 4);
}

static double cost_stairs(int32_t n)
{
    return n == 1 ? 1 : 0.4 + 0.8 * ((n + 3) / 4);
}

static int32_t machine_token(struct machine *m)
{
    m->cycle = (m->cycle + 1) % 50;
    return random_next(&m->random) < m->predictability * 4294967296.0 ? m->cycle : 1000 + m->n_new++;
}

/* Decode n tokens or a few more. */
static void machine_run(struct machine *m, struct draft *d, int64_t n)
{
    for (int64_t end = m->n_tokens + n; m->n_tokens < end; m->n_passes++) {
        int32_t tokens[DRAFT_MAX], n_right = 0;
        int32_t n_draft = draft_propose(d, tokens, m->max_draft), token = machine_token(m);
        assert_in_range(n_draft, 0, m->max_draft);
        while (n_right < n_draft && token == tokens[n_right]) {
            n_right++;
            draft_add(d, &token, 1);
            token = machine_token(m);
        }
        double cost = m->cost(1 + n_draft);
        draft_learn(d, n_draft, n_right, m->reports_flat ? 7.0 : 7.0 * cost);
        draft_add(d, &token, 1);
        m->spent += cost;
        m->n_tokens += n_right + 1;
        m->n_proposed += n_draft;
        m->trace = (m->trace * 31 + (uint64_t)n_draft) * 31 + (uint64_t)n_right;
        if (n_draft == 0) continue;
        int64_t gap = m->n_passes - m->last_draft;
        if (m->n_drafts > 0 && (gap < m->shortest_gap || m->n_drafts == 1)) m->shortest_gap = gap;
        if (gap > m->longest_gap) m->longest_gap = gap;
        m->last_draft = m->n_passes;
        m->n_drafts++;
    }
}

/* Decode n tokens more; returns tokens per plain pass's time. */
static double machine_speed_now(struct machine *m, struct draft *d, int64_t n)
{
    m->spent = 0;
    m->n_tokens = 0;
    machine_run(m, d, n);
    return (double)m->n_tokens / m->spent;
}

/* The same of a new machine and draft. */
static double machine_speed(double (*cost)(int32_t), double predictability, int32_t max_draft,
                            bool reports_flat, int64_t n)
{
    struct machine m = {.cost = cost,
                        .predictability = predictability,
                        .max_draft = max_draft,
                        .reports_flat = reports_flat,
                        .random = {1234567}};
    struct draft *d = open_draft(1000);
    double speed = machine_speed_now(&m, d, n);
    draft_free(&d);
    return speed;
}

static double (*const all_costs[])(int32_t) = {cost_none, cost_flat, cost_gentle, cost_steep,
                                               cost_full, cost_knee, cost_stairs};
#define N_COSTS (sizeof all_costs / sizeof *all_costs)

/* On every machine and text, nearly as fast as the best length fixed in hindsight, and never slower than
 * without drafts. */
static void test_length_is_near_the_best(void **state)
{
    (void)state;
    static const double predictabilities[] = {0, 0.3, 0.6, 0.8, 0.9, 0.99, 1};
    for (size_t c = 0; c < N_COSTS; c++) {
        for (size_t p = 0; p < sizeof predictabilities / sizeof *predictabilities; p++) {
            double best = 1;
            for (int32_t fixed = 1; fixed <= DRAFT_MAX; fixed++) {
                double speed = machine_speed(all_costs[c], predictabilities[p], fixed, true, 4000);
                if (speed > best) best = speed;
            }
            double speed = machine_speed(all_costs[c], predictabilities[p], DRAFT_MAX, false, 4000);
            if (speed < 0.95 * best || speed < 0.98)
                fail_msg("cost %zu, predictability %g: %g of %g", c, predictabilities[p], speed, best);
        }
    }
}

/* The first drafts try one token, then passes of twice as many each time. */
static void test_cold_start_is_careful(void **state)
{
    (void)state;
    struct draft *d = open_draft(100);
    int32_t tokens[DRAFT_MAX];
    draft_add(d, (const int32_t[]){1, 2, 3, 1}, 4);
    assert_int_equal(draft_propose(d, tokens, DRAFT_MAX), 0); /* nothing to compare a cost with */
    draft_learn(d, 0, 0, 10.0);
    static const int32_t lengths[] = {1, 3, 7, 15};
    for (size_t i = 0; i < 4; i++) {
        draft_add(d, (const int32_t[]){2, 3, 1}, 3);
        assert_int_equal(draft_propose(d, tokens, DRAFT_MAX), lengths[i]);
        draft_learn(d, lengths[i], lengths[i], 10.0);
    }
    draft_free(&d);
}

/* Where drafts lose there are short ones now and then, ever more rarely. */
static void test_off_when_it_loses(void **state)
{
    (void)state;
    struct machine m = {.cost = cost_full, .predictability = 0.9, .max_draft = DRAFT_MAX, .random = {99}};
    struct draft *d = open_draft(1000);
    machine_run(&m, d, 8000);
    assert_true(m.n_drafts >= 5);
    assert_true(m.n_drafts <= 14);
    assert_int_equal(m.n_proposed, m.n_drafts);
    assert_true(m.shortest_gap >= 64);
    assert_in_range(m.longest_gap, 1024, 1100);
    assert_true(m.spent <= 1.002 * (double)m.n_tokens);
    draft_free(&d);
}

static void test_on_again_when_passes_get_cheaper(void **state)
{
    (void)state;
    struct machine m = {.cost = cost_full, .predictability = 0.9, .max_draft = DRAFT_MAX, .random = {99}};
    struct draft *d = open_draft(1000);
    machine_run(&m, d, 8000);
    m.cost = cost_flat;
    machine_run(&m, d, 1200);
    assert_true(machine_speed_now(&m, d, 2000) > 0.9 * machine_speed(cost_flat, 0.9, DRAFT_MAX, false, 2000));
    m.cost = cost_full; /* and off */
    machine_run(&m, d, 100);
    assert_true(machine_speed_now(&m, d, 2000) > 0.98);
    draft_free(&d);
}

/* Acceptance is also learned while nothing is proposed. */
static void test_on_again_when_acceptance_rises(void **state)
{
    (void)state;
    struct draft *d = open_draft(1000);
    int32_t tokens[DRAFT_MAX], next = 0;
    for (int32_t i = 0; i < 100; i++, next = (next + 1) % 50) draft_add(d, &next, 1);
    teach_flat_cost(d);
    draft_learn(d, 1, 0, 1.5);
    int32_t n_wrong = 0;
    for (int32_t n; (n = draft_propose(d, tokens, 1)) > 0; n_wrong++) {
        draft_learn(d, 0, 0, 1.0);
        draft_learn(d, n, 0, 1.5);
        assert_true(n_wrong < 200);
    }
    assert_true(n_wrong > 5);
    int32_t n_plain = 0;
    for (; draft_propose(d, tokens, 1) == 0; n_plain++, next = (next + 1) % 50) {
        draft_add(d, &next, 1); /* what would have been proposed */
        draft_learn(d, 0, 0, 1.0);
        assert_true(n_plain < 60);
    }
    assert_true(n_plain > 0);
    draft_free(&d);
}

/* Also where drafts always pay, a plain pass is measured now and then: a machine that became faster as a
 * whole would otherwise seem to verify for nothing. */
static void test_plain_passes_stay(void **state)
{
    (void)state;
    struct machine m = {.cost = cost_flat, .predictability = 1, .max_draft = DRAFT_MAX, .random = {5}};
    struct draft *d = open_draft(1000);
    machine_run(&m, d, 100);
    int64_t n_passes = m.n_passes, n_drafts = m.n_drafts;
    machine_run(&m, d, 100000);
    n_passes = m.n_passes - n_passes;
    n_drafts = m.n_drafts - n_drafts;
    assert_in_range(n_passes - n_drafts, n_passes / 65 - 1, n_passes / 65 + 1);
    draft_free(&d);
}

/* A process that is stopped for a while turns drafts neither on where they lose nor off where they pay. */
static void test_stall(void **state)
{
    (void)state;
    struct machine m = {.cost = cost_full, .predictability = 0.9, .max_draft = DRAFT_MAX, .random = {3}};
    struct draft *d = open_draft(1000);
    machine_run(&m, d, 1000);
    draft_learn(d, 0, 0, 1e7);
    assert_true(machine_speed_now(&m, d, 300) > 0.97);
    draft_free(&d);

    m = (struct machine){.cost = cost_gentle, .predictability = 1, .max_draft = DRAFT_MAX, .random = {3}};
    d = open_draft(1000);
    machine_run(&m, d, 1000);
    double before = machine_speed_now(&m, d, 500);
    draft_learn(d, DRAFT_MAX, DRAFT_MAX, 1e7);
    assert_true(machine_speed_now(&m, d, 300) > 0.85 * before);
    draft_free(&d);
}

/* Passes of all sizes become faster at once, which makes drafts seem free until a plain one is measured. */
static void test_faster_machine(void **state)
{
    (void)state;
    struct machine m = {.cost = cost_full, .predictability = 0.9, .max_draft = DRAFT_MAX, .random = {3}};
    struct draft *d = open_draft(1000);
    machine_run(&m, d, 1000);
    for (int32_t i = 0; i < 60; i++) draft_learn(d, 0, 0, 35.0);
    assert_true(machine_speed_now(&m, d, 500) > 0.9);
    draft_free(&d);
}

/* A machine that is busy for a while: where drafts paid before, they are soon tried again. */
static void test_busy_for_a_while(void **state)
{
    (void)state;
    struct machine m = {.cost = cost_flat, .predictability = 0.9, .max_draft = DRAFT_MAX, .random = {3}};
    struct draft *d = open_draft(1000);
    machine_run(&m, d, 2000);
    double before = machine_speed_now(&m, d, 1000);
    m.cost = cost_full;
    machine_run(&m, d, 100);
    m.cost = cost_flat;
    machine_run(&m, d, 150);
    assert_true(machine_speed_now(&m, d, 300) > 0.8 * before);
    draft_free(&d);
}

/* What comes of a draft's second token tells about matches that are longer by one. */
static void test_learns_by_match_length(void **state)
{
    (void)state;
    struct draft *d = open_draft(100);
    int32_t tokens[DRAFT_MAX];
    for (int32_t i = 0; i < 500; i++) {
        draft_reset(d);
        draft_add(d, (const int32_t[]){1, 2, 3, 4, 5, 1}, 6);
        draft_propose(d, tokens, 3);
        draft_learn(d, 0, 0, 1.0);
        draft_learn(d, 1, 1, 1.5);
        draft_learn(d, 2, 2, 2.0);
        draft_learn(d, 3, 2, 2.5);
    }
    assert_int_equal(draft_propose(d, tokens, 3), 2);
    draft_add(d, (const int32_t[]){2, 3}, 2); /* a match of three tokens, never right so far */
    assert_int_equal(draft_propose(d, tokens, 3), 0);
    draft_free(&d);
}

static void test_is_deterministic(void **state)
{
    (void)state;
    for (size_t c = 0; c < N_COSTS; c++) {
        uint64_t traces[2];
        for (int32_t i = 0; i < 2; i++) {
            struct machine m = {
                .cost = all_costs[c], .predictability = 0.8, .max_draft = DRAFT_MAX, .random = {77}};
            struct draft *d = open_draft(500);
            machine_run(&m, d, 3000);
            traces[i] = m.trace;
            draft_free(&d);
        }
        assert_true(traces[0] == traces[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_brute_force),
        cmocka_unit_test(test_longest_then_latest),
        cmocka_unit_test(test_repeats_beyond_the_end),
        cmocka_unit_test(test_new_tokens_match_nothing),
        cmocka_unit_test(test_forgets_the_oldest),
        cmocka_unit_test(test_reset_forgets_text_only),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_bad_reports),
        cmocka_unit_test(test_search_is_bounded),
        cmocka_unit_test(test_length_is_near_the_best),
        cmocka_unit_test(test_cold_start_is_careful),
        cmocka_unit_test(test_off_when_it_loses),
        cmocka_unit_test(test_on_again_when_passes_get_cheaper),
        cmocka_unit_test(test_on_again_when_acceptance_rises),
        cmocka_unit_test(test_plain_passes_stay),
        cmocka_unit_test(test_stall),
        cmocka_unit_test(test_faster_machine),
        cmocka_unit_test(test_busy_for_a_while),
        cmocka_unit_test(test_learns_by_match_length),
        cmocka_unit_test(test_is_deterministic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

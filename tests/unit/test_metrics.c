/* Metrics: quantiles against exact sorting, counting from many threads, the exposition format. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "watch/metrics.h"

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A linear congruential generator (Knuth's MMIX), in 0..1. */
static double next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / 9007199254740992.0;
}

static void test_quantiles(void **state)
{
    enum { N = 20000 };
    static const double qs[] = {0, 0.001, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1};
    double *values = mem_try(N, sizeof *values);
    struct metrics *m = metrics_new();
    struct metric *h = metrics_histogram(m, "t_seconds", "", "Test.");
    uint64_t seed = 1;
    double sum = 0;
    (void)state;
    assert_non_null(values);
    assert_true(metric_quantile(h, 0.5) == 0);
    for (int i = 0; i < N; i++) { /* evenly over the exponents of 1 us to 1000 s */
        values[i] = pow(10, -6 + 9 * next_random(&seed));
        sum += values[i];
        metric_observe(h, values[i]);
    }
    qsort(values, N, sizeof *values, compare_doubles);
    assert_int_equal(metric_count(h), N);
    for (size_t i = 0; i < sizeof qs / sizeof *qs; i++) {
        int rank = (int)ceil(qs[i] * N);
        double exact = values[rank > 0 ? rank - 1 : 0];
        assert_true(fabs(metric_quantile(h, qs[i]) - exact) <= exact * (1 / 32. + 1e-3)); /* rounding to ns */
    }
    struct buf out;
    buf_init(&out, 1 << 20);
    metrics_write(m, &out);
    double written = strtod(strstr(buf_str(&out), "t_seconds_sum ") + strlen("t_seconds_sum "), NULL);
    assert_true(fabs(written - sum) < 1e-4);
    buf_clear(&out);
    metrics_free(&m);
    assert_null(m);
    metrics_free(&m);
    mem_free(values);
}

static void test_extremes(void **state)
{
    struct metrics *m = metrics_new();
    struct metric *h = metrics_histogram(m, "t_seconds", "", "Test.");
    static const double small[] = {0, -1, -INFINITY, NAN, 1e-12};
    static const double large[] = {1100, 1e300, INFINITY};
    (void)state;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) metric_observe(h, small[i]);
    assert_true(metric_quantile(h, 1) < 1e-7);
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) metric_observe(h, large[i]);
    assert_true(metric_quantile(h, 1) > 1000);
    assert_true(metric_quantile(h, 0.5) < 1e-7);
    assert_int_equal(metric_count(h), 8);
    metric_observe(NULL, 1); /* a null metric counts nothing */
    metric_add(NULL, 1);
    metrics_free(&m);
}

#define N_THREADS  8
#define N_PER_EACH 20000

struct both {
    struct metric *counter, *histogram;
};

static void *count(void *ctx)
{
    const struct both *b = ctx;
    for (int i = 1; i <= N_PER_EACH; i++) {
        metric_add(b->counter, 2);
        metric_observe(b->histogram, i * 1e-6);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    struct metrics *m = metrics_new();
    struct both b = {metrics_counter(m, "t_total", "", "Test."), metrics_histogram(m, "t_s", "", "Test.")};
    pthread_t threads[N_THREADS];
    struct buf out;
    (void)state;
    buf_init(&out, 1 << 20);
    for (int i = 0; i < N_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, count, &b), 0);
    for (int i = 0; i < 20; i++) { /* reading meanwhile */
        buf_reset(&out);
        metrics_write(m, &out);
    }
    for (int i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(metric_value(b.counter), 2 * N_THREADS * N_PER_EACH);
    assert_int_equal(metric_count(b.histogram), N_THREADS * N_PER_EACH);
    buf_reset(&out);
    metrics_write(m, &out);
    /* 1 + 2 + ... + 20000 us, eight times */
    assert_non_null(strstr(buf_str(&out), "\nt_s_sum 1600.080000000\n"));
    buf_clear(&out);
    metrics_free(&m);
}

/* A strict reader of the text format 0.0.4, as far as counters, gauges and histograms need it. */

struct sample {
    char name[64], labels[96]; /* labels without le */
    char le[32];               /* "" if none */
    double value;
};

struct exposition {
    struct sample samples[256];
    int n;
    char families[16][64]; /* in order; a name that comes twice is an error */
    char types[16][16];
    int n_families;
};

static bool is_name(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isalpha((unsigned char)s[i]) && s[i] != '_' && s[i] != ':' &&
            (i == 0 || !isdigit((unsigned char)s[i])))
            return false;
    }
    return len > 0;
}

/* name="value"[,...]; takes `le` apart. */
static void read_labels(const char *s, size_t len, struct sample *out)
{
    const char *end = s + len;
    while (s < end) {
        size_t name_len = strcspn(s, "=");
        assert_true(is_name(s, name_len));
        const char *value = s + name_len + 2;
        assert_int_equal(value[-1], '"');
        size_t value_len = strcspn(value, "\"");
        const char *next = value + value_len + 1;
        assert_true(next <= end);
        if (name_len == 2 && memcmp(s, "le", 2) == 0) {
            snprintf(out->le, sizeof out->le, "%.*s", (int)value_len, value);
        } else {
            strncat(out->labels, s, (size_t)(next - s));
        }
        if (next < end) assert_int_equal(*next++, ',');
        s = next;
    }
}

static double read_value(const char *s)
{
    if (strcmp(s, "NaN") == 0) return NAN;
    if (strcmp(s, "+Inf") == 0) return INFINITY;
    if (strcmp(s, "-Inf") == 0) return -INFINITY;
    assert_true(isdigit((unsigned char)*s) || *s == '-');
    char *end;
    double value = strtod(s, &end);
    assert_int_equal(*end, '\0');
    return value;
}

/* Is this the family's own name or, of a histogram, one with a suffix that it may have? */
static bool belongs(const char *name, const char *family, const char *type)
{
    size_t len = strlen(family);
    if (strncmp(name, family, len) != 0) return false;
    const char *suffix = name + len;
    if (strcmp(type, "histogram") != 0) return !*suffix;
    return strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 || strcmp(suffix, "_count") == 0;
}

static void read_sample(const char *line, struct exposition *e)
{
    struct sample *s = &e->samples[e->n++];
    assert_true(e->n <= 256 && e->n_families > 0);
    *s = (struct sample){0};
    size_t len = strcspn(line, "{ ");
    assert_true(is_name(line, len) && len < sizeof s->name);
    memcpy(s->name, line, len);
    line += len;
    if (*line == '{') {
        const char *close = strchr(line, '}');
        assert_non_null(close);
        read_labels(line + 1, (size_t)(close - line - 1), s);
        line = close + 1;
    }
    assert_int_equal(*line, ' ');
    s->value = read_value(line + 1);
    assert_true(belongs(s->name, e->families[e->n_families - 1], e->types[e->n_families - 1]));
}

static void read_exposition(const char *text, struct exposition *e)
{
    char line[256], help[64] = "";
    *e = (struct exposition){0};
    while (*text) {
        size_t len = strcspn(text, "\n");
        assert_int_equal(text[len], '\n'); /* the last line too */
        assert_true(len > 0 && len < sizeof line);
        memcpy(line, text, len);
        line[len] = '\0';
        text += len + 1;
        char name[64], type[16], extra;
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(line, "# HELP %63s %c", help, &extra), 2);
            for (int i = 0; i < e->n_families; i++) assert_string_not_equal(e->families[i], help);
        } else if (line[0] == '#') {
            assert_int_equal(sscanf(line, "# TYPE %63s %15s%c", name, type, &extra), 2);
            assert_string_equal(name, help);
            assert_true(e->n_families < 16);
            snprintf(e->families[e->n_families], sizeof e->families[0], "%s", name);
            snprintf(e->types[e->n_families++], sizeof e->types[0], "%s", type);
        } else {
            read_sample(line, e);
        }
    }
}

static const struct sample *find_sample(const struct exposition *e, const char *name, const char *labels,
                                        const char *le)
{
    const struct sample *found = NULL;
    for (int i = 0; i < e->n; i++) {
        const struct sample *s = &e->samples[i];
        if (strcmp(s->name, name) != 0 || strcmp(s->labels, labels) != 0 || strcmp(s->le, le) != 0) continue;
        assert_null(found); /* no series twice */
        found = s;
    }
    assert_non_null(found);
    return found;
}

static double read_level(void *ctx)
{
    return *(double *)ctx;
}

static void test_exposition(void **state)
{
    struct metrics *m = metrics_new();
    double levels[] = {-2.5, NAN, INFINITY};
    struct exposition *e = MEM_NEW(struct exposition);
    struct buf out;
    (void)state;
    /* The series of one name are registered apart and must come together. */
    struct metric *a = metrics_counter(m, "t_requests_total", "route=\"a\"", "Requests, by route.");
    metrics_gauge(m, "t_level", "", "A level.", read_level, &levels[0]);
    struct metric *b = metrics_counter(m, "t_requests_total", "route=\"b\",ok=\"1\"", "Requests, by route.");
    metrics_gauge(m, "t_strange", "of=\"nan\"", "No numbers.", read_level, &levels[1]);
    metrics_gauge(m, "t_strange", "of=\"inf\"", "No numbers.", read_level, &levels[2]);
    assert_ptr_equal(metrics_counter(m, "t_requests_total", "route=\"a\"", "Requests, by route."), a);
    metric_add(a, 3);
    metric_add(b, INT64_C(9007199254740993)); /* 2^53 + 1 must not be rounded */
    buf_init(&out, 1 << 20);
    metrics_write(m, &out);
    read_exposition(buf_str(&out), e);
    assert_int_equal(e->n_families, 3);
    assert_string_equal(e->types[0], "counter");
    assert_string_equal(e->types[1], "gauge");
    assert_int_equal(e->n, 5);
    assert_true(find_sample(e, "t_requests_total", "route=\"a\"", "")->value == 3);
    assert_non_null(strstr(buf_str(&out), "t_requests_total{route=\"b\",ok=\"1\"} 9007199254740993\n"));
    assert_true(find_sample(e, "t_level", "", "")->value == -2.5);
    assert_true(isnan(find_sample(e, "t_strange", "of=\"nan\"", "")->value));
    assert_true(isinf(find_sample(e, "t_strange", "of=\"inf\"", "")->value));
    buf_clear(&out);
    mem_free(e);
    metrics_free(&m);
}

/* Every exposed bucket counts exactly the values up to its bound, the bound included. */
static void test_exposed_buckets(void **state)
{
    enum { N = 1000 };
    struct metrics *m = metrics_new();
    struct metric *h = metrics_histogram(m, "t_seconds", "stage=\"queue\"", "Test.");
    metrics_histogram(m, "t_seconds", "", "Test."); /* stays empty */
    struct exposition *e = MEM_NEW(struct exposition);
    double values[N];
    uint64_t seed = 7;
    struct buf out;
    (void)state;
    for (int i = 0; i < N; i++) { /* every fourth is a power of two of microseconds, which bounds are */
        values[i] = i % 4 ? pow(10, -6 + 9 * next_random(&seed)) : ldexp(1e-6, i / 4 % 30);
        metric_observe(h, values[i]);
    }
    buf_init(&out, 1 << 20);
    metrics_write(m, &out);
    read_exposition(buf_str(&out), e);
    int n_bounds = 0;
    double last_bound = 0;
    for (int i = 0; i < e->n; i++) {
        const struct sample *s = &e->samples[i];
        if (strcmp(s->name, "t_seconds_bucket") != 0 || strcmp(s->labels, "stage=\"queue\"") != 0) continue;
        double bound = read_value(s->le);
        assert_true(bound > last_bound);
        last_bound = bound;
        int n_below = 0;
        for (int j = 0; j < N; j++) n_below += values[j] <= bound * (1 + 1e-12);
        assert_true(s->value == n_below);
        n_bounds++;
    }
    assert_true(isinf(last_bound));
    assert_in_range(n_bounds, 10, 40);
    assert_true(find_sample(e, "t_seconds_count", "stage=\"queue\"", "")->value == N);
    assert_true(find_sample(e, "t_seconds_bucket", "stage=\"queue\"", "0.001024")->value > 0);
    assert_true(find_sample(e, "t_seconds_bucket", "", "+Inf")->value == 0);
    assert_true(find_sample(e, "t_seconds_sum", "", "")->value == 0);
    buf_clear(&out);
    mem_free(e);
    metrics_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),       cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_many_threads),    cmocka_unit_test(test_exposition),
        cmocka_unit_test(test_exposed_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What metrics write: the exposition format (read strictly, and by promtool where there is one), JSON, and
 * the page of documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "base/json.h"
#include "base/mem.h"
#include "watch/metrics.h"

#define S_NS INT64_C(1000000000)

/* A linear congruential generator (Knuth's MMIX), between 0 and 1. */
static double next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*seed >> 11) + 0.5) / 9007199254740992.0;
}

/* --- A strict reader of the text format 0.0.4 ----------------------------------------------------------- */

#define FAMILIES_MAX 96
#define SAMPLES_MAX  2048

struct sample {
    char name[64], labels[96]; /* labels without le */
    char le[32];               /* "" if none */
    double value;
};

struct exposition {
    struct sample samples[SAMPLES_MAX];
    int n;
    char families[FAMILIES_MAX][64]; /* in order; a name that comes twice is an error */
    char types[FAMILIES_MAX][16];
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

/* Length of a label's value: up to the quotation mark that no backslash makes part of it. */
static size_t value_len(const char *s)
{
    size_t len = 0;
    while (s[len] && s[len] != '"') {
        if (s[len] == '\\') {
            len++;
            assert_true(s[len] == '\\' || s[len] == '"' || s[len] == 'n');
        }
        len++;
    }
    return len;
}

/* name="value"[,...]}; takes `le` apart; returns what follows. */
static const char *read_labels(const char *s, struct sample *out)
{
    while (*s != '}') {
        size_t name_len = strcspn(s, "=");
        assert_true(is_name(s, name_len));
        const char *value = s + name_len + 2;
        assert_int_equal(value[-1], '"');
        size_t len = value_len(value);
        assert_int_equal(value[len], '"');
        if (name_len == 2 && memcmp(s, "le", 2) == 0) {
            snprintf(out->le, sizeof out->le, "%.*s", (int)len, value);
        } else {
            size_t used = strlen(out->labels);
            snprintf(out->labels + used, sizeof out->labels - used, "%s%.*s", used ? "," : "",
                     (int)(name_len + 3 + len), s);
        }
        s = value + len + 1;
        assert_true(*s == ',' || *s == '}');
        if (*s == ',') s++;
    }
    return s + 1;
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
    assert_true(e->n < SAMPLES_MAX && e->n_families > 0);
    *s = (struct sample){0};
    size_t len = strcspn(line, "{ ");
    assert_true(is_name(line, len) && len < sizeof s->name);
    memcpy(s->name, line, len);
    line += len;
    if (*line == '{') line = read_labels(line + 1, s);
    assert_int_equal(*line, ' ');
    s->value = read_value(line + 1);
    assert_true(belongs(s->name, e->families[e->n_families - 1], e->types[e->n_families - 1]));
}

static void read_exposition(const char *text, struct exposition *e)
{
    char line[512], help[64] = "";
    e->n = e->n_families = 0;
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
            assert_true(e->n_families < FAMILIES_MAX);
            snprintf(e->families[e->n_families], sizeof e->families[0], "%s", name);
            snprintf(e->types[e->n_families++], sizeof e->types[0], "%s", type);
        } else {
            read_sample(line, e);
        }
    }
}

static struct exposition *write_and_read(const struct metrics *m)
{
    struct exposition *e = mem_try(1, sizeof *e);
    struct buf out;
    assert_non_null(e);
    buf_init(&out, 1 << 20);
    metrics_write(m, &out);
    assert_int_equal(out.err, OK);
    read_exposition(buf_str(&out), e);
    buf_clear(&out);
    return e;
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
    return found;
}

static double value_of(const struct exposition *e, const char *name, const char *labels)
{
    const struct sample *s = find_sample(e, name, labels, "");
    assert_non_null(s);
    return s->value;
}

static const char *type_of(const struct exposition *e, const char *family)
{
    for (int i = 0; i < e->n_families; i++)
        if (strcmp(e->families[i], family) == 0) return e->types[i];
    return "";
}

static void assert_value(double value, double expected)
{
    assert_true(fabs(value - expected) <= 1e-12 * fabs(expected));
}

/* --- Prometheus ---------------------------------------------------------------------------------------- */

/* Something in every metric; labels as strange as they come. */
static struct metrics *busy_metrics(void)
{
    struct metrics *m = metrics_new();
    uint64_t seed = 9;
    metrics_roll(m, 500 * S_NS);
    for (int i = 0; i < METRIC_N; i++) {
        enum metric_id id = (enum metric_id)i;
        if (metrics_n_labels(m, id) == 0) {
            metrics_label(m, id, "plain");
            metrics_label(m, id, "\"quoted\" \\ back\nnew \xff line");
        }
        for (int k = 0; k < metrics_n_labels(m, id); k++) {
            if (metric_table[i].kind == METRIC_COUNTER) metrics_add(m, id, k, 10 * k + 1);
            if (metric_table[i].kind == METRIC_GAUGE) metrics_set(m, id, k, k + 0.5);
            for (int n = 0; n < 200 && metric_table[i].kind == METRIC_HISTOGRAM; n++)
                metrics_observe(m, id, k, pow(10, -5 + 6 * next_random(&seed)));
        }
    }
    metrics_roll(m, 501 * S_NS);
    return m;
}

/* Series that are known at the start are written at once: a rate from 0 is one, a missing one is none. */
static void test_empty(void **state)
{
    struct metrics *m = metrics_new();
    struct exposition *e = write_and_read(m);
    (void)state;
    assert_value(value_of(e, "inline_requests_total", "outcome=\"cancelled\""), 0);
    assert_value(value_of(e, "inline_predicted_tokens_total", ""), 0);
    assert_value(value_of(e, "inline_stage_seconds_count", "stage=\"decode\""), 0);
    assert_value(value_of(e, "inline_build_info", "version=\"" INLINE_VERSION "\""), 1);
    assert_true(fabs(value_of(e, "process_start_time_seconds", "") - (double)time(NULL)) < 60);
    assert_string_equal(type_of(e, "inline_remote_up"), "");
    assert_string_equal(type_of(e, "inline_stage_window_seconds"), "");
    mem_free(e);
    metrics_free(&m);
}

static void test_exposition(void **state)
{
    struct metrics *m = busy_metrics();
    (void)state;
    metrics_add(m, METRIC_DRAFTED_TOKENS, 0, INT64_C(9007199254740992)); /* 2^53 + 1: must not be rounded */
    metrics_set(m, METRIC_MEMORY_SHARE, 0, NAN);
    metrics_set(m, METRIC_MEMORY_MAX_BYTES, 0, INFINITY);
    metrics_set(m, METRIC_GOVERNOR_KV_BYTES, 0, -2.5);
    metrics_set(m, METRIC_PROCESS_START_SECONDS, 0, 1790000000.123);
    struct exposition *e = write_and_read(m);
    assert_value(value_of(e, "inline_requests_total", "outcome=\"shed\""), 21);
    assert_string_equal(type_of(e, "inline_requests_total"), "counter");
    assert_string_equal(type_of(e, "inline_request_seconds"), "histogram");
    assert_string_equal(type_of(e, "inline_memory_bytes"), "gauge");
    assert_string_equal(type_of(e, "process_cpu_seconds_total"), "counter");
    assert_value(value_of(e, "process_cpu_seconds_total", ""), 0.5);
    assert_value(value_of(e, "process_start_time_seconds", ""), 1790000000.123);
    assert_true(isnan(value_of(e, "inline_memory_share", "")));
    assert_true(isinf(value_of(e, "inline_memory_max_bytes", "")));
    assert_value(value_of(e, "inline_governor_kv_bytes", ""), -2.5);
    assert_value(
        value_of(e, "inline_remote_up", "server=\"\\\"quoted\\\" \\\\ back\\nnew \xef\xbf\xbd line\""), 1.5);
    struct buf out;
    buf_init(&out, 1 << 20);
    metrics_write(m, &out);
    assert_non_null(strstr(buf_str(&out), "\ninline_drafted_tokens_total 9007199254740993\n"));
    buf_clear(&out);
    mem_free(e);
    metrics_free(&m);
}

/* Every exposed bucket counts exactly the values up to its bound, the bound included. */
static void test_exposed_buckets(void **state)
{
    enum { N = 1000 };
    struct metrics *m = metrics_new();
    double values[N], sum = 0, last_bound = 0;
    uint64_t seed = 7;
    int n_bounds = 0;
    (void)state;
    for (int i = 0; i < N; i++) { /* every fourth is a power of two of microseconds, which bounds are */
        values[i] = i % 4 ? pow(10, -6 + 9 * next_random(&seed)) : ldexp(1e-6, i / 4 % 30);
        sum += values[i];
        metrics_observe(m, METRIC_STAGE_SECONDS, METRIC_STAGE_QUEUE, values[i]);
    }
    struct exposition *e = write_and_read(m);
    for (int i = 0; i < e->n; i++) {
        const struct sample *s = &e->samples[i];
        if (strcmp(s->name, "inline_stage_seconds_bucket") != 0 || strcmp(s->labels, "stage=\"queue\"") != 0)
            continue;
        double bound = read_value(s->le);
        assert_true(bound > last_bound);
        last_bound = bound;
        int n_below = 0;
        for (int k = 0; k < N; k++) n_below += values[k] <= bound * (1 + 1e-12);
        assert_value(s->value, n_below);
        n_bounds++;
    }
    assert_true(isinf(last_bound));
    assert_int_equal(n_bounds, 22);
    assert_value(value_of(e, "inline_stage_seconds_count", "stage=\"queue\""), N);
    assert_true(fabs(value_of(e, "inline_stage_seconds_sum", "stage=\"queue\"") - sum) < N * 1e-9);
    assert_non_null(find_sample(e, "inline_stage_seconds_bucket", "stage=\"queue\"", "0.001024"));
    assert_value(find_sample(e, "inline_stage_seconds_bucket", "stage=\"post\"", "+Inf")->value, 0);
    mem_free(e);
    metrics_free(&m);
}

/* The quantiles of windows are those that metrics_figure tells, of what was seen in them. */
static void test_window_families(void **state)
{
    struct metrics *m = metrics_new();
    struct metrics_figure f;
    (void)state;
    metrics_roll(m, 500 * S_NS);
    for (int i = 1; i <= 100; i++) metrics_observe(m, METRIC_REQUEST_SECONDS, METRIC_ANSWER_CACHED, i * 1e-3);
    metrics_observe(m, METRIC_FIRST_TOKEN_SECONDS, 0, 0.25);
    metrics_roll(m, 501 * S_NS);
    metrics_roll(m, 700 * S_NS);
    struct exposition *e = write_and_read(m);
    assert_string_equal(type_of(e, "inline_request_window_seconds"), "summary");
    metrics_figure(m, METRIC_REQUEST_SECONDS, METRIC_ANSWER_CACHED, METRICS_QUARTER, &f);
    assert_true(fabs(f.p95 - 0.095) < 0.00095);
    static const char day[] = "answer=\"cached\",window=\"24h\",quantile=\"0.99\"";
    static const char quarter[] = "answer=\"cached\",window=\"15m\",quantile=\"0.95\"";
    static const char minute[] = "answer=\"cached\",window=\"1m\",quantile=\"0.5\"";
    static const char none[] = "answer=\"computed\",window=\"24h\",quantile=\"0.5\"";
    assert_value(value_of(e, "inline_request_window_seconds", quarter), f.p95);
    assert_value(value_of(e, "inline_request_window_seconds", day), f.p99);
    assert_null(find_sample(e, "inline_request_window_seconds", minute, "")); /* that was longer ago */
    assert_null(find_sample(e, "inline_request_window_seconds", none, ""));
    assert_true(fabs(value_of(e, "inline_first_token_window_seconds", "window=\"15m\",quantile=\"0.5\"") -
                     0.25) < 0.0025);
    mem_free(e);
    metrics_free(&m);
}

static void test_promtool(void **state)
{
    struct metrics *m = busy_metrics();
    struct buf out;
    char said[4096];
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0) {
        metrics_free(&m);
        skip();
    }
    char path[] = "/tmp/test_metrics_XXXXXX", command[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    buf_init(&out, 1 << 20);
    metrics_write(m, &out);
    FILE *file = fdopen(fd, "w");
    assert_int_equal(fwrite(out.data, 1, out.len, file), out.len);
    assert_int_equal(fclose(file), 0);
    snprintf(command, sizeof command, "promtool check metrics < %s 2>&1", path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    said[fread(said, 1, sizeof said - 1, pipe)] = '\0';
    int status = pclose(pipe);
    remove(path);
    assert_string_equal(said, ""); /* no complaint of any kind */
    assert_int_equal(status, 0);
    buf_clear(&out);
    metrics_free(&m);
}

/* --- JSON ---------------------------------------------------------------------------------------------- */

static json_object *parse(struct buf *text)
{
    enum json_tokener_error error;
    assert_int_equal(text->err, OK);
    json_object *o = json_tokener_parse_verbose(buf_str(text), &error);
    assert_int_equal(error, json_tokener_success);
    assert_non_null(o);
    buf_clear(text);
    return o;
}

static json_object *member(json_object *o, const char *key)
{
    json_object *found = NULL;
    json_object_object_get_ex(o, key, &found);
    return found;
}

static json_object *write_windowed(const struct metrics *m, enum metrics_window w,
                                   void (*write)(const struct metrics *m, enum metrics_window w,
                                                 struct json *j))
{
    struct buf out;
    struct json j;
    buf_init(&out, 1 << 22);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    write(m, w, &j);
    json_end_object(&j);
    return parse(&out);
}

static double number(json_object *o, const char *key)
{
    json_object *value = member(o, key);
    assert_true(json_object_is_type(value, json_type_double) || json_object_is_type(value, json_type_int));
    return json_object_get_double(value);
}

static void assert_near(double told, double exact)
{
    assert_true(fabs(told - exact) <= 1e-5 * fabs(exact));
}

static void test_figures(void **state)
{
    struct metrics *m = busy_metrics();
    (void)state;
    json_object *all = write_windowed(m, METRICS_MINUTE, metrics_write_figures);
    assert_int_equal(json_object_object_length(all), METRIC_N);
    for (int i = 0; i < METRIC_N; i++) {
        enum metric_id id = (enum metric_id)i;
        json_object *row = member(all, metric_table[i].name);
        assert_int_equal(json_object_object_length(row), metrics_n_labels(m, id));
        for (int k = 0; k < metrics_n_labels(m, id) && metric_table[i].values; k++) {
            struct metrics_figure f;
            metrics_figure(m, id, k, METRICS_MINUTE, &f);
            if (metric_table[i].kind == METRIC_GAUGE) {
                assert_value(number(row, metrics_label_text(m, id, k)), f.sum);
                continue;
            }
            json_object *o = member(row, metrics_label_text(m, id, k));
            assert_value(number(o, "n"), (double)f.n);
            assert_near(number(o, "per_second"), f.per_second);
            if (metric_table[i].kind == METRIC_COUNTER) continue;
            assert_near(number(o, "mean"), f.mean);
            assert_near(number(o, "p50"), f.p50);
            assert_near(number(o, "p95"), f.p95);
            assert_near(number(o, "p99"), f.p99);
            assert_near(number(o, "max"), f.max);
        }
    }
    json_object_put(all);
    metrics_roll(m, 5000 * S_NS); /* the minute is empty again */
    all = write_windowed(m, METRICS_MINUTE, metrics_write_figures);
    assert_int_equal(json_object_object_length(member(all, "inline_requests_total")), 0);
    assert_int_equal(json_object_object_length(member(all, "inline_stage_seconds")), 0);
    assert_int_equal(json_object_object_length(member(all, "inline_memory_bytes")), METRIC_N_MEMORY);
    json_object_put(all);
    metrics_free(&m);
}

static json_object *at(json_object *o, const char *key, size_t i)
{
    json_object *array = member(o, key);
    assert_true(json_object_is_type(array, json_type_array));
    assert_int_equal(json_object_array_length(array), 30);
    return json_object_array_get_idx(array, i);
}

static void test_history(void **state)
{
    struct metrics *m = metrics_new();
    (void)state;
    metrics_roll(m, 500 * S_NS);
    metrics_set(m, METRIC_MODELS_LOADED, 0, 2);
    metrics_add(m, METRIC_CACHE_HITS, 1, 5);
    metrics_observe(m, METRIC_STAGE_SECONDS, METRIC_STAGE_DECODE, 0.3);
    metrics_observe(m, METRIC_STAGE_SECONDS, METRIC_STAGE_DECODE, 0.1);
    metrics_roll(m, 502 * S_NS);
    metrics_add(m, METRIC_CACHE_HITS, 1, 7);
    metrics_roll(m, 506 * S_NS);
    json_object *all = write_windowed(m, METRICS_MINUTE, metrics_write_history);
    json_object *hits = member(member(all, "inline_cache_hits_total"), "typed");
    assert_int_equal(json_object_object_length(member(all, "inline_cache_hits_total")), 1);
    assert_int_equal(json_object_get_int(at(hits, "n", 29)), 7);
    assert_int_equal(json_object_get_int(at(hits, "n", 28)), 0);
    assert_int_equal(json_object_get_int(at(hits, "n", 27)), 5);
    json_object *decode = member(member(all, "inline_stage_seconds"), "decode");
    assert_int_equal(json_object_get_int(at(decode, "n", 27)), 2);
    assert_near(json_object_get_double(at(decode, "sum", 27)), 0.4);
    assert_true(fabs(json_object_get_double(at(decode, "p50", 27)) - 0.1) < 0.001);
    assert_true(fabs(json_object_get_double(at(decode, "p95", 27)) - 0.3) < 0.003);
    assert_true(fabs(json_object_get_double(at(decode, "p99", 27)) - 0.3) < 0.003);
    assert_null(at(decode, "p50", 29)); /* a quantile of nothing */
    assert_int_equal(json_object_get_int(at(decode, "n", 29)), 0);
    json_object *models = member(member(all, "inline_models_loaded"), "");
    assert_null(at(models, "value", 25)); /* before the daemon was there */
    assert_near(json_object_get_double(at(models, "value", 26)) + 1, 1);
    for (size_t i = 27; i < 30; i++) assert_near(json_object_get_double(at(models, "value", i)), 2);
    json_object_put(all);
    for (int w = METRICS_MINUTE; w <= METRICS_ALL; w++)
        json_object_put(write_windowed(m, (enum metrics_window)w, metrics_write_history));
    metrics_free(&m);
}

static void test_table(void **state)
{
    struct buf out;
    struct json j;
    (void)state;
    buf_init(&out, 1 << 18);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    metric_table_write(&j);
    json_end_object(&j);
    json_object *all = parse(&out), *rows = member(all, "metrics"), *targets = member(all, "targets");
    assert_int_equal(json_object_array_length(rows), METRIC_N);
    json_object *row = json_object_array_get_idx(rows, METRIC_STAGE_SECONDS);
    assert_string_equal(json_object_get_string(member(row, "name")), "inline_stage_seconds");
    assert_string_equal(json_object_get_string(member(row, "kind")), "histogram");
    assert_string_equal(json_object_get_string(member(row, "unit")), "seconds");
    assert_string_equal(json_object_get_string(member(row, "label")), "stage");
    assert_int_equal(json_object_array_length(targets), metric_n_targets);
    json_object *target = json_object_array_get_idx(targets, 0);
    assert_string_equal(json_object_get_string(member(target, "name")), "cached");
    assert_string_equal(json_object_get_string(member(target, "metric")), "inline_request_seconds");
    assert_string_equal(json_object_get_string(member(target, "label")), "cached");
    assert_string_equal(json_object_get_string(member(target, "figure")), "p50");
    assert_near(number(target, "value"), 0.1);
    assert_false(json_object_get_boolean(member(target, "at_least")));
    json_object_put(all);
}

/* --- Documentation ------------------------------------------------------------------------------------- */

/* docs/metrics.md is what the table says; with INLINE_WRITE_DOCS=1 in the environment it is written anew. */
static void test_documentation(void **state)
{
    static const char path[] = FIXTURES "/../../docs/metrics.md";
    struct buf out;
    (void)state;
    buf_init(&out, 1 << 18);
    metric_table_write_markdown(&out);
    assert_int_equal(out.err, OK);
    FILE *file = fopen(path, getenv("INLINE_WRITE_DOCS") ? "w+" : "r");
    if (!file) fail_msg("%s is missing: run this test with INLINE_WRITE_DOCS=1", path);
    if (getenv("INLINE_WRITE_DOCS")) {
        assert_int_equal(fwrite(out.data, 1, out.len, file), out.len);
        rewind(file);
    }
    char *written = mem_try(out.len + 2, 1);
    assert_non_null(written);
    size_t len = fread(written, 1, out.len + 1, file);
    fclose(file);
    if (len != out.len || memcmp(written, out.data, len) != 0)
        fail_msg("%s is not what the table says: run this test with INLINE_WRITE_DOCS=1", path);
    mem_free(written);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),           cmocka_unit_test(test_exposition),
        cmocka_unit_test(test_exposed_buckets), cmocka_unit_test(test_window_families),
        cmocka_unit_test(test_promtool),        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_history),         cmocka_unit_test(test_table),
        cmocka_unit_test(test_documentation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

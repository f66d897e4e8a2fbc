/* watch/journal.c: the ring, its ids and names, who is told of records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/json_read.h"
#include "os/usage.h"
#include "watch/journal.h"

static struct journal_record record(uint64_t id)
{
    return (struct journal_record){.id = id, .at_us = (int64_t)id * 1000, .total_ms = (float)id};
}

static void add(struct journal *j, uint64_t id)
{
    struct journal_record r = record(id);
    journal_add(j, &r);
}

static void test_ring(void **state)
{
    (void)state;
    struct journal *j = journal_new(3);
    assert_int_equal(journal_n(j), 0);
    assert_null(journal_at(j, 0));
    assert_null(journal_find(j, 0));
    assert_null(journal_find(j, 1));
    add(j, 0); /* no record */
    assert_int_equal(journal_n(j), 0);
    static const uint64_t ended[] = {2, 1, 3, 5, 4}; /* requests end in another order than they come in */
    for (size_t i = 0; i < 5; i++) {
        add(j, ended[i]);
        assert_int_equal(journal_at(j, 0)->id, ended[i]);
        assert_int_equal(journal_n(j), i < 3 ? (int)i + 1 : 3);
    }
    assert_int_equal(journal_at(j, 1)->id, 5);
    assert_int_equal(journal_at(j, 2)->id, 3);
    assert_null(journal_at(j, 3));
    assert_null(journal_at(j, -1));
    assert_null(journal_find(j, 2));
    assert_null(journal_find(j, 1));
    assert_null(journal_find(j, 0));
    assert_float_equal(journal_find(j, 3)->total_ms, 3, 0);
    journal_free(&j);
    assert_null(j);
    journal_free(&j);
}

static void test_ids(void **state)
{
    (void)state;
    struct journal *j = journal_new(4);
    assert_int_equal(journal_id(j), 1);
    assert_int_equal(journal_id(j), 2);
    journal_continue(j, 4811);
    assert_int_equal(journal_id(j), 4812);
    journal_continue(j, 7); /* never back */
    assert_int_equal(journal_id(j), 4813);
    journal_free(&j);
}

static void test_stops(void **state)
{
    (void)state;
    static const char *const stops[] = {"eog",  "limit", "word",   "suffix", "repetition", "line",
                                        "unit", "block", "indent", "time",   "cancelled"};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++)
        assert_string_equal(journal_stop_name(journal_stop(stops[i])), stops[i]);
    assert_int_equal(journal_stop(""), -1);
    assert_int_equal(journal_stop(NULL), -1);
    assert_int_equal(journal_stop("none of these"), -1);
    assert_string_equal(journal_stop_name(-1), "");
    assert_string_equal(journal_stop_name(127), "");
    assert_string_equal(journal_stop_name(-128), "");
}

static void test_models(void **state)
{
    (void)state;
    struct journal *j = journal_new(4);
    char name[2 * JOURNAL_NAME_MAX];
    assert_int_equal(journal_model(j, ""), 0);
    assert_int_equal(journal_model(j, NULL), 0);
    assert_string_equal(journal_model_name(j, 0), "");
    uint8_t a = journal_model(j, "a"), b = journal_model(j, "b");
    assert_true(a != b && a != 0 && b != 0);
    assert_int_equal(journal_model(j, "a"), a);
    assert_string_equal(journal_model_name(j, a), "a");

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    uint8_t cut = journal_model(j, name);
    assert_int_equal(strlen(journal_model_name(j, cut)), JOURNAL_NAME_MAX - 1);
    assert_int_equal(journal_model(j, name), cut);

    /* More names than there are numbers: the one not used for longest goes, and its records have no name
     * rather than another one's. */
    struct journal_record of_b = record(1), of_a = record(2);
    of_b.model = b;
    of_a.model = a;
    journal_add(j, &of_b);
    journal_add(j, &of_a);
    for (int i = 0; i < 253; i++) {
        snprintf(name, sizeof name, "model %d", i);
        assert_int_not_equal(journal_model(j, name), 0);
        assert_int_equal(journal_model(j, "a"), a);
    }
    assert_string_equal(journal_model_name(j, a), "a");
    assert_int_equal(journal_find(j, 1)->model, 0);
    assert_int_equal(journal_find(j, 2)->model, a);
    assert_int_equal(journal_model(j, "model 252"), b);
    journal_free(&j);
}

struct told {
    int n;
    struct journal_record last;
    char model[JOURNAL_NAME_MAX];
};

static void on_record(void *ctx, const struct journal_record *r, const char *model)
{
    struct told *t = ctx;
    t->n++;
    t->last = *r;
    snprintf(t->model, sizeof t->model, "%s", model);
}

static void test_tell(void **state)
{
    (void)state;
    struct told told = {0};
    struct journal *j = journal_new(2);
    struct journal_record r = record(1);
    r.model = journal_model(j, "qwen");
    journal_on_record(j, on_record, &told);
    journal_add(j, &r);
    assert_int_equal(told.n, 1);
    assert_memory_equal(&told.last, &r, sizeof r);
    assert_string_equal(told.model, "qwen");

    journal_tell(j, 1, JOURNAL_SHOWN);
    assert_int_equal(told.n, 2);
    assert_int_equal(told.last.fate, JOURNAL_SHOWN);
    journal_tell(j, 1, JOURNAL_SHOWN); /* as it was */
    assert_int_equal(told.n, 2);
    journal_tell(j, 1, JOURNAL_ACCEPTED);
    assert_int_equal(journal_find(j, 1)->fate, JOURNAL_ACCEPTED);
    journal_tell(j, 2, JOURNAL_SHOWN); /* nobody */
    journal_tell(j, 0, JOURNAL_SHOWN);
    assert_int_equal(told.n, 3);
    add(j, 2);
    add(j, 3); /* 1 is no more */
    journal_tell(j, 1, JOURNAL_DISMISSED);
    assert_int_equal(told.n, 5);
    journal_on_record(j, NULL, NULL);
    add(j, 4);
    assert_int_equal(told.n, 5);
    journal_free(&j);
}

static int64_t resident(void)
{
    struct usage u;
    usage_self(&u);
    return u.rss_anon_bytes;
}

static void test_memory(void **state)
{
    (void)state;
    struct journal *untouched = journal_new(0);
    int64_t before = resident();
    struct journal *j = journal_new(0);
    if (before > 0) assert_true(resident() - before < 100000); /* 0: the system does not tell */
    assert_true(journal_memory(j) < 50000);
    for (uint64_t id = 1; id <= 2 * JOURNAL_RECORDS; id++) add(j, id);
    assert_int_equal(journal_n(j), JOURNAL_RECORDS);
    assert_int_equal(journal_at(j, JOURNAL_RECORDS - 1)->id, JOURNAL_RECORDS + 1);
    assert_in_range(journal_memory(j), JOURNAL_RECORDS * sizeof(struct journal_record), 1500000);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (before > 0) assert_in_range(resident() - before, 1000000, 1500000);
#endif
    journal_free(&j);
    journal_free(&untouched);
}

static void test_write(void **state)
{
    (void)state;
    struct buf out;
    struct json json;
    struct json_value *v;
    struct errmsg msg;
    int64_t n;
    struct journal_record r = {.id = 4812, .at_us = 1795476192123456, .total_ms = 184.25f, .n_prompt = 1024};
    r.break_part = JOURNAL_PART_PREFIX;
    r.outcome = 0;
    r.api = METRIC_API_LSP;
    r.priority = 1;
    r.source = r.miss = r.quiet = r.error = r.stop = -1;
    r.fate = JOURNAL_PARTLY;
    buf_init(&out, 65536);
    for (int i = 0; i < 2; i++) {
        json_init(&json, &out);
        json_begin_object(&json, NULL);
        journal_write(&r, "qwen \"2\"", &json);
        json_end_object(&json);
        assert_int_equal(json_read(buf_str(&out), out.len, &v, &msg), OK);
        assert_true(json_get_int(json_get(v, "id"), &n));
        assert_int_equal(n, 4812);
        assert_true(json_get_int(json_get(v, "at_ms"), &n));
        assert_int_equal(n, 1795476192123);
        assert_string_equal(json_get_str(json_get(v, "model"), NULL), "qwen \"2\"");
        assert_string_equal(json_get_str(json_get(v, "quiet"), NULL), "");
        if (i == 0) {
            assert_string_equal(json_get_str(json_get(v, "outcome"), NULL), "ok");
            assert_string_equal(json_get_str(json_get(v, "api"), NULL), "lsp");
            assert_string_equal(json_get_str(json_get(v, "priority"), NULL), "typing");
            assert_string_equal(json_get_str(json_get(v, "break_part"), NULL), "prefix");
            assert_string_equal(json_get_str(json_get(v, "fate"), NULL), "partly");
        } else {
            assert_string_equal(json_get_str(json_get(v, "outcome"), NULL), "");
            assert_string_equal(json_get_str(json_get(v, "priority"), NULL), "");
            assert_string_equal(json_get_str(json_get(v, "fate"), NULL), "");
        }
        json_read_free(&v);
        buf_reset(&out);
        /* What a damaged file may hold. */
        r.outcome = r.api = r.priority = r.stop = 99;
        r.fate = r.break_part = 99;
    }
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ring),  cmocka_unit_test(test_ids),
                                       cmocka_unit_test(test_stops), cmocka_unit_test(test_models),
                                       cmocka_unit_test(test_tell),  cmocka_unit_test(test_memory),
                                       cmocka_unit_test(test_write)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Recommending models: facts of the catalogue, estimates from a machine's speed, the choice, and the
 * languages of a folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/buf.h"
#include "cli/project_languages.h"
#include "cli/recommend.h"
#include "cli/speed.h"
#include "os/clock.h"
#include "os/file.h"

/* --- The catalogue -------------------------------------------------------------------------------------- */

static void test_facts(void **state)
{
    const struct catalogue_entry *e;
    bool has_rank[64] = {false};
    (void)state;
    for (int32_t i = 0; (e = catalogue_at(i)); i++) {
        const struct catalogue_facts *f = &e->facts;
        assert_true(f->n_active > 0 && f->n_active <= f->n_params);
        /* Blocks are most of every model. */
        assert_true(catalogue_embeddings(e) * (f->is_tied ? 1 : 2) < f->n_active / 2);
        assert_true(f->n_layers > 0 && f->n_kv_heads > 0 && f->head_dim > 0 && f->n_ctx >= 2048);
        assert_true(f->is_4_bit ? f->bits > 4 && f->bits < 7 : f->bits == 8.5);
        assert_true(f->licence && *f->licence);
        assert_in_range(f->rank, 1, 63);
        if (has_rank[f->rank]) fail_msg("%s: rank %d is taken", e->name, f->rank);
        has_rank[f->rank] = true;
    }
    /* Known: the Q8_0 files of Qwen2.5-Coder have 531 MB and 1.65 GB. */
    assert_in_range(catalogue_bytes(catalogue_find("qwen2.5-coder-0.5b")), 515000000, 540000000);
    assert_in_range(catalogue_bytes(catalogue_find("qwen2.5-coder-1.5b")), 1600000000, 1700000000);
    assert_int_equal(catalogue_kv_bytes(catalogue_find("qwen2.5-coder-0.5b")), 24 * 2 * 64 * 4);
}

/* --- Estimates ------------------------------------------------------------------------------------------ */

/* A machine that reads gb_s and multiplies `billions` of pairs in a second. */
static struct speed machine(double gb_s, double billions)
{
    double one = 8.5 / 8 / gb_s;
    return (struct speed){.n_threads = 4,
                          .read_gb_s = gb_s,
                          .products_s = billions * 1e9,
                          .q8_0 = {one, one > 8 / billions ? one : 8 / billions, 1 / billions},
                          .q4_k = {one / 2, one > 8 / billions ? one / 2 : 8 / billions, 1 / billions}};
}

static void test_estimate(void **state)
{
    struct speed slow = machine(10, 100), fast = machine(50, 1000);
    struct recommend_row small, large, here, sparse;
    (void)state;
    recommend_estimate(catalogue_find("qwen2.5-coder-0.5b"), &slow, &small);
    /* Half a billion weights of 8.5 bits at 10 GB/s: 52 ms a token, and a little for all else. */
    assert_true(small.token_ms > 50 && small.token_ms < 62);
    assert_true(small.suggestion_ms > 16 * small.token_ms && small.suggestion_ms < 18 * small.token_ms);
    /* 1,500 tokens through 358 million weights at 100 billion a second: 5.4 s. */
    assert_true(small.first_ms > 5400 && small.first_ms < 7500);
    assert_in_range(small.needed_bytes, small.file_bytes + 150000000, small.file_bytes + 300000000);

    recommend_estimate(catalogue_find("qwen2.5-coder-7b"), &slow, &large);
    assert_true(large.suggestion_ms > 10 * small.suggestion_ms);
    recommend_estimate(catalogue_find("qwen2.5-coder-0.5b"), &fast, &here);
    assert_true(here.suggestion_ms < small.suggestion_ms / 4);

    /* Of a mixture of experts one token reads a tenth, several read more of it. */
    recommend_estimate(catalogue_find("qwen3-coder-30b-a3b"), &slow, &sparse);
    assert_true(sparse.token_ms < large.token_ms);
    assert_true(sparse.suggestion_ms - 16 * sparse.token_ms > 5 * sparse.token_ms);
}

/* --- The choice ----------------------------------------------------------------------------------------- */

static void choose(struct recommendation *r, struct speed speed, int64_t memory, const char *language)
{
    *r = (struct recommendation){.speed = speed, .memory_bytes = memory};
    if (language) {
        r->project.n = 1;
        r->project.list[0].name = language;
        r->project.n_files = r->project.list[0].n_files = 10;
    }
    recommend_choose(r, FIXTURES "/nothing");
    for (int32_t i = 1; i < r->n; i++) assert_true(r->rows[i - 1].verdict <= r->rows[i].verdict);
}

static const struct recommend_row *find(const struct recommendation *r, const char *name)
{
    for (int32_t i = 0; i < r->n; i++) {
        if (strcmp(r->rows[i].entry->name, name) == 0) return &r->rows[i];
    }
    fail_msg("%s is not listed", name);
    return NULL;
}

static void test_choice(void **state)
{
    struct recommendation r;
    (void)state;
    choose(&r, machine(80, 2000), 16000000000, NULL); /* a good desktop */
    assert_string_equal(r.best->entry->name, "qwen2.5-coder-1.5b");
    assert_non_null(r.main);
    assert_true(r.main->entry->facts.rank < r.best->entry->facts.rank);
    assert_int_equal(r.main->verdict, RECOMMEND_ASKED);
    assert_int_equal(find(&r, "qwen3-coder-30b-a3b")->verdict, RECOMMEND_TOO_LARGE);

    choose(&r, machine(80, 2000), 1500000000, NULL); /* the same, without memory */
    assert_string_equal(r.best->entry->name, "qwen2.5-coder-0.5b");
    assert_null(r.main);

    choose(&r, machine(5, 40), 16000000000, NULL); /* too slow for all that was made for code: the fastest */
    assert_string_equal(r.best->entry->name, "qwen2.5-coder-0.5b");
    assert_int_not_equal(r.best->verdict, RECOMMEND_TYPING);

    choose(&r, machine(80, 2000), 500000000, NULL); /* there is no room for it */
    assert_string_equal(r.best->entry->name, "smollm2-135m");

    choose(&r, machine(80, 2000), 50000000, NULL);
    assert_null(r.best);
    assert_null(r.main);

    choose(&r, machine(1000, 100000), 64000000000, NULL); /* what does not exist yet */
    assert_string_equal(r.best->entry->name, "qwen3-coder-30b-a3b");
}

static void test_languages_count(void **state)
{
    struct recommendation r;
    (void)state;
    choose(&r, machine(80, 2000), 16000000000, "ocaml");
    assert_true(find(&r, "starcoder2-3b")->is_foreign);
    assert_false(find(&r, "granite-code-3b")->is_foreign);
    choose(&r, machine(80, 2000), 16000000000, "kotlin");
    assert_false(find(&r, "starcoder2-3b")->is_foreign);
    assert_true(find(&r, "mellum-4b")->is_strong);
    choose(&r, machine(80, 2000), 16000000000, "c"); /* is not csharp, nor part of another word */
    assert_false(find(&r, "mellum-4b")->is_strong);
    assert_false(find(&r, "starcoder2-3b")->is_foreign);
}

static void test_text(void **state)
{
    struct recommendation r;
    struct buf out;
    (void)state;
    buf_init(&out, 1 << 16);
    choose(&r, machine(80, 2000), 16000000000, NULL);
    recommend_add_choice(&r, &out);
    assert_non_null(strstr(buf_str(&out), "inline model pull qwen2.5-coder-1.5b\n"));
    assert_non_null(strstr(buf_str(&out), "instant = qwen2.5-coder-1.5b\n"));
    buf_reset(&out);
    choose(&r, machine(80, 2000), 50000000, NULL);
    recommend_add_choice(&r, &out);
    assert_non_null(strstr(buf_str(&out), "No model of the catalogue fits into 50 MB"));
    buf_clear(&out);
}

/* --- The machine ---------------------------------------------------------------------------------------- */

static void test_speed(void **state)
{
    struct speed s;
    struct errmsg msg = {0};
    (void)state;
    assert_int_equal(speed_measure(1, NULL, &s, &msg), OK);
    assert_int_equal(s.n_threads, 1);
    assert_true(strlen(s.isa) > 0);
    assert_true(s.read_gb_s > 0.01 && s.read_gb_s < 10000);
    assert_true(s.products_s > 1e6);
    assert_true(s.q8_0.one > 0 && s.q4_k.one > 0 && s.q4_k.many > 0);
    assert_true(s.q8_0.eight >= s.q8_0.one / 2 && s.q8_0.many <= s.q8_0.eight);
    assert_int_equal(speed_measure(1, "sse9", &s, &msg), ERR_UNSUPPORTED);
}

/* --- Folders -------------------------------------------------------------------------------------------- */

static void put(const char *root, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(file_write(path, text, strlen(text), NULL), OK);
}

static void make(const char *root, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void test_project_languages(void **state)
{
    char root[] = "/tmp/inline-test-XXXXXX", command[64];
    struct project_languages p;
    (void)state;
    assert_non_null(mkdtemp(root));
    make(root, "src");
    make(root, "build");
    make(root, ".hidden");
    put(root, ".gitignore", "build/\n*.gen.py\n");
    put(root, "src/a.c", "");
    put(root, "src/b.c", "");
    put(root, "src/a.h", "");
    put(root, "tool.py", "");
    put(root, "out.gen.py", "");
    put(root, "build/made.rs", "");
    put(root, ".hidden/x.go", "");
    put(root, "README.md", "");
    put(root, "data.json", "");
    project_languages_count(root, &p);
    assert_int_equal(p.n, 2);
    assert_string_equal(p.list[0].name, "c");
    assert_int_equal(p.list[0].n_files, 3);
    assert_string_equal(p.list[1].name, "python");
    assert_int_equal(p.list[1].n_files, 1);
    assert_int_equal(p.n_files, 4);
    assert_false(p.is_partial);
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
    project_languages_count(root, &p);
    assert_int_equal(p.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_languages_count),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_speed),
        cmocka_unit_test(test_project_languages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

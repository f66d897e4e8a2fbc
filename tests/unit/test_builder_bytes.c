/* The context of a model whose tokenizer is elsewhere: tokens are estimated from bytes, and all is as with a
 * tokenizer otherwise: the same kinds of pieces, a budget that holds, a window that stays while one types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "complete/remote_prompt.h"
#include "context/builder.h"
#include "context/choose.h"
#include "context/documents.h"
#include "context/fim.h"
#include "support/fixture_tokenizer.h"

#define TOKENS   1024
#define CODE_MAX ((size_t)1 << 20)

struct world {
    struct documents *docs;
    struct context_input in;
    struct context c;
};

static void start(struct world *w, const struct tokenizer *t)
{
    *w = (struct world){.docs = documents_new()};
    w->in = (struct context_input){.docs = w->docs, .tokenizer = t, .max_tokens = TOKENS};
}

static struct open_document *open_as(struct world *w, const char *path, const char *text)
{
    struct errmsg msg;
    if (documents_open(w->docs, path, path, NULL, 1, text, strlen(text), &msg)) fail_msg("%s", msg.text);
    return documents_find(w->docs, path);
}

static void build(struct world *w, struct open_document *doc, size_t cursor)
{
    struct errmsg msg = {0};
    w->in.doc = doc;
    w->in.cursor = cursor;
    if (context_build(&w->in, &w->c, &msg)) fail_msg("%s", msg.text);
}

static size_t find(const struct open_document *doc, const char *text)
{
    const char *at = strstr(doc->text.bytes, text);
    if (!at) fail_msg("no \"%s\"", text);
    return (size_t)(at - doc->text.bytes);
}

static char *many_functions(const char *name, int n)
{
    struct buf b;
    buf_init(&b, CODE_MAX);
    buf_add_str(&b, "#include \"common.h\"\n\n");
    for (int i = 0; i < n; i++) {
        buf_printf(&b,
                   "/* Notes on %s%d. */\nint %s%d(int first, int second)\n{\n    int sum = first;\n"
                   "    if (second > %d) sum += second;\n    return sum;\n}\n\n",
                   name, i, name, i, i);
    }
    return buf_take(&b);
}

static void estimates_are_of_bytes(void **state)
{
    (void)state;
    int32_t n = -1;
    assert_int_equal(choose_count_tokens(NULL, "", 0, &n), OK);
    assert_int_equal(n, 0);
    assert_int_equal(choose_count_tokens(NULL, "abcd", 4, &n), OK);
    assert_int_equal(n, 2);
    assert_int_equal(choose_count_tokens(NULL, "abcdef", 6, &n), OK);
    assert_int_equal(n, 2);
}

static void pieces_are_chosen_without_a_tokenizer(void **state)
{
    (void)state;
    struct world w;
    start(&w, NULL);
    open_as(&w, "src/widget.c",
            "/* Changes the size. */\nint widget_resize(struct widget *w, int width)\n{\n    return 0;\n}\n");
    char *code = many_functions("other", 60);
    struct open_document *doc = open_as(&w, "src/caller.c", code);
    size_t at = find(doc, "int other40");
    assert_int_equal(documents_splice(w.docs, doc, at, at, "widget_resize();\n", 17), OK);
    build(&w, doc, at + 14);
    bool is_defined = false, has_imports = false;
    for (int32_t i = 0; i < w.c.n_pieces; i++) {
        const struct context_piece *p = &w.c.pieces[i];
        is_defined = is_defined || (p->kind == CONTEXT_DEFINITION &&
                                    memmem(p->text, p->len, "int widget_resize(struct widget *w", 34));
        has_imports = has_imports || p->kind == CONTEXT_IMPORT;
        assert_int_equal(p->n_tokens, (p->len + 2) / 3);
    }
    assert_true(is_defined && has_imports && w.c.lead_len > 0);
    w.in.is_window_only = true;
    build(&w, doc, at + 14);
    assert_int_equal(w.c.n_pieces, 0);
    mem_free(code);
    documents_free(&w.docs);
}

static bool has(const char *text, size_t len, const char *what, size_t what_len)
{
    return what_len == 0 || memmem(text, len, what, what_len);
}

static bool shows_all(const struct remote_ask *ask, const struct context *c)
{
    const char *before = ask->is_fim ? ask->prefix : ask->prompt;
    const char *after = ask->is_fim ? ask->suffix : ask->prompt;
    size_t before_len = ask->is_fim ? ask->prefix_len : ask->prompt_len;
    size_t after_len = ask->is_fim ? ask->suffix_len : ask->prompt_len;
    bool shows =
        has(before, before_len, c->prefix, c->prefix_len) && has(after, after_len, c->suffix, c->suffix_len);
    for (int32_t i = 0; i < c->n_files; i++) {
        const struct fim_file *f = &c->files[i];
        bool is_apart = ask->n_files == c->n_files && strcmp(ask->files[i].path, f->path) == 0 &&
                        has(ask->files[i].text, ask->files[i].text_len, f->text, f->text_len);
        shows = shows && (is_apart || has(before, before_len, f->text, f->text_len));
    }
    return shows;
}

/* Type a few functions into the middle of a large file. Returns how often the window was chosen anew; *n_cut:
 * how often the prompt does not show all of it. */
static int type_functions(const struct tokenizer *t, const char *fim, bool takes_files, int *n_cut)
{
    struct world w;
    struct remote_traits traits = {.takes_files = takes_files};
    int n_anchored = 0;
    start(&w, t);
    char *code = many_functions("other", 200), *near = many_functions("near", 20);
    open_as(&w, "src/near.c", near);
    struct open_document *doc = open_as(&w, "src/caller.c", code);
    size_t at = find(doc, "int other100");
    *n_cut = 0;
    for (int i = 0; i < 6000; i++) {
        static const char typed[] =
            "int added(int first)\n{\n    return near3(first, 1) + other7(2, first);\n}\n\n";
        assert_int_equal(documents_splice(w.docs, doc, at, at, &typed[i % (sizeof typed - 1)], 1), OK);
        build(&w, doc, ++at);
        n_anchored += w.c.is_anchored_anew;
        assert_true(w.c.n_files > 0);
        struct prompt_input in = {.before = w.c.prefix,
                                  .before_len = w.c.prefix_len,
                                  .after = w.c.suffix,
                                  .after_len = w.c.suffix_len,
                                  .path = w.c.path,
                                  .files = w.c.files,
                                  .n_files = w.c.n_files};
        struct remote_prompt p;
        struct remote_ask ask;
        assert_int_equal(remote_prompt_build(fim, &traits, &in, TOKENS, &p, &ask, NULL), OK);
        *n_cut += !shows_all(&ask, &w.c);
        remote_prompt_clear(&p);
    }
    mem_free(code);
    mem_free(near);
    documents_free(&w.docs);
    return n_anchored;
}

static void the_window_stays_while_one_types(void **state)
{
    (void)state;
    struct fixture_tokenizer l = fixture_tokenizer_load("qwen2");
    int n_cut;
    int n_with = type_functions(l.t, "qwen", false, &n_cut);
    int n_without = type_functions(NULL, "qwen", false, &n_cut);
    if (n_without > n_with + 1) fail_msg("chosen %d times, with a tokenizer %d", n_without, n_with);
    assert_int_equal(n_cut, 0); /* what was chosen fits, names of special tokens included */
    assert_int_equal(type_functions(NULL, "server", true, &n_cut), n_without);
    assert_int_equal(n_cut, 0);
    assert_int_equal(type_functions(NULL, "server", false, &n_cut), n_without);
    assert_int_equal(n_cut, 0);
    fixture_tokenizer_clear(&l);
}

/* Nothing to count, no text to count in. */
static void small_budgets_and_empty_documents(void **state)
{
    (void)state;
    struct world w;
    start(&w, NULL);
    char *code = many_functions("other", 50);
    struct open_document *empty = open_as(&w, "", ""), *doc = open_as(&w, "src/caller.c", code);
    build(&w, empty, 9);
    assert_int_equal(w.c.prefix_len, 0);
    for (int32_t max = 1; max < 4096; max *= 2) {
        w.in.max_tokens = max;
        build(&w, doc, find(doc, "int other25"));
        size_t len = w.c.prefix_len + w.c.suffix_len;
        for (int32_t i = 0; i < w.c.n_files; i++) len += w.c.files[i].text_len;
        if (max >= 128) assert_true(len <= (size_t)max * FIM_BYTES_PER_TOKEN_MIN);
        assert_true(w.c.prefix_len > 0);
    }
    mem_free(code);
    documents_free(&w.docs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimates_are_of_bytes),
        cmocka_unit_test(pieces_are_chosen_without_a_tokenizer),
        cmocka_unit_test(the_window_stays_while_one_types),
        cmocka_unit_test(small_budgets_and_empty_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

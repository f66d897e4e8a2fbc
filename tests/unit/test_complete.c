/* The completion pipeline on a tiny model of random weights: what it writes is noise, but the same noise
 * every time. The stop rules have a test of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "complete/complete.h"
#include "model/model.h"

#define TEXT_MAX ((size_t)1 << 20)

struct bench {
    struct model *model;
    struct engine *engine;
    struct engine_seq *seq;
    struct fim fim;
};

static int set_up(void **state)
{
    static struct bench b;
    struct errmsg msg = {0};
    struct engine_options options = {.n_threads = 1};
    if (model_open(FIXTURES "/models/llama.gguf", &b.model, &msg) ||
        engine_open(b.model, &options, &b.engine, &msg) || engine_seq_open(b.engine, 0, &b.seq, &msg)) {
        print_error("%s\n", msg.text);
        return -1;
    }
    fim_detect(b.model, &b.fim);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    engine_seq_close(&b->seq);
    engine_close(&b->engine);
    model_unref(&b->model);
    return 0;
}

static struct complete_request request_at(const char *text, size_t cursor)
{
    return (struct complete_request){
        .text = text, .len = strlen(text), .cursor = cursor, .max_tokens = 24, .sampling = SAMPLER_GREEDY};
}

static struct complete_result run(struct bench *b, const struct complete_request *r, struct buf *out)
{
    struct complete_result result;
    struct errmsg msg = {0};
    buf_init(out, TEXT_MAX);
    if (complete_run(b->seq, &b->fim, r, out, &result, &msg)) fail_msg("%s", msg.text);
    assert_int_equal(utf8_valid_len(buf_str(out), out->len), out->len);
    return result;
}

static const char source[] =
    "int max(int a, int b)\n{\n    return \n}\n\nint main(void)\n{\n    return max(1, 2);\n}\n";
#define CURSOR 35 /* after "return " */

struct stream {
    struct buf text;
    int n_calls, n_allowed;
};

static bool on_text(void *ctx, const char *text, size_t len)
{
    struct stream *s = ctx;
    assert_true(len > 0);
    assert_int_equal(utf8_valid_len(text, len), len);
    buf_add(&s->text, text, len);
    return ++s->n_calls < s->n_allowed;
}

static void test_prompt_and_reuse(void **state)
{
    struct bench *b = *state;
    assert_string_equal(b->fim.family, "qwen");
    struct complete_request r = request_at(source, CURSOR);
    struct buf first, second;
    struct complete_result result = run(b, &r, &first);
    struct fim_input in = {.prefix = source,
                           .prefix_len = CURSOR,
                           .suffix = source + CURSOR,
                           .suffix_len = strlen(source) - CURSOR};
    struct token_list prompt = {0};
    assert_int_equal(fim_build(&b->fim, b->model, &in, 200, NULL, &prompt, NULL), OK);
    assert_int_equal(result.engine.n_prompt, prompt.n);
    assert_true(result.engine.n_generated == 24 || result.stop != COMPLETE_LIMIT);
    assert_true(first.len > 0);
    /* The same request again: the same text, from a prompt that is known. */
    result = run(b, &r, &second);
    assert_true(result.engine.reuse.n_reused >= prompt.n - 1);
    assert_string_equal(buf_str(&first), buf_str(&second));
    token_list_clear(&prompt);
    buf_clear(&first);
    buf_clear(&second);
}

static void test_stream_is_result(void **state)
{
    struct bench *b = *state;
    for (size_t cursor = 0; cursor <= strlen(source); cursor++) {
        struct stream s = {.n_allowed = 1000};
        buf_init(&s.text, TEXT_MAX);
        struct complete_request r = request_at(source, cursor);
        struct buf whole, streamed;
        (void)run(b, &r, &whole);
        r.on_text = on_text;
        r.ctx = &s;
        (void)run(b, &r, &streamed);
        assert_string_equal(buf_str(&whole), buf_str(&streamed));
        assert_string_equal(buf_str(&whole), buf_str(&s.text));
        buf_clear(&whole);
        buf_clear(&streamed);
        buf_clear(&s.text);
    }
}

static void test_out_is_appended_to(void **state)
{
    struct bench *b = *state;
    struct complete_request r = request_at(source, CURSOR);
    struct complete_result result;
    struct buf alone, out;
    (void)run(b, &r, &alone);
    buf_init(&out, TEXT_MAX);
    buf_add_str(&out, "kept:");
    assert_int_equal(complete_run(b->seq, &b->fim, &r, &out, &result, NULL), OK);
    assert_memory_equal(out.data, "kept:", 5);
    assert_string_equal(out.data + 5, buf_str(&alone));
    buf_clear(&alone);
    buf_clear(&out);
}

static void test_cancel(void **state)
{
    struct bench *b = *state;
    struct complete_request r = request_at("a text that was not computed before\n", 20);
    atomic_bool cancel;
    atomic_init(&cancel, true);
    r.cancel = &cancel;
    struct buf out;
    struct complete_result result = run(b, &r, &out);
    assert_int_equal(result.stop, COMPLETE_CANCELLED);
    assert_int_equal(out.len, 0);
    buf_clear(&out);
}

static void test_refused(void **state)
{
    struct bench *b = *state;
    struct stream s = {.n_allowed = 2};
    buf_init(&s.text, TEXT_MAX);
    struct complete_request r = request_at(source, CURSOR);
    r.on_text = on_text;
    r.ctx = &s;
    struct buf out;
    struct complete_result result = run(b, &r, &out);
    assert_int_equal(result.stop, COMPLETE_CANCELLED);
    assert_int_equal(s.n_calls, 2);
    assert_string_equal(buf_str(&out), buf_str(&s.text)); /* no more than was shown */
    buf_clear(&out);
    buf_clear(&s.text);
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++) n++;
    return n;
}

/* The same document with '\r\n': the same prompt, and the same suggestion but for its line ends. */
static void test_crlf(void **state)
{
    struct bench *b = *state;
    char crlf[2 * sizeof source], expected[4096];
    size_t cursors[2 * sizeof source], n = 0;
    for (size_t i = 0; source[i]; i++) {
        cursors[i] = n;
        if (source[i] == '\n') crlf[n++] = '\r';
        crlf[n++] = source[i];
    }
    crlf[n] = '\0';
    for (size_t i = 0; source[i]; i++) {
        struct complete_request lf_request = request_at(source, i),
                                crlf_request = request_at(crlf, cursors[i]);
        struct buf lf, got;
        struct complete_result lf_result = run(b, &lf_request, &lf),
                               crlf_result = run(b, &crlf_request, &got);
        assert_int_equal(lf_result.engine.n_prompt, crlf_result.engine.n_prompt);
        assert_int_equal(lf_result.stop, crlf_result.stop);
        size_t len = 0;
        for (size_t j = 0; j < lf.len; j++) {
            if (lf.data[j] == '\n') expected[len++] = '\r';
            expected[len++] = lf.data[j];
        }
        expected[len] = '\0';
        assert_string_equal(buf_str(&got), expected);
        assert_int_equal(count(buf_str(&got), "\n"), count(buf_str(&got), "\r\n"));
        buf_clear(&lf);
        buf_clear(&got);
    }
    /* Between '\r' and '\n' is the end of the line. */
    struct complete_request before = request_at(crlf, cursors[21]),
                            inside = request_at(crlf, cursors[21] + 1);
    assert_int_equal(crlf[cursors[21]], '\r');
    struct buf one, two;
    (void)run(b, &before, &one);
    (void)run(b, &inside, &two);
    assert_string_equal(buf_str(&one), buf_str(&two));
    buf_clear(&one);
    buf_clear(&two);
}

static void test_limits(void **state)
{
    struct bench *b = *state;
    struct complete_result result;
    struct errmsg msg = {0};
    struct buf out;
    buf_init(&out, TEXT_MAX);
    struct complete_request r = request_at(source, CURSOR);
    static const int32_t bad[] = {0, -1, 256, INT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        r.max_tokens = bad[i];
        msg.text[0] = '\0';
        assert_int_equal(complete_run(b->seq, &b->fim, &r, &out, &result, &msg), ERR_LIMIT);
        assert_non_null(strstr(msg.text, "256"));
    }
    r.max_tokens = 254; /* leaves two tokens for a prompt that needs three and text */
    assert_int_equal(complete_run(b->seq, &b->fim, &r, &out, &result, &msg), ERR_LIMIT);
    assert_int_equal(out.len, 0);
    r.max_tokens = 1;
    assert_int_equal(complete_run(b->seq, &b->fim, &r, &out, &result, &msg), OK);
    assert_int_equal(result.engine.n_generated, 1);
    r.max_prompt_tokens = 20;
    assert_int_equal(complete_run(b->seq, &b->fim, &r, &out, &result, &msg), OK);
    assert_true(result.engine.n_prompt <= 20);
    r.sampling.top_p = 7;
    assert_int_equal(complete_run(b->seq, &b->fim, &r, &out, &result, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "top-p"));
    buf_clear(&out);
}

/* Long documents and odd ones, at every kind of place. */
static void test_documents(void **state)
{
    struct bench *b = *state;
    struct buf text, out;
    buf_init(&text, TEXT_MAX);
    for (int i = 0; i < 10000; i++) buf_printf(&text, "caf\xc3\xa9_%d = %d;\r\n", i, i);
    for (size_t i = 0; i <= 16; i++) {
        size_t cursor = text.len / 16 * i;
        while (cursor < text.len && ((unsigned char)text.data[cursor] & 0xc0) == 0x80) cursor++;
        struct complete_request r = request_at(text.data, cursor);
        struct complete_result result = run(b, &r, &out);
        assert_true(result.engine.n_prompt > 30 && result.engine.n_prompt <= 256 - 24);
        buf_clear(&out);
    }
    buf_clear(&text);
    static const char *const odd[] = {"", "\n", "\r\n", "\r", " ", "\t\n", "<|fim_middle|>", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct complete_request r = request_at(odd[i], strlen(odd[i]));
        (void)run(b, &r, &out);
        buf_clear(&out);
    }
}

static void test_prefix_only(void **state)
{
    struct bench *b = *state;
    struct fim fim = b->fim;
    b->fim.order = FIM_PREFIX_ONLY;
    b->fim.n_ends = 0;
    struct buf out;
    struct complete_request r = request_at(source, CURSOR);
    struct complete_result result = run(b, &r, &out);
    struct token_list prompt = {0}; /* the text before the cursor without the last space */
    assert_int_equal(tokenizer_encode(b->model->tokenizer, source, CURSOR - 1, 0, &prompt), OK);
    assert_int_equal(result.engine.n_prompt, prompt.n);
    token_list_clear(&prompt);
    buf_clear(&out);
    b->fim = fim;
}

static void test_stop_names(void **state)
{
    (void)state;
    assert_string_equal(complete_stop_name(COMPLETE_EOG), "eog");
    assert_string_equal(complete_stop_name(COMPLETE_LIMIT), "limit");
    assert_string_equal(complete_stop_name(COMPLETE_SUFFIX), "suffix");
    assert_string_equal(complete_stop_name(COMPLETE_REPETITION), "repetition");
    assert_string_equal(complete_stop_name(COMPLETE_BLOCK), "block");
    assert_string_equal(complete_stop_name(COMPLETE_CANCELLED), "cancelled");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt_and_reuse),
        cmocka_unit_test(test_stream_is_result),
        cmocka_unit_test(test_out_is_appended_to),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_crlf),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_prefix_only),
        cmocka_unit_test(test_stop_names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

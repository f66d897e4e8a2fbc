/* The fields of the HTTP dialects: aliases, bounds, nulls, and what is said of a field of the wrong kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "serve/api_params.h"

/* A body and what was read from it. */
struct reading {
    struct json_value *body;
    struct api_params p;
    struct errmsg msg;
    enum err err;
};

static void open_body(struct reading *r, const char *text)
{
    *r = (struct reading){0};
    api_params_init(&r->p);
    assert_int_equal(json_read(text, strlen(text), &r->body, &r->msg), OK);
}

static void read_fields(struct reading *r, const char *text)
{
    open_body(r, text);
    r->err = api_params_fields(&r->p, r->body, &r->msg);
}

static void close_body(struct reading *r)
{
    api_params_clear(&r->p);
    json_read_free(&r->body);
}

static void test_defaults(void **state)
{
    (void)state;
    struct reading r;
    read_fields(&r, "{\"unknown\":[1,{}],\"temperature\":null,\"stop\":null,\"n\":null,\"samplers\":null}");
    assert_int_equal(r.err, OK);
    const struct service_request *q = &r.p.request;
    assert_string_equal(q->model, "");
    assert_string_equal(q->document, "");
    assert_int_equal(q->priority, SERVICE_TYPING);
    assert_int_equal(q->max_tokens, -1);
    assert_int_equal(q->n_candidates, 1);
    assert_int_equal(q->n_stops, 0);
    assert_true(q->sampling.temperature == 0);
    assert_true(q->sampling.top_p == 1);
    assert_true(q->predict_ms_after_newline);
    assert_false(q->sampling.infill);
    assert_false(r.p.is_stream);
    assert_int_equal(r.p.id_slot, -1);
    close_body(&r);
}

static void test_llama_vim(void **state)
{
    (void)state;
    struct reading r;
    read_fields(&r, "{\"id_slot\":0,\"n_predict\":128,\"stop\":[],\"n_indent\":4,\"top_k\":40,\"top_p\":0.90,"
                    "\"samplers\":[\"top_k\",\"top_p\",\"infill\"],\"stream\":false,\"cache_prompt\":true,"
                    "\"t_max_prompt_ms\":500,\"t_max_predict_ms\":250,\"model\":\"\"}");
    assert_int_equal(r.err, OK);
    const struct service_request *q = &r.p.request;
    assert_int_equal(r.p.id_slot, 0);
    assert_int_equal(q->max_tokens, 128);
    assert_int_equal(q->n_indent, 4);
    assert_int_equal(q->sampling.top_k, 40);
    assert_true(q->sampling.top_p == 0.9f);
    assert_true(q->sampling.infill);
    assert_true(q->max_prompt_ms == 500);
    assert_true(q->max_predict_ms == 250);
    close_body(&r);
}

static void test_aliases(void **state)
{
    (void)state;
    static const char *const BODIES[] = {"{\"n_predict\":7,\"n_cmpl\":3}", "{\"max_tokens\":7,\"n\":3}",
                                         "{\"max_completion_tokens\":7.0,\"n\":3.0}",
                                         "{\"num_predict\":7,\"n\":null,\"n_cmpl\":3}"};
    for (size_t i = 0; i < sizeof BODIES / sizeof *BODIES; i++) {
        struct reading r;
        read_fields(&r, BODIES[i]);
        assert_int_equal(r.err, OK);
        assert_int_equal(r.p.request.max_tokens, 7);
        assert_int_equal(r.p.request.n_candidates, 3);
        close_body(&r);
    }
}

/* Beyond its range a number is the nearest in it: what the sampler would refuse never reaches it. */
static void test_bounds(void **state)
{
    (void)state;
    struct reading r;
    read_fields(&r, "{\"n\":700,\"n_predict\":-2,\"temperature\":-1,\"top_k\":-1,\"top_p\":0,\"min_p\":9,"
                    "\"repeat_penalty\":0,\"repeat_last_n\":-1,\"seed\":-1,\"t_max_predict_ms\":-1}");
    assert_int_equal(r.err, OK);
    const struct service_request *q = &r.p.request;
    assert_int_equal(q->n_candidates, SERVICE_CANDIDATES_MAX);
    assert_int_equal(q->max_tokens, -1);
    assert_true(q->sampling.temperature == 0);
    assert_int_equal(q->sampling.top_k, 0);
    assert_true(q->sampling.top_p > 0 && q->sampling.top_p <= 1);
    assert_true(q->sampling.min_p == 1);
    assert_true(q->sampling.repeat_penalty > 0);
    assert_int_equal(q->sampling.repeat_last_n, 0);
    assert_true(q->sampling.seed == 0);
    assert_true(q->max_predict_ms == 0);
    close_body(&r);

    read_fields(&r, "{\"n\":-5,\"max_tokens\":1e300,\"temperature\":1e999,\"seed\":9223372036854775807}");
    assert_int_equal(r.err, OK);
    assert_int_equal(r.p.request.n_candidates, 1);
    assert_in_range(r.p.request.max_tokens, 1, INT32_MAX / 2);
    assert_true(r.p.request.sampling.temperature == 100);
    assert_true(r.p.request.sampling.seed == INT64_MAX);
    close_body(&r);
}

static void test_wrong_kinds(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        {"{\"top_k\":\"40\"}", "\"top_k\" must be a whole number, but is a string"},
        {"{\"temperature\":true}", "\"temperature\" must be a number, but is true or false"},
        {"{\"stream\":1}", "\"stream\" must be true or false, but is a number"},
        {"{\"model\":{}}", "\"model\" must be a string, but is an object"},
        {"{\"stop\":7}", "\"stop\" must be a string or a list of strings, but is a number"},
        {"{\"stop\":[\"a\",[]]}", "\"stop\" must be a list of strings only, but is a list"},
        {"{\"samplers\":{}}", "\"samplers\" must be a list of strings, but is an object"},
        {"{\"samplers\":[1]}", "\"samplers\" must be a list of strings only, but is a number"},
        {"{\"priority\":\"now\"}", "\"priority\" must be \"asked\", \"typing\" or \"prefetch\""},
        {"{\"seed\":[]}", "\"seed\" must be a whole number, but is a list"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct reading r;
        read_fields(&r, CASES[i][0]);
        assert_int_equal(r.err, ERR_ARG);
        assert_string_equal(r.msg.text, CASES[i][1]);
        close_body(&r);
    }
}

static void test_stops(void **state)
{
    (void)state;
    struct reading r;
    read_fields(&r, "{\"stop\":\"\\n\\n\"}");
    assert_int_equal(r.p.request.n_stops, 1);
    assert_memory_equal(r.p.request.stops[0].text, "\n\n", 2);
    assert_int_equal(r.p.request.stops[0].len, 2);
    close_body(&r);

    read_fields(&r, "{\"stop\":[\"\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\",\"l\","
                    "\"m\",\"n\",\"o\",\"p\",\"q\",\"r\"]}");
    assert_int_equal(r.err, OK);
    assert_int_equal(r.p.request.n_stops, SERVICE_STOPS_MAX);
    assert_string_equal(r.p.request.stops[0].text, "a");
    close_body(&r);
}

static void test_priority(void **state)
{
    (void)state;
    struct reading r;
    read_fields(&r, "{\"priority\":\"prefetch\"}");
    api_params_settle(&r.p, "", "");
    assert_int_equal(r.p.request.priority, SERVICE_PREFETCH);
    close_body(&r);

    /* A warm-up has no time limits: llama.vim's 1 ms would forbid it. */
    read_fields(&r, "{\"n_predict\":0,\"t_max_prompt_ms\":1,\"t_max_predict_ms\":1}");
    api_params_settle(&r.p, "", "");
    assert_int_equal(r.p.request.priority, SERVICE_WARMUP);
    assert_true(r.p.request.max_prompt_ms == 0 && r.p.request.max_predict_ms == 0);
    close_body(&r);
}

static void test_place(void **state)
{
    (void)state;
    struct reading r;
    open_body(&r, "{\"input_prefix\":\"a\\u0000b\\n\",\"prompt\":\"  x = \",\"input_suffix\":\"\\ny\"}");
    assert_int_equal(api_params_place(&r.p, r.body, "input_prefix", "prompt", "input_suffix", &r.msg), OK);
    assert_int_equal(r.p.request.len, 12);
    assert_int_equal(r.p.request.cursor, 10);
    assert_memory_equal(r.p.request.text, "a\0b\n  x = \ny", 13);
    close_body(&r);

    open_body(&r, "{}");
    assert_int_equal(api_params_place(&r.p, r.body, "input_prefix", "prompt", "input_suffix", &r.msg), OK);
    assert_non_null(r.p.request.text);
    assert_int_equal(r.p.request.len, 0);
    close_body(&r);

    open_body(&r, "{\"prompt\":[1]}");
    assert_int_equal(api_params_place(&r.p, r.body, "input_prefix", "prompt", "input_suffix", &r.msg),
                     ERR_ARG);
    assert_string_equal(r.msg.text, "\"prompt\" must be a string, but is a list");
    close_body(&r);
}

static void test_prompt(void **state)
{
    (void)state;
    struct reading r;
    static const char *const TEXTS[] = {"{\"prompt\":\"ab\"}", "{\"prompt\":[\"ab\"]}"};
    for (size_t i = 0; i < 2; i++) {
        open_body(&r, TEXTS[i]);
        assert_int_equal(api_params_prompt(&r.p, r.body, "prompt", &r.msg), OK);
        assert_null(r.p.request.text);
        assert_int_equal(r.p.request.prompt_len, 2);
        assert_memory_equal(r.p.request.prompt, "ab", 2);
        close_body(&r);
    }
    open_body(&r, "{\"prompt\":[3,1,99999999999,-4]}");
    assert_int_equal(api_params_prompt(&r.p, r.body, "prompt", &r.msg), OK);
    assert_int_equal(r.p.request.n_tokens, 4);
    assert_int_equal(r.p.request.tokens[0], 3);
    assert_int_equal(r.p.request.tokens[2], INT32_MAX);
    assert_int_equal(r.p.request.tokens[3], INT32_MAX);
    close_body(&r);

    static const char *const WRONG[] = {"{}",
                                        "{\"prompt\":null}",
                                        "{\"prompt\":[\"a\",\"b\"]}",
                                        "{\"prompt\":[1,\"b\"]}",
                                        "{\"prompt\":{}}",
                                        "{\"prompt\":[[1]]}"};
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        open_body(&r, WRONG[i]);
        assert_int_equal(api_params_prompt(&r.p, r.body, "prompt", &r.msg), ERR_ARG);
        assert_non_null(strstr(r.msg.text, "\"prompt\""));
        close_body(&r);
    }
}

static void test_files(void **state)
{
    (void)state;
    struct reading r;
    open_body(
        &r, "{\"a\":[{\"text\":\"1\",\"filename\":\"f\",\"time\":[1,2]}],\"b\":[{\"text\":\"22\"}],\"c\":[7],"
            "\"d\":{},\"e\":[{\"text\":1}]}");
    assert_int_equal(api_params_files(&r.p, r.body, "a", "filename", "text", &r.msg), OK);
    assert_int_equal(api_params_files(&r.p, r.body, "b", "filename", "text", &r.msg), OK);
    assert_int_equal(api_params_files(&r.p, r.body, "absent", "filename", "text", &r.msg), OK);
    assert_int_equal(r.p.request.n_files, 2);
    assert_string_equal(r.p.request.files[0].path, "f");
    assert_string_equal(r.p.request.files[1].path, "file");
    assert_int_equal(r.p.request.files[1].text_len, 2);
    assert_int_equal(api_params_files(&r.p, r.body, "c", "filename", "text", &r.msg), ERR_ARG);
    assert_string_equal(r.msg.text, "\"c\" must be a list of objects only, but is a number");
    assert_int_equal(api_params_files(&r.p, r.body, "d", "filename", "text", &r.msg), ERR_ARG);
    assert_int_equal(api_params_files(&r.p, r.body, "e", "filename", "text", &r.msg), ERR_ARG);
    close_body(&r);
}

/* Of very many files the nearest, which are the last, count. */
static void test_many_files(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_add_str(&text, "{\"a\":[");
    for (int i = 0; i < API_FILES_MAX + 10; i++) buf_printf(&text, "%s{\"text\":\"%d\"}", i ? "," : "", i);
    buf_add_str(&text, "]}");
    struct reading r;
    open_body(&r, buf_str(&text));
    assert_int_equal(api_params_files(&r.p, r.body, "a", "filename", "text", &r.msg), OK);
    assert_int_equal(r.p.request.n_files, API_FILES_MAX);
    assert_string_equal(r.p.request.files[0].text, "10");
    close_body(&r);
    buf_clear(&text);
}

/* Everything that tells clients apart changes the name, and no part of it is in the name. */
static void test_client(void **state)
{
    (void)state;
    static const char *const PARTS[][3] = {{"{}", "", ""},
                                           {"{}", "Bearer secret", ""},
                                           {"{}", "", "vim"},
                                           {"{\"id_slot\":1}", "", ""},
                                           {"{\"user\":\"x\"}", "", ""},
                                           {"{}", "vim", ""}};
    enum { N = sizeof PARTS / sizeof *PARTS };
    char names[N][32];
    for (size_t i = 0; i < N; i++) {
        struct reading r;
        read_fields(&r, PARTS[i][0]);
        api_params_settle(&r.p, PARTS[i][1], PARTS[i][2]);
        strcpy(names[i], r.p.request.client);
        assert_null(strstr(names[i], "secret"));
        for (size_t k = 0; k < i; k++) assert_string_not_equal(names[i], names[k]);
        close_body(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_llama_vim),   cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_bounds),   cmocka_unit_test(test_wrong_kinds), cmocka_unit_test(test_stops),
        cmocka_unit_test(test_priority), cmocka_unit_test(test_place),       cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_files),    cmocka_unit_test(test_many_files),  cmocka_unit_test(test_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is asked of model servers, field by field; and what their answers say, after samples of each
 * (fixtures/remote/README.md). What is learned of their models is test_dialect_learn.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "os/file.h"
#include "remote/dialect.h"
#include "remote/stream.h"

#define GREEDY ((struct remote_sampling){.top_p = 1, .repeat_penalty = 1})

static void read_fixture(const char *name, struct buf *out)
{
    char path[512];
    struct errmsg msg;
    (void)snprintf(path, sizeof path, "%s/remote/%s", FIXTURES, name);
    buf_init(out, 1 << 20);
    assert_int_equal(file_read(path, out, &msg), OK);
}

/* Names and URLs. */

static void test_names(void **state)
{
    (void)state;
    static const char *const paths[] = {"/v1/models", "/health", "/api/version"};
    for (int i = 0; i < REMOTE_N_APIS; i++) {
        enum remote_api api = REMOTE_N_APIS;
        assert_true(dialect_api(dialect_api_name((enum remote_api)i), &api));
        assert_int_equal(api, i);
        assert_string_equal(dialect_probe_path(api), paths[i]);
    }
    enum remote_api api = REMOTE_LLAMA;
    assert_false(dialect_api("OpenAI", &api));
    assert_false(dialect_api("", &api));
    assert_int_equal(api, REMOTE_LLAMA);
    assert_string_equal(dialect_api_name(REMOTE_OPENAI), "openai");
    assert_string_equal(dialect_api_name(REMOTE_LLAMA), "llama");
    assert_string_equal(dialect_api_name(REMOTE_OLLAMA), "ollama");
}

static void check_url(const char *base, const char *path, const char *url)
{
    struct buf out;
    buf_init(&out, 1024);
    dialect_url(base, path, &out);
    assert_string_equal(buf_str(&out), url);
    buf_clear(&out);
}

static void test_urls(void **state)
{
    (void)state;
    check_url("http://h:8000", "/v1/models", "http://h:8000/v1/models");
    check_url("http://h:8000/", "/v1/models", "http://h:8000/v1/models");
    check_url("http://h:8000/v1", "/v1/models", "http://h:8000/v1/models");
    check_url("https://h/v1//", "/v1/completions", "https://h/v1/completions");
    check_url("https://h/llm/v1/", "/v1/fim/completions", "https://h/llm/v1/fim/completions");
    check_url("https://h/gpu/", "/infill", "https://h/gpu/infill");
    check_url("https://h/v1", "/health", "https://h/v1/health");
    check_url("https://h/nov1", "/v1/models", "https://h/nov1/v1/models");
    check_url("", "/v1/models", "/v1/models");
}

/* Requests. */

struct request {
    const char *path;
    struct buf body;
    struct json_value *root;
};

static void write_request(struct request *r, enum remote_api api, const struct remote_traits *t,
                          const struct remote_ask *ask)
{
    struct errmsg msg;
    buf_init(&r->body, 1 << 20);
    r->path = dialect_write(api, t, ask, &r->body);
    assert_non_null(r->path);
    assert_int_equal(json_read(buf_str(&r->body), r->body.len, &r->root, &msg), OK);
}

static void request_clear(struct request *r)
{
    json_read_free(&r->root);
    buf_clear(&r->body);
}

static bool name_field(void *ctx, const char *key, const struct json_value *v)
{
    (void)v;
    buf_printf(ctx, "%s ", key);
    return true;
}

/* The names of an object's members, in their order: a field too many is an error too. */
static void check_fields(const struct json_value *object, const char *names)
{
    struct buf out;
    buf_init(&out, 4096);
    json_each(object, name_field, &out);
    assert_string_equal(buf_str(&out), names);
    buf_clear(&out);
}

static void check_str(const struct json_value *object, const char *key, const char *value)
{
    size_t len;
    const char *s = json_get_str(json_get(object, key), &len);
    assert_non_null(s);
    assert_string_equal(s, value);
    assert_int_equal(len, strlen(value));
}

static void check_num(const struct json_value *object, const char *key, double value)
{
    double n;
    assert_true(json_get_num(json_get(object, key), &n));
    assert_true(n > value - 1e-4 && n < value + 1e-4);
}

static void check_flag(const struct json_value *object, const char *key, bool value)
{
    bool flag;
    assert_true(json_get_flag(json_get(object, key), &flag));
    assert_int_equal(flag, value);
}

static void check_json(const struct json_value *object, const char *key, const char *json)
{
    struct buf out;
    buf_init(&out, 4096);
    json_write_value(json_get(object, key), &out);
    assert_string_equal(buf_str(&out), json);
    buf_clear(&out);
}

static const struct remote_stop_word stops[] = {{"\n\n", 2}, {"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}};

/* The hole of a function, greedy, with everything that may be left out left out. */
static struct remote_ask fim_ask(void)
{
    return (struct remote_ask){
        .is_fim = true,
        .prefix = "int f(int \"x\")\n{\n    return ",
        .prefix_len = 28,
        .suffix = ";\n}\n",
        .suffix_len = 4,
        .sampling = GREEDY,
        .max_tokens = 64,
    };
}

static struct remote_ask text_ask(const char *prompt)
{
    return (struct remote_ask){
        .prompt = prompt, .prompt_len = strlen(prompt), .sampling = GREEDY, .max_tokens = 64};
}

static void make_random(struct remote_ask *ask)
{
    ask->sampling = (struct remote_sampling){.temperature = 0.5F,
                                             .top_p = 0.95F,
                                             .min_p = 0.05F,
                                             .repeat_penalty = 1.1F,
                                             .top_k = 40,
                                             .seed = UINT64_C(0x123456789abcdef0)};
}

#define SEED 0x1abcdef0 /* 31 bits of the above */

static void test_llama_infill(void **state)
{
    (void)state;
    static const struct remote_traits t = {.is_known = true, .has_fim = true};
    static const struct remote_file files[] = {{"a.c", "int a;\n", 7}, {NULL, "int b;", 6}};
    struct remote_ask ask = fim_ask();
    struct request r;
    ask.files = files;
    ask.n_files = 2;
    write_request(&r, REMOTE_LLAMA, &t, &ask);
    assert_string_equal(r.path, "/infill");
    check_fields(r.root,
                 "input_prefix input_suffix input_extra prompt n_predict stream cache_prompt samplers "
                 "temperature repeat_penalty top_k ");
    check_str(r.root, "input_prefix", "int f(int \"x\")\n{\n    return ");
    check_str(r.root, "input_suffix", ";\n}\n");
    check_str(r.root, "prompt", "");
    check_json(r.root, "input_extra",
               "[{\"filename\":\"a.c\",\"text\":\"int a;\\n\"},{\"filename\":\"\",\"text\":\"int b;\"}]");
    check_num(r.root, "n_predict", 64);
    check_flag(r.root, "stream", true);
    check_flag(r.root, "cache_prompt", true);
    /* Greedy, whatever the server's operator has set: no other sampler takes part. */
    check_json(r.root, "samplers", "[\"top_k\"]");
    check_num(r.root, "top_k", 1);
    check_num(r.root, "temperature", 0);
    check_num(r.root, "repeat_penalty", 1);
    request_clear(&r);
}

static void test_llama_completion(void **state)
{
    (void)state;
    static const struct remote_traits t = {.model = "coder"};
    struct remote_ask ask = text_ask("<PRE> \t\xff x");
    struct request r;
    make_random(&ask);
    ask.stops = stops;
    ask.n_stops = 5;
    ask.wants_logprobs = true;
    write_request(&r, REMOTE_LLAMA, &t, &ask);
    assert_string_equal(r.path, "/completion");
    check_fields(r.root,
                 "model prompt n_predict stream cache_prompt samplers temperature repeat_penalty top_k "
                 "top_p min_p seed stop n_probs ");
    check_str(r.root, "model", "coder");
    check_str(r.root, "prompt", "<PRE> \t\xef\xbf\xbd x");
    check_json(r.root, "samplers", "[\"penalties\",\"top_k\",\"top_p\",\"min_p\",\"temperature\"]");
    check_num(r.root, "temperature", 0.5);
    check_num(r.root, "repeat_penalty", 1.1);
    check_num(r.root, "top_k", 40);
    check_num(r.root, "top_p", 0.95);
    check_num(r.root, "min_p", 0.05);
    check_num(r.root, "seed", SEED);
    check_json(r.root, "stop", "[\"\\n\\n\",\"a\",\"b\",\"c\",\"d\"]");
    check_num(r.root, "n_probs", 1);
    request_clear(&r);
}

static void test_llama_tokens_and_warmup(void **state)
{
    (void)state;
    static const struct remote_traits t = {0};
    static const int32_t tokens[] = {1, 151643, 0};
    struct remote_ask ask = text_ask("");
    struct request r;
    ask.max_tokens = 0;
    write_request(&r, REMOTE_LLAMA, &t, &ask);
    check_num(r.root, "n_predict", 0);
    check_str(r.root, "prompt", "\n");
    request_clear(&r);
    ask.tokens = tokens;
    ask.n_tokens = 3;
    write_request(&r, REMOTE_LLAMA, &t, &ask);
    check_json(r.root, "prompt", "[1,151643,0]");
    request_clear(&r);
}

/* Nothing that a strict server could refuse. */
static void test_openai_plain(void **state)
{
    (void)state;
    static const struct remote_traits t = {.model = "gpt"};
    struct remote_ask ask = text_ask("x = ");
    struct request r;
    write_request(&r, REMOTE_OPENAI, &t, &ask);
    assert_string_equal(r.path, "/v1/completions");
    check_fields(r.root, "model prompt max_tokens stream temperature stream_options ");
    check_str(r.root, "model", "gpt");
    check_str(r.root, "prompt", "x = ");
    check_num(r.root, "max_tokens", 64);
    check_flag(r.root, "stream", true);
    check_num(r.root, "temperature", 0);
    check_flag(json_get(r.root, "stream_options"), "include_usage", true);
    request_clear(&r);
}

static void test_openai_full(void **state)
{
    (void)state;
    static const struct remote_traits t = {0};
    struct remote_ask ask = fim_ask();
    struct request r;
    make_random(&ask);
    ask.stops = stops;
    ask.n_stops = 5;
    ask.wants_logprobs = true;
    write_request(&r, REMOTE_OPENAI, &t, &ask);
    assert_string_equal(r.path, "/v1/completions");
    check_fields(r.root,
                 "prompt suffix max_tokens stream temperature repetition_penalty top_p top_k min_p seed "
                 "stop logprobs stream_options ");
    check_str(r.root, "prompt", "int f(int \"x\")\n{\n    return ");
    check_str(r.root, "suffix", ";\n}\n");
    check_num(r.root, "temperature", 0.5);
    check_num(r.root, "repetition_penalty", 1.1);
    check_num(r.root, "top_p", 0.95);
    check_num(r.root, "top_k", 40);
    check_num(r.root, "min_p", 0.05);
    check_num(r.root, "seed", SEED);
    check_json(r.root, "stop", "[\"\\n\\n\",\"a\",\"b\",\"c\"]"); /* four are allowed */
    check_num(r.root, "logprobs", 1);
    request_clear(&r);
}

static void test_openai_tokens_and_warmup(void **state)
{
    (void)state;
    static const struct remote_traits t = {0};
    static const int32_t tokens[] = {5, 6};
    struct remote_ask ask = text_ask("");
    struct request r;
    ask.max_tokens = 0;
    write_request(&r, REMOTE_OPENAI, &t, &ask);
    check_num(r.root, "max_tokens", 1);
    check_str(r.root, "prompt", "\n");
    request_clear(&r);
    ask.tokens = tokens;
    ask.n_tokens = 2;
    write_request(&r, REMOTE_OPENAI, &t, &ask);
    check_json(r.root, "prompt", "[5,6]");
    request_clear(&r);
}

static void test_ollama_fim(void **state)
{
    (void)state;
    static const struct remote_traits t = {.has_fim = true, .model = "coder:7b", .n_ctx = 8192};
    struct remote_ask ask = fim_ask();
    struct request r;
    ask.stops = stops;
    ask.n_stops = 1;
    write_request(&r, REMOTE_OLLAMA, &t, &ask);
    assert_string_equal(r.path, "/api/generate");
    check_fields(r.root, "model prompt suffix stream options ");
    check_str(r.root, "model", "coder:7b");
    check_str(r.root, "prompt", "int f(int \"x\")\n{\n    return ");
    check_str(r.root, "suffix", ";\n}\n");
    check_flag(r.root, "stream", true);
    const struct json_value *o = json_get(r.root, "options");
    check_fields(o,
                 "num_predict num_ctx temperature repeat_penalty presence_penalty frequency_penalty stop ");
    check_num(o, "num_predict", 64);
    check_num(o, "num_ctx", 8192);
    check_num(o, "temperature", 0);
    check_num(o, "repeat_penalty", 1);
    check_num(o, "presence_penalty", 0);
    check_num(o, "frequency_penalty", 0);
    check_json(o, "stop", "[\"\\n\\n\"]");
    request_clear(&r);
}

/* At a text's ends: without a suffix the model would be taken to chat, without a prompt only be loaded. */
static void test_ollama_empty(void **state)
{
    (void)state;
    static const struct remote_traits t = {.has_fim = true, .model = "coder"};
    struct remote_ask ask = {.is_fim = true, .prefix = "", .suffix = "", .sampling = GREEDY};
    struct request r;
    write_request(&r, REMOTE_OLLAMA, &t, &ask);
    check_str(r.root, "prompt", "\n");
    check_str(r.root, "suffix", "\n");
    check_num(json_get(r.root, "options"), "num_predict", 1);
    assert_null(json_get(json_get(r.root, "options"), "num_ctx"));
    request_clear(&r);
}

static void test_ollama_raw(void **state)
{
    (void)state;
    static const struct remote_traits t = {.model = "coder"};
    static const int32_t tokens[] = {1};
    struct remote_ask ask = text_ask("<|fim_prefix|>x");
    struct request r;
    make_random(&ask);
    ask.wants_logprobs = true;
    write_request(&r, REMOTE_OLLAMA, &t, &ask);
    check_fields(r.root, "model prompt raw stream logprobs options ");
    check_str(r.root, "prompt", "<|fim_prefix|>x");
    check_flag(r.root, "raw", true);
    check_flag(r.root, "logprobs", true);
    const struct json_value *o = json_get(r.root, "options");
    check_fields(
        o, "num_predict temperature repeat_penalty presence_penalty frequency_penalty top_k top_p min_p "
           "seed ");
    check_num(o, "top_k", 40);
    check_num(o, "top_p", 0.95);
    check_num(o, "min_p", 0.05);
    check_num(o, "seed", SEED);
    request_clear(&r);
    ask.tokens = tokens;
    ask.n_tokens = 1;
    struct buf body;
    buf_init(&body, 4096);
    assert_null(dialect_write(REMOTE_OLLAMA, &t, &ask, &body));
    assert_int_equal(body.len, 0);
}

/* Answers. */

/* What a stream of events came to. */
struct answer {
    enum remote_api api;
    struct buf text;
    struct errmsg msg;
    enum err err;
    bool is_ended;
    enum remote_stop stop;
    int32_t n_tokens, n_logprobs, n_prompt, n_reused, n_generated;
    double logprob;
};

static bool on_event(void *ctx, const char *event, size_t len)
{
    struct answer *a = ctx;
    struct dialect_piece p;
    a->err = dialect_read(a->api, event, len, &a->text, &p, &a->msg);
    if (a->err) return false;
    a->n_tokens += p.n_tokens;
    a->n_logprobs += p.n_logprobs;
    a->logprob += p.logprob;
    if (p.n_prompt >= 0) a->n_prompt = p.n_prompt;
    if (p.n_reused >= 0) a->n_reused = p.n_reused;
    if (p.n_generated >= 0) a->n_generated = p.n_generated;
    if (p.is_last) a->is_ended = true, a->stop = p.stop;
    return true;
}

static void read_answer(enum remote_api api, const char *fixture, size_t piece, struct answer *a)
{
    struct buf bytes;
    struct stream s;
    *a = (struct answer){.api = api, .n_prompt = -1, .n_reused = -1, .n_generated = -1};
    buf_init(&a->text, 1 << 20);
    read_fixture(fixture, &bytes);
    enum stream_kind kind = api == REMOTE_OLLAMA ? STREAM_NDJSON : STREAM_SSE;
    stream_init(&s, strstr(fixture, "whole") ? STREAM_WHOLE : kind);
    for (size_t at = 0; at < bytes.len; at += piece) {
        size_t n = piece < bytes.len - at ? piece : bytes.len - at;
        assert_int_equal(stream_feed(&s, bytes.data + at, n, on_event, a), OK);
    }
    assert_int_equal(stream_end(&s, on_event, a), OK);
    stream_clear(&s);
    buf_clear(&bytes);
}

/* An answer in good order. */
struct expected {
    const char *fixture;
    enum remote_api api;
    const char *text;
    enum remote_stop stop;
    int32_t n_tokens, n_prompt, n_reused, n_generated, n_logprobs;
    double logprob;
};

static const struct expected answers[] = {
    {"vllm.txt", REMOTE_OPENAI, " left + right", REMOTE_STOP_EOG, 4, 120, 112, 4, 4, -1.0},
    {"vllm_word.txt", REMOTE_OPENAI, "x = 1", REMOTE_STOP_WORD, 1, 9, -1, 5, 0, 0},
    {"sglang.txt", REMOTE_OPENAI, " left + right", REMOTE_STOP_LIMIT, 3, 120, 96, 3, 3, -0.875},
    {"sglang_word.txt", REMOTE_OPENAI, "x = 1", REMOTE_STOP_WORD, 1, -1, -1, -1, 0, 0},
    {"tgi.txt", REMOTE_OPENAI, " left + right", REMOTE_STOP_WORD, 3, -1, -1, -1, 0, 0},
    {"llama_server.txt", REMOTE_LLAMA, " left + right", REMOTE_STOP_EOG, 3, 120, 112, 4, 3, -0.875},
    {"llama_server_2024.txt", REMOTE_LLAMA, "x", REMOTE_STOP_LIMIT, 1, 120, 112, 4, 0, 0},
    {"llama_server_openai.txt", REMOTE_OPENAI, " left", REMOTE_STOP_LIMIT, 1, 120, 112, 1, 1, -0.25},
    {"llama_cpp_python.txt", REMOTE_OPENAI, " left + right", REMOTE_STOP_EOG, 3, -1, -1, -1, 0, 0},
    {"llama_cpp_python_whole.json", REMOTE_OPENAI, " left + right", REMOTE_STOP_LIMIT, 3, 120, -1, 3, 3,
     -0.875},
    {"lm_studio.txt", REMOTE_OPENAI, " left + right", REMOTE_STOP_EOG, 3, 120, -1, 3, 0, 0},
    {"mistral.txt", REMOTE_OPENAI, " left + right", REMOTE_STOP_EOG, 2, 120, -1, 4, 0, 0},
    {"ollama.txt", REMOTE_OLLAMA, " left + right", REMOTE_STOP_EOG, 3, 120, -1, 4, 3, -0.875},
    {"ollama_length.txt", REMOTE_OLLAMA, "x", REMOTE_STOP_LIMIT, 1, 120, -1, 1, 0, 0},
};

static void check_answer(const struct expected *e, size_t piece)
{
    struct answer a;
    read_answer(e->api, e->fixture, piece, &a);
    assert_int_equal(a.err, OK);
    assert_true(a.is_ended);
    assert_string_equal(buf_str(&a.text), e->text);
    assert_int_equal(a.stop, e->stop);
    assert_int_equal(a.n_tokens, e->n_tokens);
    assert_int_equal(a.n_prompt, e->n_prompt);
    assert_int_equal(a.n_reused, e->n_reused);
    assert_int_equal(a.n_generated, e->n_generated);
    assert_int_equal(a.n_logprobs, e->n_logprobs);
    assert_true(a.logprob > e->logprob - 1e-6 && a.logprob < e->logprob + 1e-6);
    buf_clear(&a.text);
}

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        check_answer(&answers[i], 1);
        check_answer(&answers[i], 1000);
        check_answer(&answers[i], SIZE_MAX);
    }
}

/* Failures in mid-stream: what came before stays, what the server says is told. */
static void test_streamed_failures(void **state)
{
    (void)state;
    static const struct {
        const char *fixture, *says;
        enum remote_api api;
    } cases[] = {
        {"vllm_fails.txt", "the server failed: EngineCore encountered an issue.", REMOTE_OPENAI},
        {"sglang_fails.txt", "the server failed: Out of memory in the scheduler.", REMOTE_OPENAI},
        {"tgi_fails.txt",
         "the server failed: Request failed during generation: Server error: CUDA out of memory",
         REMOTE_OPENAI},
        {"llama_server_fails.txt", "the server failed: Invalid input batch.", REMOTE_LLAMA},
        {"llama_server_fails_2024.txt", "the server failed: Invalid input batch.", REMOTE_LLAMA},
        {"ollama_fails.txt", "the server failed: an error was encountered while running the model",
         REMOTE_OLLAMA},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a;
        read_answer(cases[i].api, cases[i].fixture, 1000, &a);
        assert_int_equal(a.err, ERR_NETWORK);
        assert_string_equal(a.msg.text, cases[i].says);
        assert_string_equal(buf_str(&a.text), "x");
        assert_false(a.is_ended);
        buf_clear(&a.text);
    }
}

static enum err read_one(enum remote_api api, const char *event, struct buf *text, struct dialect_piece *p,
                         struct errmsg *msg)
{
    buf_init(text, 16);
    return dialect_read(api, event, strlen(event), text, p, msg);
}

static void check_refused(enum remote_api api, const char *event, enum err err)
{
    struct buf text;
    struct dialect_piece p;
    struct errmsg msg = {0};
    assert_int_equal(read_one(api, event, &text, &p, &msg), err);
    assert_true(msg.text[0] != '\0');
    assert_int_equal(text.len, 0);
    buf_clear(&text);
}

static void test_strange_events(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "<html>",
                                        "null",
                                        "[]",
                                        "7",
                                        "{}",
                                        "{\"choices\":{}}",
                                        "{\"usage\":3}",
                                        "{\"content\":7}",
                                        "{\"response\":null}",
                                        "{\"done\":\"yes\"}",
                                        "{} {}"};
    for (int api = 0; api < REMOTE_N_APIS; api++) {
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            check_refused((enum remote_api)api, wrong[i], ERR_FORMAT);
        }
        check_refused((enum remote_api)api, "{\"error\":{}}", ERR_NETWORK);
        check_refused((enum remote_api)api, "{\"error\":\"no\"}", ERR_NETWORK);
    }
    check_refused(REMOTE_LLAMA, "{\"choices\":[{\"text\":\"x\"}]}", ERR_FORMAT);
    check_refused(REMOTE_OPENAI, "{\"content\":\"x\",\"stop\":false}", ERR_FORMAT);
    check_refused(REMOTE_OLLAMA, "{\"content\":\"x\",\"stop\":false}", ERR_FORMAT);
    check_refused(REMOTE_LLAMA, "{\"content\":\"more than the sixteen bytes\"}", ERR_LIMIT);
}

/* Fields that are missing, null or of another kind are not told. */
static void check_nothing_told(enum remote_api api, const char *event)
{
    struct buf text;
    struct dialect_piece p;
    struct errmsg msg = {0};
    assert_int_equal(read_one(api, event, &text, &p, &msg), OK);
    assert_int_equal(text.len, 0);
    assert_false(p.is_last);
    assert_int_equal(p.n_tokens, 0);
    assert_int_equal(p.n_logprobs, 0);
    assert_int_equal(p.n_prompt, -1);
    assert_int_equal(p.n_reused, -1);
    assert_int_equal(p.n_generated, -1);
    buf_clear(&text);
}

static void test_odd_fields(void **state)
{
    (void)state;
    check_nothing_told(REMOTE_OPENAI, "{\"choices\":[]}");
    check_nothing_told(REMOTE_OPENAI, "{\"choices\":[null,7]}");
    check_nothing_told(REMOTE_OPENAI, "{\"choices\":[{\"text\":7,\"finish_reason\":false}],\"usage\":[]}");
    check_nothing_told(REMOTE_OPENAI, "{\"choices\":[{\"delta\":\"x\",\"logprobs\":{\"content\":{}}}]}");
    check_nothing_told(REMOTE_OPENAI, "{\"choices\":[{\"logprobs\":{\"token_logprobs\":[null,\"x\",{}]}}]}");
    check_nothing_told(REMOTE_OPENAI, "{\"choices\":[],\"usage\":{\"prompt_tokens\":-1,\"error\":1}}");
    check_nothing_told(REMOTE_OPENAI, "{\"choices\":[],\"error\":null}");
    check_nothing_told(REMOTE_LLAMA, "{\"content\":\"\",\"tokens\":7,\"timings\":[]}");
    check_nothing_told(REMOTE_LLAMA, "{\"stop\":false,\"completion_probabilities\":[{\"probs\":[]}]}");
    check_nothing_told(REMOTE_OLLAMA, "{\"response\":\"\",\"logprobs\":{}}");
    check_nothing_told(REMOTE_OLLAMA, "{\"done\":false,\"eval_count\":7}");
}

static void test_huge_counts(void **state)
{
    (void)state;
    struct buf text;
    struct dialect_piece p;
    struct errmsg msg;
    static const char event[] =
        "{\"usage\":{\"prompt_tokens\":1e300,\"completion_tokens\":99999999999999999999}}";
    assert_int_equal(read_one(REMOTE_OPENAI, event, &text, &p, &msg), OK);
    assert_true(p.n_prompt == INT32_MAX || p.n_prompt == -1);
    assert_int_equal(p.n_generated, INT32_MAX);
    buf_clear(&text);
}

/* Error bodies. */

static void test_error_bodies(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"vllm_error.json", "suffix is not currently supported"},
        {"vllm_error_2024.json", "The model `x` does not exist."},
        {"sglang_error.json", "max_tokens must be positive"},
        {"tgi_error.json", "Suffix is not supported and can be achieved by preprocessing the prompt."},
        {"llama_server_loading.json", "Loading model"},
        {"lm_studio_error.json", "Unexpected endpoint or method. (GET /props)"},
        {"mistral_error.json", "Invalid model: codestral-1"},
        {"mistral_error_422.json", "Extra inputs are not permitted"},
        {"ollama_error.json", "model 'coder' not found"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf body;
        struct errmsg says;
        read_fixture(cases[i][0], &body);
        dialect_read_error(body.data, body.len, &says);
        assert_string_equal(says.text, cases[i][1]);
        buf_clear(&body);
    }
}

static void check_error(const char *body, const char *says)
{
    struct errmsg msg;
    dialect_read_error(body, strlen(body), &msg);
    assert_string_equal(msg.text, says);
}

static void test_error_texts(void **state)
{
    (void)state;
    check_error("", "");
    check_error("{}", "");
    check_error("[1]", "");
    check_error("{\"error\":7}", "");
    check_error("{\"error\":null,\"message\":\"m\"}", "m");
    check_error("{\"detail\":\"Not Found\"}", "Not Found");
    check_error("{\"detail\":[]}", "");
    check_error("  no healthy\r\n\tupstream \n", "no healthy upstream");
    check_error("a\x1b[31mb\x01\x7f", "a [31mb");
    check_error("{\"error\":{\"message\":\"two\\nlines\\u0000\\u0007\"}}", "two lines");
    check_error("<html>\n<head><TITLE>502 Bad\nGateway</title></head>", "502 Bad Gateway");
    check_error("<html><body>x</body>", "");
    check_error("<title>", "");
    check_error("\xff\xfe", "??");
}

/* Cut at a whole character, wherever the bytes begin. */
static void test_long_error(void **state)
{
    (void)state;
    static const char euro[] = "\xe2\x82\xac";
    char body[4096];
    struct errmsg msg;
    for (size_t lead = 0; lead < 3; lead++) {
        for (size_t i = 0; i < sizeof body; i++) body[i] = i < lead ? 'x' : euro[(i - lead) % 3];
        dialect_read_error(body, sizeof body, &msg);
        assert_in_range(strlen(msg.text), 290, 300);
        assert_int_equal(strlen(msg.text) % 3, lead);
        assert_null(strchr(msg.text, '?'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_llama_infill),
        cmocka_unit_test(test_llama_completion),
        cmocka_unit_test(test_llama_tokens_and_warmup),
        cmocka_unit_test(test_openai_plain),
        cmocka_unit_test(test_openai_full),
        cmocka_unit_test(test_openai_tokens_and_warmup),
        cmocka_unit_test(test_ollama_fim),
        cmocka_unit_test(test_ollama_empty),
        cmocka_unit_test(test_ollama_raw),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_streamed_failures),
        cmocka_unit_test(test_strange_events),
        cmocka_unit_test(test_odd_fields),
        cmocka_unit_test(test_huge_counts),
        cmocka_unit_test(test_error_bodies),
        cmocka_unit_test(test_error_texts),
        cmocka_unit_test(test_long_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

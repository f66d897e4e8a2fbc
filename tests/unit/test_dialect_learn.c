/* What servers are asked about their models, and what their answers teach, after samples of each
 * (fixtures/remote/README.md). */
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

static void read_fixture(const char *name, struct buf *out)
{
    char path[512];
    struct errmsg msg;
    (void)snprintf(path, sizeof path, "%s/remote/%s", FIXTURES, name);
    buf_init(out, 1 << 20);
    assert_int_equal(file_read(path, out, &msg), OK);
}

struct step {
    int status;
    const char *fixture; /* or a body, beginning with none of a name's characters */
};

/* Ask all there is to ask; the questions' paths come with it. */
static enum err learn(enum remote_api api, const char *wanted, const struct step *steps,
                      struct remote_traits *t, struct buf *asked, struct errmsg *msg)
{
    struct dialect_question q;
    struct buf body, answer;
    enum err err = OK;
    *t = (struct remote_traits){0};
    *msg = (struct errmsg){0};
    buf_init(asked, 4096);
    buf_init(&body, 4096);
    for (int32_t i = 0; !err && dialect_question(api, i, wanted, t, &q, &body); i++) {
        assert_false(t->is_known);
        buf_printf(asked, "%s%s%s ", q.path, q.has_body ? " " : "", q.has_body ? buf_str(&body) : "");
        if (strstr(steps[i].fixture, ".json")) {
            read_fixture(steps[i].fixture, &answer);
        } else {
            buf_init(&answer, 4096);
            buf_add_str(&answer, steps[i].fixture);
        }
        err = dialect_learn(api, i, wanted, steps[i].status, buf_str(&answer), answer.len, t, msg);
        assert_int_equal(msg->text[0] != '\0', err != OK);
        buf_clear(&answer);
        buf_reset(&body);
    }
    assert_int_equal(t->is_known, err == OK);
    buf_clear(&body);
    return err;
}

static void check_learned(enum remote_api api, const char *wanted, const struct step *steps,
                          const char *asked, const struct remote_traits *expected)
{
    struct remote_traits t;
    struct buf paths;
    struct errmsg msg;
    enum err err = learn(api, wanted, steps, &t, &paths, &msg);
    assert_int_equal(err, OK);
    assert_string_equal(buf_str(&paths), asked);
    assert_string_equal(t.model, expected->model);
    assert_string_equal(t.base, expected->base);
    assert_int_equal(t.has_fim, expected->has_fim);
    assert_int_equal(t.takes_files, api == REMOTE_LLAMA && expected->has_fim); /* input_extra */
    assert_int_equal(t.takes_files, api == REMOTE_LLAMA && t.has_fim);
    assert_int_equal(t.n_ctx, expected->n_ctx);
    buf_clear(&paths);
}

static void check_fails(enum remote_api api, const char *wanted, const struct step *steps, enum err err,
                        const char *says)
{
    struct remote_traits t;
    struct buf paths;
    struct errmsg msg;
    assert_int_equal(learn(api, wanted, steps, &t, &paths, &msg), err);
    assert_string_equal(msg.text, says);
    buf_clear(&paths);
}

static void test_learn_openai(void **state)
{
    (void)state;
    static const struct step vllm[] = {{200, "vllm_models.json"}}, sglang[] = {{200, "sglang_models.json"}},
                             tgi[] = {{200, "tgi_models.json"}}, lms[] = {{200, "lm_studio_models.json"}},
                             lcp[] = {{200, "llama_cpp_python_models.json"}},
                             server[] = {{200, "llama_server_models.json"}},
                             mistral[] = {{200, "mistral_models.json"}};
    check_learned(REMOTE_OPENAI, "", vllm, "/v1/models ",
                  &(struct remote_traits){.model = "coder", .base = "Qwen/Qwen2.5-Coder-7B", .n_ctx = 8192});
    check_learned(REMOTE_OPENAI, "Qwen/Qwen2.5-Coder-7B", vllm, "/v1/models ",
                  &(struct remote_traits){.model = "coder", .base = "Qwen/Qwen2.5-Coder-7B", .n_ctx = 8192});
    check_learned(REMOTE_OPENAI, "our-style", vllm, "/v1/models ",
                  &(struct remote_traits){.model = "our-style", .base = "/adapters/our-style"});
    check_learned(REMOTE_OPENAI, "coder", sglang, "/v1/models ",
                  &(struct remote_traits){.model = "coder", .base = "bigcode/starcoder2-7b", .n_ctx = 16384});
    check_learned(REMOTE_OPENAI, "", tgi, "/v1/models ",
                  &(struct remote_traits){.model = "bigcode/starcoder2-3b"});
    check_learned(REMOTE_OPENAI, "", lms, "/v1/models ",
                  &(struct remote_traits){.model = "qwen2.5-coder-7b"});
    check_learned(REMOTE_OPENAI, "", lcp, "/v1/models ",
                  &(struct remote_traits){.model = "/models/coder.gguf"});
    check_learned(REMOTE_OPENAI, "qwen-coder", server, "/v1/models ",
                  &(struct remote_traits){.model = "coder", .n_ctx = 8192});
    check_learned(REMOTE_OPENAI, "codestral-latest", mistral, "/v1/models ",
                  &(struct remote_traits){.model = "codestral-2508", .n_ctx = 256000, .has_fim = true});
    check_learned(REMOTE_OPENAI, "mistral-small-latest", mistral, "/v1/models ",
                  &(struct remote_traits){.model = "mistral-small-2603", .n_ctx = 131072});
}

static bool name_field(void *ctx, const char *key, const struct json_value *v)
{
    (void)v;
    buf_printf(ctx, "%s ", key);
    return true;
}

/* What is known of a program shows in what it is asked: the path and the names of all fields. */
static void check_asked(const char *fixture, const char *wanted, const struct remote_ask *ask,
                        const char *path, const char *fields)
{
    const struct step steps[] = {{200, fixture}};
    struct remote_traits t;
    struct buf paths, body, names;
    struct errmsg msg;
    struct json_value *root;
    buf_init(&body, 4096);
    buf_init(&names, 4096);
    assert_int_equal(learn(REMOTE_OPENAI, wanted, steps, &t, &paths, &msg), OK);
    assert_string_equal(dialect_write(REMOTE_OPENAI, &t, ask, &body), path);
    assert_int_equal(json_read(buf_str(&body), body.len, &root, &msg), OK);
    json_each(root, name_field, &names);
    assert_string_equal(buf_str(&names), fields);
    json_read_free(&root);
    buf_clear(&names);
    buf_clear(&body);
    buf_clear(&paths);
}

static void test_programs(void **state)
{
    (void)state;
    const struct remote_ask ask = {.prompt = "x",
                                   .prompt_len = 1,
                                   .sampling = {.top_p = 1, .repeat_penalty = 1},
                                   .max_tokens = 8,
                                   .wants_logprobs = true};
    check_asked("vllm_models.json", "", &ask, "/v1/completions",
                "model prompt max_tokens stream temperature repetition_penalty logprobs stream_options ");
    check_asked("sglang_models.json", "", &ask, "/v1/completions",
                "model prompt max_tokens stream temperature repetition_penalty logprobs stream_options ");
    check_asked("llama_server_models.json", "", &ask, "/v1/completions",
                "model prompt max_tokens stream temperature repeat_penalty logprobs stream_options ");
    check_asked("llama_cpp_python_models.json", "", &ask, "/v1/completions",
                "model prompt max_tokens stream temperature repeat_penalty logprobs stream_options ");
    check_asked("lm_studio_models.json", "", &ask, "/v1/completions",
                "model prompt max_tokens stream temperature repeat_penalty logprobs stream_options ");
    check_asked("tgi_models.json", "", &ask, "/v1/completions",
                "model prompt max_tokens stream temperature logprobs stream_options ");
    check_asked("mistral_models.json", "codestral-2508", &ask, "/v1/fim/completions",
                "model prompt max_tokens stream temperature ");
}

/* What has defaults of its own is told of every sampler, also of none. */
static void test_random_programs(void **state)
{
    (void)state;
    const struct remote_ask ask = {.prompt = "x",
                                   .prompt_len = 1,
                                   .sampling = {.temperature = 1, .top_p = 1, .repeat_penalty = 1},
                                   .max_tokens = 8};
    check_asked("vllm_models.json", "", &ask, "/v1/completions",
                "model prompt max_tokens stream temperature repetition_penalty top_p top_k min_p seed "
                "stream_options ");
    check_asked(
        "llama_cpp_python_models.json", "", &ask, "/v1/completions",
        "model prompt max_tokens stream temperature repeat_penalty top_p top_k min_p seed stream_options ");
    check_asked("tgi_models.json", "", &ask, "/v1/completions",
                "model prompt max_tokens stream temperature top_p seed stream_options ");
}

/* Mistral refuses what it does not know, and has its own word for the seed. */
static void test_mistral_random(void **state)
{
    (void)state;
    const struct remote_ask ask = {
        .is_fim = true,
        .prefix = "x",
        .prefix_len = 1,
        .suffix = "",
        .sampling =
            {.temperature = 1, .top_p = 1, .min_p = 0.1F, .top_k = 10, .repeat_penalty = 1.1F, .seed = 7},
        .max_tokens = 8};
    check_asked("mistral_models.json", "codestral-2508", &ask, "/v1/fim/completions",
                "model prompt suffix max_tokens stream temperature top_p random_seed ");
}

#define INFILL_REST "\"input_prefix\":\"\",\"input_suffix\":\"\",\"input_extra\":false,\"n_predict\":0} "

static void test_learn_llama(void **state)
{
    (void)state;
    static const struct step with_fim[] = {{200, "llama_server_props.json"},
                                           {200, "llama_server_models.json"},
                                           {400, "llama_server_extra.json"}};
    static const struct step old_fim[] = {
        {200, "llama_server_props.json"}, {200, "llama_server_models.json"}, {200, "{\"content\":\"\"}"}};
    static const struct step odd[] = {{200, "llama_server_props.json"},
                                      {200, "llama_server_models.json"},
                                      {400, "{\"error\":{\"code\":400}}"}};
    static const struct step without[] = {
        {200, "llama_server_props.json"}, {404, "llama_server_404.json"}, {501, "llama_server_error.json"}};
    static const struct step router[] = {
        {200, "llama_server_props_router.json"}, {200, "llama_server_models_router.json"}, {200, "{}"}};
    const char *file = "/models/qwen2.5-coder-1.5b-q8_0.gguf";
    struct remote_traits t = {.model = "coder", .n_ctx = 8192, .has_fim = true};
    strcpy(t.base, file);
    check_learned(REMOTE_LLAMA, "", with_fim, "/props /v1/models /infill {\"model\":\"coder\"," INFILL_REST,
                  &t);
    check_learned(REMOTE_LLAMA, "", old_fim, "/props /v1/models /infill {\"model\":\"coder\"," INFILL_REST,
                  &t);
    t.has_fim = false;
    check_learned(REMOTE_LLAMA, "", odd, "/props /v1/models /infill {\"model\":\"coder\"," INFILL_REST, &t);
    t.model[0] = '\0';
    check_learned(REMOTE_LLAMA, "", without, "/props /v1/models /infill {" INFILL_REST, &t);
    t = (struct remote_traits){.model = "ggml-org/Qwen2.5-Coder-7B-Q8_0-GGUF", .has_fim = true};
    check_learned(REMOTE_LLAMA, "coder", router,
                  "/props /v1/models /infill {\"model\":\"ggml-org/Qwen2.5-Coder-7B-Q8_0-GGUF\"," INFILL_REST,
                  &t);
    check_fails(REMOTE_LLAMA, "", router, ERR_NOT_FOUND,
                "the server has several models: set model to one of ggml-org/Qwen2.5-Coder-7B-Q8_0-GGUF, "
                "ggml-org/gemma-3-4b-it-GGUF:Q4_K_M");
}

static void test_learn_ollama(void **state)
{
    (void)state;
    static const struct step one[] = {{200, "ollama_tags.json"}, {200, "ollama_show.json"}};
    static const struct step old[] = {{200, "ollama_tags_many.json"}, {200, "ollama_show_2024.json"}};
    static const struct step gone[] = {{200, "ollama_tags.json"}, {404, "ollama_error.json"}};
    struct remote_traits t = {
        .model = "qwen2.5-coder:1.5b-base", .base = "Qwen2.5-Coder", .n_ctx = 8192, .has_fim = true};
    check_learned(REMOTE_OLLAMA, "", one, "/api/tags /api/show {\"model\":\"qwen2.5-coder:1.5b-base\"} ", &t);
    t = (struct remote_traits){.model = "codellama:7b-code", .base = "llama", .n_ctx = 2048, .has_fim = true};
    check_learned(REMOTE_OLLAMA, "codellama:7b-code", old,
                  "/api/tags /api/show {\"model\":\"codellama:7b-code\"} ", &t);
    t = (struct remote_traits){.model = "nomic-embed-text:latest"};
    check_learned(REMOTE_OLLAMA, "nomic-embed-text", gone,
                  "/api/tags /api/show {\"model\":\"nomic-embed-text:latest\"} ", &t);
    check_fails(
        REMOTE_OLLAMA, "", old, ERR_NOT_FOUND,
        "the server has several models: set model to one of llama3.2:latest, codellama:7b-code, a:1, b:2, "
        "c:3 and 2 more");
    check_fails(
        REMOTE_OLLAMA, "starcoder2", one, ERR_NOT_FOUND,
        "the server has no model starcoder2; it has qwen2.5-coder:1.5b-base, nomic-embed-text:latest");
}

static void test_learn_nothing_there(void **state)
{
    (void)state;
    static const struct step fastapi[] = {{404, "{\"detail\":\"Not Found\"}"}},
                             go[] = {{404, "404 page not found"}}, llama[] = {{404, "llama_server_404.json"}},
                             page[] = {{200, "<!doctype html><title>Login</title>"}}, text[] = {{200, "ok"}},
                             empty[] = {{404, ""}}, other[] = {{200, "{\"a\":1}"}},
                             none[] = {{200, "{\"data\":[]}"}}, moved[] = {{302, ""}},
                             tags[] = {{200, "ollama_tags.json"}},
                             old_llama[] = {{200, "llama_server_models.json"}};
    check_fails(REMOTE_OPENAI, "", empty, ERR_FORMAT,
                "no OpenAI API there (404 at /v1/models); is the URL right?");
    check_fails(REMOTE_OPENAI, "", fastapi, ERR_FORMAT,
                "no OpenAI API there (404 at /v1/models); is the URL right?");
    check_fails(REMOTE_OPENAI, "", page, ERR_FORMAT,
                "no OpenAI API there (a web page at /v1/models); is the URL right?");
    check_fails(REMOTE_OPENAI, "", text, ERR_FORMAT,
                "no OpenAI API there (no JSON at /v1/models); is the URL right?");
    check_fails(REMOTE_OPENAI, "", other, ERR_FORMAT,
                "no OpenAI API there (another answer at /v1/models); is the URL right?");
    check_fails(REMOTE_OPENAI, "", moved, ERR_FORMAT,
                "no OpenAI API there (302 at /v1/models); is the URL right?");
    check_fails(REMOTE_OPENAI, "", none, ERR_NOT_FOUND, "the server has no model");
    check_fails(REMOTE_LLAMA, "", fastapi, ERR_FORMAT,
                "no llama-server there (404 at /props), but perhaps OpenAI API: set api = openai");
    check_fails(REMOTE_LLAMA, "", go, ERR_FORMAT,
                "no llama-server there (404 at /props), but perhaps Ollama: set api = ollama");
    check_fails(REMOTE_LLAMA, "", llama, ERR_FORMAT,
                "no llama-server there (404 at /props); is the URL right?");
    check_fails(REMOTE_OLLAMA, "", llama, ERR_FORMAT,
                "no Ollama there (404 at /api/tags), but perhaps llama-server: set api = llama");
    check_fails(REMOTE_OLLAMA, "", old_llama, ERR_FORMAT,
                "no Ollama there (another answer at /api/tags), but perhaps llama-server: set api = llama");
    check_fails(REMOTE_LLAMA, "", tags, ERR_FORMAT,
                "no llama-server there (another answer at /props), but perhaps Ollama: set api = ollama");
}

static void test_learn_refused(void **state)
{
    (void)state;
    static const struct step no_key[] = {{401, "{}"}}, busy[] = {{503, "llama_server_loading.json"}},
                             broken[] = {{500, ""}}, limited[] = {{429, "slow down"}};
    static const struct step late[] = {
        {200, "llama_server_props.json"}, {200, "llama_server_models.json"}, {401, "{}"}};
    check_fails(REMOTE_OPENAI, "", no_key, ERR_ARG,
                "401 at /v1/models: it wants a key, or another one (key_file, key_env)");
    check_fails(REMOTE_LLAMA, "", busy, ERR_NETWORK, "503 at /props: Loading model");
    check_fails(REMOTE_OLLAMA, "", broken, ERR_NETWORK, "500 at /api/tags");
    check_fails(REMOTE_OPENAI, "", limited, ERR_NETWORK, "429 at /v1/models: slow down");
    check_fails(REMOTE_LLAMA, "", late, ERR_ARG,
                "401 at /infill: it wants a key, or another one (key_file, key_env)");
}

/* Lists of anything but models. */
static void test_learn_odd_lists(void **state)
{
    (void)state;
    static const struct step odd[] = {{200, "{\"data\":[7,null,{\"id\":3},{\"id\":\"\"}]}"}};
    static const struct step one[] = {
        {200, "{\"data\":[7,{\"id\":\"x\",\"aliases\":{},\"meta\":[],\"root\":1}]}"}};
    static char text[2048];
    const struct step too_long[] = {{200, text}};
    check_fails(REMOTE_OPENAI, "", odd, ERR_NOT_FOUND, "the server has no model");
    check_fails(REMOTE_OPENAI, "a", odd, ERR_NOT_FOUND, "the server has no model");
    check_learned(REMOTE_OPENAI, "", one, "/v1/models ", &(struct remote_traits){.model = "x"});
    (void)snprintf(text, sizeof text, "{\"data\":[{\"id\":\"%0300d\"}]}", 7);
    check_fails(REMOTE_OPENAI, "", too_long, ERR_NOT_FOUND, "the model's name is longer than 255 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learn_openai),        cmocka_unit_test(test_programs),
        cmocka_unit_test(test_random_programs),     cmocka_unit_test(test_mistral_random),
        cmocka_unit_test(test_learn_llama),         cmocka_unit_test(test_learn_ollama),
        cmocka_unit_test(test_learn_nothing_there), cmocka_unit_test(test_learn_refused),
        cmocka_unit_test(test_learn_odd_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

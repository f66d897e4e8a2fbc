/* See api_params.h. */
#include "serve/api_params.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/json_read.h"
#include "base/mem.h"

/* A prompt's tokens, and so the answer's, are never as many; keeps sums of such counts inside int32_t. */
#define TOKENS_MAX (1 << 24)
#define LAST_N_MAX 1024 /* what sampler_new takes */
#define MS_MAX     1e9  /* eleven days */

/* --- Fields that are the same everywhere --------------------------------------------------------------- */

enum kind { KIND_INT, KIND_FLOAT, KIND_DOUBLE, KIND_SEED, KIND_FLAG, KIND_STR };

struct field {
    const char *name;
    enum kind kind;
    size_t at;       /* offset in struct api_params */
    double min, max; /* of numbers; values beyond become these */
};

#define AT(member)       offsetof(struct api_params, member)
#define AT_SAMPLE(field) AT(request.sampling.field)

/* Where aliases meet in one request, the later row wins. */
static const struct field FIELDS[] = {
    {"model", KIND_STR, AT(request.model), 0, 0},
    {"document", KIND_STR, AT(request.document), 0, 0},
    {"user", KIND_STR, AT(user), 0, 0},
    {"stream", KIND_FLAG, AT(is_stream), 0, 0},
    {"automatic", KIND_FLAG, AT(request.is_automatic), 0, 0},
    {"explain", KIND_FLAG, AT(request.wants_explanation), 0, 0},
    {"file", KIND_STR, AT(request.file), 0, 0},
    {"id_slot", KIND_INT, AT(id_slot), -1, INT32_MAX},
    {"n_predict", KIND_INT, AT(request.max_tokens), -1, TOKENS_MAX},
    {"num_predict", KIND_INT, AT(request.max_tokens), -1, TOKENS_MAX},
    {"max_completion_tokens", KIND_INT, AT(request.max_tokens), -1, TOKENS_MAX},
    {"max_tokens", KIND_INT, AT(request.max_tokens), -1, TOKENS_MAX},
    {"n", KIND_INT, AT(request.n_candidates), 1, SERVICE_CANDIDATES_MAX},
    {"n_cmpl", KIND_INT, AT(request.n_candidates), 1, SERVICE_CANDIDATES_MAX},
    {"n_indent", KIND_INT, AT(request.n_indent), 0, INT32_MAX},
    {"t_max_prompt_ms", KIND_DOUBLE, AT(request.max_prompt_ms), 0, MS_MAX},
    {"t_max_predict_ms", KIND_DOUBLE, AT(request.max_predict_ms), 0, MS_MAX},
    {"temperature", KIND_FLOAT, AT_SAMPLE(temperature), 0, 100},
    {"top_k", KIND_INT, AT_SAMPLE(top_k), 0, INT32_MAX},
    {"top_p", KIND_FLOAT, AT_SAMPLE(top_p), 1e-6, 1},
    {"min_p", KIND_FLOAT, AT_SAMPLE(min_p), 0, 1},
    {"repeat_penalty", KIND_FLOAT, AT_SAMPLE(repeat_penalty), 1e-2, 10},
    {"repeat_last_n", KIND_INT, AT_SAMPLE(repeat_last_n), 0, LAST_N_MAX},
    {"seed", KIND_SEED, AT_SAMPLE(seed), 0, 0},
};

static const char *kind_of(const struct json_value *v)
{
    if (json_is_object(v)) return "an object";
    if (json_is_array(v)) return "a list";
    if (json_is_str(v)) return "a string";
    if (json_is_number(v)) return "a number";
    return json_is_flag(v) ? "true or false" : "null";
}

static enum err wrong_kind(const char *name, const char *expected, const struct json_value *v,
                           struct errmsg *msg)
{
    return err_set(msg, ERR_ARG, "\"%s\" must be %s, but is %s", name, expected, kind_of(v));
}

static double clamp(double x, double min, double max)
{
    return x < min ? min : x > max ? max : x;
}

/* A whole number into the int32_t at `to`. */
static bool take_int(const struct field *f, const struct json_value *v, void *to)
{
    int64_t n;
    if (!json_get_int(v, &n)) return false;
    *(int32_t *)to = (int32_t)clamp((double)n, f->min, f->max);
    return true;
}

static bool take_real(const struct field *f, const struct json_value *v, void *to)
{
    double x;
    if (!json_get_num(v, &x)) return false;
    x = clamp(x, f->min, f->max);
    if (f->kind == KIND_FLOAT) {
        *(float *)to = (float)x;
    } else {
        *(double *)to = x;
    }
    return true;
}

/* Clients send -1 for "any": that is 0 here, since equal requests have equal answers. */
static bool take_seed(const struct json_value *v, void *to)
{
    int64_t n;
    if (!json_get_int(v, &n)) return false;
    *(uint64_t *)to = n < 0 ? 0 : (uint64_t)n;
    return true;
}

static enum err take_field(struct api_params *p, const struct field *f, const struct json_value *v,
                           struct errmsg *msg)
{
    void *to = (char *)p + f->at;
    switch (f->kind) {
    case KIND_INT:
        return take_int(f, v, to) ? OK : wrong_kind(f->name, "a whole number", v, msg);
    case KIND_FLOAT:
    case KIND_DOUBLE:
        return take_real(f, v, to) ? OK : wrong_kind(f->name, "a number", v, msg);
    case KIND_SEED:
        return take_seed(v, to) ? OK : wrong_kind(f->name, "a whole number", v, msg);
    case KIND_FLAG:
        return json_get_flag(v, to) ? OK : wrong_kind(f->name, "true or false", v, msg);
    case KIND_STR:
        break;
    }
    const char *text = json_get_str(v, NULL);
    if (!text) return wrong_kind(f->name, "a string", v, msg);
    *(const char **)to = text;
    return OK;
}

static void add_stop(struct service_request *r, const char *text, size_t len)
{
    if (len == 0 || r->n_stops == SERVICE_STOPS_MAX) return;
    r->stops[r->n_stops++] = (struct service_stop){text, len};
}

/* A string or a list of strings. Those beyond what the service takes are left out: clients with long lists
 * cut the answer themselves. */
static enum err take_stop(struct service_request *r, const struct json_value *v, struct errmsg *msg)
{
    if (!v) return OK;
    if (!json_is_str(v) && !json_is_array(v))
        return wrong_kind("stop", "a string or a list of strings", v, msg);
    r->n_stops = 0;
    size_t len;
    const char *text = json_get_str(v, &len);
    if (text) add_stop(r, text, len);
    for (size_t i = 0; i < json_count(v); i++) {
        text = json_get_str(json_at(v, i), &len);
        if (!text) return wrong_kind("stop", "a list of strings only", json_at(v, i), msg);
        add_stop(r, text, len);
    }
    return OK;
}

/* The order of sampling is fixed (infer/sampler.h); a list of samplers only says whether "infill" is among
 * them. llama-server also takes a string of letters, in which it has none. */
static enum err take_samplers(struct service_request *r, const struct json_value *v, struct errmsg *msg)
{
    if (!v) return OK;
    if (!json_is_array(v) && !json_is_str(v)) return wrong_kind("samplers", "a list of strings", v, msg);
    r->sampling.infill = false;
    for (size_t i = 0; i < json_count(v); i++) {
        const char *name = json_get_str(json_at(v, i), NULL);
        if (!name) return wrong_kind("samplers", "a list of strings only", json_at(v, i), msg);
        if (strcmp(name, "infill") == 0) r->sampling.infill = true;
    }
    return OK;
}

/* What one of a few names stands for. */
struct choice {
    const char *name;
    int value;
};

static bool choose(const struct choice *choices, size_t n, const struct json_value *v, int *out)
{
    const char *name = json_get_str(v, NULL);
    for (size_t i = 0; name && i < n; i++) {
        if (strcmp(name, choices[i].name) != 0) continue;
        *out = choices[i].value;
        return true;
    }
    return false;
}

static enum err take_priority(struct service_request *r, const struct json_value *v, struct errmsg *msg)
{
    static const struct choice NAMES[] = {
        {"asked", SERVICE_ASKED}, {"typing", SERVICE_TYPING}, {"prefetch", SERVICE_PREFETCH}};
    int value = (int)r->priority;
    if (v && !choose(NAMES, sizeof NAMES / sizeof *NAMES, v, &value))
        return err_set(msg, ERR_ARG, "\"priority\" must be \"asked\", \"typing\" or \"prefetch\"");
    r->priority = (enum service_priority)value;
    return OK;
}

static enum err take_extent(struct service_request *r, const struct json_value *v, struct errmsg *msg)
{
    static const struct choice NAMES[] = {{"place", SERVICE_EXTENT_PLACE},
                                          {"any", SERVICE_EXTENT_ANY},
                                          {"line", SERVICE_EXTENT_LINE},
                                          {"block", SERVICE_EXTENT_BLOCK}};
    int value = (int)r->extent;
    if (v && !choose(NAMES, sizeof NAMES / sizeof *NAMES, v, &value))
        return err_set(msg, ERR_ARG, "\"extent\" must be \"place\", \"any\", \"line\" or \"block\"");
    r->extent = (enum service_extent)value;
    return OK;
}

enum err api_params_fields(struct api_params *p, const struct json_value *object, struct errmsg *msg)
{
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
        const struct json_value *v = json_get(object, FIELDS[i].name);
        enum err err = v ? take_field(p, &FIELDS[i], v, msg) : OK;
        if (err) return err;
    }
    enum err err = take_stop(&p->request, json_get(object, "stop"), msg);
    if (!err) err = take_samplers(&p->request, json_get(object, "samplers"), msg);
    if (!err) err = take_priority(&p->request, json_get(object, "priority"), msg);
    if (!err) err = take_extent(&p->request, json_get(object, "extent"), msg);
    return err;
}

/* --- The text ------------------------------------------------------------------------------------------ */

enum err api_params_str(const struct json_value *object, const char *name, const char **out, size_t *len,
                        struct errmsg *msg)
{
    const struct json_value *v = json_get(object, name);
    if (!v) return OK;
    const char *text = json_get_str(v, len);
    if (!text) return wrong_kind(name, "a string", v, msg);
    *out = text;
    return OK;
}

enum err api_params_place(struct api_params *p, const struct json_value *object, const char *prefix,
                          const char *middle, const char *suffix, struct errmsg *msg)
{
    const char *names[3] = {prefix, middle, suffix}, *parts[3] = {"", "", ""};
    size_t lens[3] = {0};
    for (int i = 0; i < 3; i++) {
        enum err err = names[i] ? api_params_str(object, names[i], &parts[i], &lens[i], msg) : OK;
        if (err) return err;
    }
    struct service_request *r = &p->request;
    mem_free(p->text);
    r->len = lens[0] + lens[1] + lens[2];
    r->cursor = lens[0] + lens[1];
    r->text = p->text = mem_try(r->len + 1, 1);
    if (!p->text) return err_set(msg, ERR_NOMEM, "no memory for a text of %zu bytes", r->len);
    char *to = p->text;
    for (int i = 0; i < 3; i++) {
        memcpy(to, parts[i], lens[i]);
        to += lens[i];
    }
    return OK;
}

static enum err take_tokens(struct api_params *p, const struct json_value *list, const char *name,
                            struct errmsg *msg)
{
    size_t n = json_count(list);
    if (n > TOKENS_MAX)
        return err_set(msg, ERR_ARG, "\"%s\" has %zu tokens, more than any model takes", name, n);
    mem_free(p->tokens);
    p->request.tokens = p->tokens = mem_try(n, sizeof *p->tokens);
    if (!p->tokens) return err_set(msg, ERR_NOMEM, "no memory for %zu tokens", n);
    for (size_t i = 0; i < n; i++) {
        int64_t id;
        if (!json_get_int(json_at(list, i), &id))
            return wrong_kind(name, "a string or a list of token ids only", json_at(list, i), msg);
        p->tokens[i] = id < 0 || id > INT32_MAX ? INT32_MAX : (int32_t)id; /* no vocabulary has that one */
    }
    p->request.n_tokens = (int32_t)n;
    return OK;
}

enum err api_params_prompt(struct api_params *p, const struct json_value *object, const char *name,
                           struct errmsg *msg)
{
    const struct json_value *v = json_get(object, name);
    if (!v)
        return err_set(msg, ERR_ARG, "\"%s\" is missing; it must be a string or a list of token ids", name);
    if (json_is_array(v) && json_is_str(json_at(v, 0))) {
        if (json_count(v) > 1)
            return err_set(msg, ERR_ARG, "\"%s\" must be one prompt, but is a list of %zu", name,
                           json_count(v));
        v = json_at(v, 0);
    }
    if (json_is_array(v)) return take_tokens(p, v, name, msg);
    p->request.prompt = json_get_str(v, &p->request.prompt_len);
    return p->request.prompt ? OK : wrong_kind(name, "a string or a list of token ids", v, msg);
}

enum err api_params_files(struct api_params *p, const struct json_value *object, const char *name,
                          const char *path_name, const char *text_name, struct errmsg *msg)
{
    const struct json_value *list = json_get(object, name);
    if (!list) return OK;
    if (!json_is_array(list)) return wrong_kind(name, "a list of objects", list, msg);
    size_t n = json_count(list), n_before = (size_t)p->request.n_files;
    size_t first = n > API_FILES_MAX ? n - API_FILES_MAX : 0;
    struct fim_file *files = mem_try_resize(p->files, n_before + n - first, sizeof *files);
    if (!files) return err_set(msg, ERR_NOMEM, "no memory for %zu files", n);
    p->request.files = p->files = files;
    for (size_t i = first; i < n; i++) {
        const struct json_value *v = json_at(list, i);
        if (!json_is_object(v)) return wrong_kind(name, "a list of objects only", v, msg);
        struct fim_file file = {.path = "file", .text = ""};
        enum err err = api_params_str(v, path_name, &file.path, NULL, msg);
        if (!err) err = api_params_str(v, text_name, &file.text, &file.text_len, msg);
        if (err) return err;
        files[p->request.n_files++] = file;
    }
    return OK;
}

/* --- Life ---------------------------------------------------------------------------------------------- */

void api_params_init(struct api_params *p)
{
    *p = (struct api_params){.id_slot = -1, .user = ""};
    p->request = (struct service_request){
        .model = "",
        .client = p->client,
        .document = "",
        .priority = SERVICE_TYPING,
        .sampling = SAMPLER_GREEDY,
        .max_tokens = -1,
        .n_candidates = 1,
        .predict_ms_after_newline = true,
    };
}

void api_params_clear(struct api_params *p)
{
    mem_free(p->text);
    mem_free(p->files);
    mem_free(p->tokens);
    *p = (struct api_params){.id_slot = -1, .user = ""};
}

/* With its NUL, so that "ab", "c" and "a", "bc" differ. */
static uint64_t hash_str(uint64_t hash, const char *s)
{
    return XXH3_64bits_withSeed(s, strlen(s) + 1, hash);
}

void api_params_settle(struct api_params *p, const char *authorization, const char *user_agent)
{
    struct service_request *r = &p->request;
    if (r->max_tokens == 0) {
        r->priority = SERVICE_WARMUP;
        r->max_prompt_ms = r->max_predict_ms = 0; /* llama.vim sends 1, which no prompt can keep */
    }
    char slot[16];
    snprintf(slot, sizeof slot, "%" PRId32, p->id_slot);
    uint64_t hash = hash_str(0, authorization);
    hash = hash_str(hash_str(hash_str(hash, user_agent), slot), p->user);
    snprintf(p->client, sizeof p->client, "http-%016" PRIx64, hash);
}

/* `inline bench trace`: typing into a real file, replayed in this process. The command's options, and what
 * its three ways of replaying share; they are in trace_each.c, trace_paced.c and
 * trace_check.c. The text is kept as an editor keeps it, and each completion starts from that text. */
#include "cli/bench/trace.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/bench/bench.h"
#include "cli/cli.h"
#include "complete/complete.h"
#include "model/model.h"

/* --- Setting up -------------------------------------------------------------------------------------- */

enum err bench_trace_asker_open(const struct bench_trace_plan *plan, const struct bench_engine *e,
                                struct bench_asker *out, struct errmsg *msg)
{
    const char *slash = plan->file ? strrchr(plan->file, '/') : NULL;
    *out = (struct bench_asker){.model = e->model,
                                .path = slash ? slash + 1 : plan->file,
                                .lines_before = (int32_t)plan->lines_before,
                                .lines_after = (int32_t)plan->lines_after,
                                .max_tokens = plan->max_tokens};
    fim_detect(e->model, &out->fim);
    int32_t n_ctx = plan->n_ctx < e->model->p.n_ctx_train ? plan->n_ctx : e->model->p.n_ctx_train;
    if (plan->max_tokens >= n_ctx)
        return err_set(msg, ERR_LIMIT, "%d tokens to generate do not fit into a context of %d",
                       plan->max_tokens, n_ctx);
    bool has_lines = plan->lines_before >= 0 || plan->lines_after >= 0;
    int32_t wanted = has_lines ? n_ctx : COMPLETE_PROMPT_TOKENS;
    if (plan->max_prompt) wanted = (int32_t)plan->max_prompt;
    out->max_prompt = wanted < n_ctx - plan->max_tokens ? wanted : n_ctx - plan->max_tokens;
    if (plan->order != FIM_PREFIX_ONLY) {
        if (out->fim.order == FIM_PREFIX_ONLY)
            return err_set(msg, ERR_UNSUPPORTED, "%s has no fill-in-the-middle tokens to order",
                           e->model->name);
        out->fim.order = (enum fim_order)plan->order;
    }
    return engine_seq_open(e->engine, n_ctx, &out->seq, msg);
}

void bench_trace_asker_close(struct bench_asker *a)
{
    engine_seq_close(&a->seq);
    bench_asker_clear(a);
}

void bench_trace_add_plan(struct json *j, const struct bench_trace_plan *plan, const struct bench_engine *e,
                          const struct bench_asker *a)
{
    bench_add_machine(j, e);
    json_str(j, "fim", a->fim.family);
    json_str(j, "order", fim_order_name(a->fim.order));
    json_str(j, "kv", plan->engine.kv_type == KERN_KV_Q8_0 ? "q8_0" : "f16");
    json_flag(j, "move", plan->engine.move == ENGINE_MOVE_ON);
    json_flag(j, "speculation", !plan->engine.no_speculation);
    json_flag(j, "refresh", plan->has_refresh);
    json_int(j, "max_tokens", plan->max_tokens);
    json_int(j, "max_prompt_tokens", a->max_prompt);
    json_int(j, "lines_before", plan->lines_before);
    json_int(j, "lines_after", plan->lines_after);
}

/* Touch weights, threads and buffers once, with a prompt that the trace has nothing in common with. */
static enum err warm_up(struct bench_asker *a, struct errmsg *msg)
{
    char text[] = "warm up";
    struct bench_text t = {.text = text, .len = strlen(text), .cursor = strlen(text)};
    struct bench_answer answer = {0};
    enum err err = bench_ask(a, &t, NULL, &answer, msg);
    engine_seq_clear(a->seq, false);
    return err;
}

/* What the plan says is typed; characters that come from the file are taken out of it. */
static enum err take_keys(const struct bench_trace_plan *plan, struct bench_text *t, struct bench_keys *out,
                          struct errmsg *msg)
{
    const char *text = plan->type ? plan->type : t->text + t->cursor;
    size_t left = plan->type ? strlen(text) : t->len - t->cursor, len = 0;
    int32_t n = 0;
    for (; len < left && (plan->type || n < plan->n_keys); n++) len += bench_text_char(text, left, len);
    if (n == 0) return err_set(msg, ERR_ARG, "%s: nothing is left to type there", plan->file);
    *out = (struct bench_keys){.text = mem_try(len, 1), .len = len, .n = n};
    if (!out->text) return err_set(msg, ERR_NOMEM, "not enough memory");
    memcpy(out->text, text, len);
    if (!plan->type) bench_text_delete(t, t->cursor, len);
    return OK;
}

static enum err replay(const struct bench_trace_plan *plan, const char *model, const struct settings *s,
                       struct errmsg *msg)
{
    struct bench_engine e = {0};
    struct bench_asker asker = {0};
    struct bench_text text = {0};
    struct bench_keys keys = {0};
    enum err err = bench_text_open(plan->file, plan->line, plan->column, &text, msg);
    if (!err) err = take_keys(plan, &text, &keys, msg);
    if (!err) err = bench_engine_open(model, s, &plan->engine, (enum bench_packed)plan->packed, &e, msg);
    if (!err) err = bench_trace_asker_open(plan, &e, &asker, msg);
    if (!err) err = warm_up(&asker, msg);
    if (!err) {
        err = plan->rate > 0 ? bench_trace_paced(plan, &e, &asker, &text, &keys, msg)
                             : bench_trace_each(plan, &e, &asker, &text, &keys, msg);
    }
    bench_trace_asker_close(&asker);
    bench_engine_close(&e);
    bench_text_clear(&text);
    mem_free(keys.text);
    return err;
}

/* --- The command ------------------------------------------------------------------------------------- */

/* Options that are words. False after printing what is wrong. */
static bool read_words(struct bench_trace_plan *plan, const char *order, const char *move, const char *kv,
                       const char *packed)
{
    static const char *const orders[] = {"psm", "spm", "model"}; /* as enum fim_order */
    static const char *const moves[] = {"off", "on"};            /* as enum engine_move */
    static const char *const kvs[] = {"f16", "q8_0"};            /* as enum kern_kv_type */
    static const char *const packs[] = {"auto", "on", "off"};    /* as enum bench_packed */
    int32_t move_at = 0, kv_at = 0;
    bool ok = bench_read_choice("order", order, orders, 3, &plan->order) &&
              bench_read_choice("move", move, moves, 2, &move_at) &&
              bench_read_choice("kv", kv, kvs, 2, &kv_at) &&
              bench_read_choice("packed", packed, packs, 3, &plan->packed);
    plan->engine.move = (enum engine_move)move_at;
    plan->engine.kv_type = (enum kern_kv_type)kv_at;
    return ok;
}

/* Options that do not go together. False after printing which. */
static bool check_plan(const struct bench_trace_plan *plan, int n_args)
{
    if (n_args < 1)
        cli_usage_error("name a file to type into: inline bench trace FILE --line L --keys N");
    else if (plan->is_check && (plan->line || plan->type || plan->n_keys || plan->rate > 0))
        cli_usage_error(
            "--check edits files of its own accord: --line, --type, --keys and --rate do not apply");
    else if (!plan->is_check && n_args > 1)
        cli_usage_error("bench trace types into one FILE; --check takes several");
    else if (!plan->is_check && !plan->line)
        cli_usage_error("say where to type: --line L [--column C]");
    else if (!plan->is_check && !plan->type == !plan->n_keys)
        cli_usage_error("say what to type: --type TEXT or --keys N");
    else
        return true;
    return false;
}

int bench_trace(int argc, char **argv, const struct settings *s)
{
    struct bench_trace_plan plan = {.column = 1,
                                    .n_edits = 500,
                                    .lines_before = -1,
                                    .lines_after = -1,
                                    .max_tokens = s->max_tokens,
                                    .n_ctx = s->n_ctx};
    const char *order = "model", *move = s->move, *kv = s->kv, *packed = "auto";
    const struct cli_option options[] = {{"line", CLI_INT, &plan.line, 1, INT32_MAX},
                                         {"column", CLI_INT, &plan.column, 1, INT32_MAX},
                                         {"type", CLI_STRING, &plan.type, 0, 0},
                                         {"keys", CLI_INT, &plan.n_keys, 1, 100000},
                                         {"rate", CLI_FLOAT, &plan.rate, 0.1, 1000},
                                         {"refresh", CLI_FLAG, &plan.has_refresh, 0, 0},
                                         {"check", CLI_FLAG, &plan.is_check, 0, 0},
                                         {"edits", CLI_INT, &plan.n_edits, 1, 1000000},
                                         {"max-prompt-tokens", CLI_INT, &plan.max_prompt, 1, 1 << 20},
                                         {"lines-before", CLI_INT, &plan.lines_before, -1, INT32_MAX - 1},
                                         {"lines-after", CLI_INT, &plan.lines_after, -1, INT32_MAX - 1},
                                         {"order", CLI_STRING, &order, 0, 0},
                                         {"move", CLI_STRING, &move, 0, 0},
                                         {"kv", CLI_STRING, &kv, 0, 0},
                                         {"packed", CLI_STRING, &packed, 0, 0},
                                         {"no-speculation", CLI_FLAG, &plan.engine.no_speculation, 0, 0},
                                         {"json", CLI_FLAG, &plan.is_json, 0, 0},
                                         {0}};
    int n_args;
    plan.engine.no_speculation = strcmp(s->speculation, "off") == 0;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (!read_words(&plan, order, move, kv, packed) || !check_plan(&plan, n_args)) return CLI_USAGE;
    struct errmsg msg = {0};
    char *model = NULL;
    enum err err = cli_pick_model(NULL, s, &model, &msg);
    plan.file = plan.is_check ? NULL : argv[1];
    if (!err) {
        err = plan.is_check ? bench_trace_check(&plan, model, s, argv + 1, n_args, &msg)
                            : replay(&plan, model, s, &msg);
    }
    mem_free(model);
    return err ? cli_fail(&msg) : CLI_OK;
}

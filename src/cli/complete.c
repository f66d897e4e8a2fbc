/* inline complete: one suggestion for a place in a file, by the daemon if one runs, else as a client of the C
 * API like any other program. */
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/complete_daemon.h"
#include "cli/complete_show.h"
#include "context/document.h"
#include "inline.h"
#include "os/clock.h"

#define OUTPUT_MAX     ((size_t)16 << 20)
#define EXIT_INTERRUPT 130 /* what shells report for a command that SIGINT ended */

struct options {
    int64_t line, column; /* 0: not given */
    bool is_json, is_stream, is_show;
    const char *color; /* "auto", "always", "never" */
    const char *name;  /* shown to the model instead of the path */
    const char *file;  /* absolute; null for standard input */
    double temperature, top_p, min_p, repeat_penalty;
    int64_t top_k, seed, max_prompt_tokens, max_prompt_ms, max_predict_ms;
    bool infill, no_daemon;
};

/* A signal handler gets no argument: this is how it finds the request to cancel, and tells that it did. */
static struct inline_model *_Atomic running; /* layers: allow running, for the signal handler */
static atomic_bool was_interrupted;          /* layers: allow was_interrupted, for the signal handler */

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    struct inline_model *m = atomic_load(&running);
    atomic_store(&was_interrupted, true);
    if (m) inline_cancel(m);
}

/* While a request runs, Ctrl-C ends it instead of the process. SA_RESETHAND: the second one ends the process.
 */
static void catch_interrupt(struct inline_model *m)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESETHAND | SA_RESTART};
    sigemptyset(&action.sa_mask);
    atomic_store(&running, m);
    sigaction(SIGINT, &action, NULL);
}

static void release_interrupt(void)
{
    signal(SIGINT, SIG_DFL);
    atomic_store(&running, NULL);
}

/* ---- Streaming ---- */

static bool stream_plain(void *user, const char *text, size_t len)
{
    (void)user;
    return fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0 && !atomic_load(&was_interrupted);
}

static bool stream_json(void *user, const char *text, size_t len)
{
    (void)user;
    struct buf line;
    struct json j;
    buf_init(&line, OUTPUT_MAX);
    json_init(&j, &line);
    json_begin_object(&j, NULL);
    json_str_len(&j, "text", text, len);
    json_end_object(&j);
    bool ok = !line.err && puts(buf_str(&line)) >= 0 && fflush(stdout) == 0;
    buf_clear(&line);
    return ok && !atomic_load(&was_interrupted);
}

/* ---- Results ---- */

struct outcome {
    const struct document *doc;
    size_t cursor;
    struct inline_info info;
    struct inline_result result;
    const char *fallback; /* complete_daemon_answer; or null */
    double total_ms;      /* from the command's start */
};

static void add_json(struct buf *out, const struct outcome *o)
{
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str_len(&j, "text", o->result.text, o->result.len);
    json_str(&j, "model", o->info.name);
    if (o->fallback && *o->fallback) json_str(&j, "fallback", o->fallback);
    json_begin_object(&j, "fim");
    json_str(&j, "family", o->info.fim_family);
    json_str(&j, "order", o->info.fim_order);
    json_str(&j, "detected", o->info.fim_detected);
    json_end_object(&j);
    json_str(&j, "stop_reason", o->result.stop_reason);
    json_num(&j, "mean_logprob", o->result.mean_logprob, 4);
    json_begin_object(&j, "timings");
    json_num(&j, "load_ms", o->info.load_ms, 3);
    json_int(&j, "prompt_tokens", o->result.prompt_tokens);
    json_int(&j, "reused_tokens", o->result.reused_tokens);
    json_num(&j, "prompt_ms", o->result.prompt_ms, 3);
    json_int(&j, "generated_tokens", o->result.generated_tokens);
    json_int(&j, "drafted_tokens", o->result.drafted_tokens);
    json_int(&j, "accepted_tokens", o->result.accepted_tokens);
    json_num(&j, "generate_ms", o->result.generate_ms, 3);
    json_num(&j, "total_ms", o->total_ms, 3);
    json_end_object(&j);
    const char *why = o->result.explanation;
    if (why) json_raw(&j, "explanation", why, strlen(why));
    json_end_object(&j);
    buf_add_char(out, '\n');
}

static bool wants_colour(const char *color)
{
    if (strcmp(color, "always") == 0) return true;
    const char *no_color = getenv("NO_COLOR"); /* no-color.org: any value but an empty one */
    return strcmp(color, "auto") == 0 && isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

static void add_show(struct buf *out, const struct outcome *o, bool has_colour)
{
    const struct inline_result *r = &o->result;
    complete_show(out, o->doc->text, o->doc->len, o->cursor, r->text, r->len, has_colour);
    char note[256];
    snprintf(note, sizeof note, "%s: %d prompt tokens in %.0f ms, %d tokens in %.0f ms (%s), %.0f ms %s",
             o->info.name, r->prompt_tokens, r->prompt_ms, r->generated_tokens, r->generate_ms,
             r->stop_reason, o->total_ms, o->info.load_ms > 0 ? "with loading" : "in all, by the daemon");
    complete_show_note(out, note, has_colour);
}

static int fail_with(const char *error)
{
    struct errmsg msg;
    snprintf(msg.text, sizeof msg.text, "%s", error);
    return cli_fail(&msg);
}

static int print_outcome(const struct options *options, const struct outcome *o)
{
    struct buf out;
    buf_init(&out, OUTPUT_MAX);
    if (options->is_json)
        add_json(&out, o);
    else if (options->is_show)
        add_show(&out, o, wants_colour(options->color));
    else if (!options->is_stream)
        buf_add(&out, o->result.text, o->result.len);
    int status = cli_print(&out);
    if (status == CLI_OK && ferror(stdout)) status = fail_with("cannot write the output");
    return status == CLI_OK && atomic_load(&was_interrupted) ? EXIT_INTERRUPT : status;
}

/* ---- The command ---- */

static struct inline_request request_from(const struct options *options, const struct settings *s,
                                          const struct outcome *o)
{
    struct inline_request r = {.text = o->doc->text,
                               .len = o->doc->len,
                               .cursor = o->cursor,
                               .path = options->name,
                               .max_tokens = s->max_tokens,
                               .max_prompt_tokens = (int32_t)options->max_prompt_tokens,
                               .temperature = (float)options->temperature,
                               .top_k = (int32_t)options->top_k,
                               .top_p = (float)options->top_p,
                               .min_p = (float)options->min_p,
                               .repeat_penalty = (float)options->repeat_penalty,
                               .infill = options->infill,
                               .max_prompt_ms = (double)options->max_prompt_ms,
                               .max_predict_ms = (double)options->max_predict_ms,
                               .seed = (uint64_t)options->seed,
                               .explain = options->is_json};
    if (options->is_stream) r.on_text = options->is_json ? stream_json : stream_plain;
    return r;
}

static void warn_without_fim(const struct inline_info *info)
{
    if (strcmp(info->fim_family, "none") != 0) return;
    fprintf(stderr,
            "inline: %s has no fill-in-the-middle tokens; completing from the text before the cursor only\n",
            info->name);
}

/* Another model than the one on other machines that was asked for. */
static void warn_of_other_model(const struct settings *s, const struct complete_daemon_answer *a)
{
    const struct settings_remote *asked = settings_remote(s, s->model);
    if (a->fallback && *a->fallback)
        fprintf(stderr, "inline: %s answered instead: %s\n", a->info.name, a->fallback);
    else if (asked && strcasecmp(asked->name, a->info.name) != 0)
        fprintf(stderr,
                "inline: the daemon does not know %s, which its settings did not have when it started; %s "
                "answered\n",
                asked->name, a->info.name);
}

/* By the daemon. False: it cannot be asked, or there is none. */
static bool complete_by_daemon(const struct options *options, const struct settings *s, struct outcome *o,
                               int64_t start, int *status)
{
    struct complete_daemon_answer answer;
    struct errmsg msg = {0};
    struct inline_request request = request_from(options, s, o);
    if (options->no_daemon || !complete_daemon_suits(&request, s)) return false;
    enum err err = complete_daemon_ask(&request, options->file, s, &answer, &msg);
    bool is_possible_here = !settings_remote(s, s->model);
    if (err == ERR_NOT_FOUND || (err == ERR_UNSUPPORTED && is_possible_here)) return false;
    if (err) {
        *status = cli_fail(&msg);
        return true;
    }
    o->info = answer.info;
    o->result = answer.result;
    o->fallback = answer.fallback;
    o->total_ms = clock_ms_since(start);
    warn_without_fim(&o->info);
    warn_of_other_model(s, &answer);
    *status = print_outcome(options, o);
    complete_daemon_clear(&answer);
    return true;
}

static int complete_with(struct inline_model *m, const struct options *options, const struct settings *s,
                         struct outcome *o, int64_t start)
{
    char error[INLINE_ERROR_MAX];
    inline_info(m, &o->info);
    warn_without_fim(&o->info);
    struct inline_request request = request_from(options, s, o);
    catch_interrupt(m);
    bool ok = inline_complete(m, &request, &o->result, error);
    release_interrupt();
    if (!ok) return fail_with(error);
    o->total_ms = clock_ms_since(start);
    int status = print_outcome(options, o);
    inline_result_clear(&o->result);
    return status;
}

static enum inline_precision precision_from(const struct settings *s)
{
    if (strcmp(s->precision, "full") == 0) return INLINE_PRECISION_FULL;
    if (strcmp(s->precision, "mixed") == 0) return INLINE_PRECISION_MIXED;
    return strcmp(s->precision, "quantized") == 0 ? INLINE_PRECISION_QUANTIZED : INLINE_PRECISION_AUTO;
}

static int complete_at(const struct document *doc, size_t cursor, const struct options *options,
                       const struct settings *s, int64_t start)
{
    struct errmsg msg = {0};
    struct outcome outcome = {.doc = doc, .cursor = cursor};
    char error[INLINE_ERROR_MAX], *path = NULL;
    int status;
    if (complete_by_daemon(options, s, &outcome, start, &status)) return status;
    if (cli_pick_model(NULL, s, &path, &msg)) return cli_fail(&msg);
    struct inline_options open = {.isa = s->isa[0] ? s->isa : NULL,
                                  .n_threads = s->threads,
                                  .n_ctx = s->n_ctx,
                                  .pack = cli_pack_dir(s) ? INLINE_PACK_USE : INLINE_PACK_OFF,
                                  .precision = precision_from(s),
                                  .mxfp8 = strcmp(s->eight_bit, "mxfp8") == 0,
                                  .kv = strcmp(s->kv, "q8_0") == 0 ? INLINE_KV_Q8_0 : INLINE_KV_F16,
                                  .kv_dir = s->kv_mb > 0 ? "" : NULL,
                                  .kv_disk_bytes = (int64_t)s->kv_mb * 1000000,
                                  .move = strcmp(s->move, "on") == 0,
                                  .no_speculation = strcmp(s->speculation, "off") == 0,
                                  .window_only = strcmp(s->builder, "off") == 0,
                                  .secret_files = s->secret_files,
                                  .secret_contents = s->secret_contents};
    struct inline_model *m = inline_open(path, &open, error);
    mem_free(path);
    if (!m) return fail_with(error);
    status = complete_with(m, options, s, &outcome, start);
    inline_close(m);
    return status;
}

/* What does not make sense together; prints what is wrong. */
static bool check_options(const struct options *o)
{
    if (o->is_show && (o->is_json || o->is_stream)) {
        cli_usage_error("--show is for people and goes with neither --json nor --stream");
    } else if (o->column && !o->line) {
        cli_usage_error("--column needs --line");
    } else if (strcmp(o->color, "auto") != 0 && strcmp(o->color, "always") != 0 &&
               strcmp(o->color, "never") != 0) {
        cli_usage_error("--color is one of: auto always never; not \"%s\"", o->color);
    } else {
        return true;
    }
    return false;
}

int cli_complete(int argc, char **argv, const struct settings *s)
{
    int64_t start = clock_ns();
    struct options o = {.color = "auto"};
    const struct cli_option table[] = {{"line", CLI_INT, &o.line, 1, INT32_MAX},
                                       {"column", CLI_INT, &o.column, 1, INT32_MAX},
                                       {"json", CLI_FLAG, &o.is_json, 0, 0},
                                       {"stream", CLI_FLAG, &o.is_stream, 0, 0},
                                       {"show", CLI_FLAG, &o.is_show, 0, 0},
                                       {"color", CLI_STRING, &o.color, 0, 0},
                                       {"name", CLI_STRING, &o.name, 0, 0},
                                       {"max-prompt-tokens", CLI_INT, &o.max_prompt_tokens, 1, 1 << 20},
                                       {"temperature", CLI_FLOAT, &o.temperature, 0, 100},
                                       {"top-k", CLI_INT, &o.top_k, 0, INT32_MAX},
                                       {"top-p", CLI_FLOAT, &o.top_p, 0, 1},
                                       {"min-p", CLI_FLOAT, &o.min_p, 0, 1},
                                       {"repeat-penalty", CLI_FLOAT, &o.repeat_penalty, 0, 10},
                                       {"seed", CLI_INT, &o.seed, 0, INT32_MAX},
                                       {"no-daemon", CLI_FLAG, &o.no_daemon, 0, 0},
                                       {"infill", CLI_FLAG, &o.infill, 0, 0},
                                       {"max-prompt-ms", CLI_INT, &o.max_prompt_ms, 0, INT32_MAX},
                                       {"max-predict-ms", CLI_INT, &o.max_predict_ms, 0, INT32_MAX},
                                       {0}};
    int n_args;
    if (!cli_parse(argc, argv, table, &n_args) || !check_options(&o)) return CLI_USAGE;
    if (n_args != 1) return cli_usage_error("name one file to complete, or - for standard input");
    const char *file = argv[1];
    char absolute[PATH_MAX];
    if (strcmp(file, "-") != 0) {
        if (!o.name) o.name = file;
        o.file = realpath(file, absolute);
    }

    struct errmsg msg = {0};
    struct document *doc = NULL;
    if (document_open(file, &doc, &msg)) return cli_fail(&msg);
    if (doc->was_latin1) log_line(LOG_INFO, "%s is not UTF-8; read as Latin-1", doc->path);
    size_t cursor = doc->len;
    enum err err = o.line ? document_offset(doc, o.line, o.column, &cursor, &msg) : OK;
    int status = err ? cli_fail(&msg) : complete_at(doc, cursor, &o, s, start);
    document_free(&doc);
    return status;
}

/* `inline model check` of a model on other machines: each of its servers in turn is asked what it has, and to
 * fill known holes. Findings are told as those of `inline doctor`. What a small model may just not know is a
 * warning; what cannot work is a problem. */
#include "cli/model_remote.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/doctor.h"
#include "cli/model_remote_hole.h"
#include "cli/settings_url.h"
#include "complete/remote_prompt.h"
#include "os/clock.h"

#define REPORT_LIMIT ((size_t)1 << 20)
#define TEXT_LIMIT   1024
#define SHOWN_MAX    60    /* bytes of an answer in a message */
#define ANSWER_MS    30000 /* at least, for an answer: the server may have to load the model first */

/* The check of one server. */
struct check {
    struct doctor *d;
    const struct settings_remote *r;
    const struct settings *s;
    const char *url, *key;
    struct remote *remote; /* to that server only */
    struct remote_traits traits;
    struct hole_answer answers[HOLES][HOLE_VARIANTS];
};

/* --- What it says about itself -------------------------------------------------------------------------- */

/* name: of what was tried. */
static void tell_failure(const struct check *c, const char *name, enum err err, const struct errmsg *msg)
{
    char try_it[REMOTE_NAME_MAX + 32];
    snprintf(try_it, sizeof try_it, "to see what happens: curl -v %s", c->url);
    const char *advice = try_it;
    if (err == ERR_DENIED) {
        name = "key";
        advice = *c->key
                     ? "is that the key which this server takes?"
                     : "write it into a file that only you may read (chmod 600), and name that in key_file";
    } else if (err == ERR_NOT_FOUND) {
        name = "model";
        advice = "set model to a name that it has, or load that model there";
    } else if (err == ERR_FORMAT) {
        advice = "set api to what it speaks: openai, llama or ollama; see urls, too";
    } else if (err == ERR_LIMIT) {
        advice = "it has too much to do, or allows fewer requests: try again later";
    } else if (c->traits.is_known && !c->traits.has_fim && strcmp(c->r->fim, "server") == 0) {
        advice = "it cannot fill in by itself: set fim = auto, or to the model's family";
    } else if (err == ERR_ARG) {
        advice = "see the server's log; a context that is too large is one reason";
    }
    doctor_tell(c->d, DOCTOR_PROBLEM, name, advice, "%s", msg->text);
}

static void tell_traits(const struct check *c)
{
    const struct remote_traits *t = &c->traits;
    const char *name = *c->r->model ? c->r->model : t->model;
    struct buf text;
    buf_init(&text, TEXT_LIMIT);
    buf_printf(&text, "%s", *name ? name : "the one that the server has");
    if (*t->base && strcmp(t->base, name) != 0) buf_printf(&text, " (%s)", t->base);
    if (t->n_ctx > 0) buf_printf(&text, ", %" PRId32 " tokens of context", t->n_ctx);
    doctor_tell(c->d, DOCTOR_OK, "model", "", "%s", buf_str(&text));
    if (t->n_ctx > 0 && c->r->n_ctx > t->n_ctx)
        doctor_tell(c->d, DOCTOR_PROBLEM, "model", "lower context, or unset it",
                    "context = %" PRId32 " is more than the server's %" PRId32 " tokens", c->r->n_ctx,
                    t->n_ctx);
    buf_clear(&text);
}

static bool sees_suffix(const struct check *c)
{
    struct fim fim;
    bool is_servers;
    remote_prompt_fim(c->r->fim, &c->traits, &fim, &is_servers);
    return is_servers || fim.order != FIM_PREFIX_ONLY;
}

static void tell_fim(const struct check *c)
{
    struct buf text;
    bool is_fine = sees_suffix(c) || strcmp(c->r->fim, "none") == 0;
    buf_init(&text, TEXT_LIMIT);
    model_remote_describe_fim(c->r, &c->traits, &text);
    doctor_tell(c->d, is_fine ? DOCTOR_OK : DOCTOR_WARNING, "fill-in",
                is_fine ? "" : "if it was trained to fill in, set fim to its family (qwen, starcoder ...)",
                "%s", buf_str(&text));
    buf_clear(&text);
}

static bool learn(struct check *c)
{
    struct errmsg msg = {0};
    enum err err = model_remote_open(c->r, c->s, c->url, c->key, MODEL_REMOTE_LEARN_MS, &c->remote, &msg);
    int64_t start = clock_ns();
    if (!err) err = remote_learn(c->remote, &c->traits, &msg);
    double ms = clock_ms_since(start);
    remote_free(&c->remote);
    if (err) {
        tell_failure(c, "server", err, &msg);
        return false;
    }
    doctor_tell(c->d, DOCTOR_OK, "server", "", "connected and answered in %.0f ms", ms);
    tell_traits(c);
    tell_fim(c);
    return true;
}

/* --- How it fills holes --------------------------------------------------------------------------------- */

static bool ask(struct check *c, int hole, int variant)
{
    struct hole_answer *a = &c->answers[hole][variant];
    if (hole_ask(c->remote, c->r->fim, c->r->n_ctx, hole_at(hole, variant), a)) return true;
    tell_failure(c, "answer", a->report.err, &a->report.msg);
    return false;
}

static enum hole_verdict judge(const struct check *c, int hole, int variant, const char **mark)
{
    return hole_judge(hole_at(hole, variant), buf_str(&c->answers[hole][variant].raw), mark);
}

/* The beginning of an answer, on one line. */
static const char *shown(const struct hole_answer *a, struct errmsg *out)
{
    const char *raw = buf_str(&a->raw);
    raw += strspn(raw, " \t\r\n");
    size_t len = strcspn(raw, "\n");
    bool is_cut = len > SHOWN_MAX;
    (void)err_set(out, OK, "%.*s%s", (int)(is_cut ? SHOWN_MAX : len), raw, is_cut ? " ..." : "");
    return out->text;
}

/* The same whatever stands behind the gap. */
static bool is_blind(const struct check *c, int hole)
{
    return strcmp(buf_str(&c->answers[hole][0].raw), buf_str(&c->answers[hole][1].raw)) == 0;
}

/* Problems that one answer shows by itself. */
static bool tell_oddity(const struct check *c, int hole, int variant)
{
    const char *mark;
    struct errmsg text;
    const struct hole_answer *a = &c->answers[hole][variant];
    switch (judge(c, hole, variant, &mark)) {
    case HOLE_MARKS:
        doctor_tell(
            c->d, DOCTOR_PROBLEM, "answer",
            "set fim = server if it can fill in by itself, or the model's own family; see inline model info",
            "it wrote %s as text: the server does not read FIM tokens as such, or the model has others",
            mark);
        return true;
    case HOLE_CHAT:
        doctor_tell(
            c->d, DOCTOR_PROBLEM, "answer",
            "serve a model that was made to fill in (a base or coder model), or set fim to its family",
            "this looks like a chat model's answer: \"%s\"", shown(a, &text));
        return true;
    case HOLE_EMPTY:
        doctor_tell(c->d, DOCTOR_WARNING, "answer",
                    "set fim = server, or the family that the model was trained as; fim = none otherwise",
                    "it filled a hole with nothing");
        return true;
    case HOLE_RIGHT:
    case HOLE_OTHER:
        break;
    }
    return false;
}

/* The verdict on a pair of variants. True: nothing more needs to be asked. */
static bool tell_pair(const struct check *c, int hole)
{
    const char *mark;
    struct errmsg text;
    if (judge(c, hole, 0, &mark) == HOLE_RIGHT && judge(c, hole, 1, &mark) == HOLE_RIGHT) {
        doctor_tell(c->d, DOCTOR_OK, "answer", "",
                    "it fills in what only the text behind the cursor tells: \"%s\"",
                    shown(&c->answers[hole][1], &text));
        return true;
    }
    for (int variant = 0; variant < HOLE_VARIANTS; variant++) {
        if (tell_oddity(c, hole, variant)) return true;
    }
    return false;
}

static void tell_doubts(const struct check *c)
{
    struct errmsg text;
    bool is_sure = true;
    for (int hole = 0; hole < HOLES; hole++) is_sure &= is_blind(c, hole);
    if (is_sure)
        doctor_tell(
            c->d, DOCTOR_PROBLEM, "answer",
            "set fim to the family that the model was trained as (qwen, starcoder ...)",
            "the server ignores what follows the cursor: the same answer before different ends, \"%s\"",
            shown(&c->answers[0][0], &text));
    else
        doctor_tell(c->d, DOCTOR_WARNING, "answer",
                    "small models may not know better; if yours should, try another fim",
                    "it sees what follows the cursor, but did not fill in what that asks for: \"%s\"",
                    shown(&c->answers[HOLES - 1][1], &text));
}

/* The model sees only what precedes the cursor: any text is right that is code. */
static void tell_continuation(const struct check *c)
{
    struct errmsg text;
    if (!tell_oddity(c, 0, 0))
        doctor_tell(c->d, DOCTOR_OK, "answer", "", "it goes on with \"%s\"", shown(&c->answers[0][0], &text));
}

static bool fill(struct check *c)
{
    if (!sees_suffix(c)) {
        tell_continuation(c);
        return true;
    }
    for (int hole = 0; hole < HOLES; hole++) {
        /* The first answer to the first hole is there already. */
        for (int variant = hole == 0; variant < HOLE_VARIANTS; variant++) {
            if (!ask(c, hole, variant)) return false;
        }
        if (tell_pair(c, hole)) return true;
    }
    tell_doubts(c);
    return true;
}

/* --- How fast it is ------------------------------------------------------------------------------------- */

/* Of the answer that was asked for last: the first one pays for what the server loads first. */
static const struct remote_report *last_report(const struct check *c)
{
    const struct remote_report *last = NULL;
    for (int hole = 0; hole < HOLES; hole++) {
        for (int variant = 0; variant < HOLE_VARIANTS; variant++) {
            const struct hole_answer *a = &c->answers[hole][variant];
            if (a->is_there) last = &a->report;
        }
    }
    return last;
}

static void tell_speed(const struct check *c)
{
    const struct remote_report *first = &c->answers[0][0].report, *last = last_report(c);
    int32_t n = last->n_generated - 1; /* after the first */
    double cold_ms = first->queue_ms + first->first_ms + first->generate_ms;
    struct buf text;
    buf_init(&text, TEXT_LIMIT);
    buf_printf(&text, "first token after %.0f ms", last->first_ms);
    if (n > 0 && last->generate_ms > 0)
        buf_printf(&text, ", then %.0f tokens a second", n * 1000.0 / last->generate_ms);
    bool is_late =
        *c->s->instant && c->s->remote_patience_ms > 0 && last->first_ms > c->s->remote_patience_ms;
    doctor_tell(c->d, is_late ? DOCTOR_WARNING : DOCTOR_OK, "speed",
                is_late ? "models.instant will often answer instead; see remote.patience_ms" : "", "%s",
                buf_str(&text));
    buf_clear(&text);
    if (cold_ms > c->s->remote_timeout_ms)
        doctor_tell(c->d, DOCTOR_WARNING, "speed", "keep the model loaded there, or raise remote.timeout_ms",
                    "the first answer took %.1f s, more than remote.timeout_ms (%" PRId32 ") allows",
                    cold_ms / 1000, c->s->remote_timeout_ms);
}

/* --- All of it ------------------------------------------------------------------------------------------ */

static void try_holes(struct check *c)
{
    struct errmsg msg = {0};
    double timeout_ms = c->s->remote_timeout_ms > ANSWER_MS ? c->s->remote_timeout_ms : ANSWER_MS;
    enum err err = model_remote_open(c->r, c->s, c->url, c->key, timeout_ms, &c->remote, &msg);
    if (err) {
        tell_failure(c, "answer", err, &msg);
    } else if (ask(c, 0, 0)) {
        if (*c->key) doctor_tell(c->d, DOCTOR_OK, "key", "", "accepted");
        if (fill(c)) tell_speed(c);
    }
    remote_free(&c->remote);
    for (int i = 0; i < HOLES * HOLE_VARIANTS; i++)
        hole_answer_clear(&c->answers[i / HOLE_VARIANTS][i % HOLE_VARIANTS]);
}

static void begin_checks(struct doctor *d, const char *url)
{
    if (!d->is_json) {
        if (url) buf_printf(&d->out, "%s\n", url);
        return;
    }
    if (url) {
        json_begin_object(&d->j, NULL);
        json_str(&d->j, "url", url);
    }
    json_begin_array(&d->j, "checks");
}

static void end_checks(struct doctor *d, const char *url)
{
    if (!d->is_json) return;
    json_end_array(&d->j);
    if (url) json_end_object(&d->j);
}

/* Its servers are taken to be equal: each request may go to any. */
static void compare(struct doctor *d, const struct remote_traits *all, int32_t n)
{
    const struct remote_traits *first = NULL;
    for (int32_t i = 0; i < n; i++) {
        if (!all[i].is_known) continue;
        if (!first) first = &all[i];
        if (strcmp(first->model, all[i].model) == 0 && first->has_fim == all[i].has_fim &&
            first->n_ctx == all[i].n_ctx)
            continue;
        doctor_tell(d, DOCTOR_WARNING, "servers", "give each model a section of its own",
                    "they differ: \"%s\" with %" PRId32 " tokens here, \"%s\" with %" PRId32 " there",
                    first->model, first->n_ctx, all[i].model, all[i].n_ctx);
        return;
    }
}

static void check_servers(struct doctor *d, const struct settings_remote *r, const char *key)
{
    struct remote_traits all[REMOTE_SERVERS_MAX] = {0};
    const char *rest = r->urls, *at;
    size_t len;
    int32_t n = 0;
    if (d->is_json) json_begin_array(&d->j, "servers");
    for (; n < REMOTE_SERVERS_MAX && settings_url_next(&rest, &at, &len); n++) {
        char url[REMOTE_NAME_MAX];
        snprintf(url, sizeof url, "%.*s", (int)len, at);
        struct check c = {.d = d, .r = r, .s = d->s, .url = url, .key = key};
        begin_checks(d, url);
        if (learn(&c)) try_holes(&c);
        end_checks(d, url);
        all[n] = c.traits;
    }
    if (d->is_json) json_end_array(&d->j);
    begin_checks(d, NULL);
    compare(d, all, n);
    end_checks(d, NULL);
}

/* In place of the servers, which are not asked without the key. */
static void tell_no_key(struct doctor *d, const struct errmsg *msg)
{
    begin_checks(d, NULL);
    doctor_tell(d, DOCTOR_PROBLEM, "key", "", "%s", msg->text);
    end_checks(d, NULL);
}

int model_remote_check(const struct settings_remote *r, const struct settings *s, bool is_json)
{
    struct doctor d = {.s = s, .is_json = is_json};
    struct errmsg msg = {0};
    char *key = NULL;
    buf_init(&d.out, REPORT_LIMIT);
    json_init(&d.j, &d.out);
    if (is_json) {
        json_begin_object(&d.j, NULL);
        json_str(&d.j, "name", r->name);
        json_str(&d.j, "api", r->api);
    }
    if (settings_remote_key(r, &key, &msg))
        tell_no_key(&d, &msg);
    else
        check_servers(&d, r, key);
    if (key) explicit_bzero(key, strlen(key));
    mem_free(key);
    if (is_json) {
        json_flag(&d.j, "ok", d.n[DOCTOR_PROBLEM] == 0);
        json_int(&d.j, "warnings", d.n[DOCTOR_WARNING]);
        json_int(&d.j, "problems", d.n[DOCTOR_PROBLEM]);
        json_end_object(&d.j);
        buf_add_char(&d.out, '\n');
    }
    int status = cli_print(&d.out);
    return d.n[DOCTOR_PROBLEM] > 0 ? CLI_FAILED : status;
}

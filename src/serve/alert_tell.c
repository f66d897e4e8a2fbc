/* Telling alerts by a command and by a webhook: see alert_tell.h.
 *
 * A channel is a queue whose first note is being told. An attempt begins with the channel's `start` and ends
 * with finish(), in a later callback of the loop; in between the channel is busy. A webhook's attempt waits
 * on a thread of libuv's pool, which has a copy of all that it needs. Memory goes when no handle and no
 * thread uses it any more. */
#include "serve/alert_tell.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/post.h"
#include "watch/alerts.h"

extern char **environ;

#define QUEUE_MAX    16 /* notes: each rule firing and resolving once, and some */
#define N_RETRIES    3
#define COMMAND_MS   30000
#define POST_MS      10000
#define BODY_MAX     ((size_t)16 << 10)
#define VARIABLE_MAX 512 /* of the command's environment; longer than any message with its name */

static const int retry_s[N_RETRIES] = {1, 5, 25};

struct note {
    struct alert alert;
    struct alert_rule rule; /* a copy: its strings are constants, itself it goes with the alerts */
};

struct channel {
    struct alert_tell *tell;
    const char *name; /* the setting's, for the log */
    void (*start)(struct channel *c);
    uv_timer_t timer; /* busy: the command has run too long; else: the next attempt */
    struct note notes[QUEUE_MAX];
    int n_notes;
    int n_failed; /* attempts at the first note */
    bool is_busy;
};

struct alert_tell {
    uv_loop_t *loop;
    struct channel command, webhook; /* without one, its `start` is null */
    char *shell_line;                /* owned */
    uv_process_t process;
    bool was_stopped; /* the command, because it ran too long */
    int64_t exit_status;
    struct post *post; /* owned */
    uv_work_t work;
    struct buf body;
    atomic_bool cancel;
    /* Written by the thread that posts, read when it is done. */
    enum err post_err;
    int post_status;
    struct errmsg post_msg;

    bool is_closing;
    int n_users; /* handles that are not closed, and the thread that posts */
};

/* --- Life --------------------------------------------------------------------------------------------- */

static void let_go(struct alert_tell *t)
{
    if (--t->n_users > 0) return;
    post_close(&t->post);
    buf_clear(&t->body);
    mem_free(t->shell_line);
    mem_free(t);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct channel *c = handle->data;
    let_go(c->tell);
}

static void open_channel(struct alert_tell *t, struct channel *c, const char *name,
                         void (*start)(struct channel *c))
{
    c->tell = t;
    c->name = name;
    c->start = start;
    uv_timer_init(t->loop, &c->timer);
    c->timer.data = c;
    t->n_users++;
}

/* --- Attempts ----------------------------------------------------------------------------------------- */

static void start_next(struct channel *c)
{
    if (c->tell->is_closing || c->n_notes == 0) return;
    c->is_busy = true;
    c->start(c);
}

static void on_retry(uv_timer_t *timer)
{
    start_next(timer->data);
}

static void drop_note(struct channel *c, int i)
{
    c->n_notes--;
    memmove(&c->notes[i], &c->notes[i + 1], (size_t)(c->n_notes - i) * sizeof *c->notes);
}

/* The attempt is over. why: null if the first note is told. */
static void finish(struct channel *c, const char *why)
{
    c->is_busy = false;
    if (c->tell->is_closing) return;
    if (why && c->n_failed < N_RETRIES) {
        int seconds = retry_s[c->n_failed++];
        log_line(LOG_WARN, "%s: %s; trying again in %d s", c->name, why, seconds);
        uv_timer_start(&c->timer, on_retry, (uint64_t)seconds * 1000, 0);
        return;
    }
    if (why) log_line(LOG_WARN, "%s: %s; %s is not told", c->name, why, c->notes[0].rule.name);
    drop_note(c, 0);
    c->n_failed = 0;
    start_next(c);
}

static void add_note(struct channel *c, const struct alert *alert)
{
    if (!c->start) return;
    if (c->n_notes == QUEUE_MAX) {
        log_line(LOG_WARN, "%s: too far behind; %s is not told", c->name, c->notes[1].rule.name);
        drop_note(c, 1);
    }
    struct note *note = &c->notes[c->n_notes++];
    *note = (struct note){.alert = *alert, .rule = *alert->rule};
    bool waits_for_retry = c->n_failed > 0;
    if (!c->is_busy && !waits_for_retry) start_next(c);
}

static const char *state_name(const struct note *n)
{
    return n->alert.is_firing ? "firing" : "resolved";
}

/* --- The command -------------------------------------------------------------------------------------- */

static void on_process_closed(uv_handle_t *handle)
{
    struct alert_tell *t = handle->data;
    char why[96];
    if (t->was_stopped) {
        snprintf(why, sizeof why, "the command ran for %d s and was ended", COMMAND_MS / 1000);
    } else if (t->exit_status < 0) {
        snprintf(why, sizeof why, "cannot be run: %s", uv_strerror((int)t->exit_status));
    } else {
        snprintf(why, sizeof why, "the command failed (status %d)", (int)t->exit_status);
    }
    finish(&t->command, t->exit_status == 0 && !t->was_stopped ? NULL : why);
    let_go(t);
}

/* A command that a signal ended has failed as the shell has it: 128 and the signal's number. */
static void on_exit(uv_process_t *process, int64_t status, int signal_number)
{
    struct alert_tell *t = process->data;
    t->exit_status = signal_number ? 128 + signal_number : status;
    uv_timer_stop(&t->command.timer);
    if (!uv_is_closing((uv_handle_t *)process)) uv_close((uv_handle_t *)process, on_process_closed);
}

/* It leads a process group of its own (UV_PROCESS_DETACHED), so that what it has started ends too. */
static void stop_command(struct alert_tell *t)
{
    (void)uv_kill(-uv_process_get_pid(&t->process), SIGKILL);
}

static void on_too_long(uv_timer_t *timer)
{
    struct channel *c = timer->data;
    c->tell->was_stopped = true;
    stop_command(c->tell);
}

#define N_VARIABLES 6

/* The daemon's environment and the note's: pointers into the first, and into `own`. The caller frees the
 * array. Null: out of memory. */
static char **make_environment(const struct note *n, char own[N_VARIABLES][VARIABLE_MAX])
{
    size_t n_inherited = 0, used = 0;
    while (environ[n_inherited]) n_inherited++;
    char **all = mem_try(n_inherited + N_VARIABLES + 1, sizeof *all);
    if (!all) return NULL;
    for (size_t i = 0; i < n_inherited; i++) {
        if (strncmp(environ[i], "INLINE_ALERT", strlen("INLINE_ALERT")) != 0) all[used++] = environ[i];
    }
    snprintf(own[0], VARIABLE_MAX, "INLINE_ALERT=%s", n->rule.name);
    snprintf(own[1], VARIABLE_MAX, "INLINE_ALERT_STATE=%s", state_name(n));
    snprintf(own[2], VARIABLE_MAX, "INLINE_ALERT_SEVERITY=%s", alert_severity_name(n->rule.severity));
    snprintf(own[3], VARIABLE_MAX, "INLINE_ALERT_MESSAGE=%s", n->alert.message);
    snprintf(own[4], VARIABLE_MAX, "INLINE_ALERT_TODO=%s", n->rule.todo);
    snprintf(own[5], VARIABLE_MAX, "INLINE_ALERT_VALUE=%.3f", n->alert.value);
    for (size_t i = 0; i < N_VARIABLES; i++) all[used++] = own[i];
    return all;
}

static int spawn(struct alert_tell *t, char **environment)
{
    char shell[] = "/bin/sh", option[] = "-c";
    char *args[] = {shell, option, t->shell_line, NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_INHERIT_FD, .data.fd = 2}};
    uv_process_options_t options = {.file = shell,
                                    .args = args,
                                    .env = environment,
                                    .flags = UV_PROCESS_DETACHED,
                                    .stdio = stdio,
                                    .stdio_count = 3,
                                    .exit_cb = on_exit};
    return uv_spawn(t->loop, &t->process, &options);
}

static void run_command(struct channel *c)
{
    struct alert_tell *t = c->tell;
    char variables[N_VARIABLES][VARIABLE_MAX];
    char **environment = make_environment(&c->notes[0], variables);
    if (!environment) {
        finish(c, err_text(ERR_NOMEM));
        return;
    }
    t->process.data = t;
    t->was_stopped = false;
    t->exit_status = spawn(t, environment);
    mem_free(environment);
    t->n_users++;
    if (t->exit_status == 0) {
        uv_timer_start(&c->timer, on_too_long, COMMAND_MS, 0);
    } else { /* the handle is to be closed all the same */
        uv_close((uv_handle_t *)&t->process, on_process_closed);
    }
}

/* --- The webhook -------------------------------------------------------------------------------------- */

static void write_body(const struct note *n, struct buf *out)
{
    struct json j;
    char text[2 * VARIABLE_MAX];
    snprintf(text, sizeof text, n->alert.is_firing ? "Inline, %s: %s (%s)" : "Inline, %s, over: %s",
             alert_severity_name(n->rule.severity), n->alert.message, n->rule.todo);
    buf_reset(out);
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str(&j, "name", n->rule.name);
    json_str(&j, "state", state_name(n));
    json_str(&j, "severity", alert_severity_name(n->rule.severity));
    json_str(&j, "message", n->alert.message);
    json_str(&j, "todo", n->rule.todo);
    json_num(&j, "value", n->alert.value, 3);
    json_num(&j, "threshold", n->alert.threshold, 3);
    json_int(&j, "since_ms", n->alert.since_us / 1000);
    json_int(&j, "until_ms", n->alert.until_us / 1000);
    json_str(&j, "text", text);
    json_end_object(&j);
}

/* Thread: libuv's pool. */
static void on_work(uv_work_t *work)
{
    struct alert_tell *t = work->data;
    t->post_err = post_send(t->post, "application/json", t->body.data, t->body.len, POST_MS, &t->cancel,
                            &t->post_status, &t->post_msg);
}

static void on_posted(uv_work_t *work, int status)
{
    struct alert_tell *t = work->data;
    char why[ERRMSG_MAX + 64] = "";
    if (status < 0) {
        snprintf(why, sizeof why, "%s", uv_strerror(status));
    } else if (t->post_err) {
        snprintf(why, sizeof why, "%s", t->post_msg.text);
    } else if (t->post_status < 200 || t->post_status > 299) {
        snprintf(why, sizeof why, "%s answered %d", post_host(t->post), t->post_status);
    }
    finish(&t->webhook, *why ? why : NULL);
    let_go(t);
}

static void post_note(struct channel *c)
{
    struct alert_tell *t = c->tell;
    write_body(&c->notes[0], &t->body);
    if (t->body.err) {
        finish(c, err_text(t->body.err));
        return;
    }
    t->work.data = t;
    t->n_users++;
    (void)uv_queue_work(t->loop, &t->work, on_work, on_posted); /* fails without a callback only */
}

/* --- Both --------------------------------------------------------------------------------------------- */

enum err alert_tell_new(struct uv_loop_s *loop, const char *command, const char *webhook,
                        struct alert_tell **out, struct errmsg *msg)
{
    struct errmsg why = {0};
    struct alert_tell *t = MEM_NEW(struct alert_tell);
    t->loop = loop;
    buf_init(&t->body, BODY_MAX);
    if (*webhook) {
        enum err err = post_open(webhook, &t->post, &why);
        if (err) {
            mem_free(t);
            *out = NULL;
            return err_set(msg, err, "alerts.webhook: %s", why.text);
        }
    }
    if (*command) t->shell_line = mem_dup_str(command);
    open_channel(t, &t->command, "alerts.command", *command ? run_command : NULL);
    open_channel(t, &t->webhook, "alerts.webhook", *webhook ? post_note : NULL);
    *out = t;
    return OK;
}

void alert_tell(struct alert_tell *t, const struct alert *alert)
{
    add_note(&t->command, alert);
    add_note(&t->webhook, alert);
}

void alert_tell_free(struct alert_tell **tp)
{
    struct alert_tell *t = *tp;
    *tp = NULL;
    if (!t) return;
    t->is_closing = true;
    atomic_store_explicit(&t->cancel, true, memory_order_relaxed);
    if (t->webhook.is_busy) (void)uv_cancel((uv_req_t *)&t->work); /* if it has not begun */
    if (t->command.is_busy && !uv_is_closing((uv_handle_t *)&t->process)) {
        stop_command(t);
        uv_close((uv_handle_t *)&t->process, on_process_closed);
    }
    uv_close((uv_handle_t *)&t->command.timer, on_timer_closed);
    uv_close((uv_handle_t *)&t->webhook.timer, on_timer_closed);
}

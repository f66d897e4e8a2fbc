/* What the user is told: log lines in the editor, a progress while the model loads, a message when something
 * must be done, and alerts.
 *
 * A progress is asked for (window/workDoneProgress/create), and begins only when the client has agreed; by
 * then the model may be there, and the token stays unused. */
#include "serve/lsp_session.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "watch/alerts.h"

static void send_message(struct lsp *l, const char *method, enum lsp_message_type type, const char *text)
{
    struct json *j = lsp_rpc_begin_notification(&l->rpc, method);
    json_begin_object(j, "params");
    json_int(j, "type", type);
    json_str(j, "message", text);
    json_end_object(j);
    lsp_rpc_send(&l->rpc);
}

void lsp_window_log(struct lsp *l, enum lsp_notice once, enum lsp_message_type type, const char *fmt, ...)
{
    char text[ERRMSG_MAX];
    va_list args;
    if (l->said & once) return;
    l->said |= once;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    send_message(l, "window/logMessage", type, text);
}

/* --- Progress ---------------------------------------------------------------------------------------- */

#define TOKEN_MAX 48

static const char *token(const struct lsp *l, char out[TOKEN_MAX])
{
    snprintf(out, TOKEN_MAX, "inline/model-%" PRId64, l->n_progress);
    return out;
}

/* Our requests have string ids, which are the tokens they are about. */
static void ask(struct lsp *l)
{
    char name[TOKEN_MAX], id[TOKEN_MAX + 2];
    l->n_progress++;
    snprintf(id, sizeof id, "\"%s\"", token(l, name));
    struct json *j = lsp_rpc_begin_request(&l->rpc, id, "window/workDoneProgress/create");
    json_begin_object(j, "params");
    json_str(j, "token", name);
    json_end_object(j);
    lsp_rpc_send(&l->rpc);
    l->progress = LSP_PROGRESS_ASKED;
}

/* kind: "begin" with a title, or "end" with a message. */
static void report(struct lsp *l, const char *kind, const char *key, const char *text)
{
    char name[TOKEN_MAX];
    struct json *j = lsp_rpc_begin_notification(&l->rpc, "$/progress");
    json_begin_object(j, "params");
    json_str(j, "token", token(l, name));
    json_begin_object(j, "value");
    json_str(j, "kind", kind);
    json_str(j, key, text);
    json_end_object(j);
    json_end_object(j);
    lsp_rpc_send(&l->rpc);
}

/* Usable already, while the rest is read: how much there is. */
static void report_read(struct lsp *l, int32_t percent)
{
    char name[TOKEN_MAX];
    if (percent == l->percent) return;
    l->percent = percent;
    struct json *j = lsp_rpc_begin_notification(&l->rpc, "$/progress");
    json_begin_object(j, "params");
    json_str(j, "token", token(l, name));
    json_begin_object(j, "value");
    json_str(j, "kind", "report");
    json_str(j, "message", "usable; reading the rest of the weights");
    json_int(j, "percentage", percent);
    json_end_object(j);
    json_end_object(j);
    lsp_rpc_send(&l->rpc);
}

static bool is_reading(const struct service_model *m)
{
    return m->state == SERVICE_READY && m->read_bytes < m->weight_bytes;
}

static bool is_under_way(const struct service_model *m)
{
    return m->state == SERVICE_LOADING || is_reading(m);
}

void lsp_window_on_response(struct lsp *l, const struct lsp_message *m)
{
    char name[TOKEN_MAX], id[TOKEN_MAX + 2];
    snprintf(id, sizeof id, "\"%s\"", token(l, name));
    if (l->progress != LSP_PROGRESS_ASKED || !m->id || strcmp(m->id, id) != 0) return;
    struct service_model model;
    service_model(l->o.service, 0, &model);
    if (m->is_error) {
        l->progress = LSP_PROGRESS_REFUSED;
    } else if (is_under_way(&model)) {
        char title[ERRMSG_MAX];
        snprintf(title, sizeof title, "Inline: loading %s", model.name);
        report(l, "begin", "title", title);
        l->progress = LSP_PROGRESS_SHOWN;
    } else {
        l->progress = LSP_PROGRESS_NONE;
    }
}

void lsp_window_update(struct lsp *l)
{
    struct service_model model;
    if (l->phase != LSP_RUNNING) return;
    service_model(l->o.service, 0, &model);
    bool has_failed = model.state == SERVICE_MODEL_FAILED;
    if (is_under_way(&model) && l->can_progress && l->progress == LSP_PROGRESS_NONE) ask(l);
    if (is_reading(&model) && l->progress == LSP_PROGRESS_SHOWN)
        report_read(l, (int32_t)(model.read_bytes * 100 / model.weight_bytes));
    if (!is_under_way(&model) && l->progress == LSP_PROGRESS_SHOWN) {
        report(l, "end", "message", has_failed ? "The model could not be loaded" : "The model is ready");
        l->progress = LSP_PROGRESS_NONE;
    }
    if (has_failed && !(l->said & LSP_NOTICE_MODEL_FAILED)) {
        l->said |= LSP_NOTICE_MODEL_FAILED;
        send_message(l, "window/showMessage", LSP_MESSAGE_ERROR, model.error);
    } else if (model.state == SERVICE_READY) {
        l->said &= ~(unsigned)(LSP_NOTICE_MODEL_FAILED | LSP_NOTICE_UNAVAILABLE); /* worth telling again */
    }
}

/* --- Alerts ------------------------------------------------------------------------------------------- */

/* Clients of Copilot's language server know this notification; it is sent to those that say so. */
static void send_status(struct lsp *l)
{
    struct alert firing;
    if (!l->can_status || !l->o.alerts) return;
    bool fires = alerts_list(l->o.alerts, &firing, 1) == 1 && firing.is_firing; /* the newest */
    bool is_error = fires && firing.rule->severity == ALERT_CRITICAL;
    struct json *j = lsp_rpc_begin_notification(&l->rpc, "didChangeStatus");
    json_begin_object(j, "params");
    json_str(j, "kind", is_error ? "Error" : fires ? "Warning" : "Normal");
    json_str(j, "message", fires ? firing.message : "");
    json_end_object(j);
    lsp_rpc_send(&l->rpc);
}

/* method: to the user, or to the editor's log. */
static void send_alert(struct lsp *l, const char *method, const struct alert *alert)
{
    static const enum lsp_message_type types[] = {[ALERT_INFO] = LSP_MESSAGE_INFO,
                                                  [ALERT_WARNING] = LSP_MESSAGE_WARNING,
                                                  [ALERT_CRITICAL] = LSP_MESSAGE_ERROR};
    char text[ERRMSG_MAX];
    if (alert->is_firing) {
        snprintf(text, sizeof text, "Inline: %s (%s)", alert->message, alert->rule->todo);
    } else {
        snprintf(text, sizeof text, "Inline: over: %s", alert->message);
    }
    send_message(l, method, alert->is_firing ? types[alert->rule->severity] : LSP_MESSAGE_INFO, text);
}

static uint32_t rule_bit(const struct alert *alert)
{
    int32_t i = 0;
    while (i < alert_n_rules && strcmp(alert_rules[i].name, alert->rule->name) != 0) i++;
    return (uint32_t)1 << i;
}

void lsp_window_alert(struct lsp *l, const struct alert *alert)
{
    if (l->phase != LSP_RUNNING) return;
    bool is_news = alert->is_firing && !(l->alerted & rule_bit(alert));
    if (is_news) l->alerted |= rule_bit(alert);
    send_alert(l, is_news ? "window/showMessage" : "window/logMessage", alert);
    send_status(l);
}

void lsp_window_first_alerts(struct lsp *l)
{
    struct alert list[ALERT_RULES_MAX];
    int32_t n = l->o.alerts ? alerts_list(l->o.alerts, list, ALERT_RULES_MAX) : 0;
    for (int32_t i = 0; i < n && list[i].is_firing; i++) send_alert(l, "window/logMessage", &list[i]);
    if (n > 0 && list[0].is_firing) send_status(l);
}

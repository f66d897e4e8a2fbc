/* See stub_remote.h. Submission, cancellation and release come from the loop, which is the test's thread,
 * too: there are no locks. */
#include "support/stub_remote.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

struct remote_job {
    struct remote_job *next;
    struct remote *remote;
    struct remote_request request;
    struct remote_ask ask;
    int32_t n_given;
    bool is_prepared, is_cancelled, is_over, is_released;
};

struct remote {
    struct remote_job *first, **last;
    struct remote_traits traits;
};

static struct remote *opened;

struct remote *stub_remote_last(void)
{
    return opened;
}

void stub_remote_set_traits(struct remote *r, const struct remote_traits *t)
{
    r->traits = *t;
}

struct remote_job *stub_remote_job(struct remote *r, int32_t i)
{
    struct remote_job *j = r->first;
    for (; j; j = j->next) {
        if (!j->is_over && i-- == 0) break;
    }
    return j;
}

const struct remote_request *stub_remote_request(const struct remote_job *j)
{
    return &j->request;
}

bool stub_remote_is_cancelled(const struct remote_job *j)
{
    return j->is_cancelled;
}

const struct remote_ask *stub_remote_prepare(struct remote_job *j)
{
    struct errmsg msg = {0};
    if (!j->is_prepared && j->request.prepare(j->request.ctx, &j->remote->traits, &j->ask, &msg))
        fail_msg("%s", msg.text);
    j->is_prepared = true;
    return &j->ask;
}

bool stub_remote_give(struct remote_job *j, const char *text)
{
    (void)stub_remote_prepare(j);
    j->n_given++;
    return j->request.on_text(j->request.ctx, text, strlen(text));
}

static void forget(struct remote_job *j)
{
    struct remote_job **at = j->remote ? &j->remote->first : NULL;
    while (at && *at != j) at = &(*at)->next;
    if (at) *at = j->next;
    if (at && j->remote->last == &j->next) j->remote->last = at;
    mem_free(j);
}

static void end(struct remote_job *j, const struct remote_report *report)
{
    j->is_over = true;
    j->request.done(j->request.ctx, report);
    if (j->is_released) forget(j);
}

void stub_remote_end(struct remote_job *j, enum remote_stop stop)
{
    struct remote_report report = {.outcome =
                                       j->is_cancelled && j->n_given == 0 ? REMOTE_CANCELLED : REMOTE_DONE,
                                   .stop = stop,
                                   .n_attempts = 1,
                                   .n_generated = j->n_given,
                                   .n_prompt = 10};
    if (report.outcome == REMOTE_DONE) (void)stub_remote_prepare(j);
    end(j, &report);
}

void stub_remote_fail(struct remote_job *j, const char *message)
{
    struct remote_report report = {
        .outcome = REMOTE_FAILED, .err = ERR_NETWORK, .server = -1, .n_attempts = 1};
    report.is_partial = j->n_given > 0;
    err_set(&report.msg, ERR_NETWORK, "%s", message);
    end(j, &report);
}

/* ---- remote.h ---- */

enum err remote_new(const struct remote_options *o, struct remote **out, struct errmsg *msg)
{
    (void)msg;
    assert_non_null(o->urls);
    opened = *out = MEM_NEW(struct remote);
    opened->last = &opened->first;
    return OK;
}

void remote_free(struct remote **rp)
{
    struct remote *r = *rp;
    *rp = NULL;
    if (!r) return;
    struct remote_job *j;
    while ((j = stub_remote_job(r, 0))) {
        j->is_cancelled = true;
        stub_remote_end(j, REMOTE_STOP_CANCEL);
    }
    for (j = r->first; j; j = j->next) j->remote = NULL; /* the service lets them go later */
    if (opened == r) opened = NULL;
    mem_free(r);
}

struct remote_job *remote_submit(struct remote *r, const struct remote_request *request)
{
    struct remote_job *j = MEM_NEW(struct remote_job);
    *j = (struct remote_job){.remote = r, .request = *request};
    *r->last = j;
    r->last = &j->next;
    return j;
}

void remote_cancel(struct remote *r, struct remote_job *job)
{
    (void)r;
    job->is_cancelled = true;
}

void remote_release(struct remote_job **job)
{
    struct remote_job *j = *job;
    *job = NULL;
    if (!j || j->is_released) return;
    j->is_released = true;
    if (j->is_over) forget(j);
}

void remote_traits(struct remote *r, struct remote_traits *out)
{
    *out = r->traits;
}

void remote_state(struct remote *r, struct remote_state *out)
{
    *out = (struct remote_state){.n_servers = 1};
    (void)r;
    strcpy(out->servers[0].name, "gpu:8000");
    out->servers[0].health = SERVER_UP;
    out->servers[0].n_connections = 2;
    out->servers[0].n_asked = 7;
    out->servers[0].n_failed = 3;
}

enum err remote_learn(struct remote *r, struct remote_traits *out, struct errmsg *msg)
{
    (void)msg;
    *out = r->traits;
    return OK;
}

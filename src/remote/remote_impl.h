/* The remote's insides.
 *
 *     remote.c          its outside and its thread: the queue, when to wait
 *     remote_job.c      one request: which server it is asked of, failing over, hedging, its deadlines
 *     remote_attempt.c  one server that is asked: reading its answer, judging how it ended
 *     remote_servers.c  the servers: choosing one, what is remembered of failures
 *     remote_verdict.c  what an attempt's end means
 *     remote_learn.c    learning what the servers have
 *     remote_probe.c    light probes: of servers that are down, and to have a connection ready
 *
 * What stands under "lock" is read and written with the lock held; the rest is the thread's. Callbacks of
 * requests are called without the lock. Below this, transfer.h, server.h, balance.h know nothing of jobs. */
#ifndef REMOTE_REMOTE_IMPL_H
#define REMOTE_REMOTE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "remote/balance.h"
#include "remote/dialect.h"
#include "remote/remote.h"
#include "remote/stream.h"
#include "remote/transfer.h"

#define NS_PER_MS ((int64_t)1000000)

/* Of an answer that is read whole: an error's, or a question's. Lists of models are the longest. */
#define REMOTE_ANSWER_MAX ((size_t)1 << 20)

/* How an attempt ended. */
struct verdict {
    enum server_end end; /* what it says about the server */
    double retry_after_s;
    enum err err;      /* OK: the answer has come */
    struct errmsg msg; /* names the server */
    bool is_lasting;   /* the same server would say the same again */
    bool is_final;     /* and so would every other */
};

/* One server that is asked. */
struct attempt {
    struct remote *remote;
    struct remote_job *job;
    struct transfer *transfer; /* null: not under way, and all else is void */
    int32_t server;
    int64_t start_ns;
    int64_t heard_ns;       /* when its server last said something */
    int64_t connect_due_ns; /* 0: it is connected */
    int64_t first_due_ns;   /* for the first token, so that another server still has time; 0: no such limit */
    int64_t late_ns;        /* when it is late, and then late again; 0: never */
    bool is_late;
    struct stream stream; /* in use with has_stream */
    bool has_stream;
    struct buf refusal; /* the body of a status beyond 299 */
    bool has_begun;     /* the first token has come */
    bool is_enough;     /* on_text said so */
    bool is_over;       /* the last event has come, and: */
    enum remote_stop stop;
    int64_t linger_ns; /* until then, the transfer may end by itself */
    enum err err;      /* of an event, with msg */
    struct errmsg msg;
};

/* A job has two owners, the caller and the remote, and goes with the last. */
struct remote_job {
    struct remote_request r;
    atomic_int refs;
    atomic_bool is_cancelled;
    int64_t submitted_ns;
    struct remote_job *next; /* in `arrivals` (lock), then in `jobs` */

    bool is_prepared; /* then this is what is sent: */
    const char *path;
    struct buf body;
    int32_t max_tokens;

    struct attempt attempts[2];                  /* under way; two while one is a hedge */
    struct attempt *winner;                      /* the first that gave a token; null: none yet */
    uint32_t tried;                              /* bits of servers that have failed it */
    uint32_t refused;                            /* those that would do so again */
    bool has_retried;                            /* of a server that had failed it */
    bool has_text;                               /* on_text was given some */
    int64_t not_before_ns;                       /* when it may be asked again; 0: now */
    int64_t deadline_ns, begin_by_ns, end_by_ns; /* the last two: 0: none */
    int64_t sent_ns, first_ns;                   /* 0: not yet */
    double logprob;
    int32_t n_logprobs, n_counted; /* tokens, by events */
    struct remote_report report;
};

struct remote_asker { /* somebody in remote_learn */
    struct remote_asker *next;
    bool is_done;
    enum err err;
    struct errmsg msg;
    struct remote_traits traits;
};

struct learning {
    bool is_under_way;
    int64_t again_ns;          /* when what is known may be doubted; 0: it is not */
    struct transfer *transfer; /* null: it waits for a connection */
    int32_t server;
    uint32_t tried;
    int32_t question;
    struct buf body, answer; /* of the question */
    struct remote_traits traits;
    int64_t asked_ns, due_ns; /* the server, and when it must have told all */
    int64_t give_up_ns;       /* all servers */
    int64_t learned_ns,
        refused_ns; /* when it was last done; when the servers said that it cannot be. 0: never */
    enum err err;   /* of the last server that could not tell, with msg */
    struct errmsg msg;
};

struct probe { /* of one server */
    struct remote *remote;
    struct transfer *transfer; /* null: none is under way */
    int32_t server;
    int64_t due_ns;  /* for its answer */
    int64_t next_ns; /* when the next may be sent */
};

struct remote {
    enum remote_api api;
    char *model; /* owned */
    char *key;   /* owned; to keep it out of messages; "": none */
    int32_t n_connections;
    int64_t connect_ns, timeout_ns;
    struct transfer_set *transfers;
    pthread_t thread;
    bool has_thread;

    struct remote_job *jobs; /* that have arrived: by priority, then first come */
    struct balance balance;
    int32_t n_servers;
    struct server servers[REMOTE_SERVERS_MAX];
    struct verdict failures[REMOTE_SERVERS_MAX]; /* the last; err is OK: none yet */
    uint32_t was_down;                           /* bits of servers, since the last learning */
    struct probe probes[REMOTE_SERVERS_MAX];
    struct learning learning;
    struct remote_traits traits;
    struct buf text;       /* of the event that is being read */
    uint64_t random;       /* for jitter; never 0 */
    int64_t last_asked_ns; /* when somebody asked for something; 0: never */
    bool has_changed;      /* something that jobs may be waiting for */

    pthread_mutex_t lock;
    pthread_cond_t learned;
    bool has_news; /* any of these three: */
    struct remote_job *arrivals;
    struct remote_asker *askers;
    bool is_closing;
    struct remote_traits known;                      /* traits, for other threads */
    struct remote_state state;                       /* likewise, but quantiles */
    struct server state_servers[REMOTE_SERVERS_MAX]; /* whose they are */
};

static inline bool remote_is_background(const struct remote_job *j)
{
    return j->r.priority > REMOTE_TYPING;
}

/* The sooner of two times, of which 0 is never. */
static inline int64_t remote_sooner(int64_t a, int64_t b)
{
    if (a == 0 || b == 0) return a + b;
    return a < b ? a : b;
}

/* --- remote_servers.c --------------------------------------------------------------------------------- */

/* balance_pick for a job (null: for a question). `tried`: servers that are not wanted. */
int32_t remote_servers_pick(struct remote *r, const struct remote_job *j, uint32_t tried, int64_t now_ns);
/* Another request is just finding out whether a server is up again. */
bool remote_servers_is_trial(const struct remote *r, uint32_t tried);
const char *remote_servers_name(const struct remote *r, int32_t server);
/* An attempt's end: server_finish, and its error is remembered. */
void remote_servers_finish(struct remote *r, int32_t server, const struct verdict *v);
/* No server can be asked: fill in why, in v->err and v->msg, and return when it is worth to ask again because
 * a rate limit is over; 0: that is not what hinders. */
int64_t remote_servers_why_none(const struct remote *r, int64_t now_ns, struct verdict *v);

/* --- remote_verdict.c --------------------------------------------------------------------------------- */

/* A failure of the server's; its name is put before these words. */
void remote_verdict_fail(const struct remote *r, int32_t server, struct verdict *v, enum err err,
                         const char *fmt, ...) PRINTF_LIKE(5, 6);
/* What a transfer's end means that brought no answer, or one with a status beyond 299 whose body is this. */
void remote_verdict_of(const struct remote *r, int32_t server, const struct transfer_result *result,
                       const struct buf *body, struct verdict *v);
/* A failure by being late: its connection, or (is_connected) the answer, within so many nanoseconds. */
void remote_verdict_late(const struct remote *r, int32_t server, bool is_connected, int64_t ns,
                         struct verdict *v);

/* --- remote_attempt.c --------------------------------------------------------------------------------- */

/* ERR_NOMEM: nothing was begun. */
MUST_CHECK enum err remote_attempt_start(struct remote_job *j, struct attempt *a, int32_t server,
                                         struct errmsg *msg);
/* It ended this way: close it, if it is under way, and forget it. */
void remote_attempt_finish(struct attempt *a, const struct verdict *v);
/* It is not wanted any more, if it is under way. */
void remote_attempt_leave(struct attempt *a, enum server_end end);

/* --- remote_job.c ------------------------------------------------------------------------------------- */

/* It is in `jobs` from now on. */
void remote_job_begin(struct remote *r, struct remote_job *j);
/* Look what is to be done for it: deadlines, late servers, a server to ask. It may be gone after that. */
void remote_job_advance(struct remote *r, struct remote_job *j, int64_t now_ns);
/* When that is next to be done by itself; 0: never. */
int64_t remote_job_due_ns(const struct remote_job *j);
/* An attempt has ended by itself. The job may be gone after that. */
void remote_job_attempt_ended(struct remote *r, struct remote_job *j, struct attempt *a,
                              const struct verdict *v);
/* Report, and forget it. */
void remote_job_end(struct remote *r, struct remote_job *j, enum remote_outcome outcome);
void remote_job_cancel(struct remote *r, struct remote_job *j);
void remote_job_fail(struct remote *r, struct remote_job *j, enum err err, const struct errmsg *msg);
void remote_job_unref(struct remote_job *j);
bool remote_job_is_running(const struct remote_job *j);

/* --- remote_learn.c ----------------------------------------------------------------------------------- */

void remote_learn_advance(struct remote *r, int64_t now_ns);
int64_t remote_learn_due_ns(const struct remote *r);
/* What is known may not be so any more: learn it again, with a later request if that was just done. */
void remote_learn_again(struct remote *r, int64_t now_ns);
/* The remote is closing. */
void remote_learn_end(struct remote *r);

/* --- remote_probe.c ----------------------------------------------------------------------------------- */

void remote_probe_advance(struct remote *r, int64_t now_ns);
int64_t remote_probe_due_ns(const struct remote *r);
/* A connection to the server was closed in mid-stream, and somebody is typing: have another one ready. */
void remote_probe_warm(struct remote *r, int32_t server);
/* It has just been seen that the server is down. */
void remote_probe_put_off(struct remote *r, int32_t server);
void remote_probe_end(struct remote *r);

#endif

/* A remote with model servers of a test's own, and requests to it that can be waited for. */
#ifndef SUPPORT_REMOTE_WORLD_H
#define SUPPORT_REMOTE_WORLD_H

#include <pthread.h>
#include <stdatomic.h>

#include "remote/remote.h"
#include "support/model_server.h"

#define WORLD_SERVERS_MAX 4

struct remote_world {
    struct model_server *servers[WORLD_SERVERS_MAX];
    int n_servers;
    struct remote *remote;
};

/* Fields of `o` for what differs from the default (urls and api are set here). */
void remote_world_open(struct remote_world *w, const char *api, int n_servers,
                       const struct remote_options *o);
void remote_world_close(struct remote_world *w);

/* One request. */
struct remote_call {
    struct remote_request request;
    struct remote_job *job;
    char prompt[32];
    char text[256];
    int enough_after; /* pieces; 0: all are wanted */
    int n_pieces;
    int n_prepared;
    struct remote_traits traits; /* that `prepare` was told */
    int64_t submitted_ns, done_ns;
    atomic_int n_done;
    struct remote_report report;
};

/* Zeroed, but its request may be filled in, and enough_after. It must stay until it was waited for. */
void remote_call_submit(struct remote_world *w, struct remote_call *c, const char *prompt);
/* Fails the test if it does not come within ten seconds, or comes twice. Releases the job. */
void remote_call_wait(struct remote_call *c);
/* The two together. */
void remote_call_make(struct remote_world *w, struct remote_call *c, const char *prompt);
double remote_call_ms(const struct remote_call *c);

/* Until the server's counts are so, at most a second. */
void remote_world_await_running(struct remote_world *w, int server, int n_running);

int remote_world_descriptors(void); /* that this process has open */

#endif

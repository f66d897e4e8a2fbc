/* One completion that a client waits for, in whichever dialect.
 *
 * A dialect is a struct api_shape: how its request is read and how answers, pieces and errors look. The run
 * owns the parsed body, submits to the service, cancels when the client goes away, and sends the answer whole
 * or as a stream: server-sent events (WHATWG HTML, section 9.2) or lines of JSON. A stream's status is sent
 * with its first piece, so that what fails before has a status of its own. Thread: loop. */
#ifndef SERVE_API_RUN_H
#define SERVE_API_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "service/service.h"
#include "serve/api_params.h"

struct api;
struct api_shape;
struct http_exchange;
struct json;
struct json_value;

struct api_run {
    struct api *api;
    struct http_exchange *exchange;
    const struct api_shape *shape;
    struct service_ticket *ticket; /* null until submitted */
    struct json_value *body;       /* an object; owned */
    struct api_params params;
    uint64_t number;   /* of this run; see api_run_id */
    bool has_begun;    /* the stream's status is sent */
    size_t n_streamed; /* bytes of candidate 0 that were */
};

struct api_shape {
    enum metric_api door; /* what its requests are counted as */
    enum err (*read)(struct api_run *r,
                     struct errmsg *msg); /* fills r->params; ERR_ARG is the client's fault */
    void (*write_whole)(const struct api_run *r, const struct service_answer *a, struct buf *out);
    void (*write_piece)(const struct api_run *r, int32_t candidate, const char *text, size_t len,
                        struct buf *out);
    /* What ends the stream of a candidate: its text is already sent. */
    void (*write_last)(const struct api_run *r, const struct service_answer *a, int32_t candidate,
                       struct buf *out);
    void (*write_error)(int status, const char *type, const char *message, struct buf *out);
    bool is_lines;       /* streams are lines of JSON; else server-sent events */
    const char *closing; /* what follows the last object of a stream; "" */
};

/* Read, submit and, in the end, answer a request. */
void api_run_start(struct api *a, struct http_exchange *x, const struct api_shape *shape);

/* --- For the shapes ------------------------------------------------------------------------------------ */

/* The i-th candidate of an answer; an empty one if there are none, as when it was superseded. */
const struct service_candidate *api_run_candidate(const struct service_answer *a, int32_t i);
int32_t api_run_n_candidates(const struct service_answer *a); /* at least 1 */

/* llama-server's word for why a candidate ended: "eos", "limit", "word" or "none". */
const char *api_run_stop_type(const struct service_candidate *c);
/* OpenAI's: "stop", "length"; "superseded" is ours. */
const char *api_run_finish(const struct service_answer *a, const struct service_candidate *c);

const char *api_run_model(const struct api_run *r); /* while the answer's is not known */
void api_run_id(const struct api_run *r, char out[static 48]);

/* "inline":{...}: what no other server tells, the same in all dialects. */
void api_run_write_inline(struct json *j, const struct service_answer *a, const struct service_candidate *c);
/* {"error":{"code":...,"message":...,"type":...}}, as llama-server and OpenAI. */
void api_run_write_error(int status, const char *type, const char *message, struct buf *out);

#endif

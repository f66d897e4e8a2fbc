/* How each API says things: requests to JSON, events of answers to text, and what to ask a server about its
 * model. One file for each API behind one table.
 *
 *     llama   POST /infill or /completion; GET /props, /health
 *     openai  POST /v1/completions; GET /v1/models
 *     ollama  POST /api/generate (JSON lines); POST /api/show, GET /api/tags, /api/version
 *
 * Pure: no I/O. Thread: any. */
#ifndef REMOTE_DIALECT_H
#define REMOTE_DIALECT_H

#include "base/buf.h"
#include "base/err.h"
#include "remote/ask.h"

/* "openai", "llama", "ollama"; false if it is none of them. */
bool dialect_api(const char *name, enum remote_api *out);
const char *dialect_api_name(enum remote_api api);

/* Where a path ("/v1/models") is below a server's base URL, which may end in "/", and for OpenAI's paths in
 * "/v1" too. Appended to out. */
void dialect_url(const char *base, const char *path, struct buf *out);

/* The body of a completion that is to be streamed, appended; returns its path. Null: the API cannot say it
 * (tokens, to Ollama). remote_ask.files are llama-server's: the others have no place for them. */
const char *dialect_write(enum remote_api api, const struct remote_traits *t, const struct remote_ask *ask,
                          struct buf *body);

/* What one event of the answer says. */
struct dialect_piece {
    bool is_last; /* of the text, and why; one more event may bring the totals */
    enum remote_stop stop;
    int32_t n_tokens;   /* that the text stands for, if told; else 1 where there is text */
    double logprob;     /* sum over n_logprobs tokens */
    int32_t n_logprobs; /* 0: not told */
    int32_t n_prompt, n_reused, n_generated; /* of all, -1: not told here */
};

/* Append the event's text. ERR_FORMAT: no such event in this API; ERR_NETWORK: the server reports a failure
 * of its own in mid-stream, in msg; ERR_NOMEM, ERR_LIMIT. */
MUST_CHECK enum err dialect_read(enum remote_api api, const char *event, size_t len, struct buf *text,
                                 struct dialect_piece *out, struct errmsg *msg);

/* What an answer with an HTTP status beyond 299 says, in one line without control characters: the message
 * that the usual shapes hold ({"error":{"message":..}}, {"error":".."}, {"detail":..}, {"message":..}), or a
 * plain text's beginning; "" if there is none. */
void dialect_read_error(const char *body, size_t len, struct errmsg *out);

/* Learning about the model: questions 0, 1 ... in turn, each answered before the next. The first tells
 * whether the server is there at all. */
struct dialect_question {
    const char *path;
    bool has_body; /* POST */
};
/* False: there is no such question (any more). `wanted`: the configured name of the model, or "". */
bool dialect_question(enum remote_api api, int32_t i, const char *wanted, const struct remote_traits *so_far,
                      struct dialect_question *out, struct buf *body);
/* The answer: body of that status. ERR_NOT_FOUND: the server has no such model, with what it has instead;
 * ERR_FORMAT: it speaks another API, with which one where that can be told; other statuses than 200 that a
 * question can live with (404 where a path is newer than the server, 501 of /infill) are OK. is_known is set
 * once all are answered. */
MUST_CHECK enum err dialect_learn(enum remote_api api, int32_t i, const char *wanted, int status,
                                  const char *body, size_t len, struct remote_traits *inout,
                                  struct errmsg *msg);

/* A light GET that tells whether the server is there. */
const char *dialect_probe_path(enum remote_api api);

#endif

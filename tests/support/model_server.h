/* A model server of a test's own: one thread, loopback, all three APIs, and it misbehaves as told.
 *
 * It answers a completion with the tokens "t0 t1 t2 ...", and counts what the other side does. */
#ifndef SUPPORT_MODEL_SERVER_H
#define SUPPORT_MODEL_SERVER_H

#include <stdbool.h>
#include <stdint.h>

enum model_fault {
    MODEL_NO_FAULT,
    MODEL_RESETS,     /* the connection, after `after` tokens (-1: before the headers) */
    MODEL_HANGS,      /* after so many tokens */
    MODEL_CLOSES,     /* in good order, but without a last event */
    MODEL_LIES,       /* likewise, where Content-Length promised more */
    MODEL_GARBAGE,    /* what comes is not HTTP */
    MODEL_TALKS_HTML, /* a page instead of an answer */
    MODEL_FLOODS      /* text without end, without a line's end */
};

/* How completions are answered. */
struct model_manner {
    int status;             /* 0: 200 */
    const char *headers;    /* more of them: "Retry-After: 1\r\n" */
    const char *body;       /* of a status that is not 200 */
    int first_ms, token_ms; /* before the first token, before each of the others */
    int n_tokens;           /* 0: 3 */
    enum model_fault fault;
    int after;
    bool is_deaf; /* answers nothing at all, not even what it has */
    int n_times;  /* then it is as by default; 0: for ever */
};

struct model_counts {
    int n_open, n_open_max;       /* connections now, at most */
    int n_connections;            /* ever */
    int n_completions, n_others;  /* requests */
    int n_running, n_running_max; /* completions that are being answered */
    int n_left;                   /* completions whose client went before the end */
    int64_t left_ns;              /* when the last of them did */
};

#define MODEL_PROMPTS_MAX 64

struct model_server;

/* `api`: "openai", "llama", "ollama". Failures are cmocka's. */
struct model_server *model_server_start(const char *api);
void model_server_stop(struct model_server **s);
const char *model_server_url(const struct model_server *s);
void model_server_behave(struct model_server *s, const struct model_manner *m);
/* Nobody listens any more, connections are reset; and again, on the same port. */
void model_server_kill(struct model_server *s);
void model_server_revive(struct model_server *s);
void model_server_rename(struct model_server *s, const char *model); /* else "toy" */
void model_server_counts(struct model_server *s, struct model_counts *out);
void model_server_reset_counts(struct model_server *s); /* but connections that are open */
/* The beginning of the prompt of its i-th completion; "" if there was none. */
const char *model_server_prompt(struct model_server *s, int i);

#endif

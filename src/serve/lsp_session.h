/* What the parts of a language server session share; private to lsp*.c. A part is a file, its handlers are
 * rows in lsp.c's table. A handler of a request answers it now or keeps its id for later. */
#ifndef SERVE_LSP_SESSION_H
#define SERVE_LSP_SESSION_H

#include "service/service.h"
#include "serve/lsp.h"
#include "serve/lsp_frame.h"
#include "serve/lsp_kept.h"
#include "serve/lsp_rpc.h"
#include "serve/lsp_workspace.h"

enum lsp_phase {
    LSP_FRESH, /* before initialize */
    LSP_RUNNING,
    LSP_SHUT_DOWN, /* only exit may follow */
    LSP_OVER
};

/* Of the progress that tells of a model being loaded. */
enum lsp_progress {
    LSP_PROGRESS_NONE,
    LSP_PROGRESS_ASKED, /* window/workDoneProgress/create is not answered */
    LSP_PROGRESS_SHOWN,
    LSP_PROGRESS_REFUSED
};

/* What the user is told once, not at each keystroke. */
enum lsp_notice {
    LSP_NOTICE_UNAVAILABLE = 1,
    LSP_NOTICE_MODEL_FAILED = 2,
    LSP_NOTICE_NOT_OPEN = 4,
    LSP_NOTICE_VERSION = 8,
    LSP_NOTICE_LOST = 16
};

enum lsp_message_type { LSP_MESSAGE_ERROR = 1, LSP_MESSAGE_WARNING = 2, LSP_MESSAGE_INFO = 3 };

struct lsp_settings {
    bool enabled;
    int32_t max_tokens; /* -1: the service's usual */
};

struct lsp {
    struct lsp_options o;
    struct lsp_frame frame;
    struct lsp_rpc rpc;
    enum lsp_phase phase;
    char client[32];         /* names this session to the service */
    enum text_encoding unit; /* of all positions */
    bool can_inline;         /* what the client can do */
    bool can_progress;
    bool can_status;
    struct lsp_settings settings;
    struct lsp_workspace workspace;
    struct documents *docs;      /* owned */
    struct lsp_pending *pending; /* owned list: requests that the service works on, newest first */
    int n_pending;
    int64_t n_suggestions;
    struct lsp_kept kept;
    enum lsp_progress progress;
    int64_t n_progress; /* numbers the tokens */
    int32_t percent;    /* of the weights, as last told */
    unsigned said;      /* lsp_notice */
    uint32_t alerted;   /* rules that the user was told of: bit i is alert_rules[i] */
};

/* lsp_docs.c: what the client keeps open. */
void lsp_docs_did_open(struct lsp *l, const struct lsp_message *m);
void lsp_docs_did_change(struct lsp *l, const struct lsp_message *m);
void lsp_docs_on_folders(struct lsp *l); /* they have changed: so have documents' paths */
void lsp_docs_did_focus(struct lsp *l, const struct lsp_message *m);
void lsp_docs_did_save(struct lsp *l, const struct lsp_message *m);
void lsp_docs_did_change_files(struct lsp *l, const struct lsp_message *m); /* on disk */
void lsp_docs_did_close(struct lsp *l, const struct lsp_message *m);
/* Forget a document whose text is not the editor's any more, until it is opened again. */
void lsp_docs_give_up(struct lsp *l, const char *uri, const char *why);

/* lsp_complete.c: requests to the service. */
void lsp_complete_inline(struct lsp *l, const struct lsp_message *m);
void lsp_complete_list(struct lsp *l, const struct lsp_message *m);
void lsp_complete_cancel(struct lsp *l, const struct lsp_message *m);
/* The document is not what it was when these requests were made: answer them null. */
void lsp_complete_on_change(struct lsp *l, const char *uri);
void lsp_complete_on_close(struct lsp *l, const char *uri);
void lsp_complete_on_open(struct lsp *l, struct open_document *doc);
/* Answer all with an error (the session shuts down). */
void lsp_complete_cancel_all(struct lsp *l);
/* Answer none (the stream is gone). */
void lsp_complete_forget_all(struct lsp *l);

/* lsp_events.c: what became of suggestions. An item's command has arguments [number of the suggestion in this
 * session, characters of its text, service_answer.id if there is one]; later ones may be added. */
extern const char LSP_EVENTS_ACCEPTED[]; /* the command that a client runs when it has inserted one */
void lsp_events_command(struct lsp *l, const struct lsp_message *m);
void lsp_events_shown(struct lsp *l, const struct lsp_message *m);
void lsp_events_partly_accepted(struct lsp *l, const struct lsp_message *m);

/* lsp_window.c: what the user is told. */
void lsp_window_log(struct lsp *l, enum lsp_notice once, enum lsp_message_type type, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void lsp_window_on_response(struct lsp *l, const struct lsp_message *m);
void lsp_window_update(struct lsp *l); /* the model's state may have changed */
void lsp_window_alert(struct lsp *l, const struct alert *alert);
void lsp_window_first_alerts(struct lsp *l); /* those that fire when the session begins */

#endif

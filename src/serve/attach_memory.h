/* What passed between an editor and a daemon, as far as another daemon has to know it to go on: how the
 * session was set up, the open documents as they are now, and the questions that are not answered. */
#ifndef SERVE_ATTACH_MEMORY_H
#define SERVE_ATTACH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "service/service.h"

struct lsp_message;
struct attach_doc;

struct attach_ids { /* ids as JSON */
    char **ids;     /* [n], each owned */
    size_t n, cap;
};

struct attach_memory {
    char *initialize; /* the request as it was sent; owned; null: not yet */
    size_t initialize_len;
    char *initialize_id;      /* owned */
    bool is_initialized;      /* the editor has the answer; it must not get another one */
    bool swallows_initialize; /* the answer that comes next was to our own asking */
    bool is_shut_down;        /* the editor has asked for it: only exit will follow */
    struct buf session;       /* frames of the notifications that a session lives under, in their order */
    enum text_encoding unit;  /* of positions, as agreed */
    struct attach_doc *docs;  /* owned list */
    struct attach_ids asked;  /* of the editor's requests without an answer */
    struct attach_ids asking; /* of the daemon's, likewise */
    struct attach_ids stale;  /* of those that a daemon which is gone has made */
};

void attach_memory_init(struct attach_memory *m);
void attach_memory_clear(struct attach_memory *m);

/* A message passes. False: it is not to be forwarded. */
bool attach_memory_from_editor(struct attach_memory *m, const struct lsp_message *message, const char *body,
                               size_t len);
bool attach_memory_from_daemon(struct attach_memory *m, const struct lsp_message *message);

/* The daemon is gone: append to `editor` what answers the open questions, all but initialize, with null. */
void attach_memory_on_loss(struct attach_memory *m, struct buf *editor);
/* There is another one: append to `daemon` what brings it to where the editor is. */
void attach_memory_replay(struct attach_memory *m, struct buf *daemon);

#endif

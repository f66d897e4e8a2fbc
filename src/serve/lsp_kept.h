/* Whether suggestions that were accepted stand as they were inserted: what the kept rate counts.
 *
 * The last suggestions that were offered are remembered as a hash, a length and a place, which follows the
 * edits of its document; never as text. One that is accepted, and stands there, is judged 30 s later, or
 * when its document is closed: at the first occasion, since there is no timer. What is inserted in another
 * form (by a client that formats it at once, say) is not judged at all. Line ends do not count. Thread: loop.
 */
#ifndef SERVE_LSP_KEPT_H
#define SERVE_LSP_KEPT_H

#include <stddef.h>
#include <stdint.h>

#include "service/service.h"
#include "serve/lsp_edit.h"

#define LSP_KEPT_MAX     16 /* offered, and accepted: those of a few keystrokes, with all candidates */
#define LSP_KEPT_JUDGE_S 30

struct lsp_kept_text {
    int64_t number;    /* of the suggestion, in this session; 0: none */
    uint64_t document; /* open_document.id */
    size_t start, len; /* bytes of the document; of the text without carriage returns */
    uint64_t hash;
    int64_t accepted_ns;
};

struct lsp_kept { /* zero: nothing is remembered */
    struct lsp_kept_text offered[LSP_KEPT_MAX], accepted[LSP_KEPT_MAX];
    int32_t next_offered, next_accepted; /* what is replaced next */
};

/* If this text is accepted, it is going to stand at `start`. */
void lsp_kept_offer(struct lsp_kept *k, int64_t number, const struct open_document *doc, size_t start,
                    const char *text, size_t len);
/* The document shows it already. */
void lsp_kept_accept(struct lsp_kept *k, int64_t number, struct documents *docs, int64_t now_ns);
/* Before the document is changed so. */
void lsp_kept_on_edit(struct lsp_kept *k, const struct open_document *doc, const struct lsp_edit *e);
/* Judge those whose time has come; the service is told. */
void lsp_kept_look(struct lsp_kept *k, struct documents *docs, int64_t now_ns, struct service *s);
/* Judge those of a document that is about to be closed. */
void lsp_kept_on_close(struct lsp_kept *k, const struct open_document *doc, struct service *s);

#endif

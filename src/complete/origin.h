/* Where clients' windows stand in their documents.
 *
 * A client that sends the lines around its cursor sends other first lines after each new line, and a prompt
 * that began where the text it was cut from begins would be computed anew each time. The memory tells by how
 * much a window slid since the client's last one, so that prompts are anchored to the document instead
 * (window.h). It keeps the windows of the last few documents, in bounded space. Thread: one at a time. */
#ifndef COMPLETE_ORIGIN_H
#define COMPLETE_ORIGIN_H

#include <stddef.h>
#include <stdint.h>

#define ORIGIN_DOCUMENTS 32 /* remembered; the least recently used goes */
#define ORIGIN_TEXT_MAX                                                                                      \
    ((size_t)64 << 10)                /* longer texts before the cursor are no windows: whole documents */
#define ORIGIN_BASE ((size_t)1 << 30) /* of a document not seen before: it may have begun earlier */

struct origin_memory {
    struct origin_entry {
        uint64_t client;
        char *text; /* owned; [len] the last window before the cursor; null: free */
        size_t len;
        size_t origin; /* of text[0] in its document */
        uint64_t last_use;
    } entries[ORIGIN_DOCUMENTS];
    uint64_t n_uses;
};

/* The offset in its document of the first byte of a client's window, whose part before the cursor this is;
 * the window is remembered. A document that was not seen before begins at ORIGIN_BASE; so does what is no
 * window. */
size_t origin_of(struct origin_memory *m, uint64_t client, const char *before, size_t len);
void origin_clear(struct origin_memory *m);

#endif

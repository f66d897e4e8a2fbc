/* The documents of clients that keep none open with us, but show the text around the cursor with each
 * request: what each client showed lately, bounded in clients, documents and memory. Thread: loop. */
#ifndef SERVICE_CLIENTS_H
#define SERVICE_CLIENTS_H

#include <stddef.h>
#include <stdint.h>

#include "context/documents.h"

struct clients;

struct clients *clients_new(void);
void clients_free(struct clients **c);

int64_t clients_bytes(const struct clients *c); /* memory of all documents */

/* The documents of this client. */
struct documents *clients_documents(struct clients *c, uint64_t client);

/* The document that this client shows here (documents_recognise). Null: no memory, or too long. */
struct open_document *clients_document(struct clients *c, struct documents *docs, const char *path,
                                       const char *text, size_t len, size_t cursor);

#endif

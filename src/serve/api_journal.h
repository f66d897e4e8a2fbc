/* GET /journal: the last requests, and one's story. Thread: loop.
 *
 *   ?n=50&before=ID   {"requests":[record, ...]}, newest first (journal_write)
 *   ?id=ID|last       record, with "story": [sentence, ...]; 404: not kept any more. Also those that only the
 *                     disk has. */
#ifndef SERVE_API_JOURNAL_H
#define SERVE_API_JOURNAL_H

struct api;
struct http_exchange;

void api_journal(struct api *a, struct http_exchange *x);

#endif

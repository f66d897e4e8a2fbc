/* Ollama's routes (its docs/api.md), as far as completion needs them. Thread: loop. */
#ifndef SERVE_API_OLLAMA_H
#define SERVE_API_OLLAMA_H

#include "base/buf.h"

struct api;
struct http_exchange;

void api_ollama_generate(struct api *a, struct http_exchange *x);
void api_ollama_tags(struct api *a, struct http_exchange *x);
void api_ollama_ps(struct api *a, struct http_exchange *x);
void api_ollama_show(struct api *a, struct http_exchange *x);
void api_ollama_version(struct api *a, struct http_exchange *x);
void api_ollama_no_chat(struct api *a, struct http_exchange *x); /* 501 */

/* {"error":message}; status and type are not part of it. */
void api_ollama_write_error(int status, const char *type, const char *message, struct buf *out);

#endif

/* The HTTP API: llama-server's, OpenAI's, Tabby's and Ollama's requests, all onto one service. A table of
 * routes (routes.c); one file per dialect. Thread: loop. */
#ifndef SERVE_API_H
#define SERVE_API_H

#include <stdbool.h>

struct api;
struct http_exchange;
struct metrics;
struct service;

struct api *api_new(struct service *service, struct metrics *metrics);
void api_free(struct api **a);
/* Answers every request, with 404 or 405 where there is no such route. */
void api_handle(struct api *a, struct http_exchange *x);
bool api_is_public(const char *method, const char *path);

#endif

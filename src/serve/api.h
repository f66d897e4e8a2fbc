/* The HTTP API: llama-server's, OpenAI's, Tabby's and Ollama's requests, all onto one service. A table of
 * routes (routes.c); one file per dialect. Thread: loop. */
#ifndef SERVE_API_H
#define SERVE_API_H

#include <stdbool.h>

struct alerts;
struct api;
struct http_exchange;
struct journal;
struct buf;
struct metrics;
struct service;
struct uv_loop_s;

struct api_options {
    struct service *service;
    struct metrics *metrics; /* all borrowed; these three may be null */
    struct journal *journal;
    struct alerts *alerts;
    struct uv_loop_s *loop; /* null: no GET /live */
    /* The configuration in force, as `inline config --json` writes it; secrets are not in it. Or null. */
    void (*write_config)(void *ctx, struct buf *out);
    void *ctx;
};

struct api *api_new(const struct api_options *o);
void api_free(struct api **a);
/* Answers every request, with 404 or 405 where there is no such route. */
void api_handle(struct api *a, struct http_exchange *x);
/* The daemon drains: streams that never end by themselves end. */
void api_drain(struct api *a);
bool api_is_public(const char *method, const char *path);

#endif

/* What Tabby's editor plugins ask of their server (its OpenAPI description). Thread: loop. */
#ifndef SERVE_API_TABBY_H
#define SERVE_API_TABBY_H

struct api;
struct api_shape;
struct http_exchange;

/* For a run whose body has "segments". */
extern const struct api_shape api_tabby_shape;

void api_tabby_events(struct api *a, struct http_exchange *x);
void api_tabby_health(struct api *a, struct http_exchange *x);

#endif

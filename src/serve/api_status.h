/* What the daemon has loaded, uses and does about it; and loading and unloading models by hand, over the
 * paths that llama-server's router has for that. Thread: loop. */
#ifndef SERVE_API_STATUS_H
#define SERVE_API_STATUS_H

struct api;
struct http_exchange;
struct json;

void api_status(struct api *a, struct http_exchange *x); /* GET /status */
/* Its members, into an object that is open: models, memory, governor, caches, "figures":{"1m","15m","24h"}
 * (metrics_write_figures), "alerts" (alerts_write). */
void api_status_write(struct api *a, struct json *j);

void api_status_load(struct api *a, struct http_exchange *x);   /* POST /models/load */
void api_status_unload(struct api *a, struct http_exchange *x); /* POST /models/unload */

#endif

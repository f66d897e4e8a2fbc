/* What the daemon has loaded, uses and does about it; and loading and unloading models by hand, over the
 * paths that llama-server's router has for that. Thread: loop. */
#ifndef SERVE_API_STATUS_H
#define SERVE_API_STATUS_H

struct api;
struct http_exchange;

void api_status(struct api *a, struct http_exchange *x);        /* GET /status */
void api_status_load(struct api *a, struct http_exchange *x);   /* POST /models/load */
void api_status_unload(struct api *a, struct http_exchange *x); /* POST /models/unload */

#endif

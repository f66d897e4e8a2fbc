/* The caches of answers: how they do, and emptying them. Thread: loop. */
#ifndef SERVE_API_CACHE_H
#define SERVE_API_CACHE_H

struct api;
struct http_exchange;
struct json;
struct service_cache_stats;

void api_cache_stats(struct api *a, struct http_exchange *x); /* GET /cache */
void api_cache_clear(struct api *a, struct http_exchange *x); /* POST /cache/clear */

/* Forget who waits for a cache to be emptied; their exchanges must have ended. */
void api_cache_free(struct api *a);

/* The members of GET /cache, into an object that is open. */
void api_cache_write(const struct service_cache_stats *stats, struct json *j);

#endif

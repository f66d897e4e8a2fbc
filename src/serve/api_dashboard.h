/* GET /: the dashboard for browsers, a few lines of text for all others. Both are the same for everybody:
 * what the page shows comes from GET /live and GET /journal, which need the token. Thread: loop. */
#ifndef SERVE_API_DASHBOARD_H
#define SERVE_API_DASHBOARD_H

struct api;
struct http_exchange;

void api_dashboard(struct api *a, struct http_exchange *x);

#endif

/* OpenAI's completions and models (its API reference, legacy completions), and the fill-in-the-middle route
 * that Mistral added to them. Thread: loop. */
#ifndef SERVE_API_OPENAI_H
#define SERVE_API_OPENAI_H

struct api;
struct http_exchange;

/* Requests with "segments" are Tabby's and get its answers. */
void api_openai_completions(struct api *a, struct http_exchange *x);
void api_openai_fim(struct api *a, struct http_exchange *x);
void api_openai_models(struct api *a, struct http_exchange *x);
void api_openai_no_chat(struct api *a, struct http_exchange *x); /* 501 */

#endif

/* Routes as llama-server has them (its README, "API Endpoints"). Thread: loop. */
#ifndef SERVE_API_LLAMA_H
#define SERVE_API_LLAMA_H

struct api;
struct http_exchange;
struct json;
struct service_model;

void api_llama_infill(struct api *a, struct http_exchange *x);
void api_llama_completion(struct api *a, struct http_exchange *x);

/* api_llama_info.c */
void api_llama_health(struct api *a, struct http_exchange *x);
void api_llama_props(struct api *a, struct http_exchange *x);
void api_llama_slots(struct api *a, struct http_exchange *x);
void api_llama_metrics(struct api *a, struct http_exchange *x);
void api_llama_tokenize(struct api *a, struct http_exchange *x);
void api_llama_detokenize(struct api *a, struct http_exchange *x);

#endif

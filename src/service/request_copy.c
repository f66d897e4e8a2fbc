/* Copying a request: once without memory, to learn how much it takes, and once into it. */
#include "service/request_copy.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

#define ALIGN 16 /* of what is put: enough for every type in a request */

struct block {
    char *memory; /* null: only count */
    size_t used;
};

/* Bytes of a null pointer stay null. */
static const void *put(struct block *b, const void *bytes, size_t len)
{
    if (!bytes) return NULL;
    char *at = b->memory ? b->memory + b->used : NULL;
    if (at && len > 0) memcpy(at, bytes, len);
    b->used += (len + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

static const char *put_str(struct block *b, const char *text)
{
    return put(b, text, text ? strlen(text) + 1 : 0);
}

static void put_files(struct block *b, const struct service_request *r, struct service_request *out)
{
    if (r->n_files <= 0) return;
    struct fim_file *files = (void *)put(b, r->files, (size_t)r->n_files * sizeof *files);
    out->files = files;
    for (int32_t i = 0; i < r->n_files; i++) {
        const char *path = put_str(b, r->files[i].path);
        const char *text = put(b, r->files[i].text, r->files[i].text_len);
        if (!files) continue;
        files[i].path = path;
        files[i].text = text;
    }
}

static void put_request(struct block *b, const struct service_request *r)
{
    struct service_request copy = *r, *out = (void *)put(b, r, sizeof *r);
    copy.model = put_str(b, r->model);
    copy.client = put_str(b, r->client);
    copy.document = put_str(b, r->document);
    copy.text = put(b, r->text, r->len);
    copy.path = put_str(b, r->path);
    copy.file = put_str(b, r->file);
    copy.root = put_str(b, r->root);
    put_files(b, r, &copy);
    copy.prompt = put(b, r->prompt, r->prompt_len);
    copy.tokens = put(b, r->tokens, r->n_tokens > 0 ? (size_t)r->n_tokens * sizeof *r->tokens : 0);
    for (int32_t i = 0; i < r->n_stops && i < SERVICE_STOPS_MAX; i++)
        copy.stops[i].text = put(b, r->stops[i].text, r->stops[i].len);
    if (out) *out = copy;
}

struct service_request *request_copy(const struct service_request *r)
{
    struct block b = {0};
    put_request(&b, r);
    b.memory = mem_try(1, b.used);
    b.used = 0;
    if (b.memory) put_request(&b, r);
    return (struct service_request *)(void *)b.memory;
}

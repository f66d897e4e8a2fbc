/* Fuzz target: any bytes as a language server's client.
 *
 * The first byte chooses. 0: the rest is the stream, framing included, and comes in pieces as long as the
 * second byte says. Otherwise each line of the rest is the body of a message, framed here, so that mutations
 * reach what is behind the framing. The service answers some requests, in turn with all outcomes. What the
 * session writes must be messages. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"
#include "serve/lsp.h"
#include "serve/lsp_frame.h"
#include "support/fake_service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STREAM_MAX ((size_t)256 << 20)

struct client {
    struct lsp *lsp;
    struct service *service;
    struct lsp_frame in;
    bool is_over;
    unsigned turn;
};

static void check(bool holds)
{
    if (!holds) abort();
}

static void on_write(void *ctx, const char *bytes, size_t len)
{
    struct client *c = ctx;
    struct json_value *message;
    size_t used;
    check(!c->is_over);
    check(lsp_frame_take(&c->in, bytes, len, &used) == LSP_FRAME_WHOLE && used == len);
    check(json_read(c->in.body.data, c->in.body.len, &message, NULL) == OK);
    check(json_get_str(json_get(message, "jsonrpc"), NULL) != NULL);
    json_read_free(&message);
}

static void on_exit_said(void *ctx)
{
    struct client *c = ctx;
    check(!c->is_over);
    c->is_over = true;
}

/* Half of the time the oldest request is answered, and now and then the model's state changes. */
static void answer_something(struct client *c)
{
    static const char *const texts[] = {"a", "", "\n  b\r\n", "\xf0\x9f\x98\x80", "\xff"};
    c->turn++;
    if (c->service->n_waiting > 0 && c->turn % 2) {
        fake_service_answer(c->service, 0, (enum service_outcome)(c->turn / 2 % (SERVICE_ERROR + 1)),
                            texts[c->turn % (sizeof texts / sizeof *texts)]);
    }
    if (c->turn % 3 == 0) {
        c->service->state = (enum service_state)(c->turn / 3 % (SERVICE_INSTALLED + 1));
        lsp_on_models(c->lsp);
    }
}

static void feed(struct client *c, const char *bytes, size_t len)
{
    lsp_feed(c->lsp, bytes, len);
    if (!c->is_over) answer_something(c);
}

static void feed_stream(struct client *c, const char *bytes, size_t len, size_t piece)
{
    for (size_t n; len > 0; bytes += n, len -= n) {
        n = len < piece ? len : piece;
        feed(c, bytes, n);
    }
}

static void feed_lines(struct client *c, const char *bytes, size_t len)
{
    struct buf frame;
    buf_init(&frame, STREAM_MAX);
    for (const char *end = bytes + len; bytes < end;) {
        const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
        size_t n = (size_t)((newline ? newline : end) - bytes);
        buf_reset(&frame);
        lsp_frame_write(bytes, n, &frame);
        feed(c, frame.data, frame.len);
        bytes += n + (newline != NULL);
    }
    buf_clear(&frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client c = {.service = fake_service_new()};
    if (size < 2) {
        fake_service_free(&c.service);
        return 0;
    }
    lsp_frame_init(&c.in);
    c.lsp = lsp_new(
        &(struct lsp_options){.service = c.service, .write = on_write, .on_exit = on_exit_said, .ctx = &c});
    if (data[0] == 0) {
        feed_stream(&c, (const char *)data + 2, size - 2, (size_t)data[1] + 1);
    } else {
        feed_lines(&c, (const char *)data + 1, size - 1);
    }
    lsp_free(&c.lsp);
    check(c.service->n_waiting == 0);
    fake_service_free(&c.service);
    lsp_frame_clear(&c.in);
    return 0;
}

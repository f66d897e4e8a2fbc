/* Fuzz target: answers of model servers out of any bytes, however they are cut.
 *
 * The first byte chooses the API, the kind of stream and how long the pieces are in which the rest arrives.
 * Whatever comes, the events and what they say must be the same from pieces as from the whole, and keep to
 * their bounds. The same bytes are then an error's body, and the answer to every question about the model. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "remote/dialect.h"
#include "remote/stream.h"

#define TEXT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) abort();
}

/* What is compared between two readings. */
struct reading {
    enum remote_api api;
    struct buf text;
    int32_t n_events, n_last;
    enum err err, stream_err;
    double logprob;
    int64_t n_counted;
};

static void check_piece(const struct dialect_piece *p)
{
    check(p->n_tokens >= 0 && p->n_logprobs >= 0);
    check(p->n_prompt >= -1 && p->n_reused >= -1 && p->n_generated >= -1);
    check(!p->is_last || p->stop <= REMOTE_STOP_WORD);
}

static void check_line(const struct errmsg *msg)
{
    check(memchr(msg->text, '\0', sizeof msg->text) != NULL);
    for (const char *c = msg->text; *c; c++) check((unsigned char)*c >= ' ' && *c != 0x7f);
}

static bool on_event(void *ctx, const char *event, size_t len)
{
    struct reading *r = ctx;
    struct dialect_piece p;
    struct errmsg msg = {0};
    size_t before = r->text.len;
    check(len > 0 && len <= STREAM_EVENT_MAX + 1);
    r->err = dialect_read(r->api, event, len, &r->text, &p, &msg);
    check((msg.text[0] != '\0') == (r->err != OK));
    check_line(&msg);
    check_piece(&p);
    check(r->text.len >= before && r->text.len <= TEXT_MAX);
    r->n_events++;
    r->n_last += p.is_last;
    r->logprob += p.logprob;
    r->n_counted += p.n_tokens + p.n_logprobs + p.n_prompt + p.n_reused + p.n_generated;
    return r->err == OK;
}

/* Each piece is a block of its own, so that the address sanitizer sees reads past its end. */
static void read_stream(struct reading *r, enum remote_api api, enum stream_kind kind, const char *bytes,
                        size_t len, size_t piece_len)
{
    struct stream s;
    *r = (struct reading){.api = api};
    buf_init(&r->text, TEXT_MAX);
    stream_init(&s, kind);
    for (size_t at = 0; at < len && !r->stream_err; at += piece_len) {
        size_t n = piece_len < len - at ? piece_len : len - at;
        char *piece = mem_new(n);
        memcpy(piece, bytes + at, n);
        r->stream_err = stream_feed(&s, piece, n, on_event, r);
        mem_free(piece);
    }
    if (!r->stream_err) r->stream_err = stream_end(&s, on_event, r);
    stream_clear(&s);
}

static void check_same(struct reading *a, struct reading *b)
{
    check(a->err == b->err && a->stream_err == b->stream_err);
    check(a->n_events == b->n_events && a->n_last == b->n_last && a->n_counted == b->n_counted);
    check(a->logprob == b->logprob || (isnan(a->logprob) && isnan(b->logprob)));
    check(a->text.len == b->text.len && strcmp(buf_str(&a->text), buf_str(&b->text)) == 0);
    buf_clear(&a->text);
    buf_clear(&b->text);
}

static void check_traits(const struct remote_traits *t)
{
    check(memchr(t->model, '\0', sizeof t->model) && memchr(t->base, '\0', sizeof t->base));
    check(t->n_ctx >= 0);
}

/* The same answer to each question, and what is then asked. */
static void learn(enum remote_api api, const char *wanted, int status, const char *bytes, size_t len)
{
    struct remote_traits t = {0};
    struct dialect_question q;
    struct errmsg msg;
    struct buf body;
    buf_init(&body, TEXT_MAX);
    for (int32_t i = 0; dialect_question(api, i, wanted, &t, &q, &body); i++) {
        msg.text[0] = '\0';
        enum err err = dialect_learn(api, i, wanted, status, bytes, len, &t, &msg);
        check((msg.text[0] != '\0') == (err != OK));
        check_line(&msg);
        check_traits(&t);
        buf_reset(&body);
    }
    const struct remote_ask ask = {.prompt = bytes,
                                   .prompt_len = len < 64 ? len : 64,
                                   .sampling = {.top_p = 1, .repeat_penalty = 1},
                                   .max_tokens = 8};
    check(dialect_write(api, &t, &ask, &body) != NULL && body.err == OK);
    buf_clear(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    enum remote_api api = (enum remote_api)(data[0] % REMOTE_N_APIS);
    enum stream_kind kind = (enum stream_kind)(data[0] / 3 % 3);
    size_t piece_len = 1 + data[0] / 9;
    const char *bytes = (const char *)data + 1;
    struct reading whole, pieces;
    struct errmsg says;
    read_stream(&whole, api, kind, bytes, size - 1, size);
    read_stream(&pieces, api, kind, bytes, size - 1, piece_len);
    check_same(&whole, &pieces);
    dialect_read_error(bytes, size - 1, &says);
    check_line(&says);
    learn(api, "", 200, bytes, size - 1);
    learn(api, "coder", data[0] % 2 ? 200 : 404, bytes, size - 1);
    return 0;
}

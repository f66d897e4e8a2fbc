/* Framing as in the specification's "Base Protocol": header fields of ASCII, each ended by \r\n, an empty
 * line, then Content-Length bytes. Fields other than Content-Length are ignored.
 *
 * A body is kept as it arrives and never allocated by what was announced. Nothing tells where the next
 * message of a broken stream would start, so that the first fault is final. */
#include "serve/lsp_frame.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

/* A body larger than this does not stay allocated for the next: only opening a large file needs it. */
#define KEPT_BYTES ((size_t)1 << 20)

#define LENGTH_UNKNOWN SIZE_MAX

void lsp_frame_init(struct lsp_frame *f)
{
    *f = (struct lsp_frame){.state = LSP_FRAME_PARTIAL};
    buf_init(&f->header, LSP_FRAME_HEADER_MAX);
    buf_init(&f->body, LSP_FRAME_BODY_MAX);
}

void lsp_frame_clear(struct lsp_frame *f)
{
    buf_clear(&f->header);
    buf_clear(&f->body);
}

static enum lsp_frame_state broken(struct lsp_frame *f, const char *what)
{
    (void)err_set(&f->fault, ERR_FORMAT, "%s", what);
    return f->state = LSP_FRAME_BROKEN;
}

/* --- Header ------------------------------------------------------------------------------------------ */

/* A decimal number without sign, white space around it allowed; false if it is none or does not fit. */
static bool parse_length(const char *s, size_t len, size_t *out)
{
    size_t i = 0, value = 0;
    while (i < len && (s[i] == ' ' || s[i] == '\t')) i++;
    while (len > i && (s[len - 1] == ' ' || s[len - 1] == '\t')) len--;
    if (i == len) return false;
    for (; i < len; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (size_t)(s[i] - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

/* One field: "Name: value". Null, or what is wrong with it. */
static const char *read_field(struct lsp_frame *f, const char *line, size_t len)
{
    static const char name[] = "Content-Length";
    const char *colon = memchr(line, ':', len);
    if (!colon) return "a header line without a colon";
    size_t name_len = (size_t)(colon - line);
    if (name_len != sizeof name - 1 || strncasecmp(line, name, name_len) != 0) return NULL;
    if (f->body_len != LENGTH_UNKNOWN) return "two Content-Lengths";
    if (!parse_length(colon + 1, len - name_len - 1, &f->body_len)) return "Content-Length is not a number";
    return f->body_len > LSP_FRAME_BODY_MAX ? "a message of more than 64 MiB" : NULL;
}

/* The header is complete, its empty line included. */
static const char *read_header(struct lsp_frame *f)
{
    const char *line = f->header.data, *end = line + f->header.len - 2;
    f->body_len = LENGTH_UNKNOWN;
    while (line < end) {
        const char *line_end = memmem(line, (size_t)(end - line), "\r\n", 2);
        const char *fault = read_field(f, line, (size_t)(line_end - line));
        if (fault) return fault;
        line = line_end + 2;
    }
    return f->body_len == LENGTH_UNKNOWN ? "a header without Content-Length" : NULL;
}

static bool is_header_complete(const struct buf *h)
{
    return (h->len >= 4 && memcmp(h->data + h->len - 4, "\r\n\r\n", 4) == 0) ||
           (h->len == 2 && memcmp(h->data, "\r\n", 2) == 0);
}

/* Byte by byte: a header has about twenty. */
static void take_header(struct lsp_frame *f, const char *bytes, size_t len, size_t *used)
{
    while (*used < len && !f->in_body) {
        buf_add_char(&f->header, bytes[(*used)++]);
        if (f->header.err) {
            broken(f, "a header of more than 4 KiB");
            return;
        }
        if (!is_header_complete(&f->header)) continue;
        const char *fault = read_header(f);
        if (fault) {
            broken(f, fault);
            return;
        }
        f->in_body = true;
    }
}

/* --- Body -------------------------------------------------------------------------------------------- */

static void take_body(struct lsp_frame *f, const char *bytes, size_t len, size_t *used)
{
    size_t missing = f->body_len - f->body.len, n = len - *used < missing ? len - *used : missing;
    buf_add(&f->body, bytes + *used, n);
    *used += n;
    if (f->body.err) {
        broken(f, "not enough memory for a message");
    } else if (f->body.len == f->body_len) {
        f->state = LSP_FRAME_WHOLE;
    }
}

/* Forget the message that was handed out. */
static void begin_next(struct lsp_frame *f)
{
    if (f->body.cap > KEPT_BYTES) buf_clear(&f->body);
    buf_reset(&f->body);
    buf_reset(&f->header);
    f->in_body = false;
    f->state = LSP_FRAME_PARTIAL;
}

enum lsp_frame_state lsp_frame_take(struct lsp_frame *f, const char *bytes, size_t len, size_t *used)
{
    *used = 0;
    if (f->state == LSP_FRAME_WHOLE) begin_next(f);
    if (f->state == LSP_FRAME_PARTIAL && !f->in_body) take_header(f, bytes, len, used);
    if (f->state == LSP_FRAME_PARTIAL && f->in_body) take_body(f, bytes, len, used);
    return f->state;
}

void lsp_frame_write(const char *body, size_t len, struct buf *out)
{
    buf_printf(out, "Content-Length: %zu\r\n\r\n", len);
    buf_add(out, body, len);
}

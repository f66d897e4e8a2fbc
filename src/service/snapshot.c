/* Copying requests.
 *
 * Everything goes into one buffer in a fixed order: texts, which are then read back as views, and numbers,
 * which are there only to be compared. */
#include "service/snapshot.h"

#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "base/utf8.h"

#define BYTES_MAX ((size_t)256 << 20) /* of a snapshot; bodies of requests stay far below */

static int32_t min_int(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Half of the context stays for a document's prompt, three quarters for a raw one, which may be generated
 * from until the context is full. */
struct snapshot_limits snapshot_limits(const struct service_request *r, int32_t n_ctx, int32_t usual_tokens,
                                       int32_t usual_prompt)
{
    struct snapshot_limits l;
    bool is_raw = r->prompt || r->tokens;
    int32_t max_tokens = r->max_tokens < 0 ? usual_tokens : r->max_tokens;
    l.max_tokens = min_int(max_tokens, is_raw ? n_ctx - 1 : n_ctx / 2);
    /* A document's prompt does not depend on how much is wanted: a warm-up prepares for all that follows. */
    int32_t answer = l.max_tokens > usual_tokens ? l.max_tokens : min_int(usual_tokens, n_ctx / 2);
    int32_t room = n_ctx - (is_raw ? min_int(l.max_tokens, n_ctx / 4) : answer);
    if (is_raw) usual_prompt = room;
    l.max_prompt = min_int(r->max_prompt_tokens > 0 ? r->max_prompt_tokens : usual_prompt, room);
    bool is_one = r->n_candidates < 1 || l.max_tokens == 0;
    l.n_candidates = is_one ? 1 : min_int(r->n_candidates, SERVICE_CANDIDATES_MAX);
    return l;
}

/* ---- Writing ---- */

static void put(struct buf *b, const void *value, size_t len)
{
    buf_add(b, value, len);
}

static void put_size(struct buf *b, size_t value)
{
    put(b, &value, sizeof value);
}

/* A null text is told from an empty one. All end in a NUL that the length does not count. */
static void put_text(struct buf *b, const char *text, size_t len)
{
    put_size(b, text ? len : SIZE_MAX);
    if (text) put(b, text, len);
    if (text) buf_add_char(b, '\0');
}

static void put_str(struct buf *b, const char *text)
{
    put_text(b, text, text ? strlen(text) : 0);
}

static void put_document(struct buf *b, const struct prompt_input *in, struct snapshot *s)
{
    put_text(b, in->before, in->before_len);
    s->rest_from = b->len;
    put_text(b, in->after, in->after_len);
    put_str(b, in->path);
    put_str(b, in->repo);
    put_str(b, in->line_comment);
    put_size(b, (size_t)in->n_files);
    for (int32_t i = 0; i < in->n_files; i++) {
        put_str(b, in->files[i].path);
        put_text(b, in->files[i].text, in->files[i].text_len);
    }
}

/* Where a raw prompt of about `max` bytes starts. As the text grows its start mostly stays, and with it the
 * KV. */
static size_t raw_start(const char *text, size_t len, size_t max)
{
    size_t start = fim_step_start(len, max);
    while (start < len && utf8_is_continuation(text[start])) start++;
    return start;
}

static void put_raw(struct buf *b, const struct service_request *r, struct snapshot *s)
{
    size_t max = (size_t)s->limits.max_prompt * FIM_BYTES_PER_TOKEN;
    size_t start = r->tokens ? 0 : raw_start(r->prompt, r->prompt_len, max);
    s->was_cut = start > 0;
    put_text(b, r->tokens ? NULL : r->prompt + start, r->tokens ? 0 : r->prompt_len - start);
    s->rest_from = b->len;
    put_size(b, r->tokens && r->n_tokens > 0 ? (size_t)r->n_tokens : 0);
    if (!r->tokens || r->n_tokens <= 0) return;
    while (b->len % sizeof(int32_t) != 0) buf_add_char(b, '\0');
    put(b, r->tokens, (size_t)r->n_tokens * sizeof *r->tokens);
}

/* What is drawn from the model. Field by field, because structs have padding. */
static void put_sampling(struct buf *b, const struct snapshot *s)
{
    const struct sampler_params *p = &s->sampling;
    put(b, &p->temperature, sizeof p->temperature);
    put(b, &p->top_k, sizeof p->top_k);
    put(b, &p->top_p, sizeof p->top_p);
    put(b, &p->min_p, sizeof p->min_p);
    put(b, &p->repeat_penalty, sizeof p->repeat_penalty);
    put(b, &p->repeat_last_n, sizeof p->repeat_last_n);
    put(b, &p->infill, sizeof p->infill);
    put(b, &p->seed, sizeof p->seed);
    put(b, &s->limits, sizeof s->limits); /* three int32_t: no padding */
}

/* What of it is wanted. */
static void put_rules(struct buf *b, const struct snapshot *s)
{
    put(b, &s->max_prompt_ms, sizeof s->max_prompt_ms);
    put(b, &s->max_predict_ms, sizeof s->max_predict_ms);
    put(b, &s->rules.two_line_ms, sizeof s->rules.two_line_ms);
    put(b, &s->rules.min_indent, sizeof s->rules.min_indent);
    put(b, &s->rules.eol, sizeof s->rules.eol);
    put(b, &s->rules.extent, sizeof s->rules.extent);
    put(b, &s->rules.language, sizeof s->rules.language);
}

/* ---- Reading ---- */

static size_t take_size(const char **at)
{
    size_t value;
    memcpy(&value, *at, sizeof value);
    *at += sizeof value;
    return value;
}

static const char *take_text(const char **at, size_t *len)
{
    const char *text = *at + sizeof *len;
    *len = take_size(at);
    if (*len == SIZE_MAX) {
        *len = 0;
        return NULL;
    }
    *at += *len + 1;
    return text;
}

static enum err view_document(const char **at, struct snapshot *s)
{
    struct prompt_input *in = &s->input;
    size_t path_len;
    in->before = take_text(at, &in->before_len);
    in->after = take_text(at, &in->after_len);
    in->path = take_text(at, &path_len);
    in->repo = take_text(at, &path_len);
    in->line_comment = take_text(at, &path_len);
    size_t n = take_size(at);
    if (n == 0) return OK;
    s->files = mem_try(n, sizeof *s->files);
    if (!s->files) return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        s->files[i].path = take_text(at, &path_len);
        s->files[i].text = take_text(at, &s->files[i].text_len);
    }
    in->files = s->files;
    in->n_files = (int32_t)n;
    return OK;
}

static void view_raw(const char **at, struct snapshot *s)
{
    struct prompt_input *in = &s->input;
    in->text = take_text(at, &in->text_len);
    in->n_tokens = (int32_t)take_size(at);
    while (in->n_tokens > 0 && (size_t)(*at - s->bytes.data) % sizeof(int32_t) != 0) ++*at;
    if (!in->text) in->tokens = (const int32_t *)(const void *)*at; /* aligned by put_raw */
    *at += (size_t)in->n_tokens * sizeof *in->tokens;
}

static void view_words(const char **at, struct snapshot *s)
{
    s->rules.n_words = (int32_t)take_size(at);
    for (int32_t i = 0; i < s->rules.n_words; i++) s->words[i].text = take_text(at, &s->words[i].len);
}

/* ---- The whole ---- */

static enum stop_extent extent_of(enum service_extent wanted, const struct question *q)
{
    switch (wanted) {
    case SERVICE_EXTENT_ANY:
        return STOP_EXTENT_ANY;
    case SERVICE_EXTENT_LINE:
        return STOP_EXTENT_LINE;
    case SERVICE_EXTENT_BLOCK:
        return STOP_EXTENT_BLOCK;
    case SERVICE_EXTENT_PLACE:
        break;
    }
    return q->extent;
}

static void set_rules(const struct service_request *r, const struct question *q, struct snapshot *s)
{
    bool counts_lines = r->predict_ms_after_newline;
    s->sampling = r->sampling;
    s->max_prompt_ms = r->max_prompt_ms;
    s->max_predict_ms = counts_lines ? 0 : r->max_predict_ms;
    s->rules.two_line_ms = counts_lines ? r->max_predict_ms : 0;
    s->rules.min_indent = r->n_indent > 0 ? r->n_indent : 0;
    s->rules.eol = q ? q->eol : DOCUMENT_LF;
    s->rules.extent = q ? extent_of(r->extent, q) : STOP_EXTENT_ANY;
    s->rules.language = q ? q->language : NULL;
    s->is_extent_of_place = r->extent == SERVICE_EXTENT_PLACE;
}

static void put_words(struct buf *b, const struct stop_word *words, int32_t n)
{
    put_size(b, (size_t)n);
    for (int32_t i = 0; i < n; i++) put_text(b, words[i].text, words[i].len);
}

static int32_t words_of(const struct service_request *r, struct stop_word out[SERVICE_STOPS_MAX])
{
    int32_t n = r->n_stops > 0 ? min_int(r->n_stops, SERVICE_STOPS_MAX) : 0;
    for (int32_t i = 0; i < n; i++) out[i] = (struct stop_word){r->stops[i].text, r->stops[i].len};
    return n;
}

/* The text has been put: put the rest, and read everything back as views. */
static enum err finish(struct snapshot *s, const struct stop_word *words, int32_t n_words)
{
    struct buf *b = &s->bytes;
    put_sampling(b, s);
    s->rest_to = b->len;
    put_words(b, words, n_words);
    put_rules(b, s);
    enum err err = b->err;
    const char *at = b->data;
    if (!err && !s->input.is_raw) err = view_document(&at, s);
    if (!err && s->input.is_raw) view_raw(&at, s);
    if (err) {
        snapshot_clear(s);
        return err;
    }
    at = b->data + s->rest_to;
    view_words(&at, s);
    s->hash = XXH3_64bits(b->data, b->len);
    return OK;
}

enum err snapshot_take(const struct service_request *r, const struct snapshot_limits *limits,
                       const struct question *q, struct snapshot *out, struct errmsg *msg)
{
    struct stop_word words[SERVICE_STOPS_MAX];
    *out = (struct snapshot){.limits = *limits};
    if (!q && !r->prompt && !r->tokens) {
        return err_set(msg, ERR_ARG, "the request has neither a document nor a prompt");
    }
    buf_init(&out->bytes, BYTES_MAX);
    set_rules(r, q, out);
    out->input.is_raw = !q;
    if (q) {
        put_document(&out->bytes, &q->input, out);
    } else {
        put_raw(&out->bytes, r, out);
    }
    enum err err = finish(out, words, words_of(r, words));
    return err ? err_set(msg, err, "cannot keep the request: %s", err_text(err)) : OK;
}

/* Where the window alone leads to. */
static struct place place_of(const struct prompt_input *in, const struct language *l)
{
    return (struct place){.before = in->before,
                          .before_len = in->before_len,
                          .after = in->after,
                          .after_len = in->after_len,
                          .language = l,
                          .inside = syntax_place_at(l, in->before, in->before_len, in->before_len)};
}

bool snapshot_is_quiet(const struct snapshot *s)
{
    struct place place = place_of(&s->input, s->rules.language);
    return place_quiet(&place) != PLACE_NOT_QUIET;
}

enum err snapshot_take_after(const struct snapshot *s, const char *text, size_t len, struct snapshot *out)
{
    *out = (struct snapshot){.limits = s->limits,
                             .sampling = s->sampling,
                             .max_prompt_ms = s->max_prompt_ms,
                             .max_predict_ms = s->max_predict_ms,
                             .rules = s->rules,
                             .is_extent_of_place = s->is_extent_of_place};
    struct prompt_input in = s->input;
    struct buf before;
    buf_init(&before, BYTES_MAX);
    buf_add(&before, in.before, in.before_len);
    buf_add(&before, text, len);
    enum err err = before.err;
    if (!err) {
        in.before = before.data;
        in.before_len = before.len;
        struct place place = place_of(&in, s->rules.language);
        if (s->is_extent_of_place) out->rules.extent = place_extent(&place);
        buf_init(&out->bytes, BYTES_MAX);
        put_document(&out->bytes, &in, out);
        err = finish(out, s->words, s->rules.n_words);
    }
    buf_clear(&before);
    return err;
}

void snapshot_clear(struct snapshot *s)
{
    mem_free(s->files);
    s->files = NULL;
    buf_clear(&s->bytes);
}

bool snapshot_is_same(const struct snapshot *a, const struct snapshot *b)
{
    if (a->hash != b->hash || a->bytes.len != b->bytes.len) return false;
    if (a->input.is_raw != b->input.is_raw || a->was_cut != b->was_cut) return false;
    return memcmp(a->bytes.data, b->bytes.data, a->bytes.len) == 0;
}

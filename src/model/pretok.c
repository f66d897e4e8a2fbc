/* Cutting text by PCRE2 expressions, compiled once and run by its JIT where there is one.
 *
 * A match never fails for lack of resources and passes for "no match": if the JIT's stack is too small the
 * interpreter, which uses the heap, repeats the match; if that fails too, the split fails. */
#include "model/pretok.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "model/pretok_kinds.h"

struct pretok {
    const struct pretok_kind *kind;
    pcre2_code *codes[PRETOK_MAX_PATTERNS]; /* owned */
    int32_t n_codes;
    pcre2_match_context *limits; /* owned; no limit on the work of one match */
};

/* One call of pretok_split. */
struct split {
    const struct pretok *p;
    pcre2_match_data *match; /* owned; every level reads its result before the next one matches */
    pretok_fn *fn;
    void *ctx;
};

static enum err compile(struct pretok *p, const char *pattern, struct errmsg *msg)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *re =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    if (!re) {
        PCRE2_UCHAR text[120];
        pcre2_get_error_message(code, text, sizeof text);
        return err_set(msg, ERR_UNSUPPORTED, "pre-tokenizer %s: %s at offset %zu", p->kind->name,
                       (const char *)text, (size_t)at);
    }
    p->codes[p->n_codes++] = re;
    /* Without JIT (not built in, or no executable memory) pcre2_match interprets: slower, same result. */
    (void)pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
    return OK;
}

enum err pretok_new(const char *name, size_t name_len, struct pretok **out, struct errmsg *msg)
{
    const struct pretok_kind *kind = pretok_kinds_find(name, name_len);
    *out = NULL;
    if (!kind) {
        return err_set(msg, ERR_UNSUPPORTED, "unknown pre-tokenizer \"%.*s\" (key tokenizer.ggml.pre)",
                       (int)(name_len < 64 ? name_len : 64), name);
    }
    struct pretok *p = MEM_NEW(struct pretok);
    p->kind = kind;
    enum err err = OK;
    p->limits = pcre2_match_context_create(NULL);
    if (!p->limits) {
        err = err_set(msg, ERR_NOMEM, "not enough memory for pre-tokenizer %s", kind->name);
        goto fail;
    }
    pcre2_set_match_limit(p->limits, UINT32_MAX);
    pcre2_set_depth_limit(p->limits, UINT32_MAX);
    for (const char *const *pattern = kind->patterns; *pattern; pattern++) {
        err = compile(p, *pattern, msg);
        if (err) goto fail;
    }
    *out = p;
    return OK;
fail:
    pretok_free(&p);
    return err;
}

void pretok_free(struct pretok **p)
{
    struct pretok *old = *p;
    *p = NULL;
    if (!old) return;
    for (int32_t i = 0; i < old->n_codes; i++) pcre2_code_free(old->codes[i]);
    pcre2_match_context_free(old->limits);
    mem_free(old);
}

const struct pretok_kind *pretok_kind(const struct pretok *p)
{
    return p->kind;
}

/* The first match of expression `level` in text at or after `from`; *start == len if there is none. */
static enum err find_match(const struct split *s, int32_t level, const char *text, size_t len, size_t from,
                           size_t *start, size_t *end)
{
    const pcre2_code *re = s->p->codes[level];
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int found = pcre2_match(re, subject, len, from, PCRE2_NO_UTF_CHECK, s->match, s->p->limits);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
        found =
            pcre2_match(re, subject, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match, s->p->limits);
    }
    *start = *end = len;
    if (found == PCRE2_ERROR_NOMATCH) return OK;
    if (found < 0) return ERR_NOMEM;
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(s->match);
    *start = range[0];
    *end = range[1];
    return OK;
}

/* Cut one piece by expression `level` and what results by those after it. Recursion is at most n_codes
 * deep. No expression of the table matches the empty string. */
static enum err split_piece(const struct split *s, int32_t level, const char *text, size_t len)
{
    if (level == s->p->n_codes) return s->fn(s->ctx, text, len);
    for (size_t at = 0; at < len;) {
        size_t start, end;
        enum err err = find_match(s, level, text, len, at, &start, &end);
        if (!err && start > at) err = split_piece(s, level + 1, text + at, start - at);
        if (!err && end > start) err = split_piece(s, level + 1, text + start, end - start);
        if (err) return err;
        at = end;
    }
    return OK;
}

static size_t invalid_len(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len) {
        int32_t code;
        size_t step = utf8_decode(text + n, len - n, &code);
        if (code >= 0) break;
        n += step;
    }
    return n;
}

enum err pretok_split(const struct pretok *p, const char *text, size_t len, pretok_fn *fn, void *ctx)
{
    struct split s = {.p = p, .fn = fn, .ctx = ctx};
    s.match = pcre2_match_data_create(1, NULL);
    if (!s.match) return ERR_NOMEM;
    enum err err = OK;
    while (len && !err) {
        size_t n = utf8_valid_len(text, len);
        if (n) {
            err = split_piece(&s, 0, text, n);
        } else {
            n = invalid_len(text, len);
            err = fn(ctx, text, n);
        }
        text += n;
        len -= n;
    }
    pcre2_match_data_free(s.match);
    return err;
}

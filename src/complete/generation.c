/* Feeding the stop rules and emitting what they call certain. */
#include "complete/generation.h"

#include <string.h>

#include "complete/chars.h"
#include "os/clock.h"

/* The last line in text[0..len) that is not blank; null if there is none. */
static const char *last_line(const char *text, size_t len, size_t *line_len)
{
    size_t end = chars_trimmed_len(text, len);
    const char *newline = end > 0 ? memrchr(text, '\n', end) : NULL;
    const char *line = newline ? newline + 1 : text;
    *line_len = end - (size_t)(line - text);
    return end > 0 ? line : NULL;
}

static struct stop_place document_place(const struct fim *fim, const struct prompt_input *in)
{
    const char *newline = in->before_len > 0 ? memrchr(in->before, '\n', in->before_len) : NULL;
    size_t line = newline ? (size_t)(newline - in->before) + 1 : 0;
    struct stop_place place = {.line_prefix = in->before + line,
                               .line_prefix_len = in->before_len - line,
                               .suffix = in->after,
                               .suffix_len = in->after_len,
                               .is_prefix_only = fim->order == FIM_PREFIX_ONLY};
    place.above = last_line(in->before, line, &place.above_len);
    return place;
}

static int32_t set_marks(const struct fim *fim, struct stop_word *out)
{
    const char *marks[FIM_MAX_MARKS];
    int32_t n = fim_marks(fim, marks);
    for (int32_t i = 0; i < n; i++) out[i] = (struct stop_word){marks[i], strlen(marks[i])};
    return n;
}

void generation_init(struct generation *g, const struct fim *fim, const struct prompt_input *in,
                     const struct generation_rules *rules, struct buf *out)
{
    *g = (struct generation){.fim = fim, .rules = *rules, .out = out};
    struct stop_place place = {.line_prefix = "", .suffix = "", .is_raw = true};
    if (!in->is_raw) {
        place = document_place(fim, in);
        place.extent = rules->extent;
        place.language = rules->language;
        place.n_marks = set_marks(fim, g->marks);
        place.marks = g->marks;
    }
    place.words = rules->words;
    place.n_words = rules->n_words;
    place.min_indent = rules->min_indent;
    stop_init(&g->stop, &place);
}

void generation_clear(struct generation *g)
{
    stop_clear(&g->stop);
}

/* Hand over what has become certain. False if the caller does not want more. */
static bool emit(struct generation *g)
{
    const char *text = buf_str(&g->stop.text);
    size_t from = g->out->len;
    if (g->emitted == g->stop.certain) return true;
    for (; g->emitted < g->stop.certain; g->emitted++) {
        if (text[g->emitted] == '\n' && g->rules.eol == DOCUMENT_CRLF) buf_add_char(g->out, '\r');
        buf_add_char(g->out, text[g->emitted]);
    }
    if (g->out->err || !g->rules.on_text) return !g->out->err;
    return g->rules.on_text(g->rules.ctx, g->out->data + from, g->out->len - from);
}

static bool is_late(struct generation *g)
{
    if (!(g->rules.two_line_ms > 0)) return false;
    int64_t now = clock_ns();
    if (!g->deadline_ns) g->deadline_ns = now + (int64_t)(g->rules.two_line_ms * 1e6);
    return stop_has_newline(&g->stop) && now >= g->deadline_ns;
}

bool generation_on_token(void *ctx, int32_t token, const char *bytes, size_t len)
{
    struct generation *g = ctx;
    if (fim_is_end(g->fim, token)) {
        g->is_ended = true;
        return false;
    }
    bool goes_on = stop_feed(&g->stop, bytes, len);
    g->is_refused = !emit(g);
    g->is_late = goes_on && is_late(g);
    return goes_on && !g->is_refused && !g->is_late;
}

bool generation_replay(struct generation *g, const char *text, size_t len)
{
    bool goes_on = stop_feed(&g->stop, text, len);
    g->is_refused = !emit(g);
    return goes_on && !g->is_refused;
}

static enum complete_stop why_stopped(const struct generation *g, enum engine_stop stop)
{
    if (stop == ENGINE_STOP_CANCEL || g->is_refused) return COMPLETE_CANCELLED;
    if (stop == ENGINE_STOP_TIME || g->is_late) return COMPLETE_TIME;
    if (stop == ENGINE_STOP_EOG || g->is_ended) return COMPLETE_EOG;
    switch (g->stop.why) {
    case STOP_MARK: /* as if it had ended with the token itself */
        return COMPLETE_EOG;
    case STOP_LINE:
        return COMPLETE_LINE;
    case STOP_UNIT:
        return COMPLETE_UNIT;
    case STOP_SUFFIX:
        return COMPLETE_SUFFIX;
    case STOP_REPETITION:
        return COMPLETE_REPETITION;
    case STOP_BLOCK:
        return COMPLETE_BLOCK;
    case STOP_WORD:
        return COMPLETE_WORD;
    case STOP_INDENT:
        return COMPLETE_INDENT;
    case STOP_NOT:
        break;
    }
    return COMPLETE_LIMIT;
}

enum err generation_finish(struct generation *g, enum engine_stop stop, enum complete_stop *why,
                           struct errmsg *msg)
{
    *why = why_stopped(g, stop);
    if (!g->is_refused) {
        stop_finish(&g->stop);
        (void)emit(g); /* the last piece: nothing is left to be refused */
    }
    enum err err = g->stop.text.err ? g->stop.text.err : g->out->err;
    return err ? err_set(msg, err, "cannot keep the completion: %s", err_text(err)) : OK;
}

/* Feeding what was generated before to the rules. */
#include "service/replay.h"

#include <string.h>

#include "base/mem.h"
#include "complete/generation.h"

#define TEXT_MAX ((size_t)1 << 20) /* a record's text is far shorter */

/* Whether the end of the recorded text is where the text would end here too. */
static bool ends_here(const struct record_candidate *c, size_t n_typed)
{
    switch (c->end) {
    case RECORD_EOG:
        return true;
    case RECORD_LIMIT:
        return 2 * n_typed <= c->len;
    case RECORD_RULE:
        break;
    }
    return false;
}

static bool replay_candidate(const struct fim *fim, const struct snapshot *s,
                             const struct record_candidate *c, size_t n_typed, struct buf *text,
                             struct service_candidate *out)
{
    struct generation g;
    struct generation_rules rules = s->rules;
    struct errmsg msg;
    enum complete_stop why;
    rules.words = s->words;
    rules.two_line_ms = 0;
    buf_init(text, TEXT_MAX);
    generation_init(&g, fim, &s->input, &rules, text);
    bool goes_on = generation_replay(&g, c->text + n_typed, c->len - n_typed);
    bool is_whole = !goes_on || ends_here(c, n_typed);
    if (goes_on && n_typed > 0 && c->end == RECORD_LIMIT) {
        /* The model has more to say, which may decide what is not certain yet. */
        why = COMPLETE_LIMIT;
        is_whole = is_whole && text->len > 0 && !text->err;
    } else {
        enum engine_stop stop = goes_on && c->end == RECORD_EOG ? ENGINE_STOP_EOG : ENGINE_STOP_LIMIT;
        is_whole = is_whole && !generation_finish(&g, stop, &why, &msg);
    }
    if (is_whole) {
        const struct stop_word *word = why == COMPLETE_WORD ? &s->words[g.stop.word] : NULL;
        *out = (struct service_candidate){.text = buf_str(text),
                                          .len = text->len,
                                          .stop = complete_stop_name(why),
                                          .stopping_word = word ? word->text : "",
                                          .n_tokens = c->n_tokens,
                                          .mean_logprob = (double)c->mean_logprob};
    }
    generation_clear(&g);
    return is_whole;
}

static bool is_new(const struct replay *r, const struct service_candidate *c)
{
    for (int32_t i = 0; i < r->n; i++) {
        if (r->candidates[i].len == c->len && memcmp(r->candidates[i].text, c->text, c->len) == 0)
            return false;
    }
    return true;
}

bool replay_record(const struct fim *fim, const struct snapshot *s, const struct record *r, size_t n_typed,
                   struct replay *out)
{
    *out = (struct replay){0};
    if (n_typed > r->room) return false;
    for (int32_t i = 0; i < r->n_candidates; i++) {
        struct service_candidate c;
        if (!replay_candidate(fim, s, &r->candidates[i], n_typed, &out->texts[i], &c)) {
            replay_clear(out);
            return false;
        }
        if (is_new(out, &c)) out->candidates[out->n++] = c;
    }
    return true;
}

void replay_clear(struct replay *r)
{
    for (int32_t i = 0; i < SERVICE_CANDIDATES_MAX; i++) buf_clear(&r->texts[i]);
    *r = (struct replay){0};
}

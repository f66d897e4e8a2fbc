/* A record of the journal in plain words. See journal.h.
 *
 * Each part of the story is a function that adds a sentence, or nothing where there is nothing to say. What
 * depends on a label stands in tables by the label's name; a label that has no row there gets a sentence that
 * names it, so that no story has holes. Records may come from a file: no number of theirs is trusted. */
#include "watch/journal_story.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof *(a))

struct phrase {
    const char *label, *text;
};

/* Null: there is none for it. */
static const char *find_phrase(const struct phrase *list, size_t n, const char *label)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].label, label) == 0) return list[i].text;
    }
    return NULL;
}

static bool is(const char *label, const char *name)
{
    return strcmp(label, name) == 0;
}

/* ---- Numbers ---- */

void journal_story_ms(struct buf *out, double ms)
{
    if (!isfinite(ms) || ms < 0) ms = 0;
    if (ms < 9.95)
        buf_printf(out, "%.1f ms", ms);
    else if (ms < 999.5)
        buf_printf(out, "%.0f ms", ms);
    else
        buf_printf(out, "%.1f s", ms / 1000);
}

void journal_story_count(struct buf *out, uint64_t n)
{
    if (n >= 1000) {
        journal_story_count(out, n / 1000);
        buf_printf(out, ",%03" PRIu64, n % 1000);
    } else {
        buf_printf(out, "%" PRIu64, n);
    }
}

void journal_story_counted(struct buf *out, uint64_t n, const char *what)
{
    journal_story_count(out, n);
    buf_printf(out, " %s%s", what, n == 1 ? "" : "s");
}

/* How sure the model was: the geometric mean of the tokens' probabilities. */
static void add_sureness(struct buf *out, const struct journal_record *r)
{
    double percent = 100 * exp((double)r->mean_logprob);
    if (percent >= 0.5 && percent <= 100)
        buf_printf(out, "%.0f %%", percent);
    else
        buf_add_str(out, "less than 1 %");
}

/* ---- Who asked, and what became of it ---- */

static void add_clock(struct buf *out, int64_t at_us)
{
    time_t at = (time_t)(at_us / 1000000);
    struct tm t;
    if (!localtime_r(&at, &t)) t = (struct tm){.tm_mday = 1};
    buf_printf(out, "On %04d-%02d-%02d at %02d:%02d:%02d ", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday,
               t.tm_hour, t.tm_min, t.tm_sec);
}

static const char *asker(const char *api)
{
    static const struct phrase askers[] = {{"lsp", "an editor (LSP)"},
                                           {"infill", "a client of /infill"},
                                           {"completion", "a client of /completion"},
                                           {"openai", "a client of OpenAI's or Tabby's API"},
                                           {"ollama", "a client of Ollama's API"},
                                           {"own", "Inline itself"}};
    const char *text = find_phrase(askers, ARRAY_LEN(askers), api);
    return text ? text : "somebody";
}

static const char *occasion(int8_t priority)
{
    static const char *const occasions[] = {"asked for a suggestion", "asked while somebody typed",
                                            "asked to warm the model up",
                                            "asked ahead of time for what might be wanted next (prefetch)"};
    return priority >= 0 && (size_t)priority < ARRAY_LEN(occasions) ? occasions[priority] : "asked";
}

static void add_answered(const struct journal_story *s)
{
    const struct journal_record *r = s->r;
    buf_add_str(s->out, "it was answered after ");
    journal_story_ms(s->out, r->total_ms);
    if (r->n_chars > 0) {
        buf_add_str(s->out, " with ");
        journal_story_counted(s->out, r->n_chars, "byte");
        buf_add_str(s->out, " of text");
        if (r->n_candidates > 1) buf_printf(s->out, " (and %d others to choose from)", r->n_candidates - 1);
    } else {
        buf_add_str(s->out, " without a suggestion");
    }
    if (*s->model) buf_printf(s->out, ", by %s", s->model);
    if (r->is_remote) buf_add_str(s->out, " on another machine");
    if (r->is_fallback) {
        buf_add_str(s->out, ", because no server of the model that should have done so did in time "
                            "(remote.patience_ms; `inline model check` asks each of them)");
    }
    buf_add_str(s->out, ".\n");
}

static void add_superseded(const struct journal_story *s)
{
    buf_add_str(s->out, "it was superseded by ");
    if (s->r->other > 0)
        buf_printf(s->out, "request %" PRIu64, s->r->other);
    else
        buf_add_str(s->out, "a newer request");
    buf_add_str(s->out, " for the same document, ");
    journal_story_ms(s->out, s->r->total_ms);
    buf_add_str(s->out, " later, so nobody waited for its answer any more.\n");
}

static void add_head(const struct journal_story *s)
{
    static const struct phrase ends[] = {
        {"shed", "turned away, because too many requests were under way: see who sends them"},
        {"unavailable", "not taken, because no model was ready for it or the daemon was about to end"},
        {"bad", "refused, because it cannot be met as it was made"},
        {"error", "not answered, because something failed"},
        {"cancelled", "given up, because the client went away"}};
    const char *end = find_phrase(ends, ARRAY_LEN(ends), s->outcome);
    add_clock(s->out, s->r->at_us);
    buf_printf(s->out, "%s %s; ", asker(s->api), occasion(s->r->priority));
    if (is(s->outcome, "ok")) {
        add_answered(s);
    } else if (is(s->outcome, "superseded")) {
        add_superseded(s);
    } else {
        buf_add_str(s->out, "after ");
        journal_story_ms(s->out, s->r->total_ms);
        if (end)
            buf_printf(s->out, " it was %s.\n", end);
        else
            buf_printf(s->out, " it ended (%s).\n", *s->outcome ? s->outcome : "nobody knows how");
    }
}

static void add_error(const struct journal_story *s)
{
    static const struct phrase kinds[] = {
        {"request", "What was asked is not possible; the answer told the client what is wrong with it."},
        {"unavailable", "See `inline status` for the model's state, and `inline doctor` for what is wrong."},
        {"model", "The model failed; `inline doctor` and the log say why."},
        {"remote", "No server of the model answered; the log and `inline model check` say why."},
        {"memory", "There was not enough memory: see limits.memory_mb, engine.context, or a smaller model."},
        {"internal", "The fault is Inline's own; the log says more."}};
    const char *text = find_phrase(kinds, ARRAY_LEN(kinds), s->error);
    if (text)
        buf_printf(s->out, "%s\n", text);
    else if (*s->error)
        buf_printf(s->out, "The fault is of the kind \"%s\".\n", s->error);
}

/* ---- Caches ---- */

static void add_source(const struct journal_story *s)
{
    static const struct phrase sources[] = {
        {"memory", "The memory cache had the answer, so nothing was computed."},
        {"typed", "The memory cache had it: what was typed since is how an earlier suggestion began."},
        {"in-flight", "It was being computed for another request already"},
        {"disk", "The disk cache had the answer, from an earlier run of Inline or before it left memory."},
        {"project", "The project's cache on disk had the answer."},
        {"team", "The team's cache (cache.team) had the answer."}};
    const char *text = find_phrase(sources, ARRAY_LEN(sources), s->source);
    if (!*s->source) return;
    if (!text)
        buf_printf(s->out, "A cache had the answer (%s).\n", s->source);
    else if (!is(s->source, "in-flight"))
        buf_printf(s->out, "%s\n", text);
    else if (s->r->other > 0)
        buf_printf(s->out, "%s, %" PRIu64 ".\n", text, s->r->other);
    else
        buf_printf(s->out, "%s.\n", text);
}

static void add_miss(const struct journal_story *s)
{
    static const struct phrase misses[] = {
        {"new", "nothing had been suggested at this place yet."},
        {"other", "something else than the suggestion had been typed."},
        {"short", "what is known about this place ends too early."},
        {"edited", "the text around the cursor had been edited since."},
        {"evicted", "it had been there, but had to make room for newer answers (cache.memory_mb)."},
        {"long", "the line is too long to be looked up."},
        {"off", "caches are off for it (cache.memory_mb, or the client's own settings)."}};
    const char *text = find_phrase(misses, ARRAY_LEN(misses), s->miss);
    if (text)
        buf_printf(s->out, "No cache had it: %s\n", text);
    else if (*s->miss)
        buf_printf(s->out, "No cache had it (%s).\n", s->miss);
}

static void add_shared(const struct journal_story *s)
{
    if (!s->r->was_shared || is(s->source, "in-flight")) return;
    if (s->r->other > 0)
        buf_printf(s->out, "Request %" PRIu64 " asked the same, so both got one answer.\n", s->r->other);
    else
        buf_add_str(s->out, "Another request asked the same at that time, so both got one answer.\n");
}

/* ---- The text ---- */

static void add_stop(const struct journal_story *s)
{
    static const struct phrase stops[] = {
        {"eog", "where the model ended it"},
        {"limit", "because no more tokens were allowed (complete.max_tokens, or the client's number)"},
        {"word", "at a text where the client wants it to end"},
        {"suffix", "where it would have repeated what follows the cursor"},
        {"repetition", "because it repeated itself"},
        {"line", "with the line: this place asks for no more"},
        {"unit", "with the statement: this place asks for no more"},
        {"block", "with the block: this place asks for no more"},
        {"indent", "before a line with less indentation"},
        {"time", "because the client's time was up"},
        {"cancelled", "because nobody wanted it any more"}};
    const char *stop = journal_stop_name(s->r->stop);
    const char *text = find_phrase(stops, ARRAY_LEN(stops), stop);
    if (!*stop) return;
    buf_add_str(s->out, "The text ended ");
    if (text)
        buf_printf(s->out, "%s.\n", text);
    else
        buf_printf(s->out, "(%s).\n", stop);
}

static void add_quiet(const struct journal_story *s)
{
    static const struct phrase reasons[] = {
        {"deleting", "text was being deleted."},
        {"in-word", "the cursor stands inside a word."},
        {"in-number", "a number was being typed."},
        {"unsure", "the model was not sure enough (complete.confidence)."},
        {"secret-file", "the file is one that no model may see (privacy.files)."}};
    const char *text = find_phrase(reasons, ARRAY_LEN(reasons), s->quiet);
    if (!*s->quiet) return;
    if (!text) {
        buf_printf(s->out, "Nothing was shown (%s).\n", s->quiet);
    } else if (is(s->quiet, "unsure") && s->r->mean_logprob < 0) {
        buf_add_str(s->out, "Nothing was shown: the model was not sure enough (");
        add_sureness(s->out, s->r);
        buf_add_str(s->out, " a token; complete.confidence asks for more).\n");
    } else {
        buf_printf(s->out, "Nothing was shown: %s\n", text);
    }
}

/* An answer that holds no text although nothing was held back. */
static void add_empty(const struct journal_story *s)
{
    const struct journal_record *r = s->r;
    if (!is(s->outcome, "ok") || *s->quiet || r->n_chars > 0) return;
    if (r->n_generated == 0 && r->stop < 0)
        buf_add_str(s->out, "No text was asked for: only the prompt was computed.\n");
    else
        buf_add_str(s->out, "Nothing was suggested: what the model wrote left no text to show.\n");
}

static void add_confidence(const struct journal_story *s)
{
    if (s->r->n_chars == 0 || !(s->r->mean_logprob < 0)) return;
    buf_add_str(s->out, "The model gave its tokens a probability of ");
    add_sureness(s->out, s->r);
    buf_add_str(s->out, " on average.\n");
}

static void add_fate(const struct journal_story *s)
{
    static const char *const fates[] = {[JOURNAL_SHOWN] = "The editor showed it.",
                                        [JOURNAL_ACCEPTED] = "It was accepted.",
                                        [JOURNAL_PARTLY] = "A part of it was accepted.",
                                        [JOURNAL_DISMISSED] = "It was shown and dismissed."};
    if (s->r->fate < ARRAY_LEN(fates) && fates[s->r->fate]) buf_printf(s->out, "%s\n", fates[s->r->fate]);
}

void journal_story(const struct journal_record *r, const char *model, struct buf *out)
{
    struct journal_story s = {.r = r, .model = model ? model : "", .out = out};
    (void)metric_label_name(METRIC_REQUESTS, r->outcome, s.outcome);
    (void)metric_label_name(METRIC_REQUESTS_BY_API, r->api, s.api);
    (void)metric_label_name(METRIC_CACHE_HITS, r->source, s.source);
    (void)metric_label_name(METRIC_CACHE_MISSES, r->miss, s.miss);
    (void)metric_label_name(METRIC_QUIET, r->quiet, s.quiet);
    (void)metric_label_name(METRIC_ERRORS, r->error, s.error);
    add_head(&s);
    add_error(&s);
    add_quiet(&s);
    add_empty(&s);
    journal_cost_times(&s);
    add_source(&s);
    add_miss(&s);
    add_shared(&s);
    journal_cost_tokens(&s);
    add_stop(&s);
    add_confidence(&s);
    add_fate(&s);
}

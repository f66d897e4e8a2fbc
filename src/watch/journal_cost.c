/* Where a request's milliseconds and tokens went, in plain words. See journal_story.h. */
#include "watch/journal_story.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof *(a))

static double positive(double x)
{
    return isfinite(x) && x > 0 ? x : 0;
}

/* ---- Where its milliseconds went ---- */

enum part { PART_LOAD, PART_QUEUE, PART_CONTEXT, PART_LOOKUP, PART_PREFILL, PART_DECODE, PART_POST, N_PARTS };

struct share {
    enum part part;
    double ms;
};

/* Its run was that of another request as well, which may have begun it earlier. */
static bool is_joined(const struct journal_story *s)
{
    return s->r->was_shared || strcmp(s->source, "in-flight") == 0;
}

/* Largest first. Returns their sum. */
static double sort_parts(const struct journal_record *r, struct share out[N_PARTS])
{
    const float ms[N_PARTS] = {
        [PART_LOAD] = r->load_ms,     [PART_QUEUE] = r->queue_ms,     [PART_CONTEXT] = r->context_ms,
        [PART_LOOKUP] = r->lookup_ms, [PART_PREFILL] = r->prefill_ms, [PART_DECODE] = r->decode_ms,
        [PART_POST] = r->post_ms};
    double sum = 0;
    for (int32_t i = 0; i < N_PARTS; i++) {
        struct share one = {(enum part)i, positive(ms[i])};
        int32_t at = i;
        for (; at > 0 && out[at - 1].ms < one.ms; at--) out[at] = out[at - 1];
        out[at] = one;
        sum += one.ms;
    }
    return sum;
}

static void add_part(const struct journal_story *s, enum part part)
{
    static const char *const names[N_PARTS] = {[PART_LOAD] = "waiting for the model to be loaded",
                                               [PART_QUEUE] = "waiting for its turn",
                                               [PART_CONTEXT] = "choosing the context",
                                               [PART_LOOKUP] = "looking into the caches",
                                               [PART_PREFILL] = "reading the prompt (prefill",
                                               [PART_DECODE] = "writing (decode",
                                               [PART_POST] = "finishing the text"};
    const struct journal_record *r = s->r;
    double ms = part == PART_PREFILL ? r->prefill_ms : r->decode_ms;
    uint64_t n = part == PART_PREFILL ? r->n_computed : part == PART_DECODE ? r->n_generated : 0;
    buf_add_str(s->out, names[part]);
    if (n > 0) {
        buf_add_str(s->out, ": ");
        journal_story_counted(s->out, n, "token");
        buf_add_str(s->out, n == 1 ? ", " : ", each ");
        journal_story_ms(s->out, ms / (double)n);
    }
    if (part == PART_PREFILL || part == PART_DECODE) buf_add_char(s->out, ')');
}

/* Parts after the first that are worth a word. */
static int32_t count_rest(const struct share parts[N_PARTS], double whole)
{
    int32_t n = 1;
    while (n < N_PARTS && parts[n].ms >= 0.05 && parts[n].ms >= 0.01 * whole) n++;
    return n - 1;
}

static void add_times(const struct journal_story *s)
{
    static const char *const openings[2][2] = {
        {"The largest part of it, ", "Most of it, "},
        {"Of the computation, the largest part, ", "Of the computation, most, "}};
    struct share parts[N_PARTS];
    double sum = sort_parts(s->r, parts);
    double whole = is_joined(s) || sum > s->r->total_ms ? sum : s->r->total_ms;
    /* Under a millisecond there is nothing to explain; those that ended early have no parts to speak of. */
    if (!(whole >= 1) || parts[0].ms < 0.05 * whole) return;
    double percent = 100 * parts[0].ms / whole;
    buf_add_str(s->out, openings[is_joined(s)][percent > 50]);
    journal_story_ms(s->out, parts[0].ms);
    buf_printf(s->out, " (%.0f %%), went into ", percent);
    add_part(s, parts[0].part);
    int32_t n = count_rest(parts, whole);
    for (int32_t i = 1; i <= n; i++) {
        buf_add_str(s->out, i == 1 ? "; " : i == n ? " and " : ", ");
        journal_story_ms(s->out, parts[i].ms);
        buf_add_str(s->out, i == 1 ? " went into " : " into ");
        add_part(s, parts[i].part);
    }
    buf_add_str(s->out, ".\n");
}

static void add_waits(const struct journal_story *s)
{
    const struct journal_record *r = s->r;
    double total = positive(r->total_ms);
    if (positive(r->load_ms) >= 1) {
        buf_add_str(s->out,
                    "The model was not in memory yet: it is loaded when it is first asked, and unloaded "
                    "after models.idle_s without a request.\n");
    }
    /* Shorter waits are not felt, and no reason to change anything. */
    if (positive(r->queue_ms) < 20 || r->queue_ms < 0.25 * total) return;
    buf_add_str(s->out, "It waited because ");
    if (r->n_waiting > 0) {
        journal_story_counted(s->out, r->n_waiting, "other request");
        buf_printf(s->out,
                   " %s under way; if that is usual, a smaller model for those who type "
                   "(models.instant) or more engine.sequences help.\n",
                   r->n_waiting == 1 ? "was" : "were");
    } else if (r->is_remote) {
        buf_add_str(s->out, "all connections to the servers were in use (remote.connections).\n");
    } else {
        buf_add_str(s->out, "the engine was busy with something older, such as work ahead of time "
                            "(cache.prefetch).\n");
    }
}

static void add_throttling(const struct journal_story *s)
{
    const struct journal_record *r = s->r;
    double percent = 100 * positive(r->speed);
    if (r->n_computed == 0 && r->n_generated == 0) return; /* there was nothing to hold back */
    if (r->is_remote) return;
    if (percent > 0 && percent < 99.5) {
        buf_printf(s->out,
                   "The governor held the engine back, to %.0f %% of full speed: `inline status` says why; "
                   "limits.power, limits.battery_power and limits.cpu_percent say how far it goes.\n",
                   percent);
    } else if (r->is_throttled) {
        buf_add_str(s->out,
                    "The governor had the engine use fewer threads than it could, usually because other "
                    "programs are busy: see `inline status`.\n");
    }
}

void journal_cost_times(const struct journal_story *s)
{
    add_times(s);
    add_waits(s);
    add_throttling(s);
}

/* ---- The prompt ---- */

static void add_at_hand(const struct journal_story *s)
{
    const struct journal_record *r = s->r;
    uint64_t n = (uint64_t)r->n_reused + r->n_restored + r->n_moved;
    buf_add_str(s->out, "Of ");
    journal_story_counted(s->out, r->n_prompt, "token");
    buf_add_str(s->out, " of the prompt ");
    journal_story_count(s->out, n);
    buf_add_str(s->out, n == 1 ? " was at hand" : " were at hand");
    if (r->n_restored > 0) {
        buf_add_str(s->out, ", of which ");
        journal_story_count(s->out, r->n_restored);
        buf_add_str(s->out, " read from disk (cache.kv_mb)");
    }
    if (r->n_moved > 0) {
        buf_add_str(s->out, ", of which ");
        journal_story_count(s->out, r->n_moved);
        buf_add_str(s->out, " moved to another place (engine.move)");
    }
}

static void add_prompt(const struct journal_story *s)
{
    static const char *const places[] = {[JOURNAL_PART_CONTEXT] = "in what is shown of other files",
                                         [JOURNAL_PART_PREFIX] = "in the text before the cursor",
                                         [JOURNAL_PART_SUFFIX] = "in the text after the cursor",
                                         [JOURNAL_PART_RAW] = "in the prompt that the client made"};
    const struct journal_record *r = s->r;
    if (r->is_remote) return; /* what its servers have at hand is their own business */
    if (r->n_prompt == 0 || (r->n_computed == 0 && r->n_reused == 0)) return;
    add_at_hand(s);
    if (r->break_part == JOURNAL_PART_START || r->n_reused + r->n_restored + r->n_moved == 0) {
        buf_add_str(s->out, "; nothing before it began like this prompt, so ");
    } else if (r->break_part < ARRAY_LEN(places) && places[r->break_part]) {
        buf_add_str(s->out, "; it differed from what was computed before from token ");
        journal_story_count(s->out, r->break_at);
        buf_printf(s->out, " on, %s, so ", places[r->break_part]);
    } else {
        buf_add_str(s->out, "; nothing that had been computed before was lost, so only ");
    }
    journal_story_count(s->out, r->n_computed);
    buf_add_str(s->out, r->n_computed == 1 ? " was computed.\n" : " were computed.\n");
}

/* What to do about a prefill that was a good part of the time. */
static void add_prompt_advice(const struct journal_story *s)
{
    static const char *const advices[] = {
        [JOURNAL_PART_START] =
            "That is usual for the first request in a document; the next ones compute less.",
        [JOURNAL_PART_CONTEXT] = "That is usual after other files were opened or edited.",
        [JOURNAL_PART_PREFIX] = "What stands behind that token in the prompt has to be computed anew.",
        [JOURNAL_PART_SUFFIX] = "What stands behind that token in the prompt has to be computed anew.",
        [JOURNAL_PART_RAW] = "What stays the same from prompt to prompt should come first in them."};
    const struct journal_record *r = s->r;
    if (positive(r->prefill_ms) < 50 || r->prefill_ms < 0.3 * positive(r->total_ms)) return;
    if (r->break_part >= ARRAY_LEN(advices) || !advices[r->break_part]) return;
    buf_add_str(s->out, advices[r->break_part]);
    if (r->break_part != JOURNAL_PART_RAW)
        buf_add_str(s->out, " A smaller context.tokens makes such prompts cheaper.");
    buf_add_char(s->out, '\n');
}

static void add_cut(const struct journal_story *s)
{
    if (!s->r->was_cut) return;
    buf_add_str(s->out, "The prompt was too long and lost its beginning: see engine.context.\n");
}

static void add_drafts(const struct journal_story *s)
{
    const struct journal_record *r = s->r;
    if (r->n_drafted == 0) return;
    journal_story_counted(s->out, r->n_drafted, "token");
    buf_printf(s->out, r->n_drafted == 1 ? " was guessed and " : " were guessed and ");
    if (r->n_accepted == 0) {
        buf_add_str(s->out, "none of them was right.\n");
    } else {
        journal_story_count(s->out, r->n_accepted);
        buf_printf(s->out, r->n_accepted == 1
                               ? " of them was right, which saved a pass of the model.\n"
                               : " of them were right, which saved as many passes of the model.\n");
    }
}

void journal_cost_tokens(const struct journal_story *s)
{
    add_prompt(s);
    add_prompt_advice(s);
    add_cut(s);
    add_drafts(s);
}

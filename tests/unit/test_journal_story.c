/* watch/journal_story.c: every record has a story of whole sentences, and the usual ones say what matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "watch/journal.h"

/* 2026-11-23 14:03:12 UTC */
#define AT_US INT64_C(1795442592000000)

enum outcome { OUTCOME_OK, OUTCOME_SUPERSEDED, OUTCOME_SHED, OUTCOME_UNAVAILABLE };

static struct journal_record answered(void)
{
    return (struct journal_record){.id = 4812,
                                   .at_us = AT_US,
                                   .total_ms = 184,
                                   .queue_ms = 2,
                                   .context_ms = 1,
                                   .prefill_ms = 61,
                                   .decode_ms = 118,
                                   .mean_logprob = logf(0.5f),
                                   .n_prompt = 1024,
                                   .n_reused = 812,
                                   .n_computed = 212,
                                   .break_at = 812,
                                   .break_part = JOURNAL_PART_PREFIX,
                                   .n_chars = 23,
                                   .n_generated = 12,
                                   .n_drafted = 9,
                                   .n_accepted = 7,
                                   .n_waiting = 3,
                                   .api = METRIC_API_LSP,
                                   .priority = 1,
                                   .source = -1,
                                   .miss = 1,
                                   .quiet = -1,
                                   .error = -1,
                                   .stop = journal_stop("eog"),
                                   .n_candidates = 1};
}

/* The story, which must be whole sentences: each on a line of its own, none empty. */
static const char *story_of(const struct journal_record *r, struct buf *out)
{
    buf_reset(out);
    journal_story(r, "qwen2.5-coder-0.5b", out);
    assert_int_equal(out->err, OK);
    assert_true(out->len > 0);
    assert_null(strstr(out->data, "(null)"));
    assert_null(strstr(out->data, "nan"));
    assert_null(strstr(out->data, "inf "));
    assert_null(strstr(out->data, "  "));
    assert_null(strstr(out->data, "()"));
    assert_null(strstr(out->data, " ."));
    for (const char *line = out->data; *line;) {
        const char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_true(end - line > 10);
        assert_int_equal(end[-1], '.');
        assert_true((*line >= 'A' && *line <= 'Z') || (*line >= '0' && *line <= '9'));
        line = end + 1;
    }
    return out->data;
}

static void assert_says(const struct journal_record *r, const char *sentence)
{
    struct buf out;
    buf_init(&out, 65536);
    const char *story = story_of(r, &out);
    if (!strstr(story, sentence)) fail_msg("\"%s\" is not in:\n%s", sentence, story);
    buf_clear(&out);
}

static void assert_silent(const struct journal_record *r, const char *words)
{
    struct buf out;
    buf_init(&out, 65536);
    const char *story = story_of(r, &out);
    if (strstr(story, words)) fail_msg("\"%s\" is in:\n%s", words, story);
    buf_clear(&out);
}

static void test_answered(void **state)
{
    (void)state;
    struct journal_record r = answered();
    struct buf out;
    buf_init(&out, 65536);
    assert_string_equal(
        story_of(&r, &out),
        "On 2026-11-23 at 14:03:12 an editor (LSP) asked while somebody typed; it was answered after 184 ms "
        "with "
        "23 bytes of text, by qwen2.5-coder-0.5b.\n"
        "Most of it, 118 ms (64 %), went into writing (decode: 12 tokens, each 9.8 ms); 61 ms went into "
        "reading "
        "the prompt (prefill: 212 tokens, each 0.3 ms) and 2.0 ms into waiting for its turn.\n"
        "No cache had it: something else than the suggestion had been typed.\n"
        "Of 1,024 tokens of the prompt 812 were at hand; it differed from what was computed before from "
        "token "
        "812 on, in the text before the cursor, so 212 were computed.\n"
        "What stands behind that token in the prompt has to be computed anew. A smaller context.tokens makes "
        "such "
        "prompts cheaper.\n"
        "9 tokens were guessed and 7 of them were right, which saved as many passes of the model.\n"
        "The text ended where the model ended it.\n"
        "The model gave its tokens a probability of 50 % on average.\n");
    buf_clear(&out);
}

/* Sets one label to each of its values in turn: each has a sentence that no other one has. */
static void assert_all_differ(size_t offset, enum metric_id id, struct journal_record r)
{
    struct buf stories[16];
    int32_t n = metric_n_labels(id);
    assert_in_range(n, 2, 15);
    for (int32_t i = 0; i <= n;
         i++) { /* the last one is not known: a file from another version may have it */
        int8_t label = (int8_t)i;
        memcpy((char *)&r + offset, &label, 1);
        buf_init(&stories[i], 65536);
        story_of(&r, &stories[i]);
        char name[32];
        if (i < n) assert_true(metric_label_name(id, i, name));
        for (int32_t k = 0; k < i; k++) assert_string_not_equal(stories[i].data, stories[k].data);
    }
    for (int32_t i = 0; i <= n; i++) buf_clear(&stories[i]);
}

static void test_every_label(void **state)
{
    (void)state;
    struct journal_record r = answered(), bare = answered();
    bare.n_chars = 0;
    assert_all_differ(offsetof(struct journal_record, outcome), METRIC_REQUESTS, r);
    assert_all_differ(offsetof(struct journal_record, api), METRIC_REQUESTS_BY_API, r);
    assert_all_differ(offsetof(struct journal_record, miss), METRIC_CACHE_MISSES, r);
    r.miss = -1;
    assert_all_differ(offsetof(struct journal_record, source), METRIC_CACHE_HITS, r);
    assert_all_differ(offsetof(struct journal_record, quiet), METRIC_QUIET, bare);
    r.outcome = 5;
    assert_all_differ(offsetof(struct journal_record, error), METRIC_ERRORS, r);
}

/* No known label falls back on the sentence for those that are not known, which shows the bare name. */
static void test_known_labels(void **state)
{
    (void)state;
    static const struct {
        enum metric_id id;
        size_t offset;
    } labels[] = {{METRIC_REQUESTS, offsetof(struct journal_record, outcome)},
                  {METRIC_CACHE_MISSES, offsetof(struct journal_record, miss)},
                  {METRIC_CACHE_HITS, offsetof(struct journal_record, source)},
                  {METRIC_QUIET, offsetof(struct journal_record, quiet)}};
    for (size_t k = 0; k < sizeof labels / sizeof *labels; k++) {
        for (int32_t i = 0; i < metric_n_labels(labels[k].id); i++) {
            struct journal_record r = answered();
            char name[32], bare[40];
            int8_t label = (int8_t)i;
            memcpy((char *)&r + labels[k].offset, &label, 1);
            assert_true(metric_label_name(labels[k].id, i, name));
            snprintf(bare, sizeof bare, "(%s)", name);
            assert_silent(&r, bare);
        }
    }
    for (int32_t i = 0; i < metric_n_labels(METRIC_ERRORS); i++) {
        struct journal_record r = answered();
        r.error = (int8_t)i;
        assert_silent(&r, "of the kind");
    }
    for (int32_t i = 0; i < metric_n_labels(METRIC_REQUESTS_BY_API); i++) {
        struct journal_record r = answered();
        r.api = (int8_t)i;
        assert_silent(&r, "somebody asked");
    }
}

static void test_every_stop_part_and_fate(void **state)
{
    (void)state;
    struct buf stories[16];
    struct journal_record r = answered();
    int32_t n = 0;
    for (r.stop = 0; *journal_stop_name(r.stop); r.stop++, n++) {
        char bare[40];
        buf_init(&stories[n], 65536);
        story_of(&r, &stories[n]);
        for (int32_t k = 0; k < n; k++) assert_string_not_equal(stories[n].data, stories[k].data);
        snprintf(bare, sizeof bare, "(%s)", journal_stop_name(r.stop));
        assert_silent(&r, bare);
    }
    assert_int_equal(n, 11);
    for (int32_t i = 0; i < n; i++) buf_clear(&stories[i]);
    r = answered();
    for (r.break_part = 0; r.break_part <= JOURNAL_PART_RAW + 1; r.break_part++) assert_says(&r, "computed.");
    r = answered();
    r.fate = JOURNAL_SHOWN;
    assert_says(&r, "The editor showed it.\n");
    r.fate = JOURNAL_ACCEPTED;
    assert_says(&r, "It was accepted.\n");
    r.fate = JOURNAL_PARTLY;
    assert_says(&r, "A part of it was accepted.\n");
    r.fate = JOURNAL_DISMISSED;
    assert_says(&r, "dismissed.\n");
    r.fate = 77;
    assert_says(&r, "answered");
    for (int i = -128; i < 128; i++) {
        r.priority = (int8_t)i;
        assert_says(&r, "an editor (LSP) asked");
    }
}

static void test_ends(void **state)
{
    (void)state;
    struct journal_record r = answered();
    r.outcome = OUTCOME_SUPERSEDED;
    r.total_ms = 40;
    r.other = 4813;
    assert_says(&r, "it was superseded by request 4813 for the same document, 40 ms later");
    r.other = 0;
    assert_says(&r, "it was superseded by a newer request for the same document, 40 ms later");
    r.outcome = METRIC_OUTCOME_CANCELLED;
    r.total_ms = 12;
    assert_says(&r, "after 12 ms it was given up, because the client went away.\n");
    r.outcome = OUTCOME_UNAVAILABLE;
    r.error = METRIC_ERROR_UNAVAILABLE;
    assert_says(&r, "no model was ready");
    assert_says(&r, "inline doctor");
}

static void test_nothing_shown(void **state)
{
    (void)state;
    char name[32];
    struct journal_record r = answered();
    r.n_chars = 0;
    assert_says(&r, "without a suggestion, by");
    assert_says(&r, "Nothing was suggested");
    for (r.quiet = 0; metric_label_name(METRIC_QUIET, r.quiet, name); r.quiet++) {
        assert_says(&r, "Nothing was shown: ");
        assert_silent(&r, "Nothing was suggested");
        if (strcmp(name, "unsure") == 0)
            assert_says(&r, "not sure enough (50 % a token; complete.confidence");
        if (strcmp(name, "unsure") == 0) {
            struct journal_record unknown = r;
            unknown.mean_logprob = 0; /* of no candidate */
            assert_says(&unknown, "the model was not sure enough (complete.confidence).\n");
        }
        if (strcmp(name, "in-word") == 0) assert_says(&r, "the cursor stands inside a word.\n");
    }
    r.quiet = r.stop = -1;
    r.n_generated = 0;
    assert_says(&r, "only the prompt was computed.\n");
}

static void test_times(void **state)
{
    (void)state;
    struct journal_record r = answered();
    r.total_ms = 0.4f;
    r.prefill_ms = r.decode_ms = r.queue_ms = r.context_ms = 0;
    r.lookup_ms = 0.3f;
    assert_silent(&r, "went into"); /* there is nothing to explain */
    r = answered();
    r.queue_ms = 300;
    r.total_ms = 500;
    assert_says(&r, "Most of it, 300 ms (60 %), went into waiting for its turn; 118 ms went into writing");
    assert_says(&r, "It waited because 3 other requests were under way");
    r.n_waiting = 1;
    assert_says(&r, "It waited because 1 other request was under way");
    r.n_waiting = 0;
    assert_says(&r, "something older");
    r = answered();
    r.outcome = OUTCOME_SUPERSEDED;
    r.total_ms = 40;
    r.queue_ms = r.prefill_ms = r.decode_ms = 0; /* it had not begun */
    assert_silent(&r, "went into");
    r = answered();
    r.mean_logprob = -9;
    assert_says(&r, "a probability of less than 1 % on average.\n");
    r = answered();
    r.load_ms = 1200;
    r.total_ms = 1384;
    assert_says(&r, "answered after 1.4 s");
    assert_says(&r, "Most of it, 1.2 s (87 %), went into waiting for the model to be loaded");
    assert_says(&r, "models.idle_s");
    r = answered();
    r.was_shared = true; /* the run began before this request came */
    r.total_ms = 20;
    r.other = 4811;
    assert_says(&r, "Of the computation, most, 118 ms (65 %), went into writing");
    assert_says(&r, "Request 4811 asked the same");
    r = answered();
    r.total_ms = 400; /* more than its parts */
    assert_says(&r, "The largest part of it, 118 ms (30 %)");
    r.n_generated = 1;
    assert_says(&r, "writing (decode: 1 token, 118 ms)");
}

static void test_throttled(void **state)
{
    (void)state;
    struct journal_record r = answered();
    assert_silent(&r, "governor");
    r.speed = 0.6f;
    assert_says(&r, "held the engine back, to 60 % of full speed: ");
    assert_says(&r, "limits.power");
    r.speed = 1;
    assert_silent(&r, "governor");
    r.is_throttled = true;
    assert_says(&r, "fewer threads than it could");
    r.n_computed = r.n_generated = 0; /* from a cache */
    assert_silent(&r, "governor");
}

static void test_prompt(void **state)
{
    (void)state;
    struct journal_record r = answered();
    r.n_restored = 100;
    r.n_reused = 712;
    assert_says(&r,
                "Of 1,024 tokens of the prompt 812 were at hand, of which 100 read from disk (cache.kv_mb);");
    r = answered();
    r.break_part = JOURNAL_PART_NONE;
    r.n_reused = 1023;
    r.n_computed = 1;
    assert_says(&r, "so only 1 was computed.\n");
    r.break_part = JOURNAL_PART_START;
    r.n_reused = 0;
    r.n_computed = 1024;
    assert_says(&r, "0 were at hand; nothing before it began like this prompt, so 1,024 were computed.\n");
    r.n_prompt = 1234567;
    assert_says(&r, "Of 1,234,567 tokens");
    r.n_prompt = 0;
    assert_silent(&r, "at hand");
    r = answered();
    r.was_cut = true;
    assert_says(&r, "lost its beginning");
    r.n_accepted = 0;
    assert_says(&r, "9 tokens were guessed and none of them was right.\n");
    r.n_drafted = r.n_accepted = 1;
    assert_says(&r, "1 token was guessed and 1 of them was right, which saved a pass");
    r.n_drafted = 0;
    assert_silent(&r, "guessed");
    r.n_candidates = 3;
    assert_says(&r, "23 bytes of text (and 2 others to choose from)");
}

static void test_other_machines(void **state)
{
    (void)state;
    struct journal_record r = answered();
    assert_silent(&r, "another machine");
    r.is_remote = true;
    assert_says(&r, " on another machine.\n");
    assert_silent(&r, "at hand"); /* its servers' own business */
    r.queue_ms = 200;
    r.total_ms = 300;
    r.n_waiting = 0;
    assert_says(&r, "all connections to the servers were in use (remote.connections)");
    r = answered();
    r.is_fallback = true;
    assert_says(&r, "because no server of the model that should have done so did in time");
}

/* A record from a damaged file may hold anything. */
static void test_any_bytes(void **state)
{
    (void)state;
    struct buf out;
    uint64_t rng = 1;
    buf_init(&out, 65536);
    for (int i = 0; i < 20000; i++) {
        unsigned char bytes[sizeof(struct journal_record)];
        struct journal_record r;
        for (size_t k = 0; k < sizeof bytes; k++) {
            rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407); /* Knuth's MMIX */
            bytes[k] = (unsigned char)(rng >> 56);
        }
        memcpy(&r, bytes, sizeof r);
        r.was_shared = bytes[0] & 1; /* other values of a bool are no values */
        r.is_throttled = bytes[0] & 2;
        r.was_cut = bytes[0] & 4;
        r.is_remote = bytes[0] & 8;
        r.is_fallback = bytes[0] & 16;
        if (i % 2) r.outcome = 0;
        story_of(&r, &out);
    }
    struct journal_record r = answered();
    r.total_ms = r.queue_ms = r.prefill_ms = r.mean_logprob = NAN;
    r.decode_ms = INFINITY;
    story_of(&r, &out);
    buf_clear(&out);
}

static int set_up(void **state)
{
    (void)state;
    setenv("TZ", "UTC0", 1);
    tzset();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answered),     cmocka_unit_test(test_every_label),
        cmocka_unit_test(test_known_labels), cmocka_unit_test(test_every_stop_part_and_fate),
        cmocka_unit_test(test_ends),         cmocka_unit_test(test_nothing_shown),
        cmocka_unit_test(test_times),        cmocka_unit_test(test_throttled),
        cmocka_unit_test(test_prompt),       cmocka_unit_test(test_other_machines),
        cmocka_unit_test(test_any_bytes)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}

/* A record of the journal for programs. See journal.h. */
#include "watch/journal.h"

#include <string.h>

#include "base/json.h"

#define STORY_MAX 16384 /* bytes; twenty sentences and their figures are a fifth of that */

static const char *name_of(const char *const *names, size_t n, uint8_t i)
{
    return i < n && names[i] ? names[i] : "";
}

static void write_label(struct json *j, const char *key, enum metric_id id, int8_t i)
{
    char name[32];
    (void)metric_label_name(id, i, name);
    json_str(j, key, name);
}

static void write_what(const struct journal_record *r, const char *model, struct json *j)
{
    static const char *const priorities[] = {"asked", "typing", "warm-up", "prefetch"};
    static const char *const fates[] = {[JOURNAL_SHOWN] = "shown",
                                        [JOURNAL_ACCEPTED] = "accepted",
                                        [JOURNAL_PARTLY] = "partly",
                                        [JOURNAL_DISMISSED] = "dismissed"};
    json_int(j, "id", (int64_t)r->id);
    json_int(j, "at_ms", r->at_us / 1000);
    write_label(j, "api", METRIC_REQUESTS_BY_API, r->api);
    json_str(j, "priority",
             name_of(priorities, sizeof priorities / sizeof *priorities, (uint8_t)r->priority));
    json_str(j, "model", model);
    write_label(j, "outcome", METRIC_REQUESTS, r->outcome);
    json_str(j, "fate", name_of(fates, sizeof fates / sizeof *fates, r->fate));
    write_label(j, "error", METRIC_ERRORS, r->error);
    write_label(j, "quiet", METRIC_QUIET, r->quiet);
    json_str(j, "stop", journal_stop_name(r->stop));
    write_label(j, "source", METRIC_CACHE_HITS, r->source);
    write_label(j, "miss", METRIC_CACHE_MISSES, r->miss);
    json_int(j, "other", (int64_t)r->other);
}

static void write_times(const struct journal_record *r, struct json *j)
{
    json_num(j, "total_ms", r->total_ms, 3);
    json_num(j, "queue_ms", r->queue_ms, 3);
    json_num(j, "load_ms", r->load_ms, 3);
    json_num(j, "context_ms", r->context_ms, 3);
    json_num(j, "lookup_ms", r->lookup_ms, 3);
    json_num(j, "prefill_ms", r->prefill_ms, 3);
    json_num(j, "decode_ms", r->decode_ms, 3);
    json_num(j, "post_ms", r->post_ms, 3);
}

static void write_tokens(const struct journal_record *r, struct json *j)
{
    static const char *const parts[] = {[JOURNAL_PART_START] = "start",
                                        [JOURNAL_PART_CONTEXT] = "context",
                                        [JOURNAL_PART_PREFIX] = "prefix",
                                        [JOURNAL_PART_SUFFIX] = "suffix",
                                        [JOURNAL_PART_RAW] = "raw"};
    json_int(j, "prompt_tokens", r->n_prompt);
    json_int(j, "reused", r->n_reused);
    json_int(j, "restored", r->n_restored);
    json_int(j, "moved", r->n_moved);
    json_int(j, "computed", r->n_computed);
    json_int(j, "break_at", r->break_at);
    json_str(j, "break_part", name_of(parts, sizeof parts / sizeof *parts, r->break_part));
    json_int(j, "generated", r->n_generated);
    json_int(j, "drafted", r->n_drafted);
    json_int(j, "accepted", r->n_accepted);
    json_int(j, "chars", r->n_chars);
    json_int(j, "candidates", r->n_candidates);
    json_num(j, "mean_logprob", r->mean_logprob, 4);
}

void journal_write(const struct journal_record *r, const char *model, struct json *j)
{
    write_what(r, model, j);
    write_times(r, j);
    write_tokens(r, j);
    json_int(j, "waiting", r->n_waiting);
    json_num(j, "speed", r->speed, 3);
    json_flag(j, "shared", r->was_shared);
    json_flag(j, "throttled", r->is_throttled);
    json_flag(j, "cut", r->was_cut);
    json_flag(j, "remote", r->is_remote);
    json_flag(j, "fallback", r->is_fallback);
}

void journal_write_story(const struct journal_record *r, const char *model, struct json *j)
{
    struct buf story;
    buf_init(&story, STORY_MAX);
    journal_story(r, model, &story);
    journal_write(r, model, j);
    json_begin_array(j, "story");
    for (const char *line = buf_str(&story); *line;) {
        size_t len = strcspn(line, "\n");
        json_str_len(j, NULL, line, len);
        line += len + (line[len] == '\n');
    }
    json_end_array(j);
    buf_clear(&story);
}

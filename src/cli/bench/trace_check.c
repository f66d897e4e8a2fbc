/* What moved KV does to answers: after each of many edits, the greedy answer of an engine that reuses what it
 * can is compared, token by token, with that of one that computes the whole prompt anew and decodes without
 * speculation. The edits are the same in every run. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/bench/trace.h"

/* Edits at one place before the user goes elsewhere, and places in one file before the next file. */
#define EDITS_PER_PLACE 10
#define PLACES_PER_FILE 5
/* Lines above the cursor that an edit elsewhere reaches: the model sees them, too. */
#define REACH_LINES 20

struct side {
    struct bench_engine e;
    struct bench_asker a;
    struct token_list answer;
};

struct tally {
    int64_t n_edits, n_identical, n_first_same;
    int64_t n_inexact, n_inexact_identical; /* edits whose prompt held moved KV */
    int64_t n_common, n_tokens;             /* tokens in common, and of the exact answers */
    int64_t n_computed, n_prompt;           /* tokens of the reusing engine's prompts */
};

struct editor {
    struct bench_text *texts; /* [n_files] */
    int32_t n_files;
    uint32_t random;
    int64_t n_done;
};

/* A number in 0..n-1. */
static uint32_t draw(struct editor *d, uint32_t n)
{
    d->random = d->random * 1664525u + 1013904223u; /* Numerical Recipes' linear congruential generator */
    return (d->random >> 8) % n;
}

/* --- Edits ------------------------------------------------------------------------------------------- */

static size_t random_line(struct editor *d, const struct bench_text *t)
{
    size_t at = t->len > 0 ? draw(d, (uint32_t)t->len) : 0;
    return bench_text_lines_before(t, at, 0);
}

/* A copy of some line of the text, put before the line at `at`. */
static enum err insert_line(struct editor *d, struct bench_text *t, size_t at)
{
    char line[256];
    size_t from = random_line(d, t), n = bench_text_lines_after(t, from, 0) - from;
    if (n > sizeof line - 1) n = sizeof line - 1;
    memcpy(line, t->text + from, n);
    while (n > 0 && line[n - 1] == '\n') n--;
    line[n++] = '\n';
    return bench_text_insert(t, at, line, n);
}

/* Type a word at the cursor. */
static enum err insert_word(struct editor *d, struct bench_text *t)
{
    static const char *const words[] = {" int",  " value", " = ",     "(x",  ");",
                                        " if (", "->next", " return", "len", "[i]"};
    const char *word = words[draw(d, sizeof words / sizeof *words)];
    return bench_text_insert(t, t->cursor, word, strlen(word));
}

/* The character before the cursor goes; at the start of a line, that is its newline. */
static void delete_character(struct bench_text *t)
{
    size_t at = t->cursor;
    if (at == 0) return;
    do at--;
    while (at > 0 && ((unsigned char)t->text[at] & 0xc0) == 0x80);
    bench_text_delete(t, at, t->cursor - at);
}

/* Make the next edit and return the text that it was made in. */
static enum err edit(struct editor *d, struct bench_text **out)
{
    int64_t place = d->n_done / EDITS_PER_PLACE;
    struct bench_text *t = &d->texts[place / PLACES_PER_FILE % d->n_files];
    *out = t;
    if (d->n_done % EDITS_PER_PLACE == 0) {
        t->cursor = bench_text_lines_after(t, random_line(d, t), 0);
        if (t->cursor > 0 && t->text[t->cursor - 1] == '\n') t->cursor--;
    }
    d->n_done++;
    size_t above = bench_text_lines_before(t, t->cursor, 1 + (int32_t)draw(d, REACH_LINES));
    size_t own = bench_text_lines_before(t, t->cursor, 0);
    uint32_t kind = draw(d, 100);
    if (kind < 45) return insert_word(d, t);
    if (kind < 60) return bench_text_insert(t, t->cursor, "\n    ", 5);
    if (kind < 75) {
        delete_character(t);
    } else if (kind < 90) {
        return insert_line(d, t, above);
    } else if (above < own) {
        bench_text_delete(t, above, bench_text_lines_after(t, above, 0) - above);
    }
    return OK;
}

/* --- Comparing --------------------------------------------------------------------------------------- */

static enum err ask(struct side *s, const struct bench_text *t, struct bench_answer *out, struct errmsg *msg)
{
    s->answer.n = 0;
    out->tokens = &s->answer;
    return bench_ask(&s->a, t, NULL, out, msg);
}

static void compare(const struct side *reusing, const struct side *exact, struct tally *tally)
{
    const struct token_list *a = &reusing->answer, *b = &exact->answer;
    int32_t n = 0;
    while (n < a->n && n < b->n && a->ids[n] == b->ids[n]) n++;
    bool is_identical = n == a->n && n == b->n;
    bool is_inexact = engine_seq_n_inexact(reusing->a.seq) > 0;
    tally->n_edits++;
    tally->n_identical += is_identical;
    tally->n_first_same += n > 0 || is_identical;
    tally->n_inexact += is_inexact;
    tally->n_inexact_identical += is_inexact && is_identical;
    tally->n_common += n;
    tally->n_tokens += b->n;
}

static enum err check_edit(const struct bench_trace_plan *plan, struct side *reusing, struct side *exact,
                           const struct bench_text *t, struct tally *tally, struct errmsg *msg)
{
    struct bench_answer answer = {0}, exact_answer = {0};
    enum err err = ask(reusing, t, &answer, msg);
    engine_seq_clear(exact->a.seq, false);
    if (!err) err = ask(exact, t, &exact_answer, msg);
    if (err) return err;
    compare(reusing, exact, tally);
    tally->n_computed += answer.engine.reuse.n_computed;
    tally->n_prompt += answer.engine.n_prompt;
    if (plan->has_refresh) {
        err = engine_seq_refresh(reusing->a.seq, NULL);
        if (err) return err_set(msg, err, "cannot refresh: %s", err_text(err));
    }
    return OK;
}

/* --- Reporting --------------------------------------------------------------------------------------- */

static double share(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 1;
}

static void print_json(const struct bench_trace_plan *plan, const struct side *s, const struct tally *t)
{
    int64_t n_exact = t->n_edits - t->n_inexact;
    struct buf out;
    struct json j;
    buf_init(&out, 1 << 16);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    bench_trace_add_plan(&j, plan, &s->e, &s->a);
    json_int(&j, "edits", t->n_edits);
    json_num(&j, "identical_share", share(t->n_identical, t->n_edits), 4);
    json_num(&j, "first_token_share", share(t->n_first_same, t->n_edits), 4);
    json_num(&j, "common_tokens_mean", (double)t->n_common / (double)t->n_edits, 3);
    json_num(&j, "answer_tokens_mean", (double)t->n_tokens / (double)t->n_edits, 3);
    json_int(&j, "moved_edits", t->n_inexact);
    json_num(&j, "identical_share_moved", share(t->n_inexact_identical, t->n_inexact), 4);
    json_num(&j, "identical_share_exact", share(t->n_identical - t->n_inexact_identical, n_exact), 4);
    json_num(&j, "prompt_tokens_mean", (double)t->n_prompt / (double)t->n_edits, 1);
    json_num(&j, "computed_tokens_mean", (double)t->n_computed / (double)t->n_edits, 1);
    json_end_object(&j);
    puts(buf_str(&out));
    buf_clear(&out);
}

static void print_plain(const struct bench_trace_plan *plan, const struct side *s, const struct tally *t)
{
    int64_t n_exact = t->n_edits - t->n_inexact;
    bench_print_machine(&s->e);
    printf("%lld edits, answers of at most %d tokens, %s%s%s\n", (long long)t->n_edits, plan->max_tokens,
           fim_order_name(s->a.fim.order), plan->engine.move == ENGINE_MOVE_ON ? ", KV moves" : "",
           plan->has_refresh ? ", refreshed between edits" : "");
    printf("%-36s %8.2f %%\n", "identical to the exact answer", 100 * share(t->n_identical, t->n_edits));
    printf("%-36s %8.2f %% of %lld\n", "    where the prompt held moved KV",
           100 * share(t->n_inexact_identical, t->n_inexact), (long long)t->n_inexact);
    printf("%-36s %8.2f %% of %lld\n", "    where it did not",
           100 * share(t->n_identical - t->n_inexact_identical, n_exact), (long long)n_exact);
    printf("%-36s %8.2f %%\n", "same first token", 100 * share(t->n_first_same, t->n_edits));
    printf("%-36s %8.2f of %.2f tokens\n", "in common, mean", (double)t->n_common / (double)t->n_edits,
           (double)t->n_tokens / (double)t->n_edits);
    printf("%-36s %8.1f of %.1f tokens\n", "computed of a prompt, mean",
           (double)t->n_computed / (double)t->n_edits, (double)t->n_prompt / (double)t->n_edits);
}

/* --- The command ------------------------------------------------------------------------------------- */

static enum err open_side(const struct bench_trace_plan *plan, const char *model, const struct settings *s,
                          struct side *out, struct errmsg *msg)
{
    enum err err = bench_engine_open(model, s, &plan->engine, (enum bench_packed)plan->packed, &out->e, msg);
    return err ? err : bench_trace_asker_open(plan, &out->e, &out->a, msg);
}

static void close_side(struct side *s)
{
    bench_trace_asker_close(&s->a);
    bench_engine_close(&s->e);
    token_list_clear(&s->answer);
}

static enum err open_texts(char *const *files, struct editor *d, struct errmsg *msg)
{
    enum err err = OK;
    for (int32_t i = 0; i < d->n_files && !err; i++) err = bench_text_open(files[i], 1, 0, &d->texts[i], msg);
    return err;
}

enum err bench_trace_check(const struct bench_trace_plan *plan, const char *model, const struct settings *s,
                           char *const *files, int32_t n_files, struct errmsg *msg)
{
    struct bench_trace_plan exact_plan = *plan;
    exact_plan.engine.move = ENGINE_MOVE_OFF;
    exact_plan.engine.no_speculation = true;
    struct side reusing = {0}, exact = {0};
    struct tally tally = {0};
    struct editor d = {.n_files = n_files, .random = 1};
    d.texts = mem_try((size_t)n_files, sizeof *d.texts);
    enum err err = d.texts ? OK : err_set(msg, ERR_NOMEM, "not enough memory");
    if (!err) err = open_texts(files, &d, msg);
    if (!err) err = open_side(plan, model, s, &reusing, msg);
    if (!err) err = open_side(&exact_plan, model, s, &exact, msg);
    while (!err && tally.n_edits < plan->n_edits) {
        struct bench_text *t;
        err = edit(&d, &t);
        if (err) err = err_set(msg, err, "cannot edit: %s", err_text(err));
        if (!err) err = check_edit(plan, &reusing, &exact, t, &tally, msg);
    }
    if (!err) (plan->is_json ? print_json : print_plain)(plan, &reusing, &tally);
    close_side(&exact);
    close_side(&reusing);
    for (int32_t i = 0; i < n_files && d.texts; i++) bench_text_clear(&d.texts[i]);
    mem_free(d.texts);
    return err;
}

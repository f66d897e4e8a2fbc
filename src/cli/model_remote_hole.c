/* Holes, how they are asked about, and what is wrong with the answers. See model_remote_hole.h.
 *
 * The word that a filling must hold is an identifier that is declared in the gap and used behind it: models
 * of every size that were trained to fill in name it so, and a model that does not see what follows cannot.
 */
#include "cli/model_remote_hole.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "complete/generation.h"
#include "complete/remote_prompt.h"

#define ANSWER_TOKENS 32 /* a line of code has a dozen; prose shows itself by then */
#define ANSWER_MAX    ((size_t)1 << 14)
#define N_CTX         4096 /* where nobody tells; the holes take a hundred */

static const struct hole holes[HOLES][HOLE_VARIANTS] = {
    {{"total.c", "int total(const int *values, int n)\n{\n    int ",
      " = 0;\n    for (int i = 0; i < n; i++) sum += values[i];\n    return sum;\n}\n", "sum"},
     {"total.c", "int total(const int *values, int n)\n{\n    int ",
      " = 0;\n    for (int i = 0; i < n; i++) amount += values[i];\n    return amount;\n}\n", "amount"}},
    {{"area.py", "def area(width, height):\n    \"\"\"Of a rectangle.\"\"\"\n    ",
      "\n    return surface\n\n\nprint(area(3, 4))\n", "surface"},
     {"area.py", "def area(width, height):\n    \"\"\"Of a rectangle.\"\"\"\n    ",
      "\n    return extent\n\n\nprint(area(3, 4))\n", "extent"}},
};

const struct hole *hole_at(int i, int variant)
{
    return &holes[i][variant];
}

/* --- Asking -------------------------------------------------------------------------------------------- */

/* One request, waited for. What is not the lock's is the remote's thread's until is_done. */
struct asking {
    const char *fim;
    int32_t n_ctx; /* the setting; 0: what the server says */
    struct prompt_input in;
    struct remote_prompt prompt;
    struct hole_answer *answer;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_done;
};

static enum err prepare(void *ctx, const struct remote_traits *t, struct remote_ask *out, struct errmsg *msg)
{
    struct asking *a = ctx;
    int32_t n_ctx = a->n_ctx > 0 ? a->n_ctx : t->n_ctx > 0 ? t->n_ctx : N_CTX;
    remote_prompt_clear(&a->prompt);
    enum err err = remote_prompt_build(a->fim, t, &a->in, n_ctx - ANSWER_TOKENS, &a->prompt, out, msg);
    out->sampling = (struct remote_sampling){.top_p = 1, .repeat_penalty = 1}; /* greedy */
    out->max_tokens = ANSWER_TOKENS;
    return err;
}

static bool on_text(void *ctx, const char *text, size_t len)
{
    struct asking *a = ctx;
    buf_add(&a->answer->raw, text, len);
    return !a->answer->raw.err;
}

static void done(void *ctx, const struct remote_report *report)
{
    struct asking *a = ctx;
    pthread_mutex_lock(&a->lock);
    a->answer->report = *report;
    a->is_done = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

/* What the stop rules leave of the answer. */
static void apply_rules(struct asking *a)
{
    struct generation g = {0};
    enum complete_stop why;
    struct generation_rules rules = {.extent = STOP_EXTENT_LINE};
    generation_init(&g, &a->prompt.fim, &a->in, &rules, &a->answer->text);
    (void)generation_replay(&g, buf_str(&a->answer->raw), a->answer->raw.len);
    if (generation_finish(&g, ENGINE_STOP_LIMIT, &why, NULL) != OK) buf_reset(&a->answer->text);
    generation_clear(&g);
}

bool hole_ask(struct remote *r, const char *fim, int32_t n_ctx, const struct hole *h, struct hole_answer *out)
{
    struct asking a = {.fim = fim,
                       .n_ctx = n_ctx,
                       .in = {.before = h->before,
                              .before_len = strlen(h->before),
                              .after = h->after,
                              .after_len = strlen(h->after),
                              .path = h->path},
                       .answer = out,
                       .lock = PTHREAD_MUTEX_INITIALIZER,
                       .changed = PTHREAD_COND_INITIALIZER};
    struct remote_request request = {
        .priority = REMOTE_ASKED, .prepare = prepare, .on_text = on_text, .done = done, .ctx = &a};
    *out = (struct hole_answer){0};
    buf_init(&out->raw, ANSWER_MAX);
    buf_init(&out->text, ANSWER_MAX);
    struct remote_job *job = remote_submit(r, &request);
    pthread_mutex_lock(&a.lock);
    while (!a.is_done) pthread_cond_wait(&a.changed, &a.lock);
    pthread_mutex_unlock(&a.lock);
    remote_release(&job);
    out->is_there = out->report.outcome == REMOTE_DONE;
    if (out->is_there) apply_rules(&a);
    remote_prompt_clear(&a.prompt);
    return out->is_there;
}

void hole_answer_clear(struct hole_answer *a)
{
    buf_clear(&a->raw);
    buf_clear(&a->text);
}

/* --- Judging ------------------------------------------------------------------------------------------- */

static bool is_in_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += len) {
        if ((at == text || !is_in_word(at[-1])) && !is_in_word(at[len])) return true;
    }
    return false;
}

/* A FIM token of any family, written out; null: there is none. */
static const char *find_mark(const char *text)
{
    struct buf families;
    const char *found = NULL;
    buf_init(&families, 4096);
    fim_families(&families);
    char *rest = buf_take(&families), *list = rest;
    for (char *family; !found && (family = strsep(&rest, " "));) {
        struct fim fim;
        const char *marks[FIM_MAX_MARKS];
        int32_t n = fim_of_family(family, &fim) ? fim_marks(&fim, marks) : 0;
        for (int32_t i = 0; i < n && !found; i++) found = strstr(text, marks[i]) ? marks[i] : NULL;
    }
    mem_free(list);
    return found;
}

/* How assistants begin, whatever the language of the code. */
static bool begins_as_chat(const char *text)
{
    static const char *const starts[] = {
        "sure",    "certainly",   "of course", "here is",      "here's",    "here are",     "to complete",
        "to fill", "it looks",    "it seems",  "i can",        "i will",    "i think",      "i don",
        "i'",      "the missing", "the code",  "the function", "this code", "this function"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        if (strncasecmp(text, starts[i], strlen(starts[i])) == 0) return true;
    }
    return false;
}

/* The first line of the text before the gap, which no filling has. */
static bool begins_anew(const struct hole *h, const char *text)
{
    return strncmp(text, h->before, strcspn(h->before, "\n")) == 0;
}

enum hole_verdict hole_judge(const struct hole *h, const char *raw, const char **mark)
{
    const char *text = raw + strspn(raw, " \t\r\n");
    *mark = NULL;
    if (!*text) return HOLE_EMPTY;
    if (begins_as_chat(text) || begins_anew(h, text)) return HOLE_CHAT;
    /* What counts is the rest of the gap's line: models go on with what they take for the rest of the file,
     * and the stop rules take that off. */
    char line[256];
    size_t len = strcspn(text, "\n");
    len = len < sizeof line ? len : sizeof line - 1;
    memcpy(line, text, len);
    line[len] = '\0';
    if (has_word(line, h->word) && !strstr(line, "```")) return HOLE_RIGHT;
    if (strstr(text, "```")) return HOLE_CHAT;
    *mark = find_mark(text);
    return *mark ? HOLE_MARKS : HOLE_OTHER;
}

/* See stub_scheduler.h. Everything happens on the test's thread, but for scheduler_new, which is the
 * loader's: the mail that says so comes before anything else is called. */
#include "support/stub_scheduler.h"

#include <ctype.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "model/model.h"

#define MEAN_LOGPROB (-0.25) /* of every answer: sure enough for whoever asks */
#define TOKEN_MAX    32      /* bytes; two on average */
#define SPECIAL_UNIT 0x100u  /* tokens without text count as characters from here on */
#define LINE_LONGEST 36      /* then a statement ends: lines stay within STUB_TAIL */

/* ---- The model ---- */

/* FNV-1a (Fowler, Noll, Vo): grows by a byte, which is what the model needs. */
#define HASH_START 0xcbf29ce484222325u
static uint64_t grow(uint64_t hash, uint64_t unit)
{
    return (hash ^ unit) * 0x100000001b3u;
}

/* The finalizer of MurmurHash3 (Appleby): every bit of the sum decides every bit of the choice. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdu;
    x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53u;
    return x ^ (x >> 33);
}

static void append(struct stub_prompt *p, char c)
{
    p->before = grow(p->before, (unsigned char)c);
    if (p->n_tail == STUB_TAIL) memmove(p->tail, p->tail + 1, --p->n_tail);
    p->tail[p->n_tail++] = c;
}

#define END (-1)

/* One of the characters, each as often as it stands there; '$' ends the answer. */
static int pick(uint64_t chance, const char *choices)
{
    char c = choices[chance % strlen(choices)];
    return c == '$' ? END : c;
}

static int next_of_indentation(uint64_t chance, size_t n)
{
    if (n % 4 != 0) return ' ';
    if (n == 0) return pick(chance, "    }\n$ir");
    return pick(chance, n == 4 ? " abfinrtx}" : "aefilnsu}\n");
}

/* What comes next: plausible enough that brackets, indentation and the ends of lines, statements and blocks
 * all occur, and that what follows the cursor is repeated now and then. */
static int next_char(const struct stub_prompt *p)
{
    uint64_t chance = mix(p->before + mix(p->others));
    uint64_t rare = chance >> 32;
    size_t n_line = 0, n_blank = 0;
    while (n_line < p->n_tail && p->tail[p->n_tail - 1 - n_line] != '\n') n_line++;
    const char *line = p->tail + p->n_tail - n_line;
    while (n_blank < n_line && line[n_blank] == ' ') n_blank++;
    char last = n_line > 0 ? line[n_line - 1] : '\n';
    if (last == '\xc3') return '\xa9'; /* e with an acute: characters of two bytes occur, too */
    if (rare % 64 == 0) return END;
    if (n_blank == n_line) return next_of_indentation(chance, n_line);
    if (rare % 23 == 0 && p->n_head > 0 && (unsigned char)p->head[0] < 0x80) return p->head[0];
    if (n_line > LINE_LONGEST && last != ';') return ';';
    switch (last) {
    case ';':
        return pick(chance, "\n\n\n\n\n\n\n $");
    case '{':
        return pick(chance, "\n\n\n\n\n}");
    case '}':
        return pick(chance, "\n\n\n$$;");
    case '(':
        return pick(chance, "abcdefgx1\")");
    case ')':
        return pick(chance, ";;;;; )+$");
    case ',':
        return ' ';
    case ' ':
        return n_line > 1 && line[n_line - 2] == ')' ? '{' : pick(chance, "abcdefgilnorstu=(\"1");
    default:
        if (isalnum((unsigned char)last)) return pick(chance, "aabeefghiiklnnoorrssttuu12_(  ;;,.)\xc3");
        return pick(chance, "abcdeino ");
    }
}

/* Where a token ends is told by the text before that place, wherever it began: so the same number of tokens
 * reaches further from a later place, as with a real tokenizer mostly, never less far. */
static int next_token(struct stub_prompt *p, char bytes[TOKEN_MAX])
{
    int n = 0;
    for (int c; n < TOKEN_MAX && (c = next_char(p)) != END;) {
        bytes[n++] = (char)c;
        append(p, (char)c);
        if (mix(p->before ^ 0x5bd1e995u) % 2 == 0) break;
    }
    return n;
}

enum engine_stop stub_answer(struct stub_prompt p, int32_t max_tokens, struct buf *out)
{
    for (int32_t i = 0; i < max_tokens; i++) {
        char bytes[TOKEN_MAX];
        int n = next_token(&p, bytes);
        if (n == 0) return ENGINE_STOP_EOG;
        buf_add(out, bytes, (size_t)n);
    }
    return ENGINE_STOP_LIMIT;
}

/* ---- Reading a prompt ---- */

static uint64_t hash_number(uint64_t hash, double number)
{
    unsigned char bytes[sizeof number];
    memcpy(bytes, &number, sizeof number);
    for (size_t i = 0; i < sizeof bytes; i++) hash = grow(hash, bytes[i]);
    return hash;
}

static uint64_t hash_sampling(uint64_t hash, const struct sampler_params *s)
{
    hash = hash_number(hash, (double)s->temperature);
    if (s->temperature <= 0) return hash; /* greedy: the rest means nothing */
    hash = hash_number(hash, (double)s->top_k);
    hash = hash_number(hash, (double)s->top_p);
    hash = hash_number(hash, (double)s->min_p);
    return grow(hash, s->seed);
}

static void read_before(const struct tokenizer *t, const int32_t *ids, int32_t n, struct stub_prompt *p)
{
    for (int32_t i = 0; i < n; i++) {
        size_t len;
        const char *piece = tokenizer_piece(t, ids[i], &len);
        for (size_t b = 0; b < len; b++) append(p, piece[b]);
        p->n_before += len;
        if (len > 0) continue;
        p->before = grow(p->before, SPECIAL_UNIT + (uint64_t)ids[i]);
        p->n_before = p->n_tail = 0;
    }
}

static void read_after(const struct tokenizer *t, const int32_t *ids, int32_t n, struct stub_prompt *p)
{
    for (int32_t i = 0; i < n; i++) {
        size_t len;
        const char *piece = tokenizer_piece(t, ids[i], &len);
        for (size_t b = 0; b < len; b++) {
            p->others = grow(p->others, (unsigned char)piece[b]);
            if (p->n_head < STUB_HEAD) p->head[p->n_head++] = piece[b];
        }
        p->n_after += len;
        if (len == 0) p->others = grow(p->others, SPECIAL_UNIT + (uint64_t)ids[i]);
    }
}

void stub_read(const struct tokenizer *t, const struct fim *f, const struct engine_request *q,
               struct stub_prompt *out)
{
    int32_t n = q->n_prompt, cursor;
    *out = (struct stub_prompt){.before = HASH_START, .others = HASH_START};
    out->others = hash_sampling(out->others, &q->sampling);
    for (cursor = n; f->order == FIM_PSM && cursor > 0 && q->prompt[cursor - 1] != f->suffix;) cursor--;
    if (cursor > 0 && cursor < n) {
        cursor--; /* before the token that begins the suffix */
    } else {
        cursor = n;
        if (cursor > 0 && f->middle != TOKEN_NONE && q->prompt[cursor - 1] == f->middle) cursor--;
    }
    read_before(t, q->prompt, cursor, out);
    read_after(t, q->prompt + cursor, n - cursor, out);
    for (size_t i = 0; i < q->heal_len; i++) append(out, q->heal[i]);
    out->n_before += q->heal_len;
}

/* ---- Jobs ---- */

struct scheduler_job {
    struct scheduler_job *next;
    struct scheduler_request r;
    struct engine_request q;
    struct scheduler_report report;
    struct stub_prompt at; /* how far it has come */
    bool is_begun, is_cancelled;
    int n_owners; /* the caller and the scheduler */
};

struct scheduler {
    struct engine *engine;
    struct fim fim;
    int32_t token; /* some token of text: what all generated ones are called */
    struct scheduler_job *jobs;
    struct stub_counts counts;
    void (*on_report)(void *ctx, const struct scheduler_request *r, struct scheduler_report *report);
    void *ctx;
};

static void (*on_new)(void);

static void unref(struct scheduler_job *j)
{
    if (--j->n_owners == 0) mem_free(j);
}

static void leave(struct scheduler *s, struct scheduler_job *j, enum scheduler_outcome outcome)
{
    struct scheduler_job **link = &s->jobs;
    while (*link != j) link = &(*link)->next;
    *link = j->next;
    j->report.outcome = outcome;
    if (s->on_report) s->on_report(s->ctx, &j->r, &j->report);
    j->r.done(j->r.ctx, &j->report);
    unref(j);
}

static void end(struct scheduler *s, struct scheduler_job *j, enum engine_stop stop)
{
    struct engine_result *result = &j->report.result;
    result->stop = stop;
    result->mean_logprob = result->first_logprob = result->n_generated > 0 ? MEAN_LOGPROB : 0;
    leave(s, j, SCHEDULER_DONE);
}

static bool begin(struct scheduler *s, struct scheduler_job *j)
{
    j->report.err = j->r.prepare(j->r.ctx, &j->q, &j->report.msg);
    if (j->report.err) {
        leave(s, j, SCHEDULER_FAILED);
        return false;
    }
    j->is_begun = true;
    j->report.seq = 0;
    j->report.result.n_prompt = j->report.result.reuse.n_computed = j->q.n_prompt;
    stub_read(scheduler_model(s)->tokenizer, &s->fim, &j->q, &j->at);
    s->counts.n_begun++;
    s->counts.asked = j->at;
    s->counts.asked_hash = mix(grow(j->at.before + mix(j->at.others), (uint64_t)j->q.max_tokens));
    return true;
}

/* One token. */
static void step(struct scheduler *s, struct scheduler_job *j)
{
    char bytes[TOKEN_MAX];
    if (!j->is_begun && !begin(s, j)) return;
    if (j->report.result.n_generated >= j->q.max_tokens) {
        end(s, j, ENGINE_STOP_LIMIT);
        return;
    }
    int n = next_token(&j->at, bytes);
    if (n == 0) {
        end(s, j, ENGINE_STOP_EOG);
        return;
    }
    j->report.result.n_generated++;
    s->counts.n_tokens++;
    if (!j->q.on_token(j->q.ctx, s->token, bytes, (size_t)n)) end(s, j, ENGINE_STOP_CALLER);
}

static void drop_cancelled(struct scheduler *s)
{
    for (struct scheduler_job *j = s->jobs, *next; j; j = next) {
        next = j->next;
        if (!j->is_cancelled) continue;
        if (j->is_begun) {
            end(s, j, ENGINE_STOP_CANCEL);
        } else {
            leave(s, j, SCHEDULER_CANCELLED);
        }
    }
}

/* The higher priority, then first come. */
static struct scheduler_job *best_of(const struct scheduler *s)
{
    struct scheduler_job *best = s->jobs;
    for (struct scheduler_job *j = best; j; j = j->next) {
        if (j->r.priority < best->r.priority) best = j;
    }
    return best;
}

int32_t stub_scheduler_run(struct scheduler *s, int64_t n_tokens)
{
    int32_t n = 0;
    drop_cancelled(s);
    int64_t until = n_tokens < INT64_MAX - s->counts.n_tokens ? s->counts.n_tokens + n_tokens : INT64_MAX;
    while (s->jobs && s->counts.n_tokens < until) step(s, best_of(s));
    for (const struct scheduler_job *j = s->jobs; j; j = j->next) n++;
    return n;
}

void stub_scheduler_on_report(struct scheduler *s,
                              void (*fn)(void *ctx, const struct scheduler_request *r,
                                         struct scheduler_report *report),
                              void *ctx)
{
    s->on_report = fn;
    s->ctx = ctx;
}

void stub_scheduler_on_new(void (*fn)(void))
{
    on_new = fn;
}

void stub_scheduler_counts(const struct scheduler *s, struct stub_counts *out)
{
    *out = s->counts;
}

/* ---- What infer/scheduler.h promises ---- */

enum err scheduler_new(struct engine *take, const struct scheduler_options *o, struct scheduler **out,
                       struct errmsg *msg)
{
    struct scheduler *s = MEM_NEW(struct scheduler);
    (void)o;
    (void)msg;
    s->engine = take;
    fim_detect(scheduler_model(s), &s->fim);
    s->token = tokenizer_find(scheduler_model(s)->tokenizer, "a");
    if (on_new) on_new();
    *out = s;
    return OK;
}

void scheduler_free(struct scheduler **sp)
{
    struct scheduler *s = *sp;
    *sp = NULL;
    if (!s) return;
    for (struct scheduler_job *j = s->jobs; j; j = j->next) j->is_cancelled = true;
    drop_cancelled(s);
    engine_close(&s->engine);
    mem_free(s);
}

struct engine *scheduler_engine(struct scheduler *s)
{
    return s->engine;
}

void scheduler_set_kv_bytes(struct scheduler *s, int64_t bytes)
{
    (void)s;
    (void)bytes;
}

const struct model *scheduler_model(const struct scheduler *s)
{
    return engine_model(s->engine);
}

int32_t scheduler_n_ctx(const struct scheduler *s)
{
    (void)s;
    return STUB_N_CTX;
}

struct scheduler_job *scheduler_submit(struct scheduler *s, const struct scheduler_request *r)
{
    struct scheduler_job *j = MEM_NEW(struct scheduler_job);
    struct scheduler_job **link = &s->jobs;
    *j = (struct scheduler_job){.r = *r, .report = {.seq = -1}, .n_owners = 2};
    while (*link) link = &(*link)->next;
    *link = j;
    return j;
}

void scheduler_cancel(struct scheduler *s, struct scheduler_job *job)
{
    (void)s;
    job->is_cancelled = true;
}

void scheduler_release(struct scheduler_job **job)
{
    if (*job) unref(*job);
    *job = NULL;
}

void scheduler_state(struct scheduler *s, struct scheduler_state *out)
{
    *out = (struct scheduler_state){.n_tokens_passed = s->counts.n_tokens};
    for (const struct scheduler_job *j = s->jobs; j; j = j->next) {
        if (j->is_begun) {
            out->n_running++;
        } else {
            out->n_waiting++;
        }
    }
}

int32_t scheduler_seqs(struct scheduler *s, struct scheduler_seq_state *out, int32_t max)
{
    (void)s;
    if (max > 0) *out = (struct scheduler_seq_state){.n_ctx = STUB_N_CTX};
    return 1;
}

/* See recommend.h.
 *
 * A token to decode costs all weights that it goes through, read from memory: blocks and output head. A few
 * tokens at once share that reading, and cost what speed.c measured of eight; many cost products, and the
 * output head only once. Attention adds the KV of the prompt to each. Mixtures of experts read other experts
 * for other tokens, so that a few share little. */
#include "cli/recommend.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/size.h"
#include "cli/settings.h"
#include "model/library.h"
#include "os/cpu.h"
#include "os/machine.h"

/* Above this share of memory the daemon steps back (watch/governor.h). */
#define MEMORY_SHARE 0.8
/* Scratch, vocabulary, caches and the program itself. */
#define BESIDE_BYTES 150000000
/* What a product of attention costs, relative to one of 8-bit weights in a large batch: there, and where one
 * token asks all positions alone. Measured with AVX2. */
#define ATTENTION_MANY_COST 1.2
#define ATTENTION_ONE_COST  5
/* Norms, rotations, and threads that wait for each other: share of a token's time in small models. */
#define OTHER_COST 1.02

/* Ranks by which a model is better in languages that it is made for, and worse in those that it never saw. */
#define STRONG_BONUS    1.5
#define FOREIGN_PENALTY 4

const char *recommend_verdict_name(enum recommend_verdict v)
{
    static const char *const NAMES[] = {[RECOMMEND_TYPING] = "typing",
                                        [RECOMMEND_ASKED] = "asked",
                                        [RECOMMEND_SLOW] = "slow",
                                        [RECOMMEND_TOO_LARGE] = "too large"};
    return NAMES[v];
}

/* --- One model ------------------------------------------------------------------------------------------ */

/* Weights that n tokens at once have to read, of `blocks` that one goes through. */
static double weights_read(const struct catalogue_facts *f, double blocks, int32_t n)
{
    double spread = f->n_active < f->n_params ? fmin(n, (double)f->n_params / (double)f->n_active) : 1;
    return blocks * spread;
}

void recommend_estimate(const struct catalogue_entry *e, const struct speed *speed, struct recommend_row *out)
{
    const struct catalogue_facts *f = &e->facts;
    const struct speed_format *ns = f->is_4_bit ? &speed->q4_k : &speed->q8_0;
    double head = (double)catalogue_embeddings(e);
    double blocks = (double)f->n_active - head * (f->is_tied ? 1 : 2);
    double kv = (double)catalogue_kv_bytes(e);
    double product_ns = 1e9 / speed->products_s;
    double attention = 2.0 * f->n_layers * f->n_embd * RECOMMEND_PROMPT; /* products, at the prompt's end */
    double attend_ns =
        fmax(attention * ATTENTION_ONE_COST * product_ns, kv * RECOMMEND_PROMPT / speed->read_gb_s);

    double token_ns = (blocks + head) * ns->one * OTHER_COST + attend_ns;
    double few_ns =
        fmax(weights_read(f, blocks, RECOMMEND_TYPED) * ns->one, blocks * ns->eight) * OTHER_COST +
        head * ns->one + RECOMMEND_TYPED * attention * ATTENTION_MANY_COST * product_ns;
    double many_ns = RECOMMEND_PROMPT *
                         (blocks * ns->many * OTHER_COST + attention / 2 * ATTENTION_MANY_COST * product_ns) +
                     head * ns->one;

    int32_t n_positions = f->n_ctx < RECOMMEND_KV ? f->n_ctx : RECOMMEND_KV;
    *out = (struct recommend_row){.entry = e, .file_bytes = catalogue_bytes(e)};
    out->needed_bytes = out->file_bytes + (int64_t)kv * n_positions + BESIDE_BYTES;
    out->token_ms = token_ns / 1e6;
    out->suggestion_ms = few_ns / 1e6 + RECOMMEND_TOKENS * out->token_ms;
    out->first_ms = many_ns / 1e6 + RECOMMEND_TOKENS * out->token_ms;
}

/* --- The choice ----------------------------------------------------------------------------------------- */

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += len) {
        if ((at == list || at[-1] == ' ') && (at[len] == ' ' || !at[len])) return true;
    }
    return false;
}

/* Share of the project's files in languages of the list. */
static double share_in(const struct project_languages *p, const char *list)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->n; i++) {
        if (has_word(list, p->list[i].name)) n += p->list[i].n_files;
    }
    return p->n_files > 0 ? (double)n / p->n_files : 0;
}

static bool fits(const struct recommendation *r, int64_t bytes)
{
    return (double)bytes <= MEMORY_SHARE * (double)r->memory_bytes;
}

static void judge(const struct recommendation *r, struct recommend_row *row)
{
    const struct catalogue_facts *f = &row->entry->facts;
    row->is_strong = share_in(&r->project, f->strong) > 0.5;
    row->is_foreign = r->project.n_files > 0 && f->languages && share_in(&r->project, f->languages) < 0.5;
    if (!fits(r, row->needed_bytes))
        row->verdict = RECOMMEND_TOO_LARGE;
    else if (row->suggestion_ms <= RECOMMEND_TYPING_MS)
        row->verdict = RECOMMEND_TYPING;
    else
        row->verdict = row->suggestion_ms <= RECOMMEND_ASKED_MS ? RECOMMEND_ASKED : RECOMMEND_SLOW;
}

static double score(const struct recommend_row *row)
{
    return row->entry->facts.rank - STRONG_BONUS * row->is_strong + FOREIGN_PENALTY * row->is_foreign;
}

static bool is_before(const struct recommend_row *a, const struct recommend_row *b)
{
    if (a->verdict != b->verdict) return a->verdict < b->verdict;
    return score(a) < score(b);
}

static void insert(struct recommendation *r, const struct recommend_row *row)
{
    int32_t at = r->n++;
    for (; at > 0 && is_before(row, &r->rows[at - 1]); at--) r->rows[at] = r->rows[at - 1];
    r->rows[at] = *row;
}

static void mark_installed(struct recommendation *r, const char *models_dir)
{
    struct library_entry *list = NULL;
    int32_t n = 0;
    if (library_list(models_dir, &list, &n, NULL) != OK) return; /* as if there were none */
    for (int32_t i = 0; i < n * r->n; i++) {
        struct recommend_row *row = &r->rows[i % r->n];
        if (strcasecmp(list[i / r->n].name, row->entry->name) == 0) row->is_installed = true;
    }
    library_list_free(list, n);
}

/* The best that answers those who type; where none is fast enough, the fastest. */
static const struct recommend_row *choose_among(const struct recommendation *r, bool is_general)
{
    const struct recommend_row *fastest = NULL;
    for (int32_t i = 0; i < r->n; i++) {
        const struct recommend_row *row = &r->rows[i];
        if (row->entry->facts.is_general != is_general) continue;
        if (row->verdict == RECOMMEND_TYPING) return row;
        if (row->verdict == RECOMMEND_TOO_LARGE) continue;
        if (!fastest || row->suggestion_ms < fastest->suggestion_ms) fastest = row;
    }
    return fastest;
}

static const struct recommend_row *choose_main(const struct recommendation *r)
{
    for (int32_t i = 0; r->best && i < r->n; i++) {
        const struct recommend_row *row = &r->rows[i];
        if (row->verdict == RECOMMEND_ASKED && score(row) < score(r->best) &&
            fits(r, row->needed_bytes + r->best->needed_bytes))
            return row;
    }
    return NULL;
}

void recommend_choose(struct recommendation *r, const char *models_dir)
{
    const struct catalogue_entry *e;
    r->n = 0;
    for (int32_t i = 0; r->n < RECOMMEND_MAX && (e = catalogue_at(i)); i++) {
        struct recommend_row row;
        recommend_estimate(e, &r->speed, &row);
        judge(r, &row);
        insert(r, &row);
    }
    mark_installed(r, models_dir);
    r->best = choose_among(r, false);
    if (!r->best) r->best = choose_among(r, true); /* one that was not made for code is better than none */
    r->main = choose_main(r);
}

enum err recommend_make(const char *dir, int64_t memory_bytes, const struct settings *s,
                        struct recommendation *out, struct errmsg *msg)
{
    struct machine_sample sample;
    *out = (struct recommendation){.memory_bytes = memory_bytes, .is_given = memory_bytes > 0};
    machine_read(NULL, &sample);
    if (!out->is_given) out->memory_bytes = machine_memory_ours(&sample);
    if (!out->is_given && s->limit_memory_mb > 0 && out->memory_bytes > s->limit_memory_mb * 1000000ll)
        out->memory_bytes = s->limit_memory_mb * 1000000ll;
    enum err err = speed_measure(s->threads, s->isa, &out->speed, msg);
    if (err) return err;
    project_languages_count(dir, &out->project);
    recommend_choose(out, s->models_dir);
    return OK;
}

/* --- Telling it
 * --------------------------------------------------------------------------------------------- */

void recommend_add_choice(const struct recommendation *r, struct buf *out)
{
    const struct recommend_row *best = r->best, *main = r->main;
    char size[SIZE_TEXT_MAX];
    if (!best) {
        buf_printf(out, "No model of the catalogue fits into %s.\n", size_text(r->memory_bytes, size));
        return;
    }
    const char *name = best->entry->name, *licence = best->entry->facts.licence;
    if (best->verdict != RECOMMEND_TYPING)
        buf_printf(out, "No model keeps up with typing here; %s comes closest.\n", name);
    if (best->is_installed)
        buf_printf(out, "Recommended: %s, which is installed.\n", name);
    else
        buf_printf(out, "Recommended: %s (licence: %s). To get it:\n\n    inline model pull %s\n", name,
                   licence, name);
    if (!main) return;
    buf_printf(
        out,
        "\nBoth fit: %s while you type, and the better %s when you ask by hand (licence: %s). To use them, "
        "%sset\n\n    [models]\n    instant = %s\n    main = %s\n",
        name, main->entry->name, main->entry->facts.licence, main->is_installed ? "" : "pull it too and ",
        name, main->entry->name);
}

static void write_row(const struct recommend_row *row, struct json *j)
{
    const struct catalogue_facts *f = &row->entry->facts;
    json_begin_object(j, NULL);
    json_str(j, "name", row->entry->name);
    json_str(j, "verdict", recommend_verdict_name(row->verdict));
    json_flag(j, "fits", row->verdict != RECOMMEND_TOO_LARGE);
    json_flag(j, "installed", row->is_installed);
    json_int(j, "file_bytes", row->file_bytes);
    json_int(j, "needed_bytes", row->needed_bytes);
    json_num(j, "suggestion_ms", row->suggestion_ms, 1);
    json_num(j, "first_ms", row->first_ms, 1);
    json_num(j, "decode_tokens_per_s", 1e3 / row->token_ms, 2);
    json_int(j, "parameters", f->n_params);
    json_int(j, "active_parameters", f->n_active);
    json_flag(j, "strong", row->is_strong);
    json_flag(j, "foreign", row->is_foreign);
    json_str(j, "licence", f->licence);
    json_str(j, "note", row->entry->note);
    json_flag(j, "estimate", f->is_estimate);
    json_end_object(j);
}

void recommend_write(const struct recommendation *r, struct json *j)
{
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    json_begin_object(j, "machine");
    json_str(j, "cpu", cpu);
    json_str(j, "isa", r->speed.isa);
    json_int(j, "threads", r->speed.n_threads);
    json_num(j, "read_gb_per_s", r->speed.read_gb_s, 2);
    json_num(j, "products_per_s", r->speed.products_s, 0);
    json_int(j, "memory_bytes", r->memory_bytes);
    json_end_object(j);
    json_begin_object(j, "project");
    json_int(j, "files", r->project.n_files);
    json_flag(j, "partial", r->project.is_partial);
    json_begin_object(j, "languages");
    for (int32_t i = 0; i < r->project.n; i++)
        json_int(j, r->project.list[i].name, r->project.list[i].n_files);
    json_end_object(j);
    json_end_object(j);
    json_begin_array(j, "models");
    for (int32_t i = 0; i < r->n; i++) write_row(&r->rows[i], j);
    json_end_array(j);
    json_str(j, "recommended", r->best ? r->best->entry->name : NULL);
    if (r->main) {
        json_begin_object(j, "pair");
        json_str(j, "instant", r->best->entry->name);
        json_str(j, "main", r->main->entry->name);
        json_end_object(j);
    }
    struct buf command;
    buf_init(&command, 256);
    if (r->best) buf_printf(&command, "inline model pull %s", r->best->entry->name);
    json_str(j, "command", buf_str(&command));
    buf_clear(&command);
}

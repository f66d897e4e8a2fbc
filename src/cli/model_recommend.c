/* `inline model recommend`: which model to pull, as a table, best first. */
#include <stdio.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/size.h"
#include "cli/model.h"
#include "cli/recommend.h"
#include "os/cpu.h"

#define REPORT_LIMIT    ((size_t)1 << 20)
#define LANGUAGES_SHOWN 4

static void add_machine(const struct recommendation *r, struct buf *out)
{
    char cpu[128], size[SIZE_TEXT_MAX];
    cpu_name(cpu, sizeof cpu);
    buf_printf(out, "machine  %s: %d thread%s (%s), %.1f GB/s, %.0f billion products/s\n", cpu,
               (int)r->speed.n_threads, r->speed.n_threads == 1 ? "" : "s", r->speed.isa, r->speed.read_gb_s,
               r->speed.products_s / 1e9);
    buf_printf(out, "memory   %s%s, of which a model may take four fifths\n",
               size_text(r->memory_bytes, size), r->is_given ? " as given" : " to be had");
}

static void add_project(const struct recommendation *r, struct buf *out)
{
    const struct project_languages *p = &r->project;
    buf_add_str(out, "project  ");
    if (p->n == 0) buf_add_str(out, "no source files here");
    for (int32_t i = 0; i < p->n && i < LANGUAGES_SHOWN; i++)
        buf_printf(out, "%s%s %d", i ? ", " : "", p->list[i].name, (int)p->list[i].n_files);
    if (p->n > LANGUAGES_SHOWN) buf_add_str(out, ", ...");
    buf_printf(out, "%s%s\n", p->n ? " files" : "", p->is_partial ? " (not all were looked at)" : "");
}

static void add_duration(struct buf *out, double ms)
{
    char text[32];
    if (ms < 1000)
        snprintf(text, sizeof text, "%.0f ms", ms);
    else
        snprintf(text, sizeof text, "%.*f s", ms < 10000 ? 1 : 0, ms / 1e3);
    buf_printf(out, " %8s", text);
}

static void add_reason(const struct recommend_row *row, struct buf *out)
{
    char size[SIZE_TEXT_MAX];
    switch (row->verdict) {
    case RECOMMEND_TYPING:
        buf_add_str(out, "keeps up with typing");
        break;
    case RECOMMEND_ASKED:
        buf_add_str(out, "when asked by hand");
        break;
    case RECOMMEND_SLOW:
        buf_add_str(out, "too slow here");
        break;
    case RECOMMEND_TOO_LARGE:
        buf_printf(out, "does not fit: takes %s", size_text(row->needed_bytes, size));
        break;
    }
    if (row->is_strong) buf_add_str(out, "; made for these languages");
    if (row->is_foreign) buf_add_str(out, "; was not taught most of these languages");
    if (row->is_installed) buf_add_str(out, "; installed");
}

static void add_table(const struct recommendation *r, struct buf *out)
{
    buf_printf(out, "\n  %-20s %8s %8s %8s\n", "model", "size", "keystroke", "new file");
    for (int32_t i = 0; i < r->n; i++) {
        const struct recommend_row *row = &r->rows[i];
        char size[SIZE_TEXT_MAX];
        buf_printf(out, "%c %-20s %8s", row == r->best ? '*' : ' ', row->entry->name,
                   size_text(row->file_bytes, size));
        add_duration(out, row->suggestion_ms);
        buf_add_char(out, ' ');
        add_duration(out, row->first_ms);
        buf_add_str(out, "  ");
        add_reason(row, out);
        buf_add_char(out, '\n');
    }
    buf_printf(out,
               "\nTimes are estimates for %d suggested tokens: after a keystroke, and in a file of which %d "
               "tokens are read first.\n\n",
               RECOMMEND_TOKENS, RECOMMEND_PROMPT);
}

int cli_model_recommend(int argc, char **argv, const struct settings *s)
{
    bool is_json = false;
    const char *memory = NULL;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &is_json, 0, 0}, {"memory", CLI_STRING, &memory, 0, 0}, {0}};
    int n_args;
    int64_t memory_bytes = 0;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 1) return cli_usage_error("model recommend takes one folder at most");
    if (memory && (!size_parse(memory, &memory_bytes) || memory_bytes == 0))
        return cli_usage_error("--memory %s: not a size; as in 6G or 800M", memory);
    struct errmsg msg = {0};
    struct recommendation r;
    if (recommend_make(n_args ? argv[1] : ".", memory_bytes, s, &r, &msg)) return cli_fail(&msg);
    struct buf out;
    struct json j;
    buf_init(&out, REPORT_LIMIT);
    if (is_json) {
        json_init(&j, &out);
        json_begin_object(&j, NULL);
        recommend_write(&r, &j);
        json_end_object(&j);
        buf_add_char(&out, '\n');
    } else {
        add_machine(&r, &out);
        add_project(&r, &out);
        add_table(&r, &out);
        recommend_add_choice(&r, &out);
    }
    return cli_print(&out);
}

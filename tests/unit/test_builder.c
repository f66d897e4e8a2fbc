/* What prompts are made of, over real documents and a project that is a table: each kind of piece where it
 * belongs, the budget, what is held and for how long, and that the same history gives the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "context/builder.h"
#include "context/choose.h"
#include "context/fim.h"
#include "context/identifiers.h"
#include "context/project.h"
#include "context/secrets.h"
#include "model/gguf.h"
#include "model/model.h"

#define TOKENS     2048
#define CODE_MAX   ((size_t)4 << 20)
#define SECRET     "ghp_x7Kq2mVb9TzR4wLs8NcY1dHf6JpGeA3uQoXi" /* shaped like an access key; not one */
#define N_SESSIONS 6

/* ---- a project that is a table ---- */

struct project {
    uint64_t version;
    int32_t n_waiting;
    const char *imported; /* what any import resolves to; null: nothing */
    struct {
        const char *path, *name, *text;
    } items[4];
};

static uint64_t hash_of(const char *text)
{
    uint64_t hash = 0;
    for (; *text; text++) hash = hash * 31 + (unsigned char)*text;
    return hash;
}

/* The items of this name, or of this path. */
static enum err find_items(const struct project *p, const char *name, size_t name_len, const char *path,
                           int32_t max, struct project_answer *out)
{
    struct project_definition *items = mem_try(4, sizeof *items);
    *out = (struct project_answer){.items = items, .memory = items};
    for (int i = 0; i < 4 && p->items[i].name && out->n < max; i++) {
        bool is_named =
            name && strlen(p->items[i].name) == name_len && !memcmp(p->items[i].name, name, name_len);
        if (!is_named && !(path && strcmp(p->items[i].path, path) == 0)) continue;
        items[out->n++] = (struct project_definition){.path = p->items[i].path,
                                                      .name = p->items[i].name,
                                                      .text = p->items[i].text,
                                                      .text_len = strlen(p->items[i].text),
                                                      .line = 1 + i,
                                                      .hash = hash_of(p->items[i].text)};
    }
    return OK;
}

enum err project_find(struct project *p, const char *name, size_t name_len, const char *path, int32_t max,
                      struct project_answer *out)
{
    (void)path;
    return find_items(p, name, name_len, NULL, max, out);
}

enum err project_outline(struct project *p, const char *path, int32_t max, struct project_answer *out)
{
    return find_items(p, NULL, 0, path, max, out);
}

/* The items with a word in their names. */
enum err project_related(struct project *p, const struct project_word *words, int32_t n, const char *path,
                         int32_t max, struct project_answer *out)
{
    (void)path;
    struct project_definition *items = mem_try(4, sizeof *items);
    *out = (struct project_answer){.items = items, .memory = items};
    for (int i = 0; i < 4 && p->items[i].name && out->n < max; i++) {
        struct project_answer one;
        double score = 0;
        uint32_t hash;
        for (size_t at = 0; identifiers_part(p->items[i].name, strlen(p->items[i].name), &at, &hash);) {
            for (int32_t j = 0; j < n; j++) score += words[j].hash == hash ? 8 * words[j].weight : 0;
        }
        if (score <= 0) continue;
        if (find_items(p, p->items[i].name, strlen(p->items[i].name), NULL, 1, &one)) return ERR_NOMEM;
        items[out->n] = one.items[0];
        items[out->n++].score = score;
        project_answer_clear(&one);
    }
    return OK;
}

void project_answer_clear(struct project_answer *a)
{
    mem_free(a->memory);
    *a = (struct project_answer){0};
}

uint64_t project_version(const struct project *p)
{
    return p->version;
}

void project_stats(struct project *p, struct project_stats *out)
{
    *out = (struct project_stats){.n_waiting = p->n_waiting};
}

bool project_resolve(struct project *p, const char *from, const char *target, size_t target_len, char *path,
                     size_t path_max)
{
    (void)from, (void)target, (void)target_len;
    if (p->imported) snprintf(path, path_max, "%s", p->imported);
    return p->imported != NULL;
}

/* ---- the world ---- */

static struct gguf *gguf;
static struct tokenizer *tokenizer;
static struct secrets *secrets;

static int open_world(void **state)
{
    (void)state;
    struct errmsg msg;
    if (gguf_open(FIXTURES "/tokenizers/qwen2.gguf", &gguf, &msg)) return -1;
    if (secrets_new(&(struct secrets_options){0}, &secrets, &msg)) return -1;
    return tokenizer_new(gguf, &tokenizer, &msg) ? -1 : 0;
}

static int close_world(void **state)
{
    (void)state;
    secrets_free(&secrets);
    tokenizer_free(&tokenizer);
    gguf_close(&gguf);
    return 0;
}

struct world {
    struct documents *docs;
    struct project project;
    struct context_input in;
    struct context c;
};

static void start(struct world *w)
{
    *w = (struct world){.docs = documents_new()};
    w->in = (struct context_input){.docs = w->docs,
                                   .project = &w->project,
                                   .secrets = secrets,
                                   .tokenizer = tokenizer,
                                   .max_tokens = TOKENS};
}

static void stop(struct world *w)
{
    documents_free(&w->docs);
}

static struct open_document *open_as(struct world *w, const char *path, const char *text)
{
    char uri[128];
    struct errmsg msg;
    snprintf(uri, sizeof uri, "file:///p/%s", path);
    if (documents_open(w->docs, uri, path, NULL, 1, text, strlen(text), &msg)) fail_msg("%s", msg.text);
    return documents_find(w->docs, uri);
}

static void build(struct world *w, struct open_document *doc, size_t cursor)
{
    struct errmsg msg = {0};
    w->in.doc = doc;
    w->in.cursor = cursor;
    if (context_build(&w->in, &w->c, &msg)) fail_msg("%s", msg.text);
}

static void splice(struct world *w, struct open_document *doc, size_t from, size_t to, const char *bytes)
{
    assert_int_equal(documents_splice(w->docs, doc, from, to, bytes, strlen(bytes)), OK);
}

static size_t find(const struct open_document *doc, const char *text)
{
    const char *at = strstr(doc->text.bytes, text);
    if (!at) fail_msg("no \"%s\"", text);
    return (size_t)(at - doc->text.bytes);
}

static const struct context_piece *piece_of(const struct context *c, enum context_kind kind, const char *path)
{
    for (int32_t i = 0; i < c->n_pieces; i++) {
        if (c->pieces[i].kind == kind && strcmp(c->pieces[i].path, path) == 0) return &c->pieces[i];
    }
    return NULL;
}

static bool has(const char *text, size_t len, const char *what)
{
    return len && memmem(text, len, what, strlen(what));
}

static bool piece_has(const struct context_piece *p, const char *what)
{
    return p && has(p->text, p->len, what);
}

static bool shows(const struct context *c, const char *what)
{
    bool found = has(c->prefix, c->prefix_len, what) || has(c->suffix, c->suffix_len, what);
    for (int32_t i = 0; i < c->n_files; i++)
        found = found || has(c->files[i].text, c->files[i].text_len, what);
    return found;
}

/* All that is shown, as one string. */
static char *all_of(const struct context *c)
{
    struct buf b;
    buf_init(&b, CODE_MAX);
    for (int32_t i = 0; i < c->n_files; i++) {
        buf_printf(&b, "== %s\n", c->files[i].path);
        buf_add(&b, c->files[i].text, c->files[i].text_len);
    }
    buf_add_str(&b, "== window\n");
    buf_add(&b, c->prefix, c->prefix_len);
    buf_add_str(&b, "<cursor>");
    buf_add(&b, c->suffix, c->suffix_len);
    return buf_take(&b);
}

/* All but the window. */
static char *held_of(const struct context *c)
{
    struct context held = *c;
    held.prefix_len = c->lead_len;
    held.suffix_len = 0;
    return all_of(&held);
}

/* Functions that have only the number in common. */
static char *many_functions(const char *prefix, int n)
{
    struct buf b;
    buf_init(&b, CODE_MAX);
    for (int i = 0; i < n; i++) {
        buf_printf(&b,
                   "/* Notes on %s%d. */\nint %s%d(int first%d, int second%d)\n{\n    int sum%d = first%d;\n"
                   "    if (second%d > %d) sum%d += second%d;\n    return sum%d;\n}\n\n",
                   prefix, i, prefix, i, i, i, i, i, i, i, i, i, i);
    }
    return buf_take(&b);
}

static int32_t count(const char *text, size_t len)
{
    int32_t n = 0;
    assert_int_equal(choose_count_tokens(tokenizer, text, len, &n), OK);
    return n;
}

/* ---- kinds ---- */

static const char widget_c[] = "#include \"widget.h\"\n\n"
                               "/* Changes the size. */\n"
                               "int widget_resize(struct widget *w, int width, int height)\n"
                               "{\n"
                               "    w->width = width;\n"
                               "    w->height = height;\n"
                               "    return 0;\n"
                               "}\n";
static const char caller_c[] = "#include \"widget.h\"\n\n"
                               "void layout_all(void)\n"
                               "{\n"
                               "    widget_resize();\n"
                               "}\n";

static void signatures_of_open_documents(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    open_as(&w, "src/widget.c", widget_c);
    struct open_document *doc = open_as(&w, "src/caller.c", caller_c);
    build(&w, doc, find(doc, "();"));
    const struct context_piece *p = piece_of(&w.c, CONTEXT_DEFINITION, "src/widget.c");
    assert_true(piece_has(p, "int widget_resize(struct widget *w, int width, int height)"));
    assert_false(piece_has(p, "w->width = width;"));
    assert_int_equal(p->line, 3);
    assert_true(w.c.is_anchored_anew);
    assert_string_equal(w.c.path, "src/caller.c");
    assert_int_equal(w.c.lead_len, 0);
    assert_int_equal(w.c.prefix_len + w.c.suffix_len, doc->text.len);
    stop(&w);
}

/* Nothing near the cursor names them yet: those that the import names count most. */
static void what_imported_files_define(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    w.project.items[0].path = w.project.items[1].path = "src/gauge.py";
    w.project.items[0].name = "open_gauge";
    w.project.items[0].text = "def open_gauge(path, unit):\n";
    w.project.items[1].name = "close_gauge";
    w.project.items[1].text = "def close_gauge(gauge):\n";
    w.project.imported = "src/gauge.py";
    struct open_document *doc =
        open_as(&w, "src/main.py", "from gauge import close_gauge\n\ndef main():\n    x = \n");
    build(&w, doc, find(doc, "\n\ndef") + strlen("\n\ndef main():\n    x = "));
    assert_int_equal(w.c.n_pieces, 2);
    bool is_first = strstr(w.c.pieces[0].text, "open_gauge") != NULL;
    const struct context_piece *any = &w.c.pieces[!is_first], *named = &w.c.pieces[is_first];
    assert_true(piece_has(any, "def open_gauge(path, unit):") && piece_has(named, "def close_gauge(gauge):"));
    assert_true(named->score > any->score);
    /* Once the file is open, its text counts. */
    open_as(&w, "src/gauge.py", "def shut_gauge(gauge):\n    return gauge\n");
    builder_free(&doc->builder);
    build(&w, doc, find(doc, "x = ") + 4);
    assert_true(shows(&w.c, "def shut_gauge(gauge):"));
    assert_false(shows(&w.c, "open_gauge"));
    stop(&w);
}

/* Nothing names it, but its name shares a word with what stands at the cursor. */
static void what_shares_words_with_names(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    w.project.items[0].path = "lib/auth.c";
    w.project.items[0].name = "begin_session_flow";
    w.project.items[0].text = "/* Begins. */\nint begin_session_flow(int user);\n";
    struct open_document *doc = open_as(&w, "src/caller.c", "int run(int session)\n{\n    return \n}\n");
    build(&w, doc, find(doc, "return ") + 7);
    const struct context_piece *p = piece_of(&w.c, CONTEXT_DEFINITION, "lib/auth.c");
    assert_true(p != NULL);
    assert_true(piece_has(p, "int begin_session_flow(int user);"));
    assert_false(piece_has(p, "Begins")); /* the head is enough */
    stop(&w);
}

static void definitions_of_the_project(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    w.project.items[0].path = "lib/far.h";
    w.project.items[0].name = "widget_resize";
    w.project.items[0].text = "int widget_resize(struct far *f);\n";
    w.project.items[1].path = "src/widget.h";
    w.project.items[1].name = "widget_resize";
    w.project.items[1].text = "int widget_resize(struct widget *w, int width);\n";
    w.project.imported = "src/widget.h";
    struct open_document *doc = open_as(&w, "src/caller.c", caller_c);
    build(&w, doc, find(doc, "();"));
    const struct context_piece *far = piece_of(&w.c, CONTEXT_DEFINITION, "lib/far.h");
    const struct context_piece *near = piece_of(&w.c, CONTEXT_DEFINITION, "src/widget.h");
    assert_true(near && far);
    assert_true(near->score > far->score); /* what is imported counts more */
    assert_int_equal(near->line, 2);
    /* What is open is newer than what the index knows. */
    open_as(&w, "src/widget.h", "int widget_resize(struct widget *w, int width, int height, int depth);\n");
    builder_free(&doc->builder);
    build(&w, doc, find(doc, "();"));
    assert_false(shows(&w.c, "(struct widget *w, int width);"));
    assert_true(shows(&w.c, "(struct far *f);"));
    stop(&w);
}

static void what_the_window_defines_is_not_looked_up(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    w.project.items[0].path = "lib/far.h";
    w.project.items[0].name = "widget_resize";
    w.project.items[0].text = "int widget_resize(struct far *f);\n";
    struct open_document *doc = open_as(&w, "src/widget.c", widget_c);
    build(&w, doc, find(doc, "    return 0;"));
    assert_int_equal(w.c.n_pieces, 0);
    stop(&w);
}

static void edits_come_last(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    char *code = many_functions("other", 60);
    struct open_document *edited = open_as(&w, "a/edited.c", code);
    open_as(&w, "src/widget.c", widget_c);
    struct open_document *doc = open_as(&w, "src/caller.c", caller_c);
    size_t at = find(edited, "    return sum40;");
    splice(&w, edited, at, at, "    sum40 *= freshly_typed;\n");
    build(&w, doc, find(doc, "();"));
    const struct context_piece *p = piece_of(&w.c, CONTEXT_EDIT, "a/edited.c");
    assert_true(piece_has(p, "freshly_typed"));
    assert_true(piece_has(p, "int other40(int first40, int second40)")); /* small: as a whole */
    assert_false(piece_has(p, "other41"));
    assert_string_equal(w.c.files[w.c.n_files - 1].path, "a/edited.c");
    assert_string_equal(w.c.files[0].path, "src/widget.c");
    stop(&w);
    mem_free(code);
}

static void long_definitions_are_cut_to_the_edited_lines(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct buf b;
    buf_init(&b, CODE_MAX);
    buf_add_str(&b, "int very_long(int argument)\n{\n");
    for (int i = 0; i < 90; i++) buf_printf(&b, "    step_%d(argument);\n", i);
    buf_add_str(&b, "}\n");
    struct open_document *edited = open_as(&w, "long.c", buf_str(&b));
    struct open_document *doc = open_as(&w, "src/caller.c", caller_c);
    size_t at = find(edited, "    step_70(");
    splice(&w, edited, at, at, "    freshly_typed();\n");
    build(&w, doc, find(doc, "();"));
    const struct context_piece *p = piece_of(&w.c, CONTEXT_EDIT, "long.c");
    assert_true(piece_has(p, "int very_long(int argument)\n{\n    // ...\n"));
    assert_true(piece_has(p, "step_69(argument);\n    freshly_typed();\n    step_70"));
    assert_false(piece_has(p, "step_60("));
    stop(&w);
    buf_clear(&b);
}

static void similar_blocks(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    static const char alike[] = "void other_screen(void)\n{\n"
                                "    struct toolbar *toolbar = toolbar_new();\n"
                                "    toolbar_add(toolbar, BUTTON_SAVE);\n"
                                "    toolbar_add(toolbar, BUTTON_LOAD);\n"
                                "    toolbar_show(toolbar);\n}\n";
    char *code = many_functions("filler", 30);
    struct buf b;
    buf_init(&b, CODE_MAX);
    buf_printf(&b, "%s%s\n%s", code, alike, code);
    open_as(&w, "screen.c", buf_str(&b));
    struct open_document *doc = open_as(&w, "main.c",
                                        "void main_screen(void)\n{\n"
                                        "    struct toolbar *toolbar = toolbar_new();\n"
                                        "    toolbar_add(toolbar, BUTTON_SAVE);\n    \n}\n");
    build(&w, doc, find(doc, "\n}\n"));
    const struct context_piece *p = piece_of(&w.c, CONTEXT_SIMILAR, "screen.c");
    assert_true(piece_has(p, "toolbar_show(toolbar);"));
    int n = 0;
    for (int32_t i = 0; i < w.c.n_pieces; i++) n += w.c.pieces[i].kind == CONTEXT_SIMILAR;
    assert_true(n <= 2);
    stop(&w);
    buf_clear(&b);
    mem_free(code);
}

static void chunks_of_the_client(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct open_document *doc = open_as(&w, "src/caller.c", caller_c);
    struct fim_file files[] = {
        {"util.c", "int from_the_client(void);", strlen("int from_the_client(void);")},
        {"src/caller.c", caller_c, strlen(caller_c)},
        {".env", "KEY=value_of_env\n", strlen("KEY=value_of_env\n")},
    };
    w.in.files = files;
    w.in.n_files = 3;
    build(&w, doc, find(doc, "();"));
    assert_int_equal(w.c.n_pieces, 1); /* not what the window shows, nor a secret file */
    assert_true(piece_has(&w.c.pieces[0], "int from_the_client(void);\n"));
    assert_int_equal(w.c.pieces[0].kind, CONTEXT_CLIENT);
    build(&w, doc, find(doc, "();"));
    assert_false(w.c.is_anchored_anew);
    files[0].text = "int from_the_server(void);";
    build(&w, doc, find(doc, "();"));
    assert_true(w.c.is_anchored_anew);
    assert_true(shows(&w.c, "from_the_server"));
    assert_false(shows(&w.c, "from_the_client"));
    stop(&w);
}

/* A document of one long function after others: its window begins within the function. */
static char *long_function(void)
{
    char *code = many_functions("helper", 60);
    struct buf b;
    buf_init(&b, CODE_MAX);
    buf_add_str(&b, "#include \"unrelated.h\"\n#include \"toolbar.h\"\n\n");
    buf_add_str(&b, code);
    buf_add_str(&b,
                "/* Shows all toolbars, one after the other. */\nint show_all(struct screen *screen)\n{\n");
    for (int i = 0; i < 200; i++) buf_printf(&b, "    toolbar_show(screen->toolbars[%d]);\n", i);
    buf_add_str(&b, "    helper7();\n");
    for (int i = 200; i < 300; i++) buf_printf(&b, "    toolbar_show(screen->toolbars[%d]);\n", i);
    buf_add_str(&b, "}\n");
    mem_free(code);
    return buf_take(&b);
}

static void the_lead_and_what_belongs_to_the_place(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    char *code = long_function();
    struct open_document *doc = open_as(&w, "show.c", code);
    build(&w, doc, find(doc, "();\n    toolbar_show(screen->toolbars[200]"));
    static const char lead[] = "#include \"unrelated.h\"\n#include \"toolbar.h\"\n// ...\n"
                               "int show_all(struct screen *screen)\n{\n    // ...\n";
    assert_int_equal(w.c.lead_len, strlen(lead));
    assert_memory_equal(w.c.prefix, lead, strlen(lead));
    assert_memory_equal(w.c.prefix + w.c.lead_len, "    toolbar_show(", 17);
    assert_true(piece_has(piece_of(&w.c, CONTEXT_ENCLOSING, "show.c"), "int show_all("));
    assert_true(piece_has(piece_of(&w.c, CONTEXT_IMPORT, "show.c"), "toolbar.h"));
    assert_true(piece_has(piece_of(&w.c, CONTEXT_COMMENT, "show.c"), "Shows all toolbars"));
    assert_true(piece_has(piece_of(&w.c, CONTEXT_DEFINITION, "show.c"), "int helper7(int first7"));
    assert_int_equal(w.c.pieces[w.c.n_pieces - 1].kind, CONTEXT_ENCLOSING);
    stop(&w);
    mem_free(code);
}

static void other_members_of_the_type(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct buf b;
    buf_init(&b, CODE_MAX);
    buf_add_str(&b, "class Account:\n    def deposit(self, amount):\n        self.balance += amount\n\n");
    buf_add_str(&b, "    def report(self):\n");
    for (int i = 0; i < 200; i++) buf_printf(&b, "        print('this is line number %d')\n", i);
    buf_add_str(&b, "        ");
    struct open_document *doc = open_as(&w, "account.py", buf_str(&b));
    build(&w, doc, doc->text.len);
    assert_true(piece_has(piece_of(&w.c, CONTEXT_DISTANT, "account.py"), "def deposit(self, amount):"));
    assert_true(has(w.c.prefix, w.c.lead_len, "class Account:\n"));
    assert_true(has(w.c.prefix, w.c.lead_len, "    def report(self):\n        # ...\n"));
    stop(&w);
    buf_clear(&b);
}

static void weights_are_in_the_order_of_what_they_stand_for(void **state)
{
    (void)state;
    assert_true(choose_weight(CONTEXT_ENCLOSING) == 10);
    assert_true(choose_weight(CONTEXT_EDIT) == 8);
    assert_true(choose_weight(CONTEXT_DEFINITION) == 6 && choose_weight(CONTEXT_IMPORT) == 6);
    assert_true(choose_weight(CONTEXT_COMMENT) == 4);
    assert_true(choose_weight(CONTEXT_DISTANT) == 2);
    for (int k = CONTEXT_ENCLOSING; k <= CONTEXT_DISTANT; k++) assert_true(strlen(context_kind_name(k)) > 3);
}

/* ---- holding ---- */

static void nothing_moves_while_somebody_types(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    char *code = long_function();
    struct open_document *edited = open_as(&w, "src/widget.c", widget_c);
    splice(&w, edited, 0, 0, "/* edited */\n");
    struct open_document *doc = open_as(&w, "show.c", code);
    size_t cursor = find(doc, "    helper7();");
    build(&w, doc, cursor);
    char *before = all_of(&w.c), *held = held_of(&w.c), *suffix = mem_dup_str(w.c.suffix);
    size_t prefix_len = w.c.prefix_len;
    char *prefix = mem_dup_str(w.c.prefix);
    build(&w, doc, cursor);
    char *again = all_of(&w.c);
    assert_string_equal(before, again);
    static const char typed[] = "    widget_resize(w, 3, 4);\n";
    for (int i = 0; i < 100; i++) {
        char c[2] = {typed[(size_t)i % strlen(typed)], 0};
        splice(&w, doc, cursor, cursor, c);
        build(&w, doc, ++cursor);
        assert_false(w.c.is_anchored_anew);
        char *now = held_of(&w.c);
        assert_string_equal(held, now);
        assert_string_equal(suffix, w.c.suffix);
        assert_int_equal(w.c.prefix_len, prefix_len + (size_t)i + 1);
        assert_memory_equal(prefix, w.c.prefix, prefix_len);
        mem_free(now);
    }
    mem_free(before);
    mem_free(held);
    mem_free(again);
    mem_free(suffix);
    mem_free(prefix);
    stop(&w);
    mem_free(code);
}

static void the_window_grows_for_a_hundred_lines(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    char *code = many_functions("number", 400);
    struct open_document *doc = open_as(&w, "numbers.c", code);
    size_t cursor = find(doc, "/* Notes on number200");
    build(&w, doc, cursor);
    /* A hundred lines of code have about 850 tokens. */
    static const char typed[] = "    if (second200 > 200) sum200 += second200;\n";
    int32_t n_typed = 0;
    for (;; n_typed += count(typed, strlen(typed))) {
        splice(&w, doc, cursor, cursor, typed);
        cursor += strlen(typed);
        build(&w, doc, cursor);
        if (w.c.is_anchored_anew) break;
        int32_t n = count(w.c.prefix, w.c.prefix_len) + count(w.c.suffix, w.c.suffix_len);
        for (int32_t i = 0; i < w.c.n_files; i++) n += count(w.c.files[i].text, w.c.files[i].text_len);
        assert_true(n <= TOKENS);
    }
    assert_true(n_typed >= 850);
    stop(&w);
    mem_free(code);
}

static void what_changed_elsewhere_is_shown(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct open_document *widget = open_as(&w, "src/widget.c", widget_c);
    struct open_document *doc = open_as(&w, "src/caller.c", caller_c);
    size_t cursor = find(doc, "();");
    build(&w, doc, cursor);
    assert_true(shows(&w.c, "int width, int height)"));
    /* Lines above it move it, nothing more. */
    splice(&w, widget, 0, 0, "/* A line. */\n\n");
    build(&w, doc, cursor);
    assert_false(w.c.is_anchored_anew);
    size_t at = find(widget, ", int height)");
    splice(&w, widget, at, at, ", int depth");
    build(&w, doc, cursor);
    assert_true(w.c.is_anchored_anew);
    assert_true(shows(&w.c, "int width, int depth, int height)"));
    assert_false(shows(&w.c, "int width, int height)"));
    build(&w, doc, cursor);
    assert_false(w.c.is_anchored_anew);
    assert_true(documents_close(w.docs, widget->uri));
    doc = documents_find(w.docs, "file:///p/src/caller.c");
    build(&w, doc, cursor);
    assert_true(w.c.is_anchored_anew);
    assert_int_equal(w.c.n_files, 0);
    stop(&w);
}

static void what_changed_in_the_same_document_is_shown(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    char *code = long_function();
    struct open_document *doc = open_as(&w, "show.c", code);
    build(&w, doc, find(doc, "();\n    toolbar_show(screen->toolbars[200]"));
    assert_true(piece_has(piece_of(&w.c, CONTEXT_DEFINITION, "show.c"), "int helper7(int first7,"));
    size_t at = find(doc, "int helper3(");
    splice(&w, doc, at, at, "static ");
    build(&w, doc, w.in.cursor + 7);
    assert_false(w.c.is_anchored_anew);
    at = find(doc, "int helper7(");
    splice(&w, doc, at, at, "static ");
    build(&w, doc, w.in.cursor + 7);
    assert_true(w.c.is_anchored_anew);
    assert_true(piece_has(piece_of(&w.c, CONTEXT_DEFINITION, "show.c"), "static int helper7(int first7,"));
    /* As an editor does that completes an import. */
    at = find(doc, "#include \"toolbar.h\"\n");
    splice(&w, doc, at, at, "#include \"screen.h\"\n");
    build(&w, doc, w.in.cursor + 20);
    assert_true(w.c.is_anchored_anew);
    assert_true(has(w.c.prefix, w.c.lead_len, "screen.h"));
    stop(&w);
    mem_free(code);
}

static void edits_that_the_user_comes_back_from_are_shown(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct open_document *other = open_as(&w, "other.txt", "one\ntwo\nthree\n");
    struct open_document *doc = open_as(&w, "src/caller.c", caller_c);
    size_t cursor = find(doc, "();");
    build(&w, doc, cursor);
    splice(&w, other, 4, 4, "appended by a program\n");
    build(&w, doc, cursor);
    assert_false(w.c.is_anchored_anew);
    splice(&w, other, 4, 4, "typed by hand\n");
    build(&w, other, 18);
    build(&w, doc, cursor);
    assert_true(w.c.is_anchored_anew);
    assert_true(shows(&w.c, "typed by hand"));
    build(&w, doc, cursor);
    assert_false(w.c.is_anchored_anew);
    stop(&w);
}

static void the_index_matters_only_where_it_is_shown(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    w.project.items[0].path = "src/widget.h";
    w.project.items[0].name = "widget_resize";
    w.project.items[0].text = "int widget_resize(struct widget *w);\n";
    w.project.n_waiting = 3;
    struct open_document *doc = open_as(&w, "src/caller.c", caller_c);
    size_t cursor = find(doc, "();");
    build(&w, doc, cursor);
    w.project.version++;
    build(&w, doc, cursor);
    assert_false(w.c.is_anchored_anew);
    w.project.n_waiting = 0; /* the index is complete: there may be more to show */
    build(&w, doc, cursor);
    assert_true(w.c.is_anchored_anew);
    w.project.version++;
    build(&w, doc, cursor);
    assert_false(w.c.is_anchored_anew);
    w.project.version++;
    w.project.items[0].text = "int widget_resize(struct widget *w, int width);\n";
    build(&w, doc, cursor);
    assert_true(w.c.is_anchored_anew);
    assert_true(shows(&w.c, "(struct widget *w, int width);"));
    stop(&w);
}

/* ---- the whole prompt ---- */

/* A prompt as text, special tokens by their names. */
static char *text_of(const struct token_list *prompt)
{
    struct buf b;
    buf_init(&b, CODE_MAX);
    for (int32_t i = 0; i < prompt->n; i++) {
        size_t len;
        const char *piece = tokenizer_piece(tokenizer, prompt->ids[i], &len);
        if (len == 0) piece = tokenizer_text(tokenizer, prompt->ids[i], &len);
        buf_add(&b, piece, len);
    }
    return buf_take(&b);
}

static void the_prompt_of_a_place(void **state)
{
    (void)state;
    struct world w;
    struct errmsg msg = {0};
    struct token_list prompt = {0};
    struct model model = {.gguf = gguf, .tokenizer = tokenizer};
    struct fim fim;
    start(&w);
    fim_detect(&model, &fim);
    struct open_document *widget = open_as(&w, "src/widget.c", widget_c);
    size_t at = find(widget, "    return 0;");
    splice(&w, widget, at, at, "    w->is_drawn = false;\n");
    open_as(&w, "src/draw.c",
            "int draw_line(int from, int to)\n{\n    struct pixels *pixels = canvas_pixels(from);\n"
            "    return blend_all(pixels, palette, opacity, to);\n}\n\n"
            "int erase_everything(void)\n{\n    return canvas_forget(canvas_of_screen(screen));\n}\n\n"
            "int draw_dot(int at)\n{\n    struct pixels *pixels = canvas_pixels(at);\n"
            "    return blend_one(pixels, palette, opacity);\n}\n");
    struct open_document *doc = open_as(&w, "src/caller.c",
                                        "void layout_all(void)\r\n{\r\n    draw_dot(1);\r\n"
                                        "    draw_line(2);\r\n}\r\n");
    build(&w, doc, find(doc, "2);"));
    struct fim_input in = {.prefix = w.c.prefix,
                           .prefix_len = w.c.prefix_len,
                           .suffix = w.c.suffix,
                           .suffix_len = w.c.suffix_len,
                           .path = w.c.path,
                           .files = w.c.files,
                           .n_files = w.c.n_files};
    if (fim_build(&fim, &model, &in, TOKENS, NULL, &prompt, &msg)) fail_msg("%s", msg.text);
    char *text = text_of(&prompt);
    assert_string_equal(text,
                        "<|fim_prefix|># src/draw.c\n"
                        "int draw_line(int from, int to)\n{ ... }\n"
                        "// ...\n"
                        "int erase_everything(void)\n{ ... }\n" /* the file is about drawing */
                        "// ...\n"
                        "int draw_dot(int at)\n{ ... }\n"
                        "\n# src/widget.c\n"
                        "int widget_resize(struct widget *w, int width, int height)\n{\n"
                        "    w->width = width;\n    w->height = height;\n    w->is_drawn = false;\n"
                        "    return 0;\n}\n"
                        "\n# src/caller.c\n"
                        "void layout_all(void)\n{\n    draw_dot(1);\n    draw_line(<|fim_suffix|>2);\n}\n"
                        "<|fim_middle|>");
    mem_free(text);
    token_list_clear(&prompt);
    stop(&w);
}

/* ---- bounds ---- */

static void budgets_are_kept(void **state)
{
    (void)state;
    char *code = many_functions("number", 300), *other = many_functions("number", 100);
    struct fim_file chunk = {"chunk.c", other, strlen(other) / 10};
    for (int32_t max = 16; max <= 8192; max = max * 5 / 3) {
        struct world w;
        start(&w);
        w.in.max_tokens = max;
        w.in.files = &chunk;
        w.in.n_files = 1;
        struct open_document *edited = open_as(&w, "edited.c", other);
        for (int i = 0; i < 8; i++) splice(&w, edited, (size_t)i * 2000, (size_t)i * 2000 + 5, "changed");
        struct open_document *doc = open_as(&w, "numbers.c", code);
        build(&w, doc, find(doc, "    return sum150;"));
        int32_t files = 0;
        for (int32_t i = 0; i < w.c.n_files; i++)
            files += count(w.c.files[i].text, w.c.files[i].text_len) +
                     count(w.c.files[i].path, strlen(w.c.files[i].path)) + 1;
        assert_true(files <= max * 6 / 32);
        assert_true(max < 512 || files > max / 16);
        assert_true(count(w.c.prefix, w.c.lead_len) <= max / 8);
        if (max >= 256)
            assert_true(files + count(w.c.prefix, w.c.prefix_len) + count(w.c.suffix, w.c.suffix_len) <= max);
        if (max < 256) assert_int_equal(w.c.n_pieces, 0);
        assert_true(w.c.prefix_len > 0 && w.c.suffix_len > 0);
        w.in.is_window_only = true;
        build(&w, doc, find(doc, "    return sum150;"));
        assert_int_equal(w.c.n_pieces, 0);
        assert_int_equal(w.c.n_files, 0);
        stop(&w);
    }
    mem_free(code);
    mem_free(other);
}

static void secrets_stay_hidden(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct open_document *other = open_as(&w, "src/widget.c", widget_c);
    splice(&w, other, 0, 0, "static const char *edited_key = \"" SECRET "\";\n");
    struct fim_file chunk = {"chunk.c", "char *key_of_client = \"" SECRET "\";\n", 0};
    chunk.text_len = strlen(chunk.text);
    w.in.files = &chunk;
    w.in.n_files = 1;
    w.project.items[0].path = "keys.h";
    w.project.items[0].name = "key_of_project";
    w.project.items[0].text = "#define key_of_project \"" SECRET "\"\n";
    struct open_document *doc = open_as(&w, "src/caller.c",
                                        "const char *mine = \"" SECRET "\";\nvoid call(void)\n{\n"
                                        "    widget_resize(key_of_project);\n}\n");
    build(&w, doc, find(doc, "(key_of"));
    assert_true(shows(&w.c, "edited_key") && shows(&w.c, "key_of_client") &&
                shows(&w.c, "define key_of_project"));
    assert_false(shows(&w.c, "x7Kq2mVb9"));
    assert_true(shows(&w.c, "mine = \"" SECRETS_MASK));
    assert_int_equal(w.c.n_secrets, 4);
    /* One that the cursor stands in. */
    size_t inside = find(doc, SECRET) + 10;
    build(&w, doc, inside);
    assert_false(shows(&w.c, "ghp_") || shows(&w.c, "1dHf6Jp"));
    /* A file of secrets is not shown at all, whether it is asked about or open besides. */
    struct open_document *env = open_as(&w, ".env", "widget_resize=plain words\n");
    doc = documents_find(w.docs, "file:///p/src/caller.c");
    splice(&w, env, 0, 0, "NAME=more\n");
    build(&w, env, 3);
    assert_true(w.c.is_secret_file);
    assert_int_equal(w.c.prefix_len + w.c.suffix_len + (size_t)w.c.n_files, 0);
    builder_free(&doc->builder);
    build(&w, doc, find(doc, "(key_of"));
    assert_false(shows(&w.c, "plain words"));
    stop(&w);
}

/* A key of several lines, through which the window's ends and blocks of similar code cut. */
static void secrets_that_are_cut_stay_hidden(void **state)
{
    (void)state;
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t seed = 11;
    struct buf b;
    buf_init(&b, CODE_MAX);
    buf_add_str(&b, "import widget_resize\n\nkey = '''\n-----BEGIN RSA PRIVATE KEY-----\n");
    size_t key = b.len;
    for (int i = 0; i < 50 * 65; i++) {
        seed = seed * 1664525u + 1013904223u;
        buf_add_char(&b, i % 65 == 64 ? '\n' : alphabet[seed >> 26]);
    }
    size_t key_end = b.len;
    buf_add_str(&b,
                "-----END RSA PRIVATE KEY-----\n'''\n\ndef show(widget_resize):\n    return widget_resize\n");
    for (size_t at = 0; at <= b.len; at += b.len / 20) {
        struct world w;
        start(&w);
        w.in.max_tokens = 700;
        struct open_document *other = open_as(&w, "other.py", buf_str(&b));
        struct open_document *doc = open_as(&w, "key.py", buf_str(&b));
        splice(&w, other, key + 700, key + 700, "x");
        build(&w, doc, at);
        char *all = all_of(&w.c);
        for (size_t i = key; i + 65 <= key_end; i += 65) {
            char line[65] = {0};
            memcpy(line, b.data + i, 40);
            if (strstr(all, line)) fail_msg("cursor at %zu: %s", at, line);
        }
        mem_free(all);
        stop(&w);
    }
    buf_clear(&b);
}

static void lines_end_in_newlines(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct open_document *other = open_as(&w, "a.c",
                                          "/* First\r\n * of two. */\r\n"
                                          "int windows_style(int first)\r\n{\r\n    return first;\r\n}\r\n");
    splice(&w, other, find(other, "return"), find(other, "return"), "\r\n");
    struct open_document *doc = open_as(&w, "b.c", "void f(void)\r\n{\r\n    windows_style();\r\n}\r\n");
    build(&w, doc, find(doc, ";\r\n") + 2); /* between \r and \n */
    assert_false(shows(&w.c, "\r"));
    assert_true(shows(&w.c, "int windows_style(int first)\n{\n"));
    assert_memory_equal(w.c.suffix, "\n}\n", 3);
    assert_memory_equal(w.c.prefix, "void f(void)\n{\n    windows_style();", w.c.prefix_len);
    stop(&w);
}

static void any_document_will_do(void **state)
{
    (void)state;
    struct world w;
    start(&w);
    struct open_document *empty = open_as(&w, "", "");
    build(&w, empty, 0);
    assert_null(w.c.path);
    build(&w, empty, 99);
    assert_int_equal(w.c.prefix_len, 0);
    w.in.tokenizer = NULL;
    w.in.project = NULL;
    w.in.secrets = NULL;
    struct open_document *doc = open_as(&w, "src/caller.c", caller_c);
    build(&w, doc, 30);
    assert_int_equal(w.c.prefix_len, 30);
    stop(&w);
}

/* ---- random sessions ---- */

static uint32_t random_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u; /* Numerical Recipes' generator */
    return *state >> 8;
}

static size_t line_offset(const struct open_document *doc, int32_t line)
{
    const char *p = doc->text.bytes;
    for (int32_t i = 1; i < line; i++) p = strchr(p, '\n') + 1;
    return (size_t)(p - doc->text.bytes);
}

/* Where the window is in the document, told by its text. */
static size_t window_start(const struct world *w)
{
    size_t len = w->c.prefix_len - w->c.lead_len;
    assert_true(len <= w->in.cursor);
    assert_memory_equal(w->in.doc->text.bytes + w->in.cursor - len, w->c.prefix + w->c.lead_len, len);
    return w->in.cursor - len;
}

static void check_pieces(struct world *w)
{
    size_t start = window_start(w), end = w->in.cursor + w->c.suffix_len;
    for (int32_t i = 0; i < w->c.n_pieces; i++) {
        const struct context_piece *p = &w->c.pieces[i];
        char uri[128];
        snprintf(uri, sizeof uri, "file:///p/%s", p->path);
        struct open_document *doc = documents_find(w->docs, uri);
        assert_non_null(doc);
        /* Nothing stale: each line that is shown is in the document, but for elisions. */
        for (size_t at = 0; at < p->len;) {
            const char *newline = memchr(p->text + at, '\n', p->len - at);
            size_t len = (size_t)(newline - (p->text + at));
            bool is_elided = has(p->text + at, len, "...");
            if (!is_elided && !memmem(doc->text.bytes, doc->text.len, p->text + at, len))
                fail_msg("stale %s in %s: %.*s", context_kind_name(p->kind), p->path, (int)len, p->text + at);
            at += len + 1;
        }
        for (int32_t k = 0; k < i; k++) {
            const struct context_piece *q = &w->c.pieces[k];
            assert_false(p->len == q->len && memcmp(p->text, q->text, p->len) == 0);
            if (strcmp(p->path, q->path) != 0 || !w->c.is_anchored_anew) continue;
            assert_true(p->line >= q->line + q->n_lines || q->line >= p->line + p->n_lines);
        }
        if (doc != w->in.doc || !w->c.is_anchored_anew) continue;
        size_t from = line_offset(doc, p->line), to = line_offset(doc, p->line + p->n_lines);
        assert_true(to <= start || from >= end);
    }
}

/* One step of a session, the same for the same seed. */
static void step(struct world *w, uint32_t *seed, int32_t *current, size_t *cursor)
{
    static const char *const typed[] = {"x",   "\n", "    sum += ", "first3", "number7(first, second);\n",
                                        "}\n", "é"};
    char uri[64];
    uint32_t what = random_next(seed) % 100;
    if (what < 3) *current = (int32_t)(random_next(seed) % 3);
    snprintf(uri, sizeof uri, "file:///p/d%d.c", *current);
    struct open_document *doc = documents_find(w->docs, uri);
    if (what < 6) *cursor = random_next(seed) % (doc->text.len + 1);
    if (*cursor > doc->text.len) *cursor = doc->text.len;
    *cursor = text_char_start(&doc->text, *cursor);
    if (what >= 6 && what < 80) {
        const char *bytes = typed[random_next(seed) % 7];
        splice(w, doc, *cursor, *cursor, bytes);
        *cursor += strlen(bytes);
    }
    if (what >= 80 && what < 90) {
        size_t from = text_char_start(&doc->text, *cursor > 7 ? *cursor - 7 : 0);
        splice(w, doc, from, *cursor, "");
        *cursor = from;
    }
    if (what >= 97) {
        snprintf(uri, sizeof uri, "file:///p/d%d.c", (int)(random_next(seed) % 3));
        struct open_document *other = documents_find(w->docs, uri);
        size_t from = text_char_start(&other->text, random_next(seed) % (other->text.len + 1));
        size_t to = text_char_start(&other->text, from + 30 < other->text.len ? from + 30 : other->text.len);
        splice(w, other, from, to, "replaced();\n");
        if (other == doc && *cursor > from) *cursor = from;
    }
    build(w, doc, *cursor);
}

static void sessions_are_deterministic_and_never_stale(void **state)
{
    (void)state;
    char *code[3] = {many_functions("number", 150), many_functions("number", 60), long_function()};
    for (uint32_t s = 0; s < N_SESSIONS; s++) {
        struct world a, b;
        uint32_t seed_a = s + 1, seed_b = s + 1;
        int32_t current_a = 0, current_b = 0;
        size_t cursor_a = 9000, cursor_b = 9000;
        start(&a);
        start(&b);
        for (int i = 0; i < 3; i++) {
            char path[16];
            snprintf(path, sizeof path, "d%d.c", i);
            open_as(&a, path, code[i]);
            open_as(&b, path, code[i]);
        }
        for (int i = 0; i < 300; i++) {
            step(&a, &seed_a, &current_a, &cursor_a);
            check_pieces(&a);
            step(&b, &seed_b, &current_b, &cursor_b);
            char *of_a = all_of(&a.c), *of_b = all_of(&b.c);
            assert_string_equal(of_a, of_b);
            if (a.c.is_anchored_anew) {
                struct world fresh = b;
                builder_free(&fresh.in.doc->builder);
                build(&fresh, fresh.in.doc, fresh.in.cursor);
                char *of_fresh = all_of(&fresh.c);
                assert_string_equal(of_a, of_fresh);
                mem_free(of_fresh);
            }
            mem_free(of_a);
            mem_free(of_b);
        }
        stop(&a);
        stop(&b);
    }
    for (int i = 0; i < 3; i++) mem_free(code[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_of_open_documents),
        cmocka_unit_test(definitions_of_the_project),
        cmocka_unit_test(what_imported_files_define),
        cmocka_unit_test(what_shares_words_with_names),
        cmocka_unit_test(what_the_window_defines_is_not_looked_up),
        cmocka_unit_test(edits_come_last),
        cmocka_unit_test(long_definitions_are_cut_to_the_edited_lines),
        cmocka_unit_test(similar_blocks),
        cmocka_unit_test(chunks_of_the_client),
        cmocka_unit_test(the_lead_and_what_belongs_to_the_place),
        cmocka_unit_test(other_members_of_the_type),
        cmocka_unit_test(weights_are_in_the_order_of_what_they_stand_for),
        cmocka_unit_test(nothing_moves_while_somebody_types),
        cmocka_unit_test(the_window_grows_for_a_hundred_lines),
        cmocka_unit_test(what_changed_elsewhere_is_shown),
        cmocka_unit_test(what_changed_in_the_same_document_is_shown),
        cmocka_unit_test(edits_that_the_user_comes_back_from_are_shown),
        cmocka_unit_test(the_index_matters_only_where_it_is_shown),
        cmocka_unit_test(the_prompt_of_a_place),
        cmocka_unit_test(budgets_are_kept),
        cmocka_unit_test(secrets_stay_hidden),
        cmocka_unit_test(secrets_that_are_cut_stay_hidden),
        cmocka_unit_test(lines_end_in_newlines),
        cmocka_unit_test(any_document_will_do),
        cmocka_unit_test(sessions_are_deterministic_and_never_stale),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}

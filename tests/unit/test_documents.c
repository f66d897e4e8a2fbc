/* Open documents: bounds, edits, the places that were edited, and windows of documents without a name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "context/documents.h"
#include "context/outline.h"
#include "context/syntax.h"
#include "os/file.h"

static uint64_t random_state = 88172645463325252u;

/* xorshift64 (Marsaglia 2003). */
static size_t random_below(size_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return n ? (size_t)(random_state % n) : 0;
}

static void open_text(struct documents *d, const char *uri, const char *text)
{
    assert_int_equal(documents_open(d, uri, NULL, NULL, 1, text, strlen(text), NULL), OK);
}

static void assert_text(const struct open_document *doc, const char *text)
{
    assert_int_equal(doc->text.len, strlen(text));
    assert_string_equal(doc->text.bytes, text);
}

/* Everything that must hold of a document at any time. */
static void check_invariants(struct documents *d, const struct open_document *doc)
{
    assert_int_equal(utf8_valid_len(doc->text.bytes, doc->text.len), doc->text.len);
    assert_true(doc->n_changes >= 0 && doc->n_changes <= DOCUMENT_CHANGES_MAX);
    assert_true(doc->seen <= documents_time(d));
    for (int32_t i = 0; i < doc->n_changes; i++) {
        const struct document_change *c = &doc->changes[i];
        assert_true(c->start <= c->end && c->end <= doc->text.len);
        assert_false(utf8_is_continuation(doc->text.bytes[c->start]));
        assert_false(utf8_is_continuation(doc->text.bytes[c->end]));
        if (i > 0) assert_true(c->time < doc->changes[i - 1].time);
    }
}

/* --- Opening, closing, bounds ------------------------------------------------------------------------ */

static void test_open_and_close(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    const char *python = "import os\n";
    assert_int_equal(documents_open(d, "file:///p/a.py", "a.py", NULL, 7, python, strlen(python), NULL), OK);
    open_text(d, "file:///p/b.c", "int b;\n");
    assert_int_equal(documents_n(d), 2);
    struct open_document *a = documents_find(d, "file:///p/a.py");
    assert_non_null(a);
    assert_string_equal(a->uri, "file:///p/a.py");
    assert_string_equal(a->path, "a.py");
    assert_string_equal(a->language->name, "python");
    assert_int_equal(a->text.version, 7);
    assert_text(a, python);
    assert_string_equal(documents_find(d, "file:///p/b.c")->language->name, "c");
    assert_string_equal(documents_find(d, "file:///p/b.c")->path, "");
    assert_null(documents_find(d, "file:///p/c.c"));
    assert_null(documents_at(d, 2));
    assert_null(documents_at(d, -1));
    uint64_t time = documents_time(d);
    documents_visit(d, a);
    assert_int_equal(a->seen, time + 1);
    assert_int_equal(a->n_edits, 0);
    assert_int_equal(a->n_changes, 0);
    assert_true(documents_bytes(d) > strlen(python));
    assert_true(documents_close(d, "file:///p/a.py"));
    assert_false(documents_close(d, "file:///p/a.py"));
    assert_text(documents_at(d, 0), "int b;\n");
    documents_free(&d);
    assert_null(d);
    documents_free(&d);
}

static void test_bounds(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    struct errmsg msg;
    char uri[DOCUMENTS_URI_MAX + 2];
    memset(uri, 'u', sizeof uri - 1);
    uri[sizeof uri - 1] = '\0';
    assert_int_equal(documents_open(d, uri, NULL, NULL, 0, "", 0, &msg), ERR_LIMIT);
    for (int i = 0; i < DOCUMENTS_MAX; i++) {
        (void)snprintf(uri, sizeof uri, "file:///%d", i);
        open_text(d, uri, "x");
    }
    assert_int_equal(documents_open(d, "file:///more", NULL, NULL, 0, "", 0, &msg), ERR_LIMIT);
    open_text(d, "file:///5", "y"); /* one that is open may still change */
    assert_text(documents_find(d, "file:///5"), "y");
    documents_free(&d);

    d = documents_new();
    size_t half = DOCUMENTS_BYTES_MAX / 4 * 3 / 2; /* each below the bound of one document */
    char *big = mem_try(half, 1);
    assert_non_null(big);
    memset(big, 'x', half);
    assert_int_equal(documents_open(d, "1", NULL, NULL, 0, big, half, &msg), OK);
    assert_int_equal(documents_open(d, "2", NULL, NULL, 0, big, half, &msg), OK);
    assert_int_equal(documents_open(d, "3", NULL, NULL, 0, big, half, &msg), ERR_LIMIT);
    open_text(d, "3", "small");
    struct open_document *doc = documents_find(d, "3");
    assert_int_equal(documents_splice(d, doc, 0, 0, big, half), ERR_LIMIT);
    memset(big, '\xff', half); /* fits as it is, but not once repaired */
    assert_int_equal(documents_splice(d, doc, 0, 0, big, half / 2), ERR_LIMIT);
    assert_text(doc, "small");
    assert_int_equal(doc->n_edits, 0);
    assert_true(documents_close(d, "1"));
    assert_int_equal(documents_splice(d, doc, 0, 0, big, half / 8), OK);
    assert_int_equal(doc->text.len, half / 8 * 3 + 5);
    mem_free(big);
    documents_free(&d);
}

/* --- Edits ------------------------------------------------------------------------------------------- */

static const char *const pieces[] = {
    "a",    "foo(bar)", "\n",   "\r\n",   "    return x;\n",      "\xc3\xa9",        "\xf0\x9f\x98\x80",
    "\xff", "\xe2\x82", "\x82", "{\n}\n", "\n\n\n\n\n\n\n\n\n\n", "// \xe2\x82\xac", ""};
#define N_PIECES (sizeof pieces / sizeof *pieces)

/* The text as it must be: cut and put together naively, then repaired. */
static void splice_model(struct text *model, size_t from, size_t to, const char *bytes)
{
    struct buf b;
    buf_init(&b, 1 << 24);
    from = text_char_start(model, from);
    to = text_char_start(model, to);
    buf_add(&b, model->bytes, from < to ? from : to);
    buf_add_str(&b, bytes);
    size_t rest = from < to ? to : from;
    buf_add(&b, model->bytes + rest, model->len - rest);
    text_clear(model);
    assert_int_equal(text_init(model, buf_str(&b), b.len), OK);
    buf_clear(&b);
}

/* The latest change covers all in which the two texts differ, however the edit is seen: where text repeats
 * there are several ways ("aa" to "aaa"). */
static void check_latest(const struct text *older, const struct open_document *doc)
{
    const struct text *newer = &doc->text;
    assert_true(doc->n_changes > 0);
    assert_true(doc->changes[0].start <=
                text_common_prefix(older->bytes, older->len, newer->bytes, newer->len));
    assert_true(doc->changes[0].end >=
                newer->len - text_common_suffix(older->bytes, older->len, newer->bytes, newer->len));
}

static void test_splices_against_model(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct documents *d = documents_new();
        struct text model = {0};
        open_text(d, "file:///a.c", "int main(void)\n{\n    return 0;\n}\n");
        struct open_document *doc = documents_find(d, "file:///a.c");
        assert_int_equal(text_init(&model, doc->text.bytes, doc->text.len), OK);
        for (int i = 0; i < 500; i++) {
            size_t from = random_below(model.len + 3);
            size_t to = random_below(3)   ? from + random_below(6)
                        : random_below(8) ? from
                                          : random_below(model.len);
            const char *bytes = pieces[random_below(N_PIECES)];
            struct text before = {0};
            assert_int_equal(text_init(&before, model.bytes, model.len), OK);
            uint64_t n_edits = doc->n_edits;
            splice_model(&model, from, to, bytes);
            assert_int_equal(documents_splice(d, doc, from, to, bytes, strlen(bytes)), OK);
            assert_text(doc, model.bytes);
            check_invariants(d, doc);
            assert_true(doc->n_edits <= n_edits + 1);
            if (strcmp(before.bytes, model.bytes) != 0) {
                assert_int_equal(doc->n_edits, n_edits + 1);
                check_latest(&before, doc);
            }
            text_clear(&before);
        }
        text_clear(&model);
        documents_free(&d);
    }
}

/* After any edits, what is known of a document is what is known of one that is opened with that text. */
static void test_edited_is_as_fresh(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    open_text(d, "file:///a.c", "#include <stdio.h>\nint f(int a)\n{\n    return a;\n}\n");
    struct open_document *doc = documents_find(d, "file:///a.c");
    for (int i = 0; i < 300; i++) {
        size_t from = random_below(doc->text.len + 1);
        const char *bytes = pieces[random_below(N_PIECES)];
        assert_int_equal(documents_splice(d, doc, from, from + random_below(4), bytes, strlen(bytes)), OK);
        if (i % 3) continue;
        assert_int_equal(
            documents_open(d, "file:///b.c", NULL, NULL, 1, doc->text.bytes, doc->text.len, NULL), OK);
        struct open_document *fresh = documents_find(d, "file:///b.c");
        assert_string_equal(fresh->text.bytes, doc->text.bytes);
        const struct outline *a = documents_outline(doc, SIZE_MAX), *b = documents_outline(fresh, SIZE_MAX);
        assert_int_equal(a->n_units, b->n_units);
        assert_int_equal(a->n_imports, b->n_imports);
        for (int32_t u = 0; u < a->n_units; u++) {
            assert_int_equal(a->units[u].start, b->units[u].start);
            assert_int_equal(a->units[u].end, b->units[u].end);
            assert_int_equal(a->units[u].kind, b->units[u].kind);
        }
        assert_true(documents_close(d, "file:///b.c"));
    }
    documents_free(&d);
}

static void splice(struct documents *d, struct open_document *doc, size_t from, size_t to, const char *bytes)
{
    assert_int_equal(documents_splice(d, doc, from, to, bytes, strlen(bytes)), OK);
}

static void test_deletions_are_counted(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    open_text(d, "a", "one two three\n");
    struct open_document *doc = documents_find(d, "a");
    splice(d, doc, 3, 4, "");
    splice(d, doc, 2, 3, "");
    assert_int_equal(doc->n_deletions, 2);
    splice(d, doc, 0, 4, "ont"); /* a client that sends words: "ontw" loses a letter */
    assert_text(doc, "onto three\n");
    assert_int_equal(doc->n_deletions, 3);
    splice(d, doc, 0, 3, "ont"); /* nothing */
    assert_int_equal(doc->n_deletions, 3);
    assert_int_equal(doc->n_edits, 3);
    splice(d, doc, 0, 0, "x");
    assert_int_equal(doc->n_deletions, 0);
    splice(d, doc, 3, 1, ""); /* the wrong way round */
    assert_int_equal(doc->n_deletions, 1);
    assert_text(doc, "xto three\n");
    documents_free(&d);
}

static void write_lines(struct buf *b, int n)
{
    for (int i = 0; i < n; i++) buf_printf(b, "line %03d;\n", i);
}

#define LINE_BYTES 10

static void assert_change(const struct open_document *doc, int32_t i, const char *text)
{
    const struct document_change *c = &doc->changes[i];
    assert_true(i < doc->n_changes);
    assert_int_equal(c->end - c->start, strlen(text));
    assert_memory_equal(doc->text.bytes + c->start, text, strlen(text));
}

static void test_changes(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    struct buf b;
    buf_init(&b, 1 << 20);
    write_lines(&b, 400);
    open_text(d, "a", buf_str(&b));
    struct open_document *doc = documents_find(d, "a");
    splice(d, doc, 100 * LINE_BYTES, 100 * LINE_BYTES, "typed ");
    splice(d, doc, 200 * LINE_BYTES + 6, 200 * LINE_BYTES + 6, "other ");
    assert_int_equal(doc->n_changes, 2);
    assert_change(doc, 0, "other ");
    assert_change(doc, 1, "typed ");
    splice(d, doc, 0, 0, "top\n"); /* everything shifts */
    assert_change(doc, 0, "top\n");
    assert_change(doc, 1, "other ");
    assert_change(doc, 2, "typed ");
    splice(d, doc, 102 * LINE_BYTES + 10, 102 * LINE_BYTES + 10, "near "); /* two lines below: one change */
    assert_int_equal(doc->n_changes, 3);
    assert_change(doc, 0, "typed line 100;\nline 101;\nnear ");
    assert_change(doc, 1, "top\n");
    splice(d, doc, 0, 4, ""); /* what was put in at the top is gone; that it went is a change itself */
    assert_change(doc, 0, "");
    assert_change(doc, 1, "typed line 100;\nline 101;\nnear ");
    assert_change(doc, 2, "other ");
    splice(d, doc, 100 * LINE_BYTES + 2, 100 * LINE_BYTES + 4, ""); /* inside of it */
    assert_change(doc, 0, "tyd line 100;\nline 101;\nnear ");
    splice(d, doc, 90 * LINE_BYTES, 100 * LINE_BYTES + 2, ""); /* over its beginning */
    assert_change(doc, 0, "d line 100;\nline 101;\nnear ");
    for (size_t i = 0; i < 12; i++) splice(d, doc, i * 20 * LINE_BYTES, i * 20 * LINE_BYTES, "+");
    assert_int_equal(doc->n_changes, DOCUMENT_CHANGES_MAX);
    check_invariants(d, doc);
    buf_clear(&b);
    documents_free(&d);
}

/* A client that sends all of the text, or a formatter that does: one edit, and the rest stays. */
static void test_opening_again_is_an_edit(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    struct buf b;
    buf_init(&b, 1 << 20);
    write_lines(&b, 100);
    open_text(d, "a", buf_str(&b));
    struct open_document *doc = documents_find(d, "a");
    splice(d, doc, 10 * LINE_BYTES, 10 * LINE_BYTES, "first ");
    uint64_t n = doc->n_edits;
    char *same = mem_dup_str(doc->text.bytes);
    open_text(d, "a", same);
    assert_int_equal(doc->n_edits, n);
    same[80 * LINE_BYTES] = 'X';
    open_text(d, "a", same);
    assert_ptr_equal(documents_find(d, "a"), doc);
    assert_text(doc, same);
    assert_int_equal(doc->n_edits, n + 1);
    assert_int_equal(doc->n_changes, 2);
    assert_change(doc, 0, "X");
    assert_change(doc, 1, "first ");
    mem_free(same);
    assert_int_equal(documents_open(d, "a", "a.py", NULL, 3, "x", 1, NULL), OK);
    assert_string_equal(doc->path, "a.py");
    assert_string_equal(doc->language->name, "python");
    assert_int_equal(doc->text.version, 3);
    assert_int_equal(documents_n(d), 1);
    buf_clear(&b);
    documents_free(&d);
}

/* --- Windows ----------------------------------------------------------------------------------------- */

#define LINES_BEFORE 256 /* as llama.vim sends */
#define LINES_AFTER  64

/* A file in an editor whose client sends windows of it. */
struct editor {
    struct buf text;
    size_t cursor;
    char uri[64];    /* of the document that was recognised last */
    size_t base;     /* origin of the file's first byte */
    char unique[32]; /* what the last step put in; "": nothing that could be found again */
    int n_typed;
};

static void editor_open(struct editor *e, const char *path)
{
    *e = (struct editor){0};
    buf_init(&e->text, 1 << 24);
    assert_int_equal(file_read(path, &e->text, NULL), OK);
    e->cursor = e->text.len / 3;
}

static void editor_replace(struct editor *e, size_t from, size_t to, const char *bytes)
{
    struct buf b;
    buf_init(&b, 1 << 24);
    buf_add(&b, e->text.data, from);
    buf_add_str(&b, bytes);
    buf_add(&b, e->text.data + to, e->text.len - to);
    buf_clear(&e->text);
    e->text = b;
    e->cursor = from + strlen(bytes);
}

static size_t line_up(const struct buf *b, size_t at, int n)
{
    while (at > 0 && (b->data[at - 1] != '\n' || n-- > 0)) at--;
    return at;
}

static size_t line_down(const struct buf *b, size_t at, int n)
{
    while (at < b->len && (b->data[at] != '\n' || n-- > 0)) at++;
    return at < b->len ? at + 1 : at;
}

enum step { STEP_TYPE, STEP_MOVE, STEP_JUMP };

/* Do something. */
static enum step editor_step(struct editor *e, bool *is_edit)
{
    char typed[64] = "\n";
    *is_edit = true;
    e->unique[0] = '\0';
    size_t n = 1 + random_below(20);
    switch (random_below(12)) {
    case 0: /* back */
        while (n < e->cursor && utf8_is_continuation(e->text.data[e->cursor - n])) n++;
        if (n > e->cursor) n = e->cursor;
        editor_replace(e, e->cursor - n, e->cursor, "");
        return STEP_TYPE;
    case 1: /* lines below go */
        editor_replace(e, e->cursor, line_down(&e->text, e->cursor, (int)random_below(3)), "");
        return STEP_TYPE;
    case 2:
    case 3:
    case 4:
        *is_edit = false;
        e->cursor =
            random_below(2) ? line_up(&e->text, e->cursor, (int)n) : line_down(&e->text, e->cursor, (int)n);
        return STEP_MOVE;
    case 5:
        *is_edit = false;
        if (random_below(8)) return STEP_MOVE;
        e->cursor = line_up(&e->text, random_below(e->text.len), 0);
        return STEP_JUMP;
    case 6:
        break;
    case 7: /* several lines */
        (void)snprintf(e->unique, sizeof e->unique, "typed_%d;", ++e->n_typed);
        (void)snprintf(typed, sizeof typed, "\n    \xc3\xa9 = %s\n    next();\n\n", e->unique);
        break;
    default:
        (void)snprintf(e->unique, sizeof e->unique, "typed_%d;", ++e->n_typed);
        (void)snprintf(typed, sizeof typed, " %s", e->unique);
    }
    editor_replace(e, e->cursor, e->cursor, typed);
    return STEP_TYPE;
}

struct kept {
    char *text[DOCUMENT_CHANGES_MAX];
    uint64_t time[DOCUMENT_CHANGES_MAX];
    int32_t n;
    uint64_t n_edits;
};

static void keep(struct documents *d, const char *uri, struct kept *k)
{
    const struct open_document *doc = documents_find(d, uri);
    *k = (struct kept){0};
    if (!doc) return;
    k->n_edits = doc->n_edits;
    for (k->n = 0; k->n < doc->n_changes; k->n++) {
        const struct document_change *c = &doc->changes[k->n];
        char *text = mem_try(c->end - c->start + 1, 1);
        assert_non_null(text);
        memcpy(text, doc->text.bytes + c->start, c->end - c->start);
        k->text[k->n] = text;
        k->time[k->n] = c->time;
    }
}

/* Where only the window moved, what was edited is still the same text, unless it was cut. */
static void check_kept(const struct kept *k, const struct open_document *doc)
{
    for (int32_t i = 0; i < doc->n_changes; i++) {
        const struct document_change *c = &doc->changes[i];
        for (int32_t j = 0; j < k->n; j++) {
            if (k->time[j] != c->time || c->start == 0 || c->end == doc->text.len) continue;
            assert_int_equal(c->end - c->start, strlen(k->text[j]));
            assert_memory_equal(doc->text.bytes + c->start, k->text[j], c->end - c->start);
        }
    }
}

static void forget(struct kept *k)
{
    for (int32_t i = 0; i < k->n; i++) mem_free(k->text[i]);
}

/* The lines of the latest change hold what was typed. */
static void check_typed(const struct open_document *doc, const char *typed)
{
    struct buf view = {.data = doc->text.bytes, .len = doc->text.len};
    size_t start = line_up(&view, doc->changes[0].start, 0), end = line_down(&view, doc->changes[0].end, 0);
    assert_true(doc->n_changes > 0);
    assert_non_null(memmem(view.data + start, end - start, typed, strlen(typed)));
}

static void send_window(struct documents *d, struct editor *e, enum step step, bool is_edit)
{
    size_t start = line_up(&e->text, e->cursor, LINES_BEFORE);
    size_t end = line_down(&e->text, e->cursor, LINES_AFTER);
    struct kept k;
    keep(d, e->uri, &k);
    struct open_document *doc =
        documents_recognise(d, "", e->text.data + start, end - start, e->cursor - start, 16);
    assert_non_null(doc);
    assert_int_equal(doc->text.len, end - start);
    assert_memory_equal(doc->text.bytes, e->text.data + start, end - start);
    check_invariants(d, doc);
    if (strcmp(doc->uri, e->uri) != 0) {
        assert_true(!e->uri[0] || step == STEP_JUMP);
        (void)snprintf(e->uri, sizeof e->uri, "%s", doc->uri);
        e->base = doc->origin - start;
    } else if (step == STEP_JUMP) {
        e->base = doc->origin - start; /* came back to where nothing may be known of what happened between */
    } else {
        assert_int_equal(doc->origin - start, e->base);
        assert_true(doc->n_edits <= k.n_edits + 3);
        if (!is_edit) check_kept(&k, doc);
        if (e->unique[0]) check_typed(doc, e->unique);
    }
    forget(&k);
}

static void test_windows_follow_their_document(void **state)
{
    (void)state;
    static const char *const files[] = {FIXTURES "/../unit/test_lsp.c", FIXTURES "/../unit/test_service.c",
                                        FIXTURES "/../../src/model/download.c"};
    struct documents *d = documents_new();
    struct editor editors[3];
    for (int i = 0; i < 3; i++) editor_open(&editors[i], files[i]);
    for (int i = 0; i < 3; i++) send_window(d, &editors[i], STEP_JUMP, false);
    for (int step = 0; step < 6000; step++) {
        struct editor *e = &editors[step / 7 % 3];
        bool is_edit;
        enum step what = editor_step(e, &is_edit);
        send_window(d, e, what, is_edit);
        for (int i = 0; i < 3; i++) assert_true(&editors[i] == e || strcmp(editors[i].uri, e->uri) != 0);
    }
    for (int i = 0; i < 3; i++) buf_clear(&editors[i].text);
    documents_free(&d);
}

static struct open_document *recognise(struct documents *d, const char *path, const char *text, size_t len,
                                       size_t cursor, int32_t max)
{
    struct open_document *doc = documents_recognise(d, path, text, len, cursor, max);
    assert_non_null(doc);
    assert_int_equal(doc->text.len, len);
    assert_memory_equal(doc->text.bytes, text, len);
    return doc;
}

/* Typing and deleting in a text too short to slide, from its first letter on. */
static void test_short_texts(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    const char *text = "import os\n\nprint(os.name)\n";
    const struct open_document *doc = NULL;
    for (size_t n = 0; n <= strlen(text); n++) {
        const struct open_document *next = recognise(d, "", text, n, n, 8);
        assert_true(!doc || next == doc);
        doc = next;
    }
    assert_int_equal(documents_n(d), 1);
    assert_int_equal(doc->n_changes, 1);
    assert_int_equal(doc->changes[0].end, strlen(text));
    size_t origin = doc->origin;
    for (size_t n = strlen(text); n-- > 10;) assert_ptr_equal(recognise(d, "", text, n, n, 8), doc);
    assert_int_equal(doc->n_deletions, strlen(text) - 10);
    assert_int_equal(doc->origin, origin);
    assert_ptr_equal(recognise(d, "", "import os\nx\n", 12, 11, 8), doc);
    assert_int_equal(doc->n_deletions, 0);
    assert_ptr_equal(recognise(d, "", "import os\nx\n", 12, 3, 8), doc);
    documents_free(&d);
}

/* Text at the top of a file that is typed there did not slide into sight. */
static void test_edits_at_the_top(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    struct buf b;
    buf_init(&b, 1 << 20);
    write_lines(&b, 200);
    const struct open_document *doc = recognise(d, "", b.data, b.len, 0, 8);
    size_t origin = doc->origin;
    struct buf more;
    buf_init(&more, 1 << 20);
    buf_printf(&more, "#include <stdio.h>\n%s", b.data);
    assert_ptr_equal(recognise(d, "", more.data, more.len, 19, 8), doc);
    assert_int_equal(doc->origin, origin);
    assert_int_equal(doc->n_changes, 1);
    assert_change(doc, 0, "#include <stdio.h>\n");
    assert_ptr_equal(recognise(d, "", b.data, b.len, 0, 8), doc); /* and goes again */
    assert_int_equal(doc->origin, origin);
    assert_int_equal(doc->n_deletions, 1);
    buf_clear(&more);
    buf_clear(&b);
    documents_free(&d);
}

static void test_named_windows(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    struct buf b;
    buf_init(&b, 1 << 20);
    write_lines(&b, 900);
    struct open_document *a = recognise(d, "a.py", b.data, 1000, 500, 8);
    assert_string_equal(a->path, "a.py");
    assert_string_equal(a->language->name, "python");
    struct open_document *c = recognise(d, "c.c", b.data, 1000, 500, 8); /* the same text, another file */
    assert_ptr_not_equal(a, c);
    assert_ptr_equal(recognise(d, "a.py", b.data + 100, 1000, 500, 8), a);
    assert_int_equal(a->origin, c->origin + 100);
    assert_ptr_equal(recognise(d, "c.c", b.data, 1010, 500, 8), c);
    assert_int_equal(a->n_changes + c->n_changes, 0);
    /* Another place of the file: the same document, but nothing of what was known of places holds. */
    assert_ptr_equal(recognise(d, "a.py", b.data + 5000, 1000, 500, 8), a);
    assert_int_equal(a->n_changes, 0);
    assert_int_equal(a->n_deletions, 0);
    assert_int_equal(documents_n(d), 2);
    buf_clear(&b);
    documents_free(&d);
}

static void test_least_recent_is_forgotten(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    struct buf b;
    buf_init(&b, 1 << 20);
    write_lines(&b, 900);
    open_text(d, "file:///opened", "stays\n");
    for (size_t i = 0; i < 8; i++) (void)recognise(d, "", b.data + i * 1000, 900, 450, 3);
    assert_int_equal(documents_n(d), 4);
    assert_text(documents_find(d, "file:///opened"), "stays\n");
    assert_int_equal(recognise(d, "", b.data + 7 * 1000, 901, 451, 3)->n_edits,
                     1);                                                 /* the last one is known */
    assert_int_equal(recognise(d, "", b.data, 900, 450, 3)->n_edits, 0); /* the first one is not */
    buf_clear(&b);
    documents_free(&d);
}

/* Clients that send all of a file: nothing slides, offsets are the file's. */
static void test_whole_documents(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 20; i++) write_lines(&b, 500);
    size_t cursor = 90000;
    struct open_document *doc = recognise(d, "", b.data, b.len, cursor, 8);
    assert_int_equal(doc->origin, 0);
    b.data[cursor] = '!';
    assert_ptr_equal(recognise(d, "", b.data, b.len, cursor + 1, 8), doc);
    assert_int_equal(doc->n_edits, 1);
    assert_change(doc, 0, "!");
    assert_ptr_equal(recognise(d, "", b.data, b.len - 100, 10, 8),
                     doc); /* the end goes; the cursor is above */
    assert_int_equal(doc->origin, 0);
    assert_int_equal(doc->n_deletions, 1);
    assert_ptr_equal(recognise(d, "", b.data + LINE_BYTES, b.len - 100 - LINE_BYTES, 0, 8), doc);
    assert_int_equal(doc->origin, 0);
    assert_int_equal(documents_n(d), 1);
    buf_clear(&b);
    documents_free(&d);
}

/* What is not UTF-8 is repaired; the text, not what was sent, is what offsets are of. */
static void test_windows_of_any_bytes(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    char bytes[3000];
    for (int round = 0; round < 200; round++) {
        size_t len = 200 + random_below(sizeof bytes - 200);
        if (round % 4 == 0) {
            for (size_t i = 0; i < len; i++) bytes[i] = (char)(random_below(2) ? random_below(256) : 'a');
        } else {
            bytes[random_below(len)] = (char)random_below(256);
        }
        size_t skip = random_below(150);
        struct text expected = {0};
        assert_int_equal(text_init(&expected, bytes + skip, len - skip), OK);
        struct open_document *doc =
            documents_recognise(d, "", bytes + skip, len - skip, random_below(len), 4);
        assert_non_null(doc);
        assert_int_equal(doc->text.len, expected.len);
        assert_memory_equal(doc->text.bytes, expected.bytes, expected.len);
        check_invariants(d, doc);
        text_clear(&expected);
    }
    documents_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_and_close),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_splices_against_model),
        cmocka_unit_test(test_edited_is_as_fresh),
        cmocka_unit_test(test_deletions_are_counted),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_opening_again_is_an_edit),
        cmocka_unit_test(test_windows_follow_their_document),
        cmocka_unit_test(test_short_texts),
        cmocka_unit_test(test_edits_at_the_top),
        cmocka_unit_test(test_named_windows),
        cmocka_unit_test(test_least_recent_is_forgotten),
        cmocka_unit_test(test_whole_documents),
        cmocka_unit_test(test_windows_of_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

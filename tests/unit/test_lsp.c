/* Language server sessions as transcripts: what the client sends, what must come back to the byte, and what
 * the service is asked in between. Then mutated transcripts, which must do no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "base/mem.h"
#include "service/service.h"
#include "serve/lsp.h"
#include "serve/lsp_frame.h"
#include "serve/lsp_workspace.h"
#include "support/fake_service.h"

struct session {
    struct service *service;
    struct lsp *lsp;
    struct buf out; /* what the session wrote */
    size_t read;    /* of it, by expect */
    int n_exits;
};

static void on_write(void *ctx, const char *bytes, size_t len)
{
    struct session *s = ctx;
    buf_add(&s->out, bytes, len);
}

static void on_exit_said(void *ctx)
{
    ((struct session *)ctx)->n_exits++;
}

static void start(struct session *s)
{
    *s = (struct session){.service = fake_service_new()};
    buf_init(&s->out, (size_t)256 << 20);
    s->lsp = lsp_new(
        &(struct lsp_options){.service = s->service, .write = on_write, .on_exit = on_exit_said, .ctx = s});
}

static void stop(struct session *s)
{
    lsp_free(&s->lsp);
    assert_null(s->lsp);
    assert_int_equal(s->service->n_waiting, 0); /* it cancelled what it had asked */
    assert_int_equal(s->read, s->out.len);      /* and said nothing that was not expected */
    fake_service_free(&s->service);
    buf_clear(&s->out);
}

static void send_bytes(struct session *s, const char *body, size_t len)
{
    struct buf frame;
    buf_init(&frame, (size_t)70 << 20);
    lsp_frame_write(body, len, &frame);
    assert_int_equal(frame.err, OK);
    lsp_feed(s->lsp, frame.data, frame.len);
    buf_clear(&frame);
}

static void say(struct session *s, const char *body)
{
    send_bytes(s, body, strlen(body));
}

static void notify(struct session *s, const char *method, const char *params)
{
    struct buf body;
    buf_init(&body, (size_t)70 << 20);
    buf_printf(&body, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"params\":%s}", method, params);
    say(s, buf_str(&body));
    buf_clear(&body);
}

static void request(struct session *s, const char *id, const char *method, const char *params)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_printf(&body, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"%s\",\"params\":%s}", id, method, params);
    say(s, buf_str(&body));
    buf_clear(&body);
}

/* The next message that the session wrote; the caller frees. Null: none. */
static char *next_message(struct session *s)
{
    size_t len;
    int header;
    if (s->read == s->out.len) return NULL;
    const char *frame = s->out.data + s->read;
    assert_int_equal(sscanf(frame, "Content-Length: %zu\r\n\r\n%n", &len, &header), 1);
    assert_true(len <= s->out.len - s->read - (size_t)header);
    char *body = mem_new(len + 1);
    memcpy(body, frame + header, len);
    s->read += (size_t)header + len;
    return body;
}

static void expect_body(struct session *s, const char *text, bool is_whole)
{
    char *body = next_message(s);
    if (!body) fail_msg("nothing came; expected %s", text);
    if (is_whole) assert_string_equal(body, text);
    if (!is_whole && !strstr(body, text)) fail_msg("\"%s\" is not in \"%s\"", text, body);
    mem_free(body);
}

static void expect(struct session *s, const char *text)
{
    expect_body(s, text, true);
}

static void expect_part(struct session *s, const char *text)
{
    expect_body(s, text, false);
}

static void expect_silence(struct session *s)
{
    if (s->read != s->out.len) fail_msg("it said %s", s->out.data + s->read);
}

static void expect_null(struct session *s, const char *id)
{
    char text[100];
    snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":null}", id);
    expect(s, text);
}

static void expect_error(struct session *s, const char *id, int code)
{
    char text[100];
    snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":%d,\"message\":\"", id,
             code);
    expect_part(s, text);
}

#define INLINE_CLIENT                                                                                        \
    "{\"capabilities\":{\"general\":{\"positionEncodings\":[\"utf-16\",\"utf-8\"]},"                         \
    "\"textDocument\":{\"inlineCompletion\":{}}},\"workspaceFolders\":[{\"uri\":\"file:///home/me/"          \
    "project\","                                                                                             \
    "\"name\":\"project\"}]}"

static void start_with(struct session *s, const char *initialize)
{
    start(s);
    request(s, "0", "initialize", initialize);
    expect_part(s, "\"id\":0,\"result\":{\"capabilities\"");
    notify(s, "initialized", "{}");
}

static void start_inline(struct session *s)
{
    start_with(s, INLINE_CLIENT);
    expect_silence(s);
}

#define MAIN_C "file:///home/me/project/src/main.c"

static void open_main(struct session *s, const char *text)
{
    char params[2000];
    snprintf(params, sizeof params,
             "{\"textDocument\":{\"uri\":\"" MAIN_C "\",\"languageId\":\"c\",\"version\":1,\"text\":\"%s\"}}",
             text);
    notify(s, "textDocument/didOpen", params);
}

static void change_main(struct session *s, int version, const char *changes)
{
    char params[2000];
    snprintf(params, sizeof params,
             "{\"textDocument\":{\"uri\":\"" MAIN_C "\",\"version\":%d},\"contentChanges\":%s}", version,
             changes);
    notify(s, "textDocument/didChange", params);
}

static void ask(struct session *s, const char *id, const char *method, int line, int character,
                const char *context)
{
    char params[70000];
    snprintf(params, sizeof params,
             "{\"textDocument\":{\"uri\":\"" MAIN_C "\"},\"position\":{\"line\":%d,\"character\":%d},"
             "\"context\":%s}",
             line, character, context);
    request(s, id, method, params);
}

#define INLINE    "textDocument/inlineCompletion"
#define LIST      "textDocument/completion"
#define TYPED     "{\"triggerKind\":2}"
#define INVOKED   "{\"triggerKind\":1}"
#define CANCELLED (-32800)

static const struct service_request *asked(const struct session *s, int i)
{
    assert_true(i < s->service->n_waiting);
    return &s->service->waiting[i]->request;
}

static void expect_asked(const struct session *s, int i, const char *text, size_t cursor)
{
    const struct service_request *r = asked(s, i);
    assert_string_equal(r->text, text);
    assert_int_equal(r->len, strlen(text));
    assert_int_equal(r->cursor, cursor);
}

/* --- Life -------------------------------------------------------------------------------------------- */

static void test_life(void **state)
{
    (void)state;
    struct session s;
    start(&s);
    request(&s, "7", INLINE, "{}");
    expect_error(&s, "7", -32002);
    notify(&s, "textDocument/didOpen", "{}");
    request(&s, "\"a\"", "initialize", INLINE_CLIENT);
    expect(&s,
           "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":{\"capabilities\":{\"positionEncoding\":\"utf-8\","
           "\"textDocumentSync\":{\"openClose\":true,\"change\":2,\"save\":true},"
           "\"inlineCompletionProvider\":true,"
           "\"executeCommandProvider\":{\"commands\":[\"inline.accepted\"]},"
           "\"workspace\":{\"workspaceFolders\":{\"supported\":true,\"changeNotifications\":true}}},"
           "\"serverInfo\":{\"name\":\"inline\",\"version\":\"" INLINE_VERSION "\"}}}");
    notify(&s, "initialized", "{}");
    request(&s, "8", "initialize", INLINE_CLIENT);
    expect_error(&s, "8", -32600);
    notify(&s, "$/setTrace", "{\"value\":\"off\"}");
    request(&s, "9", "shutdown", "null");
    expect_null(&s, "9");
    request(&s, "10", "shutdown", "null");
    expect_error(&s, "10", -32600);
    open_main(&s, "late");
    assert_int_equal(s.n_exits, 0);
    notify(&s, "exit", "null");
    assert_int_equal(s.n_exits, 1);
    notify(&s, "exit", "null");
    request(&s, "11", "shutdown", "null");
    assert_int_equal(s.n_exits, 1);
    stop(&s);
}

static void expect_encoding(const char *offered, const char *chosen)
{
    struct session s;
    char params[300], part[100];
    start(&s);
    snprintf(params, sizeof params, "{\"capabilities\":{\"general\":{\"positionEncodings\":%s}}}", offered);
    snprintf(part, sizeof part, "{\"capabilities\":{\"positionEncoding\":\"%s\",", chosen);
    request(&s, "1", "initialize", params);
    expect_part(&s, part);
    stop(&s);
}

static void test_encodings(void **state)
{
    (void)state;
    expect_encoding("[\"utf-32\",\"utf-16\",\"utf-8\"]", "utf-8");
    expect_encoding("[\"utf-32\",\"utf-16\"]", "utf-16");
    expect_encoding("[\"utf-32\"]", "utf-32");
    expect_encoding("[\"utf-7\",3,null]", "utf-16");
    expect_encoding("null", "utf-16");
}

static void test_faults_of_messages(void **state)
{
    (void)state;
    static const struct {
        const char *body, *id;
        int code;
    } cases[] = {
        {"{", "null", -32700},
        {"", "null", -32700},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"shutdown\"} x", "null", -32700},
        {"[]", "null", -32600},
        {"null", "null", -32600},
        {"5", "null", -32600},
        {"{}", "null", -32600},
        {"{\"jsonrpc\":\"1.0\",\"id\":3,\"method\":\"shutdown\"}", "3", -32600},
        {"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":4}", "3", -32600},
        {"{\"jsonrpc\":\"2.0\",\"id\":3}", "3", -32600},
        {"{\"jsonrpc\":\"2.0\",\"id\":[3],\"method\":\"shutdown\"}", "null", -32600},
        {"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"no/such\"}", "3", -32601},
        {"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"$/such\"}", "3", -32601},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"3\",\"method\":\"initialized\"}", "\"3\"", -32601},
        {"{\"jsonrpc\":\"2.0\",\"id\":-4,\"method\":\"" INLINE "\"}", "-4", -32602},
        {"{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"" INLINE "\",\"params\":[]}", "4", -32602},
    };
    struct session s;
    start_inline(&s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        say(&s, cases[i].body);
        expect_error(&s, cases[i].id, cases[i].code);
    }
    char deep[2 * 200 + 1];
    for (int i = 0; i < 200; i++) {
        deep[i] = '[';
        deep[200 + i] = ']';
    }
    send_bytes(&s, deep, 400);
    expect_error(&s, "null", -32600);
    char id[400];
    snprintf(id, sizeof id, "\"%0300d\"", 1);
    request(&s, id, "shutdown", "null");
    expect_error(&s, "null", -32600);
    /* Nobody waits for an answer to these. */
    say(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"no/such\"}");
    say(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"shutdown\"}");
    say(&s, "{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":null}");
    say(&s, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"error\":{}}");
    assert_int_equal(s.n_exits, 0);
    stop(&s);
}

static void test_broken_stream(void **state)
{
    (void)state;
    struct session s;
    start_inline(&s);
    open_main(&s, "x");
    ask(&s, "1", INLINE, 0, 0, TYPED);
    lsp_feed(s.lsp, "GET / HTTP/1.1\r\n\r\n", 18);
    expect_error(&s, "null", -32700);
    assert_int_equal(s.n_exits, 1);
    assert_int_equal(s.service->n_waiting, 0);
    request(&s, "2", "shutdown", "null");
    assert_int_equal(s.n_exits, 1);
    stop(&s);
}

/* --- Documents --------------------------------------------------------------------------------------- */

static void test_changes(void **state)
{
    (void)state;
    struct session s;
    start_inline(&s); /* utf-8 */
    open_main(&s, "int x;\\nint y;\\n");
    change_main(&s, 2,
                "[{\"range\":{\"start\":{\"line\":0,\"character\":4},\"end\":{\"line\":0,\"character\":5}},"
                "\"rangeLength\":1,\"text\":\"zz\"},"
                "{\"range\":{\"start\":{\"line\":1,\"character\":0},\"end\":{\"line\":2,\"character\":0}},"
                "\"text\":\"\xc3\xa9\"}]");
    ask(&s, "1", INLINE, 1, 2, TYPED);
    expect_asked(&s, 0, "int zz;\n\xc3\xa9", 10);
    change_main(&s, 3, "[{\"text\":\"all new\"}]");
    expect_null(&s, "1"); /* the text is another than asked about */
    assert_int_equal(s.service->n_cancelled, 1);
    ask(&s, "2", INLINE, 0, 99, TYPED);
    expect_asked(&s, 0, "all new", 7);
    notify(&s, "textDocument/didSave", "{\"textDocument\":{\"uri\":\"" MAIN_C "\"}}");
    expect_silence(&s);
    notify(&s, "textDocument/didClose", "{\"textDocument\":{\"uri\":\"" MAIN_C "\"}}");
    expect_null(&s, "2");
    ask(&s, "3", INLINE, 0, 0, TYPED);
    expect_error(&s, "3", -32602);
    stop(&s);
}

static void test_utf16(void **state)
{
    (void)state;
    struct session s;
    start_with(&s, "{\"capabilities\":{\"textDocument\":{\"inlineCompletion\":{}}}}");
    open_main(&s, "\xf0\x9f\x98\x80"
                  "b\\u20ac");
    change_main(&s, 2,
                "[{\"range\":{\"start\":{\"line\":0,\"character\":2},\"end\":{\"line\":0,\"character\":3}},"
                "\"text\":\"cd\"}]");
    ask(&s, "1", INLINE, 0, 5, TYPED);
    expect_asked(&s, 0,
                 "\xf0\x9f\x98\x80"
                 "cd\xe2\x82\xac",
                 9);
    fake_service_answer(s.service, 0, SERVICE_OK, "x");
    expect(&s,
           "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"items\":[{\"insertText\":\"x\",\"range\":{\"start\":{"
           "\"line\":0,\"character\":5},\"end\":{\"line\":0,\"character\":5}},\"command\":{\"title\":"
           "\"Accepted\",\"command\":\"inline.accepted\",\"arguments\":[1,1]}}]}}");
    stop(&s);
}

static void test_unexpected_changes(void **state)
{
    (void)state;
    struct session s;
    start_inline(&s);
    change_main(&s, 2, "[{\"text\":\"x\"}]");
    expect_part(&s, "\"method\":\"window/logMessage\",\"params\":{\"type\":2,");
    change_main(&s, 3, "[{\"text\":\"x\"}]"); /* said once */
    notify(&s, "textDocument/didChange", "{}");
    notify(&s, "textDocument/didOpen", "{}");
    notify(&s, "textDocument/didClose", "{}");
    expect_silence(&s);

    /* A version that does not grow is noted; the stream is still the truth. */
    open_main(&s, "old");
    change_main(&s, 1, "[{\"text\":\"new\"}]");
    expect_part(&s, "changed to version 1 after version 1");
    ask(&s, "1", INLINE, 0, 3, TYPED);
    expect_asked(&s, 0, "new", 3);

    /* A change that cannot be applied: nothing is completed in a text that nobody sees. */
    change_main(&s, 4, "[{\"range\":{\"start\":{\"line\":0}},\"text\":\"x\"}]");
    expect_part(&s, "No completions for " MAIN_C ": a change with a malformed range");
    expect_null(&s, "1");
    ask(&s, "2", INLINE, 0, 3, TYPED);
    expect_error(&s, "2", -32602);
    /* Too many bytes in a name: refused, said once for all documents. */
    char params[5000];
    snprintf(params, sizeof params, "{\"textDocument\":{\"uri\":\"%04200d\",\"text\":\"\"}}", 1);
    notify(&s, "textDocument/didOpen", params);
    expect_silence(&s);
    open_main(&s, "again");
    ask(&s, "3", INLINE, 0, 5, TYPED);
    expect_asked(&s, 0, "again", 5);
    change_main(&s, 2, "[{\"range\":null}]");
    expect_null(&s, "3");
    stop(&s);
}

static void test_document_bounds(void **state)
{
    (void)state;
    struct documents *d = documents_new();
    struct errmsg msg = {0};
    char uri[DOCUMENTS_URI_MAX + 2];
    for (int i = 0; i < DOCUMENTS_MAX; i++) {
        snprintf(uri, sizeof uri, "file:///%d", i);
        assert_int_equal(documents_open(d, uri, NULL, NULL, i, "text", 4, &msg), OK);
    }
    assert_int_equal(documents_open(d, "one more", NULL, NULL, 0, "", 0, &msg), ERR_LIMIT);
    assert_int_equal(documents_open(d, "file:///7", NULL, NULL, 70, "other", 5, &msg), OK);
    assert_string_equal(documents_find(d, "file:///7")->text.bytes, "other");
    assert_int_equal(documents_find(d, "file:///7")->text.version, 70);
    assert_true(documents_close(d, "file:///0"));
    assert_false(documents_close(d, "file:///0"));
    assert_null(documents_find(d, "file:///0"));
    assert_int_equal(documents_find(d, "file:///1023")->text.version, 1023);
    memset(uri, 'u', sizeof uri - 1);
    uri[sizeof uri - 1] = '\0';
    assert_int_equal(documents_open(d, uri, NULL, NULL, 0, "", 0, &msg), ERR_LIMIT);

    /* The bound counts all texts, through edits and closing. */
    size_t half = DOCUMENTS_BYTES_MAX / 2;
    char *large = calloc(half, 1);
    memset(large, 'a', half);
    assert_int_equal(documents_open(d, "file:///1", NULL, NULL, 0, large, half, &msg), OK);
    assert_int_equal(documents_open(d, "file:///2", NULL, NULL, 0, large, half, &msg), ERR_LIMIT);
    assert_string_equal(documents_find(d, "file:///2")->text.bytes, "text");
    assert_int_equal(documents_open(d, "file:///2", NULL, NULL, 0, large, half - 8192, &msg), OK);
    struct open_document *t = documents_find(d, "file:///2");
    assert_int_equal(documents_splice(d, t, 0, 0, large, 8192), ERR_LIMIT);
    assert_int_equal(documents_splice(d, t, 0, 8192, "", 0), OK);
    assert_int_equal(documents_splice(d, t, 0, 0, large, 8192), OK);
    assert_true(documents_close(d, "file:///1"));
    t = documents_find(d, "file:///2");
    assert_int_equal(documents_splice(d, t, 0, 0, large, 8192), OK);
    free(large);
    documents_free(&d);
    assert_null(d);
}

static void expect_path(const struct lsp_workspace *w, const char *uri, const char *path)
{
    struct buf out;
    buf_init(&out, 100);
    lsp_workspace_path(w, uri, &out);
    assert_string_equal(buf_str(&out), path);
    buf_clear(&out);
}

static void test_paths(void **state)
{
    (void)state;
    struct lsp_workspace w = {0};
    lsp_workspace_add(&w, "file:///home/me/my%20project/");
    lsp_workspace_add(&w, "file:///home/me/my%20project"); /* the same */
    lsp_workspace_add(&w, "file:///home/me/my%20project/vendor/lib");
    lsp_workspace_add(&w, "file:///c%3A/work");
    assert_int_equal(w.n, 3);
    expect_path(&w, "file:///home/me/my%20project/src/a%2bb.c", "src/a+b.c");
    expect_path(&w, "file:///home/me/my project/vendor/lib/x.c", "x.c");
    expect_path(&w, "file:///home/me/my%20projects/src/a.c", "a.c");
    expect_path(&w, "file:///home/me/my%20project", "my project");
    expect_path(&w, "file:///c:/work/src/a.c", "src/a.c");
    expect_path(&w, "file://host/etc/passwd", "passwd");
    expect_path(&w, "untitled:Untitled-1", "Untitled-1");
    expect_path(&w, "vscode-notebook-cell:/home/me/a.ipynb#W2", "a.ipynb");
    expect_path(&w, "file:///x/100%.c", "100%.c");
    expect_path(&w, "file:///x/%4", "%4");
    expect_path(&w, "file:///x/a%0Ab.c", "");
    expect_path(&w, "file:///x/a%00b.c", "");
    expect_path(&w, "file:///x/%ff.c", "");
    expect_path(&w, "", "");
    mem_free(lsp_workspace_remove(&w, "file:///home/me/my%20project"));
    assert_null(lsp_workspace_remove(&w, "file:///home/me/none"));
    assert_int_equal(w.n, 2);
    expect_path(&w, "file:///home/me/my%20project/src/a.c", "a.c");
    for (int i = 0; i < 100; i++) {
        char uri[40];
        snprintf(uri, sizeof uri, "file:///f/%d", i);
        lsp_workspace_add(&w, uri);
    }
    assert_int_equal(w.n, LSP_WORKSPACE_FOLDERS_MAX);
    lsp_workspace_clear(&w);
    lsp_workspace_add(&w, "file:///");
    expect_path(&w, "file:///etc/hosts", "etc/hosts");
    lsp_workspace_clear(&w);
}

/* --- Completions ------------------------------------------------------------------------------------- */

static void test_inline(void **state)
{
    (void)state;
    struct session s;
    start_inline(&s);
    open_main(&s, "int main(void)\\n{\\n    \\n}\\n");
    ask(&s, "\"one\"", INLINE, 2, 4, TYPED);
    const struct service_request *r = asked(&s, 0);
    expect_asked(&s, 0, "int main(void)\n{\n    \n}\n", 21);
    assert_string_equal(r->document, MAIN_C);
    assert_string_equal(r->path, "src/main.c");
    assert_string_equal(r->model, "");
    assert_int_equal(r->priority, SERVICE_TYPING);
    assert_int_equal(r->max_tokens, -1);
    assert_true(r->sampling.temperature == 0 && r->sampling.top_p == 1);
    expect_silence(&s);
    const char *texts[] = {"return 0;\n    // \xc3\xa9", "", "puts(\"x\");"};
    fake_service_answer_many(s.service, 0, texts, 3);
    expect(
        &s,
        "{\"jsonrpc\":\"2.0\",\"id\":\"one\",\"result\":{\"items\":["
        "{\"insertText\":\"return 0;\\n    // \xc3\xa9\",\"range\":{\"start\":{\"line\":2,\"character\":4},"
        "\"end\":{\"line\":2,\"character\":4}},\"command\":{\"title\":\"Accepted\",\"command\":\"inline."
        "accepted\",\"arguments\":[1,18]}},"
        "{\"insertText\":\"puts(\\\"x\\\");\",\"range\":{\"start\":{\"line\":2,\"character\":4},"
        "\"end\":{\"line\":2,\"character\":4}},\"command\":{\"title\":\"Accepted\",\"command\":\"inline."
        "accepted\",\"arguments\":[2,10]}}]}}");
    ask(&s, "2", INLINE, 2, 4, INVOKED);
    assert_int_equal(asked(&s, 0)->priority, SERVICE_ASKED);
    fake_service_answer(s.service, 0, SERVICE_OK, NULL);
    expect(&s, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"items\":[]}}");
    stop(&s);
}

static void test_outcomes(void **state)
{
    (void)state;
    struct session s;
    start_inline(&s);
    open_main(&s, "x");
    ask(&s, "1", INLINE, 0, 1, TYPED);
    ask(&s, "2", INLINE, 0, 1, TYPED);
    fake_service_answer(s.service, 0, SERVICE_SUPERSEDED, "superseded");
    expect_null(&s, "1");
    fake_service_answer(s.service, 0, SERVICE_SHED, "too many requests");
    expect_null(&s, "2");
    for (int i = 0; i < 2; i++) {
        ask(&s, "3", INLINE, 0, 1, TYPED);
        fake_service_answer(s.service, 0, SERVICE_UNAVAILABLE, "the model is loading");
        if (i == 0) {
            expect(&s,
                   "{\"jsonrpc\":\"2.0\",\"method\":\"window/logMessage\",\"params\":{\"type\":3,\"message\":"
                   "\"No completions: the model is loading\"}}");
        }
        expect_null(&s, "3");
    }
    ask(&s, "4", INLINE, 0, 1, TYPED);
    fake_service_answer(s.service, 0, SERVICE_ERROR, "not enough memory");
    expect(&s,
           "{\"jsonrpc\":\"2.0\",\"id\":4,\"error\":{\"code\":-32803,\"message\":\"not enough memory\"}}");
    ask(&s, "5", INLINE, 0, 1, TYPED);
    fake_service_answer(s.service, 0, SERVICE_BAD, "no room");
    expect_error(&s, "5", -32803);
    stop(&s);
}

static void test_cancel(void **state)
{
    (void)state;
    struct session s;
    start_inline(&s);
    open_main(&s, "x");
    ask(&s, "1", INLINE, 0, 1, TYPED);
    ask(&s, "\"1\"", INLINE, 0, 1, TYPED);
    notify(&s, "$/cancelRequest", "{\"id\":\"1\"}");
    expect_error(&s, "\"1\"", CANCELLED);
    assert_int_equal(s.service->n_waiting, 1);
    notify(&s, "$/cancelRequest", "{\"id\":\"1\"}"); /* answered already */
    notify(&s, "$/cancelRequest", "{\"id\":77}");
    notify(&s, "$/cancelRequest", "{}");
    expect_silence(&s);
    fake_service_answer(s.service, 0, SERVICE_OK, "y");
    expect_part(&s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"items\":[{\"insertText\":\"y\"");
    /* shutdown ends what is under way */
    ask(&s, "2", INLINE, 0, 1, TYPED);
    request(&s, "3", "shutdown", "null");
    expect_error(&s, "2", CANCELLED);
    expect_null(&s, "3");
    stop(&s);
}

/* What is highlighted in the editor's menu stands in the text that is completed, and begins the suggestion.
 */
static void test_selected_completion(void **state)
{
    (void)state;
    struct session s;
    start_inline(&s);
    open_main(&s, "a.fo + 1");
    ask(&s, "1", INLINE, 0, 4,
        "{\"triggerKind\":2,\"selectedCompletionInfo\":{\"range\":{\"start\":{\"line\":0,\"character\":2},"
        "\"end\":{\"line\":0,\"character\":4}},\"text\":\"forEach\"}}");
    expect_asked(&s, 0, "a.forEach + 1", 9);
    fake_service_answer(s.service, 0, SERVICE_OK, "(f)");
    expect_part(
        &s, "{\"insertText\":\"forEach(f)\",\"range\":{\"start\":{\"line\":0,\"character\":2},\"end\":{"
            "\"line\":0,\"character\":4}},\"command\":{\"title\":\"Accepted\",\"command\":\"inline.accepted"
            "\",\"arguments\":[1,3]}}");
    char long_one[66000];
    int len = snprintf(long_one, sizeof long_one,
                       "{\"triggerKind\":2,\"selectedCompletionInfo\":{\"range\":{\"start\":{\"line\":0,"
                       "\"character\":2},\"end\":{\"line\":0,\"character\":4}},\"text\":\"%065537d\"}}",
                       1);
    assert_true(len < (int)sizeof long_one);
    ask(&s, "5", INLINE, 0, 4, long_one);
    expect_error(&s, "5", -32803);
    /* The document itself is as it was. */
    ask(&s, "2", INLINE, 0, 4, TYPED);
    expect_asked(&s, 0, "a.fo + 1", 4);
    fake_service_answer(s.service, 0, SERVICE_OK, NULL);
    expect_part(&s, "\"items\":[]");
    stop(&s);
}

#define MENU_CLIENT "{\"capabilities\":{\"general\":{\"positionEncodings\":[\"utf-8\"]}}}"

static void test_list(void **state)
{
    (void)state;
    struct session s;
    start_with(&s, MENU_CLIENT);
    open_main(&s, "    pri\\n");
    ask(&s, "1", LIST, 0, 7, INVOKED);
    expect_asked(&s, 0, "    pri\n", 7);
    assert_int_equal(asked(&s, 0)->priority, SERVICE_ASKED);
    fake_service_answer(s.service, 0, SERVICE_OK, "nt(x)\n    y");
    expect(
        &s,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"isIncomplete\":true,\"items\":[{\"label\":\"print(x)\","
        "\"kind\":1,\"detail\":\"Inline\",\"insertTextMode\":1,\"textEdit\":{\"range\":{\"start\":{\"line\":"
        "0,"
        "\"character\":4},\"end\":{\"line\":0,\"character\":7}},\"newText\":\"print(x)\\n    y\"},"
        "\"command\":{\"title\":\"Accepted\",\"command\":\"inline.accepted\",\"arguments\":[1,11]}}]}}");
    /* Typing on does not end it: the menu filters. The label is the first line with something on it. */
    ask(&s, "2", LIST, 0, 4, "{\"triggerKind\":3}");
    assert_int_equal(asked(&s, 0)->priority, SERVICE_TYPING);
    change_main(&s, 2, "[{\"text\":\"    p\"}]");
    expect_silence(&s);
    fake_service_answer(s.service, 0, SERVICE_OK,
                        "\n\n  0123456789 0123456789 0123456789 0123456789 0123456789 01\xc3\xa9 and more");
    expect_part(&s, "\"label\":\"0123456789 0123456789 0123456789 0123456789 0123456789 01\xe2\x80\xa6\",");
    ask(&s, "3", LIST, 0, 4, TYPED);
    fake_service_answer(s.service, 0, SERVICE_OK, NULL);
    expect(&s, "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"isIncomplete\":true,\"items\":[]}}");
    stop(&s);

    start_inline(&s); /* a client that shows it inline gets no second one in its menu */
    open_main(&s, "x");
    ask(&s, "4", LIST, 0, 1, INVOKED);
    expect_null(&s, "4");
    stop(&s);
}

static void test_list_is_offered_to_those_who_need_it(void **state)
{
    (void)state;
    struct session s;
    start(&s);
    request(&s, "1", "initialize", MENU_CLIENT);
    expect_part(&s, "\"completionProvider\":{}");
    stop(&s);
}

static void test_settings(void **state)
{
    (void)state;
    struct session s;
    start_with(&s, "{\"capabilities\":{},\"initializationOptions\":{\"maxTokens\":20,\"theme\":\"dark\"}}");
    open_main(&s, "x");
    ask(&s, "1", INLINE, 0, 1, TYPED);
    assert_int_equal(asked(&s, 0)->max_tokens, 20);
    notify(&s, "workspace/didChangeConfiguration", "{\"settings\":{\"inline\":{\"maxTokens\":1e9}}}");
    ask(&s, "2", INLINE, 0, 1, TYPED);
    assert_int_equal(asked(&s, 1)->max_tokens, 4096);
    notify(&s, "workspace/didChangeConfiguration",
           "{\"settings\":{\"inline\":{\"maxTokens\":0,\"enabled\":false},\"other\":{\"maxTokens\":3}}}");
    ask(&s, "3", INLINE, 0, 1, TYPED);
    expect_null(&s, "3");
    notify(&s, "workspace/didChangeConfiguration", "{\"settings\":{\"inline\":{\"enabled\":true}}}");
    notify(&s, "workspace/didChangeConfiguration", "{\"settings\":null}");
    notify(&s, "workspace/didChangeConfiguration", "{\"settings\":{\"inline\":[]}}");
    notify(&s, "workspace/didChangeConfiguration", "{\"settings\":{\"inline\":{\"enabled\":\"no\"}}}");
    ask(&s, "4", INLINE, 0, 1, TYPED);
    assert_int_equal(asked(&s, 2)->max_tokens, -1);
    stop(&s);
}

static void test_folders_change(void **state)
{
    (void)state;
    struct session s;
    start_with(&s, "{\"capabilities\":{},\"rootUri\":\"file:///home\"}");
    open_main(&s, "x");
    ask(&s, "1", INLINE, 0, 1, TYPED);
    assert_string_equal(asked(&s, 0)->path, "me/project/src/main.c");
    notify(&s, "workspace/didChangeWorkspaceFolders",
           "{\"event\":{\"added\":[{\"uri\":\"file:///home/me/project\"},{}],"
           "\"removed\":[{\"uri\":\"file:///home\"},7]}}");
    ask(&s, "2", INLINE, 0, 1, TYPED);
    assert_string_equal(asked(&s, 1)->path, "src/main.c");
    stop(&s);
}

/* The index of a folder hears of what changes in its files. */
static void test_files_change(void **state)
{
    (void)state;
    struct session s;
    start_with(&s, "{\"capabilities\":{},\"rootUri\":\"file:///home/me/my%20project\"}");
    notify(&s, "textDocument/didSave", "{\"textDocument\":{\"uri\":\"file:///home/me/my project/a.c\"}}");
    assert_int_equal(s.service->n_rescans, 1);
    assert_string_equal(s.service->project, "/home/me/my project");
    notify(&s, "textDocument/didSave", "{\"textDocument\":{\"uri\":\"file:///home/me/other/a.c\"}}");
    notify(&s, "textDocument/didSave", "{\"textDocument\":{}}");
    notify(&s, "workspace/didChangeWatchedFiles", "{}");
    notify(&s, "workspace/didChangeWatchedFiles", "{\"changes\":[7,{\"uri\":3},{\"uri\":\"file:///x\"}]}");
    assert_int_equal(s.service->n_rescans, 1);
    notify(&s, "workspace/didChangeWatchedFiles",
           "{\"changes\":[{\"uri\":\"file:///home/me/my%20project/b/c.c\",\"type\":2}]}");
    assert_int_equal(s.service->n_rescans, 2);
    stop(&s);
}

/* What is likely to be asked first in a document can be computed before. */
static void test_opened(void **state)
{
    (void)state;
    struct session s;
    start_with(&s, "{\"capabilities\":{}}");
    open_main(&s, "x");
    assert_int_equal(s.service->n_opened, 1);
    assert_int_equal(s.service->n_submitted, 0);
    stop(&s);
}

/* --- What the user and the service are told ---------------------------------------------------------- */

static void expect_note(const struct session *s, int n_notes, enum service_event event, int64_t n_chars)
{
    assert_int_equal(s->service->n_notes, n_notes);
    assert_int_equal(s->service->event, event);
    assert_int_equal(s->service->n_chars, n_chars);
}

static void test_events(void **state)
{
    (void)state;
    struct session s;
    start_inline(&s);
    request(&s, "1", "workspace/executeCommand", "{\"command\":\"inline.accepted\",\"arguments\":[5,42]}");
    expect_null(&s, "1");
    expect_note(&s, 1, SERVICE_ACCEPTED, 42);
    request(&s, "2", "workspace/executeCommand", "{\"command\":\"rm\",\"arguments\":[]}");
    expect_error(&s, "2", -32602);
    request(&s, "3", "workspace/executeCommand", "{\"command\":\"inline.accepted\",\"arguments\":[5,-42]}");
    expect_null(&s, "3");
    expect_note(&s, 2, SERVICE_ACCEPTED, 0);
    notify(&s, "textDocument/didShowCompletion",
           "{\"item\":{\"insertText\":\"abc\",\"command\":{\"command\":\"inline.accepted\",\"arguments\":[1,"
           "3]}}}");
    expect_note(&s, 3, SERVICE_SHOWN, 3);
    notify(&s, "textDocument/didPartiallyAcceptCompletion", "{\"item\":{},\"acceptedLength\":2}");
    expect_note(&s, 4, SERVICE_PARTLY_ACCEPTED, 2);
    notify(&s, "textDocument/didFocus", "{\"textDocument\":{\"uri\":\"" MAIN_C "\"}}");
    notify(&s, "textDocument/didShowCompletion", "{}");
    expect_note(&s, 5, SERVICE_SHOWN, 0);
    stop(&s);
}

/* Two editors never share a name: one would supersede the other's requests. */
static void test_clients_differ(void **state)
{
    (void)state;
    struct session a, b;
    start_inline(&a);
    start_inline(&b);
    open_main(&a, "x");
    open_main(&b, "x");
    ask(&a, "1", INLINE, 0, 1, TYPED);
    ask(&b, "1", INLINE, 0, 1, TYPED);
    assert_string_not_equal(asked(&a, 0)->client, asked(&b, 0)->client);
    stop(&a);
    stop(&b);
}

#define PROGRESS_CLIENT "{\"capabilities\":{\"window\":{\"workDoneProgress\":true}}}"

static void start_loading(struct session *s, const char *client)
{
    start(s);
    s->service->state = SERVICE_LOADING;
    request(s, "0", "initialize", client);
    expect_part(s, "\"id\":0,");
    notify(s, "initialized", "{}");
}

#define CREATE_1                                                                                             \
    "{\"jsonrpc\":\"2.0\",\"id\":\"inline/model-1\",\"method\":\"window/workDoneProgress/create\","          \
    "\"params\":{\"token\":\"inline/model-1\"}}"

static void test_progress(void **state)
{
    (void)state;
    struct session s;
    start_loading(&s, PROGRESS_CLIENT);
    expect(&s, CREATE_1);
    lsp_on_models(s.lsp); /* nothing new */
    expect_silence(&s);
    say(&s, "{\"jsonrpc\":\"2.0\",\"id\":\"inline/model-1\",\"result\":null}");
    expect(
        &s,
        "{\"jsonrpc\":\"2.0\",\"method\":\"$/progress\",\"params\":{\"token\":\"inline/model-1\",\"value\":"
        "{\"kind\":\"begin\",\"title\":\"Inline: loading toy\"}}}");
    say(&s, "{\"jsonrpc\":\"2.0\",\"id\":\"inline/model-1\",\"result\":null}");
    expect_silence(&s);
    s.service->state = SERVICE_READY;
    lsp_on_models(s.lsp);
    expect(
        &s,
        "{\"jsonrpc\":\"2.0\",\"method\":\"$/progress\",\"params\":{\"token\":\"inline/model-1\",\"value\":"
        "{\"kind\":\"end\",\"message\":\"The model is ready\"}}}");
    lsp_on_models(s.lsp);
    expect_silence(&s);
    s.service->state = SERVICE_LOADING; /* another model */
    lsp_on_models(s.lsp);
    expect_part(&s, "\"id\":\"inline/model-2\",\"method\":\"window/workDoneProgress/create\"");
    s.service->state = SERVICE_READY; /* there before the client agreed: the token stays unused */
    lsp_on_models(s.lsp);
    say(&s, "{\"jsonrpc\":\"2.0\",\"id\":\"inline/model-2\",\"result\":null}");
    expect_silence(&s);
    stop(&s);

    start_loading(&s, PROGRESS_CLIENT);
    expect(&s, CREATE_1);
    say(&s, "{\"jsonrpc\":\"2.0\",\"id\":\"inline/model-1\",\"error\":{\"code\":-32601,\"message\":\"no\"}}");
    lsp_on_models(s.lsp); /* refused: not asked again */
    expect_silence(&s);
    stop(&s);

    start_loading(&s, "{\"capabilities\":{}}");
    lsp_on_models(s.lsp);
    expect_silence(&s);
    stop(&s);
}

/* A model that takes requests while its weights are still being read. */
static void test_reading(void **state)
{
    (void)state;
    struct session s;
    start_loading(&s, PROGRESS_CLIENT);
    expect(&s, CREATE_1);
    s.service->state = SERVICE_READY;
    s.service->n_unread = 450;
    say(&s, "{\"jsonrpc\":\"2.0\",\"id\":\"inline/model-1\",\"result\":null}");
    expect_part(&s, "{\"kind\":\"begin\",\"title\":\"Inline: loading toy\"}");
    for (int i = 0; i < 2; i++) lsp_on_models(s.lsp);
    expect_part(
        &s, "\"kind\":\"report\",\"message\":\"usable; reading the rest of the weights\",\"percentage\":10}");
    expect_silence(&s);
    s.service->n_unread = 100;
    lsp_on_models(s.lsp);
    expect_part(&s, "\"percentage\":80}");
    s.service->n_unread = 0;
    lsp_on_models(s.lsp);
    expect_part(&s, "{\"kind\":\"end\",\"message\":\"The model is ready\"}");
    stop(&s);
}

static void test_model_failed(void **state)
{
    (void)state;
    struct session s;
    start_loading(&s, "{\"capabilities\":{}}");
    s.service->state = SERVICE_MODEL_FAILED;
    s.service->error = "no model is installed; run: inline model pull";
    for (int i = 0; i < 2; i++) {
        lsp_on_models(s.lsp);
        expect(&s,
               "{\"jsonrpc\":\"2.0\",\"method\":\"window/showMessage\",\"params\":{\"type\":1,\"message\":"
               "\"no model is installed; run: inline model pull\"}}");
        lsp_on_models(s.lsp);
        expect_silence(&s); /* once for each failure */
        s.service->state = SERVICE_READY;
        lsp_on_models(s.lsp);
        s.service->state = SERVICE_MODEL_FAILED;
    }
    stop(&s);
    start(&s); /* nothing before initialize */
    s.service->state = SERVICE_MODEL_FAILED;
    lsp_on_models(s.lsp);
    stop(&s);
}

/* A client that asks without end: what is beyond the bound is answered at once. */
static void test_flood(void **state)
{
    (void)state;
    struct session s;
    start_inline(&s);
    open_main(&s, "x");
    for (int i = 0; i < 1000; i++) {
        char id[20];
        snprintf(id, sizeof id, "%d", i + 1);
        ask(&s, id, INLINE, 0, 1, TYPED);
        if (i >= 256) expect_null(&s, id);
    }
    assert_int_equal(s.service->n_waiting, 256);
    expect_silence(&s);
    stop(&s);
}

/* --- Mutations --------------------------------------------------------------------------------------- */

static const char *const seeds[] = {
    "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didOpen\",\"params\":{\"textDocument\":{\"uri\":\"" MAIN_C
    "\",\"languageId\":\"c\",\"version\":1,\"text\":\"int x;\\r\\n\\ud83d\\ude00 y\\u0000\"}}}",
    "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/"
    "didChange\",\"params\":{\"textDocument\":{\"uri\":\"" MAIN_C
    "\",\"version\":2},\"contentChanges\":[{\"range\":{\"start\":{\"line\":0,\"character\":1},\"end\":{"
    "\"line\":1,"
    "\"character\":2}},\"text\":\"ab\\n\"},{\"text\":\"whole\"}]}}",
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" INLINE "\",\"params\":{\"textDocument\":{\"uri\":\"" MAIN_C
    "\"},\"position\":{\"line\":0,\"character\":3},\"context\":{\"triggerKind\":2,\"selectedCompletionInfo\":"
    "{"
    "\"range\":{\"start\":{\"line\":0,\"character\":1},\"end\":{\"line\":0,\"character\":3}},\"text\":"
    "\"abc\"}}}}",
    "{\"jsonrpc\":\"2.0\",\"id\":\"two\",\"method\":\"" LIST
    "\",\"params\":{\"textDocument\":{\"uri\":\"" MAIN_C "\"},\"position\":{\"line\":1,\"character\":0}}}",
    "{\"jsonrpc\":\"2.0\",\"method\":\"$/cancelRequest\",\"params\":{\"id\":1}}",
    "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"workspace/executeCommand\",\"params\":{\"command\":\"inline."
    "accepted\",\"arguments\":[1,2]}}",
    "{\"jsonrpc\":\"2.0\",\"method\":\"workspace/"
    "didChangeConfiguration\",\"params\":{\"settings\":{\"inline\":{"
    "\"enabled\":true,\"maxTokens\":7}}}}",
    "{\"jsonrpc\":\"2.0\",\"id\":\"inline/model-1\",\"result\":null}",
    "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/"
    "didClose\",\"params\":{\"textDocument\":{\"uri\":\"" MAIN_C "\"}}}",
};
#define N_SEEDS (sizeof seeds / sizeof *seeds)

static uint32_t draw(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525 + 1013904223; /* Numerical Recipes' generator */
    return (*seed >> 8) % n;
}

/* Bytes overwritten, taken out, doubled; tokens of JSON put in. */
static size_t mutate(char *body, size_t len, size_t cap, uint32_t *seed)
{
    static const char *const pieces[] = {"null", "{}",   "[",       "]",       "\"",
                                         "-1",   "1e99", "\\u0000", "\\ud800", "\xff",
                                         "true", ",",    ":",       "}",       "99999999999999999999"};
    for (uint32_t n = draw(seed, 4); n > 0; n--) {
        size_t at = draw(seed, (uint32_t)len), span = draw(seed, 12);
        if (span > len - at) span = len - at;
        const char *piece = pieces[draw(seed, sizeof pieces / sizeof *pieces)];
        size_t piece_len = strlen(piece);
        switch (draw(seed, 4)) {
        case 0:
            body[at] = (char)draw(seed, 256);
            break;
        case 1:
            memmove(body + at, body + at + span, len - at - span);
            len -= span;
            break;
        case 2:
            if (len + piece_len > cap) break;
            memmove(body + at + piece_len, body + at, len - at);
            memcpy(body + at, piece, piece_len);
            len += piece_len;
            break;
        default:
            if (len + span > cap) break;
            memmove(body + at + span, body + at, len - at);
            len += span;
        }
        if (len == 0) return 0;
    }
    return len;
}

/* Whatever came: what goes out are messages. */
static void check_output(struct session *s)
{
    for (char *body; (body = next_message(s)); mem_free(body)) {
        struct json_object *message = json_tokener_parse(body), *version;
        if (!json_object_object_get_ex(message, "jsonrpc", &version)) fail_msg("not a message: %s", body);
        json_object_put(message);
    }
    buf_reset(&s->out);
    s->read = 0;
}

static void test_mutated_messages(void **state)
{
    (void)state;
    struct session s;
    uint32_t seed = 5;
    char body[4096];
    start_with(&s, PROGRESS_CLIENT);
    for (int i = 0; i < 10000; i++) {
        const char *source = seeds[draw(&seed, N_SEEDS)];
        size_t len = strlen(source);
        memcpy(body, source, len);
        send_bytes(&s, body, mutate(body, len, sizeof body, &seed));
        s.service->state = (enum service_state)draw(&seed, SERVICE_INSTALLED + 1);
        if (i % 7 == 0) lsp_on_models(s.lsp);
        if (s.service->n_waiting > 0 && draw(&seed, 2)) {
            enum service_outcome outcome = (enum service_outcome)draw(&seed, SERVICE_ERROR + 1);
            fake_service_answer(s.service, 0, outcome, "\n\xc3\xa9 text");
        }
        check_output(&s);
    }
    assert_true(s.service->n_submitted > 100); /* the mutations left enough whole */
    assert_int_equal(s.n_exits, 0);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_faults_of_messages),
        cmocka_unit_test(test_broken_stream),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_utf16),
        cmocka_unit_test(test_unexpected_changes),
        cmocka_unit_test(test_document_bounds),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_selected_completion),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_is_offered_to_those_who_need_it),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_folders_change),
        cmocka_unit_test(test_files_change),
        cmocka_unit_test(test_opened),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_clients_differ),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_model_failed),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_mutated_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

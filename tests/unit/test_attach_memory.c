/* serve/attach_memory.c: what a second daemon is told after the first one's end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "serve/attach_memory.h"
#include "serve/lsp_frame.h"
#include "serve/lsp_rpc.h"

#define OUT_MAX ((size_t)1 << 20)

static bool from_editor(struct attach_memory *m, const char *body)
{
    struct lsp_message message;
    lsp_rpc_read(body, strlen(body), &message);
    assert_int_not_equal(message.kind, LSP_RPC_INVALID);
    bool passes = attach_memory_from_editor(m, &message, body, strlen(body));
    lsp_rpc_clear(&message);
    return passes;
}

static bool from_daemon(struct attach_memory *m, const char *body)
{
    struct lsp_message message;
    lsp_rpc_read(body, strlen(body), &message);
    assert_int_not_equal(message.kind, LSP_RPC_INVALID);
    bool passes = attach_memory_from_daemon(m, &message);
    lsp_rpc_clear(&message);
    return passes;
}

/* The bodies in a stream of frames, one a line. */
static char *bodies(const struct buf *frames)
{
    struct lsp_frame f;
    struct buf out;
    lsp_frame_init(&f);
    buf_init(&out, OUT_MAX);
    for (size_t at = 0, used; at < frames->len; at += used) {
        enum lsp_frame_state state = lsp_frame_take(&f, frames->data + at, frames->len - at, &used);
        assert_int_equal(state, LSP_FRAME_WHOLE);
        buf_add(&out, f.body.data, f.body.len);
        buf_add_char(&out, '\n');
    }
    lsp_frame_clear(&f);
    return buf_take(&out);
}

static void assert_replays(struct attach_memory *m, const char *expected)
{
    struct buf out;
    buf_init(&out, OUT_MAX);
    attach_memory_replay(m, &out);
    char *text = bodies(&out);
    assert_string_equal(text, expected);
    mem_free(text);
    buf_clear(&out);
}

static void assert_answers_on_loss(struct attach_memory *m, const char *expected)
{
    struct buf out;
    buf_init(&out, OUT_MAX);
    attach_memory_on_loss(m, &out);
    char *text = bodies(&out);
    assert_string_equal(text, expected);
    mem_free(text);
    buf_clear(&out);
}

#define INITIALIZE  "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"x\": [1, 2]}}"
#define INITIALIZED "{\"jsonrpc\":\"2.0\",\"method\":\"initialized\",\"params\":{}}"
#define ANSWER(unit)                                                                                         \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"capabilities\":{\"positionEncoding\":\"" unit "\"}}}"
#define OPEN(uri, version, text)                                                                             \
    "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didOpen\",\"params\":{\"textDocument\":{\"uri\":\"" uri  \
    "\",\"languageId\":\"c\",\"version\":" version ",\"text\":\"" text "\"}}}"
#define CHANGE(uri, version, change)                                                                         \
    "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/"                                                        \
    "didChange\",\"params\":{\"textDocument\":{\"uri\":\"" uri "\",\"version\":" version                     \
    "},\"contentChanges\":[" change "]}}"
#define RANGE(l1, c1, l2, c2)                                                                                \
    "\"range\":{\"start\":{\"line\":" l1 ",\"character\":" c1 "},\"end\":{\"line\":" l2 ",\"character\":" c2 \
    "}}"

static void begin(struct attach_memory *m, const char *answer)
{
    attach_memory_init(m);
    assert_true(from_editor(m, INITIALIZE));
    assert_true(from_daemon(m, answer));
    assert_true(from_editor(m, INITIALIZED));
}

static void test_session(void **state)
{
    (void)state;
    struct attach_memory m;
    const char *settings =
        "{\"jsonrpc\":\"2.0\",\"method\":\"workspace/didChangeConfiguration\",\"params\":{\"settings\":{}}}";
    begin(&m, ANSWER("utf-16"));
    assert_true(from_editor(&m, settings));
    assert_true(from_editor(&m, "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didSave\",\"params\":{}}"));
    assert_replays(&m, INITIALIZE
                   "\n" INITIALIZED
                   "\n{\"jsonrpc\":\"2.0\",\"method\":\"workspace/didChangeConfiguration\",\"params\":{"
                   "\"settings\":{}}}\n");
    assert_false(from_daemon(&m, ANSWER("utf-16"))); /* the editor has its answer */
    assert_true(from_daemon(&m, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":null}"));
    attach_memory_clear(&m);
}

static void test_documents(void **state)
{
    (void)state;
    struct attach_memory m;
    begin(&m, ANSWER("utf-16"));
    /* U+1F600 takes two units. */
    from_editor(&m, OPEN("file:///a", "3", "\\ud83d\\ude00 one\\ntwo"));
    from_editor(&m, OPEN("file:///b", "1", "gone"));
    from_editor(&m, CHANGE("file:///a", "4",
                           "{" RANGE("0", "3", "0", "6") ",\"text\":\"1\"},{" RANGE("1", "0", "1",
                                                                                    "1") ",\"text\":\"T\"}"));
    from_editor(&m, "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didClose\",\"params\":{\"textDocument\":{"
                    "\"uri\":\"file:///b\"}}}");
    assert_replays(&m,
                   INITIALIZE "\n" INITIALIZED "\n" OPEN("file:///a", "4", "\xf0\x9f\x98\x80 1\\nTwo") "\n");
    from_editor(&m, CHANGE("file:///a", "5", "{\"text\":\"all new\"}"));
    from_editor(&m, CHANGE("file:///none", "5", "{\"text\":\"never opened\"}"));
    assert_replays(&m, INITIALIZE "\n" INITIALIZED "\n" OPEN("file:///a", "5", "all new") "\n");
    /* What cannot be followed is not told. */
    from_editor(&m, CHANGE("file:///a", "6", "{\"range\":7,\"text\":\"?\"}"));
    assert_replays(&m, INITIALIZE "\n" INITIALIZED "\n");
    attach_memory_clear(&m);
}

static void test_units(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *after;
    } cases[] = {{ANSWER("utf-8"), OPEN("file:///a", "2", "\xf0\x9f\x98\x80!b")},
                 {ANSWER("utf-32"), OPEN("file:///a", "2",
                                         "\xf0\x9f\x98\x80"
                                         "ab!")}};
    for (size_t i = 0; i < 2; i++) {
        struct attach_memory m;
        struct buf expected;
        buf_init(&expected, OUT_MAX);
        begin(&m, cases[i].answer);
        from_editor(&m, OPEN("file:///a", "1",
                             "\xf0\x9f\x98\x80"
                             "ab"));
        from_editor(&m, i == 0 ? CHANGE("file:///a", "2", "{" RANGE("0", "4", "0", "5") ",\"text\":\"!\"}")
                               : CHANGE("file:///a", "2", "{" RANGE("0", "3", "0", "3") ",\"text\":\"!\"}"));
        buf_printf(&expected, "%s\n%s\n%s\n", INITIALIZE, INITIALIZED, cases[i].after);
        assert_replays(&m, buf_str(&expected));
        buf_clear(&expected);
        attach_memory_clear(&m);
    }
}

static void test_questions(void **state)
{
    (void)state;
    struct attach_memory m;
    begin(&m, ANSWER("utf-16"));
    from_editor(&m, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"textDocument/inlineCompletion\"}");
    from_editor(&m, "{\"jsonrpc\":\"2.0\",\"id\":\"three\",\"method\":\"textDocument/inlineCompletion\"}");
    from_daemon(&m, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":null}");
    assert_answers_on_loss(&m, "{\"jsonrpc\":\"2.0\",\"id\":\"three\",\"result\":null}\n");
    assert_answers_on_loss(&m, "");
    attach_memory_clear(&m);
}

static void test_lost_before_initialize_is_answered(void **state)
{
    (void)state;
    struct attach_memory m;
    attach_memory_init(&m);
    assert_replays(&m, "");
    from_editor(&m, INITIALIZE);
    assert_answers_on_loss(&m, "");
    assert_replays(&m, INITIALIZE "\n");
    assert_true(from_daemon(&m, ANSWER("utf-8"))); /* now the editor gets it */
    assert_int_equal(m.unit, TEXT_UTF8);
    assert_answers_on_loss(&m, "");
    attach_memory_clear(&m);
}

/* Answers to what a daemon asked that is gone are nobody's. */
static void test_questions_of_the_daemon(void **state)
{
    (void)state;
    struct attach_memory m;
    const char *ask = "{\"jsonrpc\":\"2.0\",\"id\":\"p1\",\"method\":\"window/workDoneProgress/create\"}";
    const char *answer = "{\"jsonrpc\":\"2.0\",\"id\":\"p1\",\"result\":null}";
    begin(&m, ANSWER("utf-16"));
    from_daemon(&m, ask);
    assert_true(from_editor(&m, answer));
    from_daemon(&m, ask);
    assert_answers_on_loss(&m, "");
    from_daemon(&m, ask); /* the next daemon counts from one, too */
    assert_false(from_editor(&m, answer));
    assert_true(from_editor(&m, answer));
    attach_memory_clear(&m);
}

static void test_shutdown(void **state)
{
    (void)state;
    struct attach_memory m;
    begin(&m, ANSWER("utf-16"));
    assert_false(m.is_shut_down);
    from_editor(&m, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"shutdown\"}");
    assert_true(m.is_shut_down);
    assert_answers_on_loss(&m, "{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":null}\n");
    attach_memory_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_lost_before_initialize_is_answered),
        cmocka_unit_test(test_questions_of_the_daemon),
        cmocka_unit_test(test_shutdown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

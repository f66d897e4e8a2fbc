"""The language server over its real door: a daemon with a tiny model, sessions on upgraded connections (GET
/lsp) and through `inline lsp`. What each message means is tested in unit/test_lsp.c; here, that the parts
work together. Answers are compared with those of HTTP, which asks the same service."""

import contextlib
import json
import socket
import subprocess
import threading
import unittest

from daemon import PATIENCE
from editor import INLINE, TEXT, URI, Editor, EditorTest
from front import FIXTURES, PROGRAM

MODEL = FIXTURES / "models" / "starcoder2.gguf"  # answers nearly everything with a run of one letter
MENU = {"textDocument": {"completion": {}}}


def between(line, start, end):
    return {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}


class LspTest(EditorTest):
    def serve(self):
        return self.start_daemon(model=MODEL, env={"INLINE_COMPLETE_MAX_TOKENS": "8"})

    def one_item(self, result):
        self.assertEqual(len(result["items"]), 1, result)
        return result["items"][0]

    def test_inline(self):
        daemon = self.serve().wait_ready()
        editor = self.connect(daemon)
        capabilities = editor.start(INLINE)["capabilities"]
        self.assertEqual(capabilities["positionEncoding"], "utf-16")
        self.assertNotIn("completionProvider", capabilities)
        editor.open()
        item = self.one_item(editor.complete(2, 11))
        status, _, expected = daemon.post("/infill", {"input_prefix": TEXT[:35], "input_suffix": TEXT[35:],
                                                      "n_predict": 8, "temperature": 0})
        self.assertEqual(status, 200)
        self.assertTrue(item["insertText"])
        self.assertEqual(item["range"], between(2, 11, 11))
        self.assertEqual(item["insertText"][0], expected["content"][0])
        self.assertIsNone(editor.request("workspace/executeCommand", {
            "command": item["command"]["command"], "arguments": item["command"]["arguments"]}))
        metrics = daemon.get("/metrics")[2]
        self.assertRegex(metrics, r"(?m)accepted.* 1$")

    def test_edits_lead_to_the_text_that_opening_gives(self):
        daemon = self.serve().wait_ready()
        editor = self.connect(daemon)
        editor.start(INLINE)
        editor.open("/* \U0001f600 */\nint ad(int a)\r\n{\n    return \n}\n")
        editor.change(2, {"range": between(0, 0, 8), "text": ""}, {"range": between(1, 6, 6), "text": "d"})
        editor.change(3, {"range": between(1, 12, 12), "text": ", int b"},
                      {"range": {"start": {"line": 0, "character": 0}, "end": {"line": 1, "character": 0}},
                       "text": ""},
                      {"range": {"start": {"line": 0, "character": 99}, "end": {"line": 1, "character": 0}},
                       "text": "\n"})
        edited = editor.complete(2, 11, kind=1)
        other = self.connect(daemon)
        other.start(INLINE)
        other.open()
        self.assertEqual(edited["items"][0]["insertText"], other.complete(2, 11, kind=1)["items"][0]["insertText"])

    def test_menu(self):
        editor = self.connect(self.serve().wait_ready())
        self.assertIn("completionProvider", editor.start(MENU)["capabilities"])
        editor.open("int main(void)\n{\n    ret\n}\n")
        result = editor.request("textDocument/completion", editor.place(2, 7, 1))
        item = self.one_item(result)
        self.assertTrue(result["isIncomplete"])
        self.assertTrue(item["textEdit"]["newText"].startswith("ret"))
        self.assertGreater(len(item["textEdit"]["newText"]), 3)
        self.assertEqual(item["textEdit"]["range"], between(2, 4, 7))

    def test_typing_supersedes(self):
        """Requests as fast as they can be written: all are answered, and only the last with something."""
        editor = self.connect(self.serve().wait_ready())
        editor.start(INLINE)
        editor.open()
        requests = []
        for i in range(20):
            editor.change(2 + i, {"range": between(2, 11 + i, 11 + i), "text": "a"})
            requests.append(editor.ask("textDocument/inlineCompletion", editor.place(2, 12 + i, 2)))
        answers = [editor.answer(r) for r in requests]
        for answer in answers:
            self.assertNotIn("error", answer)
        self.assertTrue(answers[-1]["result"]["items"])
        self.assertIsNone(answers[0]["result"])

    def test_without_model(self):
        """The user is told what to do, once; requests are null."""
        daemon = self.start_daemon(model=None)
        editor = self.connect(daemon)
        editor.start(INLINE)
        told = editor.wait(lambda m: m.get("method") == "window/showMessage")
        self.assertIn("inline model", told["params"]["message"])
        editor.open()
        self.assertIsNone(editor.complete(2, 11))
        self.assertIsNone(editor.complete(2, 11))
        methods = [m.get("method") for m in editor.messages]
        self.assertEqual(methods.count("window/showMessage"), 1)
        self.assertEqual(methods.count("window/logMessage"), 1)

    def test_end_of_session(self):
        daemon = self.serve()
        editor = self.connect(daemon)
        editor.start(INLINE)
        self.assertIsNone(editor.request("shutdown", None))
        editor.notify("exit", None)
        self.assertIsNone(editor.wait(lambda m: False))
        self.assertIn(daemon.get("/health", unix=True)[0], (200, 503))

    def test_garbage(self):
        """A stream that is not the protocol: said, closed, and the daemon goes on."""
        daemon = self.serve()
        editor = self.connect(daemon)
        editor.start(INLINE)
        editor.send_raw(b"Content-Length: 1073741824\r\n\r\n")
        fault = editor.wait(lambda m: "error" in m)
        self.assertEqual(fault["error"]["code"], -32700)
        self.assertIsNone(editor.wait(lambda m: False))
        self.assertTrue(self.connect(daemon).start(INLINE))

    def test_disconnect_in_the_middle(self):
        daemon = self.serve().wait_ready()
        for i in range(20):
            editor = self.connect(daemon)
            editor.start(INLINE)
            editor.open()
            editor.ask("textDocument/inlineCompletion", editor.place(2, 11, 2))
            if i % 2:
                editor.send_raw(b"Content-Length: 100\r\n\r\n{")
            editor.hang_up()
        other = self.connect(daemon)
        other.start(INLINE)
        other.open()
        self.assertTrue(other.complete(2, 11)["items"])

    def test_plain_requests_are_sent_away(self):
        self.assertEqual(self.serve().get("/lsp")[0], 426)

    def test_stdio(self):
        """`inline lsp` joins a daemon that runs."""
        self.serve().wait_ready()
        process = subprocess.Popen([PROGRAM, "lsp"], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.kill)
        editor = Editor(process.stdin, process.stdout)
        editor.start(INLINE)
        editor.open()
        self.assertTrue(editor.complete(2, 11)["items"])
        self.assertIsNone(editor.request("shutdown", None))
        editor.notify("exit", None)
        self.assertEqual(process.wait(PATIENCE), 0)


if __name__ == "__main__":
    unittest.main()

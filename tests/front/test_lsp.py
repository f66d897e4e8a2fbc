"""The language server over its real door: a daemon with a tiny model, sessions on upgraded connections (GET
/lsp) and through `inline lsp`. What each message means is tested in unit/test_lsp.c; here, that the parts
work together. Answers are compared with those of HTTP, which asks the same service."""

import contextlib
import json
import socket
import subprocess
import threading
import unittest

from daemon import PATIENCE, DaemonTest
from front import FIXTURES, PROGRAM

MODEL = FIXTURES / "models" / "starcoder2.gguf"  # answers nearly everything with a run of one letter
URI = "file:///home/me/project/src/main.c"
TEXT = "int add(int a, int b)\n{\n    return \n}\n"
INLINE = {"general": {"positionEncodings": ["utf-16"]}, "textDocument": {"inlineCompletion": {}}}
MENU = {"textDocument": {"completion": {}}}


class Editor:
    """A client on a pair of binary files: messages out, and messages in from a thread of its own."""

    def __init__(self, to_server, from_server, hang_up=None):
        self.to_server, self.from_server, self.hang_up = to_server, from_server, hang_up
        self.n_requests = 0
        self.messages, self.changed = [], threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while True:
            length = None
            while (line := self.from_server.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            message = json.loads(self.from_server.read(length)) if length is not None else None
            with self.changed:
                self.messages.append(message)  # None: the end
                self.changed.notify_all()
            if message is None:
                return

    def wait(self, wanted):
        """The first message that `wanted` accepts, now or later."""
        with self.changed:
            def find():
                return next((m for m in self.messages if m is None or wanted(m)), False)
            if self.changed.wait_for(lambda: find() is not False, PATIENCE):
                return find()
            raise AssertionError(f"not among {self.messages}")

    def send_raw(self, data):
        self.to_server.write(data)
        self.to_server.flush()

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.send_raw(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def ask(self, method, params):
        """Sends a request; returns its id."""
        self.n_requests += 1
        self.send({"id": self.n_requests, "method": method, "params": params})
        return self.n_requests

    def answer(self, request):
        return self.wait(lambda m: m.get("id") == request and "method" not in m)

    def request(self, method, params):
        answer = self.answer(self.ask(method, params))
        if "error" in answer:
            raise AssertionError(answer)
        return answer["result"]

    def start(self, capabilities, **params):
        result = self.request("initialize", {"processId": None, "capabilities": capabilities, **params})
        self.notify("initialized", {})
        return result

    def open(self, text=TEXT, uri=URI):
        self.notify("textDocument/didOpen",
                    {"textDocument": {"uri": uri, "languageId": "c", "version": 1, "text": text}})

    def change(self, version, *changes, uri=URI):
        self.notify("textDocument/didChange",
                    {"textDocument": {"uri": uri, "version": version}, "contentChanges": list(changes)})

    @staticmethod
    def place(line, character, kind, uri=URI):
        return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character},
                "context": {"triggerKind": kind}}

    def complete(self, line, character, kind=2, uri=URI):
        return self.request("textDocument/inlineCompletion", self.place(line, character, kind, uri))


def between(line, start, end):
    return {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}


class LspTest(DaemonTest):
    def serve(self):
        return self.start_daemon(model=MODEL, env={"INLINE_COMPLETE_MAX_TOKENS": "8"})

    def connect(self, daemon):
        s = daemon.raw(unix=True, timeout=None)
        s.sendall(b"GET /lsp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: lsp\r\n\r\n")
        stream = s.makefile("rwb")
        status = stream.readline()
        self.assertIn(b" 101 ", status)
        while stream.readline() not in (b"\r\n", b""):
            pass
        editor = Editor(stream, stream, hang_up=lambda: s.shutdown(socket.SHUT_RDWR))
        self.addCleanup(self.leave, editor, s)
        return editor

    @staticmethod
    def leave(editor, s):
        with contextlib.suppress(OSError):  # the daemon may have gone first
            editor.hang_up()
        editor.reader.join(PATIENCE)
        with contextlib.suppress(OSError):
            editor.to_server.close()
        s.close()

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
        edited = editor.complete(2, 11)
        other = self.connect(daemon)
        other.start(INLINE)
        other.open()
        self.assertEqual(edited["items"][0]["insertText"], other.complete(2, 11)["items"][0]["insertText"])

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

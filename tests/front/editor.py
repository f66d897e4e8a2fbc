"""An editor that speaks the Language Server Protocol, to a daemon's own door (GET /lsp) or to any pair of files."""

import contextlib
import json
import socket
import threading

from daemon import PATIENCE, DaemonTest

URI = "file:///home/me/project/src/main.c"
TEXT = "int add(int a, int b)\n{\n    return \n}\n"
INLINE = {"general": {"positionEncodings": ["utf-16"]}, "textDocument": {"inlineCompletion": {}}}


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


class EditorTest(DaemonTest):
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

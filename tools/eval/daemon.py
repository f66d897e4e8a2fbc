"""A daemon of one's own, and an editor that asks it: `inline serve` with fixed settings, by HTTP and as a language
server."""

import http.client
import json
import pathlib
import shutil
import socket
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "bench"))

from infill import Server

INVOKED, AUTOMATIC = 1, 2
ANSWER_SECONDS = 600
IDLE_CHECKS = 15
IDLE_SECONDS_MAX = 20


class Daemon(Server):
    """`inline serve` on a free port, for the length of a `with` block. Settings are {"section.name": value}; the user's
    own do not count, nothing is kept on disk but packed weights."""

    def __init__(self, program, model, settings):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="inl-eval-", dir="/tmp"))  # sockets have short paths
        self.socket_path = str(self.home / "s")
        env = {"XDG_CONFIG_HOME": str(self.home), "INLINE_SERVE_SOCKET": self.socket_path, "INLINE_CACHE_KV_MB": "0"}
        env.update({"INLINE_" + name.upper().replace(".", "_"): str(value) for name, value in settings.items()})
        chosen = ["--model", str(model)] if model else []
        super().__init__([str(program), "serve", *chosen, "--listen", "127.0.0.1:{port}"], env)
        self.env = {key: value for key, value in self.env.items() if key in env or not key.startswith("INLINE_")}

    def __exit__(self, *error):
        super().__exit__(*error)
        shutil.rmtree(self.home, ignore_errors=True)


    def wait_idle(self):
        """Until no thread has anything to do for a while: the index of what sessions have opened is complete. Its
        thread gives way to everybody else's, so that time alone says little."""
        calm, end = 0, time.monotonic() + IDLE_SECONDS_MAX
        while calm < IDLE_CHECKS and time.monotonic() < end:
            stats = [path.read_text() for path in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/stat")]
            states = {stat.rpartition(")")[2].split()[0] for stat in stats}
            calm = calm + 1 if states <= {"S"} else 0
            time.sleep(0.02)


def ask(port, path, body=None):
    """The JSON answer to a POST, or to a GET without a body, and milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    start = time.perf_counter()
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} answers {answer.status}: {data[:300]!r}")
    return json.loads(data), (time.perf_counter() - start) * 1e3


def position(text, at):
    """LSP's position of a character offset, in UTF-32 units."""
    line = text.count("\n", 0, at)
    return {"line": line, "character": at - (text.rfind("\n", 0, at) + 1)}


class Editor:
    """A language server session, one request at a time."""

    def __init__(self, daemon, root):
        self.root = pathlib.Path(root)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(ANSWER_SECONDS)
        self.socket.connect(daemon.socket_path)
        self.stream = self.socket.makefile("rwb")
        self.stream.write(b"GET /lsp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: lsp\r\n\r\n")
        self.stream.flush()
        if b" 101 " not in self.stream.readline():
            raise RuntimeError("the daemon refuses a language server session")
        while self.stream.readline() not in (b"\r\n", b""):
            pass
        self.n_requests, self.versions = 0, {}
        self.request("initialize", {
            "processId": None, "rootUri": self.root.as_uri(),
            "workspaceFolders": [{"uri": self.root.as_uri(), "name": self.root.name}],
            "capabilities": {"general": {"positionEncodings": ["utf-32"]}, "textDocument": {"inlineCompletion": {}}}})
        self.notify("initialized", {})

    def hang_up(self):
        self.stream.close()
        self.socket.close()

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.stream.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.stream.flush()

    def read(self):
        length = 0
        while (line := self.stream.readline()) != b"\r\n":
            if not line:
                raise RuntimeError("the daemon has closed the session")
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return json.loads(self.stream.read(length))

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def request(self, method, params):
        self.n_requests += 1
        self.send({"id": self.n_requests, "method": method, "params": params})
        while True:
            message = self.read()
            if "method" in message:
                if "id" in message:  # a request of the server's: nothing to say
                    self.send({"id": message["id"], "result": None})
            elif message["id"] == self.n_requests:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def uri(self, path):
        return (self.root / path).as_uri()

    def set_max_tokens(self, n):
        self.notify("workspace/didChangeConfiguration", {"settings": {"inline": {"maxTokens": n}}})

    def open(self, path, language, text):
        self.versions[path] = 1
        self.notify("textDocument/didOpen", {"textDocument": {
            "uri": self.uri(path), "languageId": language, "version": 1, "text": text}})

    def close(self, path):
        self.notify("textDocument/didClose", {"textDocument": {"uri": self.uri(path)}})

    def delete(self, path, text, at):
        """Take away the character before `at`; the text that is left."""
        self.versions[path] += 1
        span = {"start": position(text, at - 1), "end": position(text, at)}
        self.notify("textDocument/didChange", {
            "textDocument": {"uri": self.uri(path), "version": self.versions[path]},
            "contentChanges": [{"range": span, "text": ""}]})
        return text[:at - 1] + text[at:]

    def complete(self, path, text, at, trigger=INVOKED):
        """The item of the answer or None, what the daemon says of it, and milliseconds."""
        start = time.perf_counter()
        result = self.request("textDocument/inlineCompletion", {
            "textDocument": {"uri": self.uri(path)}, "position": position(text, at),
            "context": {"triggerKind": trigger}, "explain": True})
        ms = (time.perf_counter() - start) * 1e3
        if not result:
            raise RuntimeError("the daemon has no answer")
        return (result["items"] or [None])[0], result["inline"], ms

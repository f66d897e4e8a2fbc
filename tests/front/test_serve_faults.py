"""What clients and networks do to the daemon that they should not: it answers the others all the while, and what
they cost is given back.

Malformed messages are mutations from a fixed seed, so that a failure repeats."""

import contextlib
import json
import os
import random
import resource
import select
import signal
import socket
import time
import unittest

import slow_model
from daemon import PATIENCE, SANITIZED, DaemonTest
from front import FIXTURES

FAST = FIXTURES / "models" / "starcoder2.gguf"  # answers everything with a run of one letter

N_MALFORMED = 10000     # of each protocol
MALFORMED_SECONDS = 12  # or as many as go into this time, on slow machines
N_IDLE = 1000
RSS_SLACK = 24 << 20    # what an allocator keeps of a thousand connections

PROMPT = "<|fim_prefix|>int f(void)\n{\n    <|fim_suffix|>\n}\n<|fim_middle|>"


def http_post(path, body, headers=()):
    """A request's bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
             f"Content-Length: {len(data)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


def lsp_frame(message):
    data = message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()
    return b"Content-Length: %d\r\n\r\n" % len(data) + data


def allow_many_files():
    """Room for a thousand connections."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Mutator:
    """Bytes that are nearly right."""

    TOKENS = [b"\0", b"\r\n", b"\n", b"\r\n\r\n", b":", b"{", b"}", b"[" * 200, b'"', b"\\u0000", b"\\ud800", b"null",
              b"-1", b"1e999", b"99999999999999999999", b"0x10", b"\xff\xfe", b"\xf0\x9f", b"Content-Length: 5\r\n",
              b"Transfer-Encoding: chunked\r\n", b"%", b"..", b"/", b" HTTP/1.1", b"A" * 5000]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def mutate(self, data):
        data = bytearray(data)
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 8))):
            at = self.random.randrange(len(data) + 1)
            length = self.random.choice((1, 1, 2, 8, 40))
            kind = self.random.randrange(6)
            if kind == 0 and at < len(data):
                data[at] ^= 1 << self.random.randrange(8)
            elif kind == 1:
                del data[at : at + length]
            elif kind == 2:
                data[at:at] = self.random.choice(self.TOKENS)
            elif kind == 3:
                data[at : at + length] = self.random.choice(self.TOKENS)
            elif kind == 4:
                data[at:at] = data[at : at + length]
            elif kind == 5 and self.random.random() < 0.2:
                del data[at:]
        return bytes(data)


class FaultTest(DaemonTest):
    """A daemon whose files and memory are compared before and after."""

    def start(self, model=FAST):
        allow_many_files()
        self.daemon = self.start_daemon(model=model, preexec_fn=allow_many_files).wait_ready()
        self.answers()  # what is allocated once is allocated
        self.fds = self.n_fds()
        self.rss = self.daemon.rss_bytes()

    def start_slow(self):
        """Some milliseconds a token: a request lasts long enough to have a middle."""
        self.write_settings("[engine]\nspeculation = off\n")
        self.start(slow_model.write(FAST, self.home / "slow.gguf"))

    def n_fds(self):
        """Open files, but for the databases of completions, which are opened when they are first needed."""
        n = 0
        for fd in os.listdir(folder := f"/proc/{self.daemon.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                n += "/completions/" not in os.readlink(f"{folder}/{fd}")
        return n

    def answers(self, timeout=PATIENCE):
        """A short completion by another client, which must come within the time."""
        status, _, body = self.daemon.post("/completion", {"prompt": PROMPT, "n_predict": 2}, timeout=timeout)
        self.assertEqual(status, 200, body)

    def wait_until(self, what, is_so, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while not is_so():
            self.assertLess(time.monotonic(), deadline, f"not in time: {what}; {self.daemon.log}")
            time.sleep(0.02)

    def is_idle(self):
        return not any(slot["is_processing"] for slot in self.daemon.get("/slots")[2])

    def assert_all_is_given_back(self):
        self.assertIsNone(self.daemon.process.poll(), self.daemon.log)
        self.answers()
        self.wait_until("idle slots", self.is_idle)
        self.wait_until(f"{self.fds} files, not {self.n_fds()}", lambda: self.n_fds() <= self.fds)
        if not SANITIZED:  # which keep freed memory for a while on purpose
            self.assertLess(self.daemon.rss_bytes(), self.rss + RSS_SLACK)

    def open_sockets(self, stack, n, **kwargs):
        return [stack.enter_context(contextlib.closing(self.daemon.raw(**kwargs))) for _ in range(n)]


class Connections(FaultTest):
    def test_half_sent_requests(self):
        self.start()
        whole = http_post("/completion", {"prompt": "x", "n_predict": 1})
        with contextlib.ExitStack() as stack:
            for unix in (False, True):
                for n in (1, 4, 20, 60, len(whole) - 1):
                    self.open_sockets(stack, 4, unix=unix)[0].sendall(whole[:n])
            self.answers(timeout=10)
        self.assert_all_is_given_back()

    def test_headers_that_do_not_end_are_given_up(self):
        self.start()
        with contextlib.closing(self.daemon.raw()) as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            s.settimeout(30)
            begin = time.monotonic()
            while time.monotonic() - begin < 30:  # a byte now and then is no excuse
                with contextlib.suppress(OSError):
                    s.send(b"a")
                if select.select([s], [], [], 0.5)[0]:
                    break
            with contextlib.suppress(ConnectionError):
                self.assertIn(s.recv(4096)[:12], (b"", b"HTTP/1.1 408"))
            self.assertLess(time.monotonic() - begin, 20)
        self.assert_all_is_given_back()

    def test_a_thousand_idle_connections(self):
        self.start()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if hard < N_IDLE + 100:
            self.skipTest(f"only {hard} files may be open here")
        with contextlib.ExitStack() as stack:
            self.open_sockets(stack, N_IDLE - 10)
            begin = time.monotonic()
            self.answers(timeout=10)
            self.assertLess(time.monotonic() - begin, 5)
            if not SANITIZED:
                self.assertLess(self.daemon.rss_bytes(), self.rss + 64 * 1024 * N_IDLE)
        self.assert_all_is_given_back()

    def test_more_connections_than_there_may_be(self):
        self.start()
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1400:
            self.skipTest("too few files may be open here")
        with contextlib.ExitStack() as stack, contextlib.suppress(ConnectionError, TimeoutError):
            self.open_sockets(stack, 1300, timeout=10)
        self.assert_all_is_given_back()

    def test_resets(self):
        """Connections that end with a reset at any point of a request."""
        self.start()
        whole = http_post("/completion", {"prompt": "x", "n_predict": 4, "stream": True})
        linger_0 = b"\1\0\0\0\0\0\0\0"  # struct linger {1, 0}: close sends RST
        for i in range(200):
            s = self.daemon.raw()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_0)
            with contextlib.suppress(ConnectionError):
                s.sendall(whole[: i * len(whole) // 199])
            s.close()
        self.assert_all_is_given_back()


class Bodies(FaultTest):
    def refused(self, head, body=b""):
        """The status of an answer that comes although the body does not."""
        with contextlib.closing(self.daemon.raw(timeout=10)) as s:
            s.sendall(head)
            with contextlib.suppress(ConnectionError):
                s.sendall(body)
            with contextlib.suppress(ConnectionError):
                answer = s.recv(4096)
                self.assertTrue(answer.startswith(b"HTTP/1.1 "), answer)
                return int(answer.split()[1])
        return 0  # closed without reading what was sent: the answer may be lost with it

    def test_a_gigabyte_announced(self):
        self.start()
        head = b"POST /infill HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n"
        self.assertEqual(self.refused(head), 413)
        self.assertEqual(self.refused(head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")), 413)
        self.assertIn(self.refused(head, b"x" * (4 << 20)), (413, 0))
        self.assertIn(self.refused(head.replace(b"1073741824", b"9" * 30)), (400, 413))
        self.assertIn(self.refused(head.replace(b"1073741824", b"-1")), (400, 413))
        self.assert_all_is_given_back()

    def test_chunks_without_end(self):
        self.start()
        head = b"POST /infill HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        self.assertIn(self.refused(head, chunk * 24), (413, 0))
        self.assert_all_is_given_back()

    def test_long_headers(self):
        self.start()
        for head in (b"GET /" + b"a" * 100000, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000,
                     b"GET / HTTP/1.1\r\nX: " + b"z" * 100000):
            self.assertIn(self.refused(head + b"\r\n\r\n"), (400, 414, 431, 0))
        self.assert_all_is_given_back()

    def test_deep_json(self):
        self.start()
        for body in (b"[" * 100000, b'{"a":' * 50000, b'{"prompt":' + b"[" * 50000 + b"]" * 50000 + b"}"):
            status, _, _ = self.daemon.post("/completion", body)
            self.assertEqual(status, 400)
        self.assert_all_is_given_back()


class Streams(FaultTest):
    LONG = {"prompt": PROMPT, "n_predict": 3800, "stream": True}  # many seconds, if not stopped

    def begin_stream(self, **changes):
        """A connection on which an answer has begun to come."""
        s = self.daemon.raw()
        s.sendall(http_post("/completion", {**self.LONG, **changes}))
        self.assertTrue(s.recv(64).startswith(b"HTTP/1.1 200"))
        return s

    def test_disconnecting_in_the_middle_frees_the_engine(self):
        self.start_slow()
        for _ in range(3):
            s = self.begin_stream()
            self.assertFalse(self.is_idle())
            s.close()
            self.wait_until("the engine is free", self.is_idle, timeout=2)
        self.assert_all_is_given_back()

    def test_disconnecting_before_the_answer_frees_the_engine(self):
        self.start_slow()
        for path, body in (("/completion", {**self.LONG, "stream": False}),
                           ("/v1/completions", {"prompt": PROMPT, "max_tokens": 3800}),
                           ("/api/generate", {"prompt": PROMPT, "raw": True, "options": {"num_predict": 3800}})):
            s = self.daemon.raw()
            s.sendall(http_post(path, body))
            self.wait_until(f"{path} runs", lambda: not self.is_idle())
            s.close()
            self.wait_until(f"{path} is over", self.is_idle, timeout=2)
        self.assert_all_is_given_back()

    def test_readers_that_do_not_read_hold_nobody_up(self):
        self.start_slow()
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                s = stack.enter_context(contextlib.closing(socket.socket()))
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.connect((self.daemon.host, self.daemon.port))
                s.sendall(http_post("/completion", self.LONG))
            self.wait_until("they run", lambda: not self.is_idle())
            for _ in range(5):
                self.answers(timeout=10)
        self.wait_until("the engine is free", self.is_idle, timeout=2)
        self.assert_all_is_given_back()

    def test_slow_reader_gets_everything(self):
        self.start()
        with contextlib.closing(self.begin_stream(n_predict=200)) as s:
            text = b""
            while b"[DONE]" not in text and b'"stop":true' not in text:
                piece = s.recv(50)
                self.assertTrue(piece, text)
                text += piece
                time.sleep(0.0002)
        self.assert_all_is_given_back()


class Malformed(FaultTest):
    def seconds_left(self):
        self.deadline = getattr(self, "deadline", None) or time.monotonic() + MALFORMED_SECONDS
        return self.deadline - time.monotonic()

    def http_seeds(self):
        infill = {"input_prefix": "int f(", "input_suffix": ")\n", "prompt": "", "n_predict": 4, "stop": ["\n"],
                  "input_extra": [{"text": "x", "filename": "y.c"}], "samplers": ["top_k"], "t_max_predict_ms": 5,
                  "response_fields": ["content", "timings/prompt_n"]}
        return [
            http_post("/infill", infill),
            http_post("/completion", {"prompt": [40, 41, "x"], "n_predict": 4, "stream": True}),
            http_post("/v1/completions", {"prompt": "x", "suffix": "y", "max_tokens": 4, "n": 2, "stop": "q"}),
            http_post("/v1/completions", {"language": "c", "segments": {"prefix": "a", "suffix": "b"}}),
            http_post("/v1/fim/completions", {"prompt": "x", "suffix": "y", "max_tokens": 2, "stream": True}),
            http_post("/api/generate", {"prompt": "x", "suffix": "y", "options": {"num_predict": 2}}),
            http_post("/tokenize", {"content": "int main", "with_pieces": True}),
            http_post("/detokenize", {"tokens": [1, 2, 3]}),
            http_post("/v1/events", {"type": "view", "completion_id": "c", "choice_index": 0}),
            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
            b"GET /props?x=%41 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \r\n\r\n",
            b"POST /infill HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            b"GET /lsp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: lsp\r\n\r\n",
        ]

    def exchange(self, data):
        """Send, and read until the daemon closes or has nothing more to say."""
        with contextlib.closing(self.daemon.raw(timeout=5)) as s:
            answer = b""
            with contextlib.suppress(ConnectionError):
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while piece := s.recv(65536):
                    answer += piece
            return answer

    def test_http(self):
        self.start()
        mutator, seeds = Mutator(1), self.http_seeds()
        for i in range(N_MALFORMED):
            data = mutator.mutate(seeds[i % len(seeds)])
            try:
                answer = self.exchange(data)
            except TimeoutError:
                self.fail(f"message {i} is neither answered nor closed after its end: {data!r}")
            self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1."), (data, answer))
            if self.seconds_left() < 0:
                break
        self.assert_all_is_given_back()

    def lsp_seeds(self):
        document = {"uri": "file:///a.c", "languageId": "c", "version": 1, "text": "int f(\u00e9)\n{\n    \n}\n"}
        place = {"textDocument": {"uri": "file:///a.c"}, "position": {"line": 2, "character": 4}}
        edit = {"range": {"start": {"line": 0, "character": 1}, "end": {"line": 1, "character": 0}}, "text": "x\n"}
        item = {"insertText": "x", "command": {"command": "inline.accept", "arguments": [1]}}
        return [json.dumps({"jsonrpc": "2.0", **message}).encode() for message in (
            {"method": "textDocument/didOpen", "params": {"textDocument": document}},
            {"method": "textDocument/didChange", "params": {"textDocument": {"uri": "file:///a.c", "version": 2},
                                                             "contentChanges": [edit]}},
            {"id": 7, "method": "textDocument/inlineCompletion", "params": {**place, "context": {"triggerKind": 1}}},
            {"id": "x", "method": "textDocument/completion", "params": place},
            {"method": "$/cancelRequest", "params": {"id": 7}},
            {"id": 8, "method": "workspace/executeCommand", "params": {"command": "x", "arguments": [{"a": []}]}},
            {"method": "workspace/didChangeConfiguration", "params": {"settings": {"inline": {"a": 1}}}},
            {"method": "textDocument/didShowCompletion", "params": {"item": item}},
            {"method": "textDocument/didPartiallyAcceptCompletion", "params": {"item": item, "acceptedLength": 1}},
            {"method": "textDocument/didClose", "params": {"textDocument": {"uri": "file:///a.c"}}},
        )]

    def open_session(self):
        s = self.daemon.raw(unix=True, timeout=5)
        s.sendall(b"GET /lsp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: lsp\r\n\r\n")
        self.assertTrue(s.recv(12) == b"HTTP/1.1 101")
        s.sendall(lsp_frame({"id": 0, "method": "initialize", "params": {"processId": None, "rootUri": None,
                                                                          "capabilities": {}}}))
        s.sendall(lsp_frame({"method": "initialized", "params": {}}))
        return s

    def end_session(self, session):
        """The daemon reads what was sent to its end, and closes."""
        with contextlib.closing(session), contextlib.suppress(ConnectionError):
            session.shutdown(socket.SHUT_WR)
            while session.recv(65536):
                pass

    def test_lsp(self):
        self.start()
        mutator, seeds = Mutator(2), self.lsp_seeds()
        session = None
        for i in range(N_MALFORMED):
            if i % 50 == 0:
                if session:
                    self.end_session(session)
                session = self.open_session()
            message = seeds[i % len(seeds)]
            # Mostly in good frames, or nothing would come further than to the first wrong length.
            data = lsp_frame(mutator.mutate(message)) if i % 50 < 45 else mutator.mutate(lsp_frame(message))
            with contextlib.suppress(ConnectionError):  # it may have given this session up
                session.sendall(data)
            if self.seconds_left() < 0:
                break
        self.end_session(session)
        self.assert_all_is_given_back()


class Killed(FaultTest):
    def test_restart_after_kill(self):
        self.start()
        port, fds, rss = self.daemon.port, self.fds, self.rss
        s = self.daemon.raw()
        s.sendall(http_post("/completion", {"prompt": PROMPT, "n_predict": 200, "stream": True}))
        self.daemon.signal(signal.SIGKILL)
        self.daemon.wait()
        s.close()
        self.assertTrue(self.socket_path.exists(), "a killed daemon leaves its socket")
        self.daemon = self.start_daemon(model=FAST, listen=f"127.0.0.1:{port}",
                                        preexec_fn=allow_many_files).wait_ready()
        self.assertEqual(self.daemon.port, port)
        self.answers()
        self.assertEqual(self.daemon.get("/health", unix=True)[0], 200)
        self.fds, self.rss = fds, rss
        self.assert_all_is_given_back()


if __name__ == "__main__":
    unittest.main()

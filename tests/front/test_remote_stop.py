"""An answer from another machine that nobody wants any more: how soon its server is told, as measured there."""

import json
import socket
import statistics
import time
import unittest

from daemon import SANITIZED
from editor import INLINE
from remote_world import PREFIX, SUFFIX, RemoteTest

CLOSE_MS = 50  # a stream that nobody wants is closed by then, as the server sees it
N_CLOSED = 20


class Stopping(RemoteTest):
    """A stream that nobody wants any more ends at the server within CLOSE_MS: it stops to compute."""

    def setUp(self):
        super().setUp()
        self.took = []

    def start_slow(self, api):
        """A server that has begun to answer, and would go on for a minute."""
        self.server = self.add_server(api=api, model="qwen2.5-coder:7b", token_ms=30, n_tokens=2000)
        self.start_remote(self.server)

    def wait_begun(self, n_done):
        """Until the next answer has begun."""
        self.server.wait_until(lambda state: len(state["completions"]) == n_done + 1
                               and state["completions"][n_done]["first"])

    def note(self, number, since):
        state = self.server.wait_until(lambda state: state["completions"][number]["ended"])
        completion = state["completions"][number]
        self.assertIsNotNone(completion["closed_at"], completion)
        self.took.append((completion["closed_at"] - since) * 1e3)

    def check(self):
        self.assertEqual(len(self.took), N_CLOSED)
        median, most = statistics.median(self.took), max(self.took)
        print(f"{self.id().rpartition('.')[2]}: closed after {median:.1f} ms, at most {most:.1f} ms", flush=True)
        if not SANITIZED:
            self.assertLess(most, CLOSE_MS)

    def send_infill(self, number, typed=""):
        connection = self.daemon.connection()
        body = self.infill_body(number, typed, n_predict=2000, id_slot=1, filename="a.c", user="u")
        connection.request("POST", "/infill", json.dumps(body), {"Content-Type": "application/json"})
        return connection

    def test_superseded(self):
        self.start_slow("openai")
        connections = [self.send_infill(1)]
        for i in range(N_CLOSED):
            self.wait_begun(i)
            since = time.monotonic()
            connections.append(self.send_infill(1, typed=f"x{'x' * i}"))
            self.note(i, since)
            self.assertTrue(self.finish(connections[i]).body.get("superseded"))
        connections[-1].close()
        self.check()

    def test_hung_up(self):
        for api in ("llama", "ollama"):
            self.took = []
            self.start_slow(api)
            for i in range(N_CLOSED):
                connection = self.send_infill(i)
                self.wait_begun(i)
                since = time.monotonic()
                connection.sock.shutdown(socket.SHUT_RDWR)
                connection.close()
                self.note(i, since)
            self.check()
            self.daemon.stop()

    def test_typed_on_in_an_editor(self):
        self.start_slow("openai")
        editor = self.connect(self.daemon)
        editor.start(INLINE)
        editor.open(PREFIX.format(1) + SUFFIX)
        request = editor.ask("textDocument/inlineCompletion", editor.place(4, 11, 1))
        for i in range(N_CLOSED):
            self.wait_begun(i)
            place = {"line": 4, "character": 11 + i}
            since = time.monotonic()
            editor.change(2 + i, {"range": {"start": place, "end": place}, "text": "z"})
            self.note(i, since)
            self.assertIsNone(editor.answer(request)["result"])
            request = editor.ask("textDocument/inlineCompletion", editor.place(4, 12 + i, 1))
        self.check()

    def test_cancelled_by_an_editor(self):
        self.start_slow("llama")
        editor = self.connect(self.daemon)
        editor.start(INLINE)
        editor.open(PREFIX.format(1) + SUFFIX)
        for i in range(N_CLOSED):
            request = editor.ask("textDocument/inlineCompletion", editor.place(4, 11, 1))
            self.wait_begun(i)
            since = time.monotonic()
            editor.notify("$/cancelRequest", {"id": request})
            self.note(i, since)
        self.check()

    def test_before_the_first_token(self):
        self.start_slow("openai")
        self.server.set(first_ms=20000)
        for i in range(N_CLOSED):
            connection = self.send_infill(i)
            self.server.wait_until(lambda state, n=i: len(state["completions"]) == n + 1)
            since = time.monotonic()
            connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
            self.note(i, since)
        self.check()


if __name__ == "__main__":
    unittest.main()

"""Servers elsewhere that are late or gone: a local model in their place, clear errors, recovery, and what is shown of
them."""

import json
import time
import unittest

from daemon import SANITIZED
from editor import INLINE
from front import FIXTURES
from remote_world import PREFIX, QWEN, SUFFIX, RemoteTest, right


class Fallback(RemoteTest):
    """A local model in place of servers that are late or gone."""

    LOCAL = FIXTURES / "models" / "qwen2.gguf"

    def setUp(self):
        super().setUp()
        self.install("small", self.LOCAL)

    def local_answer(self, number):
        self.start("small").wait_ready()
        text = self.infill(number).text
        self.assertEqual(self.daemon.stop(), 0)
        return text

    def start_both(self, *servers, **kwargs):
        self.start_remote(*servers, instant="small", **kwargs).wait_ready()
        self.wait_state("small", "ready")

    def test_late(self):
        """The instant model answers after remote.patience_ms, and says so; the server goes on for the caches."""
        local = self.local_answer(1)
        self.assertNotEqual(local, right(1))
        server = self.add_server(model=QWEN)
        self.start_both(server, patience_ms=200, env={"INLINE_CACHE_MEMORY_MB": "8"})
        self.infill(0)
        server.set(first_ms=1500)
        server.reset()
        begin = time.monotonic()
        answer = self.infill(1)
        took = time.monotonic() - begin
        self.assertEqual(answer.text, local, self.daemon.log)
        self.assertIn("gpu", self.fallback(answer))
        self.assertGreater(took, 0.19)
        if not SANITIZED:
            self.assertLess(took, 1.0)
        server.wait_until(lambda state: state["completions"] and state["completions"][0]["ended"])
        self.assertIsNone(server.completions[0]["closed_at"])
        deadline = time.monotonic() + 10
        while (answer := self.infill(1)).text != right(1):
            self.assertLess(time.monotonic(), deadline, answer.body)
            time.sleep(0.05)
        self.assertEqual((self.fallback(answer), answer.body["inline"]["cache"]), ("", "memory"))
        self.assertEqual(len([c for c in server.completions if c["key"] == "hole_1"]), 1)

    def test_in_time(self):
        server = self.add_server(model=QWEN, first_ms=20, token_ms=100)
        self.start_both(server, patience_ms=400)
        answer = self.infill(1)
        self.assert_right(answer, 1)
        self.assertEqual(self.fallback(answer), "")

    def test_gone(self):
        """Servers that are down cost nobody any patience."""
        local = self.local_answer(1)
        server = self.add_server(model=QWEN, fault="refuse")
        self.start_both(server, patience_ms=20000)
        for priority in ("typing", "asked"):
            begin = time.monotonic()
            answer = self.infill(1, priority=priority)
            self.assertEqual(answer.text, local, f"{answer.body} {self.daemon.log}")
            self.assertIn(f"127.0.0.1:{server.port}", self.fallback(answer))
            self.assertLess(time.monotonic() - begin, 5)
        self.assertGreaterEqual(self.metric("inline_remote_fallbacks_total"), 2)

    def test_told_by_the_command(self):
        server = self.add_server(model=QWEN, fault="refuse")
        self.start_both(server, patience_ms=100)
        path = self.home / "f.c"
        path.write_text(PREFIX.format(1) + SUFFIX)
        shown = self.succeeds("complete", path, "--line", 5, "--column", 12)
        self.assertIn("small answered instead: ", shown.err)
        self.assertIn(f"127.0.0.1:{server.port}", shown.err)
        answer = json.loads(self.succeeds("complete", path, "--line", 5, "--column", 12, "--json").out)
        self.assertEqual(answer["model"], "small")
        self.assertIn(f"127.0.0.1:{server.port}", answer["fallback"])

    def test_recovery(self):
        server = self.add_server(model=QWEN, fault="refuse")
        self.start_both(server, patience_ms=300)
        self.assertNotEqual(self.fallback(self.infill(1)), "")
        server.set(fault=None)
        deadline = time.monotonic() + 20
        while self.fallback(answer := self.infill(1)):
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.1)
        self.assert_right(answer, 1)

    def test_raw_prompts_are_for_one_model(self):
        server = self.add_server(model=QWEN, fault="refuse")
        self.start_both(server, patience_ms=100)
        self.assert_refused(self.ask("gpu", "x"), f"127.0.0.1:{server.port}")


class Down(RemoteTest):
    def test_all_servers(self):
        """A clear error, soon, that names a server."""
        servers = [self.add_server(model=QWEN, fault="refuse") for _ in range(3)]
        self.start_remote(*servers, timeout_ms=3000)
        for _ in range(3):
            begin = time.monotonic()
            answer = self.infill(1)
            self.assertLess(time.monotonic() - begin, 4)
            self.assert_refused(answer)
            self.assertTrue(any(f"127.0.0.1:{s.port}" in answer.error for s in servers), answer.error)
        servers[1].set(fault=None)
        deadline = time.monotonic() + 20
        while (answer := self.infill(2)).status != 200:
            self.assertLess(time.monotonic(), deadline, answer.error)
            time.sleep(0.1)
        self.assert_right(answer, 2)

    def test_by_an_editor(self):
        """Whoever types is not disturbed: null or nothing, and a line in the log."""
        server = self.add_server(model=QWEN, fault="refuse")
        editor = self.connect(self.start_remote(server))
        editor.start(INLINE)
        editor.open(PREFIX.format(1) + SUFFIX)
        answer = editor.answer(editor.ask("textDocument/inlineCompletion", editor.place(4, 11, 2)))
        self.assertFalse((answer.get("result") or {}).get("items"))
        server.set(fault=None)
        deadline = time.monotonic() + 20
        while not (items := self.items(editor)):
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.1)
        self.assertEqual(items[0]["insertText"], right(1))

    @staticmethod
    def items(editor):
        """What is suggested to who asks for it; none where that fails."""
        answer = editor.answer(editor.ask("textDocument/inlineCompletion", editor.place(4, 11, 1)))
        return (answer.get("result") or {}).get("items")

    def test_a_wrong_model(self):
        server = self.add_server(model=QWEN)
        self.start_remote(server, section={"model": "not-there"})
        self.assert_refused(self.infill(1), "not-there", QWEN)

    def test_another_api(self):
        """Told which one the server speaks, where that can be told."""
        server = self.add_server(api="ollama", model="qwen2.5-coder:7b")
        self.start_remote(server, section={"api": "llama"})
        self.assert_refused(self.infill(1), f"127.0.0.1:{server.port}")

    def test_the_daemon_ends_while_requests_run(self):
        server = self.add_server(model=QWEN, fault="hang")
        self.start_remote(server)
        connections = []
        for i in range(5):
            connection = self.daemon.connection()
            connection.request("POST", "/infill", json.dumps(self.infill_body(i, user=f"u{i}")))
            connections.append(connection)
        server.wait_until(lambda state: state["under_way"] > 0)
        begin = time.monotonic()
        self.assertEqual(self.daemon.stop(), 0)
        self.assertLess(time.monotonic() - begin, 15)
        for connection in connections:
            connection.close()


class Shown(RemoteTest):
    def test_status_and_metrics(self):
        good, bad = self.add_server(model=QWEN), self.add_server(model=QWEN, fault="refuse")
        self.start_remote(good, bad)
        for i in range(12):
            self.assert_right(self.infill(i, user=f"u{i}"), i)
        model = self.model_status("gpu")
        self.assertEqual((model["api"], model["remote_model"], model["role"]), ("openai", QWEN, "main"))
        up, down = self.server_status(good), self.server_status(bad)
        self.assertEqual((up["state"], up["failed"], up["error"], up["running"]), ("up", 0, "", 0))
        self.assertEqual(up["connections"], good.state()["connections"])
        self.assertEqual((down["state"] == "up", down["failed"] > 0, down["error"] != ""), (False, True, True))
        self.assertEqual((self.server_metric("inline_remote_up", good), self.server_metric("inline_remote_up", bad)),
                         (1, 0))
        self.assertEqual(self.server_metric("inline_remote_failures_total", good), 0)
        self.assertGreaterEqual(self.server_metric("inline_remote_failures_total", bad), 1)
        self.assertGreaterEqual(self.server_metric("inline_remote_requests_total", good), 12)
        text = self.succeeds("status").out
        for server in (good, bad):
            self.assertIn(f"127.0.0.1:{server.port}", text)

    def test_many_series_are_not_made(self):
        server = self.add_server(model=QWEN)
        self.start_remote(server)
        self.assert_right(self.infill(1), 1)
        text = self.daemon.get("/metrics")[2]
        self.assertEqual(text.count("inline_remote_up{"), 1)


if __name__ == "__main__":
    unittest.main()

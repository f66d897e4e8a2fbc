"""inline status, inline model load and unload: the running daemon, seen and steered from the command line."""

import json
import os
import re
import unittest

from daemon import DaemonTest
from front import FIXTURES

MODEL = FIXTURES / "models" / "qwen2.gguf"  # of random weights; it has FIM tokens


class WithoutDaemon(DaemonTest):
    def test_status(self):
        self.fails("status", says=["no daemon is running", "inline serve"])
        self.fails("status", "--json", says="no daemon is running")
        self.fails("status", "x", status=2, says="takes no arguments")

    def test_load(self):
        self.fails("model", "load", "x", says="no daemon is running")
        self.fails("model", "unload", "x", says="no daemon is running")
        self.fails("model", "load", status=2, says="one NAME")
        self.fails("model", "unload", "a", "b", status=2, says="one NAME")


class WithDaemon(DaemonTest):
    def setUp(self):
        super().setUp()
        self.env["INLINE_CACHE_PREFETCH"] = "off"  # what is computed ahead would be counted too
        self.daemon = self.start_daemon(model=MODEL).wait_ready()

    def status(self):
        return json.loads(self.succeeds("status", "--json").out)

    def model(self):
        return self.status()["models"][0]

    def test_json(self):
        status = self.status()
        self.assertEqual(status["pid"], self.daemon.pid)
        self.assertEqual(status["running"], 0)
        model = status["models"][0]
        self.assertEqual((model["name"], model["state"], model["role"]), ("qwen2", "ready", "main"))
        self.assertEqual(model["loads"], 1)
        self.assertEqual(model["bytes"], MODEL.stat().st_size)
        self.assertGreater(model["weight_bytes"], 0)
        memory = status["memory"]
        self.assertAlmostEqual(memory["rss_bytes"], self.daemon.rss_bytes(), delta=20_000_000)
        self.assertGreaterEqual(memory["rss_bytes"], memory["anon_bytes"])
        parts = memory["parts"]
        self.assertEqual(set(parts), {"weights", "packs", "kv", "completions", "documents", "heap", "other"})
        self.assertAlmostEqual(sum(parts.values()), memory["rss_bytes"], delta=0.05 * memory["rss_bytes"])
        self.assertGreater(memory["max_bytes"], memory["rss_bytes"])
        governor = status["governor"]
        self.assertGreaterEqual(governor["orders"]["threads"], 1)
        self.assertIsInstance(governor["events"], list)
        self.assertIn("memory", status["caches"]["levels"])

    def test_text(self):
        out = self.succeeds("status").out
        self.assertIn(f"process {self.daemon.pid}", out)
        self.assertRegex(out, r"(?m)^  qwen2 +ready +main ")
        for section in ("models", "memory", "processors", "caches"):
            self.assertRegex(out, rf"(?m)^{section}$")

    def test_requests_are_counted(self):
        before = self.status()["caches"]["answers"]
        status, _, body = self.daemon.post("/infill", {"input_prefix": "int a = ", "input_suffix": ";", "n_predict": 4})
        self.assertEqual(status, 200, body)
        self.assertEqual(self.status()["caches"]["answers"], before + 1)
        self.assertGreaterEqual(self.model()["kv_bytes"], 0)

    def ask(self, text):
        status, _, body = self.daemon.post("/infill", {"input_prefix": text, "input_suffix": ";", "n_predict": 4})
        self.assertEqual(status, 200, body)

    def test_figures(self):
        self.assertIn("nothing was asked", self.succeeds("status").out)
        for i in range(3):
            self.ask(f"int a{i} = ")
        self.ask("int a2 = ")  # from the cache
        self.assertEqual(self.daemon.post("/completion", {"prompt": [10**6]})[0], 400)  # no such token
        figures = self.status()["figures"]
        self.assertEqual(list(figures), ["1m", "15m", "24h", "all"])
        for window in figures.values():
            seconds = window["inline_request_seconds"]
            self.assertEqual((seconds["computed"]["n"], seconds["cached"]["n"]), (3, 1))
            self.assertLessEqual(seconds["computed"]["p50"], seconds["computed"]["p95"])
            self.assertEqual(window["inline_cache_hits_total"]["memory"]["n"], 1)
        out = self.succeeds("status").out
        self.assertRegex(out, r"(?m)^last quarter of an hour$")
        self.assertRegex(out, r"(?m)^  requests +5, errors 1 \(20 %\); target at most 5.0 %: missed$")
        self.assertRegex(out, r"(?m)^  cached +1: p50 [\d.]+ ms, p95 [\d.]+ ms; target p50 at most 100 ms: met")
        self.assertRegex(out, r"(?m)^  computed +3: p50 \S+ m?s, p95 \S+ m?s; target p50 at most 500 ms: (met|missed)$")
        self.assertRegex(out, r"(?m)^  time +(\w+ [\d.]+ %, )*decode [\d.]+ %")
        self.assertRegex(out, r"(?m)^  hit rate +25 %; target at least 80 %: missed$")
        self.assertRegex(out, r"(?m)^  found +memory 1 \(100 %\)$")
        self.assertRegex(out, r"(?m)^  prompts +.*computed \d+ \(\d+ %\)")

    def test_metrics(self):
        """Every metric of GET /metrics has a line with its help, and the value that is there."""
        self.ask("int a = ")
        out = self.succeeds("status", "--metrics").out
        exposition = self.daemon.get("/metrics")[2]
        helps = dict(re.findall(r"(?m)^# HELP (\S+) (.*)$", exposition))
        shown = [name for name in helps if re.search(rf"(?m)^{name} ", out)]
        self.assertGreater(len(shown), 40)
        for name in shown:
            self.assertIn(f"\n  # {helps[name]}\n", out)
        self.assertRegex(out, r"(?m)^inline_requests_total +requests, by outcome$")
        self.assertRegex(out, r"(?m)^  outcome=ok +1 requests$")
        self.assertRegex(out, r"(?m)^  answer=computed +1 times, p50 [\d.]+ m?s, p95 [\d.]+ m?s$")
        self.assertRegex(out, r"(?m)^inline_models_loaded +1 models$")
        self.assertRegex(out, r"(?m)^inline_model_unloads_total +0 models$")
        self.assertRegex(out, r"(?m)^process_resident_memory_bytes +[\d.]+ [MG]B$")
        columns = {m.start(1) - m.start() for m in re.finditer(r"(?m)^(?:inline|process)\S+ +(\S)", out)}
        self.assertEqual(len(columns), 1, "values are aligned")

    def test_unload_and_load(self):
        self.assertIn("qwen2 is not loaded", self.succeeds("model", "unload", "qwen2").out)
        model = self.model()
        self.assertEqual(model["state"], "installed")
        self.assertEqual(model["weight_bytes"], 0)
        # The beginning of a name will do.
        self.assertRegex(self.succeeds("model", "load", "qwe").out, r"^qwen2 is loaded \(.*, in \d+ ms\)\n$")
        model = json.loads(self.succeeds("model", "load", "qwen2", "--json").out)
        self.assertEqual((model["state"], model["loads"]), ("ready", 2))
        self.fails("model", "load", "other", says='no model "other"')

    def test_http(self):
        self.assertEqual(self.daemon.post("/models/unload", {"model": "qwen2"})[0], 403)
        status, _, body = self.daemon.request("POST", "/models/unload", {"model": "qwen2"}, unix=True)
        self.assertEqual((status, body), (200, {"success": True}))
        self.assertEqual(self.daemon.request("POST", "/models/load", {"model": "x"}, unix=True)[0], 404)
        self.assertEqual(self.daemon.request("POST", "/models/load", {"model": "qwen2"}, unix=True)[0], 200)
        self.daemon.wait_ready()

    def test_load_fails(self):
        path = self.home / "broken.gguf"
        path.write_bytes(MODEL.read_bytes())
        self.assertEqual(self.daemon.stop(), 0)
        self.daemon = self.start_daemon(model=path).wait_ready()
        self.succeeds("model", "unload", "broken")
        os.truncate(path, 1000)
        self.fails("model", "load", "broken", says="broken.gguf")
        self.assertEqual(self.model()["state"], "failed")
        self.assertIn("broken.gguf", self.succeeds("status").out)


if __name__ == "__main__":
    unittest.main()

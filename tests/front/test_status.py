"""inline status, inline model load and unload: the running daemon, seen and steered from the command line."""

import json
import os
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
        self.daemon = self.start_daemon(model=MODEL).wait_ready()

    def status(self):
        return json.loads(self.succeeds("status", "--json").out)

    def model(self):
        return self.status()["models"][0]

    def test_json(self):
        status = self.status()
        self.assertEqual(status["pid"], self.daemon.pid)
        self.assertEqual(status["requests"], 0)
        model = status["models"][0]
        self.assertEqual((model["name"], model["state"], model["role"]), ("qwen2", "ready", "main"))
        self.assertEqual(model["loads"], 1)
        self.assertEqual(model["bytes"], MODEL.stat().st_size)
        self.assertGreater(model["weight_bytes"], 0)
        memory = status["memory"]
        self.assertAlmostEqual(memory["rss_bytes"], self.daemon.rss_bytes(), delta=20_000_000)
        self.assertGreaterEqual(memory["rss_bytes"], memory["anon_bytes"])
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

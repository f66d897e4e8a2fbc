"""`inline bench targets`: every target has a figure or a reason, and nothing is left behind."""

import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

from front import FIXTURES, PROGRAM, FrontTest

MODEL = FIXTURES / "models" / "qwen2.gguf"
OF_SMALL = {"completion_cached", "completion_fresh", "load_small", "context", "cache_operation", "memory_small",
            "cpu_active"}
OF_LARGE = {"load_large", "memory_large"}
OF_NONE = {"memory_base", "cache_size", "cpu_idle", "cpu_background"}


class TargetsTest(FrontTest):
    def processes(self):
        """Command lines of processes that know of this test's home."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if str(self.home) in (entry / "cmdline").read_bytes().decode("utf-8", "replace"):
                    found.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
        return found

    def files(self):
        """What is in the home, without packed weights, which are the user's."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*")
                      if path.is_file() and path.parent.name != "packs")

    def measure(self, *args, status=0, **kwargs):
        result = self.run_inline("bench", "targets", "--quick", "--json", *args, timeout=110, **kwargs)
        self.assertEqual(result.status, status, result)
        report = json.loads(result.out)
        return report, {target["name"]: target for target in report["targets"]}

    def check(self, report, targets):
        self.assertEqual(set(targets), OF_SMALL | OF_LARGE | OF_NONE)
        self.assertGreaterEqual(report["processors"], 1)
        for name, target in targets.items():
            self.assertGreater(target["limit"], 0, name)
            self.assertIn(target["unit"], ("ms", "MB", "%"))
            if target["measured"]:
                self.assertGreaterEqual(target["figure"], 0, name)
                self.assertEqual(target["passes"], target["figure"] < target["limit"], name)
                self.assertNotIn("why", target)
            else:
                self.assertTrue(target["why"], name)
                self.assertNotIn("passes", target)

    def test_without_a_model(self):
        report, targets = self.measure()
        self.check(report, targets)
        self.assertIsNone(report["small"])
        for name in OF_SMALL | OF_LARGE:
            self.assertFalse(targets[name]["measured"], name)
        for name in OF_NONE:
            self.assertTrue(targets[name]["measured"], name)
        self.assertLess(targets["memory_base"]["figure"], 100)
        self.assertEqual(self.files(), [])
        self.assertEqual(self.processes(), [])

    def test_with_models(self):
        # What the user set holds; what would reach others does not.
        self.write_settings("[cache]\ndisk_mb = 64\nteam = redis://127.0.0.1:1/0\n[alerts]\ncommand = touch "
                            f"{self.home}/alerted\n")
        before = self.files()
        report, targets = self.measure(MODEL, "--large", MODEL)
        self.check(report, targets)
        for name in OF_SMALL | OF_LARGE | OF_NONE:
            self.assertTrue(targets[name]["measured"], targets[name])
        cached, fresh = targets["completion_cached"], targets["completion_fresh"]
        self.assertGreater(cached["details"]["p50"], 0)
        self.assertLessEqual(cached["details"]["p99 in the daemon"], cached["figure"])
        self.assertGreater(fresh["details"]["tokens"], 1)
        self.assertGreater(targets["load_small"]["figure"], targets["load_small"]["details"]["loading alone"])
        self.assertAlmostEqual(targets["cache_size"]["figure"], 16 + 64 + 192, delta=1)
        self.assertGreater(targets["cache_size"]["details"]["in use after this"], 0)
        for level in ("memory p99", "disk p99", "project p99"):
            self.assertGreater(targets["cache_operation"]["details"][level], 0)
        self.assertGreater(targets["memory_small"]["details"]["KV of it"], 0)
        self.assertGreater(targets["cpu_background"]["figure"], 0)
        self.assertEqual(self.files(), before)
        self.assertEqual(self.processes(), [])

    def test_interrupted(self):
        run = subprocess.Popen([PROGRAM, "bench", "targets", MODEL], env=self.env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not self.processes() and time.monotonic() < deadline:  # its daemon
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=30)
        self.assertEqual((run.returncode, err), (1, b"inline: interrupted\n"))
        self.assertEqual(self.files(), [])
        self.assertEqual(self.processes(), [])

    def test_bad_arguments(self):
        self.fails("bench", "targets", "a", "b", status=2, says="one model")
        self.fails("bench", "targets", "nothing-of-this-name", "--quick", status=1, says="nothing-of-this-name")


if __name__ == "__main__":
    unittest.main()

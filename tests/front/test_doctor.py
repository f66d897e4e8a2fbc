"""inline doctor and inline model recommend: what they find in homes of different states."""

import json
import os
import resource
import shutil
import unittest

from daemon import SANITIZED, DaemonTest
from front import FIXTURES

MODEL = FIXTURES / "models" / "qwen2.gguf"  # of random weights; it has FIM tokens


class DoctorTest(DaemonTest):
    def doctor(self, status, *args, **kwargs):
        result = self.run_inline("doctor", "--json", *args, **kwargs)
        self.assertEqual(result.status, status, result)
        return json.loads(result.out)

    def found(self, report, name, level=None):
        """The texts of all findings of this name and level."""
        return [c["text"] + " " + c["advice"] for c in report["checks"]
                if c["name"] == name and (level is None or c["level"] == level)]


class Doctor(DoctorTest):
    def test_nothing_is_installed(self):
        report = self.doctor(1)
        self.assertEqual(report["problems"], 1)
        self.assertRegex(self.found(report, "model", "problem")[0], "no model is installed.*inline model recommend")
        for name in ("graphics", "processors", "memory", "power", "disk", "settings", "daemon", "editors"):
            self.assertTrue(self.found(report, name), f"{name}: {report}")
        self.assertIn("none runs", self.found(report, "daemon")[0])
        self.assertGreater(len(report["recommendation"]["models"]), 5)

    def test_text(self):
        result = self.run_inline("doctor")
        self.assertEqual(result.status, 1, result)
        self.assertRegex(result.out, r"(?m)^problem  model  +no model is installed")
        self.assertRegex(result.out, r"(?m)^ +-> inline model recommend")
        self.assertRegex(result.out, r"Recommended: \S+|No model of the catalogue fits")

    def test_model(self):
        self.succeeds("model", "import", MODEL)
        report = self.doctor(0)
        self.assertTrue(any("qwen2" in text for text in self.found(report, "model", "ok")), report)
        self.assertEqual(report["problems"], 0)

    def test_broken_model(self):
        self.models.mkdir(parents=True)
        (self.models / "broken.gguf").write_bytes(MODEL.read_bytes()[:1000])
        report = self.doctor(1)
        self.assertIn("broken.gguf", self.found(report, "model", "problem")[0])

    def test_settings(self):
        self.write_settings("[models]\nmain = nothing\ninstant = neither\n[engine]\nisa = ref\n")
        report = self.doctor(1)
        problems = self.found(report, "model", "problem")
        self.assertEqual(len(problems), 2)
        self.assertIn("nothing", problems[0])
        self.assertIn("neither", problems[1])
        self.assertEqual(len(self.found(report, "processors", "warning")), 1)
        self.write_settings("[models]\nmian = x\n")
        self.fails("doctor", status=2, says=["inline.conf:2", "models.main"])

    def test_daemon(self):
        path = self.home / "gone.gguf"
        shutil.copy(MODEL, path)
        daemon = self.start_daemon(model=path).wait_ready()
        report = self.doctor(0, "--model", MODEL)
        self.assertIn(f"process {daemon.pid} answers", self.found(report, "daemon", "ok")[0])
        self.succeeds("model", "unload", "gone")
        os.truncate(path, 1000)
        self.run_inline("model", "load", "gone")
        report = self.doctor(1, "--model", MODEL)
        self.assertIn("gone", self.found(report, "daemon", "problem")[0])

    def test_usage(self):
        self.fails("doctor", "a", "b", status=2, says="one folder")
        self.fails("doctor", "--x", status=2, says="--x")


class Recommend(DoctorTest):
    def recommend(self, *args, **kwargs):
        return json.loads(self.succeeds("model", "recommend", "--json", *args, **kwargs).out)

    def test_json(self):
        report = self.recommend("--memory", "64G")
        models = {m["name"]: m for m in report["models"]}
        self.assertGreater(report["machine"]["read_gb_per_s"], 0)
        small, large = models["qwen2.5-coder-0.5b"], models["qwen2.5-coder-7b"]
        self.assertLess(small["suggestion_ms"], large["suggestion_ms"])
        self.assertLess(small["needed_bytes"], large["needed_bytes"])
        self.assertTrue(large["fits"])
        self.assertEqual(report["command"], "inline model pull " + report["recommended"])
        self.assertIn(report["recommended"], models)

    def test_memory(self):
        models = {m["name"]: m for m in self.recommend("--memory", "1.5G")["models"]}
        self.assertTrue(models["qwen2.5-coder-0.5b"]["fits"])
        self.assertFalse(models["qwen2.5-coder-1.5b"]["fits"])
        report = self.recommend("--memory", "1M")
        self.assertIsNone(report["recommended"])
        self.assertFalse(any(m["fits"] for m in report["models"]))
        for bad in ("", "0", "x", "-1G"):
            self.fails("model", "recommend", "--memory", bad, status=2, says="--memory")

    def test_languages(self):
        project = self.home / "project"
        project.mkdir()
        for i in range(3):
            (project / f"a{i}.kt").write_text("fun main() {}\n")
        (project / "b.py").write_text("")
        report = self.recommend(project)
        self.assertEqual(report["project"]["languages"], {"kotlin": 3, "python": 1})
        models = {m["name"]: m for m in report["models"]}
        self.assertTrue(models["mellum-4b"]["strong"])
        out = self.succeeds("model", "recommend", cwd=project).out
        self.assertIn("kotlin 3, python 1 files", out)
        self.assertRegex(out, r"(?m)^[* ] mellum-4b .*made for these languages")

    def test_installed(self):
        self.succeeds("model", "import", MODEL, "--name", "smollm2-135m")
        models = {m["name"]: m for m in self.recommend()["models"]}
        self.assertTrue(models["smollm2-135m"]["installed"])
        self.assertFalse(models["qwen2.5-coder-0.5b"]["installed"])

    @unittest.skipIf(SANITIZED, "times hold for plain programs")
    def test_time(self):
        """Less than two seconds; of processors' time, since this machine may be busy with other tests."""
        def spent():
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            return usage.ru_utime + usage.ru_stime
        before = spent()
        self.recommend()
        self.assertLess(spent() - before, 2)


if __name__ == "__main__":
    unittest.main()

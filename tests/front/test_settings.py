"""The program's frame: version, help, usage errors, settings from file, environment and flags."""

import json
import pathlib
import subprocess
import time
import unittest

from front import PROGRAM, ROOT, FrontTest


class FrameTest(FrontTest):
    def test_version(self):
        self.assertRegex(self.succeeds("--version").out, r"^inline \d+\.\d+\.\d+\n$")

    def test_version_is_quick(self):
        """Nothing heavy at start-up: under 5 ms. The best of many, since other tests run beside this one."""
        best = 1.0
        for _ in range(50):
            start = time.perf_counter()
            subprocess.run([PROGRAM, "--version"], env=self.env, stdout=subprocess.DEVNULL, check=True)
            best = min(best, time.perf_counter() - start)
        program = pathlib.Path(PROGRAM).read_bytes()
        sanitized = b"__asan" in program or b"__tsan" in program
        self.assertLess(best, 0.5 if sanitized else 0.005)

    def test_help(self):
        overview = self.succeeds("--help").out
        for command in ("complete", "model", "config", "bench", "tokenize", "logits"):
            self.assertIn(f"\n  {command} ", overview)
            self.assertIn(f"Usage: inline {command} ", self.succeeds(command, "--help").out)
            self.assertIn(f"Usage: inline {command} ", self.succeeds("help", command).out)

    def test_usage_errors(self):
        result = self.run_inline()
        self.assertEqual((result.status, result.out), (2, ""))
        self.assertIn("Usage:", result.err)
        self.fails("complet", status=2, says="did you mean complete?")
        self.fails("xyzzy", status=2, says="inline --help")
        self.fails("help", "xyzzy", status=2, says="xyzzy")
        self.fails("--wat", "config", status=2, says="--wat")
        self.fails("config", "extra", status=2, says="no arguments")
        self.fails("config", "-j", status=2, says="two dashes")
        self.fails("config", "--json=1", status=2, says="takes no value")
        self.fails("config", "--threads", status=2, says="--threads needs a value")

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "config"], env=self.env, stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write the output", done.stderr)


class SettingsTest(FrontTest):
    def settings(self, *args, **kwargs):
        return json.loads(self.succeeds("config", "--json", *args, **kwargs).out)

    def test_defaults(self):
        s = self.settings()
        self.assertEqual(s["engine.threads"], {"value": 0, "origin": "default"})
        self.assertEqual(s["models.hub"]["value"], "https://huggingface.co")

    def test_precedence(self):
        path = self.write_settings("# mine\n[engine]\nthreads = 3\nisa = ref\n\n[models]\nmain = toy\n")
        s = self.settings()
        self.assertEqual(s["engine.threads"], {"value": 3, "origin": f"{path}:3"})
        self.assertEqual(s["models.main"], {"value": "toy", "origin": f"{path}:7"})
        s = self.settings(env={"INLINE_ENGINE_THREADS": "5", "INLINE_MODEL": "other"})
        self.assertEqual(s["engine.threads"], {"value": 5, "origin": "INLINE_ENGINE_THREADS"})
        self.assertEqual(s["models.main"], {"value": "other", "origin": "INLINE_MODEL"})
        s = self.settings("--threads=7", "--model", "third", env={"INLINE_THREADS": "5"})
        self.assertEqual(s["engine.threads"], {"value": 7, "origin": "--threads"})
        self.assertEqual(s["models.main"]["value"], "third")
        self.assertEqual(s["engine.isa"]["value"], "ref")

    def test_other_file(self):
        self.write_settings("[engine]\nthreads = 3\n")
        other = self.home / "other.conf"
        other.write_text("[engine]\nthreads = 4\n")
        self.assertEqual(self.settings("--config", other)["engine.threads"]["value"], 4)
        self.assertEqual(self.settings(env={"INLINE_CONFIG": str(other)})["engine.threads"]["value"], 4)
        self.fails("config", "--config", self.home / "none.conf", says="none.conf")

    def test_file_errors_name_the_line(self):
        cases = [
            ("[engine]\nthreads = many\n", [":2:", "engine.threads", "0 to 1024", "many"]),
            ("[engine]\nthreads = -1\n", [":2:", "0 to 1024"]),
            ("[engine]\nthreads = 99999999999999999999\n", [":2:", "0 to 1024"]),
            ("[engine]\n\n\nthread = 4\n", [":4:", "engine.thread", "did you mean engine.threads?"]),
            ("[engine]\nisa = mmx\n", [":2:", "one of: exact ref"]),
            ("[motor]\nx = 1\n", [":2:", "motor.x"]),
            ("threads = 4\n", [":1:", "unknown setting"]),
            ("[engine\nthreads = 4\n", [":1:", "neither"]),
            ("[engine]\njust words\n", [":2:", "neither"]),
            ("[engine]\nthreads = 1\nthreads = 2\n", [":3:", "twice"]),
            ("[models]\nmain = " + "x" * 500 + "\n", [":2:", "longer"]),
        ]
        for text, says in cases:
            with self.subTest(text=text[:40]):
                path = self.write_settings(text)
                result = self.run_inline("config")
                self.assertIn(result.status, (1, 2))
                self.assertEqual(result.out, "")
                self.assertEqual(result.err.count("\n"), 1, result)
                for word in [str(path), *says]:
                    self.assertIn(word, result.err)

    def test_binary_file(self):
        path = self.write_settings("")
        path.write_bytes(b"[engine]\nthreads = 4\0\n")
        self.fails("config", says="not a text file")

    def test_environment_errors_name_the_variable(self):
        self.fails("config", env={"INLINE_THREADS": "x"}, status=2, says=["INLINE_THREADS", "engine.threads"])
        self.fails("config", env={"INLINE_ISSA": "ref"}, status=2, says="INLINE_ISSA")
        self.fails("config", "--threads", "x", status=2, says=["--threads", "engine.threads"])

    def test_version_and_help_work_with_broken_settings(self):
        self.write_settings("nonsense\n")
        self.succeeds("--version")
        self.succeeds("--help")
        self.succeeds("model", "--help")

    def test_documentation_is_current(self):
        written = (ROOT / "docs" / "configuration.md").read_text()
        self.assertEqual(self.succeeds("config", "--markdown").out, written,
                         "run: build/inline config --markdown > docs/configuration.md")


if __name__ == "__main__":
    unittest.main()

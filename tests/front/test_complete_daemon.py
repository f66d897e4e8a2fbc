"""`inline complete` by way of a running daemon: the same output as without it, sooner."""

import json
import re
import shutil
import time
import unittest

from daemon import SANITIZED, DaemonTest
from front import FIXTURES

SOURCE = "int add(int a, int b) {\n  return \n}\n/* caf\u00e9 */\n"


class CompleteDaemonTest(DaemonTest):
    def setUp(self):
        super().setUp()
        self.models.mkdir(parents=True)
        shutil.copy(FIXTURES / "models" / "qwen2.gguf", self.models / "toy.gguf")
        self.file = self.home / "a.c"
        self.file.write_text(SOURCE)
        self.daemon = self.start_daemon("--log-level=debug", model=None).wait_ready()

    def complete(self, *args, **kwargs):
        return self.succeeds("complete", self.file, *args, **kwargs).out

    def n_asked(self):
        return len(re.findall("POST /infill", self.daemon.log))

    def test_same_output(self):
        place = ("--line", 2, "--column", 10)
        for args in (place, (), ("--line", 4, "--max-tokens", 7), (*place, "--infill"), (*place, "--name", "other.py"),
                     (*place, "--temperature", 0.8, "--top-k", 20, "--top-p", 0.9, "--seed", 7),
                     (*place, "--min-p", 0.1, "--repeat-penalty", 1.2), (*place, "--stream")):
            with self.subTest(args=args):
                before = self.n_asked()
                here = self.complete(*args, "--no-daemon")
                self.assertEqual(self.n_asked(), before)
                self.assertEqual(self.complete(*args), here)
                self.assertEqual(self.n_asked(), before + 1)

    def test_same_json(self):
        for column, args in ((7, ("--json",)), (8, ("--json", "--stream"))):  # places that no cache knows
            place = ("--line", 2, "--column", column)
            here, there = (self.complete(*place, *args, *more).splitlines() for more in (["--no-daemon"], []))
            self.assertEqual("".join(json.loads(line)["text"] for line in there[:-1]),
                             "".join(json.loads(line)["text"] for line in here[:-1]))
            here, there = json.loads(here[-1]), json.loads(there[-1])
            self.assertEqual(there["timings"].keys(), here["timings"].keys())
            for name in ("prompt_tokens", "generated_tokens"):
                self.assertEqual(there["timings"][name], here["timings"][name])
            # Here a model is called what it calls itself, there what it is installed as.
            self.assertEqual((here.pop("model"), there.pop("model")), ("Inline test model qwen2", "toy"))
            for answer in (here, there):  # the daemon has seen the place before
                del answer["timings"], answer["explanation"]["anchored"]
            self.assertEqual(there, here)

    def test_same_show(self):
        here, there = (self.complete("--line", 2, "--show", *more) for more in (["--no-daemon"], []))
        self.assertEqual(there.splitlines()[:-1], here.splitlines()[:-1])
        self.assertRegex(here, r"\d+ ms with loading\n\Z")
        self.assertRegex(there, r"\d+ ms in all, by the daemon\n\Z")

    def test_own_engine_where_it_is_chosen(self):
        for args, env in ((("--model", "toy"), {}), (("--isa", "ref"), {}), ((), {"INLINE_THREADS": "1"}),
                          (("--max-prompt-tokens", 50), {})):
            self.complete(*args, env=env)
        self.assertEqual(self.n_asked(), 0)

    def test_without_a_daemon(self):
        here = self.complete()
        self.daemon.process.kill()
        self.daemon.wait()
        self.assertEqual(self.complete(), here)  # the socket is there, but nobody answers

    def test_daemon_without_a_model(self):
        self.daemon.stop()
        toy = self.models / "toy.gguf"
        away = toy.rename(self.home / "away.gguf")
        self.daemon = self.start_daemon("--log-level=debug", model=None)
        away.rename(toy)
        self.complete()

    def test_costs_little(self):
        """Under 10 ms more than the daemon's own time; the best of several, other tests run beside this one."""
        best = 1000.0
        for _ in range(10):
            start = time.perf_counter()
            spent = json.loads(self.complete("--line", 2, "--json"))["timings"]
            whole = (time.perf_counter() - start) * 1000
            best = min(best, whole - spent["prompt_ms"] - spent["generate_ms"])
        self.assertLess(best, 1000 if SANITIZED else 10)


if __name__ == "__main__":
    unittest.main()

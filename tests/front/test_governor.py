"""A daemon that steps back: when memory is short, at its ceilings, and when there is nothing to do."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import unittest

import large_model
import slow_model
from daemon import SANITIZED
from front import FIXTURES, ROOT
from models import PROMPT, ModelsTest

sys.path.append(str(ROOT / "bench"))
from memory_group import Hog, MemoryGroup, Unavailable

MB = 1 << 20
QUIET_S = 12  # after this long without requests nothing happens any more
REST_S = 4    # in which that is watched


class GovernorTest(ModelsTest):
    def install_large(self, name, n_bytes):
        """A model whose weights take so much, as files and in memory, all of them zero."""
        # Written in its place: pages that nobody has read yet count for the group of who reads them first.
        large_model.write(self.models / f"{name}.gguf", 4096, n_bytes // (4096 * 102))

    def governor(self):
        return self.status()["governor"]

    def wait_governor(self, is_so, timeout=30):
        deadline = time.monotonic() + timeout
        while not is_so(governor := self.governor()):
            self.assertLess(time.monotonic(), deadline, governor)
            self.ask("", "a")  # it looks only while there is work
            time.sleep(0.2)
        return governor

    @contextlib.contextmanager
    def typing(self, model=""):
        """Somebody asks all the while; every answer must come and be right."""
        alone = self.references(model, [PROMPT.format(i) for i in range(8)])
        stop, wrong, waits = threading.Event(), [], []

        def run():
            i = 0
            while not stop.is_set() and not wrong:
                begin = time.monotonic()
                answer = self.ask(model, PROMPT.format(i), user="typist")
                waits.append(time.monotonic() - begin)
                if answer.text != alone[i]:
                    wrong.append(answer)
                i = (i + 1) % 8
                stop.wait(0.05)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield waits
        finally:
            stop.set()
            thread.join()
        self.assertEqual(wrong, [])
        self.assertGreater(len(waits), 5)


class Memory(GovernorTest):
    def start_in_group(self, limit, **settings):
        stack = contextlib.ExitStack()
        try:
            self.group = stack.enter_context(MemoryGroup(limit))
        except Unavailable as why:
            self.skipTest(str(why))
        self.addCleanup(stack.close)
        env = {f"INLINE_{name}": str(value) for name, value in settings.items()}
        self.daemon = self.start_daemon(model=None, env=env, preexec_fn=self.group.enter)
        return self.daemon

    @unittest.skipIf(SANITIZED, "sanitizers take memory")
    def test_a_hog_in_the_same_group(self):
        """The idle model goes, the other answers throughout; when the hog has gone, both do."""
        self.install_large("main", 40 * MB)
        self.install_large("idle", 60 * MB)
        self.start_in_group(256 * MB, MODELS_MAIN="main", MODELS_PACK="off").wait_ready()
        self.assertEqual(self.ask("idle", PROMPT.format(1)).status, 200)
        time.sleep(11)  # used a moment ago it would stay
        with self.typing("main"):
            self.wait_governor(lambda g: g["looks"] > 0)
            before = self.governor()
            with Hog(190 * MB, self.group):
                during = self.wait_governor(lambda g: g["actions"] > before["actions"])
                self.wait_state("idle", "installed")
                time.sleep(3)
                self.assertLess(self.group.used_bytes(), self.group.limit)
            self.assertEqual(during["memory_of"], "group")
            self.assertIn("unload idle models", " ".join(e["what"] for e in during["events"]))
            self.wait_governor(lambda g: g["memory_share"] < g["memory_level"])
        self.assertEqual(self.ask("idle", PROMPT.format(1)).status, 200)
        self.assertEqual(self.group.n_killed(), 0)

    @unittest.skipIf(SANITIZED, "sanitizers take memory")
    def test_nothing_to_give(self):
        """Short of memory for as long as somebody else likes, a daemon that has nothing to do sleeps."""
        self.install("toy", "qwen2")
        self.start_in_group(128 * MB, MODELS_MAIN="toy").wait_ready()
        with Hog(100 * MB, self.group):
            for _ in range(5):
                self.assertEqual(self.ask("toy", PROMPT.format(1)).status, 200)
                time.sleep(0.5)
            time.sleep(QUIET_S)
            before = self.daemon.n_switches()
            time.sleep(REST_S)
            # Whether an alert that fires is over is looked at ever more seldom: once, perhaps, and not each second.
            self.assertLessEqual(self.daemon.n_switches() - before, 4)
        self.assertEqual(self.group.n_killed(), 0)

    @unittest.skipIf(SANITIZED, "sanitizers take memory")
    def test_limit_of_our_own(self):
        """Of models that do not fit together the least recently used go; each answers when it is asked."""
        names = [f"model{i}" for i in range(6)]
        for name in names:
            self.install_large(name, 24 * MB)
        limit = 96 * MB
        self.start("model0", LIMITS_MEMORY_MB=limit // 1000000, MODELS_PACK="off").wait_ready()
        alone = self.ask("model0", PROMPT.format(1)).text
        most, stop = [0], threading.Event()

        def watch():
            while not stop.wait(0.02):
                most[0] = max(most[0], self.daemon.rss_bytes())

        thread = threading.Thread(target=watch)
        thread.start()
        for _ in range(2):
            for name in names:
                answer = self.ask(name, PROMPT.format(1))
                self.assertEqual(answer.text, alone, answer)
                time.sleep(0.3)
        stop.set()
        thread.join()
        self.assertLess(most[0], limit, self.governor())
        self.assertLess(sum(m["state"] == "ready" for m in self.status()["models"]), 5)

    def test_off(self):
        self.install("toy", "qwen2")
        self.start("toy", LIMITS_GOVERNOR="off").wait_ready()
        for i in range(6):
            self.assertEqual(self.ask("toy", PROMPT.format(i)).status, 200)
            time.sleep(0.4)
        self.assertEqual(self.governor()["actions"], 0)


class Processor(GovernorTest):
    def setUp(self):
        super().setUp()
        self.install("slow", slow_model.write(FIXTURES / "models" / "starcoder2.gguf", self.home / "slow.gguf"))

    def share_of(self, seconds):
        """Of all processors' time, while there is always something to compute."""
        stop = threading.Event()

        def keep_asking(user):
            while not stop.is_set():
                self.ask("slow", f"{user}\n", user=user, n_predict=64)

        threads = [threading.Thread(target=keep_asking, args=(f"u{i}",)) for i in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(2)  # what was saved up before is used up
        begin, cpu = time.monotonic(), self.daemon.cpu_seconds()
        time.sleep(seconds)
        share = (self.daemon.cpu_seconds() - cpu) / (time.monotonic() - begin) / len(os.sched_getaffinity(0))
        stop.set()
        for thread in threads:
            thread.join()
        return share

    def test_ceiling(self):
        self.start("slow", LIMITS_CPU_PERCENT=20, ENGINE_SPECULATION="off").wait_ready()
        self.assertLess(self.share_of(6), 0.25)
        self.assertEqual(self.governor()["orders"]["cpu_ceiling"], 0.2)

    def test_power(self):
        """At a tenth of full speed an answer takes several times as long, and is the same."""
        took, texts = [], []
        for power in (100, 10):
            self.start("slow", LIMITS_POWER=power, ENGINE_SPECULATION="off").wait_ready()
            self.ask("slow", "warm", n_predict=4)
            begin = time.monotonic()
            texts.append(self.ask("slow", "int a", n_predict=60).text)
            took.append(time.monotonic() - begin)
            self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual(texts[0], texts[1])
        self.assertGreater(took[1], 3 * took[0])


class Rest(GovernorTest):
    def test_sleeps(self):
        """Without requests no thread wakes, no time passes, and no timer ticks."""
        self.install("toy", "qwen2")
        self.start("toy").wait_ready()
        for i in range(5):
            self.ask("toy", PROMPT.format(i))
            time.sleep(0.3)
        self.assertGreater(self.governor()["looks"], 0)
        time.sleep(QUIET_S)
        switches, cpu = self.daemon.n_switches(), self.daemon.cpu_seconds()
        time.sleep(REST_S)
        self.assertLessEqual(self.daemon.n_switches() - switches, 1)  # the system's own: a timer of ours would tick on
        self.assertEqual(self.daemon.cpu_seconds(), cpu)
        if shutil.which("strace"):
            self.assertEqual(self.system_calls(), [])

    def system_calls(self):
        """Those that end while a tracer looks on, but for the ones that it interrupts itself."""
        trace = self.home / "trace"
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", trace, "-p", str(self.daemon.pid)],
                                  stderr=subprocess.DEVNULL)
        time.sleep(REST_S)
        tracer.terminate()
        tracer.wait()
        calls = trace.read_text().splitlines() if trace.exists() else []  # it may not be allowed to
        return [call for call in calls if re.search(r" = |resumed", call)
                and not re.search(r"ERESTART|EINTR|restart_syscall|= \?", call)]


if __name__ == "__main__":
    unittest.main()

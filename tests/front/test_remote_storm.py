"""Many requests at once to servers elsewhere that misbehave in every way there is: each ends in time, and what all of
them cost is given back.

As many faults as one likes: INLINE_STORM=10000 test_remote_storm.py"""

import collections
import itertools
import json
import os
import random
import re
import threading
import time
import unittest

# Before front: what is left in the environment goes to the program, which refuses variables that it does not know.
N_STORM = int(os.environ.pop("INLINE_STORM", "0"))
N_EVERY = 1 if N_STORM else 5  # faults take longer than right answers
N_STORM = N_STORM or 1000

from daemon import SANITIZED
from model_faults import FAULTS
from model_server import ModelServerProcess
from remote_world import QWEN, RemoteTest, right

GRACE_S = 10 if SANITIZED else 1.0  # beyond a request's time, on a machine that is busy with the storm
MB = 1 << 20


class Storm(RemoteTest):
    """Many requests at once over servers with every fault there is. What was allocated for them is given back."""

    N_CLIENTS = 32
    TIMEOUT_MS = 4000
    SHARE = 0.3          # of what bad servers answer is bad: few enough for them not to be given up
    RSS_SLACK = 24 * MB  # what allocators and curl keep of connections

    def start_storm(self, n_bad, n_good):
        common = {"api": "openai", "model": QWEN, "first_ms": 5, "token_ms": 1, "retry_after": "1"}
        self.servers = [ModelServerProcess(seed=i, **common) for i in range(n_bad + n_good)]
        for server in self.servers:
            self.addCleanup(server.stop)
        self.bad = self.servers[:n_bad]
        urls = " ".join(server.url for server in self.servers)
        self.write_settings(f"[models]\nmain = gpu\n[model.gpu]\napi = openai\nurls = {urls}\n"
                            f"[remote]\ntimeout_ms = {self.TIMEOUT_MS}\nconnections = 8\n")
        self.env["INLINE_LOG_LEVEL"] = "error"
        self.daemon = self.start_daemon(model=None)
        self.numbers, self.outcomes = itertools.count(1), []
        self.run_until(lambda: len(self.outcomes) >= 200)  # what is allocated once is allocated
        self.before = (self.n_fds(), self.daemon.rss_bytes(), self.n_threads())
        self.outcomes = []
        for server in self.bad:
            server.set(mix={fault: self.SHARE / len(FAULTS) for fault in FAULTS})

    def n_faults(self):
        return sum(n for server in self.bad for n in server.state()["faults"].values())

    def client(self, stop):
        while not stop.is_set():
            number = next(self.numbers)
            leaves = random.Random(number).random() < 0.05  # some hang up soon
            try:
                begin = time.monotonic()
                answer = self.infill(number, user=f"u{number}", timeout=0.02 if leaves else 60)
                self.outcomes.append((number, answer, time.monotonic() - begin))
            except TimeoutError:
                self.outcomes.append((number, None, 0 if leaves else 60))

    def run_until(self, is_enough):
        """Requests of all clients until then; returns how long that took."""
        begin, stop = time.monotonic(), threading.Event()
        threads = [threading.Thread(target=self.client, args=(stop,)) for _ in range(self.N_CLIENTS)]
        for thread in threads:
            thread.start()
        while not is_enough() and self.daemon.process.poll() is None:
            time.sleep(0.05)
        stop.set()
        for thread in threads:
            thread.join()
        return time.monotonic() - begin

    def judge(self):
        """How many were right, cut short after they had begun, told an error, or were left by the client."""
        counts, errors = collections.Counter(), collections.Counter()
        for number, answer, _ in self.outcomes:
            if answer is None:
                counts["left"] += 1
            elif answer.status != 200:
                self.assert_refused(answer)
                self.assertRegex(answer.error, "^127.0.0.1:[0-9]+: .")
                counts["error"] += 1
                errors[re.sub("[0-9.]+ s$", "N s", answer.error.partition(": ")[2])] += 1
            elif answer.text == right(number):
                counts["right"] += 1
            else:
                self.assertTrue(right(number).startswith(answer.text) or answer.text.startswith("endless"), answer)
                counts["partial"] += 1
        return counts, errors

    def settle(self):
        """All well again; what was under way is over."""
        for server in self.servers:
            server.set(mix={}, fault=None)
        deadline = time.monotonic() + 30
        while self.status()["running"]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def assert_given_back(self):
        """No more descriptors, threads and memory than when as many connections were open as there can be."""
        n_fds, rss, n_threads = self.before
        deadline = time.monotonic() + 30
        while self.n_fds() > n_fds:
            self.assertLess(time.monotonic(), deadline, f"{self.n_fds()} descriptors, not {n_fds}")
            time.sleep(0.1)
        self.assertLessEqual(self.n_threads(), n_threads)
        if not SANITIZED:
            self.assertLess(self.daemon.rss_bytes(), rss + self.RSS_SLACK)

    def all_are_used_again(self):
        for server in self.servers:
            server.reset()
        deadline = time.monotonic() + 60
        self.outcomes = []
        self.run_until(lambda: all(server.n_completions() for server in self.servers) or time.monotonic() > deadline)
        self.assertLess(time.monotonic(), deadline, json.dumps(self.model_status("gpu")))
        self.assertEqual({a.status for _, a, _ in self.outcomes if a}, {200})

    def check(self, name, is_enough):
        took = self.run_until(is_enough)
        self.assertIsNone(self.daemon.process.poll(), self.daemon.log)
        n_faults = self.n_faults()
        counts, errors = self.judge()
        slowest = max(took for _, _, took in self.outcomes)
        self.settle()
        n_fds, rss, n_threads = self.before
        print(f"{name}: {len(self.outcomes)} requests in {took:.1f} s, {n_faults} faults: {dict(counts)}, slowest "
              f"{slowest:.2f} s; memory {(self.daemon.rss_bytes() - rss) / MB:+.1f} MB, descriptors "
              f"{self.n_fds() - n_fds:+d}, threads {self.n_threads() - n_threads:+d}", flush=True)
        for said, n in errors.most_common():
            print(f"  {n:5} {said}")
        self.assertLess(slowest, self.TIMEOUT_MS / 1e3 + GRACE_S)
        self.assert_given_back()
        self.all_are_used_again()
        return counts

    def test_with_a_good_server(self):
        self.start_storm(n_bad=3, n_good=1)
        counts = self.check("storm", lambda: len(self.outcomes) >= N_STORM)
        self.assertGreater(counts["right"], 0.9 * (len(self.outcomes) - counts["left"]))

    def test_without_one(self):
        """As many faults as there are requests otherwise, for what each of them may leave behind."""
        self.start_storm(n_bad=4, n_good=0)
        counts = self.check("storm without a good server", lambda: self.n_faults() >= N_STORM // N_EVERY)
        self.assertGreater(counts["right"], 0)


if __name__ == "__main__":
    unittest.main()

"""What servers elsewhere do that they should not: each request ends in time, with an answer of another server, of the
local model, or an error that says what."""

import json
import threading
import time
import unittest

from certificates import Certificates
from daemon import SANITIZED
from front import FIXTURES
from model_faults import FAULTS
from remote_world import KEY, QWEN, RemoteTest, right

APIS = ("openai", "llama", "ollama")
TIMEOUT_MS = 3000 if SANITIZED else 800  # of a request
GRACE_S = 10 if SANITIZED else 1.0
MB = 1 << 20

# Faults that leave enough of an answer, or all of it; what comes of them may be right or cut short.
HARMLESS = {"endless", "long-length", "long-length-close", "short-length"}
# In mid-stream something has been shown already: what came is an answer, if not the whole one.
PARTIAL = {"hang-midway", "reset", "close", "cut", "error-event", "trickle"}
# Those that each API has its own shape of, and what else is worth to be seen more than once.
OF_EACH_API = ("reset", "cut", "error-event", "garbage-events", "wrong-events", "huge-line", "huge-lines", "empty",
               "endless", "short-length", "404", "500")
# Where there may be no server at all, or another program at its port.
OF_THE_BEGINNING = ("refuse", "hang", "hang-headers", "reset", "trickle", "401", "404", "429", "500", "garbage",
                    "garbage-events", "huge-line", "redirect", "html", "empty")
# Where the server says something, people read it.
SAYS = {"refuse": "refused", "hang": "no answer", "hang-headers": "no answer", "401": "key", "404": "does not exist",
        "429": "too many requests", "500": "internal error", "503": "Loading model", "redirect": "redirect"}


class FaultsTest(RemoteTest):
    def timed(self, number, **kwargs):
        """(answer, seconds)."""
        begin = time.monotonic()
        answer = self.infill(number, **kwargs)
        return answer, time.monotonic() - begin

    def assert_in_time(self, took, timeout_ms=TIMEOUT_MS):
        self.assertLess(took, timeout_ms / 1e3 + GRACE_S)

    def assert_right_or_clear(self, answer, number, server):
        """The right text, or the beginning of it; or an error that names the server."""
        if answer.status == 200:
            self.assertTrue(right(number).startswith(answer.text) or answer.text.startswith("endless"), answer)
        else:
            self.assert_refused(answer, f"127.0.0.1:{server.port}")
            self.assertNotIn("libcurl", answer.error)  # whose numbers say nothing to people

    def recover(self, number, *servers, timeout=20):
        """All are well again: the right answer comes, from each of them."""
        for server in servers:
            server.set(fault=None)
            server.reset()
        deadline = time.monotonic() + timeout
        while True:
            answer = self.infill(number, user=f"u{number}")
            if answer.status == 200 and all(server.n_completions() for server in servers):
                return self.assert_right(answer, number)
            self.assertLess(time.monotonic(), deadline, f"{answer} {self.daemon.log}")
            number += 1
            time.sleep(0.05)


class Alone(FaultsTest):
    """One server, nothing else: every fault ends with a clear error, in time."""

    REMEMBERED = {"404", "garbage-events", "html", "empty"}  # as 401: not asked again for some seconds

    def check_fault(self, server, fault, number):
        server.set(fault=fault)
        answer, took = self.timed(number)
        self.assert_in_time(took)
        self.assert_right_or_clear(answer, number, server)
        if answer.status != 200 and SAYS.get(fault):
            self.assertIn(SAYS[fault], answer.error)
        if answer.status == 200 and fault not in HARMLESS | PARTIAL:
            self.fail(f"{fault}: {answer}")
        self.assertNotIn("\n", answer.error)
        self.recover(number + 1, server)

    def check_all(self, api, faults):
        server = self.add_server(api=api, model=QWEN, fault_on="completions", huge_bytes=100 * MB)
        self.start_remote(server, timeout_ms=TIMEOUT_MS)
        self.assert_right(self.infill(0), 0)
        for i, fault in enumerate(faults):
            with self.subTest(api=api, fault=fault):
                self.check_fault(server, fault, 100 * (i + 1))

    def test_openai(self):
        self.check_all("openai", FAULTS)

    def test_llama(self):
        self.check_all("llama", OF_EACH_API)

    def test_ollama(self):
        self.check_all("ollama", OF_EACH_API)

    def test_from_the_beginning(self):
        """Before anything is known of the server."""
        for i, fault in enumerate(OF_THE_BEGINNING):
            with self.subTest(fault=fault):
                server = self.add_server(api=APIS[i % 3], model=QWEN, fault=fault, huge_bytes=100 * MB)
                self.start_remote(server, timeout_ms=TIMEOUT_MS)
                try:
                    answer, took = self.timed(1)
                    self.assert_in_time(took)
                    self.assert_right_or_clear(answer, 1, server)
                    if fault not in self.REMEMBERED:
                        self.recover(2, server)
                finally:
                    self.daemon.stop()
                    server.stop()

    def test_a_hundred_megabytes(self):
        """Neither kept nor read to the end."""
        server = self.add_server(api="openai", model=QWEN, fault_on="completions")
        self.start_remote(server, timeout_ms=10000)
        self.assert_right(self.infill(0), 0)
        before = self.daemon.rss_bytes()
        for i, fault in enumerate(("huge-line", "huge-lines", "huge-header")):
            server.set(fault=fault)
            answer, took = self.timed(i)
            self.assert_refused(answer)
            self.assertLess(took, 9)
            self.recover(10 + i, server)
        if not SANITIZED:
            self.assertLess(self.daemon.rss_bytes(), before + 24 * MB)

    def test_rate_limits(self):
        """Retry-After is obeyed: nothing is sent before that."""
        server = self.add_server(api="openai", model=QWEN, retry_after="2", fault_on="completions")
        self.start_remote(server, timeout_ms=1000)
        self.assert_right(self.infill(0), 0)
        for fault in ("429-retry", "503-retry"):
            server.set(fault=fault)
            self.assert_refused(self.infill(1), "too many requests")
            limited_at = time.monotonic()
            server.set(fault=None)
            server.reset()
            self.assertIs(self.server_status(server)["limited"], True)
            while (answer := self.infill(2)).status != 200:
                self.assert_refused(answer, "too many requests")
                self.assertLess(time.monotonic() - limited_at, 6)
                time.sleep(0.4)  # else the next one would wait until just before its deadline
            self.assert_right(answer, 2)
            self.assertGreater(server.completions[0]["began"] - limited_at, 1.5)
        self.assertEqual(self.server_status(server)["failed"], 0)

    def test_waiting_for_a_short_limit(self):
        """Where there is time for it, the request waits."""
        server = self.add_server(api="openai", model=QWEN, retry_after="1", fault_on="completions")
        self.start_remote(server, timeout_ms=8000)
        self.assert_right(self.infill(0), 0)
        server.set(fault="429-retry")
        threading.Timer(0.3, lambda: server.set(fault=None)).start()
        answer, took = self.timed(1)
        self.assert_right(answer, 1)
        self.assertGreater(took, 0.8)


class WithAnother(FaultsTest):
    """A second server that is well: the right answer comes in time, whatever the first one does."""

    # After the first token nothing is tried again. Who refuses what it is asked would be refused elsewhere too.
    FINAL = PARTIAL | HARMLESS | {"400"}

    def start_pair(self, api):
        """A daemon that knows both servers; the one that will be bad is the faster one, and so preferred."""
        bad, good = (self.add_server(api=api, model=QWEN, fault_on="completions", first_ms=ms, huge_bytes=20 * MB)
                     for ms in (0, 15))
        self.start_remote(bad, good, timeout_ms=3 * TIMEOUT_MS)
        self.wait_asked(bad, good)
        return bad, good

    def wait_asked(self, *servers, timeout=20):
        """Until each of them has answered something."""
        for server in servers:
            server.reset()
        deadline, number = time.monotonic() + timeout, 0
        while not all(server.n_completions() for server in servers):
            self.assertLess(time.monotonic(), deadline, self.model_status("gpu"))
            sent = [self.send_infill(number + i) for i in range(4)]
            for i, connection in enumerate(sent):
                self.assert_right(self.finish(connection), number + i)
            number += 4

    def send_infill(self, number):
        connection = self.daemon.connection()
        connection.request("POST", "/infill", json.dumps(self.infill_body(number, user=f"u{number}")))
        return connection

    def check_all(self, api, faults):
        for fault in faults:
            with self.subTest(api=api, fault=fault):
                bad, good = self.start_pair(api)
                try:
                    bad.set(fault=fault)
                    self.check_pair(bad, fault)
                finally:
                    self.daemon.stop()
                    bad.stop()
                    good.stop()

    def check_pair(self, bad, fault):
        """The bad one is asked, and the right answer comes all the same."""
        n_before = bad.state()["requests"]
        for number in range(1000, 1100):
            answer, took = self.timed(number, user=f"u{number}")
            self.assert_in_time(took, 3 * TIMEOUT_MS)
            if fault in self.FINAL:
                self.assert_right_or_clear(answer, number, bad)
            else:
                self.assert_right(answer, number)
            was_asked = self.server_status(bad)["failed"] if fault == "refuse" else bad.state()["requests"] != n_before
            if was_asked and number >= 1003:
                return
        self.fail("the bad server was not asked")

    def test_recovery(self):
        """One that is well again is asked again."""
        bad, good = self.start_pair("openai")
        for fault in ("refuse", "hang", "500", "reset", "garbage"):
            bad.set(fault=fault)
            self.check_pair(bad, fault)
            bad.set(fault=None)
            self.wait_asked(bad, good)

    def test_openai(self):
        self.check_all("openai", FAULTS)

    def test_llama(self):
        self.check_all("llama", OF_EACH_API)

    def test_ollama(self):
        self.check_all("ollama", OF_EACH_API)

    def test_a_partial_answer_is_not_mixed(self):
        """What begins at one server is never continued by another."""
        bad = self.add_server(model=QWEN, fault_on="completions")
        good = self.add_server(model=QWEN, tokens=["other ", "text;"], fault_on="completions")
        self.start_remote(bad, good, timeout_ms=TIMEOUT_MS)
        self.recover_texts(bad, good)
        for fault in ("reset", "close", "cut", "error-event"):
            bad.set(fault=fault)
            for number in range(10):
                answer = self.infill(number, user=f"{fault}{number}")
                if answer.status == 200:
                    self.assertTrue(answer.text == "other text;" or right(number).startswith(answer.text), answer)

    def recover_texts(self, *servers):
        for number in range(20):
            self.infill(number, user=f"r{number}")
        self.assertTrue(all(server.n_completions() for server in servers))

    def test_one_that_was_down_is_left_alone(self):
        """It costs a trial now and then, not every request."""
        bad, good = self.add_server(model=QWEN, fault="hang"), self.add_server(model=QWEN)
        self.start_remote(bad, good, timeout_ms=2000)
        slow = 0
        for number in range(60):
            answer, took = self.timed(number, user=f"u{number}")
            self.assert_right(answer, number)
            slow += took > 0.5
        self.assertLess(slow, 12)


class WithALocalModel(FaultsTest):
    """The instant model answers in place of servers that do not."""

    def test_all(self):
        self.install("small", FIXTURES / "models" / "qwen2.gguf")
        server = self.add_server(api="openai", model=QWEN, fault_on="completions")
        self.start_remote(server, instant="small", patience_ms=150, timeout_ms=TIMEOUT_MS).wait_ready()
        self.wait_state("small", "ready")
        self.recover(1, server)
        for i, fault in enumerate((*OF_THE_BEGINNING, *OF_EACH_API)):
            with self.subTest(fault=fault):
                server.set(fault=fault)
                answer, took = self.timed(100 * (i + 1))
                if fault in PARTIAL | HARMLESS:  # it may have begun
                    self.assert_in_time(took)
                    if not self.fallback(answer):
                        self.assert_right_or_clear(answer, 100 * (i + 1), server)
                else:
                    self.assertEqual(answer.status, 200, answer)
                    self.assertNotEqual(self.fallback(answer), "", answer.body)
                    self.assertLess(took, 0.15 + GRACE_S)
                self.recover(100 * (i + 1) + 1, server)


class Tls(FaultsTest):
    def setUp(self):
        super().setUp()
        self.made = Certificates(self.home / "tls")

    def ask_over(self, pair, ca=True, api="openai"):
        self.tls = self.add_server(tls=pair, api=api, model=QWEN, key=KEY)
        key = self.home / "gpu.key"
        key.write_text(KEY)
        key.chmod(0o600)
        section = {"key_file": key, **({"ca_file": self.made.ca} if ca else {})}
        self.start_remote(self.tls, section=section, timeout_ms=5000)
        answer, took = self.timed(1)
        self.assert_in_time(took, 5000)
        return answer

    def test_trusted(self):
        for api in APIS:
            self.assert_right(self.ask_over(self.made.good, api=api), 1)
            for i in range(2, 6):
                self.assert_right(self.infill(i), i)
            self.assertEqual(self.tls.state()["n_connections"], 1)
            self.daemon.stop()

    def test_not_trusted(self):
        """A clear error, and not a byte of the request."""
        cases = {"expired": (self.made.expired, True, "expired"), "stranger": (self.made.stranger, True, "certificate"),
                 "other host": (self.made.other_host, True, "certificate"),
                 "unknown authority": (self.made.good, False, "certificate")}
        for name, (pair, ca, says) in cases.items():
            with self.subTest(name):
                answer = self.ask_over(pair, ca)
                self.assert_refused(answer, says, f"127.0.0.1:{self.tls.port}")
                self.assertEqual(self.tls.state()["requests"], {})
                self.daemon.stop()

    def test_plain_where_tls_is_expected(self):
        server = self.add_server(model=QWEN)
        self.start_remote(server, section={"urls": server.url.replace("http", "https")}, timeout_ms=3000)
        answer, took = self.timed(1)
        self.assert_in_time(took, 3000)
        self.assert_refused(answer, f"127.0.0.1:{server.port}")

    def test_tls_where_plain_is_expected(self):
        server = self.add_server(tls=self.made.good, model=QWEN)
        self.start_remote(server, section={"urls": server.url.replace("https", "http")}, timeout_ms=3000)
        answer, took = self.timed(1)
        self.assert_in_time(took, 3000)
        self.assert_refused(answer, f"127.0.0.1:{server.port}")

    def test_faults_over_tls(self):
        server = self.add_server(tls=self.made.good, model=QWEN, fault_on="completions", huge_bytes=20 * MB)
        self.start_remote(server, section={"ca_file": self.made.ca}, timeout_ms=TIMEOUT_MS)
        self.assert_right(self.infill(0), 0)
        for i, fault in enumerate(("hang", "reset", "close", "garbage", "huge-line", "long-length-close", "drop")):
            with self.subTest(fault):
                server.set(fault=fault)
                answer, took = self.timed(i)
                self.assert_in_time(took)
                self.assert_right_or_clear(answer, i, server)
                self.recover(100 * (i + 1), server)


if __name__ == "__main__":
    unittest.main()

"""The dashboard's page (GET /) and the stream that it shows (GET /live)."""

import base64
import hashlib
import json
import re
import time
import unittest

from daemon import SANITIZED, DaemonTest
from front import FIXTURES

MODEL = FIXTURES / "models" / "qwen2.gguf"  # of random weights; it has FIM tokens
LOOKERS = 16  # that may look at the same time
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Stream:
    """A page that looks: its events, one by one."""

    def __init__(self, daemon, query="", headers=None):
        self.connection = daemon.connection()
        self.connection.request("GET", f"/live{query}", headers=headers or {})
        self.answer = self.connection.getresponse()

    def event(self):
        """(name, data); None at the end of the stream."""
        lines = []
        while (line := self.answer.readline()) not in (b"\n", b""):
            lines.append(line.decode())
        if not lines:
            return None
        name, data = re.fullmatch(r"event: (\w+)\ndata: ([^\n]+)\n", "".join(lines)).groups()
        return name, json.loads(data)

    def until(self, wanted):
        """The data of the next event of that name."""
        for _ in range(100):
            name, data = self.event()
            if name == wanted:
                return data
        raise AssertionError(f"no {wanted}")

    def close(self):
        self.connection.close()


class LiveTest(DaemonTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon(model=MODEL).wait_ready()

    def look(self, *args, **kwargs):
        stream = Stream(self.daemon, *args, **kwargs)
        self.addCleanup(stream.close)
        return stream

    def complete(self, prefix):
        status, _, body = self.daemon.post("/infill", {"input_prefix": prefix, "input_suffix": ";", "n_predict": 4})
        self.assertEqual(status, 200, body)


class Events(LiveTest):
    def test_first_events(self):
        stream = self.look()
        self.assertEqual(stream.answer.status, 200)
        self.assertEqual(stream.answer.headers["Content-Type"], "text/event-stream; charset=utf-8")
        self.assertEqual(stream.answer.headers["Cache-Control"], "no-store")
        names, events = [], {}
        for _ in range(3):
            name, data = stream.event()
            names.append(name)
            events[name] = data
        self.assertEqual(names, ["table", "history", "now"])
        table = events["table"]
        known = {metric["name"] for metric in table["metrics"]}
        self.assertIn("inline_request_seconds", known)
        self.assertTrue(all(target["metric"] in known for target in table["targets"]))
        self.assertIn("origin", table["config"]["serve.listen"])
        self.assertEqual((events["history"]["window"], events["history"]["slot_s"]), ("15m", 20))
        self.assertAlmostEqual(events["history"]["end_s"], time.time(), delta=5)
        self.assertEqual(events["now"]["pid"], self.daemon.pid)

    def test_now_comes_every_second(self):
        stream = self.look()
        stream.until("now")
        started = time.monotonic()
        for _ in range(3):
            stream.until("now")
        self.assertTrue(2 < time.monotonic() - started < (30 if SANITIZED else 6))

    def test_now_is_the_status(self):
        now = self.look().until("now")
        status = self.daemon.get("/status")[2]
        self.assertEqual(set(now) - {"requests"}, set(status))

    def test_requests_come_once(self):
        self.complete("int a = ")
        stream = self.look()
        first = stream.until("now")["requests"]
        self.assertEqual([r["outcome"] for r in first], ["ok"])
        self.assertEqual(stream.until("now")["requests"], [])
        for i in range(3):
            self.complete(f"int b{i} = ")
        later = []
        while len(later) < 3:
            later += stream.until("now")["requests"]
        self.assertEqual([r["id"] for r in later], [first[0]["id"] + i for i in (1, 2, 3)])
        self.assertEqual(later[0]["api"], "infill")

    def test_only_the_newest_requests(self):
        for i in range(60):
            self.complete(f"int c{i} = ")
        ids = [r["id"] for r in self.look().until("now")["requests"]]
        self.assertEqual(ids, list(range(ids[0], ids[0] + 50)))
        self.assertEqual(ids[-1], self.daemon.get("/journal?n=1")[2]["requests"][0]["id"])

    def test_windows(self):
        for window, slot_s, n in (("1m", 2, 30), ("15m", 20, 45), ("24h", 900, 96)):
            history = self.look(f"?window={window}").until("history")
            self.assertEqual((history["window"], history["slot_s"]), (window, slot_s))
            self.assertEqual(len(history["metrics"]["inline_cpu_share"]["own"]["value"]), n)
        for query in ("?window=2m", "?window=", "?x=1", "?window=1m&x"):
            status, _, body = self.daemon.get(f"/live{query}")
            self.assertEqual(status, 400, query)
            self.assertIn("15m", body["error"]["message"])

    def test_history_comes_again(self):
        stream = self.look("?window=1m")
        first = stream.until("history")
        self.complete("int d = ")
        again = stream.until("history")
        self.assertTrue(1 <= again["end_s"] - first["end_s"] <= (60 if SANITIZED else 4))
        while not again["metrics"]["inline_requests_total"]:
            again = stream.until("history")
        self.assertEqual(sum(again["metrics"]["inline_requests_total"]["ok"]["n"]), 1)


class Limits(LiveTest):
    def test_so_many_may_look(self):
        streams = [self.look() for _ in range(LOOKERS)]
        self.assertEqual({stream.answer.status for stream in streams}, {200})
        status, headers, body = self.daemon.get("/live")
        self.assertEqual(status, 503)
        self.assertIn("Retry-After", headers)
        self.assertIn(str(LOOKERS), body["error"]["message"])
        streams[3].close()
        deadline = time.monotonic() + 10
        while (late := self.look()).answer.status != 200:
            late.close()
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        for stream in (streams[0], late):
            self.assertEqual(stream.event()[0], "table")

    def test_end_of_the_daemon(self):
        streams = [self.look() for _ in range(3)]
        for stream in streams:
            stream.until("now")
        started = time.monotonic()
        self.assertEqual(self.daemon.stop(), 0)
        self.assertLess(time.monotonic() - started, 60 if SANITIZED else 3)
        for stream in streams:
            while stream.event():  # IncompleteRead, were the stream only broken off
                pass

    @unittest.skipIf(SANITIZED, "counts wake-ups")
    def test_nobody_looks(self):
        stream = self.look()
        stream.until("now")
        stream.close()
        time.sleep(2)
        before = self.daemon.n_switches()
        time.sleep(3)
        self.assertLess(self.daemon.n_switches() - before, 3)


class Page(DaemonTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon(model=None, env={"INLINE_SERVE_TOKEN": "secret"})

    def test_page(self):
        status, headers, page = self.daemon.get("/", headers=HTML)
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(headers["Referrer-Policy"], "no-referrer")
        self.assertEqual(headers["Cache-Control"], "no-cache")
        self.assertIn("Accept", headers.get_all("Vary"))
        self.assertLess(len(page.encode()), 100_000)

    def test_policy(self):
        _, headers, page = self.daemon.get("/", headers=HTML)
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        for directive in ("default-src", "frame-ancestors", "base-uri", "form-action"):
            self.assertEqual(policy[directive], "'none'")
        self.assertEqual(policy["connect-src"], "'self'")
        for kind in ("script", "style"):
            texts = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.S)
            hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
            self.assertEqual(policy[f"{kind}-src"], " ".join(f"'sha256-{h}'" for h in hashes))
            self.assertGreater(len(texts), 0)
            page = re.sub(f"<{kind}>.*?</{kind}>", "", page, flags=re.S)
        # Nothing that the policy would forbid, and nothing from elsewhere.
        self.assertNotRegex(page, r"<(script|style)|\sstyle=|\son\w+=|src=")
        self.assertEqual(re.findall(r'href="(?!data:|#)', page), [])

    def test_others_get_text(self):
        for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
            status, answer, text = self.daemon.get("/", headers=headers)
            self.assertEqual((status, answer["Content-Type"]), (200, "text/plain; charset=utf-8"))
            self.assertIn("/infill", text)

    def test_only_the_page_is_public(self):
        self.assertEqual(self.daemon.get("/", headers=HTML)[0], 200)
        for path in ("/live", "/journal", "/status"):
            self.assertEqual(self.daemon.get(path)[0], 401, path)
        stream = Stream(self.daemon, headers={"Authorization": "Bearer secret"})
        self.assertEqual(stream.event()[0], "table")
        stream.close()


if __name__ == "__main__":
    unittest.main()

"""The dashboard as its readers have it: the page that the daemon serves, in a real browser, under load."""

import re
import time
import unittest

from browser import WebTest

MATCHING = 40  # times, half a second apart: what the governor sees of the machine stands still 10 s after the last request
FEW = 0.02     # memory and processors go on changing a little


class Samples:
    """GET /metrics, by name and labels."""

    LINE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$', re.M)

    def __init__(self, text):
        self.of = {}
        for name, labels, value in self.LINE.findall(text):
            pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            self.of.setdefault(name, []).append((pairs, float(value)))

    def get(self, name, label=None, **labels):
        """The sum of the series with these labels, and with `label` as the value of whatever other one."""
        found = [value for pairs, value in self.of.get(name, [])
                 if labels.items() <= pairs.items() and "le" not in pairs and (label is None or label in pairs.values())]
        return sum(found) if found else None

    def figure(self, name, window):
        """What the page calls by this name (web/figures.js); None: nothing was measured."""
        parts = name.split(".")
        metric, figure, label = parts[0], parts[-1], parts[1] if len(parts) == 3 else None
        is_histogram = f"{metric}_count" in self.of
        if figure in ("p50", "p95", "p99"):
            stem, unit = metric.rsplit("_", 1)
            quantile = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}[figure]
            return self.get(f"{stem}_window_{unit}", label, window=window, quantile=quantile)
        if figure == "n":
            return self.get(f"{metric}_count" if is_histogram else metric, label) or 0
        if figure == "mean":
            n = self.get(f"{metric}_count", label)
            return self.get(f"{metric}_sum", label) / n if n else None
        if figure == "speed":
            seconds = self.get("inline_stage_seconds_sum", "decode")
            return self.get(metric) / seconds if seconds else None
        if figure == "rate":
            n = self.figure(f"{metric}.n", window)
            others = "inline_cache_misses_total" if "hits" in metric else "inline_requests_total"
            whole = self.figure(f"{others}.n", window) + (n if "hits" in metric else 0)
            return n / whole if whole else None
        return self.get(metric, label)


class Dashboard(WebTest):
    def look(self, name, **how):
        """Open the page under load, look at it as a whole."""
        self.open(**how)
        self.wait_live()
        self.wait_figure("inline_request_seconds.computed.n", 10)
        self.browser.wait("document.querySelectorAll('tr[data-id]').length > 5")
        self.check_accessible()
        self.assertLessEqual(self.browser.eval("document.documentElement.scrollWidth"), how["width"])
        self.screenshot(name)
        self.check_manners()

    def test_looks(self):
        self.start()
        self.start_typing()
        self.look("light", width=1280, height=900, scheme="light")
        self.look("dark", width=1280, height=900, scheme="dark")
        background = self.browser.eval("getComputedStyle(document.body).backgroundColor")
        self.assertLess(sum(map(int, re.findall(r"\d+", background)[:3])), 3 * 64, f"{background} is dark")
        self.assertGreater(self.browser.eval("document.querySelectorAll('canvas').length"), 4, "charts are drawn")
        self.look("phone", width=360, height=740, scheme="light", touch=True)
        self.look("phone-dark", width=360, height=740, scheme="dark", touch=True)

    def test_size(self):
        self.start()
        status, headers, body = self.daemon.get("/", headers={"Accept": "text/html"})
        self.assertEqual(status, 200)
        self.assertLess(len(body.encode()), 100_000)
        self.assertNotRegex(body, r'(?:src|href)="?(?:https?:)?//')
        policy = headers["Content-Security-Policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)

    def compare(self, window):
        """Every figure of the page against GET /metrics; the differences."""
        samples = Samples(self.daemon.get("/metrics")[2])
        wrong, compared = [], set()
        for name, shown in self.figures().items():
            figure = name.rpartition(".")[2]
            if not name.startswith("inline_") or figure == "per_second":
                continue
            expected = samples.figure(name, window)
            is_loose = re.match(r"inline_(memory|cpu|governor)_", name)
            few = FEW if is_loose else 1e-5  # histograms are written with six digits
            if shown is None and (expected is None or expected != expected or expected == 0):
                continue
            if shown is None or expected is None or abs(shown - expected) > few * max(abs(expected), 1e-9):
                wrong.append(f"{name}: the page has {shown}, /metrics {expected}")
            elif expected:
                compared.add(name)
        return wrong, compared

    def equals(self, window):
        for _ in range(MATCHING):  # two questions are not the same moment
            wrong, compared = self.compare(window)
            if not wrong:
                break
            time.sleep(0.5)
        self.assertEqual(wrong, [])
        return compared

    def test_figures_are_those_of_metrics(self):
        self.start()
        typing = self.start_typing(pause=0.01)
        self.open()
        self.wait_live()
        self.wait_figure("inline_request_seconds.computed.n", 40)
        self.wait_figure("inline_errors_total.n", 1)
        typing.stop()
        self.assertIsNone(typing.problem)
        compared = self.equals("15m")
        for name in ("inline_request_seconds.computed.p50", "inline_request_seconds.cached.p95", "inline_requests_total.n",
                     "inline_cache_hits_total.rate", "inline_errors_total.n", "inline_errors_total.rate",
                     "inline_memory_bytes.value", "inline_memory_max_bytes.value", "inline_predicted_tokens_total.n",
                     "inline_first_token_seconds.p50", "inline_cache_misses_total.new.n", "inline_cache_entries.memory.value"):
            self.assertIn(name, compared)
        self.assertGreater(len(compared), 20)
        self.assertEqual(self.figures()["inline_requests_total.n"], typing.n)
        # Read aloud, not only in attributes.
        shown = self.browser.eval("document.querySelector('[data-figure=\"inline_requests_total.n\"]').textContent")
        self.assertEqual(int(re.sub(r"\D", "", shown)), typing.n)

    def test_windows(self):
        self.start()
        self.start_typing()
        self.open()
        self.wait_live()
        for window in ("1m", "24h", "15m"):
            self.browser.do("click", selector=f"label[for=window-{window}]")
            self.browser.wait(f"document.querySelector('main').dataset.window === '{window}'")
            self.wait_live()
            self.wait_figure("inline_request_seconds.computed.n", 1)
        asked = [url for url in self.browser.do("seen")["requests"] if "/live" in url]
        self.assertTrue(asked[-1].endswith("window=15m"), asked)
        self.check_manners()

    def focused(self):
        return self.browser.eval("(() => { const e = document.activeElement; return e === document.body ? '' :"
                                 " e.id || e.getAttribute('aria-label') || e.textContent.slice(0, 40); })()")

    def tab_until(self, wanted, most=80):
        walked = []
        for _ in range(most):
            self.browser.do("press", key="Tab")
            walked.append(self.focused())
            if re.match(wanted, walked[-1]):
                return walked
        raise AssertionError(f"Tab does not reach {wanted}: {walked}")

    def test_keyboard(self):
        self.start()
        typing = self.start_typing()
        self.open()
        self.wait_live()
        self.browser.wait("document.querySelectorAll('tr[data-id]').length > 3")
        typing.stop()
        time.sleep(1.5)  # the last "now" has come
        walked = self.tab_until(r"Story of request")
        for control in ("window-15m", "pause", "theme"):
            self.assertIn(control, walked)
        self.assertNotEqual(self.browser.eval("getComputedStyle(document.activeElement).outlineStyle"), "none")
        opener = self.focused()
        self.browser.do("press", key="Enter")
        self.browser.wait("document.getElementById('story').open")
        self.browser.wait("document.querySelectorAll('#story .story p').length > 0")
        self.assertTrue(self.browser.eval("document.getElementById('story').contains(document.activeElement)"))
        self.check_accessible()
        self.screenshot("story", whole=False)
        self.browser.do("press", key="Escape")
        self.browser.wait("!document.getElementById('story').open")
        self.assertEqual(self.focused(), opener)
        self.tab_until(r"All settings", most=200)
        self.tab_until(r"As a table", most=200)
        self.browser.do("press", key="Enter")
        self.browser.wait("document.activeElement.closest('details').open")
        self.browser.wait("document.activeElement.closest('details').querySelectorAll('td').length > 10")
        self.check_manners()

    def test_pause_by_keyboard(self):
        self.start()
        self.open()
        self.wait_live()
        self.tab_until(r"pause$")
        self.browser.do("press", key="Space")
        self.browser.wait("document.getElementById('connection').dataset.state === 'paused'")
        self.assertEqual(self.browser.eval("document.activeElement.getAttribute('aria-pressed')"), "true")
        self.browser.do("press", key="Space")
        self.wait_live()
        self.check_manners()

    def test_reconnects(self):
        self.expected_console = ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET",
                                 "ERR_EMPTY_RESPONSE"]
        self.start()
        port, typing = self.daemon.port, self.start_typing()
        self.open()
        self.wait_live()
        self.wait_figure("inline_request_seconds.computed.n", 5)
        typing.stop()
        self.daemon.process.kill()
        self.daemon.wait()
        self.browser.wait("document.getElementById('connection').dataset.state === 'lost'")
        self.browser.wait("document.querySelector('main').hasAttribute('data-stale')")
        self.screenshot("lost")
        self.check_accessible()
        self.start(listen=f"127.0.0.1:{port}")
        self.wait_live()
        self.browser.wait(f"document.getElementById('about').textContent.includes('process {self.daemon.pid}')")
        self.assertFalse(self.browser.eval("document.querySelector('main').hasAttribute('data-stale')"))
        self.assertEqual(self.figures()["inline_requests_total.n"], 0)
        typing = self.start_typing()
        self.wait_figure("inline_requests_total.n", 3)
        self.check_manners()

    def test_drains(self):
        """A daemon that is ended does not wait for the page."""
        self.expected_console = ["ERR_"]
        self.start()
        self.open()
        self.wait_live()
        began = time.monotonic()
        self.assertEqual(self.daemon.stop(), 0)
        self.assertLess(time.monotonic() - began, 5)
        self.browser.wait("document.getElementById('connection').dataset.state === 'lost'")

    def test_token(self):
        self.expected_console = ["401"]  # Chromium tells of each
        self.start(settings="[serve]\ntoken = secret-1234\n")
        self.open()
        self.browser.wait("document.getElementById('token-form')")
        self.assertEqual(self.browser.eval("document.querySelectorAll('tr[data-id]').length"), 0)
        self.assertEqual(self.focused(), "token")
        self.check_accessible()
        self.screenshot("token", whole=False)
        self.browser.do("type", text="wrong")
        self.browser.do("press", key="Enter")
        self.browser.wait("document.getElementById('token-form')?.textContent.includes('not the daemon')")
        self.browser.do("type", text="secret-1234")
        self.browser.do("press", key="Enter")
        self.wait_live()
        self.browser.wait("!document.getElementById('token-form')")
        self.assertIsNone(self.browser.eval("localStorage.getItem('inline-token')"))
        self.check_manners()


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""inline top: the running daemon, live in a terminal."""

import re
import signal
import time
import unittest

from daemon import DaemonTest
from front import FIXTURES, PROGRAM
from screen import Screen

MODEL = FIXTURES / "models" / "qwen2.gguf"  # of random weights; it has FIM tokens
UP, DOWN, ESCAPE, ENTER, CTRL_C = "\x1b[A", "\x1b[B", "\x1b", "\r", "\x03"


class WithoutDaemon(DaemonTest):
    def test_once(self):
        self.fails("top", "--once", says=["no daemon is running", "inline serve"])
        self.fails("top", says="no daemon is running")  # not a terminal: as with --once
        self.fails("top", "x", status=2, says="takes no arguments")
        self.fails("top", "--interval", "0", status=2, says="interval")


class TopTest(DaemonTest):
    def setUp(self):
        super().setUp()
        self.env["INLINE_CACHE_PREFETCH"] = "off"  # what is computed ahead would be counted too
        self.daemon = self.start_daemon(model=MODEL).wait_ready()
        self.env.pop("NO_COLOR", None)
        self.env.update(TERM="xterm-256color", LC_ALL="C.UTF-8")

    def ask(self, text="int a = "):
        status, _, body = self.daemon.post("/infill", {"input_prefix": text, "input_suffix": ";", "n_predict": 4})
        self.assertEqual(status, 200, body)

    def top(self, *args, **size):
        screen = Screen([PROGRAM, "top", "--interval", "0.2", *args], self.env, **size)
        self.addCleanup(screen.close)
        return screen

    def leave(self, screen):
        screen.type("q")
        self.assertEqual(screen.wait_end(), 0, screen.raw)
        self.assertTrue(screen.is_restored())


class Once(TopTest):
    def test_text(self):
        for i in range(3):
            self.ask(f"int a{i} = ")
        self.ask("int a2 = ")  # from the cache
        out = self.succeeds("top", "--once").out
        self.assertNotIn("\x1b", out)
        self.assertIn(f"process {self.daemon.pid}", out)
        self.assertRegex(out, r"(?m)^requests +4 ")
        self.assertRegex(out, r"(?m)^computed +p50 [\d.]+ m?s +p95 ")
        self.assertRegex(out, r"(?m)^cached +p50 [\d.]+ m?s .* target p50 <= 100 ms met")
        self.assertRegex(out, r"(?m)^hit rate +25 %")
        self.assertRegex(out, r"  decode +[\d.]+ m?s +\W*\d+ %")
        self.assertRegex(out, r"(?m)^memory +[\d.]+ [MG]B of ")
        self.assertRegex(out, r"(?m)^models +qwen2 ready main")
        self.assertEqual(len(re.findall(r"(?m)^  \d\d:\d\d:\d\d +[\d.]+ m?s ", out)), 4, out)

    def test_plain_terminal(self):
        """A terminal that knows nothing gets the same picture once."""
        self.env["TERM"] = "dumb"
        screen = self.top(rows=60)
        self.assertEqual(screen.wait_end(), 0)
        self.assertIn(f"process {self.daemon.pid}", screen.text)
        self.assertNotIn("\x1b[?", screen.raw)
        self.assertTrue(screen.is_restored())


class Live(TopTest):
    def test_draws_and_leaves(self):
        self.ask()
        screen = self.top()
        screen.wait(r"^requests +1 ")
        self.assertTrue(screen.is_alternate)
        self.assertFalse(screen.has_cursor)
        self.assertIn("\x1b[1m", screen.raw)
        self.ask("int b = ")
        screen.wait(r"^requests +2 ")
        self.assertRegex(screen.text, r"\nq leave .*\n*\Z")
        self.leave(screen)

    def test_windows_and_help(self):
        screen = self.top()
        for key, window in (("1", "1m"), ("3", "24h"), ("2", "15m")):
            screen.type(key)
            screen.wait(rf"^inline .* last {window}\b")
        screen.type("?")
        screen.wait(r"^p +stop the picture")
        screen.type(ESCAPE)
        screen.wait(r"^requests ")
        self.leave(screen)

    def test_pause(self):
        screen = self.top()
        screen.wait(r"^requests +0 ")
        screen.type("p")
        screen.wait(r" paused")
        self.ask()
        for _ in range(5):
            screen.read(0.2)
        self.assertRegex(screen.text, r"(?m)^requests +0 ")
        screen.type("p")
        screen.wait(r"^requests +1 ")
        self.leave(screen)

    def test_story(self):
        self.ask()
        self.ask("float b = ")
        screen = self.top()
        screen.wait(r"^requests +2 ")
        screen.wait(r"^  \d\d:\d\d:\d\d ")
        screen.type(DOWN)
        screen.wait(r"^> \d\d:\d\d:\d\d ")
        screen.type(DOWN + ENTER)
        screen.wait(r"^request 1\b.* qwen2$")
        self.assertRegex(screen.text, r"(?m)^  \S+ \S+ .*\S")  # there are sentences
        screen.type(ESCAPE)
        screen.wait(r"^> \d\d:\d\d:\d\d ")
        screen.type(UP + ENTER)
        screen.wait(r"^request 2\b")
        self.leave(screen)

    def test_sizes(self):
        for i in range(30):
            self.ask(f"int a{i} = ")
        screen = self.top(columns=40, rows=24)  # longer lines than that fail the test
        screen.wait(r"^requests +30 ")
        screen.wait(r"^computed ")
        for columns, rows in ((120, 50), (20, 5), (1, 1), (80, 24)):
            screen.resize(columns, rows)
            if rows > 5:
                screen.wait(r"^computed .*\n(.*\n)*.*q leave")
            else:
                for _ in range(4):
                    screen.read(0.2)
        self.assertRegex(screen.text, r"(?m)^  \d\d:\d\d:\d\d ")
        self.assertRegex(screen.text, r"(?m)^memory ")
        self.leave(screen)

    def test_no_colour(self):
        self.env["NO_COLOR"] = "1"
        screen = self.top()
        screen.wait(r"^requests ")
        self.assertFalse(re.search(r"\x1b\[[1-9]\d*m", screen.raw), screen.raw)
        self.leave(screen)

    def test_ascii(self):
        self.env["LC_ALL"] = "C"
        for i in range(3):
            self.ask(f"int a{i} = ")
        screen = self.top()
        screen.wait(r"^computed ")
        self.assertTrue(screen.raw.isascii(), screen.raw)
        self.leave(screen)

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            screen = self.top()
            screen.wait(r"^requests ")
            screen.process.send_signal(number)
            self.assertEqual(screen.wait_end(), -number)
            self.assertTrue(screen.is_restored(), number)
        screen = self.top()
        screen.wait(r"^requests ")
        screen.type(CTRL_C)
        self.assertEqual(screen.wait_end(), -signal.SIGINT)
        self.assertTrue(screen.is_restored())

    def test_stopped_and_continued(self):
        screen = self.top()
        screen.wait(r"^requests ")
        screen.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        screen.process.send_signal(signal.SIGCONT)
        self.ask()
        screen.wait(r"^requests +1 ")
        self.leave(screen)

    def test_daemon_goes_and_comes(self):
        self.ask()
        screen = self.top()
        screen.wait(r"^requests +1 ")
        self.assertEqual(self.daemon.stop(), 0)
        screen.wait(r"^no daemon for \d+ s, trying again")
        self.assertRegex(screen.text, r"(?m)^requests +1 ")  # what was known last
        self.daemon = self.start_daemon(model=MODEL).wait_ready()
        screen.wait(rf"process {self.daemon.pid}, ")
        self.assertNotIn("no daemon", screen.text)
        screen.wait(r"^requests +0 ")
        self.leave(screen)

    def test_waits_for_a_daemon(self):
        self.assertEqual(self.daemon.stop(), 0)
        screen = self.top()
        screen.wait(r"^no daemon for \d+ s")
        self.daemon = self.start_daemon(model=MODEL).wait_ready()
        screen.wait(r"^requests +0 ")
        self.leave(screen)


if __name__ == "__main__":
    unittest.main()

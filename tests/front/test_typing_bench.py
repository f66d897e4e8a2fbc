"""bench/typing against the daemon: its figures can be true. And its parts: the window of the text, the user, llama.vim's
cache."""

import json
import pathlib
import subprocess
import sys
import unittest

from daemon import DaemonTest
from front import FIXTURES, PROGRAM, ROOT

MODEL = FIXTURES / "models" / "qwen2.gguf"

sys.path.append(str(ROOT / "bench"))
import typing_clients as clients
import typing_user as user

MODEL = FIXTURES / "models" / "qwen2.gguf"
TEXT = "int zero(void)\n{\n    return 0;\n}\n\nint one(void)\n{\n    return 1;\n}\n"


def editor_at(text, y, x):
    editor = user.Editor(text)
    editor.y, editor.x = y, x
    return editor


class EditorTest(unittest.TestCase):
    def test_events(self):
        editor = user.Editor(TEXT)
        editor.apply({"go": 2, "cut": 2})
        self.assertEqual((editor.y, editor.x, editor.lines[2:4]), (2, 4, ["    ", ""]))
        editor.apply({"type": "x"})
        editor.apply({"accept": " = 1;\n    y"})
        self.assertEqual(editor.lines[2:5], ["    x = 1;", "    y", ""])
        editor.apply({"delete": 1})
        self.assertEqual((editor.y, editor.head, editor.tail), (3, "    ", ""))

    def test_window(self):
        prefix, head, suffix = editor_at(TEXT, 2, 10).window()
        self.assertEqual((prefix, head), ("int zero(void)\n{\n", "    return"))
        self.assertTrue(suffix.startswith(" 0;\n}\n\nint one"))
        self.assertEqual(prefix + head + suffix, TEXT + "\n")

    def test_window_of_a_blank_line(self):
        self.assertEqual(editor_at("a\n    \nb", 1, 4).window(), ("a\n", "", "\nb\n"))

    def test_window_is_cut(self):
        lines = [str(i) for i in range(1000)]
        prefix, head, suffix = editor_at("\n".join(lines), 500, 3).window()
        self.assertEqual(prefix.split("\n")[:-1], lines[500 - 256 : 500])
        self.assertEqual(suffix.split("\n")[1:-1], lines[501 : 501 + 64])

    def test_window_ahead(self):
        editor = editor_at("a\nb\nc", 1, 1)
        self.assertEqual(editor.window(ahead=["1"]), ("a\n", "b1", "\nc\n"))
        self.assertEqual(editor.window(ahead=["1", "2", "3"]), ("a\nb1\n2\n", "3", "\nc\n"))


class UserTest(unittest.TestCase):
    def texts(self, follow, shown_of, n=60):
        """What is typed at one place by somebody who is shown this."""
        editor, someone = user.Editor(TEXT * 20), user.User(n, follow, 7)
        events = []
        shown = ""
        while event := someone.next_event(editor, shown):
            editor.apply(event)
            events.append(event)
            shown = shown_of(editor)
        return editor, events

    def test_follows(self):
        """Of "(abcdefgh)", shown as far as it is not typed."""

        def rest(editor):
            done = editor.head.lstrip().rpartition("(")[2]
            return "(abcdefgh)" if not editor.head.strip() else "abcdefgh)"[len(done) :] if "(" in editor.head else ""

        editor, _ = self.texts(1.0, rest)
        self.assertGreaterEqual(sum("(abcdefgh)" in line for line in editor.lines), 3)

    def test_does_not_follow(self):
        editor, _ = self.texts(0.0, lambda editor: "§§§§")
        self.assertNotIn("§", "".join(editor.lines))

    def test_replay(self):
        editor, events = self.texts(0.9, lambda editor: "abc")
        again, recording = user.Editor(TEXT * 20), user.Recording(events)
        while event := recording.next_event(again, "something else"):
            again.apply(event)
        self.assertEqual(again.lines, editor.lines)


class AnswerCacheTest(unittest.TestCase):
    def setUp(self):
        self.cache = clients.AnswerCache()

    def put(self, text, suffix, content):
        self.cache.insert(self.cache.hash(text, suffix), content)

    def test_typed_through(self):
        self.put("a\nint", "\n", " x = 1;")
        self.assertEqual(self.cache.suggestion(("a\n", "int", "\n")), " x = 1;")
        self.assertEqual(self.cache.suggestion(("a\n", "int x ", "\n")), "= 1;")
        self.assertIsNone(self.cache.suggestion(("a\n", "int y", "\n")))
        self.assertIsNone(self.cache.suggestion(("a\n", "int x = 1;", "\n")), "nothing is left of it")
        self.assertIsNone(self.cache.suggestion(("a\n", "int x", "\n}\n")), "another suffix")

    def test_looks_back_so_far(self):
        self.put("a", "\n", "b" * 200)
        self.assertIsNotNone(self.cache.suggestion(("", "a" + "b" * 128, "\n")))
        self.assertIsNone(self.cache.suggestion(("", "a" + "b" * 129, "\n")))

    def test_is_bounded(self):
        for i in range(300):
            self.put(str(i), "\n", "x")
        self.assertEqual(len(self.cache.answers), 250)
        self.assertIsNone(self.cache.suggestion(("", "49", "\n")))
        self.assertEqual(self.cache.suggestion(("", "50", "\n")), "x")


class TypingTest(DaemonTest):
    def typing(self, *args, **kwargs):
        command = [sys.executable, "-B", ROOT / "bench" / "typing", "--greedy", "--max-tokens", 8, "--patience", 0.1,
                   "--keys-per-second", 20, "--keys", 60, *args]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=100, env=self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def check(self, side):
        self.assertEqual(side["errors"], 0, side["error_texts"])
        self.assertEqual(side["keys"] + side["unasked"], 59)  # the first event is the warm-up
        self.assertLess(side["unanswered"], side["keys"])
        self.assertLessEqual(side["p50_ms"], side["p99_ms"])
        for name in ("as_suggested_share", "from_cache_share", "in_time_share", "own_answer_share"):
            self.assertTrue(0 <= side[name] <= 1, name)
        self.assertLessEqual(sum(side["levels"].values()) + sum(side["misses"].values()), side["keys"])

    def test_daemon(self):
        daemon = self.start_daemon(model=MODEL).wait_ready()
        out = json.loads(self.typing("--inline", daemon.url, "--json", "--each"))
        self.check(out["inline"])
        self.assertEqual(len(out["each"]["inline"]), out["inline"]["keys"])

    def test_compare(self):
        """With a llama-server of our own making, which says "abc" whatever it is asked."""
        llama = self.home / "llama"
        llama.mkdir()
        stand_in = llama / "llama-server"
        script = pathlib.Path(__file__).parent / "llama.py"
        stand_in.write_text(f"#!/bin/sh\nexec {sys.executable} -B {script} llama-server \"$@\"\n")
        stand_in.chmod(0o755)
        keys = self.home / "keys.json"
        sides = ("--inline", PROGRAM, "--llama", llama, "--model", MODEL)
        out = json.loads(self.typing(*sides, "--json", "--record", keys))
        for name in ("inline", "llama-same-keys", "llama-own"):
            self.check(out[name])
        self.assertEqual(out["llama-same-keys"]["keys"], out["inline"]["keys"])
        self.assertGreater(out["llama-own"]["levels"]["client"], 0)
        self.assertGreater(out["llama-own"]["as_suggested_share"], 0.1)  # busy machines answer late
        self.assertGreater(out["ratio"]["llama-same-keys"]["p50"], 0)
        self.assertEqual(len(json.loads(keys.read_text())), 60)
        again = self.typing(*sides, "--replay", keys)
        self.assertIn("llama-same-keys / inline", again)


if __name__ == "__main__":
    unittest.main()

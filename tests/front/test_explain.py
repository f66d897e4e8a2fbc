"""inline explain: a request's story, told by the daemon that answered it, or read from what it left on disk."""

import json
import re
import unittest

from daemon import DaemonTest
from editor import INLINE, EditorTest
from front import FIXTURES

MODEL = FIXTURES / "models" / "qwen2.gguf"  # of random weights; it has FIM tokens
EDITOR_MODEL = FIXTURES / "models" / "starcoder2.gguf"  # answers nearly everything with a run of one letter
SECRET = "tell_nobody_of_this"
NO_LIMIT = {"n_predict": 8, "temperature": 0}


class ExplainTest(DaemonTest):
    env_journal = {"INLINE_JOURNAL_DAYS": "30"}

    @property
    def database(self):
        return self.home / "state" / "inline" / "journal.db"

    def explain(self, *args):
        return json.loads(self.succeeds("explain", *args, "--json").out)

    def infill(self, daemon, prefix, **more):
        status, _, body = daemon.post("/infill", {"input_prefix": prefix, "input_suffix": ";\n", **NO_LIMIT, **more})
        self.assertEqual(status, 200, body)
        return body


class WithoutDaemon(ExplainTest):
    def test_nothing_to_tell(self):
        for args in ((), ("last",), ("17",), ("--list",), ("--json",)):
            self.fails("explain", *args, says=["no daemon is running", "journal.days"])

    def test_usage(self):
        for args in (("x",), ("0",), ("-1x",), ("1", "2"), ("--list", "0"), ("--list", "1001"), ("--list", "x"),
                     ("99999999999999999999",)):
            self.fails("explain", *args, status=2)


class WithDaemon(ExplainTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon(model=MODEL).wait_ready()

    def test_before_any_request(self):
        self.fails("explain", says="no request")
        self.fails("explain", "1", says="request 1 is not kept")
        self.assertIn("no request", self.succeeds("explain", "--list").out)
        self.assertEqual(self.explain("--list"), {"requests": []})

    def test_story(self):
        prefix = f"int {SECRET} = 12 + "
        self.infill(self.daemon, prefix)
        one = self.explain()
        self.assertEqual((one["id"], one["api"], one["outcome"], one["model"]), (1, "infill", "ok", "qwen2"))
        self.assertEqual((one["source"], one["miss"]), ("", "new"))
        self.assertEqual(one["break_part"], "start")
        self.assertEqual(one["reused"] + one["restored"] + one["moved"] + one["computed"], one["prompt_tokens"])
        self.assertGreater(one["total_ms"], 0)
        parts = ("queue", "load", "context", "lookup", "prefill", "decode", "post")
        self.assertLessEqual(sum(one[f"{p}_ms"] for p in parts), one["total_ms"] * 1.02 + 0.1)
        story = self.succeeds("explain").out
        self.assertRegex(story, r"^Request 1\n\nOn \d{4}-\d\d-\d\d at \d\d:\d\d:\d\d a client of /infill asked")
        self.assertIn("No cache had it: nothing had been suggested at this place yet.\n", story)
        self.assertEqual(story.split("\n\n", 1)[1].splitlines(), one["story"])
        self.assertEqual(story, self.succeeds("explain", "1").out)
        self.assertEqual(story, self.succeeds("explain", "last").out)

        self.infill(self.daemon, prefix)
        two = self.explain("2")
        self.assertEqual((two["source"], two["miss"], two["computed"]), ("memory", "", 0))
        self.assertTrue(any("memory cache" in sentence for sentence in two["story"]), two["story"])

        self.infill(self.daemon, prefix + "3 + ")  # shares its beginning
        three = self.explain("last")
        self.assertEqual((three["id"], three["source"]), (3, ""))
        self.assertGreater(three["reused"], 0)
        self.assertNotIn(SECRET, story + json.dumps([one, two, three]) + self.daemon.log)

    def test_list(self):
        for i in range(5):
            self.infill(self.daemon, f"int a{i} = ")
        table = self.succeeds("explain", "--list").out
        self.assertEqual(re.findall(r"(?m)^ +(\d+)  \d\d-\d\d \d\d:\d\d:\d\d  infill +ok ", table), list("54321"))
        self.assertRegex(table, r"(?m)^ +ID +TIME +DOOR +OUTCOME +MS +COMPUTED +AT HAND +CACHE +RESULT$")
        table = self.succeeds("explain", "--list", "2").out
        self.assertEqual(re.findall(r"(?m)^ +(\d+)  \d\d", table), list("54"))
        self.assertEqual([r["id"] for r in self.explain("--list", "3")["requests"]], [5, 4, 3])

    def test_http(self):
        self.infill(self.daemon, "int a = ")
        status, _, body = self.daemon.get("/journal?id=last")
        self.assertEqual((status, body), (200, self.explain()))
        self.assertEqual(self.daemon.get("/journal?n=1")[2]["requests"][0]["id"], 1)
        self.assertEqual(self.daemon.get("/journal?id=9")[0], 404)
        self.assertEqual(self.daemon.get("/journal?n=x")[0], 400)
        self.assertEqual(self.daemon.post("/journal", {})[0], 405)

    def test_nothing_on_disk(self):
        self.infill(self.daemon, "int a = ")
        self.assertEqual(self.daemon.stop(), 0)
        self.assertFalse(self.database.exists())


class OnDisk(ExplainTest):
    def test_outlives_the_daemon(self):
        self.env.update(self.env_journal)
        daemon = self.start_daemon(model=MODEL).wait_ready()
        for i in range(3):
            self.infill(daemon, f"int {SECRET}{i} = ")
        before = self.succeeds("explain", "2").out
        listed = self.explain("--list")
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(self.database.stat().st_mode & 0o777, 0o600)

        # No daemon: the same, from the file.
        self.assertEqual(self.succeeds("explain", "2").out, before)
        self.assertEqual(self.explain("--list"), listed)
        self.assertEqual(self.explain()["id"], 3)
        self.fails("explain", "17", says="no request 17")
        for path in self.database.parent.iterdir():
            self.assertNotIn(SECRET.encode(), path.read_bytes())

        # The next daemon knows what the last one did, and counts on.
        daemon = self.start_daemon(model=MODEL).wait_ready()
        self.assertEqual(self.succeeds("explain", "2").out, before)
        self.assertEqual(self.explain()["id"], 3)
        self.assertEqual(self.explain("--list"), listed)
        self.infill(daemon, "int b = ")
        self.assertEqual(self.explain()["id"], 4)
        self.fails("explain", "17", says="17 is not kept")

    def test_broken_file(self):
        self.env.update(self.env_journal)
        self.database.parent.mkdir(parents=True)
        self.database.write_text("this is no database, but a text that is long enough to be looked at" * 100)
        self.fails("explain", says="journal.db")
        daemon = self.start_daemon(model=MODEL).wait_ready()
        daemon.wait_log("is set aside")
        self.infill(daemon, "int a = ")
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(self.explain()["id"], 1)
        self.assertTrue((self.database.parent / "journal.db.unusable").exists())


class FromAnEditor(EditorTest):
    def last(self):
        return json.loads(self.succeeds("explain", "last", "--json").out)

    def test_accepted(self):
        daemon = self.start_daemon(model=EDITOR_MODEL, env={"INLINE_COMPLETE_MAX_TOKENS": "8"}).wait_ready()
        editor = self.connect(daemon)
        editor.start(INLINE)
        editor.open()
        item = editor.complete(2, 11)["items"][0]
        one = self.last()
        self.assertEqual((one["api"], one["outcome"]), ("lsp", "ok"))
        self.assertEqual(one["chars"], len(item["insertText"]))
        editor.request("workspace/executeCommand", {"command": item["command"]["command"],
                                                    "arguments": item["command"]["arguments"]})
        self.assertEqual(self.last()["fate"], "accepted")
        self.assertIn("It was accepted.", self.succeeds("explain").out)


if __name__ == "__main__":
    unittest.main()

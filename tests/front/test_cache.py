"""inline cache stats|clear|verify and inline bench cache, with and without a daemon."""

import json
import os
import time
import unittest

import slow_model
from editor import INLINE, EditorTest
from front import FIXTURES

MODEL = FIXTURES / "models" / "qwen2.gguf"  # of random weights; it has FIM tokens
LEVELS = ["memory", "disk", "project", "team"]
SOURCE = "int add(int a, int b)\n{\n    return "


class CacheTest(EditorTest):
    def setUp(self):
        super().setUp()
        self.cache = self.home / "cache" / "inline"
        self.env["INLINE_CACHE_PREFETCH"] = "off"  # what is computed ahead would be counted too
        self.database = self.cache / "completions" / "answers.db"

    def cache_json(self, *args, **kwargs):
        return json.loads(self.succeeds("cache", *args, "--json", **kwargs).out)

    def complete(self, daemon, prefix, document="a.c"):
        status, _, body = daemon.post("/infill", {"input_prefix": prefix, "input_suffix": "\n}\n", "n_predict": 8,
                                                  "filename": document, "document": document, "priority": "asked"})
        self.assertEqual(status, 200, body)
        return body

    def wait_stats(self, is_right):
        """Writing is behind: look until it has happened."""
        deadline = time.monotonic() + 30
        while True:
            stats = self.cache_json("stats")
            if is_right(stats):
                return stats
            self.assertLess(time.monotonic(), deadline, stats)
            time.sleep(0.05)

    def fill(self, n=5, model=MODEL):
        """A daemon that keeps n completions on disk, and then ends."""
        daemon = self.start_daemon(model=model).wait_ready()
        for i in range(n):
            self.complete(daemon, SOURCE + "a + " * i)
        self.wait_stats(lambda s: s["levels"]["disk"]["entries"] >= n)
        self.assertEqual(daemon.stop(), 0)

    def damage(self):
        """Pages in the middle of the database become noise."""
        with self.database.open("r+b") as f:
            size = os.fstat(f.fileno()).st_size
            f.seek(4096)
            f.write(os.urandom(max(size - 4096, 4096)))


class WithoutDaemon(CacheTest):
    def test_nothing_is_there(self):
        stats = self.cache_json("stats")
        self.assertFalse(stats["daemon"])
        self.assertEqual(list(stats["levels"]), LEVELS)
        self.assertEqual(stats["databases"], [])
        self.assertEqual(stats["disk"], {"completions_bytes": 0, "kv_bytes": 0, "packs_bytes": 0})
        self.assertIn("No daemon runs", self.succeeds("cache", "stats").out)
        self.assertEqual(self.cache_json("verify"), {"databases": [], "good": True})
        self.assertEqual(self.cache_json("clear")["deleted"], 0)
        self.assertFalse(self.cache.joinpath("completions").exists())  # looking makes nothing

    def test_settings_show(self):
        self.write_settings("[cache]\nmemory_mb = 0\ndisk_mb = 17\nteam = redis://:verysecret@127.0.0.1:1/0\n")
        levels = self.cache_json("stats")["levels"]
        self.assertEqual([levels[name]["on"] for name in LEVELS], [False, True, True, True])
        self.assertEqual(levels["disk"]["max_bytes"], 17_000_000)
        for args in (["config"], ["config", "--json"], ["cache", "stats"], ["cache", "stats", "--json"]):
            self.assertNotIn("verysecret", self.succeeds(*args).out)

    def test_usage(self):
        self.fails("cache", status=2, says=["stats", "clear", "verify"])
        self.fails("cache", "stat", status=2, says="stats")
        self.fails("cache", "stats", "x", status=2)
        self.fails("cache", "verify", "x", status=2)
        self.fails("cache", "clear", "x", status=2, says="--project")
        self.fails("cache", "clear", "--all", "--file", "x", status=2, says="--all")
        self.fails("cache", "clear", "--project", self.home / "nowhere", says="nowhere")

    def test_team_address_is_checked(self):
        result = self.fails("serve", "--listen", "127.0.0.1:0", "--model", MODEL,
                            env={"INLINE_CACHE_TEAM": "http://user:verysecret@host/"}, says="cache.team")
        self.assertNotIn("verysecret", result.err)

    def test_all_deletes_other_caches(self):
        for folder, name, size in (("kv", "0123456789abcdef.kv", 100), ("packs", "0-v1.pack", 2000), ("packs", "notes", 7)):
            path = self.cache / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(size))
        disk = self.cache_json("stats")["disk"]
        self.assertEqual((disk["kv_bytes"], disk["packs_bytes"]), (100, 2000))
        self.assertEqual(self.cache_json("clear")["kv_bytes"], 0)
        done = self.cache_json("clear", "--all")
        self.assertEqual((done["kv_bytes"], done["packs_bytes"]), (100, 2000))
        self.assertEqual(sorted(p.name for p in self.cache.glob("*/*")), ["notes"])

    def test_files(self):
        """What a daemon left behind is counted, verified and deleted."""
        self.fill()
        stats = self.cache_json("stats")
        self.assertGreaterEqual(stats["levels"]["disk"]["entries"], 5)
        self.assertEqual(stats["levels"]["disk"]["bytes"], stats["databases"][0]["bytes"])
        self.assertEqual(stats["disk"]["completions_bytes"], sum(d["bytes"] for d in stats["databases"]))
        verified = self.cache_json("verify")
        self.assertTrue(verified["good"])
        self.assertEqual(verified["databases"][0]["entries"], stats["levels"]["disk"]["entries"])
        self.assertIn("good", self.succeeds("cache", "verify").out)
        done = self.cache_json("clear")
        self.assertEqual(done["deleted"], sum(d["entries"] for d in verified["databases"]))
        self.assertEqual(self.cache_json("stats")["levels"]["disk"]["entries"], 0)
        self.assertTrue(self.cache_json("verify")["good"])

    def test_clear_file(self):
        self.fill()
        before = self.cache_json("stats")["levels"]["disk"]["entries"]
        self.assertEqual(self.cache_json("clear", "--file", "/some/where/other.c")["deleted"], 0)
        self.assertEqual(self.cache_json("clear", "--file", "/some/where/a.c")["deleted"], before)

    def test_damaged_database(self):
        self.fill()
        self.damage()
        for args, where in ((["verify"], "out"), (["verify", "--json"], "out")):
            result = self.run_inline("cache", *args)
            self.assertEqual(result.status, 1, result)
            self.one_line(result)
            self.assertIn("inline cache clear", result.err)
            self.assertIn(str(self.database), getattr(result, where))
        report = json.loads(result.out)
        self.assertFalse(report["good"])
        self.assertFalse(report["databases"][0]["good"])
        self.assertTrue(report["databases"][0]["fault"])
        self.succeeds("cache", "stats")  # tells what it can
        self.succeeds("cache", "clear")
        self.assertTrue(self.cache_json("verify")["good"])

    def test_not_a_database(self):
        self.database.parent.mkdir(parents=True)
        self.database.write_bytes(b"not a database\n" * 1000)
        result = self.run_inline("cache", "verify")
        self.assertEqual(result.status, 1, result)
        self.assertIn("damaged", result.out)
        self.succeeds("cache", "clear")
        self.succeeds("cache", "verify")


class WithDaemon(CacheTest):
    def test_stats_and_clear(self):
        daemon = self.start_daemon(model=MODEL).wait_ready()
        first = self.complete(daemon, SOURCE)
        self.assertEqual(self.complete(daemon, SOURCE)["content"], first["content"])
        stats = self.wait_stats(lambda s: s["levels"]["disk"]["entries"] >= 1)
        self.assertTrue(stats["daemon"])
        self.assertGreaterEqual(stats["answers"], 2)
        self.assertGreaterEqual(stats["found"]["memory"], 1)
        self.assertGreaterEqual(sum(stats["missed"].values()), 1)
        self.assertEqual(stats["answers"], sum(stats["found"].values()) + sum(stats["missed"].values()))
        text = self.succeeds("cache", "stats").out
        for word in ("memory", "disk", "Since the daemon started", "from caches", "saved KV"):
            self.assertIn(word, text)
        self.assertTrue(self.cache_json("verify")["good"])

        self.assertGreaterEqual(self.cache_json("clear")["deleted"], 1)
        stats = self.cache_json("stats")
        self.assertEqual(stats["levels"]["memory"]["entries"], 0)
        self.assertEqual(self.complete(daemon, SOURCE)["content"], first["content"])
        self.assertEqual(self.cache_json("stats")["found"]["memory"], 1)  # it was computed again

    def test_clear_file_empties_the_memory(self):
        daemon = self.start_daemon(model=MODEL).wait_ready()
        self.complete(daemon, SOURCE)
        self.wait_stats(lambda s: s["levels"]["disk"]["entries"] >= 1)
        self.assertGreaterEqual(self.cache_json("clear", "--file", "a.c")["deleted"], 1)
        self.assertEqual(self.cache_json("stats")["levels"]["memory"]["entries"], 0)

    def test_all_needs_the_daemon_gone(self):
        daemon = self.start_daemon(model=MODEL).wait_ready()
        self.complete(daemon, SOURCE)
        self.fails("cache", "clear", "--all", says=["daemon", "--all"])

    def test_access(self):
        """Over TCP only with the token, which is no better without its value."""
        daemon = self.start_daemon(model=MODEL).wait_ready()
        self.assertEqual(daemon.get("/cache")[0], 200)
        self.assertEqual(daemon.post("/cache/clear", {})[0], 403)
        self.assertEqual(daemon.post("/cache/clear", {}, headers={"Authorization": "Bearer x"})[0], 403)
        status, _, body = daemon.post("/cache/clear", {}, unix=True)
        self.assertEqual((status, list(body)), (200, ["deleted"]))

    def test_access_with_a_token(self):
        daemon = self.start_daemon(model=MODEL, env={"INLINE_SERVE_TOKEN": "word"}).wait_ready()
        self.assertEqual(daemon.get("/cache")[0], 401)
        self.assertEqual(daemon.post("/cache/clear", {})[0], 401)
        for headers in ({"Authorization": "Bearer word"},):
            self.assertEqual(daemon.get("/cache", headers=headers)[0], 200)
            self.assertEqual(daemon.post("/cache/clear", {}, headers=headers)[0], 200)

    def test_levels_off(self):
        env = {"INLINE_CACHE_MEMORY_MB": "0", "INLINE_CACHE_DISK_MB": "0", "INLINE_CACHE_PROJECTS_MB": "0"}
        daemon = self.start_daemon(model=MODEL, env=env).wait_ready()
        first = self.complete(daemon, SOURCE)
        self.assertEqual(self.complete(daemon, SOURCE)["content"], first["content"])
        stats = self.cache_json("stats")
        self.assertFalse(any(stats["levels"][name]["on"] for name in LEVELS))
        self.assertEqual(sum(stats["found"].values()), 0)
        self.assertFalse(self.database.exists())

    def test_answers_survive_the_daemon(self):
        model = slow_model.write(MODEL, self.home / "slow.gguf")  # the disk is there first
        self.fill(1, model)
        daemon = self.start_daemon(model=model).wait_ready()
        self.assertEqual(self.complete(daemon, SOURCE)["inline"]["cache"], "disk")
        stats = self.wait_stats(lambda s: s["levels"]["disk"]["asked"] >= 1)
        self.assertEqual(stats["levels"]["disk"]["found"], 1)


class Projects(CacheTest):
    def checkout(self, name, remote):
        """A folder that is a clone of this remote."""
        folder = (self.home / name).resolve()
        (folder / ".git").mkdir(parents=True)
        (folder / ".git" / "config").write_text(f'[core]\n\tbare = false\n[remote "origin"]\n\turl = {remote}\n')
        return folder

    def complete_in(self, daemon, folder, text=SOURCE + "\n}\n"):
        editor = self.connect(daemon)
        editor.start(INLINE, workspaceFolders=[{"uri": folder.as_uri(), "name": folder.name}])
        uri = (folder / "a.c").as_uri()
        editor.open(text, uri=uri)
        editor.complete(2, 11, kind=1, uri=uri)

    def test_checkouts_share_a_database(self):
        one = self.checkout("one", "https://host.example/team/code.git")
        two = self.checkout("two", "git@host.example:team/code")
        other = self.checkout("other", "https://host.example/team/other.git")
        daemon = self.start_daemon(model=MODEL).wait_ready()
        self.complete_in(daemon, one)
        self.wait_stats(lambda s: s["levels"]["project"]["entries"] == 1)
        self.complete_in(daemon, two, "int zero;\n" + SOURCE + "\n}\n")
        self.complete_in(daemon, other)
        stats = self.wait_stats(lambda s: s["levels"]["project"]["entries"] == 3)
        self.assertEqual(len(stats["databases"]), 3)  # one is for everything
        self.assertEqual(stats["levels"]["project"]["bytes"],
                         sum(d["bytes"] for d in stats["databases"] if "/projects/" in d["path"]))
        self.assertEqual(self.cache_json("clear", "--project", two)["deleted"], 2)
        self.assertEqual(self.cache_json("stats")["levels"]["project"]["entries"], 1)
        self.assertEqual(self.cache_json("clear", "--project", self.home)["deleted"], 0)


class BenchTest(CacheTest):
    def test_keys(self):
        out = json.loads(self.succeeds("bench", "cache", "--entries", 3000, "--writers", 2, "--rate", 100,
                                       "--seconds", 0.3, "--json").out)
        for level in ("l1", "l2", "l3"):
            self.assertGreater(out[level]["p50_ms"], 0)
            self.assertLessEqual(out[level]["p50_ms"], out[level]["p99_ms"])
            self.assertGreater(out[level]["bytes"], 0)
            # One question in ten is for what nobody put.
            self.assertGreater(out[level]["found"], 0.8 * out[level]["lookups"])
            self.assertLess(out[level]["found"], 0.98 * out[level]["lookups"])
        self.assertEqual((out["l1"]["entries"], out["l2"]["entries"], out["l3"]["entries"]), (100000, 3000, 3000))
        self.assertGreater(out["open_ms"], 0)
        self.assertGreater(out["written_per_second"], 0)
        self.assertEqual(list(self.cache.iterdir()), [])  # its directory is gone

    def test_usage(self):
        self.fails("bench", "cache", "--entries", 1, status=2, says="entries")
        self.fails("bench", "cache", "x", status=2)


if __name__ == "__main__":
    unittest.main()

"""What one `inline complete` leaves on disk for the next: computed text, which must never change an answer."""

import json
import os
import unittest

from front import FIXTURES, FrontTest


class CompleteReuseTest(FrontTest):
    def setUp(self):
        super().setUp()
        self.env["INLINE_MODEL"] = str(FIXTURES / "models" / "qwen2.gguf")
        self.kv = self.home / "cache" / "inline" / "kv"
        self.file = self.home / "file.py"
        self.file.write_text("".join(f"v{i} = {i * i}\n" for i in range(100)))

    def complete(self, *args, **env):
        result = self.succeeds("complete", self.file, "--max-tokens", 8, "--json", *args, env=env)
        result = json.loads(result.out)
        return result, result["timings"]["reused_tokens"]

    def saved(self):
        return [path for path in self.kv.rglob("*") if path.is_file()]

    def test_second_run_reads_what_the_first_computed(self):
        first, reused = self.complete()
        self.assertEqual(reused, 0)
        self.assertTrue(self.saved())
        self.assertEqual(self.kv.stat().st_mode & 0o077, 0)
        second, reused = self.complete()
        self.assertGreater(reused, 100)
        self.assertEqual(second["text"], first["text"])

    def test_other_text_reuses_what_is_the_same(self):
        self.complete()
        self.file.write_text(self.file.read_text() + "new = ")
        alone, reused = self.complete(INLINE_CACHE_KV_MB="0")
        self.assertEqual(reused, 0)
        changed, reused = self.complete()
        self.assertGreater(reused, 100)
        self.assertEqual(changed["text"], alone["text"])

    def test_off(self):
        self.complete(INLINE_CACHE_KV_MB="0")
        self.assertFalse(self.kv.exists())

    def test_damaged_files_are_misses(self):
        first, _ = self.complete()
        for damage in (lambda data: data[: len(data) // 2], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b""):
            (path,) = self.saved()
            path.write_bytes(damage(path.read_bytes()))
            again, reused = self.complete()
            self.assertEqual(reused, 0)
            self.assertEqual(again["text"], first["text"])

    @unittest.skipIf(os.geteuid() == 0, "root writes anywhere")
    def test_unwritable_cache(self):
        self.kv.parent.mkdir(parents=True)
        self.kv.parent.chmod(0o500)
        self.complete()

    def test_cache_in_the_way(self):
        self.kv.parent.mkdir(parents=True)
        self.kv.write_text("not a directory")
        self.complete()

    def test_time_limits(self):
        result, _ = self.complete("--max-prompt-ms", 1, INLINE_ENGINE_ISA="ref", INLINE_CACHE_KV_MB="0")
        self.assertIn(result["stop_reason"], ("time", "limit", "eog"))
        self.fails("complete", self.file, "--max-predict-ms", -1, status=2, says="max-predict-ms")


if __name__ == "__main__":
    unittest.main()

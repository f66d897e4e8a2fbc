"""inline bench trace, inline bench context and bench/compare: the documented keys, and figures that can be true."""

import json
import pathlib
import subprocess
import sys
import unittest

from front import FIXTURES, PROGRAM, ROOT, FrontTest

MODEL = FIXTURES / "models" / "qwen2.gguf"

TEXT = "int zero(void)\n{\n    return 0;\n}\n\nint one(void)\n{\n    return 1;\n}\n"


class BenchTest(FrontTest):
    def setUp(self):
        super().setUp()
        self.env["INLINE_MODEL"] = str(MODEL)

    def file(self, content=TEXT, name="file.c"):
        path = self.home / name
        path.write_text(content)
        return path

    def report(self, *args, **kwargs):
        return json.loads(self.succeeds("bench", *args, "--json", **kwargs).out)


class TraceTest(BenchTest):
    def trace(self, *args):
        return self.report("trace", self.file(), "--max-tokens", 4, *args)

    def test_each_key(self):
        out = self.trace("--line", 3, "--keys", 6)
        self.assertEqual(out["keys"], 6)
        self.assertEqual("".join(sample["key"] for sample in out["each"]), "    re")
        self.assertEqual(out["each"][0]["key"], "")
        for sample in out["each"]:
            self.assertEqual(sample["prompt_tokens"], sample["reused"] + sample["moved"] + sample["computed"])
            self.assertGreaterEqual(sample["computed"], 1)
            self.assertLessEqual(sample["generated"], 4)
            self.assertLessEqual(sample["build_ms"], sample["ttft_ms"])
            self.assertLessEqual(sample["ttft_ms"], sample["total_ms"])
        self.assertEqual(out["first_request_ms"], out["each"][0]["total_ms"])
        for name in ("ttft", "total"):
            self.assertGreater(out[f"{name}_p50_ms"], 0)
            self.assertLessEqual(out[f"{name}_p50_ms"], out[f"{name}_p95_ms"])
            self.assertLessEqual(out[f"{name}_p95_ms"], out[f"{name}_p99_ms"])
        self.assertLessEqual(out["accepted_per_key_mean"], out["drafted_per_key_mean"])
        self.assertLess(out["computed_per_key_median"], out["prompt_tokens_per_key_median"])

    def test_first_request_is_computed_whole(self):
        """The warm-up leaves nothing behind."""
        first = self.trace("--line", 3, "--keys", 2)["each"][0]
        self.assertEqual(first["computed"], first["prompt_tokens"])

    def test_typed_text_ends_as_it_was(self):
        """Typing the file's own characters leads to the file: same prompt as with nothing taken out."""
        out = self.trace("--line", 3, "--keys", 13)
        again = self.trace("--line", 3, "--column", 14, "--type", " ")
        self.assertEqual(out["each"][-1]["prompt_tokens"], again["each"][0]["prompt_tokens"])

    def test_window(self):
        whole = self.trace("--line", 8, "--type", "x")
        cut = self.trace("--line", 8, "--type", "x", "--lines-before", 0, "--lines-after", 0)
        self.assertLess(cut["prompt_tokens_per_key_median"], whole["prompt_tokens_per_key_median"])
        limited = self.trace("--line", 8, "--type", "x", "--max-prompt-tokens", 12)
        self.assertLessEqual(limited["prompt_tokens_per_key_median"], 12)

    def test_characters_not_bytes(self):
        path = self.file("x = \"grün\"\n")
        out = self.report("trace", path, "--line", 1, "--column", 6, "--keys", 4, "--max-tokens", 2)
        self.assertEqual([sample["key"] for sample in out["each"]], ["", "g", "r", "ü", "n"])

    def test_paced(self):
        out = self.trace("--line", 3, "--keys", 5, "--rate", 50)
        self.assertEqual(out["keys"], 5)
        self.assertEqual(out["rate"], 50)
        self.assertGreaterEqual(out["first_token_share"], out["answered_share"])
        self.assertGreaterEqual(out["answered_share"], 0.2)  # nothing comes after the last key
        self.assertLessEqual(out["last_key_ttft_ms"], out["last_key_total_ms"])
        self.assertGreaterEqual(out["answers"], 1)

    def test_paced_cancels(self):
        """A thousand keys a second leave no time for 64 tokens."""
        out = self.report("trace", self.file("a" * 400), "--line", 1, "--column", 1, "--keys", 60, "--rate", 1000,
                          "--refresh", "--isa", "exact")
        self.assertLess(out["answered_share"], 1)
        self.assertGreater(out["cancels"], 0)
        self.assertGreaterEqual(out["cancel_max_ms"], out["cancel_p50_ms"])

    def test_check(self):
        text = "".join(f"int f{i}(int x)\n{{\n    return x + {i};\n}}\n" for i in range(30))
        files = [self.file(text, "a.c"), self.file(TEXT, "b.c")]
        args = ("trace", *files, "--check", "--edits", 60, "--max-tokens", 4, "--context", 200, "--isa", "ref")
        exact = self.report(*args, "--move", "off", "--no-speculation")
        self.assertEqual(exact["edits"], 60)
        self.assertEqual(exact["identical_share"], 1)
        self.assertEqual(exact["moved_edits"], 0)
        self.assertEqual(exact["common_tokens_mean"], exact["answer_tokens_mean"])
        moved = self.report(*args, "--move", "on")
        self.assertGreater(moved["moved_edits"], 0)
        self.assertEqual(moved["identical_share_exact"], 1)
        self.assertLess(moved["computed_tokens_mean"], exact["computed_tokens_mean"])
        self.assertLessEqual(moved["common_tokens_mean"], moved["answer_tokens_mean"])

    def test_plain(self):
        self.assertIn("time to first token", self.succeeds("bench", "trace", self.file(), "--line", 3, "--type", "x",
                                                           "--max-tokens", 2, "--refresh").out)
        self.assertIn("last key", self.succeeds("bench", "trace", self.file(), "--line", 3, "--type", "x", "--max-tokens",
                                                2, "--rate", 10).out)
        self.assertIn("identical", self.succeeds("bench", "trace", self.file(), "--check", "--edits", 2, "--max-tokens",
                                                 2).out)

    def test_order(self):
        for order in ("psm", "spm"):
            self.assertEqual(self.trace("--line", 3, "--type", "x", "--order", order)["order"], order)

    def test_odd_input(self):
        self.fails("bench", "trace", self.file(""), "--line", 1, "--keys", 3, says="nothing is left to type")
        self.report("trace", self.file(""), "--line", 1, "--type", "x", "--max-tokens", 2)
        self.report("trace", self.file(""), "--check", "--edits", 12, "--max-tokens", 2)
        self.report("trace", self.file("\n\n"), "--check", "--edits", 12, "--max-tokens", 2)
        self.fails("bench", "trace", self.file(), "--line", 99, "--type", "x", says="99")
        self.fails("bench", "trace", self.home / "missing.c", "--line", 1, "--type", "x", says="missing.c")
        self.fails("bench", "trace", self.file(), "--line", 1, "--type", "x", "--max-tokens", 64, "--context", 64,
                   says="64")

    def test_usage(self):
        path = self.file()
        self.fails("bench", "trace", status=2, says="name a file")
        self.fails("bench", "trace", path, "--keys", 1, status=2, says="--line")
        self.fails("bench", "trace", path, "--line", 1, status=2, says=["--type", "--keys"])
        self.fails("bench", "trace", path, "--line", 1, "--type", "x", "--keys", 1, status=2, says=["--type", "--keys"])
        self.fails("bench", "trace", path, "--check", "--rate", 5, status=2, says="--check")
        self.fails("bench", "trace", path, path, "--line", 1, "--type", "x", status=2, says="one FILE")
        self.fails("bench", "trace", path, "--line", 1, "--type", "x", "--move", "yes", status=2, says="off on")


class ContextTest(BenchTest):
    def test_context(self):
        out = self.report("context", "--lines", 500)
        self.assertEqual(out["lines"], 500)
        self.assertGreater(out["prompt_tokens"], 100)
        for part in ("cold", "edit"):
            self.assertGreater(out[part]["p50_ms"], 0)
            self.assertLessEqual(out[part]["p50_ms"], out[part]["p99_ms"])
        self.assertIn("after a character", self.succeeds("bench", "context", "--lines", 500).out)


class CompareTest(BenchTest):
    """bench/compare against a llama-server of our own making."""

    def setUp(self):
        super().setUp()
        self.llama = self.home / "llama"
        self.llama.mkdir()
        for name in ("llama-server", "llama-bench"):
            stand_in = self.llama / name
            stand_in.write_text(f"#!/bin/sh\nexec {sys.executable} -B {pathlib.Path(__file__).parent}/llama.py {name} \"$@\"\n")
            stand_in.chmod(0o755)

    def compare(self, *args):
        command = [sys.executable, ROOT / "bench" / "compare", "--llama", self.llama, "--model", MODEL, "--inline", PROGRAM]
        done = subprocess.run([*command, *map(str, args)], env=self.env, capture_output=True, text=True, timeout=110)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_trace(self):
        out = json.loads(self.compare("--trace", "--keys", 5, "--json"))
        self.assertEqual(out["default"]["computed_per_key_median"], 7)  # what the stand-in says
        self.assertEqual(out["default"]["generated_per_key_mean"], 3)
        self.assertGreaterEqual(out["default"]["ttft_p50_ms"], 20)
        self.assertGreaterEqual(out["default"]["total_p50_ms"], 40)
        self.assertEqual(out["suffix-first"]["answered_share"], 1)
        self.assertEqual(out["inline"]["keys"], 5)
        self.assertGreater(out["ratio"]["inline-moves"]["default"]["total_p50_ms"], 0)
        self.assertIn("| Inline |", self.compare("--trace", "--keys", 2, "--markdown"))

    def test_speed(self):
        out = json.loads(self.compare("--rounds", 2, "--only", "decode,batch_8", "--json"))
        self.assertEqual(out["llama"], {"decode": 50, "batch_8": 160})
        self.assertGreater(out["ratio"]["decode"], 0)
        self.assertIn("ratio", self.compare("--rounds", 1, "--only", "decode"))
        self.assertIn("| decode |", self.compare("--rounds", 1, "--only", "decode", "--markdown"))


if __name__ == "__main__":
    unittest.main()

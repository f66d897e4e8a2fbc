"""inline bench model: its reports have the keys that are documented, and figures that can be true."""

import json
import unittest

from front import FIXTURES, FrontTest

MODEL = FIXTURES / "models" / "qwen2.gguf"
TEXT = "int zero(void)\n{\n    return 0;\n}\n\nint one(void)\n{\n    return 1;\n}\n" * 40


class BenchModelTest(FrontTest):
    def setUp(self):
        super().setUp()
        self.env["INLINE_MODEL"] = str(MODEL)

    def report(self, *args, **kwargs):
        return json.loads(self.succeeds("bench", "model", *args, "--json", **kwargs).out)

    def test_everything(self):
        """A model with few positions: what is measured beyond them has no meaning, but is measured."""
        out = self.report("--runs", 1, "--neighbour", timeout=110)
        speeds = ("prefill_32", "prefill_128", "prefill_512", "prefill_2048", "decode_64", "decode_64_depth_1024",
                  "decode_64_depth_2048", "decode_64_neighbour")
        for key in [f"{name}_tokens_per_s" for name in speeds] + [f"batch_{n}_ms" for n in (1, 2, 4, 8, 16)]:
            self.assertGreater(out[key], 0, key)
        # Both are rounded to a thousandth, and tiny models take a few hundredths of a millisecond.
        self.assertAlmostEqual(out["batch_8_over_1"], out["batch_8_ms"] / out["batch_1_ms"], delta=0.2 * out["batch_8_over_1"])
        self.assertGreaterEqual(out["load_to_first_token_ms"], out["load_ms"])
        self.assertGreaterEqual(out["cancel_max_ms"], out["cancel_p50_ms"])

    def test_only(self):
        out = self.report("--only", "decode,batch_2", "--runs", 1)
        self.assertIn("decode_64_tokens_per_s", out)
        self.assertIn("batch_2_ms", out)
        for key in ("prefill_512_tokens_per_s", "cancel_max_ms", "batch_8_over_1", "perplexity"):
            self.assertNotIn(key, out)
        self.fails("bench", "model", "--only", "decode,speed", status=2, says=["speed", "prefill_512", "cancel"])

    def test_packed(self):
        quantized = FIXTURES / "models" / "format-q8_0.gguf"
        args = (quantized, "--only", "batch_1", "--runs", 1)
        self.assertFalse(self.report(*args, "--packed", "off")["packed"])
        if "cannot be packed" in self.run_inline("bench", "model", *args, "--packed", "on").err:
            self.skipTest("this processor's kernels do not read packed weights")
        self.assertTrue(self.report(*args, "--packed", "on")["packed"])
        self.assertTrue(self.report(*args)["packed"])  # found where the run before left it
        both = self.report(*args, "--packed", "both")
        self.assertGreater(both["batch_1_ms"], 0)
        self.assertGreater(both["unpacked"]["batch_1_ms"], 0)

    def test_perplexity(self):
        """Of one run of tokens, the same whatever else is measured; a uniform guess would be the vocabulary's size."""
        path = self.home / "text.c"
        path.write_text(TEXT)
        out = self.report("--only", "load", "--runs", 1, "--text", path)
        self.assertGreater(out["text_tokens"], 500)
        self.assertGreater(out["perplexity"], 1)
        again = self.report("--only", "batch_2", "--runs", 1, "--text", path, "--threads", 1)
        self.assertAlmostEqual(out["loss"], again["loss"], places=4)
        empty = self.home / "empty.c"
        empty.write_text("")
        self.fails("bench", "model", "--only", "load", "--text", empty, says="too short")

    def test_plain(self):
        out = self.succeeds("bench", "model", "--only", "decode,batch_1,cancel", "--runs", 1).out
        for word in ("load to first token", "decode 64", "batch of 1", "cancelled", "memory"):
            self.assertIn(word, out)

    def test_usage(self):
        self.fails("bench", status=2, says="model, trace, context, cache or targets")
        self.fails("bench", "mdel", status=2, says="did you mean model?")
        self.fails("bench", "model", "--kv", "f32", status=2, says="f16 q8_0")
        self.fails("bench", "model", "a", "b", status=2, says="one MODEL")
        self.fails("bench", "model", "nothing-like-it", says="nothing-like-it")


if __name__ == "__main__":
    unittest.main()

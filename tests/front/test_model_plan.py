"""inline model plan, and what pack, info and check do where a plan converts weights."""

import json
import struct
import unittest

from front import FIXTURES, MODEL, FrontTest

QUANTIZED = FIXTURES / "models" / "format-q8_0.gguf"
F16, WIDTHS = 1, {0: 4, 1: 2}  # the format's number; bytes of a weight in F32 and F16


def with_layers(n):
    """MODEL, which has two layers, with n: they repeat."""
    data = MODEL.read_bytes()
    end = min(data.index(name) for name in (b"token_embd.weight", b"blk.0.attn_q.weight", b"output_norm.weight")) - 8
    keys, tensors = bytearray(data[24:end]), []
    at = keys.index(b"llama.block_count") + len("llama.block_count") + 4
    keys[at:at + 4] = struct.pack("<I", n)
    for _ in range(struct.unpack_from("<Q", data, 8)[0]):
        (length,) = struct.unpack_from("<Q", data, end)
        name = data[end + 8:end + 8 + length].decode()
        (n_dims,) = struct.unpack_from("<I", data, end + 8 + length)
        values = struct.unpack_from(f"<{n_dims}QIQ", data, end + 12 + length)
        tensors.append((name, values[:n_dims], values[n_dims], values[n_dims + 1]))
        end += 8 + length + 4 + 8 * n_dims + 12
    start = (end + 31) // 32 * 32

    def parts(dims, kind, offset):
        size = WIDTHS[kind]
        for d in dims:
            size *= d
        return dims, kind, data[start + offset:start + offset + size]

    found = {name: parts(*rest) for name, *rest in tensors}
    chosen = {name: t for name, t in found.items() if not name.startswith("blk.")}
    for layer in range(n):
        for name, t in found.items():
            if name.startswith(f"blk.{layer % 2}."):
                chosen[f"blk.{layer}." + name.split(".", 2)[2]] = t
    header, body = data[:8] + struct.pack("<Q", len(chosen)) + data[16:24] + bytes(keys), b""
    for name, (dims, kind, weights) in chosen.items():
        header += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(dims))
        header += struct.pack(f"<{len(dims)}QIQ", *dims, kind, len(body))
        body += weights + bytes(-len(weights) % 32)
    return header + bytes(-len(header) % 32) + body


class PlanTest(FrontTest):
    def setUp(self):
        super().setUp()
        self.model = self.home / "six.gguf"
        self.model.write_bytes(with_layers(6))
        self.packs = self.home / "cache" / "inline" / "packs"

    def files(self):
        return sorted(p.name for p in self.packs.glob("*")) if self.packs.exists() else []

    def plan(self, *args, model=None, **kwargs):
        return json.loads(self.succeeds("model", "plan", model or self.model, "--json", *args, **kwargs).out)

    def skip_unless_converting(self):
        if self.plan("--precision", "quantized")["reason"] == "cannot convert":
            self.skipTest("this CPU's kernels do not read packed weights")

    def test_memory_decides(self):
        self.skip_unless_converting()
        for memory, kind in (("24G", "full"), ("8000000001", "full"), ("8G", "mixed"), ("6.5GB", "mixed"),
                             ("4g", "quantized"), ("2000M", "quantized")):
            plan = self.plan("--memory", memory)
            self.assertEqual((plan["precision"], plan["reason"], plan["fits"]), (kind, "fits", True), memory)
            self.assertIn(kind, self.succeeds("model", "plan", self.model, "--memory", memory).out)
        small = self.plan("--memory", "100M")
        self.assertEqual((small["precision"], small["reason"], small["fits"]), ("quantized", "too large", False))
        self.assertEqual(self.plan("--memory", "2G", "--precision", "full")["reason"], "asked")
        self.write_settings("[limits]\nmemory_mb = 3000\n")
        self.assertEqual(self.plan()["precision"], "quantized")
        self.assertEqual(self.plan()["memory_bytes"], 3000000000)

    def test_kv_counts(self):
        self.skip_unless_converting()
        little, much = (self.plan("--memory", "9G", "--kv-mb", str(n)) for n in (100, 9000))
        self.assertAlmostEqual(little["kv_bytes"], 100e6, delta=1e6)  # whole pages
        self.assertEqual((little["precision"], much["precision"]), ("full", "quantized"))
        self.assertEqual(much["reason"], "too large")

    def test_sums_and_formats(self):
        self.skip_unless_converting()
        plan = self.plan("--precision", "mixed")
        tensors = {t["name"]: t for t in plan["tensors"]}
        self.assertEqual(sum(t["stored_bytes"] for t in tensors.values()), plan["stored_bytes"])
        self.assertEqual(sum(t["used_bytes"] for t in tensors.values()), plan["weight_bytes"])
        self.assertEqual(plan["sum_bytes"], sum(plan[k] for k in ("weight_bytes", "kv_bytes", "scratch_bytes",
                                                                  "reserve_bytes")))
        self.assertEqual(plan["blocks_kept"], 2)
        for layer, used in enumerate(["F16", "Q8_0", "Q8_0", "Q8_0", "Q8_0", "F16"]):
            t = tensors[f"blk.{layer}.ffn_up.weight"]
            self.assertEqual((t["used"], t["critical"]), (used, used == "F16"))
            self.assertEqual(t["error"] > 0, used != "F16")
        self.assertEqual(tensors["output.weight"]["used"], "F16")
        self.assertEqual(tensors["token_embd.weight"]["used_bytes"], 0)  # rows are looked up
        fp8 = {t["name"]: t for t in self.plan("--precision", "mixed", "--eight-bit", "mxfp8")["tensors"]}
        self.assertEqual(fp8["blk.1.ffn_up.weight"]["used"], "MXFP8")
        quantized = {t["name"]: t for t in self.plan("--precision", "quantized")["tensors"]}
        self.assertEqual(quantized["blk.0.ffn_up.weight"]["used"], "Q5_0")
        self.assertEqual(quantized["output.weight"]["used"], "Q8_0")
        self.assertEqual(self.files(), [])  # nothing was converted so far

    def test_table(self):
        self.skip_unless_converting()
        text = self.succeeds("model", "plan", self.model, "--precision", "mixed").out
        self.assertRegex(text, r"blk\.\*\.ffn_up\.weight +4 +F16 +[\d.]+ kB +Q8_0 +[\d.]+ kB +[\d.]+ %\n")
        self.assertRegex(text, r"blk\.\*\.ffn_up\.weight +2 +F16 +[\d.]+ kB\n")
        self.assertRegex(text, r"weights +[\d.]+ kB +\([\d.]+ kB as stored\)\n")
        self.assertIn("--measure", text)
        every = self.succeeds("model", "plan", self.model, "--precision", "mixed", "--all").out
        self.assertEqual(every.count(".ffn_up.weight"), 6)
        self.assertEqual(every.count(".ffn_norm.weight"), 6)

    def test_measure(self):
        self.skip_unless_converting()
        plan = self.plan("--precision", "mixed", "--measure")
        self.assertGreater(plan["text_tokens"], 1000)
        self.assertGreater(plan["stored_perplexity"], 1)
        self.assertLess(abs(plan["planned_perplexity"] / plan["stored_perplexity"] - 1), 0.05)  # rows of 32 weights
        self.assertNotEqual(plan["planned_perplexity"], plan["stored_perplexity"])
        full = self.plan("--precision", "full", "--measure")
        self.assertEqual(full["planned_perplexity"], full["stored_perplexity"])
        self.assertRegex(self.succeeds("model", "plan", self.model, "--precision", "quantized", "--measure").out,
                         r"perplexity [\d.]+ as stored, [\d.]+ with this plan: [+-][\d.]+ %")

    def test_calibrate(self):
        self.skip_unless_converting()
        text = self.home / "text"
        text.write_text("for (int i = 0; i < n; i++) sum += values[i];\n" * 20)
        plan = self.plan("--precision", "mixed", "--calibrate", str(text))
        self.assertEqual(len(plan["sensitivity"]), 6)
        self.assertGreater(len(set(plan["sensitivity"])), 1)
        used = {t["name"]: t["used"] for t in plan["tensors"]}
        kept = {layer for layer in range(6) if used[f"blk.{layer}.ffn_up.weight"] == "F16"}
        order = sorted(range(6), key=lambda layer: -plan["sensitivity"][layer])
        self.assertEqual(len(kept), 2)
        self.assertEqual(sorted(plan["sensitivity"][i] for i in kept), sorted(plan["sensitivity"][i] for i in order[:2]))
        self.assertEqual([p for p in self.packs.parent.glob("calibration*")], [])
        self.assertIn("block  5", self.succeeds("model", "plan", self.model, "--calibrate", str(text)).out)
        self.fails("model", "plan", self.model, "--calibrate", self.home / "none", says="none")
        self.fails("model", "plan", QUANTIZED, "--calibrate", text, says="nothing to convert")
        text.write_text("")
        self.fails("model", "plan", self.model, "--calibrate", text, says="too short")

    def test_pack_info_check(self):
        self.skip_unless_converting()
        names = {}
        for kind in ("mixed", "quantized"):
            self.succeeds("model", "pack", self.model, "--precision", kind)
            (names[kind],) = set(self.files()) - set(names.values())
            info = json.loads(self.succeeds("model", "info", self.model, "--precision", kind, "--json").out)
            self.assertEqual(info["precision"]["kind"], kind)
            self.assertTrue(info["precision"]["converts"])
            self.assertEqual((info["pack"]["state"], info["pack"]["path"]), ("present", str(self.packs / names[kind])))
            self.assertIn(kind + ": ", self.succeeds("model", "info", self.model, "--precision", kind).out)
            self.succeeds("model", "check", self.model, "--precision", kind)
        self.assertRegex(names["mixed"], r"^[0-9a-f]{32}-[0-9a-f]{8}-v\d+\.pack$")
        pack = self.packs / names["mixed"]
        damaged = bytearray(pack.read_bytes())
        damaged[-4096] ^= 1
        pack.write_bytes(damaged)
        self.fails("model", "check", self.model, "--precision", "mixed", says="damaged")
        self.succeeds("model", "pack", self.model, "--precision", "mixed")
        self.succeeds("model", "check", self.model, "--precision", "mixed")
        self.succeeds("model", "pack", self.model, "--remove")
        self.assertEqual(self.files(), [])

    def test_where_nothing_can_be_converted(self):
        for model, args, env in ((self.model, (), {"INLINE_MODELS_PACK": "off"}), (self.model, ("--isa", "ref"), {})):
            plan = self.plan("--precision", "mixed", *args, model=model, env=env)
            self.assertEqual((plan["precision"], plan["reason"], plan["converts"]), ("full", "cannot convert", False))
        plan = self.plan("--memory", "2G", model=QUANTIZED)
        self.assertEqual((plan["precision"], plan["converts"], plan["fits"]), ("full", False, True))

    def test_usage(self):
        self.fails("model", "plan", "a", "b", status=2, says="one MODEL")
        self.fails("model", "plan", says="no model is installed")
        for wrong in ("much", "", "-1G", "0", "6X", "6GBB", "1e30"):
            self.fails("model", "plan", self.model, f"--memory={wrong}", status=2, says="--memory")
        self.fails("model", "plan", self.model, "--eight-bit", "q4_0", status=2, says="q8_0 mxfp8")
        self.fails("model", "plan", self.model, "--precision", "half", status=2, says="quantized")
        self.fails("model", "plan", self.model, "--kv-mb", "0", status=2, says="kv-mb")


if __name__ == "__main__":
    unittest.main()

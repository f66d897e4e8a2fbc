"""inline model list, import, info, check, rm."""

import json
import unittest

from front import MODEL, FrontTest


class ModelTest(FrontTest):
    def test_empty_library(self):
        self.assertIn("inline model pull", self.succeeds("model", "list").out)
        self.assertEqual(json.loads(self.succeeds("model", "list", "--json").out), {"models": []})
        self.fails("model", "info", says="no model is installed")
        self.fails("model", "info", "nothing-like-it", says="no model named")
        self.fails("model", "info", "Qwen2.5-Coder-0.5B", says="inline model pull qwen2.5-coder-0.5b")
        self.fails("model", "info", "./missing.gguf", says="./missing.gguf")
        self.assertIn("qwen2.5-coder-0.5b", self.succeeds("model", "list", "--available").out)
        self.assertGreater(len(json.loads(self.succeeds("model", "list", "--available", "--json").out)["available"]), 5)

    def test_import_list_rm(self):
        out = self.succeeds("model", "import", MODEL, "--name", "Toy").out
        self.assertIn("installed Toy", out)
        self.assertEqual((self.models / "Toy.gguf").read_bytes(), MODEL.read_bytes())
        self.fails("model", "import", MODEL, "--name", "Toy", says="already installed")
        self.succeeds("model", "import", MODEL, "--name", "Toy", "--force")
        self.succeeds("model", "import", MODEL)
        listed = json.loads(self.succeeds("model", "list", "--json").out)["models"]
        self.assertEqual([m["name"] for m in listed], ["llama", "Toy"])
        self.assertEqual(listed[0]["bytes"], MODEL.stat().st_size)
        self.fails("model", "rm", "T", "--yes", says="no model named")
        self.succeeds("model", "rm", "toy", "--yes")
        self.succeeds("model", "rm", "llama")
        self.assertEqual(list(self.models.iterdir()), [])

    def test_import_refuses_what_is_no_model(self):
        bad = self.home / "bad.gguf"
        bad.write_bytes(b"GGUF but not really")
        self.fails("model", "import", bad, says="bad.gguf")
        truncated = self.home / "cut.gguf"
        truncated.write_bytes(MODEL.read_bytes()[:-1000])
        self.fails("model", "import", truncated, says="cut.gguf")
        self.fails("model", "import", self.home / "missing.gguf", says="missing.gguf")
        self.fails("model", "import", self.home, says=str(self.home))
        self.fails("model", "import", MODEL, "--name", "a/b", says="model's name")
        self.fails("model", "import", MODEL, "--name", ".hidden", says="model's name")
        self.assertEqual(list(self.models.glob("*")), [])

    def test_imported_symbolic_link_is_a_copy(self):
        link = self.home / "link.gguf"
        link.symlink_to(MODEL)
        self.succeeds("model", "import", link)
        self.assertFalse((self.models / "link.gguf").is_symlink())
        self.assertEqual((self.models / "link.gguf").read_bytes(), MODEL.read_bytes())

    def test_info(self):
        text = self.succeeds("model", "info", MODEL).out
        self.assertIn("architecture  llama", text)
        info = json.loads(self.succeeds("model", "info", MODEL, "--json").out)
        self.assertEqual(info["architecture"], "llama")
        self.assertEqual(info["bytes"], MODEL.stat().st_size)
        self.assertEqual(sum(f["tensors"] for f in info["formats"]) > 0, True)
        self.assertEqual(info["kv_bytes_per_token"], 4 * info["layers"] * info["kv_heads"] * info["head_dim"])
        self.assertEqual(set(info["fim"]), {"family", "order", "detected"})

    def test_names(self):
        self.succeeds("model", "import", MODEL, "--name", "toy-one")
        self.succeeds("model", "import", MODEL, "--name", "toy-two")
        self.succeeds("model", "info", "TOY-ONE")
        self.succeeds("model", "info", "toy-t")
        self.fails("model", "info", "toy", says="several")
        self.fails("model", "info", "toy-oen", says="did you mean toy-one?")
        self.succeeds("model", "info", "--model", "toy-two")
        self.succeeds("model", "info")

    def test_check(self):
        self.assertIn("ok", self.succeeds("model", "check", MODEL).out)
        self.assertTrue(json.loads(self.succeeds("model", "check", MODEL, "--json").out)["ok"])
        self.fails("model", "check", MODEL, "--isa", "nonsense", status=2, says="one of: exact ref")
        self.succeeds("model", "check", MODEL, "--isa", "ref", "--threads", "3")

    def test_check_names_a_tensor_that_is_not_finite(self):
        """The fixture ends with tensor data: overwrite the end with F32/F16 not-a-numbers."""
        damaged = self.home / "nan.gguf"
        damaged.write_bytes(MODEL.read_bytes()[:-256] + b"\xff" * 256)
        self.fails("model", "check", damaged, says=["nan.gguf", "tensor", "finite"])

    def test_usage(self):
        self.fails("model", status=2, says="list, pull, import")
        self.fails("model", "lst", status=2, says="did you mean list?")
        self.fails("model", "rm", status=2, says="one NAME")
        self.fails("model", "import", status=2, says="one FILE")
        self.fails("model", "pull", status=2, says="one name")
        self.fails("model", "info", "a", "b", status=2, says="one MODEL")
        self.fails("model", "list", "--jsn", status=2, says="did you mean --json?")


if __name__ == "__main__":
    unittest.main()

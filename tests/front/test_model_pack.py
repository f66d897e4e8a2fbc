"""inline model pack, and what pull, import, info, check, rm and complete have to do with packed weights."""

import json
import os
import resource
import signal
import subprocess
import time
import unittest

import large_model
from front import MODEL, PROGRAM, FrontTest  # MODEL, of F16, has no packed form
from large_model import QUANTIZED


class PackTest(FrontTest):
    def setUp(self):
        super().setUp()
        self.packs = self.home / "cache" / "inline" / "packs"

    def files(self):
        return sorted(p.name for p in self.packs.glob("*")) if self.packs.exists() else []

    def pack_of(self, model):
        return json.loads(self.succeeds("model", "info", model, "--json").out)["pack"]

    def test_pack_info_remove(self):
        self.assertEqual(self.pack_of(QUANTIZED)["state"], "absent")
        self.assertIn("inline model pack", self.succeeds("model", "info", QUANTIZED).out)
        done = self.succeeds("model", "pack", QUANTIZED)
        (name,) = self.files()
        self.assertIn(str(self.packs / name), done.out)
        size = (self.packs / name).stat().st_size
        self.assertEqual(self.pack_of(QUANTIZED),
                         {"state": "present", "bytes": size, "path": str(self.packs / name)})
        self.assertIn(str(self.packs / name), self.succeeds("model", "info", QUANTIZED).out)
        again = json.loads(self.succeeds("model", "pack", QUANTIZED, "--json").out)
        self.assertEqual((again["path"], again["bytes"]), (str(self.packs / name), size))
        self.assertIn("deleted", self.succeeds("model", "pack", QUANTIZED, "--remove").out)
        self.assertEqual(self.files(), [])
        self.assertIn("no packed weights", self.succeeds("model", "pack", QUANTIZED, "--remove").out)
        self.assertEqual(json.loads(self.succeeds("model", "pack", QUANTIZED, "--remove", "--json").out)["removed_bytes"], 0)

    def test_nothing_to_pack(self):
        self.fails("model", "pack", MODEL, says="nothing to pack")
        self.assertEqual(self.pack_of(MODEL)["state"], "none")
        self.succeeds("model", "check", MODEL)

    def test_usage(self):
        self.fails("model", "pack", "a", "b", status=2, says="one MODEL")
        self.fails("model", "pack", says="no model is installed")

    def test_import_packs_and_rm_deletes(self):
        done = self.succeeds("model", "import", QUANTIZED, "--name", "toy")
        if not self.files():
            self.skipTest("this CPU's kernels do not read packed weights")
        self.assertIn("packing", done.err)
        self.assertEqual(json.loads(self.succeeds("model", "import", QUANTIZED, "--name", "two", "--json").out)["name"],
                         "two")
        self.assertEqual(len(self.files()), 1)  # the same content
        self.succeeds("model", "rm", "two")
        self.assertEqual(self.files(), [])

    def test_off(self):
        self.write_settings("[models]\npack = off\n")
        self.succeeds("model", "import", QUANTIZED, "--name", "toy")
        self.assertEqual(self.files(), [])
        self.succeeds("model", "import", MODEL)  # and what has no packed form is imported without a word
        self.fails("config", env={"INLINE_MODELS_PACK": "maybe"}, status=2, says="auto off")

    def test_ceiling(self):
        self.write_settings("[cache]\npacks_mb = 1\n")
        model = self.home / "large.gguf"
        large_model.write(model, 1 << 14)  # more than a megabyte
        self.succeeds("model", "import", model, "--name", "toy")  # works all the same
        self.assertEqual(self.files(), [])
        self.fails("model", "pack", "toy", says="cache.packs_mb")
        self.write_settings("[cache]\npacks_mb = 2\n")
        self.succeeds("model", "pack", "toy")

    def test_complete_uses_but_does_not_build(self):
        source = self.home / "a.c"
        source.write_text("int main(void) {\n")
        self.succeeds("complete", source, "--model", QUANTIZED)
        self.assertEqual(self.files(), [])
        self.succeeds("model", "pack", QUANTIZED)
        pack = self.packs / self.files()[0]
        os.utime(pack, (1, 1))
        self.succeeds("complete", source, "--model", QUANTIZED, env={"INLINE_MODELS_PACK": "off"})
        self.assertEqual(pack.stat().st_mtime, 1)
        done = json.loads(self.succeeds("complete", source, "--model", QUANTIZED, "--json").out)
        self.assertGreater(done["timings"]["generated_tokens"], 0)
        self.succeeds("model", "info", QUANTIZED)
        self.assertGreater(pack.stat().st_mtime, 1)  # opening a pack marks it as used

    def test_damaged_packs_are_ignored_found_and_replaced(self):
        source = self.home / "a.c"
        source.write_text("int main(void) {\n")
        expected = json.loads(self.succeeds("complete", source, "--model", QUANTIZED, "--json").out)["text"]
        self.succeeds("model", "pack", QUANTIZED)
        (name,) = self.files()
        pack = self.packs / name
        good = pack.read_bytes()
        for bad in (b"", good[:100], good[:-1], b"\xff" + good[1:], good[:200] + b"\xff" * 16 + good[216:]):
            pack.write_bytes(bad)
            self.assertEqual(self.pack_of(QUANTIZED)["state"], "absent")
            text = json.loads(self.succeeds("complete", source, "--model", QUANTIZED, "--json").out)["text"]
            self.assertEqual(text, expected)
        self.succeeds("model", "pack", QUANTIZED)
        self.assertEqual(pack.read_bytes(), good)
        # Data, unlike the header, is read by check only, and by pack where there is one already.
        pack.write_bytes(good[:4096] + bytes([good[4096] ^ 1]) + good[4097:])
        self.fails("model", "check", QUANTIZED, says="damaged")
        self.assertEqual(self.files(), [])
        self.succeeds("model", "check", QUANTIZED)
        pack.write_bytes(good[:4096] + bytes([good[4096] ^ 1]) + good[4097:])
        self.succeeds("model", "pack", QUANTIZED)
        self.assertEqual(pack.read_bytes(), good)

    def test_disk_full(self):
        """A limit on the size of files stands for the disk's end."""
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        self.fails("model", "pack", QUANTIZED, says="cannot write", preexec_fn=limit)
        self.assertEqual(self.files(), [])

    def test_no_directory(self):
        self.packs.parent.mkdir(parents=True)
        self.packs.write_text("a file")
        self.fails("model", "pack", QUANTIZED, says="packs")
        self.succeeds("model", "import", QUANTIZED, "--name", "toy")

    def start_packing(self, model):
        """The program, after it has written some of the pack but, as a rule, not all."""
        process = subprocess.Popen([PROGRAM, "model", "pack", str(model)], env=self.env, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            parts = list(self.packs.glob("*.part"))
            if parts and parts[0].stat().st_blocks > 4096:  # 2 MB
                break
            time.sleep(0.001)
        return process

    def test_killed_while_building(self):
        model = self.home / "large.gguf"
        large_model.write(model, 1 << 19)
        for _ in range(3):
            process = self.start_packing(model)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
            if process.returncode == 0:
                self.skipTest("the pack was written before it could be interrupted")
            self.assertEqual([f[-5:] for f in self.files()], [".part"])
            self.assertEqual(self.pack_of(model)["state"], "absent")
        self.succeeds("model", "pack", model)
        self.assertEqual([f[-5:] for f in self.files()], [".pack"])
        self.succeeds("model", "check", model)

    def test_interrupted(self):
        model = self.home / "large.gguf"
        large_model.write(model, 1 << 19)
        process = self.start_packing(model)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        if process.returncode == 0:
            self.skipTest("the pack was written before it could be interrupted")
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"interrupted", err)
        self.succeeds("model", "pack", QUANTIZED)  # what is left of the other one goes with the next pack
        self.assertEqual([f[-5:] for f in self.files()], [".pack"])

    def test_two_at_once(self):
        model = self.home / "large.gguf"
        large_model.write(model, 1 << 18)
        command = [PROGRAM, "model", "pack", str(model)]
        both = [subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in "ab"]
        outs = [process.communicate(timeout=60)[0] for process in both]
        self.assertEqual([process.returncode for process in both], [0, 0])
        self.assertEqual(outs[0], outs[1])
        self.assertEqual([f[-5:] for f in self.files()], [".pack"])
        self.succeeds("model", "check", model)


if __name__ == "__main__":
    unittest.main()

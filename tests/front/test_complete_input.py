"""inline complete on files that are missing, odd, huge or not text. What it suggests is tested elsewhere."""

import json
import unittest

from front import FIXTURES, FrontTest

MODEL = FIXTURES / "models" / "qwen2.gguf"


class CompleteInputTest(FrontTest):
    def setUp(self):
        super().setUp()
        self.env["INLINE_MODEL"] = str(MODEL)
        self.env["INLINE_COMPLETE_MAX_TOKENS"] = "4"

    def file(self, content, name="file.c"):
        path = self.home / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def completes(self, content, *args, **kwargs):
        result = self.succeeds("complete", self.file(content), "--json", *args, **kwargs)
        return json.loads(result.out)

    def test_keys(self):
        result = self.completes("int main(void)\n{\n    \n}\n", "--line", 3, "--column", 5)
        self.assertLessEqual({"text", "model", "fim", "stop_reason", "timings"}, set(result))
        self.assertLessEqual(result["timings"]["generated_tokens"], 4)

    def test_stdin(self):
        result = self.succeeds("complete", "-", "--line", 1, "--column", 4, "--json", stdin=b"int main\n")
        self.assertIn("text", json.loads(result.out))

    def test_missing_directory_unreadable(self):
        self.fails("complete", self.home / "missing.c", "--line", 1, "--column", 1, says="missing.c")
        self.fails("complete", self.home, "--line", 1, "--column", 1, says=str(self.home))
        self.fails("complete", status=2, says="file")
        self.fails("complete", "a.c", "b.c", status=2, says="file")

    def test_binary(self):
        self.fails("complete", self.file(b"\x7fELF\x02\x01\0\0\0\0"), "--line", 1, "--column", 1, says="file.c")
        self.fails("complete", self.file("int x;\n".encode("utf-16")), "--line", 1, "--column", 1, says="file.c")

    def test_latin1(self):
        self.completes("char *s = \"gr\xfcn\";\n".encode("latin-1"), "--line", 1, "--column", 14)

    def test_invalid_utf8_everywhere(self):
        self.completes(bytes(range(1, 256)) * 20, "--line", 1, "--column", 1)

    def test_crlf(self):
        text = self.completes(b"int a;\r\nint b;\r\n\r\n", "--line", 3, "--column", 1)["text"]
        self.assertEqual(text.count("\n"), text.count("\r\n"))

    def test_empty(self):
        self.completes(b"", "--line", 1, "--column", 1)
        self.completes(b"")
        self.completes(b"\n", "--line", 2, "--column", 1)
        self.completes(b"\xef\xbb\xbf", "--line", 1, "--column", 1)

    def test_large(self):
        line = "static int value_%d = %d; /* one of many */\n"
        text = "".join(line % (i, i) for i in range(100_000))
        for at in (1, 50_000, 100_000):
            self.completes(text, "--line", at, "--column", 5, "--context", 256)

    def test_one_very_long_line(self):
        self.completes("x" * 2_000_000, "--line", 1, "--column", 1_000_000, "--context", 256)

    def test_places(self):
        text = "one\ntwo\nthree\n"
        self.completes(text, "--line", 3, "--column", 6)
        self.completes(text, "--line", 3, "--column", 600)
        self.completes(text, "--line", 4, "--column", 1)
        self.fails("complete", self.file(text), "--line", 5, "--column", 1, says=["5", "3"])
        self.fails("complete", self.file(text), "--line", 2_000_000_000, "--column", 1, says="3")
        for wrong in ("0", "-1", "x", "", "1.5", "99999999999999999999"):
            self.fails("complete", self.file(text), "--line", wrong, "--column", 1, status=2, says="--line")
            self.fails("complete", self.file(text), "--line", 1, "--column", wrong, status=2, says="--column")
        self.fails("complete", self.file(text), "--column", 1, status=2, says="--line")

    def test_unknown_model(self):
        file = self.file("x\n")
        self.fails("complete", file, "--line", 1, "--column", 1, "--model", "nothing-like-it", says="nothing-like-it")
        self.fails("complete", file, "--line", 1, "--column", 1, "--model", file, says="file.c")
        self.fails("complete", file, "--line", 1, "--column", 1, env={"INLINE_MODEL": ""}, says="no model is installed")

    def test_wrong_options(self):
        file = self.file("x\n")
        self.fails("complete", file, "--lin", 1, status=2, says="did you mean --line?")
        self.fails("complete", file, "--line", 1, "--max-tokens", 0, status=2, says="1 to 4096")
        self.fails("complete", file, "--line", 1, "--temperature", "hot", status=2, says="--temperature")
        self.fails("complete", file, "--line", 1, "--isa", "mmx", status=2, says="one of: exact ref")


if __name__ == "__main__":
    unittest.main()

"""llama.vim's requests to the letter, and its answers read as it reads them.

The plugin runs curl and looks at the raw text before it parses: a regular expression each for the beginning of an
object and for the content member. What does not match is dropped without a word, so an answer may be valid JSON
and still never be shown. test_llama_vim.py runs the plugin itself where it is installed."""

import json
import re
import shutil
import subprocess
import unittest

from clients import LETTER, ClientTest, main

# What a request asks to be sent of the answer; the keys of the answer are these paths.
RESPONSE_FIELDS = [
    "content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms", "timings/prompt_per_second",
    "timings/predicted_n", "timings/predicted_ms", "timings/predicted_per_token_ms",
    "timings/predicted_per_second", "truncated", "tokens_cached",
]

# Its check of a raw answer: Vim's '^\s*{' and '\v"content"\s*:"'.
OBJECT_GATE = re.compile(r"^\s*\{")
CONTENT_GATE = re.compile(r'"content"\s*:"')

# An empty key is sent too.
HEADERS = {"Authorization": "Bearer ", "User-Agent": "curl/7.88.1", "Accept": "*/*"}


def fill_in(prefix, prompt, suffix, *, extra=(), t_max_predict_ms=250, indent=0, **changes):
    """The request of a keystroke: 250 ms for the first, 1000 for one that assumes the shown text accepted."""
    return {
        "id_slot": 0, "input_prefix": prefix, "input_suffix": suffix,
        "input_extra": [{"text": text, "time": [12345, 678901], "filename": name} for name, text in extra],
        "prompt": prompt, "n_predict": 128, "stop": [], "n_indent": indent, "top_k": 40, "top_p": 0.90,
        "samplers": ["top_k", "top_p", "infill"], "stream": False, "cache_prompt": True, "t_max_prompt_ms": 500,
        "t_max_predict_ms": t_max_predict_ms, "response_fields": RESPONSE_FIELDS, "model": "", **changes,
    }


def warm_up(extra):
    """What it sends once a second while nothing is typed, so that the server has read the other files."""
    return {
        "id_slot": 0, "input_prefix": "", "input_suffix": "",
        "input_extra": [{"text": text, "time": [12345, 678901], "filename": name} for name, text in extra],
        "prompt": "", "n_predict": 0, "temperature": 0.0, "samplers": [], "stream": False, "cache_prompt": True,
        "t_max_prompt_ms": 1, "t_max_predict_ms": 1, "response_fields": [""], "model": "",
    }


class LlamaVimRequests(ClientTest):
    def read(self, answer):
        """The answer as the plugin takes it: the fields that it displays."""
        raw = answer.text.rstrip("\n")
        self.assertEqual(answer.status, 200, answer)
        self.assertNotIn("\n", raw, "the plugin's callback gets one line at a time")
        self.assertRegex(raw, OBJECT_GATE)
        self.assertRegex(raw, CONTENT_GATE)
        fields = answer.json()
        self.assertLessEqual(set(fields), set(RESPONSE_FIELDS), "only what was asked for, by its path")
        self.assertIsInstance(fields["content"], str)
        self.assertIsInstance(fields["tokens_cached"], int)
        self.assertIsInstance(fields["truncated"], bool)
        for name in RESPONSE_FIELDS:
            if name.startswith("timings/"):
                self.assertIsInstance(fields[name], (int, float), name)
        return fields

    def ask(self, *args, **kwargs):
        return self.read(self.post("/infill", fill_in(*args, **kwargs), headers=HEADERS))

    def test_keystroke(self):
        fields = self.ask("int add(int a, int b)\n{\n", "    return ", ";\n}\n")
        self.assertIn(LETTER, fields["content"])
        self.assertGreater(fields["timings/predicted_n"], 0)
        self.assertGreater(fields["timings/prompt_n"], 0)

    def test_the_next_keystroke_reads_only_what_is_new(self):
        self.ask("int add(int a, int b)\n{\n", "    return a", ";\n}\n")
        first = self.ask("int sub(int a, int b)\n{\n", "    return a", ";\n}\n")
        again = self.ask("int sub(int a, int b)\n{\n", "    return a", ";\n}\n")
        self.assertLess(again["timings/prompt_n"], first["timings/prompt_n"])

    def test_speculative_request_while_one_is_shown(self):
        shown = self.ask("int add(int a, int b)\n{\n", "    return ", ";\n}\n")
        content = shown["content"]
        self.ask("int add(int a, int b)\n{\n", "    return " + content, ";\n}\n", t_max_predict_ms=1000)

    def test_blank_line_sends_an_empty_prompt(self):
        self.ask("int f(void)\n{\n", "", "\n}\n", indent=4)

    def test_the_first_line_of_an_empty_file(self):
        self.ask("\n", "", "\n\n")

    def test_stop_strings(self):
        fields = self.ask("int f(void)\n{\n", "    ", "\n}\n", stop=[LETTER])
        self.assertNotIn(LETTER, fields["content"])

    def test_more_text_than_the_model_holds(self):
        prefix = "".join(f"static int value_{i} = {i};\n" for i in range(256))
        suffix = "\n" + "".join(f"static int other_{i} = {i};\n" for i in range(64))
        extra = [(f"file{i}.c", f"void function_{i}(void);\n" * 64) for i in range(16)]
        self.ask(prefix, "static int ", suffix, extra=extra)

    def test_text_that_is_not_ascii(self):
        self.ask("/* Größe — \U0001f600 */\nchar *naïve = \"", "日本語", "\";\n")

    def test_warm_up_is_answered_with_nothing(self):
        answer = self.post("/infill", warm_up([("other.c", "int other(int value);\n")]), headers=HEADERS)
        self.assertEqual((answer.status, answer.json()), (200, {}), answer)

    def test_warm_up_without_other_files(self):
        answer = self.post("/infill", warm_up([]), headers=HEADERS)
        self.assertEqual((answer.status, answer.json()), (200, {}), answer)

    def test_warm_up_makes_the_keystroke_after_it_cheaper(self):
        extra = [("other.c", "int other(int value);\nint another(int x);\n")]
        cold = self.ask("int f(void)\n{\n", "    return ", ";\n}\n", extra=[("cold.c", extra[0][1])])
        self.post("/infill", warm_up(extra), headers=HEADERS)
        warm = self.ask("int f(void)\n{\n", "    return ", ";\n}\n", extra=extra)
        self.assertLess(warm["timings/prompt_n"], cold["timings/prompt_n"])

    @unittest.skipUnless(shutil.which("curl"), "curl is not installed")
    def test_its_command_line(self):
        body = fill_in("int f(void)\n{\n", "    return ", ";\n}\n" + "// a long file\n" * 8000)
        done = subprocess.run(
            ["curl", "--silent", "--no-buffer", "--request", "POST", "--url", f"{self.daemon.url}/infill",
             "--header", "Content-Type: application/json", "--data", "@-", "--header", "Authorization: Bearer "],
            input=json.dumps(body), capture_output=True, text=True, timeout=30, env=self.env)
        self.assertEqual(done.returncode, 0, done)
        self.assertRegex(done.stdout, OBJECT_GATE)
        self.assertRegex(done.stdout, CONTENT_GATE)


if __name__ == "__main__":
    main()

"""The daemon's HTTP API as unmodified clients use it: their requests, what they read of the answers, errors."""

import json
import unittest

from daemon import DaemonTest
from front import FIXTURES, with_context

QWEN = FIXTURES / "models" / "qwen2.gguf"  # has FIM tokens

# What the clients' sources send (their defaults, with a shorter answer).
PREFIX = "int twice(int a) {\n    return 2 * a;\n}\n" * 4  # long enough for KV to be found again
LLAMA_VIM_FIELDS = ["content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms",
                    "timings/prompt_per_second", "timings/predicted_n", "timings/predicted_ms",
                    "timings/predicted_per_token_ms", "timings/predicted_per_second", "truncated", "tokens_cached"]
LLAMA_VIM = {"id_slot": 0, "input_prefix": "int a;\n", "input_suffix": "\n}\n",
             "input_extra": [{"text": PREFIX, "time": [1, 2], "filename": "helper.h"}],
             "prompt": "    int b = ", "n_predict": 12, "stop": [], "n_indent": 4, "top_k": 40, "top_p": 0.90,
             "samplers": ["top_k", "top_p", "infill"], "stream": False, "cache_prompt": True,
             "t_max_prompt_ms": 5000, "t_max_predict_ms": 2500, "response_fields": LLAMA_VIM_FIELDS, "model": ""}
LLAMA_VIM_WARM_UP = {"id_slot": 0, "input_prefix": "", "input_suffix": "", "prompt": "", "n_predict": 0,
                     "input_extra": [{"text": PREFIX[:80], "time": [1, 2], "filename": "a.h"}],  # the model's context is 256
                     "temperature": 0.0, "samplers": [], "stream": False,
                     "cache_prompt": True, "t_max_prompt_ms": 1, "t_max_predict_ms": 1, "response_fields": [""]}
LLAMA_VSCODE = {"id_slot": 0, "input_prefix": "int a;\n", "input_suffix": "\n}\n", "input_extra": [],
                "prompt": "    int b = ", "n_predict": 12, "n_cmpl": 3, "top_k": 40, "top_p": 0.99, "stream": False,
                "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True, "t_max_prompt_ms": 5000,
                "t_max_predict_ms": 5000, "lora": [{"id": 0, "scale": 0.5}]}
MINUET = {"model": "qwen2", "stream": True, "max_tokens": 12, "top_p": 0.9,
          "prompt": "<|fim_prefix|>int a = <|fim_suffix|>;\n<|fim_middle|>"}
CONTINUE_FIM = {"model": "qwen2", "prompt": "int a = ", "suffix": ";\n", "max_tokens": 12, "temperature": 0.01,
                "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "stop": ["\n\n"], "stream": True}
CONTINUE_LLAMA_CPP = {"model": "qwen2", "prompt": "int a = ", "stream": True, "n_predict": 12,
                      "frequency_penalty": 0, "presence_penalty": 0, "min_p": 0, "mirostat": 0, "stop": ["\n\n"],
                      "top_k": 40, "top_p": 0.9, "temperature": 0.01}
ZED = {"model": "qwen2", "prompt": MINUET["prompt"], "max_tokens": 12, "stop": ["a", "b", "c", "d"]}
CURSORTAB = {"model": "qwen2", "prompt": MINUET["prompt"], "temperature": 0.0, "max_tokens": 12, "top_k": 50,
             "stop": ["\n\n"], "n": 1, "echo": False, "stream": False}
TABBY = {"language": "c", "segments": {"prefix": "int a = ", "suffix": ";\n", "filepath": "src/a.c", "git_url": None,
                                       "declarations": [{"filepath": "a.h", "body": "int x;"}],
                                       "relevant_snippets_from_changed_files": [
                                           {"filepath": "b.c", "body": "int y;", "score": 0.5}],
                                       "relevant_snippets_from_recently_opened_files": [], "clipboard": "z"},
         "user": "u", "temperature": 0.1, "mode": "standard"}
OLLAMA = {"model": "qwen2:latest", "prompt": "int a = ", "suffix": ";\n", "raw": True, "keep_alive": "5m",
          "options": {"num_predict": 12, "temperature": 0.0, "stop": ["\n\n"]}}
TWINNY = {"model": "qwen2", "prompt": MINUET["prompt"], "stream": True, "keep_alive": "5m",
          "options": {"temperature": 0.2, "num_predict": 12}}


def events(text):
    """The data of server-sent events."""
    assert text.endswith("\n\n"), text
    parts = text[:-2].split("\n\n")
    assert all(part.startswith("data: ") and "\n" not in part for part in parts), text
    return [part[len("data: "):] for part in parts]


class ServeHttpTest(DaemonTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon(model=QWEN)
        self.daemon.wait_ready()

    def ask(self, path, body, status=200):
        got, headers, answer = self.daemon.post(path, body)
        self.assertEqual(got, status, answer)
        return answer

    def text_of(self, path, body):
        """The answer as it came."""
        connection = self.daemon.connection()
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json",
                                                            "Authorization": "Bearer "})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        self.assertEqual(answer.status, 200, text)
        return text

    # --- llama.vim and llama.vscode ---

    def test_llama_vim(self):
        text = self.text_of("/infill", LLAMA_VIM)
        self.assertRegex(text, r'^\s*\{')
        self.assertRegex(text, r'"content"\s*:"')
        self.assertNotIn("\n", text)
        answer = json.loads(text)
        self.assertEqual(set(answer), set(LLAMA_VIM_FIELDS))
        for name in LLAMA_VIM_FIELDS:
            kind = str if name == "content" else bool if name == "truncated" else (int, float)
            self.assertIsInstance(answer[name], kind, name)
        self.assertGreater(answer["timings/prompt_n"], 20)
        self.assertLessEqual(answer["timings/predicted_n"], 12)
        self.assertNotIn("0", str(answer["tokens_cached"])[:1])

    def test_llama_vim_warm_up(self):
        self.daemon.stop()
        larger = self.home / "larger.gguf"  # chunks are shown only where the context has room for them
        larger.write_bytes(with_context(QWEN, 4096))
        self.daemon = self.start_daemon(model=larger).wait_ready()
        self.assertEqual(self.text_of("/infill", LLAMA_VIM_WARM_UP), "{}")
        # What was warmed up is not computed again, so the warm-up was not cut off by its time limits.
        body = {**LLAMA_VIM_WARM_UP, "response_fields": ["timings/prompt_n", "timings/cache_n", "tokens_predicted"]}
        answer = self.ask("/infill", body)
        self.assertEqual(answer["tokens_predicted"], 0)
        self.assertGreater(answer["timings/cache_n"], answer["timings/prompt_n"])

    def test_llama_vscode(self):
        answer = self.ask("/infill", LLAMA_VSCODE)
        self.assertIsInstance(answer, list)
        self.assertLessEqual(len(answer), 3)
        contents = [one["content"] for one in answer]
        self.assertEqual(len(set(contents)), len(contents))
        single = self.ask("/infill", {**LLAMA_VSCODE, "n_cmpl": 1})
        self.assertEqual(single["content"], contents[0])
        for one in answer + [single]:
            self.assertGreater(one["generation_settings"]["n_ctx"], 0)
            self.assertIsInstance(one["tokens_cached"], int)
            for name in ("prompt_n", "prompt_ms", "prompt_per_second", "predicted_n", "predicted_ms",
                         "predicted_per_second"):
                self.assertIsInstance(one["timings"][name], (int, float))

    def test_infill_answer_is_whole(self):
        body = {"input_prefix": PREFIX, "prompt": "int a = ", "input_suffix": ";\n", "n_predict": 5}
        answer = self.ask("/infill", body)
        self.assertEqual(answer["prompt"], "int a = ")
        self.assertEqual((answer["index"], answer["stop"], answer["model"]), (0, True, "qwen2"))
        n = answer["tokens_predicted"]
        self.assertIn(n, range(1, 6))
        self.assertIn(answer["stop_type"], ("eos", "limit") if n < 5 else ("limit",))
        self.assertEqual(answer["tokens_cached"], answer["tokens_evaluated"] + n)
        where = answer["inline"]
        self.assertEqual(where["reused"] + where["restored"] + where["moved"] + where["computed"],
                         answer["tokens_evaluated"])
        stages = where["timings"]
        self.assertGreaterEqual(stages["total"], stages["prompt"] + stages["predict"])
        again = self.ask("/infill", body)
        self.assertEqual(again["content"], answer["content"])  # greedy: the same, from the cache
        self.assertLess(again["timings"]["prompt_n"], answer["timings"]["prompt_n"])

    def test_stop_word(self):
        free = self.ask("/completion", {"prompt": "int a = ", "n_predict": 12})["content"]
        word = free[1:3]
        answer = self.ask("/completion", {"prompt": "int a = ", "n_predict": 12, "stop": ["@@", word]})
        self.assertEqual(answer["content"], free[:free.index(word)])
        self.assertEqual((answer["stop_type"], answer["stopping_word"]), ("word", word))
        self.assertEqual(answer["inline"]["stop"], "word")

    def test_completion_stream(self):
        whole = self.ask("/completion", {**CONTINUE_LLAMA_CPP, "stream": False, "temperature": 0})
        pieces = [json.loads(data) for data in events(self.text_of("/completion",
                                                                   {**CONTINUE_LLAMA_CPP, "temperature": 0}))]
        self.assertEqual("".join(piece["content"] for piece in pieces), whole["content"])
        self.assertEqual([piece["stop"] for piece in pieces], [False] * (len(pieces) - 1) + [True])
        self.assertEqual(pieces[-1]["content"], "")
        self.assertIn("timings", pieces[-1])

    # --- OpenAI's clients ---

    def test_special_tokens_are_parsed_in_prompts_only(self):
        raw = self.ask("/v1/completions", {**ZED, "stop": None})
        self.assertEqual(raw["usage"]["prompt_tokens"], len("int a = ;\n") + 3)
        place = self.ask("/v1/completions", {"prompt": "int a = ", "suffix": ";\n", "max_tokens": 12})
        self.assertEqual(place["usage"]["prompt_tokens"], raw["usage"]["prompt_tokens"])
        plain = self.ask("/infill", {"input_prefix": "<|fim_prefix|>", "n_predict": 1})
        self.assertGreater(plain["tokens_evaluated"], len("<|fim_prefix|>"))

    def test_minuet(self):
        parts = events(self.text_of("/v1/completions", MINUET))
        self.assertEqual(parts[-1], "[DONE]")
        chunks = [json.loads(part) for part in parts[:-1]]
        for chunk in chunks:
            self.assertEqual(chunk["object"], "text_completion")
            self.assertIsInstance(chunk["choices"][0]["text"], str)
        self.assertIn(chunks[-1]["choices"][0]["finish_reason"], ("stop", "length"))
        self.assertEqual({chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]} - {None}, set())
        self.assertEqual(len({chunk["id"] for chunk in chunks}), 1)

    def test_continue(self):
        parts = events(self.text_of("/v1/fim/completions", CONTINUE_FIM))
        streamed = "".join(json.loads(part)["choices"][0]["delta"]["content"] for part in parts[:-1])
        body = {**CONTINUE_FIM, "stream": False}
        answer = self.ask("/v1/fim/completions", body)["choices"][0]
        self.assertEqual(answer["message"]["content"], streamed)
        self.assertEqual(answer["text"], streamed)
        self.assertEqual(self.ask("/fim/completions", body)["choices"][0]["text"], streamed)

    def test_zed_and_cursortab(self):
        for body in (ZED, CURSORTAB):
            answer = self.ask("/v1/completions", body)
            self.assertIsInstance(answer["id"], str)
            self.assertIsInstance(answer["choices"][0]["text"], str)
            self.assertIn(answer["choices"][0]["finish_reason"], ("stop", "length"))
            usage = answer["usage"]
            self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])

    def test_tokens_as_prompt(self):
        ids = self.ask("/tokenize", {"content": "int a = "})["tokens"]
        self.assertEqual(self.ask("/detokenize", {"tokens": ids})["content"], "int a = ")
        by_text = self.ask("/v1/completions", {"prompt": ["int a = "], "max_tokens": 8})
        by_ids = self.ask("/v1/completions", {"prompt": ids, "max_tokens": 8})
        self.assertEqual(by_ids["choices"][0]["text"], by_text["choices"][0]["text"])

    # --- Tabby and Ollama ---

    def test_tabby(self):
        answer = self.ask("/v1/completions", TABBY)
        self.assertIsInstance(answer["id"], str)
        self.assertEqual(answer["choices"][0]["index"], 0)
        self.assertIsInstance(answer["choices"][0]["text"], str)
        self.assertEqual(answer["mode"], "standard")
        for event in ({"type": "view", "completion_id": answer["id"], "choice_index": 0, "view_id": "v"},
                      {"type": "select", "completion_id": answer["id"], "choice_index": 0, "elapsed": 5}):
            self.ask("/v1/events", event)
        health = self.daemon.get("/v1/health")[2]
        self.assertEqual((health["model"], health["device"]), ("qwen2", "cpu"))
        self.assertIn("git_describe", health["version"])

    def test_ollama(self):
        lines = [json.loads(line) for line in self.text_of("/api/generate", OLLAMA).splitlines()]
        self.assertEqual([line["done"] for line in lines], [False] * (len(lines) - 1) + [True])
        whole = self.ask("/api/generate", {**OLLAMA, "stream": False})
        self.assertEqual("".join(line["response"] for line in lines), whole["response"])
        self.assertIn(whole["done_reason"], ("stop", "length"))
        for name in ("total_duration", "prompt_eval_count", "eval_count", "eval_duration"):
            self.assertIsInstance(whole[name], int)
            self.assertIsInstance(lines[-1][name], int)
        self.assertEqual(self.ask("/api/generate", {"model": "qwen2", "stream": False})["done_reason"], "load")
        self.assertTrue(self.text_of("/api/generate", TWINNY).endswith("}\n"))
        tags = self.daemon.get("/api/tags")[2]["models"]
        self.assertEqual(tags[0]["name"], "qwen2")
        self.assertEqual(self.daemon.get("/api/ps")[2]["models"][0]["name"], "qwen2")
        shown = self.ask("/api/show", {"model": "qwen2:latest"})
        self.assertIn(".Suffix", shown["template"])
        self.assertEqual(shown["capabilities"], ["completion", "insert"])
        self.assertIn("version", self.daemon.get("/api/version")[2])

    # --- State ---

    def test_state(self):
        self.assertEqual(self.daemon.get("/health")[::2], (200, {"status": "ok"}))
        model = self.daemon.get("/v1/models")[2]["data"][0]
        self.assertEqual((model["id"], model["status"]["value"]), ("qwen2", "loaded"))
        self.assertEqual(model["meta"]["fim_family"], "qwen")
        self.assertEqual(self.daemon.get("/models")[2], self.daemon.get("/v1/models")[2])
        props = self.daemon.get("/props")[2]
        slots = self.daemon.get("/slots")[2]
        self.assertEqual(len(slots), props["total_slots"])
        self.assertEqual(slots[0]["n_ctx"], props["default_generation_settings"]["n_ctx"])
        self.assertIn("Inline", self.daemon.get("/")[2])

    def test_metrics(self):
        def values():
            text = self.daemon.get("/metrics")[2] + self.daemon.get("/metrics?names=llamacpp")[2]
            lines = [line for line in text.splitlines() if line and not line.startswith("#")]
            return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

        before = values()
        answer = self.ask("/infill", {"input_prefix": "int a = ", "n_predict": 5, "extent": "any"})
        after = values()
        self.assertEqual(before["llamacpp:tokens_predicted_total"], 0)
        self.assertEqual(after["llamacpp:tokens_predicted_total"], 5)
        self.assertEqual(after["llamacpp:prompt_tokens_total"], answer["timings"]["prompt_n"])
        self.assertGreater(after["llamacpp:predicted_tokens_seconds"], 0)
        self.assertEqual(after["llamacpp:requests_processing"], 0)
        self.assertTrue(any(name.startswith("inline_") for name in after))

    # --- Errors ---

    def test_errors(self):
        for path, body, says in (("/infill", {"n_predict": "many"}, '"n_predict" must be a whole number'),
                                 ("/infill", {"input_extra": "x"}, '"input_extra" must be a list'),
                                 ("/completion", {}, '"prompt" is missing'),
                                 ("/v1/completions", {"prompt": ["a", "b"]}, "one prompt"),
                                 ("/v1/completions", {"prompt": [10**6]}, "1000000"),
                                 ("/v1/fim/completions", {"prompt": 1}, '"prompt" must be a string'),
                                 ("/v1/completions", {"segments": []}, '"segments" must be an object')):
            error = self.ask(path, body, status=400)["error"]
            self.assertEqual((error["code"], error["type"]), (400, "invalid_request_error"))
            self.assertIn(says, error["message"])
        self.assertIn('"num_predict"', self.ask("/api/generate", {"prompt": "a", "options": {"num_predict": []}},
                                                status=400)["error"])
        status, _, answer = self.daemon.request("POST", "/infill", body=b'{"prompt": "a')
        self.assertEqual((status, answer["error"]["type"]), (400, "invalid_request_error"))
        self.assertEqual(self.daemon.get("/infill")[0], 405)
        self.assertEqual(self.daemon.get("/no/such")[0], 404)
        error = self.ask("/v1/chat/completions", {"messages": []}, status=501)["error"]
        self.assertIn("/v1/completions", error["message"])

    def test_any_value_in_any_field(self):
        values = [None, True, -1, 0, 1e308, -2**63, 2**70, 0.5, "", "x\u0000y", "\ud800", [], [None], [[1]], {}, ["a", 1]]
        for path, body in (("/infill", LLAMA_VIM), ("/completion", CONTINUE_LLAMA_CPP), ("/v1/completions", TABBY),
                           ("/v1/completions", CURSORTAB), ("/api/generate", OLLAMA)):
            for field in body:
                for value in values:
                    status, _, answer = self.daemon.post(path, {**body, "max_tokens": 1, field: value})
                    self.assertIn(status, (200, 400), (path, field, value, answer))
        self.assertEqual(self.daemon.get("/health")[0], 200)

    def test_prompts_are_not_logged(self):
        self.ask("/infill", {"input_prefix": "S3CRET = ", "n_predict": 2})
        self.ask("/infill", {"input_prefix": "S3CRET = ", "n_predict": "S3CRET"}, status=400)
        self.assertNotIn("S3CRET", self.daemon.log)


class NoModelTest(DaemonTest):
    def test_says_what_to_do(self):
        daemon = self.start_daemon(model=None)
        for path, body in (("/infill", {"prompt": "a"}), ("/v1/completions", {"prompt": "a", "stream": True})):
            status, _, answer = daemon.post(path, body)
            self.assertEqual((status, answer["error"]["type"]), (503, "unavailable_error"))
            self.assertIn("inline model pull", answer["error"]["message"])
        status, _, answer = daemon.post("/api/generate", {"prompt": "a"})
        self.assertEqual(status, 503)
        self.assertIn("inline model pull", answer["error"])
        self.assertEqual(daemon.get("/health")[0], 503)
        self.assertEqual(daemon.get("/v1/models")[2]["data"][0]["status"]["value"], "failed")
        self.assertEqual(daemon.post("/tokenize", {"content": "a"})[0], 503)


if __name__ == "__main__":
    unittest.main()

"""Requests of editors' plugins other than llama.vim, and their answers read as each of them reads.

The bodies are those that the plugins send; the readers are ours, and as narrow as theirs: where a plugin takes a
member without asking whether it is there, so do they."""

import concurrent.futures
import datetime
import json
import re

from clients import LETTER, ClientTest, events, main

PREFIX = "int add(int a, int b)\n{\n"
SUFFIX = ";\n}\n"
FILL_IN = f"<|fim_prefix|>{PREFIX}    return <|fim_suffix|>{SUFFIX}<|fim_middle|>"
BEARER = {"Authorization": "Bearer no-key"}


def stream_of(text, member):
    """Server-sent events until [DONE]; what `member` finds in each."""
    pieces, is_done = [], False
    for data in events(text):
        if data == "[DONE]":
            is_done = True
            break
        piece = member(json.loads(data))
        if piece:
            pieces.append(piece)
    return "".join(pieces), is_done


class LlamaVscode(ClientTest):
    """Its own protocol is llama-server's /infill without response_fields, and several candidates at once."""

    def body(self, **changes):
        return {
            "id_slot": 0, "input_prefix": PREFIX, "input_suffix": SUFFIX,
            "input_extra": [{"text": "int other(void);\n", "time": 1700000000000, "filename": "/home/u/other.c"}],
            "prompt": "    return ", "n_predict": 128, "n_cmpl": 3, "top_k": 40, "top_p": 0.99, "stream": False,
            "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True, "t_max_prompt_ms": 500,
            "t_max_predict_ms": 500, **changes,
        }

    def read(self, answer):
        """The candidates; of a single one also what its status bar shows, which is taken unguarded."""
        data = answer.json()
        if isinstance(data, list):
            return list(dict.fromkeys(item["content"] for item in data))
        timings = data["timings"]
        numbers = [data["generation_settings"]["n_ctx"], data["tokens_cached"]]
        numbers += [timings[name] for name in ("prompt_n", "prompt_ms", "prompt_per_second", "predicted_n",
                                               "predicted_ms", "predicted_per_second")]
        for number in numbers:
            self.assertIsInstance(number, (int, float))
        return [data["content"]]

    def test_three_candidates(self):
        contents = self.read(self.posts("/infill", self.body()))
        self.assertTrue(1 <= len(contents) <= 3)
        self.assertIn(LETTER, contents[0])

    def test_more_candidates_than_there_may_be_are_not_an_error(self):
        self.assertTrue(self.read(self.posts("/infill", self.body(n_cmpl=50))))

    def test_one_candidate_is_an_object(self):
        answer = self.posts("/infill", self.body(n_cmpl=1))
        self.assertIsInstance(answer.json(), dict)
        self.read(answer)

    def test_nothing_predicted_has_numbers_too(self):
        self.read(self.posts("/infill", self.body(n_cmpl=1, n_predict=1, t_max_predict_ms=1)))

    def test_warm_up(self):
        answer = self.posts("/infill", {
            "id_slot": 0, "input_prefix": "", "input_suffix": "",
            "input_extra": [{"text": "int other(void);\n", "time": 1700000000000, "filename": "other.c"}],
            "prompt": "", "n_predict": 0, "samplers": [], "cache_prompt": True, "t_max_prompt_ms": 500,
            "t_max_predict_ms": 500})
        self.assertIsInstance(answer.json(), dict)

    def test_adapters_and_a_model_name_are_accepted(self):
        self.read(self.posts("/infill", self.body(n_cmpl=1, model="qwen2.5-coder", lora=[{"id": 0, "scale": 0.5}])))

    def test_health(self):
        self.assertEqual(self.get("/health").json()["status"], "ok")

    def test_openai_mode(self):
        data = self.posts("/v1/completions", {"model": "", "prompt": FILL_IN, "max_tokens": 32, "temperature": 0.1,
                                              "top_p": 0.99, "stream": False}).json()
        self.assertIsInstance(data["choices"][0]["text"], str)
        self.assertIsInstance(data["usage"]["completion_tokens"], int)

    def test_an_error_tells_what_to_do(self):
        answer = self.post("/infill", {"input_prefix": 7})
        self.assertEqual(answer.status, 400, answer)
        error = answer.json()["error"]
        self.assertEqual((error["code"], error["type"]), (400, "invalid_request_error"))
        self.assertIn("input_prefix", error["message"])


class Minuet(ClientTest):
    """Streams /v1/completions, and asks three times at once for three suggestions."""

    def body(self, **changes):
        return {"model": "PLACEHOLDER", "stream": True, "prompt": FILL_IN, "max_tokens": 56, "top_p": 0.9,
                **changes}

    def read(self, answer):
        text, _ = stream_of(answer.text, lambda data: data["choices"][0]["text"])
        return text

    def test_prompt_with_tokens_by_name(self):
        answer = self.posts("/v1/completions", self.body(), headers=BEARER)
        self.assertIn("text/event-stream", answer.headers["content-type"])
        self.assertIn(LETTER, self.read(answer))

    def test_prompt_and_suffix(self):
        answer = self.posts("/v1/completions", self.body(prompt=PREFIX + "    return ", suffix=SUFFIX))
        self.assertIn(LETTER, self.read(answer))

    def test_three_identical_requests_at_once(self):
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: self.posts("/v1/completions", self.body()), range(3)))
        for answer in answers:
            self.assertTrue(self.read(answer))


class Continue(ClientTest):
    OPTIONS = {"temperature": 0.01, "max_tokens": 64, "top_p": None, "presence_penalty": None,
               "stop": ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|endoftext|>", "\n\n"]}

    def test_provider_openai(self):
        answer = self.posts("/v1/completions", {"model": "m", "prompt": FILL_IN, "stream": True, **self.OPTIONS},
                            headers={**BEARER, "api-key": "no-key"})
        text, is_done = stream_of(answer.text, lambda data: data["choices"][0].get("text"))
        self.assertIn(LETTER, text)
        self.assertTrue(is_done)

    def test_provider_llama_cpp(self):
        answer = self.posts("/completion", {
            "model": "m", "prompt": FILL_IN, "stream": True, "n_predict": 64, "frequency_penalty": None,
            "presence_penalty": None, "min_p": None, "mirostat": None, "stop": self.OPTIONS["stop"], "top_k": None,
            "top_p": None, "temperature": 0.01})
        text, _ = stream_of(answer.text, lambda data: data.get("content"))
        self.assertIn(LETTER, text)
        last = json.loads([data for data in events(answer.text) if data != "[DONE]"][-1])
        self.assertIs(last["stop"], True)

    def test_provider_with_fill_in(self):
        answer = self.posts("/v1/fim/completions", {
            "model": "m", "prompt": PREFIX + "    return ", "suffix": SUFFIX, "stream": True, **self.OPTIONS})
        text, is_done = stream_of(answer.text, lambda data: data["choices"][0]["delta"].get("content"))
        self.assertIn(LETTER, text)
        self.assertTrue(is_done)

    def test_provider_ollama(self):
        answer = self.posts("/api/generate", {
            "model": "m", "prompt": PREFIX + "    return ", "suffix": SUFFIX, "raw": False, "stream": True,
            "keep_alive": 1800, "options": {"temperature": 0.01, "num_predict": 64, "stop": ["\n\n"],
                                            "num_ctx": 2048, "top_k": None, "mirostat": None}})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        self.assertIn(LETTER, "".join(line["response"] for line in lines))
        self.assertEqual([line["done"] for line in lines], [False] * (len(lines) - 1) + [True])


class Twinny(ClientTest):
    def test_llama_cpp(self):
        answer = self.posts("/completion", {"prompt": FILL_IN, "stream": True, "temperature": 0.2, "max_tokens": 64})
        text, _ = stream_of(answer.text, lambda data: data.get("content"))
        self.assertIn(LETTER, text)

    def test_ollama(self):
        answer = self.posts("/api/generate", {"model": "codellama:7b-code", "prompt": FILL_IN, "stream": True,
                                              "keep_alive": "5m", "options": {"temperature": 0.2, "num_predict": 64}})
        self.assertIn(LETTER, "".join(json.loads(line)["response"] for line in answer.text.splitlines()))

    def test_lm_studio(self):
        answer = self.posts("/v1/completions", {"model": "m", "prompt": FILL_IN, "stream": True, "temperature": 0.2,
                                                "max_tokens": 64})
        text, _ = stream_of(answer.text, lambda data: data["choices"][0]["text"])
        self.assertIn(LETTER, text)


class Zed(ClientTest):
    """Its reader has types: a member that is absent, or of another type, is an error."""

    def test_open_ai_compatible_api(self):
        data = self.posts("/v1/completions", {
            "model": "m", "prompt": FILL_IN, "max_tokens": 64,
            "stop": ["<|endoftext|>", "<|file_sep|>", "<|fim_pad|>", "\n\n"]}, headers=BEARER).json()
        for name, kind in {"id": str, "object": str, "created": int, "model": str, "choices": list}.items():
            self.assertIsInstance(data[name], kind, name)
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            self.assertIsInstance(data["usage"][name], int, name)
        choice = data["choices"][0]
        self.assertIn(LETTER, choice["text"])
        self.assertIn(choice["finish_reason"], ("stop", "length"))

    def test_ollama(self):
        data = self.posts("/api/generate", {
            "model": "m", "prompt": FILL_IN, "raw": True, "stream": False,
            "options": {"num_predict": 64, "stop": ["<|endoftext|>"], "temperature": 0.2}}).json()
        self.assertIn(LETTER, data["response"])
        # RFC 3339 with a fraction of any length; Python's own reader wants six digits.
        instant = re.sub(r"(\.\d{1,6})\d*", r"\1", data["created_at"]).replace("Z", "+00:00")
        age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(instant)
        self.assertLess(abs(age), datetime.timedelta(minutes=5))


class Cursortab(ClientTest):
    def body(self, stream):
        return {"model": "m", "prompt": FILL_IN, "temperature": 0.0, "max_tokens": 64, "top_k": 50,
                "stop": ["<|endoftext|>"], "n": 1, "echo": False, "stream": stream}

    def test_whole(self):
        data = self.posts("/v1/completions", self.body(False)).json()
        self.assertIn(LETTER, data["choices"][0]["text"])
        self.assertIn(data["choices"][0]["finish_reason"], ("stop", "length"))
        self.assertEqual(data["usage"]["total_tokens"],
                         data["usage"]["prompt_tokens"] + data["usage"]["completion_tokens"])

    def test_stream(self):
        reasons = []

        def read(data):
            choice = data["choices"][0]
            if choice.get("finish_reason"):
                reasons.append(choice["finish_reason"])
            return choice["text"]

        text, is_done = stream_of(self.posts("/v1/completions", self.body(True)).text, read)
        self.assertEqual(text, self.posts("/v1/completions", self.body(False)).json()["choices"][0]["text"])
        self.assertEqual(len(reasons), 1)
        self.assertTrue(is_done)


if __name__ == "__main__":
    main()

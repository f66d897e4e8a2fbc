"""Models on other machines, through the daemon: the right text by every way of asking, the layout of what reaches the
servers, connections that are kept, answers that are cached. No model here."""

import json
import threading
import time
import unittest

from editor import INLINE
from model_apis import right_text
from remote_world import PREFIX, QWEN, SUFFIX, RemoteTest, right


class Texts(RemoteTest):
    """The right text through each API, by each way of asking."""

    def ways(self, number):
        """(name, text) by every door of the daemon."""
        place = {"temperature": 0, "max_tokens": 32}
        prefix, suffix = PREFIX.format(number), SUFFIX
        yield "infill", self.infill(number).text
        yield "again", self.infill(number, priority="asked").text
        yield "completion", self.ask("gpu", prefix, n_predict=32).text
        body = self.ask_path("/v1/completions", {"model": "gpu", "prompt": prefix, "suffix": suffix, **place}).body
        yield "openai", body["choices"][0]["text"]
        yield "openai stream", self.stream("/v1/completions", {"prompt": prefix, "suffix": suffix, **place})
        body = self.ask_path("/api/generate", {"model": "gpu", "prompt": prefix, "suffix": suffix, "stream": False,
                                               "options": {"temperature": 0, "num_predict": 32}}).body
        yield "ollama", body["response"]

    def stream(self, path, body):
        text = self.daemon.post(path, {**body, "stream": True})[2]
        events = [line[6:] for line in text.splitlines() if line.startswith("data: ") and "[DONE]" not in line]
        return "".join(choice["text"] for event in events for choice in json.loads(event).get("choices", []))

    def check(self, **settings):
        server = self.add_server(**settings)
        self.start_remote(server)
        for name, text in self.ways(3):
            with self.subTest(name):
                self.assertEqual(text, right(3), self.daemon.log)
        return server

    def test_openai(self):
        self.check(api="openai", model=QWEN)

    def test_llama(self):
        self.check(api="llama", base="qwen2.5-coder-1.5b-q8_0.gguf")

    def test_llama_without_infill(self):
        self.check(api="llama", base="SmolLM2-135M.gguf", has_fim=False)

    def test_ollama(self):
        self.check(api="ollama", model="qwen2.5-coder:1.5b")

    def test_ollama_without_insert(self):
        self.check(api="ollama", model="qwen2.5-coder:1.5b", has_fim=False)

    def test_slow_pieces(self):
        """Tokens that come one by one, each in packets of its own."""
        self.check(api="openai", model=QWEN, token_ms=15, first_ms=15)

    def test_editor(self):
        for api in ("openai", "llama", "ollama"):
            with self.subTest(api):
                server = self.add_server(api=api, model="qwen2.5-coder:1.5b")
                editor = self.connect(self.start_remote(server))
                editor.start(INLINE)
                editor.open(PREFIX.format(4) + SUFFIX)
                for kind in (2, 1):
                    items = editor.complete(4, 11, kind)["items"]
                    self.assertEqual([item["insertText"] for item in items], [right(4)], self.daemon.log)
                self.daemon.stop()

    def test_limits(self):
        """max_tokens and stop words hold whatever the server does."""
        server = self.add_server(api="openai", model=QWEN)
        self.start_remote(server)
        tokens = right(5).split(" + ")
        self.assertEqual(self.ask("gpu", PREFIX.format(5), n_predict=2).text, " + ".join(tokens[:2]))
        self.assertEqual(self.ask("gpu", PREFIX.format(5), n_predict=32, stop=[tokens[2]]).text,
                         " + ".join(tokens[:2]) + " + ")

    def test_the_end_of_a_place(self):
        """The stream is closed when the line is whole, though the server would go on."""
        lines = ["a + b;", "\n", "}\n", "\n", *(f"int more{i};\n" for i in range(500))]
        server = self.add_server(api="openai", model=QWEN, tokens=lines, token_ms=5)
        self.start_remote(server)
        self.assertEqual(self.infill(6, n_predict=1000).text, "a + b;")
        state = server.wait_until(lambda state: state["under_way"] == 0)
        self.assertLess(state["completions"][-1]["n_sent"], 100)


class Prompts(RemoteTest):
    """The layout of what reaches the server."""

    def asked(self, server, **section):
        """The body of the request for place 1."""
        self.start_remote(server, section=section)
        self.assertEqual(self.infill(1).status, 200, self.daemon.log)
        self.assertEqual(self.daemon.stop(), 0)
        return self.body(server)

    @staticmethod
    def body(server):
        return json.loads([r for r in server.last if r["path"] in server.server.api.completions][-1]["body"])

    def in_order(self, text, *parts):
        at = -1
        for part in parts:
            self.assertIn(part, text)
            self.assertGreater(text.index(part), at, f"{part!r} in {text!r}")
            at = text.index(part)

    def test_family_by_the_models_name(self):
        body = self.asked(self.add_server(api="openai", model=QWEN))
        self.assertEqual(body["model"], QWEN)
        self.assertNotIn("suffix", body)
        prompt = body["prompt"]
        for mark in ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"):
            self.assertEqual(prompt.count(mark), 1, prompt)
        self.in_order(prompt, "<|fim_prefix|>", PREFIX.format(1), "<|fim_middle|>")
        self.in_order(prompt, "<|fim_suffix|>", SUFFIX, "<|fim_middle|>")
        self.assertTrue(prompt.endswith("<|fim_middle|>"))

    def test_family_as_configured(self):
        prompt = self.asked(self.add_server(api="openai", model="ours"), fim="starcoder2")["prompt"]
        self.in_order(prompt, "<fim_prefix>", PREFIX.format(1), "<fim_suffix>", SUFFIX, "<fim_middle>")

    def test_no_family(self):
        """Of an unknown model nothing but the text before the cursor can be asked."""
        for fim in ("auto", "none"):
            prompt = self.asked(self.add_server(api="openai", model="ours"), fim=fim)["prompt"]
            self.assertTrue(prompt.endswith(PREFIX.format(1)), prompt)
            self.assertNotIn("fim", prompt)

    def test_the_servers_own(self):
        openai = self.asked(self.add_server(api="openai", model="ours"), fim="server")
        self.assertTrue(openai["prompt"].endswith(PREFIX.format(1)), openai)
        self.assertEqual(openai["suffix"], SUFFIX)
        llama = self.asked(self.add_server(api="llama"))
        self.assertTrue((llama["input_prefix"] + llama["prompt"]).endswith(PREFIX.format(1)), llama)
        self.assertEqual(llama["input_suffix"], SUFFIX)
        ollama = self.asked(self.add_server(api="ollama", model="qwen2.5-coder:1.5b"))
        self.assertTrue(ollama["prompt"].endswith(PREFIX.format(1)), ollama)
        self.assertEqual(ollama["suffix"], SUFFIX)

    def test_a_server_without_its_own(self):
        llama = self.asked(self.add_server(api="llama", base="qwen2.5-coder.gguf", has_fim=False))
        self.assertTrue(llama["prompt"].endswith("<|fim_middle|>"), llama)
        ollama = self.asked(self.add_server(api="ollama", model="starcoder2:3b", has_fim=False))
        self.assertTrue(ollama["prompt"].endswith("<fim_middle>"), ollama)
        self.assertIs(ollama["raw"], True)

    def test_streams_are_asked_for(self):
        for api in ("openai", "llama", "ollama"):
            self.assertIs(self.asked(self.add_server(api=api, model="qwen2.5-coder:7b"))["stream"], True)

    def test_prompts_as_they_stand(self):
        raw = "<|fim_prefix|>a hole_9 <|fim_suffix|>b<|fim_middle|>"
        for api in ("openai", "llama", "ollama"):
            server = self.add_server(api=api, model="qwen2.5-coder:7b")
            self.start_remote(server)
            self.assertEqual(self.ask("gpu", raw, n_predict=32).text, right(9), self.daemon.log)
            self.assertEqual(self.body(server)["prompt"], raw)
            self.daemon.stop()

    def test_tokens(self):
        for api in ("openai", "llama"):
            server = self.add_server(api=api, model=QWEN)
            self.start_remote(server)
            self.assertEqual(self.ask("gpu", [11, 22, 33], n_predict=32).text, right_text([11, 22, 33]))
            self.assertEqual(self.body(server)["prompt"], [11, 22, 33])
            self.daemon.stop()

    def test_names_of_tokens_in_a_text(self):
        """What a document says is never read as a token."""
        server = self.add_server(api="openai", model=QWEN)
        self.start_remote(server)
        prefix = 'char *hole_8 = "<|fim_suffix|><|endoftext|>";\nreturn '
        self.assertEqual(self.infill(8, input_prefix=prefix).text, right(8))
        prompt = self.body(server)["prompt"]
        self.assertEqual(prompt.count("<|fim_suffix|>"), 1, prompt)
        self.assertNotIn("<|endoftext|>", prompt)
        self.assertIn("fim_suffix", prompt.split('char *hole_8 = "')[1].split(";")[0])

    def test_no_more_than_the_context(self):
        server = self.add_server(api="openai", model=QWEN)
        self.start_remote(server, section={"context": 512})
        text = "".join(f"int v{i} = {i};\n" for i in range(5000))
        self.assertEqual(self.infill(1, input_prefix=text + PREFIX.format(1)).text, right(1), self.daemon.log)
        self.assertLess(len(self.body(server)["prompt"]), 512 * 4)


class Connections(RemoteTest):
    def test_none_before_the_first_request(self):
        server = self.add_server(model=QWEN)
        self.start_remote(server).wait_ready()
        self.status()
        self.daemon.get("/metrics")
        time.sleep(1)
        self.assertEqual(server.state()["n_connections"], 0)
        self.assert_right(self.infill(1), 1)
        self.assertGreater(server.state()["n_connections"], 0)

    def test_kept(self):
        for api in ("openai", "llama", "ollama"):
            server = self.add_server(api=api, model="qwen2.5-coder:7b")
            self.start_remote(server)
            for i in range(10):
                self.assert_right(self.infill(i), i)
            self.assertEqual(server.state()["n_connections"], 1)
            self.daemon.stop()

    def test_a_kept_one_that_was_closed(self):
        """Servers close idle connections when they like: nobody notices."""
        server = self.add_server(model=QWEN)
        self.start_remote(server)
        for i in range(5):
            self.assert_right(self.infill(i), i)
            server.set(fault="refuse")
            server.set(fault=None)
        self.assertEqual(self.server_status(server)["failed"], 0)

    def test_no_more_than_configured(self):
        server = self.add_server(model=QWEN, first_ms=50)
        self.start_remote(server, connections=2)
        answers = {}

        def ask(number):
            answers[number] = self.infill(number, user=f"u{number}")

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, answer in answers.items():
            self.assert_right(answer, number)
        self.assertEqual(server.state()["max_connections"], 2)

    def test_questions_are_asked_once(self):
        server = self.add_server(api="llama")
        self.start_remote(server)
        for i in range(5):
            self.assert_right(self.infill(i), i)
        self.assertEqual(server.state()["requests"]["GET /props"], 1)


class Caches(RemoteTest):
    def test_typed_through(self):
        """What was suggested and is typed comes without another request."""
        server = self.add_server(model=QWEN)
        self.start_remote(server, env={"INLINE_CACHE_MEMORY_MB": "8"})
        self.infill(0)  # what the servers have is known from now on
        self.assert_right(self.infill(1), 1)
        n = server.n_completions()
        for i in range(1, 20):
            answer = self.infill(1, typed=right(1)[:i])
            self.assertEqual(answer.text, right(1)[i:], self.daemon.log)
        self.assertEqual(answer.body["inline"]["cache"], "typed")
        self.assertEqual(server.n_completions(), n)

    def test_the_same_again(self):
        server = self.add_server(api="ollama", model="qwen2.5-coder:7b")
        self.start_remote(server, env={"INLINE_CACHE_MEMORY_MB": "8"})
        self.infill(0)  # what the servers have is known from now on
        self.assert_right(self.infill(1), 1)
        n = server.n_completions()
        self.assert_right(self.infill(1), 1)
        self.assertEqual(server.n_completions(), n)

    def test_another_model_there(self):
        """What one model said is not taken for what another one would say."""
        one = self.add_server(model=QWEN)
        two = self.add_server(model=QWEN, tokens=["another;"])
        env = {"INLINE_CACHE_MEMORY_MB": "8", "INLINE_CACHE_DISK_MB": "64"}
        self.start_remote(one, env=env)
        self.infill(0)
        self.assert_right(self.infill(1), 1)
        self.assertEqual(self.daemon.stop(), 0)
        self.start_remote(two, env=env)
        self.assertEqual(self.infill(1).text, "another;")


if __name__ == "__main__":
    unittest.main()

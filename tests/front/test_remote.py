"""Models on other machines, through the daemon: no model here, but where a local one stands in for those servers.

What the servers receive is read from the servers, and when a stream was closed is measured there."""

import http.client
import json
import os
import pathlib
import socket
import statistics
import threading
import time
import unittest

from daemon import PATIENCE, SANITIZED
from editor import INLINE
from front import FIXTURES
from model_apis import right_text
from model_server import ModelServer
from remote_world import KEY, PREFIX, SUFFIX, RemoteTest, right

QWEN = "Qwen/Qwen2.5-Coder-7B"
SECRET = "ghp_" + "".join("aZ3kQ9xW7pL5mN2vB8cR"[i * 7 % 20] for i in range(36))
CLOSE_MS = 50  # a stream that nobody wants is closed by then, as the server sees it
N_CLOSED = 20


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


class Stopping(RemoteTest):
    """A stream that nobody wants any more ends at the server within CLOSE_MS: it stops to compute."""

    def setUp(self):
        super().setUp()
        self.took = []

    def start_slow(self, api):
        """A server that has begun to answer, and would go on for a minute."""
        self.server = self.add_server(api=api, model="qwen2.5-coder:7b", token_ms=30, n_tokens=2000)
        self.start_remote(self.server)

    def wait_begun(self, n_done):
        """Until the next answer has begun."""
        self.server.wait_until(lambda state: len(state["completions"]) == n_done + 1
                               and state["completions"][n_done]["first"])

    def note(self, number, since):
        state = self.server.wait_until(lambda state: state["completions"][number]["ended"])
        completion = state["completions"][number]
        self.assertIsNotNone(completion["closed_at"], completion)
        self.took.append((completion["closed_at"] - since) * 1e3)

    def check(self):
        self.assertEqual(len(self.took), N_CLOSED)
        median, most = statistics.median(self.took), max(self.took)
        print(f"{self.id().rpartition('.')[2]}: closed after {median:.1f} ms, at most {most:.1f} ms", flush=True)
        if not SANITIZED:
            self.assertLess(most, CLOSE_MS)

    def send_infill(self, number, typed=""):
        connection = self.daemon.connection()
        body = self.infill_body(number, typed, n_predict=2000, id_slot=1, filename="a.c", user="u")
        connection.request("POST", "/infill", json.dumps(body), {"Content-Type": "application/json"})
        return connection

    def test_superseded(self):
        self.start_slow("openai")
        connections = [self.send_infill(1)]
        for i in range(N_CLOSED):
            self.wait_begun(i)
            since = time.monotonic()
            connections.append(self.send_infill(1, typed=f"x{'x' * i}"))
            self.note(i, since)
            self.assertTrue(self.finish(connections[i]).body.get("superseded"))
        connections[-1].close()
        self.check()

    def test_hung_up(self):
        for api in ("llama", "ollama"):
            self.took = []
            self.start_slow(api)
            for i in range(N_CLOSED):
                connection = self.send_infill(i)
                self.wait_begun(i)
                since = time.monotonic()
                connection.sock.shutdown(socket.SHUT_RDWR)
                connection.close()
                self.note(i, since)
            self.check()
            self.daemon.stop()

    def test_typed_on_in_an_editor(self):
        self.start_slow("openai")
        editor = self.connect(self.daemon)
        editor.start(INLINE)
        editor.open(PREFIX.format(1) + SUFFIX)
        request = editor.ask("textDocument/inlineCompletion", editor.place(4, 11, 1))
        for i in range(N_CLOSED):
            self.wait_begun(i)
            place = {"line": 4, "character": 11 + i}
            since = time.monotonic()
            editor.change(2 + i, {"range": {"start": place, "end": place}, "text": "z"})
            self.note(i, since)
            self.assertIsNone(editor.answer(request)["result"])
            request = editor.ask("textDocument/inlineCompletion", editor.place(4, 12 + i, 1))
        self.check()

    def test_cancelled_by_an_editor(self):
        self.start_slow("llama")
        editor = self.connect(self.daemon)
        editor.start(INLINE)
        editor.open(PREFIX.format(1) + SUFFIX)
        for i in range(N_CLOSED):
            request = editor.ask("textDocument/inlineCompletion", editor.place(4, 11, 1))
            self.wait_begun(i)
            since = time.monotonic()
            editor.notify("$/cancelRequest", {"id": request})
            self.note(i, since)
        self.check()

    def test_before_the_first_token(self):
        self.start_slow("openai")
        self.server.set(first_ms=20000)
        for i in range(N_CLOSED):
            connection = self.send_infill(i)
            self.server.wait_until(lambda state, n=i: len(state["completions"]) == n + 1)
            since = time.monotonic()
            connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()
            self.note(i, since)
        self.check()


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


class Privacy(RemoteTest):
    def received(self, *servers):
        """Everything that servers got."""
        return "".join(r["body"] + r["path"] + json.dumps(r["headers"]) for s in servers for r in s.last)

    def test_secrets_are_masked(self):
        for api in ("openai", "llama", "ollama"):
            server = self.add_server(api=api, model="qwen2.5-coder:7b")
            editor = self.connect(self.start_remote(server))
            editor.start(INLINE)
            editor.open(f'static char *token = "{SECRET}";\n' + PREFIX.format(1) + f'/* {SECRET} */' + SUFFIX)
            self.assertTrue(editor.complete(5, 11)["items"], self.daemon.log)
            self.infill(2, input_prefix=f'#define KEY "{SECRET}"\n' + PREFIX.format(2), input_extra=[
                {"filename": "config.c", "text": f'char *k = "{SECRET}";\n'}])
            received = self.received(server)
            self.assertIn("hole_1", received)
            self.assertIn("hole_2", received)
            self.assertNotIn(SECRET, received)
            self.daemon.stop()

    def test_a_secret_file_is_never_sent(self):
        server = self.add_server(model=QWEN)
        editor = self.connect(self.start_remote(server))
        editor.start(INLINE)
        folder = pathlib.Path(self.home) / "project"
        folder.mkdir()
        uri = (folder / ".env").as_uri()
        editor.open("PORT=80\nHOST_NAME=do-not-send\nUSER=", uri=uri)
        for kind in (1, 2):
            result = editor.complete(2, 5, kind, uri=uri)
            self.assertFalse(result and result["items"], result)
        self.infill(1, input_prefix="HOST_NAME=do-not-send\nUSER=", filename=str(folder / ".env"))
        self.infill(2, input_extra=[{"filename": str(folder / ".env"), "text": "HOST_NAME=do-not-send\n"}])
        self.assertNotIn("do-not-send", self.received(server))

    def key_file(self):
        path = self.home / "gpu.key"
        path.write_text(KEY + "\n")
        path.chmod(0o600)
        return path

    def everything_said(self):
        """All that the daemon tells anybody."""
        said = [self.daemon.log, json.dumps(self.status()), self.daemon.get("/metrics")[2]]
        said += [json.dumps(self.daemon.get("/health")[2]), json.dumps(self.daemon.get("/props")[2])]
        for command in (("status",), ("status", "--json"), ("config",), ("doctor",), ("explain",),
                        ("model", "list"), ("model", "info", "gpu"), ("model", "check", "gpu")):
            result = self.run_inline(*command)
            said += [result.out, result.err]
        for path in self.home.rglob("*"):
            if path.is_file() and path.name != "gpu.key":
                said.append(path.read_bytes().decode("latin-1"))
        return "\n".join(said)

    def test_the_key(self):
        """It goes to the servers that are configured, as their bearer, and is nowhere else."""
        for api in ("openai", "llama", "ollama"):
            servers = [self.add_server(api=api, model="qwen2.5-coder:7b", key=KEY) for _ in range(2)]
            self.start_remote(*servers, section={"key_file": self.key_file()}, env={"INLINE_LOG_LEVEL": "debug"})
            for i in range(4):
                self.assert_right(self.infill(i, user=f"u{i}"), i)
            asked = [r for server in servers for r in server.last]
            self.assertEqual({r["headers"].get("authorization") for r in asked}, {f"Bearer {KEY}"})
            self.assertNotIn(KEY, "".join(r["body"] + r["path"] for r in asked))
            self.assertNotIn(KEY, self.everything_said())
            self.daemon.stop()

    def test_the_key_from_the_environment(self):
        server = self.add_server(model=QWEN, key=KEY)
        self.start_remote(server, section={"key_env": "GPU_KEY"}, env={"GPU_KEY": KEY})
        self.assert_right(self.infill(1), 1)
        self.assertNotIn(KEY, self.everything_said())

    def test_no_key(self):
        server = self.add_server(model=QWEN)
        self.start_remote(server)
        self.assert_right(self.infill(1), 1)
        self.assertFalse(any("authorization" in r["headers"] for r in server.last))

    def test_a_wrong_key(self):
        """Told so that one knows what to do, and without the key, even where the server tells it."""
        server = self.add_server(model=QWEN, key="another", fault_on="completions")
        self.start_remote(server, section={"key_file": self.key_file()}, env={"INLINE_LOG_LEVEL": "debug"})
        self.assert_refused(self.infill(1), "key")
        server.set(fault="401-echo", fault_on="all")
        answer = self.infill(2)
        self.assert_refused(answer, "key")
        self.assertNotIn(KEY, json.dumps(answer.body) + self.everything_said())

    def test_redirects_are_refused(self):
        """Nothing reaches where a server points to, the key least of all."""
        for fault_on in ("all", "completions"):
            other = self.add_server(model=QWEN)
            server = self.add_server(model=QWEN, key=KEY, fault="redirect", fault_on=fault_on, redirect_to=other.url)
            self.start_remote(server, section={"key_file": self.key_file()})
            self.assert_refused(self.infill(1), "redirect")
            self.assertEqual(other.state()["n_connections"], 0)
            self.daemon.stop()

    def test_proxies_of_the_environment(self):
        """A key is not given to a proxy that nobody configured for it."""
        proxy, server = self.add_server(), self.add_server(model=QWEN, key=KEY)
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY")
        self.start_remote(server, section={"key_file": self.key_file()}, env={name: proxy.url for name in names})
        self.infill(1)
        self.assertNotIn(KEY, json.dumps(proxy.last))


class Fallback(RemoteTest):
    """A local model in place of servers that are late or gone."""

    LOCAL = FIXTURES / "models" / "qwen2.gguf"

    def setUp(self):
        super().setUp()
        self.install("small", self.LOCAL)

    def local_answer(self, number):
        self.start("small").wait_ready()
        text = self.infill(number).text
        self.assertEqual(self.daemon.stop(), 0)
        return text

    def start_both(self, *servers, **kwargs):
        self.start_remote(*servers, instant="small", **kwargs).wait_ready()
        self.wait_state("small", "ready")

    def test_late(self):
        """The instant model answers after remote.patience_ms, and says so; the server goes on for the caches."""
        local = self.local_answer(1)
        self.assertNotEqual(local, right(1))
        server = self.add_server(model=QWEN)
        self.start_both(server, patience_ms=200, env={"INLINE_CACHE_MEMORY_MB": "8"})
        self.infill(0)
        server.set(first_ms=1500)
        server.reset()
        begin = time.monotonic()
        answer = self.infill(1)
        took = time.monotonic() - begin
        self.assertEqual(answer.text, local, self.daemon.log)
        self.assertIn("gpu", self.fallback(answer))
        self.assertGreater(took, 0.19)
        if not SANITIZED:
            self.assertLess(took, 1.0)
        server.wait_until(lambda state: state["completions"] and state["completions"][0]["ended"])
        self.assertIsNone(server.completions[0]["closed_at"])
        deadline = time.monotonic() + 10
        while (answer := self.infill(1)).text != right(1):
            self.assertLess(time.monotonic(), deadline, answer.body)
            time.sleep(0.05)
        self.assertEqual((self.fallback(answer), answer.body["inline"]["cache"]), ("", "memory"))
        self.assertEqual(len([c for c in server.completions if c["key"] == "hole_1"]), 1)

    def test_in_time(self):
        server = self.add_server(model=QWEN, first_ms=20, token_ms=100)
        self.start_both(server, patience_ms=400)
        answer = self.infill(1)
        self.assert_right(answer, 1)
        self.assertEqual(self.fallback(answer), "")

    def test_gone(self):
        """Servers that are down cost nobody any patience."""
        local = self.local_answer(1)
        server = self.add_server(model=QWEN, fault="refuse")
        self.start_both(server, patience_ms=20000)
        for priority in ("typing", "asked"):
            begin = time.monotonic()
            answer = self.infill(1, priority=priority)
            self.assertEqual(answer.text, local, f"{answer.body} {self.daemon.log}")
            self.assertIn(f"127.0.0.1:{server.port}", self.fallback(answer))
            self.assertLess(time.monotonic() - begin, 5)
        self.assertGreaterEqual(self.metric("inline_remote_fallbacks_total"), 2)

    def test_told_by_the_command(self):
        server = self.add_server(model=QWEN, fault="refuse")
        self.start_both(server, patience_ms=100)
        path = self.home / "f.c"
        path.write_text(PREFIX.format(1) + SUFFIX)
        shown = json.loads(self.succeeds("complete", path, "--line", 5, "--column", 12, "--json").out)
        self.assertIn(f"127.0.0.1:{server.port}", shown["fallback"])

    def test_recovery(self):
        server = self.add_server(model=QWEN, fault="refuse")
        self.start_both(server, patience_ms=300)
        self.assertNotEqual(self.fallback(self.infill(1)), "")
        server.set(fault=None)
        deadline = time.monotonic() + 20
        while self.fallback(answer := self.infill(1)):
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.1)
        self.assert_right(answer, 1)

    def test_raw_prompts_are_for_one_model(self):
        server = self.add_server(model=QWEN, fault="refuse")
        self.start_both(server, patience_ms=100)
        self.assert_refused(self.ask("gpu", "x"), f"127.0.0.1:{server.port}")


class Down(RemoteTest):
    def test_all_servers(self):
        """A clear error, soon, that names a server."""
        servers = [self.add_server(model=QWEN, fault="refuse") for _ in range(3)]
        self.start_remote(*servers, timeout_ms=3000)
        for _ in range(3):
            begin = time.monotonic()
            answer = self.infill(1)
            self.assertLess(time.monotonic() - begin, 4)
            self.assert_refused(answer)
            self.assertTrue(any(f"127.0.0.1:{s.port}" in answer.error for s in servers), answer.error)
        servers[1].set(fault=None)
        deadline = time.monotonic() + 20
        while (answer := self.infill(2)).status != 200:
            self.assertLess(time.monotonic(), deadline, answer.error)
            time.sleep(0.1)
        self.assert_right(answer, 2)

    def test_by_an_editor(self):
        """Whoever types is not disturbed: null or nothing, and a line in the log."""
        server = self.add_server(model=QWEN, fault="refuse")
        editor = self.connect(self.start_remote(server))
        editor.start(INLINE)
        editor.open(PREFIX.format(1) + SUFFIX)
        answer = editor.answer(editor.ask("textDocument/inlineCompletion", editor.place(4, 11, 2)))
        self.assertFalse((answer.get("result") or {}).get("items"))
        server.set(fault=None)
        deadline = time.monotonic() + 20
        while not (items := self.items(editor)):
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.1)
        self.assertEqual(items[0]["insertText"], right(1))

    @staticmethod
    def items(editor):
        """What is suggested to who asks for it; none where that fails."""
        answer = editor.answer(editor.ask("textDocument/inlineCompletion", editor.place(4, 11, 1)))
        return (answer.get("result") or {}).get("items")

    def test_a_wrong_model(self):
        server = self.add_server(model=QWEN)
        self.start_remote(server, section={"model": "not-there"})
        self.assert_refused(self.infill(1), "not-there", QWEN)

    def test_another_api(self):
        """Told which one the server speaks, where that can be told."""
        server = self.add_server(api="ollama", model="qwen2.5-coder:7b")
        self.start_remote(server, section={"api": "llama"})
        self.assert_refused(self.infill(1), f"127.0.0.1:{server.port}")

    def test_the_daemon_ends_while_requests_run(self):
        server = self.add_server(model=QWEN, fault="hang")
        self.start_remote(server)
        connections = []
        for i in range(5):
            connection = self.daemon.connection()
            connection.request("POST", "/infill", json.dumps(self.infill_body(i, user=f"u{i}")))
            connections.append(connection)
        server.wait_until(lambda state: state["under_way"] > 0)
        begin = time.monotonic()
        self.assertEqual(self.daemon.stop(), 0)
        self.assertLess(time.monotonic() - begin, 15)
        for connection in connections:
            connection.close()


class Shown(RemoteTest):
    def test_status_and_metrics(self):
        good, bad = self.add_server(model=QWEN), self.add_server(model=QWEN, fault="refuse")
        self.start_remote(good, bad)
        for i in range(12):
            self.assert_right(self.infill(i, user=f"u{i}"), i)
        model = self.model_status("gpu")
        self.assertEqual((model["api"], model["remote_model"], model["role"]), ("openai", QWEN, "main"))
        up, down = self.server_status(good), self.server_status(bad)
        self.assertEqual((up["state"], up["failed"], up["error"], up["running"]), ("up", 0, "", 0))
        self.assertEqual(up["connections"], good.state()["connections"])
        self.assertEqual((down["state"] == "up", down["failed"] > 0, down["error"] != ""), (False, True, True))
        self.assertEqual((self.server_metric("inline_remote_up", good), self.server_metric("inline_remote_up", bad)),
                         (1, 0))
        self.assertEqual(self.server_metric("inline_remote_failures_total", good), 0)
        self.assertGreaterEqual(self.server_metric("inline_remote_failures_total", bad), 1)
        self.assertGreaterEqual(self.server_metric("inline_remote_requests_total", good), 12)
        text = self.succeeds("status").out
        for server in (good, bad):
            self.assertIn(f"127.0.0.1:{server.port}", text)

    def test_many_series_are_not_made(self):
        server = self.add_server(model=QWEN)
        self.start_remote(server)
        self.assert_right(self.infill(1), 1)
        text = self.daemon.get("/metrics")[2]
        self.assertEqual(text.count("inline_remote_up{"), 1)


if __name__ == "__main__":
    unittest.main()

"""The real OpenAI-compatible server of llama-cpp-python as a model's server.

LLAMA_CPP_PYTHON names a Python that has the package llama_cpp.server. What is particular about it: it computes one
request at a time, and by default cuts off the running one for the next, with a stream that ends without saying why."""

import json
import os
import subprocess
import threading

from clients import LETTER, MODEL, ClientTest, events, main, skip
from model_servers import ModelServer, stream

import slow_model

PYTHON = os.environ.get("LLAMA_CPP_PYTHON")
if not PYTHON:
    skip("LLAMA_CPP_PYTHON does not name a Python with the package llama-cpp-python[server]")
if subprocess.run([PYTHON, "-c", "import llama_cpp.server.app"], capture_output=True, timeout=120).returncode:
    skip(f"LLAMA_CPP_PYTHON: {PYTHON} has no llama_cpp.server")

CUT_TOKENS = 400  # two seconds at least
PREFIX = "int add(int a, int b)\n{\n    return "
SETTINGS = """[models]
main = gpu
[cache]
memory_mb = 0
disk_mb = 0
projects_mb = 0
[remote]
connections = {connections}
timeout_ms = 60000
[model.gpu]
type = remote
api = openai
urls = {url}
"""


class LlamaCppPythonTest(ClientTest):
    connections, interrupts = 1, False

    def start(self):
        model = slow_model.write(MODEL, self.home / "slow.gguf")
        command = [PYTHON, "-m", "llama_cpp.server", "--model", model, "--n_ctx", "1024", "--n_threads", "1",
                   "--interrupt_requests", self.interrupts, "--host", "127.0.0.1", "--port", "{port}"]
        self.server = ModelServer(command, "/v1/models", self.home / "server.log", self.env)
        self.addCleanup(self.server.stop)
        self.server.wait_ready()
        self.write_settings(SETTINGS.format(connections=self.connections, url=self.server.url))
        self.daemon = self.start_daemon(model=None).wait_ready()

    def raw(self, n_predict=12, prompt=PREFIX):
        return {"prompt": prompt, "n_predict": n_predict, "temperature": 0, "extent": "any"}


class OneByOne(LlamaCppPythonTest):
    def test_texts(self):
        # Its own penalty is not 1 unless it is told so.
        asked = {"prompt": PREFIX, "max_tokens": 12, "temperature": 0, "repeat_penalty": 1}
        expected = self.server.post("/v1/completions", asked)["choices"][0]["text"]
        answer = self.posts("/completion", self.raw()).json()
        self.assertEqual(answer["content"], expected)
        self.assertIn(LETTER, answer["content"])
        answer = self.posts("/infill", {"input_prefix": PREFIX, "input_suffix": ";\n}\n", "n_predict": 12}).json()
        self.assertIn(LETTER, answer["content"])

    def test_many_at_once_are_all_answered(self):
        """With one connection they take turns."""
        expected = self.posts("/completion", self.raw()).json()["content"]
        answers = [None] * 6

        def ask(i):
            answers[i] = self.post("/completion", {**self.raw(), "document": f"d{i}"})

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(answers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([(a.status, a.json().get("content")) for a in answers], [(200, expected)] * len(answers))

    def test_a_prompt_that_is_too_long_is_an_error(self):
        """The server says 200 and nothing more."""
        answer = self.post("/completion", self.raw(prompt="1 2 3 4 5 6 7 8 9 " * 100))
        self.assertNotEqual((answer.status, answer.json().get("content")), (200, ""), answer)


class Interrupting(LlamaCppPythonTest):
    """As it is by default, and with more than one connection."""

    connections, interrupts = 3, True

    def test_a_stream_that_another_request_cut_off_is_no_whole_answer(self):
        response, connection = stream(self.daemon.connection(), self.raw(CUT_TOKENS))
        # Somebody else's, who has nothing to do with the daemon.
        self.server.post("/v1/completions", {"prompt": PREFIX, "max_tokens": 2, "temperature": 0})
        last = json.loads(events(response.read().decode())[-1])
        response.close()
        connection.close()
        if "error" not in last and last["tokens_predicted"] < CUT_TOKENS:
            self.assertNotIn(last["stop_type"], ("eos", "limit"), last)


if __name__ == "__main__":
    main()

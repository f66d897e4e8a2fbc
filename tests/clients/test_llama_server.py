"""The real llama-server as a model's server, in both APIs that it speaks.

LLAMA_SERVER names its program. Texts must be those that it gives to whoever asks it himself, and its generation must
end when nobody wants it any more, which it tells at GET /slots."""

import os
import pathlib
import statistics
import time

from clients import LETTER, MODEL, ClientTest, main, skip
from daemon import SANITIZED
from model_servers import ModelServer, stream

import slow_model

PROGRAM = os.environ.get("LLAMA_SERVER")
if not PROGRAM:
    skip("LLAMA_SERVER does not name llama.cpp's llama-server")
if not os.access(PROGRAM, os.X_OK):
    skip(f"LLAMA_SERVER: {PROGRAM} is no program")

PREFIX, SUFFIX = "int add(int a, int b)\n{\n    return ", ";\n}\n"
KEY = "sesame"
N_CANCELS = 10
CANCEL_MS = 50
TOKENS = 2000  # ten seconds of the slow model
SETTINGS = """[models]
main = gpu
[cache]
memory_mb = 0
disk_mb = 0
projects_mb = 0
[model.gpu]
type = remote
api = {api}
urls = {url}
fim = {fim}
key_file = {key_file}
"""


class LlamaServerTest(ClientTest):
    api, fim = "llama", "auto"

    def start(self):
        model = slow_model.write(MODEL, self.home / "slow.gguf")
        env = {**self.env, "LD_LIBRARY_PATH": str(pathlib.Path(PROGRAM).resolve().parent)}
        # A small batch: the server notices a hang-up between batches.
        command = [PROGRAM, "-m", model, "-t", "1", "-c", "8192", "-np", "2", "-b", "256", "--api-key", KEY,
                   "--host", "127.0.0.1", "--port", "{port}"]
        self.server = ModelServer(command, "/health", self.home / "llama-server.log", env, key=KEY)
        self.addCleanup(self.server.stop)
        self.server.wait_ready()
        key_file = self.home / "key"
        key_file.write_text(KEY + "\n")
        key_file.chmod(0o600)
        self.write_settings(SETTINGS.format(api=self.api, url=self.server.url, fim=self.fim, key_file=key_file))
        self.daemon = self.start_daemon(model=None).wait_ready()

    def check_texts(self, path, asked):
        """asked: what the server is asked itself, for the text that it gives for the place."""
        greedy = {"n_predict": 12, "temperature": 0}
        expected = self.server.post(path, {**asked, **greedy})["content"]
        answer = self.posts("/infill", {"input_prefix": PREFIX, "input_suffix": SUFFIX, **greedy}).json()
        self.assertIn(LETTER, answer["content"])
        self.assertTrue(expected.startswith(answer["content"]), (expected, answer))
        expected = self.server.post("/completion", {"prompt": PREFIX, **greedy})["content"]
        answer = self.posts("/completion", {"prompt": PREFIX, **greedy, "extent": "any"}).json()
        self.assertEqual(answer["content"], expected)

    def busy(self):
        return [slot for slot in self.server.get("/slots")[1] if slot["is_processing"]]

    def wait_busy(self, is_busy):
        """Milliseconds until it computes, or does so no more."""
        start = time.monotonic()
        while bool(self.busy()) != is_busy:
            self.assertLess(time.monotonic(), start + 20, self.server.get("/slots"))
        return (time.monotonic() - start) * 1e3

    def cancel_ms(self, connect):
        """The median time from hanging up to the end of generation; connect() returns what is to be closed."""
        times = []
        for i in range(N_CANCELS):
            closing = connect({"prompt": f"{PREFIX}{i}", "n_predict": TOKENS, "temperature": 0})
            self.assertTrue(self.busy())
            for each in closing:
                each.close()
            times.append(self.wait_busy(False))
        return statistics.median(times)

    def check_cancels(self):
        """A client hangs up: the daemon closes its stream, and the server ends. How long the server itself needs for
        that, a token's time and what else the machine has to do, is measured beside it."""
        alone = self.cancel_ms(lambda body: stream(self.server.connection(), body, self.server.headers))
        through = self.cancel_ms(lambda body: stream(self.daemon.connection(), {**body, "extent": "any"}))
        if not SANITIZED:
            self.assertLess(through, alone + CANCEL_MS)


class Native(LlamaServerTest):
    place = {"input_prefix": PREFIX, "input_suffix": SUFFIX}

    def test_texts(self):
        self.check_texts("/infill", self.place)

    def test_hanging_up_ends_generation(self):
        self.check_cancels()

    def test_typing_on_ends_generation(self):
        """The newer request supersedes the older one, which ends at the server, too."""
        older = {"prompt": PREFIX, "n_predict": TOKENS, "temperature": 0, "document": "d"}
        response, connection = stream(self.daemon.connection(), {**older, "extent": "any"})
        first = {slot["id_task"] for slot in self.busy()}
        self.assertEqual(len(first), 1)
        self.posts("/completion", {"prompt": PREFIX + "a", "n_predict": 2, "document": "d"})
        self.assertFalse(first & {slot["id_task"] for slot in self.busy()})
        self.wait_busy(False)
        response.close()
        connection.close()

    def test_an_idle_connection_that_the_server_closed_costs_no_request(self):
        """llama-server closes a connection after five idle seconds."""
        self.check_texts("/infill", self.place)
        time.sleep(6)
        self.check_texts("/infill", self.place)
        self.assertNotIn("failed", self.daemon.log)

    def test_too_long_a_prompt_is_told(self):
        """Text is measured in bytes here, so that one may be sent that is too long in tokens: all have an answer."""
        answer = self.post("/completion", {"prompt": "1 2 " * 4000, "n_predict": 4, "extent": "any"})
        self.assertIn(answer.status, (200, 400), answer)


class OpenAi(LlamaServerTest):
    """Which takes no notice of what follows the cursor, and does not tell the model's family."""

    api = "openai"

    def test_texts(self):
        self.check_texts("/completion", {"prompt": PREFIX})

    def test_hanging_up_ends_generation(self):
        self.check_cancels()


class OwnLayout(LlamaServerTest):
    """Inline writes the family's tokens; the server reads them as such."""

    fim = "qwen"  # whose tokens the fixtures have

    def test_texts(self):
        prompt = f"<|fim_prefix|>{PREFIX}<|fim_suffix|>{SUFFIX}<|fim_middle|>"
        self.check_texts("/completion", {"prompt": prompt})


if __name__ == "__main__":
    main()

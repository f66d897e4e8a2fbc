"""A daemon whose model is on other machines: servers of tests/front/model_server.py stand in for those.

    class MyTest(RemoteTest):
        def test_x(self):
            gpu = self.add_server(api="llama")                   # or several
            self.start_remote(gpu, patience_ms=200)              # keys of [remote]
            self.assertEqual(self.infill(7).text, right(7))      # place number 7, completed

Each place has a word of its own in it, by which the servers' answer is told."""

import os

from editor import EditorTest
from model_apis import right_text
from model_server import ModelServer
from models import Answer, ModelsTest

QWEN = "Qwen/Qwen2.5-Coder-7B"  # a name that tells the model's family
PREFIX = "static int hole_{};\n\nint f(void)\n{{\n    return "
SUFFIX = "\n}\n"
KEY = "sk-test-0123456789abcdefghij"


def right(number):
    return right_text(f"hole_{number}")


class RemoteTest(ModelsTest, EditorTest):
    def add_server(self, **settings):
        server = ModelServer(**settings)
        self.addCleanup(server.stop)
        return server

    def section(self, *servers, name="gpu", **keys):
        """A [model.NAME] section; servers: at least one."""
        keys = {"type": "remote", "api": servers[0].server.settings.api,
                "urls": " ".join(server.url for server in servers), **keys}
        return "\n".join([f"[model.{name}]", *(f"{key} = {value}" for key, value in keys.items()), ""])

    def start_remote(self, *servers, section=None, instant=None, more="", env=None, **remote):
        """section: keys of [model.gpu]; remote: of [remote]; more: further lines of the settings."""
        lines = ["[models]", "main = gpu", *([f"instant = {instant}"] if instant else []),
                 self.section(*servers, **(section or {})),
                 "[remote]", *(f"{key} = {value}" for key, value in remote.items()), more, ""]
        self.write_settings("\n".join(lines))
        self.daemon = self.start_daemon(model=None, env=env)
        return self.daemon

    def ask_path(self, path, body, **kwargs):
        status, _, answer = self.daemon.post(path, body, **kwargs)
        return Answer(status, answer if isinstance(answer, dict) else {"content": answer})

    def infill_body(self, number, typed="", **more):
        return {"input_prefix": PREFIX.format(number) + typed, "input_suffix": SUFFIX, "n_predict": 32,
                "temperature": 0, **more}

    def infill(self, number, typed="", timeout=30, **more):
        return self.ask_path("/infill", self.infill_body(number, typed, **more), timeout=timeout)

    def assert_right(self, answer, number):
        last_lines = "".join(self.daemon.lines[-8:])
        self.assertEqual((answer.status, answer.text), (200, right(number)), f"{answer}; {last_lines}")

    def assert_refused(self, answer, *says):
        """A clear error: one line that says what."""
        self.assertGreaterEqual(answer.status, 400, answer)
        self.assertTrue(answer.error, answer.body)
        self.assertNotIn("\n", answer.error)
        for word in says:
            self.assertIn(word, answer.error)

    @staticmethod
    def fallback(answer):
        return answer.body.get("inline", {}).get("fallback", "")

    def server_status(self, server, name="gpu"):
        """What /status says of it."""
        return next(s for s in self.model_status(name)["servers"] if s["name"] == f"127.0.0.1:{server.port}")

    def server_metric(self, name, server):
        return self.metric(name, f'{{server="127.0.0.1:{server.port}"}}')

    def n_fds(self):
        return len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    def n_threads(self):
        return len(os.listdir(f"/proc/{self.daemon.pid}/task"))

"""Installing models for a daemon, asking them, and reading what the daemon says of each.

    class MyTest(ModelsTest):
        def test_x(self):
            self.install("one", "qwen2")                # tests/fixtures/models/qwen2.gguf under another name
            daemon = self.start("one")                  # models.main
            self.assertEqual(self.ask("one", "int x").status, 200)

Answers are computed each time: suggestions are not cached unless a test asks for it."""

import contextlib
import json
import re
import shutil
import signal
import time

from daemon import PATIENCE, DaemonTest
from front import FIXTURES

N_PREDICT = 12
PROMPT = "int value = {};\nreturn"
LONG_PROMPT = "".join(f"v{i} = {i * i}\n" for i in range(25))  # KV is kept on disk from 128 tokens on


class Answer:
    """What came of one completion: HTTP status, text, error message, and the whole body."""

    def __init__(self, status, body):
        self.status, self.body = status, body
        self.text = body.get("content") if status == 200 else None
        self.error = body.get("error", {}).get("message", "")

    def __repr__(self):
        return f"{self.status} {self.text!r} {self.error}"


def completion(model, prompt, user="", **more):
    body = {"prompt": prompt, "n_predict": N_PREDICT, "temperature": 0, "model": model, **more}
    return {**body, "user": user} if user else body


class ModelsTest(DaemonTest):
    def setUp(self):
        super().setUp()
        self.models.mkdir(parents=True)
        self.env.update(INLINE_CACHE_MEMORY_MB="0", INLINE_CACHE_DISK_MB="0", INLINE_CACHE_PROJECTS_MB="0",
                        INLINE_LOG_LEVEL="info")

    def install(self, name, fixture):
        """A copy of a fixture, or of any file, as the installed model of that name; returns its path."""
        source = FIXTURES / "models" / f"{fixture}.gguf" if isinstance(fixture, str) else fixture
        path = self.models / f"{name}.gguf"
        shutil.copyfile(source, path)
        return path

    def start(self, main=None, **settings):
        """settings: those of the environment without INLINE_, as in MODELS_IDLE_S=1."""
        env = {f"INLINE_{name}": str(value) for name, value in settings.items()}
        if main:
            env["INLINE_MODELS_MAIN"] = main
        self.daemon = self.start_daemon(model=None, env=env)
        return self.daemon

    def ask(self, model, prompt, timeout=PATIENCE, **more):
        status, _, body = self.daemon.post("/completion", completion(model, prompt, **more), timeout=timeout)
        return Answer(status, body)

    def send(self, model, prompt, **more):
        """A request that is on its way; finish() waits for its answer."""
        connection = self.daemon.connection()
        connection.request("POST", "/completion", json.dumps(completion(model, prompt, **more)),
                           {"Content-Type": "application/json"})
        return connection

    @staticmethod
    def finish(connection):
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        return Answer(answer.status, body)

    @contextlib.contextmanager
    def paused(self):
        """What is sent meanwhile reaches the daemon at one moment."""
        self.daemon.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.daemon.signal(signal.SIGCONT)

    def references(self, model, prompts):
        """The answer to each when nothing else runs."""
        answers = [self.ask(model, prompt) for prompt in prompts]
        self.assertEqual({a.status for a in answers}, {200}, answers)
        return [a.text for a in answers]

    def status(self):
        status, _, body = self.daemon.get("/status")
        self.assertEqual(status, 200, body)
        return body

    def model_status(self, name):
        return next(m for m in self.status()["models"] if m["name"] == name)

    def wait_state(self, name, *states, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while (model := self.model_status(name))["state"] not in states:
            self.assertLess(time.monotonic(), deadline, f"{model}; {self.daemon.log}")
            time.sleep(0.02)
        return model

    def metric(self, name, labels=""):
        """One series' value; 0 if it is not there."""
        text = self.daemon.get("/metrics")[2]
        found = re.search(rf"^{name}{re.escape(labels)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0.0

    def n_maps(self, path):
        """How often the daemon maps this file: a map may be several ranges, but begins once."""
        n = 0
        with open(f"/proc/{self.daemon.pid}/maps", encoding="utf-8") as maps:
            for line in maps:
                fields = line.split(maxsplit=5)
                if len(fields) == 6 and fields[5].rstrip("\n") == str(path):
                    n += int(fields[2], 16) == 0
        return n

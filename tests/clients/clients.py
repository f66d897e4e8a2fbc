"""What the client tests share: a daemon with a tiny model, requests as clients send them, skipping.

A test program here drives one client, or sends the requests of one family of clients. Where its client is not
installed it says so in one line and exits with 77, which CTest counts as skipped. `tools/setup clients` installs
the clients that can be had from package registries; their directory is TEST_CLIENTS_DIR, or that of
tools/setup. Nothing here may be sent anywhere but to the daemon on this machine."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "front"))

import slow_model  # noqa: E402
from daemon import DaemonTest  # noqa: E402
from front import FIXTURES  # noqa: E402
from listener import listener  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77

# Random weights that know the tokens of fill-in-the-middle, and that answer nearly everything with a run of
# one letter: text that is never empty and that a test recognises.
MODEL = FIXTURES / "models" / "starcoder2.gguf"
LETTER = "q"


def packages_dir():
    """Where `tools/setup clients` put the npm packages."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(os.environ.get("TEST_CLIENTS_DIR") or os.path.join(cache, "inline-test-clients"))


def skip(reason):
    """The client of this program is not there."""
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def need_program(name):
    path = shutil.which(name)
    if not path:
        skip(f"{name} is not installed; tools/setup clients does that")
    return path


def need_npm_package(*names):
    """The directory that holds these packages of npm, and a Node that can run them."""
    node = need_program("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout.strip()
    if int(version.lstrip("v").split(".")[0] or 0) < 20:
        skip(f"the client packages want Node 20 or newer, not {version}")
    folder = packages_dir()
    for name in names:
        if not (folder / "node_modules" / name / "package.json").exists():
            skip(f"the npm package {name} is not in {folder}; tools/setup clients installs it")
    return folder


class Answer:
    """Status, headers (lower case names) and the body's text."""

    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text

    def json(self):
        return json.loads(self.text)

    def __repr__(self):
        return f"HTTP {self.status}: {self.text[:500]}"


class ClientTest(DaemonTest):
    """A test with a daemon of its own, whose model is loaded."""

    fixture = MODEL
    # Some milliseconds a token, so that there is a middle in which to stop; the text is the same.
    is_slow = False

    def setUp(self):
        super().setUp()
        model = slow_model.write(self.fixture, self.home / "slow.gguf") if self.is_slow else self.fixture
        self.write_settings(f"[models]\nmain = {model}\n[engine]\nspeculation = off\n")
        self.start()

    def start(self):
        self.daemon = self.start_daemon(model=None).wait_ready()

    def request(self, method, path, body=None, headers=None):
        connection = self.daemon.connection()
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()},
                          response.read().decode("utf-8"))
        finally:
            connection.close()

    def post(self, path, body, **kwargs):
        return self.request("POST", path, body, **kwargs)

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def posts(self, path, body, **kwargs):
        """An answer that must be 200."""
        answer = self.post(path, body, **kwargs)
        self.assertEqual(answer.status, 200, answer)
        return answer

    def run_node(self, script, *args, folder, timeout=240):
        """A script of this folder that uses Node's test runner; its report on failure."""
        with subprocess.Popen(["node", str(HERE / script), str(folder), *map(str, args)], env=self.env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as node:
            ending = threading.Timer(timeout, node.kill)
            ending.start()
            report = node.stdout.read()
            ending.cancel()
        self.assertEqual(node.returncode, 0, f"{script}:\n{report}")


def is_running(pid):
    """A process that has ended may still wait for its parent to ask how."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class AttachTest(ClientTest):
    """A test that starts `inline lsp`, which starts the daemon: settings instead of flags say what it serves."""

    def start(self):
        self.addCleanup(self.end_daemon)

    def end_daemon(self):
        pid = listener(self.socket_path)
        if not pid:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while is_running(pid):
            self.assertLess(time.monotonic(), deadline, "SIGTERM did not end the daemon")
            time.sleep(0.05)


def events(text):
    """The data of server-sent events, as the simplest clients read them: lines that begin with "data: "."""
    return [line[len("data: "):] for line in text.splitlines() if line.startswith("data: ")]


def main():
    unittest.main(argv=[sys.argv[0]], verbosity=2)

"""A real Chromium under a test's control (browser.js), and a daemon that has work to do.

Where Node, Chromium or the packages of npm are not installed, a test program says so in one line and exits with
77, which CTest counts as skipped; `tools/setup web` installs them. Their directory is TEST_WEB_DIR or that of
tools/setup. Nothing is asked of any other host: the test fails if the page does. Pictures of the page go to the
directory TEST_WEB_SHOTS, if that is set; TEST_WEB_MODEL is a model for them instead of the tiny one."""

import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "front"))

from daemon import DaemonTest  # noqa: E402
from front import FIXTURES  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
PATIENCE = 30  # seconds
SHOTS = os.environ.get("TEST_WEB_SHOTS")
# Of random weights by default: it has FIM tokens, answers fast, and what it answers does not matter here.
MODEL = pathlib.Path(os.environ.get("TEST_WEB_MODEL") or FIXTURES / "models" / "qwen2.gguf")


def skip(reason):
    print(f"skipped: {reason}; tools/setup web installs what is needed")
    sys.exit(SKIPPED)


def _packages():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = pathlib.Path(os.environ.get("TEST_WEB_DIR") or os.path.join(cache, "inline-test-web"))
    for name in ("playwright-core", "axe-core"):
        if not (folder / "node_modules" / name / "package.json").exists():
            skip(f"the npm package {name} is not in {folder}")
    return folder


def _programs():
    node = shutil.which("node")
    if not node:
        skip("node is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout.strip()
    if int(version.lstrip("v").split(".")[0] or 0) < 20:
        skip(f"playwright-core wants Node 20 or newer, not {version}")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        skip("chromium is not installed")
    return node, chromium


PACKAGES, (NODE, CHROMIUM) = _packages(), _programs()


class Browser:
    """One Chromium with one page at a time."""

    def __init__(self, env):
        self.process = subprocess.Popen([NODE, str(HERE / "browser.js"), str(PACKAGES), CHROMIUM], env=env,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, name, **arguments):
        self.process.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the browser ended with {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"{name}: {answer['error']}")
        return answer["value"]

    def eval(self, expression):
        return self.do("eval", expression=expression)

    def wait(self, expression, timeout=PATIENCE):
        """Until it is true in the page; returns its value."""
        deadline = time.monotonic() + timeout
        while not (value := self.eval(expression)):
            if time.monotonic() > deadline:
                raise AssertionError(f"never true: {expression}\n{self.eval('document.body.innerText')[:3000]}")
            time.sleep(0.1)
        return value

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Typing:
    """Somebody who types, deletes, goes back to where they were, and at times asks for nonsense: computed and
    cached answers, misses, errors. Runs until it is stopped."""

    LINES = ("def area(width, height):", "    return width * height", "for i in range(10):", "    total += i")

    def __init__(self, daemon, pause=0.05):
        self.daemon, self.pause, self.ending = daemon, pause, threading.Event()
        self.n, self.problem = 0, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _texts(self):
        before = "# a module\n"
        for line in itertools.cycle(self.LINES):
            for i in range(4, len(line), 3):
                yield before + line[:i]
            yield before + line[:4]  # gone back: a cache has it
            before = (before + line + "\n")[-400:]

    def _run(self):
        for text in self._texts():
            if self.ending.wait(self.pause):
                return
            try:
                self._ask(text)
            except OSError as problem:  # the daemon was ended, as some tests do
                self.problem = problem
                return

    def _ask(self, text):
        self.n += 1
        if self.n % 40 == 0:
            self.daemon.post("/completion", {"prompt": [10**6], "n_predict": 1})  # a token that there is not
        else:
            self.daemon.post("/infill", {"input_prefix": text, "input_suffix": "\n\nprint(1)\n", "n_predict": 6})

    def stop(self):
        self.ending.set()
        self.thread.join(PATIENCE)


class WebTest(DaemonTest):
    """A test with a daemon of its own, and a page that knows nothing of the tests before."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp(prefix="inl-web-", dir="/tmp")  # Chromium's profile and sockets: short paths
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.browser = Browser({**os.environ, "HOME": folder, "TMPDIR": folder, "XDG_CONFIG_HOME": folder,
                               "XDG_CACHE_HOME": folder, "XDG_RUNTIME_DIR": folder})
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        super().setUp()
        self.expected_console = []  # what check_manners allows

    def start(self, settings="", **options):
        self.write_settings(f"[models]\nmain = {MODEL}\n{settings}")
        self.daemon = self.start_daemon(model=None, **options).wait_ready()
        return self.daemon

    def start_typing(self, **options):
        typing = Typing(self.daemon, **options)
        self.addCleanup(typing.stop)
        return typing

    def open(self, width=1280, height=900, scheme="light", touch=False):
        answer = self.browser.do("open", url=f"{self.daemon.url}/", width=width, height=height, scheme=scheme,
                                 touch=touch)
        self.assertEqual(answer["status"], 200)
        return answer

    def wait_live(self):
        self.browser.wait("document.getElementById('connection').dataset.state === 'live'"
                          " && document.querySelector('[data-figure]')?.isConnected")

    def figures(self):
        """{name: exact value or None} of all that the page shows."""
        return self.browser.eval("Object.fromEntries([...document.querySelectorAll('[data-figure]')].map((e) =>"
                                 " [e.dataset.figure, 'value' in e.dataset ? Number(e.dataset.value) : null]))")

    def wait_figure(self, name, least):
        self.browser.wait(f"Number(document.querySelector('[data-figure=\"{name}\"]')?.dataset.value) >= {least}")

    def screenshot(self, name, whole=True):
        if SHOTS:
            pathlib.Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.browser.do("screenshot", file=os.path.join(SHOTS, f"{name}.png"), whole=whole)

    def check_manners(self):
        """No errors, no other hosts, no broken policy."""
        seen = self.browser.do("seen")
        unexpected = [line for line in seen["console"] if not any(word in line for word in self.expected_console)]
        self.assertEqual(unexpected, [])
        self.assertEqual(seen["policy"], [])
        strange = [url for url in seen["requests"] if not url.startswith((self.daemon.url + "/", "data:"))]
        self.assertEqual(strange, [])

    def check_accessible(self):
        serious = [v for v in self.browser.do("axe") if v["impact"] in ("serious", "critical")]
        self.assertEqual(serious, [], json.dumps(serious, indent=1))

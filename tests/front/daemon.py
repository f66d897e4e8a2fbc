"""Starting, asking and stopping a daemon of one's own: its directories are the test's, its port is free.

    class MyTest(DaemonTest):
        def test_x(self):
            d = self.start_daemon()                          # model = MODEL, or None
            d.wait_ready()
            status, headers, body = d.get("/health")
            status, headers, body = d.post("/infill", {"input_prefix": "int "})

The daemon is stopped when the test ends, and must then end well."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from front import MODEL, PROGRAM, FrontTest

LISTENING = r"^inline: listening on (.*)$"
# Sanitizers cost time and memory: bounds on either hold for plain programs only.
SANITIZED = any(mark in pathlib.Path(PROGRAM).read_bytes() for mark in (b"__asan", b"__tsan"))
PATIENCE = 60  # seconds; sanitized programs on busy machines are slow


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout=PATIENCE):
        super().__init__("localhost", timeout=timeout)
        self.socket_path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.socket_path)


class Daemon:
    """One running `inline serve`."""

    def __init__(self, args, env, launcher=(), **popen):
        self.started = time.monotonic()
        self.process = subprocess.Popen([*launcher, PROGRAM, *map(str, args)], env=env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **popen)
        self.pid = self.process.pid
        self.first_line_at = None  # by time.monotonic, as started
        self.lines, self.changed = [], threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.first_line_at = self.first_line_at or time.monotonic()
                self.lines.append(line.decode("utf-8", "replace"))
                self.changed.notify_all()
        with self.changed:
            self.lines.append("")  # the end
            self.changed.notify_all()

    @property
    def log(self):
        return "".join(self.lines)

    def wait_log(self, pattern, timeout=PATIENCE):
        """The match of a regular expression in what the daemon printed, now or later; None at its end."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                match = re.search(pattern, self.log, re.M)
                if match or (self.lines and self.lines[-1] == ""):
                    return match
                if not self.changed.wait(max(0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise AssertionError(f"no {pattern!r} in: {self.log}")

    def wait_listening(self):
        """Wait for the line that says where it listens; sets .url, .port (None: no TCP) and .socket_path."""
        match = self.wait_log(LISTENING)
        if not match:
            raise AssertionError(f"the daemon ended with {self.process.wait()}: {self.log}")
        url = re.search(r"http://(\S+):(\d+)", match[1])
        path = re.search(r"(/\S+\.sock)\b", match[1])
        self.host, self.port = (url[1], int(url[2])) if url else (None, None)
        self.url = f"http://{self.host}:{self.port}" if url else None
        self.socket_path = path[1] if path else None
        return self

    def connection(self, unix=False, timeout=PATIENCE):
        if unix or not self.port:
            return UnixConnection(self.socket_path, timeout)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, unix=False, timeout=PATIENCE):
        """(status, headers, body): JSON bodies become objects, others text."""
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        headers = {**({"Content-Type": "application/json"} if data else {}), **(headers or {})}
        connection = self.connection(unix, timeout)
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        finally:
            connection.close()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, answer.headers, json.loads(text) if kind.startswith("application/json") else text

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, body, **kwargs):
        return self.request("POST", path, body, **kwargs)

    def wait_ready(self, timeout=PATIENCE):
        """Until the model is loaded, which /health says by 200."""
        deadline = time.monotonic() + timeout
        while self.get("/health")[0] != 200:
            if time.monotonic() > deadline:
                raise AssertionError(f"not ready: {self.get('/health')}; {self.log}")
            time.sleep(0.01)
        return self

    def raw(self, unix=False, timeout=PATIENCE):
        """A connected socket, for what http.client would not send."""
        if unix or not self.port:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(timeout)
            s.connect(self.socket_path)
            return s
        return socket.create_connection((self.host, self.port), timeout=timeout)

    def n_switches(self):
        """Context switches of all its threads so far: every wake-up is one."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            for count in re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text()):
                total += int(count)
        return total

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE):
        status = self.process.wait(timeout)
        self.reader.join(timeout)
        self.process.stderr.close()
        return status

    def stop(self):
        """End it as systemd would; returns the exit status."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            raise AssertionError(f"SIGTERM did not end the daemon: {self.log}") from None


class DaemonTest(FrontTest):
    """A test with directories of its own and daemons that end with it."""

    def setUp(self):
        super().setUp()
        # Paths of Unix sockets are short (108 bytes on Linux): not below self.home, which TMPDIR may lengthen.
        self.runtime = pathlib.Path(tempfile.mkdtemp(prefix="inl-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.runtime, ignore_errors=True)
        self.env["XDG_RUNTIME_DIR"] = str(self.runtime)
        self.env["INLINE_COMPLETE_CONFIDENCE"] = "0"  # models with random weights are never sure
        for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
            self.env.pop(name, None)
        self.socket_path = self.runtime / "inline" / "inline.sock"

    def start_daemon(self, *args, model=MODEL, listen="127.0.0.1:0", env=None, **popen):
        """A daemon that listens; model None: none is installed. args are further arguments, popen those of
        subprocess.Popen and launcher, a command line to put before the program's."""
        given = ["serve", *args]
        if model:
            given += ["--model", model]
        if listen is not None:
            given += ["--listen", listen]
        daemon = Daemon(given, {**self.env, **(env or {})}, **popen)
        self.addCleanup(self._end, daemon)
        return daemon.wait_listening()

    def _end(self, daemon):
        was_running = daemon.process.poll() is None
        status = daemon.stop()
        if was_running:
            self.assertEqual(status, 0, daemon.log)

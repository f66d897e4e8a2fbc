"""Each alert fires and resolves in a daemon's real life, and is told once each: to the log, at GET /status and /metrics,
to an editor, to the command and to the webhook."""

import http.server
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import large_model
from daemon import PATIENCE
from editor import INLINE, EditorTest
from models import ModelsTest

MB = 1000 * 1000
MINUTE_S = 62  # until what happened has left the window of a minute
# Figures that rules have here: they fire and resolve after a second, windows are of a minute.
RULES = {
    "slow-completions": "0.05/1",
    "slow-p95": "0.05/1/1m",
    "memory": "0.6/1",
    "errors": "0.5/1/1m",
    "hit-rate": "0.5/1/1m",
    "cache-disk": "0.05/1",
    "remote-down": "0/1",
}
SEVERITIES = {"memory": "critical", "hit-rate": "info"}  # of the others: warning
MESSAGE_TYPES = {"critical": 1, "warning": 2, "info": 3}  # of LSP


class Hook:
    """A webhook's receiver: the first post is answered with an error, the others with success."""

    def __init__(self):
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.posts.append((self.path, body))
                self.send_response(500 if len(hook.posts) == 1 else 204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.posts = []
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}/hook/verysecret"
        threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()


class TeamServer:
    """A Redis or Valkey server on a Unix socket, as far as one is installed: Debian's redis-tools has the server's
    program as redis-check-rdb, which does what the name says that it is called by."""

    def __init__(self):
        names = ("redis-server", "valkey-server", "redis-check-rdb", "valkey-check-rdb")
        programs = [f"{folder}/{name}" for name in names for folder in ("/usr/bin", "/usr/local/bin")]
        self.program = next((p for p in programs if os.access(p, os.X_OK)), None)
        self.folder = tempfile.TemporaryDirectory(prefix="inl-", dir="/tmp")
        self.socket = f"{self.folder.name}/socket"
        self.process = None

    def start(self):
        link = pathlib.Path(self.folder.name, "valkey-server" if "valkey" in self.program else "redis-server")
        if not link.exists():
            link.symlink_to(self.program)
        self.process = subprocess.Popen([link, "--port", "0", "--unixsocket", self.socket, "--save", "",
                                         "--dir", self.folder.name], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def kill(self):
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
            pathlib.Path(self.socket).unlink(missing_ok=True)

    def close(self):
        self.kill()
        self.folder.cleanup()


class Alerts(ModelsTest, EditorTest):
    def setUp(self):
        super().setUp()
        self.hook, self.team = Hook(), TeamServer()
        self.addCleanup(self.hook.close)
        self.addCleanup(self.team.close)
        self.told = self.home / "told"  # by the command
        self.n_asked = 0

    def watch(self, name, slow_mb=150, **settings):
        """Start a daemon that knows this rule only, and an editor that is connected to it. Its models: "fast", "slow",
        and one that is broken."""
        self.name = name
        self.severity = SEVERITIES.get(name, "warning")
        self.install("fast", "qwen2")
        large_model.write(self.models / "slow.gguf", 4096, slow_mb * MB // (4096 * 102))
        (self.models / "broken.gguf").write_bytes((self.models / "fast.gguf").read_bytes()[:3000])
        settings = {"CACHE_MEMORY_MB": 16, "CACHE_PREFETCH": "off", "LIMITS_GOVERNOR": "off", **settings}
        self.start("fast", ALERTS_RULES=",".join(f"{rule}={RULES[name] if rule == name else 'off'}" for rule in RULES),
                   ALERTS_COMMAND=f'echo "$INLINE_ALERT $INLINE_ALERT_STATE $INLINE_ALERT_SEVERITY" >> {self.told}',
                   ALERTS_WEBHOOK=self.hook.url, **settings)
        self.daemon.wait_ready()
        self.editor = self.connect(self.daemon)
        self.editor.start(INLINE)

    # Things that happen.

    def ask_new(self, model="fast", **more):
        """Something that no cache has."""
        self.n_asked += 1
        answer = self.ask(model, f"number {self.n_asked} of {self.n_asked * 7919}: ", **more)
        self.assertEqual(answer.status, 200, answer)

    def ask_slow(self):
        self.ask_new("slow", n_predict=1)

    def ask_old(self):
        self.assertEqual(self.ask("fast", "always the same").status, 200)

    def ask_broken(self):
        self.assertNotEqual(self.ask("broken", "int").status, 200)

    @staticmethod
    def wait():
        time.sleep(0.05)

    # What is told about it.

    def until_told(self, state, do):
        """Do this again and again until the log tells that the rule fires, or has resolved."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(rf"^inline: \w+: alert name={self.name} state={state} ", self.daemon.log, re.M):
            self.assertLess(time.monotonic(), deadline, f"{self.status()['alerts']}; {self.daemon.log}")
            do()

    def check_shown(self, is_firing):
        """At GET /status and /metrics."""
        status = self.status()
        self.assertEqual([a["name"] for a in status["alerts"]], [self.name])
        alert = self.alert = status["alerts"][0]
        self.assertEqual(alert["firing"], is_firing)
        self.assertEqual(alert["severity"], self.severity)
        self.assertEqual(alert["threshold"], float(RULES[self.name].split("/")[0]))
        self.assertLess(abs(alert["since_ms"] / 1000 - time.time()), 2 * PATIENCE)
        self.assertEqual(alert["until_ms"] >= alert["since_ms"], not is_firing)
        rules = {r["name"]: r for r in status["rules"]}
        self.assertEqual(set(rules), set(RULES))
        for name, rule in rules.items():
            self.assertEqual(rule["off"], name != self.name)
            self.assertEqual(rule["firing"], name == self.name and is_firing)
            self.assertEqual(self.metric("inline_alert_firing", f'{{rule="{name}"}}'), rule["firing"])
            self.assertEqual(self.metric("inline_alerts_total", f'{{rule="{name}"}}'), name == self.name)

    def check_editor(self):
        """What fires is shown to the user, what is over is logged."""
        self.editor.wait(lambda m: "over:" in m.get("params", {}).get("message", ""))
        told = [(m["method"], m["params"]) for m in self.editor.messages
                if m.get("method") in ("window/showMessage", "window/logMessage")]
        message = self.alert["message"]
        shown = {"type": MESSAGE_TYPES[self.severity], "message": f"Inline: {message} ({self.alert['todo']})"}
        logged = {"type": 3, "message": f"Inline: over: {message}"}
        self.assertEqual(told, [("window/showMessage", shown), ("window/logMessage", logged)])

    def check_outside(self):
        """The command and the webhook got both, in order."""
        expected = [f"{self.name} {state} {self.severity}" for state in ("firing", "resolved")]
        deadline = time.monotonic() + PATIENCE
        while len(self.hook.posts) < 3 or self.told.read_text().count("\n") < 2:
            self.assertLess(time.monotonic(), deadline, f"{self.hook.posts} {self.told.read_text()}")
            self.wait()
        self.assertEqual(self.told.read_text().splitlines(), expected)
        self.assertEqual({path for path, _ in self.hook.posts}, {"/hook/verysecret"})
        refused, *posts = (body for _, body in self.hook.posts)
        self.assertEqual(refused, posts[0])
        self.assertEqual([f"{p['name']} {p['state']} {p['severity']}" for p in posts], expected)
        self.assertEqual({p["message"] for p in posts}, {self.alert["message"]})
        self.assertIn("alerts.webhook: 127.0.0.1 answered 500; trying again", self.daemon.log)
        self.assertNotIn("verysecret", self.daemon.log)

    def run_alert(self, make_worse, make_better, between=lambda: None):
        """It fires while the first is done again and again, and resolves while the second is."""
        self.until_told("firing", make_worse)
        self.check_shown(True)
        between()
        self.until_told("resolved", make_better)
        self.check_shown(False)
        self.check_editor()
        self.check_outside()
        self.assertEqual(len(re.findall("^inline: .*: alert ", self.daemon.log, re.M)), 2)

    # Each of them.

    def test_slow_completions(self):
        self.watch("slow-completions")
        self.run_alert(self.ask_slow, self.ask_old)
        self.assertRegex(self.alert["message"], r"^completions took \S+ m?s on average in the last minute")

    def test_slow_p95(self):
        self.watch("slow-p95")
        self.run_alert(self.ask_slow, self.ask_new)
        self.assertRegex(self.alert["message"], r"^one of 20 completions took \S+ m?s or longer in the last minute")

    def test_memory(self):
        """It fires when a model is loaded, and resolves when that has gone, though nobody asks."""
        self.watch("memory", slow_mb=300, LIMITS_MEMORY_MB=450, MODELS_IDLE_S=3)
        self.run_alert(self.ask_slow, self.wait)
        self.assertRegex(self.alert["message"], r"^[67]\S* % of the memory is in use; the limit is 60 %$")

    def test_errors(self):
        self.watch("errors")
        self.run_alert(lambda: (self.ask_broken(), self.wait()), self.ask_old)
        self.assertEqual(self.alert["message"], "100 % of the requests of the last minute failed; the limit is 50 %")

    def test_hit_rate(self):
        """Most answers were found until a minute ago; now none is."""
        self.watch("hit-rate", LOG_LEVEL="info")
        for _ in range(100):
            self.ask_old()
        time.sleep(MINUTE_S)
        self.run_alert(self.ask_new, self.ask_old)
        self.assertRegex(self.alert["message"], r"^the caches' hit rate of the last minute is \S+ % of the day's")

    def test_cache_disk(self):
        """What is asked fills a twentieth of the least that a cache on disk may take."""
        self.watch("cache-disk", CACHE_MEMORY_MB=0, CACHE_DISK_MB=8)
        for _ in range(100):
            self.ask_new()
        self.run_alert(self.ask_old, lambda: (self.ask_old(), self.wait()), between=lambda: self.succeeds("cache", "clear"))
        self.assertRegex(self.alert["message"], r"^the disk cache takes \S+ % of the space that it may; the limit is 5 %$")

    def test_remote_down(self):
        if not self.team.program:
            self.skipTest("neither Redis nor Valkey is installed")
        self.team.start()
        self.watch("remote-down", CACHE_TEAM=f"unix:{self.team.socket}")
        self.ask_new()
        self.team.kill()
        self.run_alert(self.ask_new, self.ask_new, between=self.team.start)
        self.assertEqual(self.alert["message"], "no answer from team-cache")


class Faults(ModelsTest):
    def refuse(self, says, **settings):
        self.install("fast", "qwen2")
        env = {f"INLINE_{name}": value for name, value in settings.items()}
        result = self.fails("serve", "--model", "fast", "--listen", "127.0.0.1:0", env=env, says=says)
        self.assertNotIn("verysecret", result.err)

    def test_bad_settings(self):
        self.refuse(["alerts.rules", "did you mean memory?"], ALERTS_RULES="memroy=1")
        self.refuse(["alerts.rules", "memory"], ALERTS_RULES="memory=much")
        self.refuse("alerts.webhook", ALERTS_WEBHOOK="ftp://example.org/verysecret")

    def test_end(self):
        """Neither a command that runs nor a webhook that is silent holds up the daemon's end."""
        self.install("fast", "qwen2")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            self.start("fast", ALERTS_RULES="slow-completions=0/0", ALERTS_COMMAND="sleep 60",
                       ALERTS_WEBHOOK=f"http://127.0.0.1:{silent.getsockname()[1]}/")
            while "state=firing" not in self.daemon.log:
                self.assertEqual(self.ask("fast", "int").status, 200)
            with silent.accept()[0]:  # the webhook waits for an answer now
                begun = time.monotonic()
                self.assertEqual(self.daemon.stop(), 0)
                self.assertLess(time.monotonic() - begun, PATIENCE / 4)

    def test_json_log(self):
        """Each line of the daemon's log is a JSON object, with an alert's figures as members."""
        self.install("fast", "qwen2")
        self.start("fast", ALERTS_RULES="slow-completions=0/0", LOG_FORMAT="json")
        while '"state":"firing"' not in self.daemon.log:
            self.assertEqual(self.ask("fast", "int").status, 200)
        lines = [json.loads(line) for line in self.daemon.log.splitlines() if not line.startswith("inline: listening")]
        alert = next(line for line in lines if line["message"] == "alert")
        self.assertEqual((alert["level"], alert["name"]), ("warning", "slow-completions"))
        self.assertEqual(alert["state"], "firing")
        self.assertIsInstance(alert["value"], float)
        self.assertRegex(alert["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


if __name__ == "__main__":
    unittest.main()

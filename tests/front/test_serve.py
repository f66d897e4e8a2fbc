"""`inline serve` as a process: how it starts, listens, obeys signals, rests and ends."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

from daemon import SANITIZED, DaemonTest
from front import PROGRAM

# Hands inherited sockets over as systemd does: from descriptor 3 on, named to the process that it becomes.
ACTIVATE = """
import os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid() + int(sys.argv[2])), LISTEN_FDNAMES="a:b")
os.execv(sys.argv[3], sys.argv[3:])
"""


class StartTest(DaemonTest):
    def test_listens_at_once(self):
        """The line comes within 20 ms, the model loads behind. The best of several: other tests run beside this one."""
        best = 1.0
        for _ in range(10):
            daemon = self.start_daemon()
            with daemon.changed:
                best = min(best, daemon.first_line_at - daemon.started)
            self.assertEqual(daemon.stop(), 0)
        self.assertLess(best, 1.0 if SANITIZED else 0.020)

    def test_says_where_it_listens(self):
        daemon = self.start_daemon()
        self.assertRegex(daemon.log, r"\Ainline: listening on http://127\.0\.0\.1:\d+ and /\S+\.sock, model llama\n\Z")
        self.assertEqual(daemon.socket_path, str(self.socket_path))
        self.assertEqual(self.socket_path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.socket_path.parent.stat().st_mode & 0o777, 0o700)
        daemon.wait_ready()
        self.assertEqual(daemon.get("/health", unix=True)[0], 200)
        status, _, body = daemon.post("/infill", {"input_prefix": "int ", "input_suffix": "", "n_predict": 4})
        self.assertEqual(status, 200, body)
        self.assertEqual(daemon.stop(), 0)
        self.assertFalse(self.socket_path.exists())

    def test_without_a_model(self):
        daemon = self.start_daemon(model=None)
        self.assertRegex(daemon.log, r"no model: .*inline model pull")
        status, _, body = daemon.get("/health")
        self.assertEqual(status, 503)
        self.assertIn("inline model pull", body["error"]["message"])

    def test_unix_socket_only(self):
        daemon = self.start_daemon(listen="")
        self.assertIsNone(daemon.port)
        daemon.wait_ready()

    def test_other_socket(self):
        path = self.runtime / "new" / "place.sock"
        daemon = self.start_daemon("--socket", path)
        self.assertEqual(daemon.socket_path, str(path))
        self.assertEqual(daemon.get("/health", unix=True)[0] // 100 in (2, 5), True)

    def test_bad_addresses(self):
        for address in ("localhost", "127.0.0.1:99999", "example.org:80", ":"):
            self.fails("serve", "--listen", address, says=address)
        self.fails("serve", "--listen=127.0.0.1:0", "--socket", "/tmp/" + "x" * 200 + ".sock", says="socket")
        self.fails("serve", "extra", status=2, says="no arguments")

    def test_private_directory(self):
        """In a runtime directory that others can enter, somebody else's socket could wait for us."""
        (self.runtime / "inline").mkdir(mode=0o755)
        (self.runtime / "inline").chmod(0o755)
        self.fails("serve", "--listen=127.0.0.1:0", says="0700")


class SecondTest(DaemonTest):
    def test_same_socket(self):
        daemon = self.start_daemon()
        self.fails("serve", "--listen=127.0.0.1:0", says=["another Inline", str(daemon.pid), str(self.socket_path)])
        self.assertEqual(daemon.get("/health", unix=True)[0] // 100 in (2, 5), True)

    def test_same_address(self):
        daemon = self.start_daemon()
        other = self.runtime / "other" / "inline.sock"
        address = f"127.0.0.1:{daemon.port}"
        self.fails("serve", "--listen", address, "--socket", other, says=[address, "in use"])
        second = self.start_daemon("--if-free", "--log-level=error", "--socket", other, listen=address)
        self.assertEqual((second.port, second.socket_path), (None, str(other)))

    def test_stale_socket(self):
        daemon = self.start_daemon()
        daemon.process.kill()
        daemon.wait()
        self.assertTrue(self.socket_path.exists())
        self.start_daemon().wait_ready()

    def test_many_at_once(self):
        """Of many that start together exactly one lives."""
        env = {**self.env, "INLINE_SERVE_LISTEN": ""}
        started = [subprocess.Popen([PROGRAM, "serve"], env=env, stderr=subprocess.DEVNULL) for _ in range(8)]
        time.sleep(2 if SANITIZED else 0.5)
        alive = [p for p in started if p.poll() is None]
        for p in alive:
            p.terminate()
        self.assertEqual(sorted(p.wait(30) for p in started), [0] + [1] * 7)
        self.assertEqual(len(alive), 1)


class SignalTest(DaemonTest):
    def test_ends_at_once_when_idle(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = self.start_daemon()
            daemon.wait_ready()
            connections = [daemon.raw(), daemon.raw(unix=True)]
            daemon.get("/health")
            start = time.monotonic()
            daemon.signal(number)
            self.assertEqual(daemon.wait(), 0)
            self.assertLess(time.monotonic() - start, 5 if SANITIZED else 1)
            for connection in connections:
                connection.close()

    def test_finishes_what_runs(self):
        daemon = self.start_daemon()
        daemon.wait_ready()
        connection = daemon.connection()
        request = {"prompt": "int main", "n_predict": 3000, "stream": True, "ignore_eos": True}
        connection.request("POST", "/completion", json.dumps(request), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        first = answer.readline()
        daemon.signal(signal.SIGTERM)
        rest = answer.read().decode()
        last = json.loads(re.findall(r"^data: (\{.*)$", rest or first.decode(), re.M)[-1])
        self.assertTrue(last["stop"], last)
        self.assertEqual(daemon.wait(), 0)
        connection.close()

    def test_second_signal(self):
        daemon = self.start_daemon()
        half = daemon.raw()
        half.sendall(b"POST /infill HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        daemon.get("/health")  # the half request has been read
        daemon.signal(signal.SIGTERM)
        time.sleep(0.3)
        with self.assertRaises(OSError):
            daemon.raw()
        self.assertIsNone(daemon.process.poll(), "a request under way is waited for")
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), -signal.SIGTERM)
        half.close()

    def test_reload(self):
        self.write_settings("[serve]\ntoken = first\n")
        daemon = self.start_daemon("--log-level=info")
        status = lambda token: daemon.get("/slots", headers={"Authorization": f"Bearer {token}"})[0]
        self.assertEqual((status("first") == 401, status("second") == 401), (False, True))
        self.write_settings("[serve]\ntoken = second\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("was read again")
        self.assertEqual((status("first") == 401, status("second") == 401), (True, False))
        self.write_settings("[serve]\ntoken = third\nnonsense = 1\n")
        daemon.signal(signal.SIGHUP)
        self.assertIn("serve.nonsense", daemon.wait_log("stays as it was: (.*)")[1])
        self.assertEqual(status("second") == 401, False)

    def test_reload_keeps_flags(self):
        self.write_settings("[log]\nlevel = error\n")
        daemon = self.start_daemon("--log-level=info")
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("was read again")


class TokenTest(DaemonTest):
    def test_beyond_this_machine(self):
        self.fails("serve", "--listen=0.0.0.0:0", says=["0.0.0.0:0", "token"])
        daemon = self.start_daemon(listen="0.0.0.0:0", env={"INLINE_SERVE_TOKEN": "secret"})
        self.assertEqual(daemon.get("/slots", headers={"Host": f"127.0.0.1:{daemon.port}"})[0], 401)
        good = {"Host": f"127.0.0.1:{daemon.port}", "Authorization": "Bearer secret"}
        self.assertNotEqual(daemon.get("/slots", headers=good)[0], 401)
        self.write_settings("")
        daemon.signal(signal.SIGHUP)  # the environment still has the token: nothing changes
        self.assertEqual(daemon.get("/slots", headers={"Host": f"127.0.0.1:{daemon.port}"})[0], 401)

    def test_never_shown(self):
        env = {"INLINE_SERVE_TOKEN": "hush-hush"}
        for args in (("config",), ("config", "--json"), ("config", "--markdown")):
            result = self.succeeds(*args, env=env)
            self.assertNotIn("hush", result.out + result.err)
        self.assertRegex(self.succeeds("config", env=env).out, r"serve\.token +set +INLINE_SERVE_TOKEN")
        self.assertRegex(self.succeeds("config").out, r"serve\.token +\(unset\)")


class LogTest(DaemonTest):
    def ask(self, **env):
        daemon = self.start_daemon("--log-level=debug", env=env)
        daemon.wait_ready()
        self.assertEqual(daemon.post("/infill", {"input_prefix": "int hush", "n_predict": 4})[0], 200)
        daemon.get("/a%0ainline:%20error:%20forged")
        self.assertEqual(daemon.stop(), 0)
        return daemon.log

    def test_text_stays_out(self):
        log = self.ask()
        self.assertIn("POST /infill", log)
        self.assertNotIn("hush", log)
        self.assertNotIn("\ninline: error: forged", log)

    def test_text_where_it_is_wanted(self):
        self.assertIn("hush", self.ask(INLINE_LOG_TEXT="on"))


class IdleTest(DaemonTest):
    def test_leaves_when_idle(self):
        start = time.monotonic()
        daemon = self.start_daemon("--idle-exit=1")
        client = daemon.raw()
        time.sleep(1.5)
        self.assertIsNone(daemon.process.poll(), "somebody is connected")
        client.close()
        self.assertEqual(daemon.wait(20), 0)
        self.assertGreater(time.monotonic() - start, 2.4)
        self.assertFalse(self.socket_path.exists())

    def test_sleeps(self):
        """Not one wake-up in five seconds, with an editor connected and after requests."""
        daemon = self.start_daemon()
        daemon.wait_ready()
        editor = daemon.raw(unix=True)
        editor.sendall(b"GET /lsp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: lsp\r\n\r\n")
        self.assertRegex(editor.recv(1000), rb"\AHTTP/1.1 101 ")
        self.assertEqual(daemon.post("/infill", {"input_prefix": "int ", "n_predict": 4})[0], 200)
        time.sleep(12)  # the model may be packed and KV saved when nobody asks for a while; the governor looks on for 10 s
        before = daemon.n_switches()
        time.sleep(5)
        self.assertEqual(daemon.n_switches(), before)
        editor.close()

    @unittest.skipIf(SANITIZED, "sanitizers take memory")
    def test_small_without_a_model(self):
        daemon = self.start_daemon(model=None)
        for path in ("/health", "/metrics", "/v1/models", "/props"):
            daemon.get(path)
        daemon.post("/infill", {"input_prefix": "int ", "n_predict": 4})
        self.assertLess(daemon.rss_bytes(), 12 << 20)


class ManagerTest(DaemonTest):
    """What systemd does, by hand."""

    def sockets(self):
        tcp = socket.create_server(("127.0.0.1", 0))
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(str(self.runtime / "given.sock"))
        unix.listen()
        # Out of the way of the numbers that they get.
        fds = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 20) for s in (tcp, unix)]
        self.addCleanup(lambda: [s.close() for s in (tcp, unix)] and [os.close(fd) for fd in fds])
        return tcp, unix, fds

    def launcher(self, fds, pid_offset=0):
        return [sys.executable, "-c", ACTIVATE, ",".join(map(str, fds)), str(pid_offset)]

    def test_given_sockets(self):
        tcp, _, fds = self.sockets()
        daemon = self.start_daemon(listen=None, launcher=self.launcher(fds), pass_fds=fds)
        self.assertIn("service manager", daemon.log)
        daemon.host, daemon.port = tcp.getsockname()
        daemon.wait_ready()
        daemon.socket_path = str(self.runtime / "given.sock")
        self.assertEqual(daemon.get("/health", unix=True)[0], 200)
        self.assertEqual(daemon.stop(), 0)
        self.assertTrue((self.runtime / "given.sock").exists(), "the socket is the manager's")

    def test_sockets_for_another_process(self):
        _, _, fds = self.sockets()
        daemon = self.start_daemon(launcher=self.launcher(fds, 1), pass_fds=fds)
        self.assertEqual(daemon.socket_path, str(self.socket_path))

    def test_notifies(self):
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.bind(str(self.runtime / "notify"))
        ear.settimeout(20)
        daemon = self.start_daemon(env={"NOTIFY_SOCKET": str(self.runtime / "notify")})
        self.assertEqual(ear.recv(1000), b"READY=1")
        daemon.signal(signal.SIGHUP)
        self.assertRegex(ear.recv(1000), rb"\ARELOADING=1\nMONOTONIC_USEC=\d+\Z")
        self.assertEqual(ear.recv(1000), b"READY=1")
        daemon.stop()
        self.assertEqual(ear.recv(1000), b"STOPPING=1")
        ear.close()


if __name__ == "__main__":
    unittest.main()

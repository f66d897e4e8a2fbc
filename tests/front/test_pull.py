"""inline model pull against a server that cuts, changes, refuses, lies and dawdles."""

import hashlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import time
import unittest

from front import MODEL, PROGRAM, FrontTest
from server import Server


def padded_model(n_bytes):
    """The fixture model, grown by bytes that a GGUF file may have after its tensors."""
    return MODEL.read_bytes().ljust(n_bytes, b"\0")


BODY = padded_model(3_000_000)


class PullTest(FrontTest):
    def setUp(self):
        super().setUp()
        self.server = self.enterContext(Server(BODY))
        self.files = self.server.files
        self.env["INLINE_HUB"] = self.server.url
        self.installed = self.models / "toy.gguf"
        self.part = self.models / "toy.gguf.part"

    def url(self, path="/files/toy.gguf"):
        return self.server.url + path

    def leftovers(self):
        return sorted(p.name for p in self.models.glob("*.part*")) if self.models.exists() else []

    def assert_installed(self):
        self.assertEqual(self.installed.read_bytes(), self.files.body)
        self.assertEqual(self.leftovers(), [])

    # What is pulled, and from where.

    def test_url(self):
        result = self.succeeds("model", "pull", self.url())
        self.assertIn("installed toy", result.out)
        self.assertIn("as announced", result.err)
        self.assert_installed()
        self.succeeds("model", "check", "toy")

    def test_catalogue_name_and_hf_path(self):
        self.succeeds("model", "pull", "qwen2.5-coder-0.5b")
        self.succeeds("model", "pull", "hf:owner/repo/folder/other.gguf", "--name", "mine")
        self.assertEqual([path for path, _ in self.files.requests],
                         ["/ggml-org/Qwen2.5-Coder-0.5B-Q8_0-GGUF/resolve/main/qwen2.5-coder-0.5b-q8_0.gguf",
                          "/owner/repo/resolve/main/folder/other.gguf"])
        names = [m["name"] for m in json.loads(self.succeeds("model", "list", "--json").out)["models"]]
        self.assertEqual(names, ["mine", "qwen2.5-coder-0.5b"])

    def test_json(self):
        result = json.loads(self.succeeds("model", "pull", self.url(), "--json").out)
        self.assertEqual((result["name"], result["bytes"]), ("toy", len(BODY)))

    def test_installed_already(self):
        self.succeeds("model", "pull", self.url())
        self.fails("model", "pull", self.url(), says=["already installed", "--force"])
        self.succeeds("model", "pull", self.url(), "--force")

    def test_unknown_names(self):
        self.fails("model", "pull", "qwen2.5-coder-05b", says="did you mean qwen2.5-coder-0.5b?")
        self.fails("model", "pull", "zzzzzz", says="--available")
        self.fails("model", "pull", "hf:owner/file", says="hf:OWNER/REPO/FILE")
        self.fails("model", "pull", self.url(), "--name", "../evil", says="model's name")

    # Interruptions.

    def test_cut_connection_is_resumed_at_once(self):
        self.files.cut_after, self.files.cuts_left = 1_000_000, 2
        self.succeeds("model", "pull", self.url())
        self.assert_installed()
        self.assertEqual([r for _, r in self.files.requests], [None, "bytes=1000000-", "bytes=2000000-"])

    def interrupt(self, at_bytes=400_000):
        """Start a slow pull and press Ctrl-C when so much has arrived."""
        self.files.delay = 0.02
        process = subprocess.Popen([PROGRAM, "model", "pull", self.url()], env=self.env, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not self.part.exists() or self.part.stat().st_size < at_bytes:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        self.files.delay = 0.0
        self.assertLess(time.monotonic() - started, 2)
        self.assertEqual(process.returncode, 1)
        return err.decode()

    def test_ctrl_c_keeps_the_part_and_resumes(self):
        self.assertIn("the same command resumes", self.interrupt())
        kept = self.part.stat().st_size
        self.assertFalse(self.installed.exists())
        self.files.requests.clear()
        self.succeeds("model", "pull", self.url())
        self.assert_installed()
        self.assertEqual(self.files.requests, [("/files/toy.gguf", f"bytes={kept}-")])

    def test_changed_file_starts_again(self):
        self.interrupt()
        changed = bytearray(BODY)
        changed[-1] = 7
        self.files.body = bytes(changed)
        self.succeeds("model", "pull", self.url())
        self.assert_installed()

    def test_changed_size_starts_again(self):
        self.interrupt()
        self.files.body = padded_model(2_000_000)
        self.succeeds("model", "pull", self.url())
        self.assert_installed()

    def test_file_now_shorter_than_the_part_starts_again(self):
        self.interrupt(at_bytes=1_500_000)
        self.files.body = padded_model(1_000_000)
        self.succeeds("model", "pull", self.url())
        self.assert_installed()

    def test_server_without_ranges_starts_again(self):
        self.interrupt()
        self.files.ignore_range = True
        self.succeeds("model", "pull", self.url())
        self.assert_installed()

    def test_server_without_validator_starts_again(self):
        self.files.send_etag = False
        self.interrupt()
        result = self.succeeds("model", "pull", self.url())
        self.assertIn("announced none", result.err)
        self.assert_installed()

    def test_complete_part_is_recognised(self):
        """Interrupted between the last byte and the rename."""
        self.interrupt()
        self.part.write_bytes(BODY)
        self.succeeds("model", "pull", self.url())
        self.assert_installed()

    def test_damaged_part_is_noticed(self):
        self.interrupt()
        with self.part.open("r+b") as f:
            f.seek(1000)
            f.write(b"\xff" * 100)
        self.fails("model", "pull", self.url(), says="SHA-256")
        self.assertFalse(self.installed.exists())
        self.succeeds("model", "pull", self.url())
        self.assert_installed()

    def test_two_pulls_at_once(self):
        self.files.delay = 0.02
        process = subprocess.Popen([PROGRAM, "model", "pull", self.url()], env=self.env, stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        while not self.part.exists():
            time.sleep(0.01)
        self.fails("model", "pull", self.url(), says="another download")
        self.assertEqual(process.wait(timeout=30), 0)
        self.assert_installed()

    # Wrong content.

    def test_wrong_hash(self):
        self.files.etag = '"%s"' % hashlib.sha256(b"something else").hexdigest()
        self.fails("model", "pull", self.url(), says=["SHA-256", "nothing was installed"])
        self.assertFalse(self.installed.exists())
        self.assertEqual(self.leftovers(), [])

    def test_hash_announced_by_the_redirect_counts(self):
        self.files.redirect = self.url()
        self.files.etag = '"not-a-hash"'
        self.files.linked_etag = '"%s"' % hashlib.sha256(BODY).hexdigest()
        result = self.succeeds("model", "pull", self.url("/redirect/toy.gguf"))
        self.assertIn("as announced", result.err)
        self.files.linked_etag = '"%s"' % ("0" * 64)
        self.fails("model", "pull", self.url("/redirect/toy.gguf"), "--force", says="SHA-256")
        self.assertEqual(self.installed.read_bytes(), BODY)

    def test_not_a_model(self):
        self.files.body = b"<html>please log in</html>"
        self.fails("model", "pull", self.url(), says=["not a model", "deleted"])
        self.assertFalse(self.installed.exists())
        self.assertEqual(self.leftovers(), [])

    def test_empty_file(self):
        self.files.body = b""
        self.fails("model", "pull", self.url(), says="empty")
        self.assertEqual(self.leftovers(), [])

    # Servers that refuse or are not there.

    def test_http_errors(self):
        self.fails("model", "pull", self.url("/missing/toy.gguf"), says=["404", "check the name"])
        self.files.status = 403
        self.fails("model", "pull", self.url(), says=["403", "inline model import"])
        self.files.status = 503
        self.fails("model", "pull", self.url(), says=["503", "try again later"])
        self.assertEqual(self.leftovers(), [])

    def test_offline(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.fails("model", "pull", f"http://127.0.0.1:{port}/toy.gguf",
                   says=["cannot reach 127.0.0.1", "check the network", "inline model import FILE"])

    def test_only_https_or_this_machine(self):
        for url in ("http://example.invalid/toy.gguf", "ftp://127.0.0.1/toy.gguf", "file:///etc/passwd",
                    "http://127.0.0.1@example.invalid/toy.gguf", "http://127.0.0.1.example.invalid/toy.gguf"):
            self.fails("model", "pull", url, "--name", "toy", says="refused")

    def test_redirects_are_checked_too(self):
        for target in ("http://example.invalid/toy.gguf", "file:///etc/passwd"):
            self.files.redirect = target
            self.fails("model", "pull", self.url("/redirect/toy.gguf"), says="refused")
        self.files.redirect = self.url("/redirect/toy.gguf")
        self.fails("model", "pull", self.url("/redirect/toy.gguf"), says="redirected more than")

    # Disk.

    def test_file_size_limit(self):
        """Stands in for a disk that fills up under us: write(2) fails."""
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        self.fails("model", "pull", self.url(), says="cannot write", preexec_fn=limit)
        self.succeeds("model", "pull", self.url())
        self.assert_installed()

    def test_disk_too_small(self):
        directory = self.home / "small"
        directory.mkdir()
        mounted = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)], capture_output=True).returncode == 0
        if not mounted:
            self.skipTest("needs to mount a small tmpfs")
        self.addCleanup(subprocess.run, ["umount", str(directory)])
        self.fails("model", "pull", self.url(), env={"INLINE_MODELS_DIR": str(directory)},
                   says=["needs 3.0 MB", "free in", str(directory)])
        self.assertEqual(list(directory.iterdir()), [])
        self.fails("model", "import", self.large_file(), env={"INLINE_MODELS_DIR": str(directory)},
                   says=["needs 3.0 MB"])
        self.assertEqual(list(directory.iterdir()), [])

    def large_file(self):
        path = self.home / "toy.gguf"
        path.write_bytes(BODY)
        return path

    def test_progress_on_a_terminal(self):
        import fcntl
        import pty
        import termios
        self.files.delay = 0.02
        try:
            master, slave = pty.openpty()
        except OSError as error:
            self.skipTest(f"this system gives no pseudo-terminal: {error}")
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        process = subprocess.Popen([PROGRAM, "model", "pull", self.url()], env=self.env, stderr=slave,
                                   stdout=subprocess.DEVNULL)
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError:
            pass  # the terminal's other end is closed
        os.close(master)
        self.assertEqual(process.wait(timeout=30), 0)
        self.assertRegex(shown.decode(), r"toy \[#+\.+\] +\d+%  [\d.]+ [kM]B of 3\.0 MB  [\d.]+ [kM]B/s  ETA \d:\d\d")
        self.assertIn("100%", shown.decode())


if __name__ == "__main__":
    unittest.main()

"""`inline lsp`: editors joined to one daemon, which they start, share, lose and find again."""

import json
import os
import pathlib
import signal
import subprocess
import threading
import time
import unittest

from daemon import MODEL, PATIENCE, DaemonTest
from front import PROGRAM

URI = "file:///project/a.c"


class Editor:
    """One `inline lsp` and the language client at its other end."""

    def __init__(self, env, *args):
        command = [PROGRAM, "lsp", "--listen=", "--model", str(MODEL), "--log-level=info", *args]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.n_requests = 0
        self.answers, self.others, self.changed = {}, [], threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            length = None
            for line in iter(self.process.stdout.readline, b"\r\n"):
                if not line:
                    return
                name, value = line.split(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            message = json.loads(self.process.stdout.read(length))
            with self.changed:
                if "method" in message:
                    self.others.append(message)
                else:
                    assert message["id"] not in self.answers, f"answered twice: {message}"
                    self.answers[message["id"]] = message
                self.changed.notify_all()

    def send(self, **message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def notify(self, method, **params):
        self.send(method=method, params=params)

    def ask(self, method, **params):
        """Send a request and return its id."""
        self.n_requests += 1
        self.send(id=self.n_requests, method=method, params=params)
        return self.n_requests

    def answer(self, number, timeout=PATIENCE):
        with self.changed:
            if not self.changed.wait_for(lambda: number in self.answers, timeout):
                raise AssertionError(f"no answer to {number}; ended with {self.process.poll()}")
            return self.answers[number]

    def initialize(self):
        capabilities = {"textDocument": {"inlineCompletion": {}}, "window": {"workDoneProgress": True}}
        answer = self.answer(self.ask("initialize", processId=None, rootUri=None, capabilities=capabilities))
        self.notify("initialized")
        return answer["result"]

    def open(self, text, uri=URI):
        self.notify("textDocument/didOpen", textDocument={"uri": uri, "languageId": "c", "version": 1, "text": text})

    def complete(self, line, character, uri=URI):
        """Ask by hand until the model is there; the text suggested, "" if none."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = self.answer(self.ask("textDocument/inlineCompletion", textDocument={"uri": uri},
                                          position={"line": line, "character": character},
                                          context={"triggerKind": 1}))
            result = answer.get("result")
            items = result["items"] if isinstance(result, dict) else result
            if items:
                return items[0]["insertText"]
            time.sleep(0.05)
        raise AssertionError("no completion")

    def leave(self):
        """As a client that is closed; the exit status."""
        self.answer(self.ask("shutdown"))
        self.notify("exit")
        return self.end()

    def end(self):
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        self.errors = self.process.stderr.read().decode()
        self.process.stderr.close()
        return status


class AttachTest(DaemonTest):
    def setUp(self):
        super().setUp()
        self.editors = []
        self.addCleanup(self.stop_all)

    def stop_all(self):
        for editor in self.editors:
            if editor.process.poll() is None:
                editor.process.kill()
            editor.process.wait()
            for pipe in (editor.process.stdin, editor.process.stdout, editor.process.stderr):
                pipe.close()
        patience = time.monotonic() + 0.5  # an editor may just have started one
        while not (pid := self.daemon_pid()) and time.monotonic() < patience:
            time.sleep(0.02)
        if pid:
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 20
            while self.is_alive(pid) and time.monotonic() < deadline:
                time.sleep(0.02)

    def is_alive(self, pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def daemon_pid(self):
        """Of the running daemon; None: there is none."""
        try:
            pid = int((self.socket_path.parent / "inline.sock.lock").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if self.is_alive(pid) else None

    def kill_daemon(self):
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGKILL)
        while self.is_alive(pid):
            time.sleep(0.002)
        return pid

    def editor(self, *args):
        editor = Editor(self.env, *args)
        self.editors.append(editor)
        return editor

    def daemon_log(self):
        return (self.home / "cache" / "inline" / "daemon.log").read_text()

    # --- Coming and going ---

    def test_starts_a_daemon(self):
        editor = self.editor()
        self.assertTrue(editor.initialize()["capabilities"]["inlineCompletionProvider"])
        editor.open("int main() {\n  ret")
        self.assertTrue(editor.complete(1, 5))
        pid = self.daemon_pid()
        self.assertNotEqual(os.getsid(pid), os.getsid(0), "the daemon has a session of its own")
        self.assertEqual(editor.leave(), 0)
        self.assertTrue(self.is_alive(pid), "the daemon stays for other editors")
        self.assertIn(b"--idle-exit=600", pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))

    def test_uses_the_one_that_runs(self):
        daemon = self.start_daemon()
        editor = self.editor()
        editor.initialize()
        self.assertEqual(self.daemon_pid(), daemon.pid)
        self.assertEqual(editor.leave(), 0)

    def test_four_at_once_share_one(self):
        editors = [self.editor() for _ in range(4)]
        for editor in editors:
            editor.initialize()
            editor.open("int main() {\n  ret")
        for editor in editors:
            self.assertTrue(editor.complete(1, 5))
        self.assertEqual(self.daemon_log().count("listening on"), 1, self.daemon_log())
        for editor in editors:
            self.assertEqual(editor.leave(), 0)

    def test_exit_status(self):
        editor = self.editor()
        editor.initialize()
        editor.notify("exit")
        self.assertEqual(editor.end(), 1)
        editor = self.editor()
        editor.initialize()
        self.assertEqual(editor.end(), 1)  # the end of standard input
        editor = self.editor()
        editor.initialize()
        editor.answer(editor.ask("shutdown"))
        self.assertEqual(editor.end(), 0)

    def test_not_the_protocol(self):
        editor = self.editor()
        editor.process.stdin.write(b"GET / HTTP/1.1\r\n\r\n")
        editor.process.stdin.flush()
        self.assertEqual(editor.process.wait(PATIENCE), 1)
        self.assertIn("protocol", editor.process.stderr.read().decode())

    def test_no_daemon_can_be_started(self):
        """A daemon that cannot live: the editor is told after ten seconds, and where to look."""
        self.socket_path.parent.mkdir(mode=0o700)
        self.socket_path.mkdir()
        start = time.monotonic()
        editor = self.editor()
        self.assertEqual(editor.process.wait(PATIENCE), 1)
        self.assertLess(time.monotonic() - start, 30)
        self.assertIn("inline.sock", editor.process.stderr.read().decode())

    # --- Losing the daemon ---

    def test_goes_on_with_the_next_daemon(self):
        """Open documents are told again as they are, positions in the units agreed, and the answer is the same."""
        editor = self.editor()
        editor.initialize()
        editor.open("/* \U0001F600 */ int x;\nint main() {\n  ret")
        editor.notify("textDocument/didChange", textDocument={"uri": URI, "version": 2}, contentChanges=[
            {"range": {"start": {"line": 0, "character": 5}, "end": {"line": 0, "character": 8}}, "text": " ok */ "},
            {"range": {"start": {"line": 2, "character": 5}, "end": {"line": 2, "character": 5}}, "text": "urn"}])
        before = editor.complete(2, 8)
        first = self.kill_daemon()
        self.assertEqual(editor.complete(2, 8), before)
        self.assertNotEqual(self.daemon_pid(), first)
        fresh = self.editor()
        fresh.initialize()
        fresh.open("/* \U0001F600 ok */  int x;\nint main() {\n  return")
        self.assertEqual(fresh.complete(2, 8), before)
        self.assertEqual(editor.leave(), 0)
        self.assertEqual(fresh.leave(), 0)

    def test_closed_documents_stay_closed(self):
        editor = self.editor()
        editor.initialize()
        editor.open("int main() {\n  ret")
        editor.open("int f() {\n  ret", uri="file:///project/b.c")
        editor.complete(1, 5)
        editor.notify("textDocument/didClose", textDocument={"uri": URI})
        self.kill_daemon()
        self.assertTrue(editor.complete(1, 5, uri="file:///project/b.c"))
        answer = editor.answer(editor.ask("textDocument/inlineCompletion", textDocument={"uri": URI},
                                          position={"line": 1, "character": 5}, context={"triggerKind": 1}))
        self.assertFalse(answer.get("result"))
        self.assertEqual(editor.leave(), 0)

    def test_open_questions_are_answered(self):
        """A daemon that is stopped cannot answer; when it is killed, its clients hear null."""
        editor = self.editor()
        editor.initialize()
        editor.open("int main() {\n  ret")
        editor.complete(1, 5)
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        asked = [editor.ask("textDocument/inlineCompletion", textDocument={"uri": URI},
                            position={"line": 1, "character": n}, context={"triggerKind": 2}) for n in (3, 4, 5)]
        time.sleep(0.2)
        self.assertFalse(set(asked) & set(editor.answers))
        self.kill_daemon()
        for number in asked:
            answer = editor.answer(number)
            self.assertIn("result", answer)
            self.assertIsNone(answer["result"])
        self.assertTrue(editor.complete(1, 5))
        self.assertEqual(editor.leave(), 0)

    def test_many_editors_lose_it_together(self):
        editors = [self.editor() for _ in range(4)]
        for editor in editors:
            editor.initialize()
            editor.open("int main() {\n  ret")
            editor.complete(1, 5)
        for _ in range(3):
            self.kill_daemon()
            for editor in editors:
                self.assertTrue(editor.complete(1, 5))
        self.assertEqual(self.daemon_log().count("listening on"), 4, self.daemon_log())
        for editor in editors:
            self.assertEqual(editor.leave(), 0)

    def test_gives_up_where_daemons_do_not_live(self):
        editor = self.editor()
        editor.initialize()
        for _ in range(20):
            if editor.process.poll() is not None:
                break
            if self.daemon_pid():
                self.kill_daemon()
            time.sleep(0.2)
        self.assertEqual(editor.process.wait(PATIENCE), 1)
        self.assertIn("within a minute", editor.process.stderr.read().decode())


if __name__ == "__main__":
    unittest.main()

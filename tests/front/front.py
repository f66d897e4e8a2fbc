"""Running the program as a user would: its own directories, its exit status, its output.

Tests are unittest modules. The program's path is in the environment variable INLINE_PROGRAM (CMake sets it);
it is not passed on, since the program refuses INLINE_ variables that it does not know."""

import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

PROGRAM = os.environ.pop("INLINE_PROGRAM")
ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
MODEL = FIXTURES / "models" / "llama.gguf"


def with_context(path, n):
    """The model file, as if it had been trained for a context of n tokens."""
    data = bytearray(path.read_bytes())
    at = data.index(b".context_length") + len(b".context_length")
    assert struct.unpack_from("<I", data, at) == (4,)  # GGUF's number for uint32
    struct.pack_into("<I", data, at + 4, n)
    return bytes(data)


class Result:
    """What a run of the program did."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"exit {self.status}\nstdout: {self.out[:2000]}\nstderr: {self.err[:2000]}"


class FrontTest(unittest.TestCase):
    """A test with an empty home: no settings, no models."""

    def setUp(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="inline-front-"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("INLINE_")}
        self.env.update(
            HOME=str(self.home),
            XDG_CONFIG_HOME=str(self.home / "config"),
            XDG_DATA_HOME=str(self.home / "data"),
            XDG_STATE_HOME=str(self.home / "state"),
            XDG_CACHE_HOME=str(self.home / "cache"),
            XDG_RUNTIME_DIR=str(self.home / "run"),
        )
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            self.env.pop(name, None)
        self.models = self.home / "data" / "inline" / "models"

    def write_settings(self, text):
        path = self.home / "config" / "inline" / "inline.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run_inline(self, *args, env=None, stdin=b"", cwd=None, timeout=60, preexec_fn=None):
        done = subprocess.run([PROGRAM, *map(str, args)], env={**self.env, **(env or {})}, input=stdin, cwd=cwd,
                              capture_output=True, timeout=timeout, preexec_fn=preexec_fn)
        return Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def succeeds(self, *args, **kwargs):
        result = self.run_inline(*args, **kwargs)
        self.assertEqual(result.status, 0, f"{args}: {result}")
        return result

    def fails(self, *args, status=1, says=(), **kwargs):
        """The program fails with this status and one line on stderr that holds every word of `says`."""
        result = self.run_inline(*args, **kwargs)
        self.assertEqual(result.status, status, f"{args}: {result}")
        self.assertRegex(result.err, r"inline: [^\n]+\n\Z", f"{args}: {result}")
        for word in (says,) if isinstance(says, str) else says:
            self.assertIn(word, result.err, f"{args}: {result}")
        return result

    def one_line(self, result):
        self.assertEqual(result.err.count("\n"), 1, result)

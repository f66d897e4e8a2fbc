"""A control group of one's own with a limit on memory, and somebody in it who takes too much (Linux).

    with MemoryGroup(128 << 20) as group:      # raises Unavailable where such groups cannot be made
        daemon = start(preexec_fn=group.enter)
        with Hog(100 << 20, group):
            ...

Version 2 where the memory controller can be had, else version 1 (cgroup-v2.rst, cgroup-v1/memory.rst)."""

import os
import pathlib
import subprocess
import sys
import time

MOUNT = pathlib.Path("/sys/fs/cgroup")

# Takes memory piece by piece, says so, and keeps it until its input ends.
HOG = """
import sys
pieces = []
for i in range(int(sys.argv[1]) >> 20):
    pieces.append(b"x" * (1 << 20))
sys.stdout.write("full")
sys.stdout.flush()
sys.stdin.read()
"""


class Unavailable(Exception):
    """No control groups for memory here, or not for us."""


class MemoryGroup:
    def __init__(self, limit_bytes):
        self.limit = limit_bytes
        self.is_v2 = "memory" in self.text_of(MOUNT / "cgroup.subtree_control").split()
        self.path = (MOUNT if self.is_v2 else MOUNT / "memory") / f"inline-test-{os.getpid()}"

    @staticmethod
    def text_of(path):
        try:
            return path.read_text()
        except OSError:
            return ""

    def __enter__(self):
        try:
            if not self.is_v2 and not (MOUNT / "memory" / "cgroup.procs").exists():
                raise Unavailable("there is no memory controller")
            self.path.mkdir()
            limit = "memory.max" if self.is_v2 else "memory.limit_in_bytes"
            (self.path / limit).write_text(str(self.limit))
            if self.is_v2:
                (self.path / "memory.swap.max").write_text("0")
        except OSError as error:
            self.__exit__()
            raise Unavailable(f"no control group can be made: {error}") from error
        return self

    def __exit__(self, *_):
        for _ in range(100):  # processes that have ended leave it a moment later
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.02)
            else:
                return

    def enter(self):
        """The calling process moves in, as Popen's preexec_fn."""
        (self.path / "cgroup.procs").write_text("0")

    def used_bytes(self):
        """Without what the kernel can drop at once."""
        used = int(self.text_of(self.path / ("memory.current" if self.is_v2 else "memory.usage_in_bytes")))
        name = "inactive_file" if self.is_v2 else "total_inactive_file"
        for line in self.text_of(self.path / "memory.stat").splitlines():
            if line.startswith(name + " "):
                used -= int(line.split()[1])
        return used

    def n_killed(self):
        """Processes that the kernel ended for want of memory."""
        text = self.text_of(self.path / ("memory.events" if self.is_v2 else "memory.oom_control"))
        return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)


class Hog:
    """A process that takes so many bytes; in a group, or anywhere."""

    def __init__(self, n_bytes, group=None):
        self.n_bytes, self.group = n_bytes, group

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, "-c", HOG, str(self.n_bytes)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, preexec_fn=self.group.enter if self.group else None)
        if self.process.stdout.read(4) != b"full":
            raise AssertionError(f"the hog ended with {self.process.wait()}")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

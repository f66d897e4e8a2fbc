#!/usr/bin/env python3
"""Kills a process that works on a disk cache, again and again, at random moments, and checks what is left.

Use: test_crash.py [KILLS]   (CRASH_WRITER: the program crash_writer; KILLS also from INLINE_KILLS; else 40)

After each kill the database verifies clean as it was left, opens, works, and verifies clean again. While it is
written, its files are measured from outside: together they never pass the ceiling. One database lives through
all kills, so that damage would add up."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time

MAX_BYTES = 8 << 20  # reached within a second, so that most kills meet evictions
WRITER = os.environ["CRASH_WRITER"]


def files_bytes(path):
    total = 0
    for suffix in ("", "-wal", "-shm", "-journal"):
        try:
            total += os.stat(path + suffix).st_size
        except FileNotFoundError:
            pass
    return total


def write_and_kill(path, seconds, seed):
    """The most bytes that were seen while it wrote."""
    writer = subprocess.Popen([WRITER, "write", path, str(MAX_BYTES), str(seed)], stderr=subprocess.PIPE)
    most, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        most = max(most, files_bytes(path))
        time.sleep(0.0005)
    if writer.poll() is not None:
        sys.exit("the writer ended by itself: %s" % writer.stderr.read().decode())
    writer.send_signal(signal.SIGKILL)
    said = writer.communicate()[1].decode()
    if said:
        sys.exit("the writer complained: %s" % said)
    return max(most, files_bytes(path))


def check(path):
    done = subprocess.run([WRITER, "check", path, str(MAX_BYTES)], capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or done.stderr:
        sys.exit("after a kill: %s" % done.stderr)
    n_entries, open_ms = done.stdout.split()
    return int(n_entries), float(open_ms)


def main():
    n_kills = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("INLINE_KILLS", 40))
    rng = random.Random(n_kills)
    most_bytes, most_entries, slowest_ms = 0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "answers.db")
        for i in range(n_kills):
            # The first ones fall into creating the database; a few write long enough to fill it.
            seconds = rng.uniform(0, 0.03) if i % 4 == 0 else rng.uniform(0.02, 0.5)
            most_bytes = max(most_bytes, write_and_kill(path, seconds, rng.getrandbits(32)))
            if not os.path.exists(path):
                continue  # killed before it created the file, or while it cleared it
            n_entries, open_ms = check(path)
            most_entries, slowest_ms = max(most_entries, n_entries), max(slowest_ms, open_ms)
            if most_bytes > MAX_BYTES:
                sys.exit("kill %d: %d bytes, above the ceiling" % (i, most_bytes))
    print("%d kills: at most %d entries, %d of %d bytes; opening took %.1f ms at most"
          % (n_kills, most_entries, most_bytes, MAX_BYTES, slowest_ms))
    if most_entries < 1000 or most_bytes < MAX_BYTES // 2:
        sys.exit("too little was written to prove anything")


main()

"""A program on a terminal of its own: what it shows, what is typed into it, whether it leaves the terminal as it
was. The terminal knows the control sequences that Inline uses, and fails the test on any other."""

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import unittest
import time

SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Screen:
    def __init__(self, command, env, columns=80, rows=24):
        try:
            self.ours, theirs = pty.openpty()
        except OSError as error:
            raise unittest.SkipTest(f"no terminal to be had: {error}")
        self.columns, self.rows = columns, rows
        self._set_size()
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs  # kept open, so that its state can be read after the program's end
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env,
                                        preexec_fn=lambda: self._lead(theirs))
        self.cells, self.row, self.column = [[" "] * columns for _ in range(rows)], 0, 0
        self.is_alternate, self.has_cursor, self.has_style = False, True, False
        self.is_settled = True
        self.raw, self.rest, self.decoder = "", "", codecs.getincrementaldecoder("utf-8")()

    @staticmethod
    def _lead(theirs):
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    def _set_size(self):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.cells, self.row, self.column = [[" "] * columns for _ in range(rows)], 0, 0
        self.is_settled = False  # what was drawn for the old size may still come
        self._set_size()         # the system tells the program by SIGWINCH

    def type(self, keys):
        os.write(self.ours, keys.encode())

    @property
    def text(self):
        return "\n".join("".join(line).rstrip() for line in self.cells)

    def _sequence(self, args, final):
        if final == "H":
            assert args == "", args
            self.row = self.column = 0
        elif final == "K":
            self.cells[self.row][self.column:] = [" "] * (self.columns - self.column)
        elif final == "J":
            for row in range(0 if args == "2" else self.row, self.rows):
                self.cells[row] = [" "] * self.columns
        elif final == "m":
            self.has_style = args != "0"
        elif final in "hl" and args == "?1049":
            self.is_alternate, self.is_settled = final == "h", True
        elif final in "hl" and args == "?25":
            self.has_cursor = final == "h"
        else:
            raise AssertionError(f"unknown control sequence {args!r} {final!r}")

    def _feed(self, text):
        self.raw += text
        text = self.rest + text
        while text:
            match = SEQUENCE.match(text)
            if match:
                self._sequence(*match.groups())
                text = text[match.end():]
            elif text[0] == "\x1b" and len(text) < 16:
                break  # the rest comes
            else:
                self._character(text[0])
                text = text[1:]
        self.rest = text

    def _character(self, c):
        if c == "\r":
            self.column = 0
        elif c == "\n":
            self.row = min(self.row + 1, self.rows - 1)
        else:
            assert c.isprintable(), repr(c)
            if self.is_alternate and self.is_settled:
                assert self.column < self.columns, f"a line is longer than {self.columns}: {self.text}"
            if self.row < self.rows and self.column < self.columns:
                self.cells[self.row][self.column] = c
            self.column += 1

    def read(self, timeout):
        """Take what comes within so many seconds; False: nothing did."""
        if not select.select([self.ours], [], [], timeout)[0]:
            return False
        self._feed(self.decoder.decode(os.read(self.ours, 65536)))
        return True

    def wait(self, pattern, timeout=30):
        """Until the screen shows a match of the regular expression."""
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.text, re.M)):
            left = deadline - time.monotonic()
            if left < 0:
                raise AssertionError(f"no {pattern!r} on the screen:\n{self.text}")
            self.read(min(left, 0.2))
        return match

    def wait_end(self, timeout=30):
        """The program's exit status; everything it wrote is taken."""
        status = self.process.wait(timeout)
        while self.read(0.05):
            pass
        return status

    def is_restored(self):
        now = termios.tcgetattr(self.theirs)
        return not self.is_alternate and self.has_cursor and not self.has_style and now == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)

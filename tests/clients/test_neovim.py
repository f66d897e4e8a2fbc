"""Neovim's own client, vim.lsp.inline_completion (0.12 and newer), over `inline lsp`; the steps are in neovim.lua.

NVIM_012 names the program where another `nvim` is on the path."""

import os
import re
import shutil
import subprocess

from clients import HERE, AttachTest, main, skip
from front import PROGRAM

NVIM = os.environ.get("NVIM_012") or shutil.which("nvim")
if not NVIM:
    skip("Neovim is not installed; NVIM_012 may name its program")
VERSION = subprocess.run([NVIM, "--version"], capture_output=True, text=True, timeout=30).stdout.split("\n")[0]
NUMBERS = re.search(r"v(\d+)\.(\d+)", VERSION)
if not NUMBERS or tuple(map(int, NUMBERS.groups())) < (0, 12):
    skip(f"{VERSION or NVIM} has no vim.lsp.inline_completion; that takes 0.12")


class Neovim(AttachTest):
    def test_suggestion_is_drawn_and_accepted(self):
        edited = self.home / "add.c"
        edited.write_text("int add(int a, int b)\n{\n")
        done = subprocess.run([NVIM, "--headless", "-u", "NONE", "-S", str(HERE / "neovim.lua")],
                              env={**self.env, "PROGRAM": PROGRAM, "EDITED": str(edited)}, cwd=self.home,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
        self.assertEqual(done.returncode, 0, f"{done.stdout}\n{done.stderr}\n{self.lsp_log()}")
        self.assertIn("ok", done.stderr)

    def lsp_log(self):
        logs = list(self.home.glob("**/lsp.log"))
        return logs[0].read_text()[-4000:] if logs else ""


if __name__ == "__main__":
    main()

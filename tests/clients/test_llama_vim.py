"""The real llama.vim in the real Vim: type, see the ghost text, accept it with Tab.

The plugin is not ours to ship: LLAMA_VIM_DIR names a checkout of it. Vim runs in a terminal of tmux, which
types into it and reads its screen."""

import os
import pathlib
import re
import subprocess
import time

from clients import LETTER, ClientTest, main, need_program, skip

PLUGIN = os.environ.get("LLAMA_VIM_DIR")
if not PLUGIN:
    skip("LLAMA_VIM_DIR does not name a checkout of the plugin llama.vim")
if not (pathlib.Path(PLUGIN) / "autoload" / "llama.vim").exists():
    skip(f"LLAMA_VIM_DIR: no autoload/llama.vim in {PLUGIN}")
for program in ("tmux", "curl", "vim"):
    need_program(program)
HAS = subprocess.run(["vim", "--version"], capture_output=True, text=True, timeout=30).stdout
if not all(feature in HAS for feature in ("+textprop", "+job", "+channel")):
    skip("this Vim lacks +textprop, +job or +channel")

VIMRC = """set nocompatible nomore shortmess+=I noswapfile viminfo= laststatus=0 noautoindent
let g:llama_config = #{endpoint_fim: 'URL/infill', endpoint_inst: 'URL/v1/chat/completions'}
let g:llama_config.show_info = 2
let g:llama_config.n_predict = 48
set runtimepath^=PLUGIN
"""

# What the plugin draws behind the text: "c: tokens cached ... p: tokens read (ms) | g: tokens generated (ms)".
INFO = re.compile(r"\| c: \d+, r: .* \| p: (\d+) \([\d.]+ ms, [\d.]+ t/s\) \| g: (\d+) \(")
WAIT_SECONDS = 20


class LlamaVim(ClientTest):
    def setUp(self):
        super().setUp()
        self.file = self.home / "add.c"
        self.file.write_text("int sub(int a, int b)\n{\n    return a - b;\n}\n\nint add(int a, int b)\n{\n}\n")
        vimrc = self.home / "vimrc"
        vimrc.write_text(VIMRC.replace("URL", self.daemon.url).replace("PLUGIN", PLUGIN))
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "300", "-y", "30", f"vim -u {vimrc} {self.file}")
        self.addCleanup(self.tmux, "kill-server", check=False)

    def tmux(self, *args, check=True):
        done = subprocess.run(["tmux", "-S", str(self.runtime / "tmux"), *args], capture_output=True, text=True,
                              timeout=20, env={**self.env, "TERM": "xterm-256color"})
        if check:
            self.assertEqual(done.returncode, 0, done)
        return done.stdout

    def screen(self):
        return self.tmux("capture-pane", "-p")

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def wait_screen(self, what, is_there):
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            screen = self.screen()
            if is_there(screen):
                return screen
            time.sleep(0.05)
        self.fail(f"{what} did not appear:\n{screen}\n{self.daemon.log}")
        return None

    def open_line(self):
        """Insert mode on a new line in the body of add(), with the beginning of a statement typed."""
        # The plugin warns of Vim 9.0, and Vim waits until that is read.
        if "Press ENTER" in self.wait_screen("the file", lambda s: "int add(" in s or "Press ENTER" in s):
            self.type("Enter")
            self.wait_screen("the file", lambda s: "int add(" in s)
        self.type("7G", "o")
        for key in "    return ":
            self.type("-l", key)
            time.sleep(0.03)

    def saved(self):
        self.type("Escape")
        self.type(":wq", "Enter")
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            if self.file.read_text().count("return") > 1:
                return self.file.read_text()
            time.sleep(0.05)
        self.fail(f"the file was not saved:\n{self.screen()}")
        return None

    def test_ghost_text_appears_and_tab_accepts_it(self):
        self.open_line()
        ghost = re.compile(rf"return {LETTER}+")
        screen = self.wait_screen("a suggestion", lambda s: ghost.search(s) and INFO.search(s))
        shown = ghost.search(screen).group()
        self.assertGreater(int(INFO.search(screen).group(2)), 0, "tokens generated")
        self.type("Tab")
        # The plugin has asked for what follows the accepted text already, and shows that at once.
        self.wait_screen("the next suggestion", lambda s: s != screen and INFO.search(s))
        self.assertIn(shown, self.saved())

    def test_typing_on_keeps_the_suggestion(self):
        self.open_line()
        self.wait_screen("a suggestion", lambda s: f"return {LETTER}" in s)
        self.type("-l", LETTER)
        self.wait_screen("what is left of it", lambda s: INFO.search(s) and f"return {LETTER}{LETTER}" in s)
        self.assertIn(f"    return {LETTER}\n", self.saved())

    def test_nothing_is_left_behind(self):
        """Requests that nobody waits for any more do not keep the engine busy."""
        self.open_line()
        self.type("Escape")
        self.type(":qa!", "Enter")
        deadline = time.monotonic() + WAIT_SECONDS
        while any(slot["is_processing"] for slot in self.get("/slots").json()):
            self.assertLess(time.monotonic(), deadline, self.get("/slots"))
            time.sleep(0.05)


if __name__ == "__main__":
    main()

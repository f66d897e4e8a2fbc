"""vscode-languageserver-protocol and vscode-jsonrpc as a client of `inline lsp`; the checks are in lsp.js.

No daemon runs at first: the language server starts it."""

import sys

from clients import HERE, AttachTest, main, need_npm_package
from front import FIXTURES, PROGRAM

FOLDER = need_npm_package("vscode-languageserver-protocol", "vscode-jsonrpc")


class LanguageServer(AttachTest):
    is_slow = True
    fixture = FIXTURES / "models" / "llama.gguf"  # answers different texts differently

    def test_protocol(self):
        # The checks compare answers at one place while other documents come and go.
        self.env["INLINE_CONTEXT_BUILDER"] = "off"
        self.run_node("lsp.js", PROGRAM, sys.executable, HERE / "listener.py", self.socket_path, folder=FOLDER)


if __name__ == "__main__":
    main()

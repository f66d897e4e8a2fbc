"""The ollama package for Node against the daemon; the checks are in ollama.js."""

from clients import LETTER, ClientTest, main, need_npm_package

FOLDER = need_npm_package("ollama")


class OllamaPackage(ClientTest):
    is_slow = True

    def test_ollama(self):
        self.run_node("ollama.js", self.daemon.url, LETTER, folder=FOLDER)


if __name__ == "__main__":
    main()

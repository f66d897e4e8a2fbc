"""The openai package for Node against the daemon; the checks are in openai.js."""

from clients import LETTER, ClientTest, main, need_npm_package

FOLDER = need_npm_package("openai")


class OpenaiPackage(ClientTest):
    is_slow = True

    def test_openai(self):
        self.run_node("openai.js", self.daemon.url, LETTER, folder=FOLDER)


if __name__ == "__main__":
    main()

"""What is not for the eyes of models on other machines, or for those of anybody but their servers."""

import json
import pathlib
import unittest

from editor import INLINE
from remote_world import KEY, PREFIX, QWEN, SUFFIX, RemoteTest, right

SECRET = "ghp_" + "".join("aZ3kQ9xW7pL5mN2vB8cR"[i * 7 % 20] for i in range(36))


class Privacy(RemoteTest):
    def received(self, *servers):
        """Everything that servers got."""
        return "".join(r["body"] + r["path"] + json.dumps(r["headers"]) for s in servers for r in s.last)

    def test_secrets_are_masked(self):
        for api in ("openai", "llama", "ollama"):
            server = self.add_server(api=api, model="qwen2.5-coder:7b")
            editor = self.connect(self.start_remote(server))
            editor.start(INLINE)
            editor.open(f'static char *token = "{SECRET}";\n' + PREFIX.format(1) + f'/* {SECRET} */' + SUFFIX)
            self.assertTrue(editor.complete(5, 11)["items"], self.daemon.log)
            self.infill(2, input_prefix=f'#define KEY "{SECRET}"\n' + PREFIX.format(2), input_extra=[
                {"filename": "config.c", "text": f'char *k = "{SECRET}";\n'}])
            received = self.received(server)
            self.assertIn("hole_1", received)
            self.assertIn("hole_2", received)
            self.assertNotIn(SECRET, received)
            self.daemon.stop()

    def test_secrets_in_a_clients_own_prompt(self):
        for api in ("openai", "llama", "ollama"):
            server = self.add_server(api=api, model=QWEN)
            self.start_remote(server)
            prompt = f'token = "{SECRET}"\nhole_3 = '
            self.assertEqual(self.ask("gpu", prompt, n_predict=32).text, right(3))
            self.ask_path("/v1/completions", {"model": "gpu", "prompt": prompt, "max_tokens": 8})
            self.assertIn("hole_3", self.received(server))
            self.assertNotIn(SECRET, self.received(server))
            self.daemon.stop()

    def test_a_secret_file_is_never_sent(self):
        server = self.add_server(model=QWEN)
        editor = self.connect(self.start_remote(server))
        editor.start(INLINE)
        folder = pathlib.Path(self.home) / "project"
        folder.mkdir()
        uri = (folder / ".env").as_uri()
        editor.open("PORT=80\nHOST_NAME=do-not-send\nUSER=", uri=uri)
        for kind in (1, 2):
            result = editor.complete(2, 5, kind, uri=uri)
            self.assertFalse(result and result["items"], result)
        self.infill(1, input_prefix="HOST_NAME=do-not-send\nUSER=", filename=str(folder / ".env"))
        self.infill(2, input_extra=[{"filename": str(folder / ".env"), "text": "HOST_NAME=do-not-send\n"}])
        self.assertNotIn("do-not-send", self.received(server))

    def key_file(self):
        path = self.home / "gpu.key"
        path.write_text(KEY + "\n")
        path.chmod(0o600)
        return path

    def everything_said(self):
        """All that the daemon tells anybody."""
        said = [self.daemon.log, json.dumps(self.status()), self.daemon.get("/metrics")[2]]
        said += [json.dumps(self.daemon.get("/health")[2]), json.dumps(self.daemon.get("/props")[2])]
        for command in (("status",), ("status", "--json"), ("config",), ("doctor",), ("explain",),
                        ("model", "list"), ("model", "info", "gpu"), ("model", "check", "gpu")):
            result = self.run_inline(*command)
            said += [result.out, result.err]
        for path in self.home.rglob("*"):
            if path.is_file() and path.name != "gpu.key":
                said.append(path.read_bytes().decode("latin-1"))
        return "\n".join(said)

    def test_the_key(self):
        """It goes to the servers that are configured, as their bearer, and is nowhere else."""
        for api in ("openai", "llama", "ollama"):
            servers = [self.add_server(api=api, model="qwen2.5-coder:7b", key=KEY) for _ in range(2)]
            self.start_remote(*servers, section={"key_file": self.key_file()}, env={"INLINE_LOG_LEVEL": "debug"})
            for i in range(4):
                self.assert_right(self.infill(i, user=f"u{i}"), i)
            asked = [r for server in servers for r in server.last]
            self.assertEqual({r["headers"].get("authorization") for r in asked}, {f"Bearer {KEY}"})
            self.assertNotIn(KEY, "".join(r["body"] + r["path"] for r in asked))
            if api == "openai":
                self.assertNotIn(KEY, self.everything_said())
            self.daemon.stop()

    def test_the_key_from_the_environment(self):
        server = self.add_server(model=QWEN, key=KEY)
        self.start_remote(server, section={"key_env": "GPU_KEY"}, env={"GPU_KEY": KEY})
        self.assert_right(self.infill(1), 1)
        self.assertNotIn(KEY, self.everything_said())

    def test_no_key(self):
        server = self.add_server(model=QWEN)
        self.start_remote(server)
        self.assert_right(self.infill(1), 1)
        self.assertFalse(any("authorization" in r["headers"] for r in server.last))

    def test_a_wrong_key(self):
        """Told so that one knows what to do, and without the key, even where the server tells it."""
        server = self.add_server(model=QWEN, key="another", fault_on="completions")
        self.start_remote(server, section={"key_file": self.key_file()}, env={"INLINE_LOG_LEVEL": "debug"})
        self.assert_refused(self.infill(1), "key")
        server.set(fault="401-echo", fault_on="all")
        answer = self.infill(2)
        self.assert_refused(answer, "key")
        self.assertNotIn(KEY, json.dumps(answer.body) + self.everything_said())

    def test_redirects_are_refused(self):
        """Nothing reaches where a server points to, the key least of all."""
        for fault_on in ("all", "completions"):
            other = self.add_server(model=QWEN)
            server = self.add_server(model=QWEN, key=KEY, fault="redirect", fault_on=fault_on, redirect_to=other.url)
            self.start_remote(server, section={"key_file": self.key_file()})
            self.assert_refused(self.infill(1), "redirect")
            self.assertEqual(other.state()["n_connections"], 0)
            self.daemon.stop()

    def test_proxies_of_the_environment(self):
        """What is asked by plain HTTP, key included, is shown to no proxy."""
        proxy, server = self.add_server(), self.add_server(model=QWEN, key=KEY)
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        self.start_remote(server, section={"key_file": self.key_file()}, env={name: proxy.url for name in names})
        self.assert_right(self.infill(1), 1)
        self.assertEqual(proxy.state()["n_connections"], 0)


if __name__ == "__main__":
    unittest.main()

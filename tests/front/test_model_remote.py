"""inline model list, info and check of models on other machines, inline doctor, and what other commands say of them."""

import json
import re
import unittest

from daemon import DaemonTest
from front import FIXTURES
from model_server import ModelServer

QWEN = "Qwen/Qwen2.5-Coder-7B"
WORDS = ["amount", "sum", "extent", "surface"]  # what the self-test's holes ask for; a longer one never stands for another


def fills_in(prompt):
    """A model that knows: the identifier that is used behind the cursor."""
    return [word for word in WORDS if re.search(rf"\b{word}\b", prompt)][:1]


def by_suffix(prompt):
    """One that sees what follows the cursor, and makes nothing of it."""
    return [f"x{len(prompt)}", ";"]


class RemoteTest(DaemonTest):
    def serve(self, answers=None, **settings):
        """answers: the tokens, or a function from the prompt to them."""
        server = ModelServer(**{"model": QWEN, **settings})
        self.addCleanup(server.stop)
        if callable(answers):
            server.server.tokens_for = answers
        elif answers is not None:
            server.set(tokens=answers)
        return server

    def configure(self, *servers, api=None, more="", before=""):
        urls = " ".join(s if isinstance(s, str) else s.url for s in servers)
        api = api or next((s.server.settings.api for s in servers if not isinstance(s, str)), "openai")
        return self.write_settings(f"{before}\n[model.gpu]\napi = {api}\nurls = {urls}\n{more}\n")

    def closed_port(self):
        server = self.serve()
        server.stop()
        return server.url

    def check(self, status, *args):
        result = self.run_inline("model", "check", "gpu", "--json", *args)
        self.assertEqual(result.status, status, result)
        report = json.loads(result.out)
        self.assertEqual(report["ok"], status == 0)
        self.assertEqual(result.err, "")
        return report

    def found(self, report, name, level, server=0):
        """The only finding of this name about a server."""
        found = [c for c in report["servers"][server]["checks"] if c["name"] == name]
        self.assertEqual([c["level"] for c in found], [level], report)
        return found[0]["text"] + " -> " + found[0]["advice"]


class Info(RemoteTest):
    def test_list(self):
        self.configure("http://h1:8000 https://h2/v1", api="llama", more="model = m")
        self.assertRegex(self.succeeds("model", "list").out, r"^gpu +remote  llama on h1:8000 h2\n$")
        self.assertEqual(json.loads(self.succeeds("model", "list", "--json").out)["models"],
                         [{"name": "gpu", "type": "remote", "api": "llama", "model": "m",
                           "urls": ["http://h1:8000", "https://h2/v1"]}])

    def test_info(self):
        up, down = self.serve(n_ctx=9000), self.closed_port()
        path = self.configure(down, up)
        for args in (("gpu",), ("GPU",), ("--model", "gpu")):
            info = json.loads(self.succeeds("model", "info", "--json", *args).out)
            self.assertEqual((info["name"], info["type"], info["api"]), ("gpu", "remote", "openai"))
        self.assertEqual((info["model"], info["context"], info["key"]), (QWEN, 9000, "none"))
        self.assertEqual(info["origin"], f"{path}:2")
        self.assertEqual((info["fim"]["family"], info["fim"]["order"]), ("qwen", "psm"))
        self.assertIn("model's name", info["fim"]["detected"])
        self.assertEqual([s["up"] for s in info["servers"]], [False, True])
        self.assertIn("connection refused", info["servers"][0]["error"])
        self.assertEqual(info["servers"][1]["context"], 9000)
        text = self.succeeds("model", "info", "gpu").out
        self.assertRegex(text, rf"(?m)^server +{down}  down: .*connection refused")
        self.assertRegex(text, rf"(?m)^server +{up.url}  up, answered in \d+ ms: {QWEN}")

    def test_info_tells_why_a_format_is_used(self):
        server = self.serve(api="llama", has_fim=False)
        cases = [("", "qwen", "name"), ("fim = starcoder", "starcoder", "as fim says"), ("fim = server", "server", "fim"),
                 ("fim = none", "none", "as fim says")]
        for more, family, why in cases:
            with self.subTest(more):
                self.configure(server, more=more)
                info = json.loads(self.succeeds("model", "info", "gpu", "--json").out)
                self.assertEqual(info["fim"]["family"], family)
                self.assertIn(why, info["fim"]["detected"])

    def test_names_cannot_steer_the_terminal(self):
        self.configure(self.serve(model="m\x1b[31m\nproblem"))
        for command in ("info", "check"):
            out = self.succeeds("model", command, "gpu").out
            self.assertIn("[31m", out)
            self.assertNotRegex(out, r"\x1b|(?m:^problem)")

    def test_info_without_servers(self):
        self.configure(self.closed_port())
        result = self.run_inline("model", "info", "gpu")
        self.assertEqual(result.status, 1)
        self.assertIn("connection refused", result.out)

    def test_settings_are_shown_without_the_key(self):
        key = self.home / "gpu.key"
        key.write_text("sesame-open\n")
        key.chmod(0o600)
        server = self.serve(key="sesame-open")
        path = self.configure(server, more=f"key_file = {key}")
        s = json.loads(self.succeeds("config", "--json").out)
        self.assertEqual(s["model.gpu.key_file"], {"value": str(key), "origin": f"{path}:5"})
        self.assertEqual(s["model.gpu.fim"], {"value": "auto", "origin": "default"})
        for args in (["config"], ["model", "info", "gpu"], ["model", "check", "gpu"], ["doctor"]):
            result = self.run_inline(*args)
            self.assertNotIn("sesame", result.out + result.err)


class Check(RemoteTest):
    def test_a_model_that_fills_in(self):
        for api in ("openai", "llama", "ollama"):
            with self.subTest(api):
                server = self.serve(fills_in, api=api)
                self.configure(server)
                report = self.check(0)
                self.assertEqual((report["warnings"], report["problems"]), (0, 0), report)
                self.assertEqual(report["servers"][0]["url"], server.url)
                self.assertIn(QWEN, self.found(report, "model", "ok"))
                self.assertIn("server" if api != "openai" else "qwen", self.found(report, "fill-in", "ok"))
                self.assertIn('"amount"', self.found(report, "answer", "ok"))
                self.assertRegex(self.found(report, "speed", "ok"), r"first token after \d+ ms")
                self.assertEqual(len(server.state()["completions"]), 2)

    def test_text(self):
        server = self.serve(fills_in)
        self.configure(server)
        out = self.succeeds("model", "check", "gpu").out
        self.assertTrue(out.startswith(server.url + "\n"), out)
        self.assertRegex(out, r"(?m)^ok       server      connected and answered in \d+ ms$")
        self.assertEqual(self.succeeds("model", "check", "--model", "gpu").status, 0)

    def test_a_server_that_ignores_the_suffix(self):
        self.configure(self.serve(["sum", " = ", "0;"]))
        self.assertRegex(self.found(self.check(1), "answer", "problem"), "ignores what follows the cursor.*set fim")

    def test_a_model_that_does_not_know(self):
        self.configure(self.serve(by_suffix))
        self.assertIn("small models", self.found(self.check(0), "answer", "warning"))

    def test_marks_as_text(self):
        self.configure(self.serve(["<|fim_", "middle|>", "int x"]))
        self.assertRegex(self.found(self.check(1), "answer", "problem"), r"<\|fim_middle\|> as text.*fim = server")

    def test_chat(self):
        for answer in (["Sure", ", here is the code"], ["```", "c\nint x;"], ["int total(const int *values,", " int n)\n{"],
                       ["Here's the missing", " part:"]):
            with self.subTest(answer):
                self.configure(self.serve(answer))
                self.assertIn("chat model's answer", self.found(self.check(1), "answer", "problem"))

    def test_nothing(self):
        self.configure(self.serve([]))
        self.assertIn("with nothing", self.found(self.check(0), "answer", "warning"))
        self.configure(self.serve(["  ", "\n"]))
        self.assertIn("with nothing", self.found(self.check(0), "answer", "warning"))

    def test_no_fim(self):
        server = self.serve(["sum = 0;"], model="llama-3-base", has_fim=False)
        self.configure(server)
        report = self.check(0)
        self.assertRegex(self.found(report, "fill-in", "warning"), "nothing behind the cursor.*set fim to its family")
        self.assertIn("goes on with", self.found(report, "answer", "ok"))
        self.configure(server, more="fim = none")
        self.found(self.check(0), "fill-in", "ok")

    def test_a_server_that_cannot_fill_in_by_itself(self):
        for api in ("openai", "llama", "ollama"):
            with self.subTest(api):
                self.configure(self.serve(fills_in, api=api, has_fim=False), more="fim = server")
                self.assertIn("it cannot fill in by itself: set fim = auto", self.found(self.check(1), "answer", "problem"))

    def test_keys(self):
        key = self.home / "gpu.key"
        key.write_text("right\n")
        key.chmod(0o600)
        server = self.serve(fills_in, key="right")
        self.configure(server, more=f"key_file = {key}")
        self.assertIn("accepted", self.found(self.check(0), "key", "ok"))
        self.configure(server)
        self.assertIn("set key_file", self.found(self.check(1), "key", "problem"))
        self.configure(server, more="key_env = GPU_KEY")
        report = self.check(1)
        self.assertEqual(report["checks"][0]["name"], "key")
        self.assertIn("GPU_KEY", report["checks"][0]["text"])
        self.env["GPU_KEY"] = "wrong"
        report = self.check(1)
        self.assertIn("is that the key", self.found(report, "key", "problem"))
        self.assertNotIn("wrong", json.dumps(report))
        key.chmod(0o644)
        self.configure(server, more=f"key_file = {key}")
        n = len(server.state()["last"])
        self.assertIn(f"chmod 600 {key}", self.check(1)["checks"][0]["text"])
        self.assertEqual(len(server.state()["last"]), n)  # nothing is sent without the key

    def test_wrong_model(self):
        self.configure(self.serve(), more="model = other")
        self.assertRegex(self.found(self.check(1), "model", "problem"), f"other.*{QWEN}")

    def test_wrong_api(self):
        self.configure(self.serve(api="ollama"), api="llama")
        self.assertIn("set api", self.found(self.check(1), "server", "problem"))

    def test_context_beyond_the_servers(self):
        self.configure(self.serve(fills_in, n_ctx=2048), more="context = 4096")
        report = self.check(1)
        texts = [c["text"] for c in report["servers"][0]["checks"] if c["level"] == "problem"]
        self.assertEqual(texts, ["context = 4096 is more than the server's 2048 tokens"])

    def test_servers_by_themselves(self):
        first, second, other = self.serve(fills_in), self.serve(["x"]), self.serve(fills_in, model="codestral")
        down = self.closed_port()
        self.configure(first, down, second, other)
        report = self.check(1)
        self.assertEqual([s["url"] for s in report["servers"]], [first.url, down, second.url, other.url])
        self.found(report, "answer", "ok", 0)
        self.assertRegex(self.found(report, "server", "problem", 1), f"refused.*curl -v {down}")
        self.found(report, "answer", "problem", 2)
        self.assertEqual([c["name"] for c in report["checks"]], ["servers"])
        self.assertIn("they differ", report["checks"][0]["text"])

    def test_faults(self):
        server = self.serve(fills_in, fault_on="completions", fault_after=0)
        self.configure(server)
        for fault in ("500", "reset", "garbage"):
            with self.subTest(fault):
                server.set(fault=fault)
                report = self.check(1)
                self.found(report, "server", "ok")
                self.assertIn("curl -v", self.found(report, "answer", "problem"))

    def test_slower_than_patience(self):
        self.configure(self.serve(fills_in, first_ms=120),
                       before="[models]\ninstant = toy\n[remote]\npatience_ms = 50")
        self.assertIn("models.instant will often answer", self.found(self.check(0), "speed", "warning"))


class Elsewhere(RemoteTest):
    """Commands that open model files, and those that ask a daemon."""

    def test_files(self):
        path = self.configure(self.serve())
        says = ["gpu is a model on other machines", f"{path}:2", "inline serve"]
        source = self.home / "a.py"
        source.write_text("x = 1\n")
        for args in (["complete", source, "--model", "GPU"], ["complete", source, "--model", "gpu", "--no-daemon"],
                     ["tokenize", source, "--model", "gpu"], ["logits", "gpu", "--prompt", "x"],
                     ["model", "plan", "gpu"], ["model", "pack", "gpu"], ["bench", "model", "gpu"]):
            with self.subTest(args):
                self.fails(*args, says=says)
        self.fails("model", "rm", "gpu", "--yes", says=["on other machines", f"{path}:2"])

    def test_complete_by_the_daemon(self):
        server = self.serve(["return ", "x"])
        self.configure(server)
        self.start_daemon().wait_ready()  # its main model is a local one
        source = self.home / "a.py"
        source.write_text("def f(x):\n    \n")
        place = ["complete", source, "--line", 2, "--column", 5, "--model", "gpu"]
        result = self.succeeds(*place)
        self.assertEqual((result.out.strip(), result.err), ("return x", ""))
        self.assertEqual(len(server.state()["completions"]), 1)
        self.assertEqual(json.loads(self.succeeds(*place, "--json").out)["model"], "gpu")
        server.stop()
        source.write_text("def g(x):\n    \n")
        self.fails(*place, says=["refused"])
        self.configure(server)
        path = self.home / "config" / "inline" / "inline.conf"
        path.write_text(path.read_text().replace("model.gpu", "model.later"))
        result = self.succeeds(*place[:-1], "later")
        self.assertRegex(result.err, "does not know later.* answered\n$")

    def test_doctor(self):
        self.succeeds("model", "import", FIXTURES / "models" / "qwen2.gguf", "--name", "small")
        def doctor(status):
            result = self.run_inline("doctor", "--json")
            self.assertEqual(result.status, status, result)
            return [(c["name"], c["level"], c["text"] + c["advice"]) for c in json.loads(result.out)["checks"]
                    if c["name"] in ("model", "servers")]
        up, down = self.serve(), self.closed_port()
        before = "[models]\nmain = gpu\ninstant = small"
        self.configure(up, before=before)
        found = doctor(0)
        self.assertEqual(found[0], ("model", "ok", "gpu (main) is on other machines"))
        self.assertEqual(found[-1][:2], ("servers", "ok"))
        self.configure(up, down, before=before)
        self.assertEqual(doctor(0)[-1][:2], ("servers", "warning"))
        self.configure(down, before=before)
        name, level, text = doctor(1)[-1]
        self.assertEqual((name, level), ("servers", "problem"))
        self.assertRegex(text, "0 of 1 server.*refused.*inline model check gpu")
        self.configure(up, before="[models]\nmain = gpu")
        self.assertEqual([level for name, level, _ in doctor(0)], ["ok", "warning", "ok"])

    def test_errors_name_the_line(self):
        cases = [("[model.gpu]\napi = openai\nurls = gpu1:8000\n", [":3:", "https://"]),
                 ("[model.gpu]\napi = opnai\n", [":2:", "openai llama ollama"]),
                 ("[model.gpu]\napi = openai\nurl = http://x\n", [":3:", "did you mean urls?"]),
                 ("[model.gpu]\n\napi = openai\nurls = http://x\nkey_env = K\n", [":4:", "use https"]),
                 ("[model.gpu]\napi = openai\nurls = http://x\nfim = nonsense\n", [":4:", "model.gpu.fim"])]
        for text, says in cases:
            with self.subTest(text):
                path = self.write_settings(text)
                self.fails("model", "list", status=2, says=[str(path), *says])


if __name__ == "__main__":
    unittest.main()

"""The model server that other tests lean on: its answers, its counts and its faults, as a plain client sees them."""

import contextlib
import http.client
import json
import pathlib
import socket
import ssl
import tempfile
import time
import unittest

from certificates import Certificates
from model_apis import right_text
from model_faults import FAULTS
from model_server import ModelServer, ModelServerProcess

PROMPT = "int hole_1 = "
COMPLETIONS = {
    "openai": ("/v1/completions", {"model": "stub", "prompt": PROMPT, "max_tokens": 20}),
    "llama": ("/infill", {"input_prefix": PROMPT, "input_suffix": "", "n_predict": 20}),
    "ollama": ("/api/generate", {"model": "stub", "prompt": PROMPT, "options": {"num_predict": 20}}),
}
QUESTIONS = {
    "openai": [("GET", "/v1/models", None)],
    "llama": [("GET", "/props", None), ("GET", "/health", None)],
    "ollama": [("GET", "/api/tags", None), ("GET", "/api/version", None), ("POST", "/api/show", {"model": "stub"})],
}


def ask(server, api, **more):
    """(status, body) of a completion."""
    path, body = COMPLETIONS[api]
    return request(server, "POST", path, {**body, **more})


def request(server, method, path, body=None, headers=None, timeout=5):
    deadline = time.monotonic() + timeout
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers or {})
        answer = connection.getresponse()
        data = bytearray()
        while piece := answer.read1(65536):
            data += piece
            if time.monotonic() > deadline:
                raise TimeoutError
        if answer.length:  # read1 does not tell
            raise http.client.IncompleteRead(data)
        return answer.status, bytes(data)
    finally:
        connection.close()


def text_of(api, body):
    if api == "ollama":
        return "".join(json.loads(line)["response"] for line in body.splitlines())
    events = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ") and line[6:] != "[DONE]"]
    if api == "llama":
        return "".join(json.loads(event)["content"] for event in events)
    return "".join(c["text"] for event in events for c in json.loads(event)["choices"])


class Answers(unittest.TestCase):
    def test_streams(self):
        for api in COMPLETIONS:
            with self.subTest(api), ModelServer(api=api) as server:
                status, body = ask(server, api, stream=True)
                self.assertEqual((status, text_of(api, body)), (200, right_text(PROMPT)))
                (completion,) = server.completions
                self.assertEqual((completion["n_sent"], completion["closed_at"]), (6, None))

    def test_whole_answers(self):
        for api, name in (("openai", "choices"), ("llama", "content"), ("ollama", "response")):
            with self.subTest(api), ModelServer(api=api) as server:
                status, body = ask(server, api, stream=False)
                value = json.loads(body)[name]
                self.assertEqual((status, value[0]["text"] if api == "openai" else value), (200, right_text(PROMPT)))

    def test_questions(self):
        for api, questions in QUESTIONS.items():
            with ModelServer(api=api, n_ctx=4321) as server:
                bodies = [request(server, *question) for question in questions]
                self.assertEqual({status for status, _ in bodies}, {200})
                if api != "ollama":
                    self.assertIn(b"4321", bodies[0][1])

    def test_limits_and_stops(self):
        with ModelServer() as server:
            self.assertEqual(text_of("openai", ask(server, "openai", stream=True, max_tokens=2)[1]),
                             right_text(PROMPT)[: len("w123456 + w123456")])
            self.assertEqual(text_of("openai", ask(server, "openai", stream=True, stop=["+ "])[1]),
                             right_text(PROMPT)[: len("w123456 ")])

    def test_key(self):
        with ModelServer(key="k1") as server:
            self.assertEqual(ask(server, "openai")[0], 401)
            self.assertEqual(request(server, "GET", "/v1/models", headers={"Authorization": "Bearer k1"})[0], 200)

    def test_speed(self):
        with ModelServer(first_ms=50, token_ms=10) as server:
            begin = time.monotonic()
            ask(server, "openai", stream=True)
            self.assertTrue(0.1 <= time.monotonic() - begin < 2)
            server.set(first_ms=0, token_ms=0)
            (completion,) = server.completions
            self.assertGreaterEqual(completion["first"] - completion["began"], 0.05)

    def test_prefix_cache(self):
        with ModelServer(prompt_us=10000) as server:
            for least in (0.1, 0):
                begin = time.monotonic()
                ask(server, "openai")
                self.assertTrue(least <= time.monotonic() - begin < least + 0.5)


class Counts(unittest.TestCase):
    def test_a_peer_that_leaves(self):
        with ModelServer(first_ms=10000) as server:
            with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as s:
                body = json.dumps({"prompt": PROMPT, "stream": True}).encode()
                s.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                server.wait_until(lambda state: state["under_way"] == 1)
                left = time.monotonic()
            state = server.wait_until(lambda state: state["under_way"] == 0)
            self.assertLess(abs(state["completions"][0]["closed_at"] - left), 0.05)

    def test_connections(self):
        with ModelServer() as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            for _ in range(3):
                connection.request("GET", "/v1/models")
                connection.getresponse().read()
            state = server.state()
            self.assertEqual((state["connections"], state["n_connections"], state["requests"]),
                             (1, 1, {"GET /v1/models": 3}))
            connection.close()
            server.wait_until(lambda state: state["connections"] == 0)

    def test_slots(self):
        """Of three that come at once, one is computed at a time; one that leaves the queue holds nobody up."""
        with ModelServer(first_ms=60, slots=1) as server:
            sockets = []
            for _ in range(3):
                sockets.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
                body = json.dumps({"prompt": PROMPT, "stream": True}).encode()
                sockets[-1].sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                server.wait_until(lambda state: state["under_way"] == len(sockets))
            sockets[1].close()
            server.wait_until(lambda state: state["under_way"] == 0)
            first, left, last = server.completions
            self.assertEqual((left["first"], left["n_sent"]), (None, 0))
            self.assertGreaterEqual(last["first"] - first["first"], 0.06)
            for s in sockets:
                s.close()


class Process(unittest.TestCase):
    def test_all_methods(self):
        with ModelServerProcess(api="ollama") as server:
            self.assertEqual(text_of("ollama", ask(server, "ollama")[1]), right_text(PROMPT))
            self.assertEqual(server.n_completions(), 1)
            server.set(fault="500")
            self.assertEqual(ask(server, "ollama")[0], 500)
            server.reset()
            self.assertEqual(server.n_completions(), 0)
            with self.assertRaises(ValueError):
                server.set(fault="unheard-of")


class Faults(unittest.TestCase):
    STATUS = {"429-retry": 429, "503-retry": 503, "401-echo": 401, "html-502": 502, "redirect": 307}

    def outcome(self, api):
        """A status beyond 299, "hangs", "broken", "wrong" or "right"."""
        try:
            path, body = COMPLETIONS[api]
            status, data = request(self.server, "POST", path, {**body, "stream": True}, timeout=0.3)
        except TimeoutError:
            return "hangs"
        except (OSError, http.client.HTTPException):
            return "broken"
        if status > 299:
            return status
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            return "right" if text_of(api, data) == right_text(PROMPT) else "wrong"
        return "wrong"

    def test_every_fault_is_one(self):
        expected = {**dict.fromkeys(("hang", "hang-headers", "hang-midway", "trickle", "long-length", "endless"), "hangs"),
                    **dict.fromkeys(("refuse", "drop", "reset", "close", "garbage", "huge-header",
                                     "long-length-close"), "broken")}
        for api in COMPLETIONS:
            with ModelServer(api=api, huge_bytes=1 << 20) as self.server:
                for fault in FAULTS:
                    with self.subTest(api=api, fault=fault):
                        self.server.set(fault=fault)
                        outcome = self.outcome(api)
                        if fault[:3].isdigit() or fault in self.STATUS:
                            self.assertEqual(outcome, self.STATUS.get(fault) or int(fault))
                        else:
                            self.assertEqual(outcome, expected.get(fault, "wrong"))
                        self.server.set(fault=None)
                        self.assertEqual(self.outcome(api), "right")

    def test_a_mix(self):
        with ModelServer(mix={"500": 0.2, "refuse": 0.05}, refuse_ms=20, seed=3) as self.server:
            outcomes = []
            for _ in range(100):
                outcomes.append(self.outcome("openai"))
                if outcomes[-1] == "broken":
                    time.sleep(0.05)  # until somebody listens again
            self.assertTrue(10 <= outcomes.count(500) <= 30, outcomes)
            self.assertGreater(outcomes.count("right"), 50)
            self.assertGreater(outcomes.count("broken"), 0)

    def test_a_huge_answer_is_one(self):
        with ModelServer(fault="huge-lines", huge_bytes=10 << 20) as server:
            self.assertGreaterEqual(len(ask(server, "openai", stream=True)[1]), 10 << 20)


class Tls(unittest.TestCase):
    def verify(self, made, pair):
        context = ssl.create_default_context(cafile=made.ca)
        with ModelServer(tls=pair) as server:
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=5, context=context)
            try:
                connection.request("GET", "/v1/models")
                return connection.getresponse().status
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            finally:
                connection.close()

    def test_certificates(self):
        with tempfile.TemporaryDirectory() as folder:
            made = Certificates(pathlib.Path(folder))
            self.assertEqual(self.verify(made, made.good), 200)
            self.assertIn("expired", self.verify(made, made.expired))
            self.assertIn("self-signed", self.verify(made, made.stranger))
            self.assertIn("127.0.0.1", self.verify(made, made.other_host))


if __name__ == "__main__":
    unittest.main()

"""The parts of bench/remote_texts: what counts as the same text, how near a tie was, and the proxy that remembers."""

import http.client
import json
import socket
import sys
import unittest

from front import ROOT
from model_server import ModelServer

sys.path.append(str(ROOT / "bench"))
import text_compare as compare
from recording_proxy import Recorder, RecordingProxy


def token(text, *others):
    """As llama-server tells one that it generated, with the logarithm of its probability; others: candidates."""
    candidates = [text, *others]
    tops = [{"bytes": list(t.encode()), "logprob": p} for t, p in candidates]
    return {"bytes": list(text[0].encode()), "logprob": text[1], "top_logprobs": tops}


def tokens(*probabilities):
    return compare.tokens_of({"completion_probabilities": list(probabilities)})


class Compare(unittest.TestCase):
    def test_relation(self):
        self.assertEqual(compare.relation("abc", "abc"), "equal")
        self.assertEqual(compare.relation("ab", "abc"), "cut")
        self.assertEqual(compare.relation("", "abc"), "cut")
        self.assertEqual(compare.relation("abd", "abc"), "different")
        self.assertEqual(compare.relation("ab\ufffd", "ab"), "equal")
        self.assertEqual(compare.relation("a\x07\tb\n", "a\tb\n"), "equal")

    def test_the_candidate_that_was_taken_instead(self):
        theirs = tokens(token(("return", -0.1), ("if", -3.0)), token((" a", -0.70), (" b", -0.75), (" c", -2.0)))
        self.assertAlmostEqual(compare.tie_at_parting(theirs, "return a", "return b;"), 0.05)
        self.assertAlmostEqual(compare.tie_at_parting(theirs, "return a", "return c;"), 1.3)
        self.assertEqual(compare.tie_at_parting(theirs, "return a", "return x;"), float("inf"))

    def test_a_text_that_was_split_otherwise(self):
        """The server's first token goes beyond where the texts part, and the other side took a shorter one."""
        theirs = tokens(token(("ab", -0.5), ("a", -0.6)), token(("cd", -0.1)))
        self.assertAlmostEqual(compare.tie_at_parting(theirs, "abcd", "axyz"), 0.1)

    def test_the_end_of_the_answer_is_a_candidate(self):
        theirs = tokens(token(("ab", -0.1)), token((";", -0.5), ("", -0.52)))
        self.assertAlmostEqual(compare.tie_at_parting(theirs, "ab;", "ab"), 0.02)

    def test_tie(self):
        only, close = tokens(token(("a", -0.1)), token(("a", -0.1), ("b", -0.4), ("c", -9)))
        self.assertEqual(only.tie(), float("inf"))
        self.assertAlmostEqual(close.tie(), 0.3)

    def test_histogram(self):
        counts = compare.histogram([0, 0.0005, 0.02, 0.1, 5, float("inf")])
        self.assertEqual(counts, {"<0.001": 2, "<0.01": 0, "<0.03": 1, "<0.1": 0, "<0.3": 1, "<1": 0, ">=1": 2})


class Proxy(unittest.TestCase):
    def test_requests_are_found_however_their_bytes_come(self):
        one = b'POST /a HTTP/1.1\r\nContent-Length: 8\r\n\r\n{"n": 1}'
        stream = one + b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n" + one.replace(b"1}", b"2}")
        expected = [("/a", {"n": 1}), ("/b", None), ("/a", {"n": 2})]
        for step in (1, 7, len(stream)):
            recorder = Recorder()
            found = [r for i in range(0, len(stream), step) for r in recorder.feed(stream[i : i + step])]
            self.assertEqual(found, expected)

    def test_it_forwards_and_remembers(self):
        server = ModelServer(api="llama")
        self.addCleanup(server.stop)
        body = {"prompt": "static int hole_1;", "n_predict": 8, "stream": True}
        with RecordingProxy(server.port) as proxy:
            answers = []
            for port in (server.port, proxy.port):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = [json.loads(line[6:])["content"] for line in response if line.startswith(b"data: {")]
                answers.append((response.status, "".join(content)))
                connection.close()
            self.assertEqual(answers[0], answers[1])
            self.assertTrue(answers[0][1])
            self.assertEqual(proxy.take(), [("/completion", body)])
            self.assertEqual(proxy.take(), [])

    def test_a_side_that_hangs_up_is_felt_on_the_other(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        with RecordingProxy(listener.getsockname()[1]) as proxy:
            client = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
            server, _ = listener.accept()
            server.settimeout(20)
            client.sendall(b"x")
            self.assertEqual(server.recv(1), b"x")
            client.close()
            self.assertEqual(server.recv(1), b"")
            server.close()


if __name__ == "__main__":
    unittest.main()

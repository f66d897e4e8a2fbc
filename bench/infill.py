"""Typing traces against a llama-server, through POST /infill with the fields that llama.vim sends.

A trace says what is typed where: a JSON object with either "file" (a path, relative to the trace) or "lines" (of
bench/source_text.py), and line, keys, lines_before, lines_after, max_tokens, rate. Before the first key, the `keys`
characters that follow the cursor are taken out of the text; then they are typed. Results have the keys of
`inline bench trace --json`."""

import http.client
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from source_text import source_text

START_SECONDS = 120  # for a server to load its model
REQUEST_SECONDS = 300


class Trace:
    """A text, the line at whose start the cursor stands, and how many of the characters behind it are typed."""

    def __init__(self, name, text, line, keys, lines_before=256, lines_after=64, max_tokens=16, rate=5):
        self.name, self.text, self.line, self.keys, self.rate = name, text, line, keys, rate
        self.lines_before, self.lines_after = lines_before, lines_after
        self.max_tokens = max_tokens

    @classmethod
    def read(cls, path):
        path = pathlib.Path(path)
        trace = json.loads(path.read_text())
        text = (path.parent / trace["file"]).read_text() if "file" in trace else source_text(trace["lines"])
        wanted = ("line", "keys", "rate", "lines_before", "lines_after", "max_tokens")
        return cls(path.stem, text, **{key: trace[key] for key in wanted})

    def requests(self):
        """What llama.vim asks before the first key and after each."""
        start = sum(len(line) + 1 for line in self.text.split("\n")[: self.line - 1])
        typed = self.text[start : start + self.keys]
        before = self.text[:start].split("\n")
        after = self.text[start + self.keys :].split("\n")
        suffix = "\n".join(after[: 1 + self.lines_after]) + ("\n" if len(after) > 1 + self.lines_after else "")
        for n in range(len(typed) + 1):
            lines = before[:-1] + typed[:n].split("\n")
            prefix = "".join(line + "\n" for line in lines[:-1][-self.lines_before :]) if self.lines_before else ""
            yield {
                "id_slot": 0,
                "input_prefix": prefix,
                "prompt": lines[-1],
                "input_suffix": suffix,
                "input_extra": [],
                "n_predict": self.max_tokens,
                "cache_prompt": True,
                "samplers": ["top_k"],
                "top_k": 1,
                "temperature": 0.0,
                "stream": True,
            }


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server on a free port of the loopback interface, for the length of a `with` block. {port} in its command stands
    for that port; it is ready when GET /health says 200."""

    def __init__(self, command, env=None):
        self.port = free_port()
        self.command = [word.replace("{port}", str(self.port)) for word in command]
        self.env = dict(os.environ, **(env or {}))

    @classmethod
    def of_llama(cls, directory, model, threads, options):
        command = [os.path.join(directory, "llama-server"), "-m", model, "-t", str(threads), *options]
        return cls(command + ["--host", "127.0.0.1", "--port", "{port}"], {"LD_LIBRARY_PATH": directory})

    def __enter__(self):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.log.seek(0)
                last = self.log.read().decode("utf-8", "replace").strip().splitlines()[-3:]
                raise RuntimeError(f"{self.command[0]} ended: {' / '.join(last)}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            finally:
                connection.close()
            time.sleep(0.05)
        raise RuntimeError(f"{self.command[0]} was not ready after {START_SECONDS} s")


class Request:
    """One /infill request; run() may be on a thread of its own, and abort() ends it from another."""

    def __init__(self, server, body):
        self.body = json.dumps(body).encode()
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=REQUEST_SECONDS)
        self.is_aborted = False
        self.ttft_ms = self.total_ms = None  # total_ms: of whole answers only
        self.timings = {}
        self.error = None

    def run(self):
        self.start = time.perf_counter()
        try:
            self.connection.request("POST", "/infill", self.body, {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"the server answers {response.status}: {response.read(500)!r}")
            for line in response:
                if line.startswith(b"data:"):
                    self.read_event(json.loads(line[5:]))
                    if self.total_ms is not None:
                        break
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            self.error = None if self.is_aborted else error
        finally:
            self.connection.close()

    def since_start(self):
        return (time.perf_counter() - self.start) * 1e3

    def read_event(self, event):
        if self.ttft_ms is None:
            self.ttft_ms = self.since_start()
        if event.get("stop"):
            self.total_ms = self.since_start()
            self.timings = event["timings"]
            # A token that ends inside a character is held back; by the server's own clock it was there before.
            self.ttft_ms = min(self.ttft_ms, self.total_ms - self.timings["predicted_ms"])

    def abort(self):
        self.is_aborted = True
        try:
            if self.connection.sock:
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def check(self):
        if self.error:
            raise RuntimeError(f"request failed: {self.error}")
        return self


def percentile(values, p):
    """Between neighbours by linear interpolation; None of none."""
    if not values:
        return None
    values = sorted(values)
    place = p * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return round(values[low] + (values[high] - values[low]) * (place - low), 3)


def ask(server, body):
    request = Request(server, body)
    request.run()
    return request.check()


def warm_up(server, trace):
    """Touch weights and buffers once, with a prompt that the trace has nothing in common with."""
    ask(server, {"input_prefix": "warm up", "input_suffix": "", "n_predict": trace.max_tokens, "cache_prompt": True,
                 "stream": True, "id_slot": 0})


def replay_each(server, trace):
    """Each key waits for the answer to the one before."""
    warm_up(server, trace)
    done = [ask(server, body) for body in trace.requests()]
    first, keys = done[0], done[1:]
    result = {"keys": len(keys), "first_request_ms": round(first.total_ms, 3), "first_ttft_ms": round(first.ttft_ms, 3)}
    for name, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        result[f"ttft_{name}_ms"] = percentile([r.ttft_ms for r in keys], p)
        result[f"total_{name}_ms"] = percentile([r.total_ms for r in keys], p)
    computed = [r.timings["prompt_n"] for r in keys]
    prompt = [r.timings["prompt_n"] + r.timings.get("cache_n", 0) for r in keys]
    result["computed_per_key_median"] = statistics.median(computed)
    result["prompt_tokens_per_key_median"] = statistics.median(prompt)
    result["generated_per_key_mean"] = round(statistics.fmean(r.timings["predicted_n"] for r in keys), 2)
    return result


def replay_paced(server, trace):
    """Keys come at trace.rate; one that finds an answer outstanding aborts it, as an editor does."""
    warm_up(server, trace)
    bodies = list(trace.requests())
    ask(server, bodies[0])
    running, done = None, []
    start = time.perf_counter()
    for i, body in enumerate(bodies[1:]):
        due = start + i / trace.rate
        time.sleep(max(0.0, due - time.perf_counter()))
        if running:
            running[0].abort()
            running[1].join()
            done.append(running[0].check())
        request = Request(server, body)
        thread = threading.Thread(target=request.run)
        thread.start()
        running = (request, thread)
    running[1].join()
    last = running[0].check()
    done.append(last)
    answered = [r for r in done if r.total_ms is not None]
    return {
        "rate": trace.rate,
        "keys": len(done),
        "answered_share": round(len(answered) / len(done), 4),
        "first_token_share": round(sum(r.ttft_ms is not None for r in done) / len(done), 4),
        "last_key_ttft_ms": round(last.ttft_ms, 3),
        "last_key_total_ms": round(last.total_ms, 3),
    }

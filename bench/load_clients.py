"""Many editors at one server: each types into a text of its own and asks for a completion after every key.

Requests are those of infill.Trace, each on a connection of its own, as llama.vim's curl makes them. A key is typed when
it is due, whatever the server does; its answer's time counts from then. Runs in one thread (asyncio), so that the
clients take little of the processor that the server needs; `sender_lag_p99_ms` shows when they were late themselves."""

import asyncio
import contextlib
import itertools
import json
import time
import urllib.parse

from infill import Trace, percentile
from server_process import ProcessSampler
from source_text import CONTAINERS, source_text

TEXT_LINES = 614
TYPED_KEYS = 4000  # what every text has behind its middle; then typing begins there anew
WARM_UP_SECONDS = 600  # for every client's first prompt, from nothing
DRAIN_SECONDS = 60  # patience with the answers that nothing replaces
# An answer to a request that its client has replaced since is late when it comes after this. A server that has read
# the newer request needs a millisecond; the rest is for a loaded machine, where reading itself waits.
LATE_SECONDS = 0.1


class Request:
    """One key's request and what became of it."""

    def __init__(self, due):
        self.due = due
        self.replaced_at = None  # when the client sent a newer one
        self.outcome = None  # "answered", "superseded", "error"
        self.error = ""
        self.latency_ms = None
        self.is_late = False
        self.tokens = self.computed = 0
        self.sender_lag_ms = 0.0

    def finish(self, status, answer):
        now = time.perf_counter()
        if answer.get("superseded"):  # Inline's word for: a newer request of yours replaced this one
            self.outcome = "superseded" if self.replaced_at else "error"
            self.error = "superseded by nothing"
        elif status == 200:
            self.outcome = "answered"
            self.latency_ms = (now - self.due) * 1e3
            self.tokens = answer.get("tokens_predicted", 0)
            self.computed = answer.get("timings", {}).get("prompt_n", 0)
            self.is_late = self.replaced_at is not None and now - self.replaced_at > LATE_SECONDS
        else:
            self.outcome = "error"
            self.error = f"status {status}: {json.dumps(answer)[:200]}"


class Target:
    """A server's address and route, and one exchange with it."""

    def __init__(self, url, route="/infill", token=""):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port or 80
        self.route, self.token = route, token

    async def exchange(self, method, path, body=b""):
        """(status, bytes). The connection is closed when this is cancelled."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            access = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
            head = (f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n{access}Connection: close\r\n\r\n")
            writer.write(head.encode() + body)
            answer = await reader.read()
        finally:
            writer.close()
        head, _, content = answer.partition(b"\r\n\r\n")
        words = head.split(None, 2)
        if len(words) < 2 or not words[1].isdigit():
            raise ConnectionError(f"no answer but {answer[:80]!r}")
        if b"transfer-encoding: chunked" in head.lower():
            content = join_chunks(content)
        return int(words[1]), content

    def body(self, request, slot):
        """An infill.Trace's request in the shape of the route. Whole answers, as llama.vim wants them."""
        if self.route != "/infill":  # a route without a suffix, for models that know no fill-in-the-middle
            request["prompt"] = request.pop("input_prefix") + request["prompt"]
            del request["input_suffix"], request["input_extra"]
        request.update(id_slot=slot, stream=False)
        return json.dumps(request).encode()


def join_chunks(content):
    whole = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        n = int(size, 16)
        whole, content = whole + content[:n], content[n + 2 :]
    return whole


async def wait_for_answers(tasks, seconds=DRAIN_SECONDS):
    """Those that do not come in time are given up."""
    pending = (await asyncio.wait(tasks, timeout=seconds))[1] if tasks else ()
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


class Client:
    """One editor: its text, its requests."""

    def __init__(self, target, index, options):
        self.target, self.index = target, index
        self.rate, self.keep_open = options.rate, options.keep_open
        text = source_text(TEXT_LINES, index % len(CONTAINERS))
        # Beyond as many clients as there are texts, they type elsewhere in one.
        line = max(1, options.line - 20 * (index // len(CONTAINERS)))
        trace = Trace(f"client {index}", text, line, TYPED_KEYS, options.lines_before, options.lines_after,
                      options.max_tokens)
        self.bodies = itertools.chain.from_iterable(trace.requests() for _ in itertools.count())
        self.requests = []

    async def ask(self, request, body):
        try:
            status, content = await self.target.exchange("POST", self.target.route, body)
            request.finish(status, json.loads(content or b"{}"))
        except asyncio.CancelledError:  # we closed the connection
            request.outcome = "superseded" if request.replaced_at else "error"
            request.error = "no answer for too long"
            raise
        except (OSError, ValueError) as error:
            request.outcome, request.error = "error", f"{type(error).__name__}: {error}"

    def begin(self, due):
        request = Request(due)
        self.requests.append(request)
        body = self.target.body(next(self.bodies), self.index)
        request.sender_lag_ms = (time.perf_counter() - due) * 1e3
        return asyncio.create_task(self.ask(request, body))

    async def warm_up(self):
        """The request before the first key, as editors send it when a file is opened. It is not counted."""
        await wait_for_answers([self.begin(time.perf_counter())], WARM_UP_SECONDS)
        first = self.requests.pop()
        if first.outcome != "answered":
            raise RuntimeError(f"the first request of client {self.index}: {first.error or first.outcome}")

    async def type_keys(self, start, seconds, n_clients):
        """A key every 1 / rate seconds; the clients' keys are evenly spread over that time."""
        start += self.index / n_clients / self.rate
        tasks = []
        for i in range(int(seconds * self.rate)):
            due = start + i / self.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if tasks and not tasks[-1].done():
                self.requests[-1].replaced_at = time.perf_counter()
                if not self.keep_open:
                    tasks.pop().cancel()
            tasks = [task for task in tasks if not task.done()] + [self.begin(due)]
        await wait_for_answers(tasks)

    async def ask_in_turn(self, start, seconds):
        """The next request as soon as the last is answered."""
        while time.perf_counter() < start + seconds:
            await wait_for_answers([self.begin(time.perf_counter())])


def summary(requests, elapsed):
    """Figures of one run."""
    answered = [r for r in requests if r.outcome == "answered"]
    errors = [r.error for r in requests if r.outcome not in ("answered", "superseded")]
    latencies = [r.latency_ms for r in answered if r.replaced_at is None]
    tokens = sum(r.tokens for r in answered)
    report = {
        "keys": len(requests),
        "answered": len(answered),
        "superseded": sum(r.outcome == "superseded" for r in requests),
        "late": sum(r.is_late for r in requests),
        "errors": len(errors),
        "error_texts": sorted(set(errors))[:5],
        "elapsed_s": round(elapsed, 3),
        "tokens": tokens,
        "tokens_per_s": round(tokens / elapsed, 2),
        "answers_per_s": round(len(answered) / elapsed, 2),
        "tokens_per_answer": round(tokens / len(answered), 2) if answered else 0,
        "computed_per_answer": round(sum(r.computed for r in answered) / len(answered), 1) if answered else 0,
        "sender_lag_p99_ms": percentile([r.sender_lag_ms for r in requests], 0.99),
    }
    for name, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
        report[f"latency_{name}_ms"] = percentile(latencies, p)
    return report


async def run_clients(target, pid, options):
    """options: those of bench/load."""
    clients = [Client(target, i, options) for i in range(options.clients)]
    start = time.perf_counter()
    await asyncio.gather(*(client.warm_up() for client in clients))
    warm_up_s = time.perf_counter() - start
    sampler = ProcessSampler(pid)
    sampling = asyncio.create_task(sampler.run())
    start = time.perf_counter()
    if options.closed_loop:
        await asyncio.gather(*(client.ask_in_turn(start, options.seconds) for client in clients))
    else:
        await asyncio.gather(*(client.type_keys(start, options.seconds, len(clients)) for client in clients))
    elapsed = time.perf_counter() - start
    sampling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sampling
    return {"warm_up_s": round(warm_up_s, 3), **summary([r for client in clients for r in client.requests], elapsed), **sampler.report()}

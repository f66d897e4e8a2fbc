"""A model server of our own that speaks OpenAI's, llama-server's or Ollama's API, counts what is done to it, and
misbehaves to order. Answers are those of model_apis.right_text.

In a test, as a thread of it or (for load) as a process of its own; both have the same methods:

    with ModelServer(api="openai", first_ms=20) as server:          # or ModelServerProcess(...)
        ...                                                         # server.url, server.port
        server.set(fault="reset", fault_after=2)                    # any field of Settings, at any time
        server.set(mix={"hang": 0.05, "500": 0.1})                  # a fault for some requests, by probability
        server.state()["completions"][-1]["closed_at"]              # see ModelServer.state
        server.reset()                                              # counts begin anew

From a shell: model_server.py [--port N] [--control N] [--api NAME] [--set JSON] prints {"port": .., "control": ..,
"url": ..} and serves until its standard input ends. On the control port, GET /state, POST /set (a JSON object of
settings) and POST /reset do what the methods do.

Times are those of time.monotonic(), which all processes of a machine share."""

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import random
import ssl
import subprocess
import sys
import threading
import time

import model_faults
from model_apis import APIS, Refusal, key_of, right_tokens
from model_connection import Answer, Connection, Fixed, Gone

N_COMPLETIONS = 20000  # that are remembered
N_REQUESTS = 64        # that are remembered with their bodies
KEY_MAX = 80           # characters of what decided an answer, as state() tells it
N_PROMPTS = 32         # that the simulated prefix cache holds


@dataclasses.dataclass
class Settings:
    """What can be set, from the beginning and while it runs."""

    api: str = "openai"
    model: str = "stub"       # its name; requests for another one get 404
    base: str = ""            # what else the API tells of the model: a file's name, a basename
    n_ctx: int = 8192
    has_fim: bool = True      # /infill or `suffix` is understood
    key: str = ""             # then requests without it as their bearer get 401
    logprob: float = -0.1     # of every token, where asked for
    # Speed
    first_ms: float = 0.0     # before the first token
    token_ms: float = 0.0     # before each other
    prompt_us: float = 0.0    # before the first token, for each character that is not cached: prefill
    slots: int = 0            # requests that are computed at a time, the others wait; 0: any number
    n_tokens: int = 6         # of an answer, unless max_tokens is less
    tokens: list = None       # the answer to everything, instead
    # Misbehaviour: model_faults.FAULTS
    fault: str = None         # of every request
    mix: dict = dataclasses.field(default_factory=dict)  # of some: probability by fault
    seed: int = 1
    fault_on: str = "all"     # or "completions": then questions about the server are answered well
    fault_after: int = 2      # tokens that are sent before trouble begins in mid-stream
    retry_after: str = "1"    # of 429-retry and 503-retry
    redirect_to: str = ""     # base URL
    huge_bytes: int = 100 << 20
    byte_ms: float = 1000.0   # between the bytes of "trickle"
    refuse_ms: float = 100.0  # for how long nobody listens after "refuse" was drawn from the mix


def object_in(body):
    """A request's JSON object; none: an empty one; None: it is something else."""
    with contextlib.suppress(ValueError):
        value = json.loads(body) if body else {}
        return value if isinstance(value, dict) else None
    return None


class Completion(Answer):
    """record: what state() tells of it."""

    def __init__(self, connection, server, ask, record):
        api = server.api
        super().__init__(connection, 200, api.content_type if ask.is_stream else "application/json")
        self.server, self.api, self.ask, self.record = server, api, ask, record
        self.is_stream = bool(ask.is_stream)
        self.tokens, self.why = ask.cut(server.tokens_for(ask.prompt))

    async def pieces(self):
        settings, record = self.server.settings, self.record
        async with self.server.slot(self.connection):
            n_reused = self.server.n_cached(self.ask.prompt)
            await self.connection.sleep(settings.first_ms / 1e3 +
                                        settings.prompt_us / 1e6 * (len(self.ask.prompt) - n_reused))
            for i, token in enumerate(self.tokens):
                if i:
                    await self.connection.sleep(settings.token_ms / 1e3)
                record["first"] = record["first"] or time.monotonic()
                record["n_sent"] += 1
                if self.is_stream:
                    yield self.api.piece(settings, self.ask, token)
            last = self.api.last if self.is_stream else self.api.whole
            yield last(settings, self.ask, self.tokens, self.why, n_reused)


class Server:
    """The server itself, on an event loop."""

    def __init__(self, settings, tls=None):
        self.settings, self.tls = settings, tls
        self.listener, self.port = None, 0
        self.connections = set()
        self.changing = asyncio.Lock()
        self.n_busy, self.waiting = 0, collections.deque()
        self.prompts = collections.deque(maxlen=N_PROMPTS)
        self.random = random.Random(settings.seed)
        self.n_under_way = 0
        self.reset()

    def reset(self):
        self.max_connections, self.n_connections = len(self.connections), 0
        self.max_under_way = self.n_under_way
        self.requests, self.faults = collections.Counter(), collections.Counter()
        self.completions = collections.deque(maxlen=N_COMPLETIONS)
        self.last = collections.deque(maxlen=N_REQUESTS)

    @property
    def api(self):
        return APIS[self.settings.api]

    def state(self):
        return {
            "port": self.port,
            "connections": len(self.connections), "max_connections": self.max_connections,
            "n_connections": self.n_connections,  # that were made
            "under_way": self.n_under_way, "max_under_way": self.max_under_way,
            "requests": dict(self.requests),      # by "METHOD path"
            "faults": dict(self.faults),
            "completions": list(self.completions),
            "last": [request.describe() for request in self.last],
        }

    async def set(self, values):
        known = {field.name for field in dataclasses.fields(Settings)}
        names = [values.get("fault"), *values.get("mix", {})]
        unknown = [f"no such setting: {n}" for n in set(values) - known] + [
            f"no such fault: {n}" for n in names if n and n not in model_faults.FAULTS]
        if unknown:
            raise ValueError(", ".join(unknown))
        for name, value in values.items():
            setattr(self.settings, name, value)
        if "seed" in values:
            self.random.seed(self.settings.seed)
        await self.listen()

    # --- Connections

    async def listen(self):
        """Listen or not, as the settings say."""
        async with self.changing:
            if self.settings.fault == "refuse":
                if self.listener:
                    self.listener.close()
                    self.listener = None
                for connection in list(self.connections):  # a server that went down has none left
                    connection.reset()
            elif not self.listener:
                loop = asyncio.get_running_loop()
                self.listener = await loop.create_server(lambda: Connection(self, self.answer), "127.0.0.1", self.port,
                                                         ssl=self.tls, backlog=1024)
                self.port = self.listener.sockets[0].getsockname()[1]

    async def refuse_for(self, seconds):
        async with self.changing:
            if self.listener:
                self.listener.close()
                self.listener = None
        await asyncio.sleep(seconds)
        await self.listen()

    def connection_made(self, connection):
        self.connections.add(connection)
        self.n_connections += 1
        self.max_connections = max(self.max_connections, len(self.connections))

    def connection_lost(self, connection):
        self.connections.discard(connection)

    # --- Requests

    def tokens_for(self, prompt):
        fixed = self.settings.tokens
        return fixed if fixed is not None else right_tokens(prompt, self.settings.n_tokens)

    def n_cached(self, prompt):
        """How much of it a server's prefix cache would have; remembers it."""
        text = prompt if isinstance(prompt, str) else "".join(map(chr, prompt))
        longest = max((len(os.path.commonprefix([text, other])) for other in self.prompts), default=0)
        self.prompts.append(text)
        return longest

    @contextlib.asynccontextmanager
    async def slot(self, connection):
        """One of those that compute, in the order of coming."""
        if 0 < self.settings.slots <= self.n_busy:
            turn = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            await asyncio.wait([turn, connection.gone], return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                self.waiting.remove(turn)
                raise Gone
        else:
            self.n_busy += 1
        try:
            yield
        finally:
            if self.waiting:
                self.waiting.popleft().set_result(None)  # the slot is the next one's
            else:
                self.n_busy -= 1

    def fault_for(self, is_completion):
        if self.settings.fault_on == "completions" and not is_completion:
            return None
        if self.settings.fault:
            return self.settings.fault
        draw = self.random.random()
        for name, share in self.settings.mix.items():
            draw -= share
            if draw < 0:
                return name
        return None

    def proper_answer(self, connection, request, body, record):
        settings = self.settings
        if settings.key and request.headers.get("authorization") != f"Bearer {settings.key}":
            return Fixed(connection, 401, {"error": {"message": "invalid key", "type": "invalid_request_error"}})
        if body is None:
            return Fixed(connection, 400, {"error": {"message": "the body is no JSON object"}})
        try:
            if request.method != "POST" or request.path not in self.api.completions:
                return Fixed(connection, 200, self.api.info(request.method, request.path, body, settings))
            ask = self.api.ask(request.path, body, settings)
        except Refusal as refusal:
            return Fixed(connection, refusal.status, refusal.body, refusal.headers)
        if record:
            record["key"] = key_of(ask.prompt)[:KEY_MAX]
        return Completion(connection, self, ask, record or {"first": None, "n_sent": 0})

    async def answer(self, connection, request):
        body = object_in(request.body)
        # Who asks for no tokens wants to know whether he could.
        is_completion = request.path in self.api.completions and (body or {}).get("n_predict") != 0
        fault = self.fault_for(is_completion)
        self.requests[f"{request.method} {request.path}"] += 1
        self.last.append(request)
        record = None
        if is_completion:
            record = {"path": request.path, "began": request.at, "first": None, "ended": None, "closed_at": None,
                      "n_sent": 0, "fault": fault, "key": None, "on_connection": connection.n_requests}
            self.completions.append(record)
        self.n_under_way += 1
        self.max_under_way = max(self.max_under_way, self.n_under_way)
        try:
            answer = self.proper_answer(connection, request, body, record)
            if fault:
                self.faults[fault] += 1
                await model_faults.FAULTS[fault](self, connection, request, answer)
            else:
                await answer.give()
        finally:
            self.n_under_way -= 1
            if record:
                record["ended"], record["closed_at"] = time.monotonic(), connection.closed_at

    # --- Control

    async def control(self, connection, request):
        status, body = 200, {}
        try:
            if (request.method, request.path) == ("GET", "/state"):
                body = self.state()
            elif (request.method, request.path) == ("POST", "/set"):
                await self.set(json.loads(request.body))
            elif (request.method, request.path) == ("POST", "/reset"):
                self.reset()
            else:
                status, body = 404, {"error": "no such path"}
        except (ValueError, OSError) as error:
            status, body = 400, {"error": str(error)}
        await Fixed(connection, status, body).give()

    async def listen_control(self, port):
        loop = asyncio.get_running_loop()
        nobody = ControlLedger()
        listener = await loop.create_server(lambda: Connection(nobody, self.control), "127.0.0.1", port)
        return listener.sockets[0].getsockname()[1]


class ControlLedger:
    """Connections of the control port are not counted."""

    def connection_made(self, connection):
        pass

    def connection_lost(self, connection):
        pass


def tls_context(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class Handle:
    """What both kinds of server have: a context manager with .port, .url, set, reset, state, stop."""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    @property
    def completions(self):
        return self.state()["completions"]

    @property
    def last(self):
        """The last requests with headers and bodies, the newest one last."""
        return self.state()["last"]

    def n_completions(self):
        return len(self.completions)

    def wait_until(self, is_so, timeout=20.0):
        """Until is_so(state); returns the state."""
        deadline = time.monotonic() + timeout
        while not is_so(state := self.state()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not in time: { {k: v for k, v in state.items() if k != 'last'} }")
            time.sleep(0.001)
        return state


class ModelServer(Handle):
    """A server on a thread of this process. tls: (certificate file, key file)."""

    def __init__(self, tls=None, port=0, **settings):
        self.scheme = "https" if tls else "http"
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # TLS handshakes that fail are a matter of course
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.server = self._do(self._make(tls, port, settings))

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    @staticmethod
    async def _make(tls, port, settings):
        server = Server(Settings(), tls_context(*tls) if tls else None)
        server.port = port
        await server.listen()  # even who refuses from the beginning has a port to refuse at
        await server.set(settings)
        return server

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    @property
    def port(self):
        return self.server.port

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def set(self, **values):
        self._do(self.server.set(values))

    def state(self):
        async def read():
            return self.server.state()
        return self._do(read())

    def reset(self):
        async def reset():
            self.server.reset()
        self._do(reset())

    def stop(self):
        if not self.thread.is_alive():
            return
        self._do(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()

    async def _end(self):
        if self.server.listener:
            self.server.listener.close()
        for connection in list(self.server.connections):
            connection.reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class ModelServerProcess(Handle):
    """A server in a process of its own, which ends with this one."""

    def __init__(self, tls=None, port=0, **settings):
        command = [sys.executable, "-B", str(pathlib.Path(__file__).resolve()), "--port", str(port), "--set",
                   json.dumps(settings), *(("--tls", *map(str, tls)) if tls else ())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the model server ended with {self.process.wait()}")
        told = json.loads(line)
        self.pid, self.port, self.control_port, self.url = self.process.pid, told["port"], told["control"], told["url"]

    def _control(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def set(self, **values):
        self._control("POST", "/set", values)

    def state(self):
        return self._control("GET", "/state")

    def reset(self):
        self._control("POST", "/reset", {})

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(30)
        self.process.stdout.close()

    def kill(self):
        """As a machine that loses power, but for the kernel's farewell."""
        self.process.kill()
        self.process.wait(30)
        self.process.stdin.close()
        self.process.stdout.close()


async def serve(args):
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    values = json.loads(args.set)
    if args.api:
        values["api"] = args.api
    server = Server(Settings(), tls_context(*args.tls) if args.tls else None)
    server.port = args.port
    await server.listen()
    await server.set(values)
    control = await server.listen_control(args.control)
    scheme = "https" if args.tls else "http"
    url = f"{scheme}://127.0.0.1:{server.port}"
    print(json.dumps({"port": server.port, "control": control, "url": url}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


def main():
    parser = argparse.ArgumentParser(description="A model server for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control", type=int, default=0, help="port of GET /state, POST /set, POST /reset")
    parser.add_argument("--api", choices=sorted(APIS))
    parser.add_argument("--set", default="{}", metavar="JSON", help="settings: see the class Settings")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    args = parser.parse_args()
    asyncio.run(serve(args))
    os._exit(0)  # connections that hang to order hold nobody up


if __name__ == "__main__":
    main()

"""Two ways in which an editor asks for completions while somebody types, for bench/typing.

PlainClient asks the server after every key and keeps nothing: what is remembered, the server remembers. LlamaVimClient
is the plugin llama.vim: a cache of 250 answers, looked up by hashes of the window, for the text as it is and as it was up
to 128 characters ago; one request at a time, others wait 100 ms for it; what follows a shown suggestion is asked for
ahead.

A key's wait ends when the client knows what to show for the text as it is then: at once from its cache, or with the
answer to this key or, where none came before the next one, to a later key. A connection per request, as curl makes them,
and none is given up. Time spent in preparing a request is not counted, on neither side."""

import asyncio
import collections
import hashlib
import json
import math
import re
import socket
import time

from typing_user import indent_of

MAX_LINE_SUFFIX = 8  # llama.vim asks only with at most this much behind the cursor
CACHE_ENTRIES = 250
CACHE_SHIFTS = 3  # an answer also counts for windows that lack the first lines
LOOK_BACK = 128  # characters
RETRY_SECONDS = 0.1
FIRST_MS, AHEAD_MS = 250, 1000  # t_max_predict_ms of a key's request, of one ahead
WARM_UP_SECONDS = 120
DRAIN_SECONDS = 60  # patience with the last answer

READ_BYTES = 1 << 16
CONTENT = re.compile(rb"\r\ncontent-length: *(\d+)\r\n(?:.*\r\n)*?\r\n", re.I)  # in a head that is whole

# Of an answer llama.vim asks for these; ours adds what the daemon tells about its cache.
RESPONSE_FIELDS = ["content", *(f"timings/{name}" for name in (
    "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second", "predicted_n", "predicted_ms",
    "predicted_per_token_ms", "predicted_per_second")), "truncated", "tokens_cached"]
CACHE_FIELDS = ["inline/cache", "inline/cache_miss", "inline/quiet", "inline/stop"]


class Key:
    """What was typed, when, and what became of it."""

    def __init__(self, at, is_as_suggested):
        self.at, self.is_as_suggested = at, is_as_suggested
        self.wait_ms = None
        self.next_ms = math.inf  # when the next key came
        self.is_before_next = False  # the wait ended before the next key
        self.level = None  # of the server's cache, or "client"; "": computed; None: no answer of its own
        self.miss = self.quiet = self.stop = ""
        self.n_hashes, self.lookup_ms = 0, 0.0  # of windows, to find it in the client's cache


def ms_since(start):
    return (time.perf_counter() - start) * 1e3


async def exchange(target, body):
    """(status, content). As curl does, ends with the content, without waiting for the connection's end."""
    loop = asyncio.get_running_loop()
    head = (f"POST {target.route} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    answer, end = b"", None
    with socket.socket() as s:
        s.setblocking(False)
        await loop.sock_connect(s, (target.host, target.port))
        await loop.sock_sendall(s, head.encode() + body)
        while end is None or len(answer) < end:
            piece = await loop.sock_recv(s, READ_BYTES)
            if not piece:
                raise ConnectionError(f"no answer but {answer[:80]!r}")
            answer += piece
            found = end is None and CONTENT.search(answer)
            if found:
                end = answer.index(b"\r\n\r\n") + 4 + int(found[1])
    return int(answer.split(None, 2)[1]), answer[answer.index(b"\r\n\r\n") + 4 :]


class Client:
    """What both have in common: the keys typed so far and the suggestion that is shown."""

    def __init__(self, editor, target, fields):
        self.editor, self.target, self.fields = editor, target, fields
        self.keys, self.unasked, self.errors = [], 0, []
        self.shown = ""
        self.is_known = False  # what to show for the text as it is
        self.n_warm_up = 0  # keys at the beginning that are not counted
        self.tasks = set()
        self.timer = None  # of a request that is to be made later

    def begin_key(self, is_as_suggested):
        """False where nothing is asked at all."""
        if self.keys:
            self.keys[-1].is_before_next = self.is_known
            self.keys[-1].next_ms = ms_since(self.keys[-1].at)
        self.shown, self.is_known = "", False
        if len(self.editor.tail) > MAX_LINE_SUFFIX:
            self.unasked += 1
            return False
        self.keys.append(Key(time.perf_counter(), is_as_suggested))
        return True

    def know(self, text):
        """This is shown from now on; all keys that waited for it do no more."""
        self.shown, self.is_known = text, True
        for key in reversed(self.keys):
            if key.wait_ms is not None:
                break
            key.wait_ms = ms_since(key.at)

    def displayed(self, content):
        """An answer as llama.vim shows it: without empty lines at its end, and, on a line that is blank, without the
        indentation that is there already."""
        content = content.rstrip("\n")
        if not self.editor.lines[self.editor.y].strip():
            content = content[min(len(indent_of(content)), self.editor.x) :]
        return content

    def body(self, window, predict_ms):
        prefix, head, suffix = window
        line = self.editor.lines[self.editor.y]
        body = {
            "id_slot": 0, "input_prefix": prefix, "input_suffix": suffix, "input_extra": [], "prompt": head,
            "stop": [], "n_indent": len(indent_of(line)) if line.strip() else 0, "stream": False, "cache_prompt": True,
            "t_max_predict_ms": predict_ms, "response_fields": RESPONSE_FIELDS + CACHE_FIELDS, "model": "",
            **self.fields,
        }
        if self.target.route != "/infill":  # a route without a suffix, for models that know no fill-in-the-middle
            body["prompt"] = body.pop("input_prefix") + head
            del body["input_suffix"], body["input_extra"]
        return json.dumps(body).encode()

    async def ask(self, body):
        """The answer, or {} if there was none."""
        try:
            status, content = await exchange(self.target, body)
            answer = json.loads(content)
            if status == 200:
                return answer
            self.errors.append(f"status {status}: {str(answer)[:200]}")
        except (OSError, ValueError) as error:
            self.errors.append(f"{type(error).__name__}: {error}")
        return {}

    def start(self, coroutine):
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def warm_up(self):
        """The first place's prompt is computed from nothing: for as long as that takes, and it is not counted. The
        milliseconds that it took."""
        start = time.perf_counter()
        while not self.is_known:
            if not self.tasks:
                self.typed(False)
            await asyncio.sleep(0.01)
            if self.errors or time.perf_counter() - start > WARM_UP_SECONDS:
                raise RuntimeError("no answer to the first request" + "".join(f": {e}" for e in self.errors[:1]))
        self.n_warm_up = len(self.keys)
        return ms_since(start)

    async def drain(self):
        """Until the last key has its answer."""
        deadline = time.perf_counter() + DRAIN_SECONDS
        while not self.is_known and (self.tasks or self.timer) and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        self.stop_timer()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def stop_timer(self):
        if self.timer:
            self.timer.cancel()
            self.timer = None


class PlainClient(Client):
    def typed(self, is_as_suggested):
        if self.begin_key(is_as_suggested):
            key = self.keys[-1]
            body = self.body(self.editor.window(), FIRST_MS)
            key.at = time.perf_counter()
            self.start(self.ask_for(key, body))

    async def ask_for(self, key, body):
        answer = await self.ask(body)
        # Without content, as when a newer request superseded this one, nothing is known.
        if "content" not in answer:
            return
        key.level, key.miss = answer.get("inline/cache", ""), answer.get("inline/cache_miss", "")
        key.quiet, key.stop = answer.get("inline/quiet", ""), answer.get("inline/stop", "")
        if key is self.keys[-1] and not self.is_known:
            content = self.displayed(answer["content"])
            self.know(content if content.strip() else "")


class AnswerCache:
    """llama.vim's: the least recently used of 250 goes. Lookups are counted and timed for the key they are made for."""

    def __init__(self):
        self.answers = collections.OrderedDict()
        self.n_hashes = 0

    def hash(self, text, suffix):
        self.n_hashes += 1
        return hashlib.sha256((text + "\u00ce" + suffix).encode("utf-8", "replace")).digest()

    def insert(self, key, content):
        if len(self.answers) >= CACHE_ENTRIES:
            self.answers.popitem(last=False)
        self.answers[key] = content
        self.answers.move_to_end(key)

    def get(self, key):
        content = self.answers.get(key)
        if content is not None:
            self.answers.move_to_end(key)
        return content

    def suggestion(self, window):
        """For a text, also where it was answered some characters ago and those were typed since; else None."""
        prefix, head, suffix = window
        content = self.get(self.hash(prefix + head, suffix))
        if content is not None:
            return content
        text = prefix + head
        found = None
        n_best = 0
        for n in range(1, min(LOOK_BACK, len(text)) + 1):
            content = self.get(self.hash(text[:-n], suffix))
            if content is None or not content.startswith(text[-n:]) or len(content) == n:
                continue
            # It means to choose the longest, but does not note how long the first one is.
            if found is None:
                found = content[n:]
            elif len(content) - n > n_best:
                found, n_best = content[n:], len(content) - n
        return found


class LlamaVimClient(Client):
    """The plugin's rules for hiding what repeats the lines below are left out, and its other files, of which there are
    none here."""

    def __init__(self, *args):
        super().__init__(*args)
        self.cache = AnswerCache()
        self.is_asking = False
        self.has_hint = False  # there is something on the screen

    def typed(self, is_as_suggested):
        self.has_hint = False
        if self.begin_key(is_as_suggested):
            self.show(is_at_once=True)
            self.request(self.editor.window, FIRST_MS)

    def show(self, is_at_once):
        """What the cache has for the text as it is; then the request for what comes after that."""
        self.cache.n_hashes = 0
        start = time.perf_counter()
        content = self.cache.suggestion(self.editor.window())
        lookup_ms = ms_since(start)
        if content is None:
            return
        content = self.displayed(content)
        self.has_hint = bool(content.strip())
        self.know(content if self.has_hint else "")
        if is_at_once:
            key = self.keys[-1]
            key.level, key.wait_ms, key.n_hashes, key.lookup_ms = "client", 0.0, self.cache.n_hashes, lookup_ms
        if content:
            lines = content.split("\n")
            lines[-1] += self.editor.tail
            x, y = self.editor.x, self.editor.y
            self.request(lambda: self.editor.window(x, y, lines), AHEAD_MS)

    def request(self, window_of, predict_ms):
        """At once, or in a while if a request is under way; then instead of what waits already."""
        self.stop_timer()
        if self.is_asking:
            self.timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self.request, window_of, predict_ms)
            return
        window = window_of()
        prefix, head, suffix = window
        hashes = [self.cache.hash(prefix + head, suffix)]
        for _ in range(CACHE_SHIFTS):
            prefix = prefix.partition("\n")[2]
            if not prefix:
                break
            hashes.append(self.cache.hash(prefix + head, suffix))
        if any(self.cache.get(h) is not None for h in hashes):
            return
        self.is_asking = True
        self.start(self.ask_for(hashes, self.body(window, predict_ms)))

    async def ask_for(self, hashes, body):
        answer = await self.ask(body)
        if "content" in answer:
            for h in hashes:
                self.cache.insert(h, answer["content"])
            if not self.has_hint:
                self.show(is_at_once=False)
        self.is_asking = False

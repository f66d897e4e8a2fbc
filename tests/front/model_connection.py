"""HTTP as model servers of ours speak it: connections that know when their peer leaves, and answers in pieces, for
model_faults to spoil. Written by hand, since a server that lies about HTTP is what is wanted. HTTP/1.1 only."""

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import struct
import time

logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of writing to a peer that has gone

HEAD_MAX = 1 << 16


class Gone(Exception):
    """The peer has closed the connection."""


class Request:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.at = time.monotonic()

    def describe(self):
        return {"method": self.method, "path": self.path, "headers": self.headers, "at": self.at,
                "body": self.body.decode("utf-8", "replace")}


class Connection(asyncio.Protocol):
    """One connection: hands its requests to `answer`, one after the other. Knows at once when the peer leaves."""

    def __init__(self, server, answer):
        self.server, self.answer = server, answer
        self.buffer = bytearray()
        self.closed_at = None   # when the peer closed it, if it did so first
        self.n_requests = 0
        self.is_over = False    # by our own doing

    def connection_made(self, transport):
        self.transport = transport
        loop = asyncio.get_running_loop()
        self.came, self.gone, self.can_write = asyncio.Event(), loop.create_future(), asyncio.Event()
        self.can_write.set()
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connection_made(self)
        self.task = loop.create_task(self._serve())

    def data_received(self, data):
        self.buffer += data
        self.came.set()

    def _peer_left(self):
        if not self.is_over and self.closed_at is None:
            self.closed_at = time.monotonic()
        if not self.gone.done():
            self.gone.set_result(None)
        self.came.set()
        self.can_write.set()

    def eof_received(self):
        self._peer_left()

    def connection_lost(self, exc):
        self._peer_left()
        self.server.connection_lost(self)

    def pause_writing(self):
        self.can_write.clear()

    def resume_writing(self):
        self.can_write.set()

    async def _serve(self):
        try:
            while (request := await self._read_request()) and not self.is_over:
                self.n_requests += 1
                await self.answer(self, request)
        except (Gone, ConnectionError):
            pass
        finally:
            self.close()

    async def _wait_bytes(self, is_enough):
        while not is_enough():
            if self.gone.done():
                raise Gone
            self.came.clear()
            await self.came.wait()

    async def _read_request(self):
        await self._wait_bytes(lambda: b"\r\n\r\n" in self.buffer or len(self.buffer) > HEAD_MAX)
        head, found, _ = bytes(self.buffer).partition(b"\r\n\r\n")
        if not found:
            return None
        del self.buffer[: len(head) + 4]
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, *_ = [*first.split(" "), "", ""]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await self._wait_bytes(lambda: len(self.buffer) >= length)
        body = bytes(self.buffer[:length])
        del self.buffer[:length]
        return Request(method, path.partition("?")[0], headers, body)

    async def sleep(self, seconds):
        """Raises Gone as soon as the peer has left."""
        if seconds > 0 and not self.gone.done():
            await asyncio.wait([self.gone], timeout=seconds)
        if self.gone.done():
            raise Gone

    async def until_gone(self):
        await self.gone
        raise Gone

    async def write(self, data):
        if self.gone.done() or self.transport.is_closing():
            raise Gone
        self.transport.write(data)
        if not self.can_write.is_set():
            await self.can_write.wait()

    def close(self):
        """In good order: what was written still goes out."""
        self.is_over = True
        self.transport.close()

    def reset(self):
        """The peer gets an RST. What was written goes out first, as far as the socket takes it."""
        self.is_over = True
        with contextlib.suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                                struct.pack("ii", 1, 0))
        self.transport.abort()


class Answer:
    """What a request should get, in pieces, for the faults to spoil."""

    def __init__(self, connection, status, content_type, headers=()):
        self.connection, self.status, self.content_type = connection, status, content_type
        self.headers = dict(headers)
        self.is_stream = False

    async def pieces(self):
        """The body, piece by piece, each when it is due."""
        raise NotImplementedError
        yield  # an asynchronous generator

    def head(self, length=None):
        """length: of the body; None: in chunks."""
        lines = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, 'Status')}",
                 f"Content-Type: {self.content_type}", *(f"{k}: {v}" for k, v in self.headers.items()),
                 "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}", "", ""]
        return "\r\n".join(lines).encode("latin-1")

    async def begin(self, length=None):
        self.is_chunked = length is None
        await self.connection.write(self.head(length))

    async def send(self, piece):
        await self.connection.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.is_chunked else piece)

    async def finish(self):
        if self.is_chunked:
            await self.connection.write(b"0\r\n\r\n")

    async def whole(self):
        """All of the body at once."""
        return b"".join([piece async for piece in self.pieces()])

    async def give(self):
        """As it should be."""
        if not self.is_stream:
            body = await self.whole()
            await self.begin(len(body))
            return await self.send(body)
        await self.begin()
        async for piece in self.pieces():
            await self.send(piece)
        return await self.finish()


class Fixed(Answer):
    def __init__(self, connection, status, body, headers=(), content_type="application/json"):
        super().__init__(connection, status, content_type, headers)
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def pieces(self):
        yield self.body

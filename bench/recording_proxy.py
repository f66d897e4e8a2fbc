"""A TCP proxy on the loopback interface that remembers what clients sent: for looking at the requests of a program
whose server is not ours. It forwards bytes as they come and hangs up when one side does, so that neither notices."""

import json
import re
import socket
import threading

READ_BYTES = 1 << 16
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


class Recorder:
    """The requests in the bytes of one connection, as far as they came whole."""

    def __init__(self):
        self.bytes = b""

    def feed(self, data):
        """Yields (path, body) for each that is now complete; the body is None where there is none."""
        self.bytes += data
        while b"\r\n\r\n" in self.bytes:
            head, _, rest = self.bytes.partition(b"\r\n\r\n")
            length = LENGTH.search(head)
            n = int(length[1]) if length else 0
            if len(rest) < n:
                return
            body, self.bytes = rest[:n], rest[n:]
            yield head.split()[1].decode(), json.loads(body) if body else None


class RecordingProxy:
    """For the length of a `with` block; .port is where it listens."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.lock = threading.Lock()
        self.requests = []  # (path, body) of POST requests

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # Unlike closing, this wakes the thread that accepts.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                client.close()
                continue
            threading.Thread(target=self.join, args=(client, server), daemon=True).start()

    def join(self, client, server):
        """Until both directions have ended."""
        with client, server:
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self.pump, args=(server, client, None), daemon=True)
            back.start()
            self.pump(client, server, Recorder())
            back.join()

    def pump(self, source, target, recorder):
        try:
            while data := source.recv(READ_BYTES):
                if recorder:
                    self.record(recorder, data)
                target.sendall(data)
        except OSError:
            pass
        for s in (source, target):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def record(self, recorder, data):
        posts = [(path, body) for path, body in recorder.feed(data) if body is not None]
        with self.lock:
            self.requests += posts

    def take(self):
        """What was sent since the last call."""
        with self.lock:
            taken, self.requests = self.requests, []
        return taken

"""Servers of other projects that a daemon can have for a model: started on a free port, on this machine only.

None of them is ours to ship. They serve the tiny models of the fixtures, made slow where a test has to meet them in the
middle of an answer."""

import http.client
import json
import pathlib
import socket
import subprocess
import time

START_SECONDS = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def stream(connection, body, headers=None):
    """A stream of llama-server's API of which the first text has come: what is to be closed."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    connection.request("POST", "/completion", json.dumps({**body, "stream": True}), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise AssertionError(f"{response.status}: {response.read()}")
    while b'"content":' not in response.readline():
        pass
    return response, connection


class ModelServer:
    """{port} in the command stands for the server's; it is ready when a GET of `path` says 200. `key`: what it was told
    to ask for."""

    def __init__(self, command, path, log, env, key=""):
        self.port, self.path = free_port(), path
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = pathlib.Path(log)
        with self.log.open("wb") as out:
            self.process = subprocess.Popen([str(word).replace("{port}", str(self.port)) for word in command], env=env,
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def wait_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.get(self.path)[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)

    def request(self, method, path, body=None):
        """(status, JSON)"""
        connection = self.connection()
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body):
        status, answer = self.request("POST", path, body)
        if status != 200:
            raise AssertionError(f"{path}: {status}: {answer}")
        return answer

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

"""Stands in for llama.cpp's programs in tests of bench/compare: llama.py llama-server|llama-bench ARGUMENTS.

The server answers /infill with three tokens, 20 ms before the first and 20 ms for the others, as a stream if asked. The
bench computes 50 tokens a second."""

import http.server
import json
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/infill" or not {"input_prefix", "input_suffix", "n_predict"} <= set(request):
            self.send_error(400)
            return
        if not request.get("stream"):
            return self.answer_whole()
        self.send_response(200)
        self.end_headers()
        time.sleep(0.02)
        for text in "abc":
            self.event({"content": text, "stop": False})
        time.sleep(0.02)
        timings = {"prompt_n": 7, "cache_n": 100, "prompt_ms": 20, "predicted_n": 3, "predicted_ms": 20}
        self.event({"content": "", "stop": True, "timings": timings})

    def answer_whole(self):
        content = json.dumps({"content": "abc"}).encode()
        time.sleep(0.04)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def event(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()


def option(name):
    return sys.argv[sys.argv.index(name) + 1]


if "--version" in sys.argv:
    print("version: stand-in")
elif sys.argv[1] == "llama-server":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(option("--port"))), Handler).serve_forever()
else:
    n = int(option("-p")) + int(option("-n"))
    print(json.dumps([{"avg_ts": 50, "samples_ns": [n * 20_000_000] * int(option("-r"))}]))

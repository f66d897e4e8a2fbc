"""A download server on the loopback interface that misbehaves to order."""

import hashlib
import http.server
import threading
import time


class Files:
    """What the server serves and how; tests change it while it runs."""

    def __init__(self, body):
        self.body = body
        self.etag = None          # default: the body's SHA-256, as model hubs have it
        self.send_etag = True
        self.cut_after = None     # bytes of a body after which the connection is closed ...
        self.cuts_left = 0        # ... this many times
        self.delay = 0.0          # seconds between pieces of 64 KiB
        self.ignore_range = False
        self.redirect = None      # where requests below /redirect go
        self.linked_etag = None   # sent with the redirect
        self.status = None        # answer everything with this status
        self.requests = []        # (path, Range header or None)

    def current_etag(self):
        return self.etag or '"%s"' % hashlib.sha256(self.body).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        files = self.server.files
        files.requests.append((self.path, self.headers.get("Range")))
        if files.status:
            return self.answer(files.status, b"an error page")
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", files.redirect)
            if files.linked_etag:
                self.send_header("X-Linked-ETag", files.linked_etag)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if "missing" in self.path:
            return self.answer(404, b"not found")
        return self.send_file(files)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, files):
        body, first = files.body, 0
        wanted = self.headers.get("Range")
        if wanted and not files.ignore_range:
            first = int(wanted.removeprefix("bytes=").split("-")[0])
            if first >= len(body):
                return self.answer(416, b"")
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if files.send_etag:
            self.send_header("ETag", files.current_etag())
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        sent = 0
        while first + sent < len(body):
            piece = body[first + sent : first + sent + 65536]
            if files.cut_after is not None and files.cuts_left > 0 and sent + len(piece) > files.cut_after:
                self.wfile.write(piece[: max(0, files.cut_after - sent)])
                self.wfile.flush()
                files.cuts_left -= 1
                self.close_connection = True
                self.connection.close()
                return None
            try:
                self.wfile.write(piece)
            except OSError:
                self.close_connection = True
                return None
            sent += len(piece)
            if files.delay:
                time.sleep(files.delay)
        return None


class Server:
    """with Server(body) as s: s.url, s.files"""

    def __init__(self, body):
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.httpd.handle_error = lambda *args: None
        self.files = self.httpd.files = Files(body)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()

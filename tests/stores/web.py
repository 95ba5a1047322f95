"""A web server of a folder: ETags, ranges, redirects, PUT and DELETE, and what may be switched on for a test."""

import base64
import hashlib
import os
import re
import secrets
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from stores.keeper import Disk


class Handler(BaseHTTPRequestHandler):
    """Paths that begin with ``/to/N/`` lead, by status N, to the rest; ``/chunked/`` has no length,
    ``/bare/`` no tag."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        if self.server.without_head:
            self._say(405)
        else:
            self._answer(body=False)

    def do_PUT(self):
        there = self._place()
        length = int(self.headers["Content-Length"])
        if there is None:
            self.close_connection = True
        elif self.server.read_only:
            self._say(405)
            self.close_connection = True
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            new = self.server.incoming / secrets.token_hex(8)
            with open(new, "wb") as file:
                while left := length - file.tell():
                    piece = self.rfile.read(min(left, 1 << 16))
                    if not piece:
                        new.unlink()
                        self.close_connection = True
                        return
                    file.write(piece)
            os.replace(new, there)
            self._say(201)

    def do_DELETE(self):
        there = self._place()
        if there is not None:
            self._say(204 if there.exists() else 404)
            there.unlink(missing_ok=True)

    def _place(self):
        """Return the path that is asked for, None where that is answered already."""
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        path = urlsplit(self.path).path
        if found := re.fullmatch(r"/to/(\d+)(/.*)", path):
            self._say(int(found[1]), Location=self.server.leads_to + found[2])
            return None
        if self.server.user is not None:
            wanted = base64.b64encode(self.server.user.encode()).decode()
            if self.headers.get("Authorization") != f"Basic {wanted}":
                self._say(401, **{"WWW-Authenticate": 'Basic realm="it"'})
                return None
        if any(path.startswith(one) for one in self.server.forbidden):
            self._say(403)
            return None
        for name in ("chunked", "bare"):
            setattr(self, name, path.startswith(f"/{name}/"))
            path = path.removeprefix(f"/{name}") if getattr(self, name) else path
        return self.server.folder / unquote(path).lstrip("/")

    def _answer(self, body):
        there = self._place()
        if there is None:
            return
        if not there.is_file():
            self._say(404)
            return
        data = there.read_bytes()
        digest = hashlib.md5(data)
        tag = f'"{there.stat().st_mtime_ns}-{len(data)}"'
        headers = {} if self.bare else {"ETag": tag, "Accept-Ranges": "bytes"}
        if self.server.has_checksums:
            headers["Content-MD5"] = self.server.md5 or base64.b64encode(digest.digest()).decode()
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status = 200
        if part and not self.bare and self.headers.get("If-Range", tag) == tag:
            begin, end = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
            headers.pop("Content-MD5", None)
            if begin >= len(data):
                self._say(416, **{"Content-Range": f"bytes */{len(data)}"})
                return
            status, headers["Content-Range"] = 206, f"bytes {begin}-{end}/{len(data)}"
            data = data[begin : end + 1]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        if not self.chunked:
            self.wfile.write(data)
            return
        for begin in range(0, len(data), 100_000):
            piece = data[begin : begin + 100_000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _say(self, status, **headers):
        text = b"" if status in (204, 304) else b"<html>what a server says to people</html>"
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **headers}.items():
            if status != 204 or name != "Content-Length":
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    """Serves a folder at ``url``; ``requests`` are the (method, path, headers) that came."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.incoming = Path(folder) / "kept", Path(folder) / "incoming"
        self.folder.mkdir()
        self.incoming.mkdir()
        self.requests, self.forbidden = [], []
        self.user, self.md5 = None, None
        self.without_head = self.read_only = False
        self.has_checksums = True
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.leads_to = self.url

    def handle_error(self, *_):
        """Let a client go when it likes."""


@contextmanager
def running(folder):
    """Serve an empty folder, which is made in ``folder``."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class KEEPER(Disk):
    folders = links = modes = empty_folders = False

    def __init__(self, server, name):
        super().__init__(server.folder / name, f"{server.url}/{quote(name)}")
        self._server = server

    def at(self, path):
        return f"{self.url}/{quote(path)}"

    @contextmanager
    def refused(self, path):
        self._server.forbidden.append(urlsplit(self.at(path)).path)
        try:
            yield self.at(path)
        finally:
            self._server.forbidden.pop()


@contextmanager
def serve(folder):
    with running(folder) as server:
        yield lambda name: KEEPER(server, name)
    shutil.rmtree(folder)

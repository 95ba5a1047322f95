"""An index of packages on a loopback port, which wants a user and a password."""

import base64
import html
import http.server
import re
import threading
from collections import defaultdict
from pathlib import Path

USER, PASSWORD = "ada", "sekret-word"


class Index:
    """Serves the wheels of folders; ``asked`` are the paths that were asked for by who is let in."""

    def __init__(self):
        self.wheels = {}
        self.asked = []
        self.refused = 0
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                index.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, *paths):
        for path in paths:
            self.wheels[Path(path).name] = Path(path)

    @property
    def url(self):
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.server.server_address[1]}/simple"

    def answer(self, request):
        given = request.headers.get("Authorization", "")
        if given != "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode():
            self.refused += 1
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="packages"')
            request.end_headers()
            return
        self.asked.append(request.path)
        body = self.page(request.path)
        request.send_response(200 if body is not None else 404)
        request.send_header("Content-Type", "text/html" if "/simple/" in request.path else "application/octet-stream")
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body or b"")

    def page(self, path):
        name = path.strip("/").rpartition("/")[2]
        if path.startswith("/files/"):
            return self.wheels[name].read_bytes() if name in self.wheels else None
        by_name = defaultdict(list)
        for wheel in self.wheels:
            by_name[re.sub("[-_.]+", "-", wheel.partition("-")[0]).lower()].append(wheel)
        links = "".join(f'<a href="/files/{html.escape(one)}">{one}</a>' for one in by_name.get(name, ()))
        return f"<html><body>{links}</body></html>".encode() if links else None

    def close(self):
        self.server.shutdown()
        self.server.server_close()

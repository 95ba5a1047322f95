"""A proxy in front of a real server, which lets a test break what passes."""

import http.client
import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RESET, HANG = "reset", "hang"


class Faults:
    """What is to go wrong.

    ``plan`` is called with method and path of each request. It returns None, which lets it pass; a status, or a status
    and a body, which is answered; RESET; HANG, until the test ends; or ("cut", n), which sends n bytes of the answer's
    body. ``change`` may change the headers of a request, a dictionary; ``rewrite`` returns what is sent instead of an
    answer's status, headers and body. ``seen`` are all requests as (method, path, headers).
    """

    def __init__(self):
        self.plan = lambda method, path: None
        self.change = lambda headers: None
        self.rewrite = lambda method, *answer: answer
        self.seen = []
        self.url = ""
        self.over = threading.Event()

    def once(self, fault, method, count=1):
        """Let the first ``count`` requests of a method meet a fault."""
        left = [fault] * count
        lock = threading.Lock()

        def plan(asked, path):
            with lock:
                return left.pop() if asked == method and left else None

        self.plan = plan


@contextmanager
def before(endpoint):
    """Yield the `Faults` of a proxy before ``endpoint``, an http URL without a path."""
    host = endpoint.removeprefix("http://")
    faults = Faults()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            wanted = {name.lower(): value for name, value in self.headers.items()}
            faults.seen.append((self.command, self.path, dict(wanted)))
            faults.change(wanted)
            fault = faults.plan(self.command, self.path)
            if fault == RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            if fault == HANG:
                faults.over.wait(60)
                self.close_connection = True
                return
            if isinstance(fault, int):
                fault = (fault, b"")
            if fault is not None and fault[0] != "cut":
                self.answer(fault[0], [("Content-Length", str(len(fault[1])))], fault[1])
                return
            far = http.client.HTTPConnection(host, timeout=60)
            far.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in wanted.items():
                if name != "expect":
                    far.putheader(name, value)
            far.endheaders(body)
            answer = far.getresponse()
            data = answer.read()
            headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding")]
            if not any(name.lower() == "content-length" for name, _ in headers):
                headers.append(("Content-Length", str(len(data))))
            far.close()
            if fault is not None:
                data, self.close_connection = data[: fault[1]], True
            self.answer(*faults.rewrite(self.command, answer.status, headers, data))

        def answer(self, status, headers, data):
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

        def handle_expect_100(self):
            self.send_response_only(100)
            self.end_headers()
            return True

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, address):
            """A client that is gone is none."""

    server = Server(("127.0.0.1", 0), Handler)
    faults.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield faults
    finally:
        faults.over.set()
        server.shutdown()
        thread.join()
        server.server_close()

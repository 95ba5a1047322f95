"""What MLflow's page is for a test that has no time for it: it answers, and starts workers that are hard to end.

Run as the real one is: ``python -m mlflow server --host HOST --port PORT ...``. In its environment,
``STAND_IN_WORKERS`` is a file for the workers' ids, ``STAND_IN_SLOW`` the seconds before it listens.
"""

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

PLACES = ("/", "/health")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in PLACES else 404)
        self.end_headers()
        self.wfile.write(b"MLflow")

    def log_message(self, *_):
        pass


def stubborn_worker():
    """Start a process that has left its session and its parent, and does not hear SIGTERM."""
    if os.fork():
        return
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    with open(os.environ["STAND_IN_WORKERS"], "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)
    os._exit(0)


def main():
    for _ in range(2):
        stubborn_worker()
    time.sleep(float(os.environ.get("STAND_IN_SLOW", "0.2")))
    host, port = (sys.argv[sys.argv.index(option) + 1] for option in ("--host", "--port"))
    try:
        server = HTTPServer((host, int(port)), Handler)
    except OSError as error:
        sys.exit(f"ERROR:    [Errno {error.errno}] error while attempting to bind: address already in use")
    server.serve_forever()


if __name__ == "__main__":
    main()

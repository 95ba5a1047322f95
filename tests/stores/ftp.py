"""A server of FTP, which fsspec speaks by Python's own library."""

import sys
from contextlib import contextmanager
from pathlib import Path

from stores.keeper import Disk
from stores.server import started

SERVER = """
import pathlib, sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import ThreadedFTPServer

class Authorizer(DummyAuthorizer):
    def has_perm(self, username, perm, path=None):
        if perm in "el":  # a folder that may not be listed is for ftplib one that is not there
            return True
        forbidden = pathlib.Path(sys.argv[2]).read_text()
        return not (forbidden and path and str(path).startswith(forbidden)) and super().has_perm(username, perm, path)

FTPHandler.authorizer = Authorizer()
FTPHandler.authorizer.add_user("anna", "secret", sys.argv[1], perm="elradfmwMT")
server = ThreadedFTPServer(("127.0.0.1", 0), FTPHandler)
print("listens at", server.socket.getsockname()[1], flush=True)
server.serve_forever()
"""


class KEEPER(Disk):
    links = False
    modes = False

    def __init__(self, folder, url, forbidden):
        super().__init__(folder, url, {"username": "anna", "password": "secret"})
        self.forbidden = forbidden

    @contextmanager
    def refused(self, path):
        self.forbidden.write_text(str((self.path / path).parent))
        try:
            yield self.at(path)
        finally:
            self.forbidden.write_text("")


@contextmanager
def serve(folder):
    files, forbidden = Path(folder / "files"), folder / "forbidden"
    files.mkdir()
    forbidden.write_text("")
    # it is built on a module that Python warns of
    words = [sys.executable, "-W", "ignore", "-c", SERVER, str(files), str(forbidden)]
    with started(words, r"listens at (\d+)", folder / "log") as (port,):
        yield lambda name: KEEPER(files / name, f"ftp://127.0.0.1:{port}/{name}", forbidden)

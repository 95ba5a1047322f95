"""A server of WebDAV."""

import threading
from contextlib import contextmanager

from stores.keeper import Disk


class KEEPER(Disk):
    links = False
    modes = False
    refuses = False
    # webdav4 does not quote what it is asked for, takes a star for a pattern, and spaces off a listing's names;
    # wsgidav forgets what follows a semicolon when something is moved
    cannot = frozenset(
        {
            "*[x]{y}$HOME",
            "a+b&c=d;e",
            " first and last ",
            "#1",
            "#",
            "100%",
            "a%20b",
            "%2e%2e",
            "what?",
            "tab\tbed",
            "back\\slash",
        }
    )


@contextmanager
def serve(folder):
    from cheroot.wsgi import Server
    from wsgidav.wsgidav_app import WsgiDAVApp

    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(folder)},
            "simple_dc": {"user_mapping": {"*": True}},
            "logging": {"enable": False},
            "dir_browser": {"enable": False},
        }
    )
    server = Server(("127.0.0.1", 0), app)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    port = server.bind_addr[1]
    try:
        yield lambda name: KEEPER(folder / name, f"webdav://{name}", {"base_url": f"http://127.0.0.1:{port}/"})
    finally:
        server.stop()
        thread.join()

"""Ways to a keeper that lead through a proxy which does harm, and plain clients that know nothing of our stores."""

import re
import subprocess
import tempfile
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote

from pilotage.worker.data.base import open_store
from pilotage.worker.data.places import place_of
from stores import gs, over_ssh, s3, web
from stores.faults import HttpProxy, TcpProxy


class Way:
    """A keeper, the ``proxy`` before it, and ``open``, which gives a store and a place through that."""

    is_s3 = False

    def __init__(self, keeper, proxy, url, options, plain):
        self.keeper, self.proxy, self.options, self._url = keeper, proxy, options, url
        self.plain = plain
        self._stores = []

    def open(self, path, **options):
        place = self.place(path)
        self._stores.append(open_store(place, {"silence": 20, **self.options, **options}))
        return self._stores[-1], place

    def place(self, path):
        return place_of(f"{self._url}/{path}")

    def close(self):
        for store in self._stores:
            store.close()


def _get(url):
    """Return what a plain client gets of a web address, which is asked once."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.read()
    except (HTTPException, urllib.error.URLError) as error:
        raise OSError(str(error)) from error


@contextmanager
def of_web(folder, name):
    with web.running(folder) as server, HttpProxy(server.server_port) as proxy:
        keeper = web.KEEPER(server, name)
        url = f"{proxy.url}/{name}"
        yield Way(keeper, proxy, url, {}, lambda path: _get(f"{url}/{path}"))


@contextmanager
def of_s3(folder, name):
    with s3.serve(folder) as keeper_of:
        keeper = keeper_of(name)
        port = int(re.search(r":(\d+)", keeper.client.meta.endpoint_url)[1])
        with HttpProxy(port) as proxy:
            options = {**keeper.options, "endpoint_url": proxy.url}

            def plain(path):
                known = {"Bucket": keeper.bucket, "Key": f"{keeper.folder_name}/{path}"}
                url = keeper.client.generate_presigned_url("get_object", Params=known)
                return _get(url.replace(keeper.client.meta.endpoint_url, proxy.url))

            way = Way(keeper, proxy, keeper.url, options, plain)
            way.is_s3 = True
            yield way


@contextmanager
def of_gs(folder, name):
    with gs.serve(folder) as keeper_of:
        keeper = keeper_of(name)
        with HttpProxy(int(keeper.endpoint.rpartition(":")[2])) as proxy:
            objects = f"{proxy.url}/storage/v1/b/{keeper.bucket.name}/o"

            def plain(path):
                return _get(f"{objects}/{quote(f'{keeper.folder_name}/{path}', safe='')}?alt=media")

            way = Way(keeper, proxy, keeper.url, keeper.options, plain)
            keeper.environment = {"STORAGE_EMULATOR_HOST": proxy.url}
            yield way


@contextmanager
def of_ssh(folder, name):
    """Not in ``folder``, whose path is too long for some sockets."""
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(over_ssh.running(base / "sshd"))
        proxy = stack.enter_context(TcpProxy(server.port))
        config = base / "through"
        config.write_text(server.config.read_text().replace(f"Port {server.port}", f"Port {proxy.port}"))
        known = server.folder / "known_hosts"
        known.write_text(known.read_text() + known.read_text().replace(str(server.port), str(proxy.port)))
        keeper = over_ssh.KEEPER(base / name, f"ssh://far{base}/{name}")

        def plain(path):
            command = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "far", f"exec cat '{base}/{name}/{path}'"]
            try:
                done = subprocess.run(command, capture_output=True, timeout=4)
            except subprocess.TimeoutExpired as late:
                raise OSError("it hangs") from late
            if done.returncode:
                raise OSError(done.stderr.decode())
            return done.stdout

        way = Way(keeper, proxy, keeper.url, {"config": str(config)}, plain)
        yield way


WAYS = {"web": of_web, "s3": of_s3, "gs": of_gs, "over_ssh": of_ssh}
OF_HTTP = ("web", "s3", "gs")

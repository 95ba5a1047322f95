"""Objects of Google Cloud Storage, by Google's own client."""

from __future__ import annotations

import base64
import io
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import google_crc32c
import requests
import urllib3
from google.api_core.exceptions import GoogleAPICallError
from google.auth import exceptions as refusals
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption

from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError, UsageError
from pilotage.worker.data.base import FOLDER, Entry, Meter
from pilotage.worker.data.files import told
from pilotage.worker.data.objects import EXECUTABLE, executable, folder_of, listed
from pilotage.worker.data.pieces import PIECE, Pieces
from pilotage.worker.data.places import Place

FIELDS = "name,size,generation,crc32c,metadata"
PART = 16 << 20
"""Bytes that are sent at once."""
CONNECT = 20


class Bucket:
    """The `Store` of one bucket; folders and modes are as in S3.

    Parameters
    ----------
    place: its host is the bucket.
    options: ``endpoint_url``, ``project``, ``anonymous`` for public buckets, ``silence`` in seconds. Credentials are
        the application default ones, and STORAGE_EMULATOR_HOST another server.
    """

    keeps_links = False
    keeps_modes = True
    at_once = 16

    def __init__(self, place: Place, options: Mapping[str, Any]) -> None:
        self._name = place.host
        self._options = options
        silence = float(options.get("silence", 60))
        # every try is this layer's: `patiently` makes the next
        self._once: dict[str, Any] = {"timeout": (min(CONNECT, silence), silence), "retry": None}
        self._pieces = Pieces(8)
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def _bucket(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client.bucket(self._name)

    def _connect(self) -> Any:
        endpoint = self._options.get("endpoint_url")
        words: dict[str, Any] = {"client_options": {"api_endpoint": endpoint}} if endpoint else {}
        if self._options.get("anonymous"):
            words["credentials"] = AnonymousCredentials()
        client = storage.Client(project=self._options.get("project", "none"), **words)
        vars(client)["_bucket_metadata_cache"] = (
            None  # it asks for the bucket's own metadata, for traces that nobody makes
        )
        # by itself it keeps ten connections, and throws away what more threads have used
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=self.at_once + 8)
        for scheme in ("https://", "http://"):
            client._http.mount(scheme, adapter)
        return client

    def look(self, path: str) -> Entry:
        """See `Store.look`."""
        if path and not path.endswith("/"):
            try:
                with self._told(path):
                    blob = self._bucket.blob(path)
                    blob.reload(**self._once)
                return _entry(blob, "")
            except NotThereError:
                pass
        prefix = folder_of(path)
        with self._told(path):
            found = next(iter(self._bucket.list_blobs(prefix=prefix, max_results=1, **self._once)), None)
        if prefix and found is None:
            raise NotThereError("there is no such object or folder", where=self._url(path))
        return Entry("", FOLDER)

    def walk(self, path: str) -> Iterable[Entry]:
        """See `Store.walk`."""
        prefix = folder_of(path)
        fields = f"items({FIELDS}),nextPageToken"
        with self._told(path):
            for blob in self._bucket.list_blobs(prefix=prefix, fields=fields, **self._once):
                entry = listed(_entry(blob, blob.name[len(prefix) :]))
                if entry is not None:
                    yield entry

    def get(self, path: str, entry: Entry, target: str, meter: Meter) -> None:
        """See `Store.get`; its CRC-32C is compared while it comes."""
        digest = google_crc32c.Checksum()
        if entry.size > PIECE:
            self._pieces.download(
                entry.size, lambda start, stop: self._read(path, entry, start, stop), target, meter, digest
            )
        else:
            data = self._read(path, entry)
            with open(target, "xb", buffering=0) as file:
                file.write(data)
            meter.add(len(data))
            digest.update(data)
        if entry.crc32c and digest.digest().hex() != entry.crc32c:
            raise BrokenTransferError(
                f"its CRC-32C is {entry.crc32c}, and of what has come {digest.digest().hex()}", where=self._url(path)
            )

    def _read(self, path: str, entry: Entry, start: int | None = None, stop: int | None = None) -> bytes:
        """Return bytes of an object as they are kept, compressed or not, if it is still the one that was looked at."""
        part = {} if stop is None else {"start": start, "end": stop - 1}
        with self._told(path):
            blob = self._bucket.blob(path)
            data: bytes = blob.download_as_bytes(
                **part,
                if_generation_match=int(entry.tag) if entry.tag else None,
                raw_download=True,
                checksum=None,
                **self._once,
            )
        return data

    def put(self, source: str, path: str, entry: Entry, meter: Meter) -> None:
        """See `Store.put`; nothing is seen of a large one before its last part, and Google forgets what breaks off."""
        if not path or path.endswith("/"):
            raise UsageError("a file needs a name there", where=self._url(path))
        with told(source), open(source, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            with self._told(path):
                blob = self._bucket.blob(path, chunk_size=PART if size > PART else None)
                if entry.executable:
                    blob.metadata = EXECUTABLE
                words = {"content_type": "application/octet-stream", "checksum": "crc32c", **self._once}
                if size > PART:
                    blob.upload_from_file(_Counted(file, meter), size=size, **words)
                else:
                    blob.upload_from_string(file.read(size), **words)
                    meter.add(size)

    def make_folder(self, path: str) -> None:
        """See `Store.make_folder`."""
        if path:
            with self._told(path):
                self._bucket.blob(folder_of(path)).upload_from_string(b"", **self._once)

    def make_link(self, path: str, target: str) -> None:
        """Links are not kept."""
        raise DataError(f"a bucket keeps no links, such as one to {target}", where=self._url(path))

    def remove(self, path: str) -> None:
        """See `Store.remove`; a whole bucket is not."""
        if not path.strip("/"):
            raise UsageError("a whole bucket is not removed", where=self._url(path))
        with self._told(path):
            blobs = self._bucket.list_blobs(prefix=folder_of(path), fields="items(name),nextPageToken", **self._once)
            names = [blob.name for blob in blobs]
        if not path.endswith("/"):
            names.append(path)

        def one(number: int) -> None:
            try:
                with self._told(names[number]):
                    self._bucket.blob(names[number]).delete(**self._once)
            except NotThereError:
                pass

        self._pieces.each(len(names), one)

    def close(self) -> None:
        """See `Store.close`."""
        self._pieces.close()
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _url(self, path: str) -> str:
        return f"gs://{self._name}/{path}"

    def _who(self) -> str:
        if self._options.get("anonymous"):
            return "anonymous, as the option says"
        email = getattr(getattr(self._client, "_credentials", None), "service_account_email", None)
        if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            return f"{email or 'the account'} of GOOGLE_APPLICATION_CREDENTIALS"
        return f"{email or 'the user'} of the application default credentials"

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Turn what Google's client raises within into a DataError that names the URL."""
        where = self._url(path)
        try:
            yield
        except GoogleAPICallError as error:
            raise self._meant(error, where) from error
        except (refusals.DefaultCredentialsError, refusals.RefreshError) as error:
            raise DeniedError(
                f"there are no credentials that can be used: {error}",
                where=where,
                hint="gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS; "
                "of a public bucket: anonymous = true",
            ) from error
        except DataCorruption as error:
            raise BrokenTransferError("what has come is not what was sent", where=where) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, refusals.TransportError) as error:
            raise BrokenTransferError(f"the connection broke: {error}", where=where) from error

    def _meant(self, error: GoogleAPICallError, where: str) -> DataError:
        status = int(error.code or 0)
        words = _words(error) or f"status {status}"
        if status in (401, 403):
            return DeniedError(f"{words} (with {self._who()})", where=where)
        if status == 404:
            return NotThereError("there is no such object or bucket", where=where)
        if status == 412:
            return BrokenTransferError("it was replaced while it was read", where=where)
        if status == 416:
            return BrokenTransferError("it became shorter while it was read", where=where)
        if status in (408, 429) or status >= 500:
            return BrokenTransferError(words, where=where)
        return DataError(words, where=where)


class _Counted(io.RawIOBase):
    """A file that counts what is read of it, and is read once."""

    def __init__(self, file: io.FileIO, meter: Meter) -> None:
        self._file, self._meter = file, meter

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size) or b""
        self._meter.add(len(data))
        return data

    def tell(self) -> int:
        return self._file.tell()


def _words(error: GoogleAPICallError) -> str:
    """Return what the server says; not all that the error does, which may have an upload's address: that is a key."""
    try:
        said = error.response.json()["error"]
        return str(said["message"] if isinstance(said, dict) else said)
    except (AttributeError, ValueError, LookupError, TypeError):
        return ""


def _entry(blob: Any, path: str) -> Entry:
    crc32c = base64.b64decode(blob.crc32c).hex() if blob.crc32c else ""
    return Entry(
        path,
        size=int(blob.size or 0),
        tag=str(blob.generation or ""),
        executable=executable(blob.metadata or {}),
        crc32c=crc32c,
    )

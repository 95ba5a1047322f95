"""Objects of S3, and of all that speaks as it does."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import obstore
from obstore.exceptions import GenericError

from pilotage.errors import BrokenTransferError, DataError, NotThereError, UsageError
from pilotage.worker.data.aws import PART, Door, ExpiredError
from pilotage.worker.data.base import FOLDER, Entry, Meter
from pilotage.worker.data.files import told
from pilotage.worker.data.objects import EXECUTABLE, executable, folder_of, listed
from pilotage.worker.data.pieces import PIECE, Pieces
from pilotage.worker.data.places import Place

PARTS = 10_000
"""As many as an upload may have."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_T = TypeVar("_T")


class Bucket:
    """The `Store` of one bucket.

    A folder is where names begin with its own and a slash; an empty one is an object of no bytes of that name. Links
    are not kept; that a file may be executed is kept as metadata.

    Parameters
    ----------
    place: its host is the bucket.
    options: those of `Door`; ``checksums`` = false where a server's ETags look like an MD5 and are none.
    """

    keeps_links = False
    keeps_modes = True
    at_once = 16

    def __init__(self, place: Place, options: Mapping[str, Any]) -> None:
        self._pieces = Pieces(8)
        self._door = Door(place.host, options, self.at_once + 8)
        self._name = place.host
        self._compares = bool(options.get("checksums", True))
        self._odd_ranges = False
        """Whether the server sends ranges, but says 200 of them, which obstore does not take."""

    def _ask(self, path: str, work: Callable[[Door], _T]) -> _T:
        """Return what ``work`` returns, with new credentials where those there were have ended."""
        seen = None
        try:
            with self._door.told(path):
                seen = self._door.client
                return work(self._door)
        except ExpiredError:
            self._door.renew(seen)
        with self._door.told(path):
            return work(self._door)

    def look(self, path: str) -> Entry:
        """See `Store.look`."""
        if path and not path.endswith("/"):
            try:
                found = self._head(path)
            except NotThereError:
                pass
            else:
                tag = found.get("ETag", "").strip('"')
                return Entry("", size=found["ContentLength"], tag=tag, executable=executable(found["Metadata"]))
        folder = folder_of(path)
        found = self._ask(path, lambda door: door.client.list_objects_v2(Bucket=self._name, Prefix=folder, MaxKeys=1))
        if folder and not found.get("Contents"):
            raise NotThereError("there is no such object or folder", where=self._url(path))
        return Entry("", FOLDER)

    def _head(self, path: str) -> Mapping[str, Any]:
        def ask() -> Mapping[str, Any]:
            found: Mapping[str, Any] = self._ask(
                path, lambda door: door.client.head_object(Bucket=self._name, Key=path)
            )
            return found

        try:
            return ask()
        except (NotThereError, BrokenTransferError):
            raise
        except DataError:
            # the answer to HEAD has no words, which tell a lack of rights from keys that are wrong or have ended
            self._ask(path, lambda door: door.client.get_object(Bucket=self._name, Key=path, Range="bytes=0-0"))
        return ask()  # those that had ended are new now

    def walk(self, path: str) -> Iterable[Entry]:
        """See `Store.walk`."""
        folder = folder_of(path)
        for one in self._listed(folder):
            name = one["Key"][len(folder) :]
            entry = listed(Entry(name, size=one["Size"], tag=one.get("ETag", "").strip('"')))
            if entry is not None:
                yield entry

    def _listed(self, prefix: str) -> Iterable[Mapping[str, Any]]:
        more: dict[str, str] = {}
        while True:
            page = self._ask(
                prefix,
                lambda door, more=more: door.client.list_objects_v2(Bucket=self._name, Prefix=prefix, **more),  # type: ignore[misc]
            )
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def get(self, path: str, entry: Entry, target: str, meter: Meter) -> None:
        """See `Store.get`; the content is compared with the ETag, where that is an MD5, while it comes."""
        compares = self._compares and _MD5.fullmatch(entry.tag)
        digest = hashlib.md5(usedforsecurity=False) if compares else None
        metadata: Mapping[str, Any] = {}

        def read(start: int, stop: int) -> Any:
            nonlocal metadata
            data, found = self._read(path, entry, (start, stop) if entry.size > PIECE else None)
            if start == 0:
                metadata = found
            return data

        if entry.size > PIECE:
            self._pieces.download(entry.size, read, target, meter, digest)
        else:
            data = memoryview(read(0, entry.size))
            with open(target, "xb", buffering=0) as file:
                file.write(data)
            meter.add(len(data))
            if digest:
                digest.update(data)
        if digest and digest.hexdigest() != entry.tag:
            self._differs(path, entry, digest.hexdigest())
        if executable(metadata):
            os.chmod(target, os.stat(target).st_mode | 0o100)

    def _read(self, path: str, entry: Entry, part: tuple[int, int] | None) -> tuple[Any, Mapping[str, Any]]:
        """Return bytes and metadata of an object, which is to be the one that was looked at."""

        def work(door: Door) -> tuple[Any, Mapping[str, Any]]:
            fast = None if part and self._odd_ranges else door.fast(path)
            if fast is not None:
                options: dict[str, Any] = {"if_match": f'"{entry.tag}"'} if entry.tag else {}
                if part:
                    options["range"] = part
                try:
                    got = obstore.get(fast, path, options=options)  # type: ignore[arg-type]
                except GenericError as error:
                    if not part or "non-partial" not in str(error):
                        raise
                    self._odd_ranges = True
                else:
                    return got.bytes(), got.attributes
            words = {"IfMatch": f'"{entry.tag}"'} if entry.tag else {}
            if part:
                words["Range"] = f"bytes={part[0]}-{part[1] - 1}"
            answer = door.client.get_object(Bucket=self._name, Key=path, **words)
            if part and not answer.get("ContentRange", "").startswith(f"bytes {part[0]}-{part[1] - 1}/"):
                answer["Body"].close()
                raise DataError("the server sends no ranges of bytes", where=self._url(path))
            return answer["Body"].read(), answer["Metadata"]

        return self._ask(path, work)

    def _differs(self, path: str, entry: Entry, found: str) -> None:
        """Raise BrokenTransferError, unless the ETag only looks like an MD5, as those of encrypted objects do."""
        head = self._ask(path, lambda door: door.client.head_object(Bucket=self._name, Key=path))
        if "kms" in head.get("ServerSideEncryption", "") or head.get("SSECustomerAlgorithm"):
            self._compares = False  # the bucket's others are encrypted too, and each would be asked for
            return
        raise BrokenTransferError(
            f"its ETag is {entry.tag}, and the MD5 of what has come {found}",
            where=self._url(path),
            hint="where the server's ETags are not MD5s, set checksums = false for s3",
        )

    def put(self, source: str, path: str, entry: Entry, meter: Meter) -> None:
        """See `Store.put`."""
        if not path or path.endswith("/"):
            raise UsageError("a file needs a name there", where=self._url(path))
        metadata = EXECUTABLE if entry.executable else {}
        with told(source), open(source, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > PART:
                self._put_parts(file.fileno(), size, path, metadata, meter)
            else:
                self._put_whole(os.pread(file.fileno(), PART, 0), path, metadata)
                meter.add(size)

    def _put_whole(self, data: bytes, path: str, metadata: dict[str, str]) -> None:
        def work(door: Door) -> None:
            fast = door.fast(path, uploads=True)
            if fast is not None:
                obstore.put(fast, path, data, attributes=metadata or None, use_multipart=False)
            else:
                door.client.put_object(Bucket=self._name, Key=path, Body=data, Metadata=metadata)

        self._ask(path, work)

    def _put_parts(self, file: int, size: int, path: str, metadata: dict[str, str], meter: Meter) -> None:
        """Send a large file in parts, of which nothing is seen before the last; by botocore, as obstore leaves them."""
        words = {"Bucket": self._name, "Key": path}
        part = max(PART, -(-size // PARTS))
        upload = self._ask(path, lambda door: door.client.create_multipart_upload(**words, Metadata=metadata))
        words["UploadId"] = upload["UploadId"]

        def send(number: int) -> dict[str, Any]:
            data = os.pread(file, part, number * part)
            if len(data) != min(part, size - number * part):
                raise BrokenTransferError("it became shorter while it was read", where=self._url(path))
            sent = self._ask(path, lambda door: door.client.upload_part(**words, PartNumber=number + 1, Body=data))
            meter.add(len(data))
            return {"PartNumber": number + 1, "ETag": sent["ETag"]}

        try:
            parts = self._pieces.each(-(-size // part), send)
            self._ask(
                path, lambda door: door.client.complete_multipart_upload(**words, MultipartUpload={"Parts": parts})
            )
        except BaseException:
            try:
                self._ask(path, lambda door: door.client.abort_multipart_upload(**words))
            except DataError:
                pass  # what went wrong first is to be told
            raise

    def make_folder(self, path: str) -> None:
        """See `Store.make_folder`."""
        if folder := folder_of(path):
            self._ask(path, lambda door: door.client.put_object(Bucket=self._name, Key=folder, Body=b""))

    def make_link(self, path: str, target: str) -> None:
        """Links are not kept."""
        raise DataError(f"a bucket keeps no links, such as one to {target}", where=self._url(path))

    def remove(self, path: str) -> None:
        """See `Store.remove`; a whole bucket is not."""
        if not path.strip("/"):
            raise UsageError("a whole bucket is not removed", where=self._url(path))
        keys = [one["Key"] for one in self._listed(folder_of(path))]
        if not path.endswith("/"):
            keys.append(path)
        for begin in range(0, len(keys), 1000):
            self._remove_some(path, keys[begin : begin + 1000])

    def _remove_some(self, path: str, keys: list[str]) -> None:
        if len(keys) == 1:
            self._ask(path, lambda door: door.client.delete_object(Bucket=self._name, Key=keys[0]))
            return
        what = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        answer = self._ask(path, lambda door: door.client.delete_objects(Bucket=self._name, Delete=what))
        for failed in answer.get("Errors", ())[:1]:
            raise DataError(
                f"{failed.get('Code')}: {failed.get('Message')}; cannot be removed", where=self._url(failed["Key"])
            )

    def _url(self, path: str) -> str:
        return f"s3://{self._name}/{path}"

    def close(self) -> None:
        """See `Store.close`."""
        self._pieces.close()
        self._door.close()

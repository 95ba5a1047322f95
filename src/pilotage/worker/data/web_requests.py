"""One HTTP request: connections that are kept, proxies, redirects, credentials, and what an answer's status means."""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import select
import socket
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO

from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError
from pilotage.worker.data.places import shown

REDIRECTS = 10
IDLE = 8
"""Connections to one server that are kept for what comes next."""
LATER = {408, 425, 429, 500, 502, 503, 504}
"""What may be otherwise after a while."""
ELSEWHERE = {301, 302, 303, 307, 308}
PIECE = 1 << 20
_PLAIN = "%/:=&?~+!$,;'@()*[]|"
_READING = {"GET", "HEAD"}


class Client:
    """Makes requests; several threads may use one at once. ``silence``: seconds without a byte, in each direction."""

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[http.client.HTTPConnection], None] | None = None,
    ) -> Answer:
        """Return the answer to a request, after redirects, whatever its status.

        Parameters
        ----------
        headers: besides those of every request.
        body: sends it on a connection; called again for each redirect.

        Raises BrokenTransferError where there is none, DeniedError where a certificate is not right, DataError for a
        server that is not there.
        """
        first, user = url, _user_of(url)
        for _ in range(REDIRECTS):
            answer = self._ask_once(method, url, {**(headers or {}), **_credentials(url, user)}, body)
            to = answer.headers.get("Location")
            if answer.status not in ELSEWHERE or to is None or (method not in _READING and answer.status == 303):
                return answer
            answer.close()
            new = urllib.parse.urljoin(url, to)
            if _server_of(new) != _server_of(url):
                user = _user_of(new)  # what one server is told is not for another
            url = new
        raise DataError(f"it leads from one address to the next, more than {REDIRECTS} times", where=shown(first))

    def close(self) -> None:
        """Let go of the connections that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _ask_once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[http.client.HTTPConnection], None] | None,
    ) -> Answer:
        parts, key = urllib.parse.urlsplit(url), _server_of(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"it leads to {shown(url)}, which is no web address", where=shown(url))
        target = urllib.parse.quote(parts.path or "/", safe=_PLAIN)
        target += f"?{urllib.parse.quote(parts.query, safe=_PLAIN)}" if parts.query else ""
        connection, prefix, more = self._connection(key, parts.hostname, url)
        try:
            connection.putrequest(method, prefix + target, skip_accept_encoding=True)
            for name, value in {"Accept-Encoding": "identity", "User-Agent": "pilotage", **more, **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            if body is not None:
                try:
                    body(connection)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # a server that refuses does not read on, and may have answered why
            return Answer(self, key, connection, connection.getresponse(), url)
        except BaseException as error:
            connection.close()
            if isinstance(error, (OSError, http.client.HTTPException)):
                raise self.trouble(error, url) from error
            raise

    def trouble(self, error: Exception, url: str) -> DataError:
        """Return the error of a connection that was not made, or broke."""
        where = shown(url)
        if isinstance(error, ssl.SSLCertVerificationError):
            return DeniedError(f"its certificate is not right: {error.verify_message}", where=where)
        if isinstance(error, TimeoutError):
            return BrokenTransferError(f"not a byte has moved for {self._silence:g} s", where=where)
        if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
            return DataError(f"there is no such server: {error.strerror}", where=where)
        if isinstance(error, http.client.InvalidURL):
            return DataError("it is no web address", where=where)
        return BrokenTransferError(f"the connection broke: {error or type(error).__name__}", where=where)

    def give_back(self, key: tuple[str, str], connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose answer was read to its end."""
        with self._lock:
            idle = self._idle.setdefault(key, [])
            if len(idle) < IDLE:
                idle.append(connection)
                return
        connection.close()

    def _connection(
        self, key: tuple[str, str], host: str, url: str
    ) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        """Return a connection, and what goes before the target and into the headers where a proxy is asked."""
        scheme, address = key
        proxy = None if urllib.request.proxy_bypass(address) else urllib.request.getproxies().get(scheme)
        via = urllib.parse.urlsplit(proxy if "//" in proxy else f"http://{proxy}") if proxy else None
        told = _basic(via.username, via.password, "Proxy-Authorization") if via is not None else {}
        prefix, more = (f"http://{address}", told) if via is not None and scheme == "http" else ("", {})
        with self._lock:
            idle = self._idle.get(key, [])
            while idle:
                connection = idle.pop()
                if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                    return connection, prefix, more
                connection.close()  # the server has ended it meanwhile
        try:
            to = via or urllib.parse.urlsplit(url)
            name, port = to.hostname or host, to.port
        except ValueError as error:
            raise DataError(f"it is no web address: {error}", where=shown(url)) from error
        if scheme == "https":
            self._tls = self._tls or ssl.create_default_context()
            connection = http.client.HTTPSConnection(name, port, timeout=self._silence, context=self._tls)
            if via is not None:
                connection.set_tunnel(host, urllib.parse.urlsplit(url).port, headers=told)
        else:
            connection = http.client.HTTPConnection(name, port, timeout=self._silence)
        return connection, prefix, more


class Answer:
    """What a server has answered, of which the body is still to be read."""

    def __init__(
        self,
        client: Client,
        key: tuple[str, str],
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        url: str,
    ) -> None:
        self.status, self.headers = response.status, response.headers
        self._client, self._key, self._connection, self._response, self._url = client, key, connection, response, url

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """The number of bytes that the server says the body has, -1 where it does not."""
        given = self.headers.get("Content-Length", "")
        return int(given) if given.isdecimal() and "Transfer-Encoding" not in self.headers else -1

    def read_into(self, buffer: memoryview) -> int:
        """Read what comes next; 0 at the end. Raises BrokenTransferError where it ends too early."""
        try:
            count = self._response.readinto(buffer)
            if not count and self._response.length:
                raise http.client.IncompleteRead(b"", self._response.length)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, http.client.IncompleteRead):
                raise BrokenTransferError("it ended before all had come", where=shown(self._url)) from error
            raise self._client.trouble(error, self._url) from error
        return count

    def close(self) -> None:
        """Keep the connection where the answer was read to its end, and end it otherwise."""
        left = self._response.length  # None where it has none, and where it is not told
        if (left == 0 or (left is None and self._response.isclosed())) and not self._response.will_close:
            self._response.close()
            self._client.give_back(self._key, self._connection)
        else:
            self._connection.close()

    def check(self, url: str) -> Answer:
        """Return itself where the status says that all is well; raises a DataError that names ``url`` otherwise."""
        if 200 <= self.status < 300:
            return self
        said = f"the server says {self.status} {self._response.reason}".strip()
        self.close()
        where = shown(url)
        if self.status in (404, 410):
            raise NotThereError(f"there is no such file: {said}", where=where)
        if self.status in LATER:
            error = BrokenTransferError(said, where=where)
            error.after = _seconds(self.headers.get("Retry-After", ""))
            raise error
        if self.status in (401, 407):
            raise DeniedError(said, where=where, hint="credentials come from ~/.netrc, or the URL itself")
        if self.status in (403, 405, 501):
            raise DeniedError(said, where=where)
        if self.status == 507:
            raise DataError(f"cannot be written: {said}", where=where, hint="make room there")
        raise DataError(said, where=where)


def _server_of(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def _user_of(url: str) -> tuple[str, str] | None:
    """Return the name and password that a URL has."""
    user, at, _ = url.partition("//")[2].partition("/")[0].rpartition("@")
    name, _, password = user.partition(":")
    return (urllib.parse.unquote(name), urllib.parse.unquote(password)) if at else None


def _credentials(url: str, user: tuple[str, str] | None) -> dict[str, str]:
    """Return the header that says who we are: by the URL, or the user's netrc file."""
    if user is None:
        path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
        host = urllib.parse.urlsplit(url).hostname or ""
        try:
            found = netrc.netrc(path).authenticators(host)
        except FileNotFoundError:
            return {}
        except (netrc.NetrcParseError, OSError) as error:
            raise DeniedError(f"{path} cannot be read: {getattr(error, 'msg', error)}", where=shown(url)) from error
        if found is None:
            return {}
        user = (found[0], found[2] or "")
    return _basic(*user)


def _basic(name: str | None, password: str | None, header: str = "Authorization") -> dict[str, str]:
    if name is None:
        return {}
    given = base64.b64encode(f"{name}:{password or ''}".encode()).decode()
    return {header: f"Basic {given}"}


def _seconds(text: str) -> float:
    """Return how long to wait by a Retry-After, 0 where it does not tell."""
    if text.isdecimal():
        return float(text)
    try:
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0)
    except (ValueError, TypeError):
        return 0


def sends(file: IO[bytes], size: int, moved: Callable[[int], None]) -> Callable[[http.client.HTTPConnection], None]:
    """Return what sends a file as a body; ``moved`` is told how many bytes have gone, and less than 0 to go back."""

    def body(connection: http.client.HTTPConnection) -> None:
        moved(-file.tell())
        file.seek(0)
        while piece := file.read(min(PIECE, size - file.tell())):
            connection.send(piece)
            moved(len(piece))

    return body

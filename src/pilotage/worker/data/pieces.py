"""Large files in pieces, several at once, for stores that can read from and write to the middle of something."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol, TypeVar

from pilotage.errors import BrokenTransferError
from pilotage.worker.data.base import Meter

PIECE = 8 << 20
"""Bytes that are asked for at once."""
_T = TypeVar("_T")


class Hash(Protocol):
    """What hashlib makes, and others that count as it does."""

    def update(self, data: bytes, /) -> None:
        """Take more of the content."""


class Pieces:
    """Threads that all files of a store share, so that what they hold in memory is bounded.

    Parameters
    ----------
    at_once: pieces that are on their way at once.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="Piece")

    def each(self, count: int, work: Callable[[int], _T], follow: Callable[[int], None] | None = None) -> list[_T]:
        """Return what ``work`` returns for 0 to ``count - 1``.

        ``follow`` is called in this thread, in order, for each that is done; none runs further ahead of it than twice
        what is on its way at once. Where something raises, nothing runs any longer when this raises it.
        """
        stopped = threading.Event()

        def one(number: int) -> _T:
            if stopped.is_set():
                raise CancelledError
            return work(number)

        running: deque[Future[_T]] = deque()
        done: list[_T] = []
        begun = 0
        try:
            while len(done) < count:
                while begun < min(count, len(done) + 2 * self._at_once):
                    running.append(self._pool.submit(one, begun))
                    begun += 1
                done.append(running[0].result())
                running.popleft()
                if follow:
                    follow(len(done) - 1)
        except BaseException:
            stopped.set()
            for future in running:
                future.cancel()
            wait(running)
            raise
        return done

    def download(
        self, size: int, read: Callable[[int, int], Any], target: str, meter: Meter, digest: Hash | None = None
    ) -> None:
        """Write ``size`` bytes into the new file ``target``.

        Parameters
        ----------
        read: returns the bytes from one position to before another.
        digest: is given the content, in order, while what follows is on its way.

        Raises BrokenTransferError where ``read`` returns another number of bytes, and OSError.
        """
        with open(target, "x+b", buffering=0) as file:
            place = file.fileno()

            def one(number: int) -> None:
                start = number * PIECE
                stop = min(size, start + PIECE)
                view = memoryview(read(start, stop))
                if len(view) != stop - start:
                    raise BrokenTransferError(f"{len(view):,} bytes have come, and {stop - start:,} were asked for")
                while view:
                    written = os.pwrite(place, view, start)
                    view, start = view[written:], start + written
                    meter.add(written)

            def follow(number: int) -> None:
                if digest is not None:  # from the file, which is still in memory, so that no piece has to wait there
                    digest.update(os.pread(place, PIECE, number * PIECE))

            self.each(-(-size // PIECE), one, follow)

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

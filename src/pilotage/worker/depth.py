"""Pickling long chains: a linked list of a thousand nodes is nothing special on threads.

pickle goes into each object from the one before, and Python stops it at the recursion limit. Reading has no such limit.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pickle import PicklingError
from typing import TypeVar

T = TypeVar("T")

LIMIT = 100_000
STACK = 512 << 20
"""Bytes of address space, memory only as far as they are used: five times what LIMIT was seen to need."""

_one_at_a_time = threading.Lock()


def with_room(dump: Callable[[], T]) -> T:
    """Return what ``dump`` returns; where the recursion limit stops it, it is called again with a large stack."""
    try:
        return dump()
    except (RecursionError, PicklingError) as error:
        if not isinstance(error, RecursionError) and not isinstance(error.__cause__, RecursionError):
            raise
        with _one_at_a_time:
            return _in_a_large_thread(dump, error)


def _in_a_large_thread(dump: Callable[[], T], first: Exception) -> T:
    made: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            made.append(dump())
        except BaseException as error:
            raised.append(error)

    limit, size = sys.getrecursionlimit(), threading.stack_size(STACK)
    try:
        sys.setrecursionlimit(max(limit, LIMIT))
        thread = threading.Thread(target=run, name="deep-pickling")
        thread.start()
        thread.join()
    except RuntimeError:  # there is no room for such a stack
        raise first from None
    finally:
        threading.stack_size(size)
        sys.setrecursionlimit(limit)
    if raised:
        raise raised[0]
    return made[0]

"""Accounts of what has moved, from where it moved to the driver, while the task is still going on.

A worker says them on its channel, beside its results. Where there is none (threads, the driver itself), those who
listen in this process hear them at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pilotage.worker import channel

MOVED = b"\x00pilotage moved\x00"
"""First bytes of such a message on its way to the driver; then the record as JSON."""

_listeners: list[Callable[[dict[str, Any]], None]] = []


def moved(record: Mapping[str, Any]) -> None:
    """Tell the driver what has moved.

    Parameters
    ----------
    record: of what JSON can hold, and small: ``url`` (as `places.shown` returns it), ``direction`` (``in`` or
        ``out``), ``bytes``, ``files``, ``seconds``, ``cached``, ``host``, ``task``.

    A child that a task has forked tells nothing: the channel is its parent's.
    """
    if channel.this is not None:
        channel.this.say(channel.MOVED, json.dumps(record).encode())
        return
    for listener in tuple(_listeners):
        listener(dict(record))


def listen(listener: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
    """Let ``listener`` hear what is moved in this process, on the thread that moves it; return what ends that."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


_of_calls: list[Callable[[Mapping[str, Any]], None]] = []


def called(record: Mapping[str, Any]) -> None:
    """Tell the driver of a call; see `moved`.

    Parameters
    ----------
    record: ``call``, by which the driver knows it, and what is told.
    """
    if channel.this is not None:
        channel.this.say(channel.MOVED, json.dumps(record).encode())
    else:
        deliver(record)


def listen_to_calls(listener: Callable[[Mapping[str, Any]], None]) -> None:
    """Let ``listener`` hear what is told of calls, wherever they run, from now on; it is to be quick."""
    _of_calls.append(listener)


def deliver(record: Mapping[str, Any]) -> bool:
    """Tell those who listen where a record is of a call; return whether it is."""
    if "call" not in record:
        return False
    for listener in tuple(_of_calls):
        listener(record)
    return True


def record_of(message: bytes) -> dict[str, Any]:
    """Return the record in a message that begins with `MOVED`."""
    record: dict[str, Any] = json.loads(message[len(MOVED) :])
    return record

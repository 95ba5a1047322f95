"""The Files among a call's arguments, as Parsl looks for them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parsl.data_provider.files import File

from pilotage.worker.data.things import MARK

STREAMS = ("stdout", "stderr")


def marked(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[File]:
    """Yield the Files of a call that Parsl looks for, as far as they are marked; each once."""
    return (file for file in _files(args, kwargs) if MARK in vars(file))


def _files(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[File]:
    seen: set[int] = set()
    values = [*args, *kwargs.values(), *(kwargs.get("inputs") or ()), *(kwargs.get("outputs") or ())]
    for value in values:
        if isinstance(value, File) and id(value) not in seen:
            seen.add(id(value))
            yield value


def outside(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's ``kwargs`` for a folder of its own: what is used where it is begins in the one there was."""
    for file in _files(args, kwargs):
        if MARK not in vars(file) and file.scheme == "file" and file.local_path is None:
            file.local_path = os.path.abspath(file.path)
    found = dict(kwargs)
    for name in STREAMS:
        given = kwargs.get(name)
        if isinstance(given, str | os.PathLike) and not isinstance(given, File):
            found[name] = os.path.abspath(given)
        elif isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str | os.PathLike):
            found[name] = os.path.abspath(given[0]), given[1]
    return found

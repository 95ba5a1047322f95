"""Tracebacks as flat data, and made again so that they print as they did.

A chain of a thousand objects cannot be pickled, since pickle goes into each from the one before.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Sequence
from typing import Any

Place = tuple[int, int | None, int | None, int | None]
"""Line, last line, first column and last column, as ``co_positions()`` has them."""

Frame = tuple[str, str, Place, str | None, str | None]
"""File, function, place in it; name and file of the module."""

_STUB = compile("1 / 0", "", "exec")
_UNITS = len(_STUB.co_code) // 2


def frames_of(traceback: Any) -> list[Frame]:
    """Return the frames of a traceback, Python's or tblib's, the outermost first."""
    frames = []
    while traceback is not None:
        code, names = traceback.tb_frame.f_code, traceback.tb_frame.f_globals
        frames.append((code.co_filename, code.co_name, _place(traceback), names.get("__name__"), names.get("__file__")))
        traceback = traceback.tb_next
    return frames


def _place(traceback: Any) -> Place:
    line = traceback.tb_lineno or 0  # generated code may have none
    positions = getattr(traceback.tb_frame.f_code, "co_positions", None)
    if positions is None or traceback.tb_lasti < 0:
        return line, None, None, None
    _, *rest = next(itertools.islice(positions(), traceback.tb_lasti // 2, None))
    return line, *rest


def traceback_of(frames: Sequence[Frame]) -> types.TracebackType | None:
    """Return the traceback whose `frames_of` are ``frames``; None for no frames."""
    traceback = None
    for file, function, place, module, module_file in reversed(frames):
        code = _STUB.replace(
            co_filename=file, co_name=function, co_firstlineno=place[0], co_linetable=_location_table(place)
        )
        names = {key: value for key, value in (("__name__", module), ("__file__", module_file)) if value is not None}
        try:
            exec(code, names)  # noqa: S102  only code that fails makes a frame
        except ZeroDivisionError as error:
            inner: Any = error.__traceback__
            inner = inner.tb_next
            traceback = types.TracebackType(traceback, inner.tb_frame, inner.tb_lasti, place[0])
    return traceback


def _location_table(place: Place) -> bytes:
    """Return the code object's table that gives every instruction of the stub the same place.

    In CPython's format: an entry for up to 8 instructions says its form, their number, and the place.
    """
    line, last, first_column, last_column = place
    if last is None or first_column is None or last_column is None:
        form, numbers = 13, [0]  # the line only
    else:
        form, numbers = 14, [0, max(last - line, 0), first_column + 1, last_column + 1]
    rest = b"".join(map(_varint, numbers))
    lengths = [min(8, _UNITS - done) for done in range(0, _UNITS, 8)]
    return b"".join(bytes([0x80 | form << 3 | length - 1]) + rest for length in lengths)


def _varint(number: int) -> bytes:
    parts = []
    while number >= 64:
        parts.append(0x40 | number & 63)
        number >>= 6
    return bytes([*parts, number])

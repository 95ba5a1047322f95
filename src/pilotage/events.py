"""What happened in a run, for people and programs: one JSON object a line, in the order in which it happened.

``kind`` is for programs, ``message`` for people, ``level`` is ``info``, ``warning`` or ``error``; ``detail`` holds what
else is known, such as the file to read next.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

LEVELS = ("info", "warning", "error")
LONGEST = 8 << 10
"""Characters of a message that are kept: a scheduler's words may be many."""


class Events:
    """The events of one run.

    Parameters
    ----------
    path: the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def tell(self, kind: str, message: str, level: str = "info", **detail: Any) -> None:
        """Write an event down. On a full disk it is lost: what happened is more important than its telling."""
        if level not in LEVELS:
            raise ValueError(f"{level!r} is none of {', '.join(LEVELS)}")
        event = {"at": round(time.time(), 3), "kind": kind, "level": level, "message": message[:LONGEST]}
        if detail:
            event["detail"] = detail
        line = ("\n" + json.dumps(event, default=str) + "\n").encode()
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError:
            return

    def read(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Return the events from a place in the file on, and the place behind the last whole one."""
        try:
            with open(self.path, "rb") as file:
                file.seek(offset)
                data = file.read()
        except OSError:
            return [], offset
        whole, line_break, _ = data.rpartition(b"\n")
        found = []
        for line in whole.split(b"\n"):
            try:
                event = json.loads(line) if line else None
            except ValueError:
                continue
            if isinstance(event, dict) and "kind" in event:
                found.append(event)
        return found, offset + len(whole) + len(line_break)


current: Events | None = None
"""The events of the run that this process belongs to; None in a process that belongs to none."""


def tell(kind: str, message: str, level: str = "info", **detail: Any) -> None:
    """Write down an event of this process's run; see `Events.tell`."""
    if current is not None:
        current.tell(kind, message, level, **detail)

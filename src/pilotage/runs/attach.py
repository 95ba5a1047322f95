"""Attaches a view to a run that goes on."""

from __future__ import annotations

import os
import socket
from typing import Any

from pilotage.errors import UsageError
from pilotage.paths import RunFolder
from pilotage.runs.record import FINAL, owner_is


def connect(folder: RunFolder, values: dict[str, Any]) -> socket.socket:
    """Return a connection to a run's supervisor; raises UsageError where there is none to be had."""
    if values.get("state") in FINAL or owner_is(values.get("owner")) == "dead":
        raise UsageError(f"run {folder.id} is over", hint=f"pilotage logs {folder.id} shows what it wrote")
    if values.get("kind") == "load":
        raise UsageError(f"run {folder.id} belongs to a Python process of yours, which has its own terminal")
    host = (values.get("owner") or {}).get("host")
    if owner_is(values.get("owner")) == "elsewhere":
        raise UsageError(f"run {folder.id} is on host {host}", hint=f"ssh {host} pilotage attach {folder.id}")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder.path)  # the name of a socket must be short
        connection.connect(folder.socket.name)
    except OSError as error:
        connection.close()
        raise UsageError(
            f"run {folder.id} takes no views: {error.strerror}", hint=f"pilotage logs -f {folder.id} follows its output"
        ) from error
    finally:
        os.fchdir(before)
        os.close(before)
    return connection

"""Where a call runs and when, told to its driver on the way that accounts of data take."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from pilotage.worker.data import accounts

KEY = "_pilotage_call"
"""Argument that says which call it is; the user's function does not get it."""


def told(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a call, and tell the driver when it has begun, where, and when it has ended."""
    number = kwargs.pop(KEY)
    accounts.called({"call": number, "host": socket.gethostname(), "begun": time.time()})
    try:
        return function(*args, **kwargs)
    finally:
        accounts.called({"call": number, "ended": time.time()})

"""Reaches a server of a run whose driver is on a login host: a forward there, and one from here to it.

The forward there ends with the connection. Both are made anew until the run is over, at the same port of this machine.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pilotage.errors import LoginError, PilotageError, UsageError
from pilotage.hosts.base import Completed
from pilotage.runs.forward import LOOK, local_port, stopped_by_signals
from pilotage.runs.places.base import answer
from pilotage.runs.places.ssh import SSHPlace

OVER = (0, 128 + signal.SIGKILL)
"""Exit codes of a forward that has seen the end of its run, and of one that this end has ended."""
AGAIN = 2.0
"""Seconds between two tries to make it anew."""
PATIENCE = 30.0
"""Seconds of tries after which it is told why they fail."""


def forward(
    place: SSHPlace,
    run: str,
    port: int,
    options: Sequence[str],
    local: int | None,
    ready: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
) -> None:
    """Bring a port of this machine's loopback to a server of a run there, until a signal or the end of the run.

    Parameters
    ----------
    place: where the run's driver is; connected.
    run: its id there.
    port: of the server.
    options: of ``pilotage forward`` there.
    local: port of this machine; the server's number, or any that is free, when None.
    ready: told what ``forward --json`` tells, once the server is reached.
    say: told that the connection is lost, and is back.

    Raises the error that the pilotage there has, UsageError where the port of this machine is taken.
    """
    here = local_port(local, port)
    there = ["forward", "--json", *options, run, str(port)]

    def again(_told: dict[str, Any]) -> None:
        say(f"the connection to {place.name} is back")

    with stopped_by_signals() as stop:
        is_over = _once(place, there, here, ready, stop)
        while not is_over:
            say(f"the connection to {place.name} is lost; it is made anew")
            is_over = _made_anew(place, there, here, again, stop, say)


def _made_anew(
    place: SSHPlace,
    there: Sequence[str],
    here: int,
    again: Callable[[dict[str, Any]], None],
    stop: threading.Event,
    say: Callable[[str], None],
) -> bool:
    """Try until it has been there once more; return as `_once` does."""
    begun, said = time.monotonic(), ""
    while not stop.is_set():
        try:
            place.host.connect()
            return _once(place, there, here, again, stop)
        except PilotageError as error:
            if error.exit_code == UsageError.exit_code:  # the run is over
                return True
            words = f"{place.name} is not reached: {error.message}"
            if isinstance(error, LoginError) or time.monotonic() - begun > PATIENCE:
                if words != said:
                    say(words + (f" (pilotage login {place.name})" if isinstance(error, LoginError) else ""))
                said = words
            stop.wait(AGAIN)
    return True


def _once(
    place: SSHPlace,
    there: Sequence[str],
    here: int,
    ready: Callable[[dict[str, Any]], None],
    stop: threading.Event,
) -> bool:
    """Have it as long as the connection; return whether that is all: the run is over, or we are told to stop."""
    process = place.session(there)
    try:
        told = _told(place.name, process)
        place.host.bring(here, int(told["local"]))
        try:
            ready({**told, "local": here, "address": f"http://127.0.0.1:{here}"})
            return _wait(process, stop)
        finally:
            place.host.cancel_bringing(here, int(told["local"]))
    finally:
        process.communicate()  # closes its input: by that it ends


def _told(name: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return the first JSON object that it tells, or raise the error that it is."""
    text = b""
    for line in process.stdout or ():
        text += line
        if line.rstrip() in (b"}", b"{}"):
            break
    try:
        json.loads(text)
    except ValueError as error:
        _, words = process.communicate()
        raise PilotageError(
            f"its pilotage gives no answer: {words.decode(errors='replace').strip()}", where=name
        ) from error
    return answer(name, Completed((), 0, text.decode(), ""))


def _wait(process: subprocess.Popen[bytes], stop: threading.Event) -> bool:
    """Wait until it ends or we are told to; return whether that is all, and not the end of the connection."""
    while not stop.wait(LOOK):
        if process.poll() is not None:
            return process.returncode in OVER
    return True

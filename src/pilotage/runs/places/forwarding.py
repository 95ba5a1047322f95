"""Reaches a server of a run whose driver is on a login host: a forward there, and one from here to it."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pilotage.errors import HostError, PilotageError
from pilotage.hosts.base import Completed
from pilotage.runs.forward import LOOK, local_port, stopped_by_signals
from pilotage.runs.places.base import answer
from pilotage.runs.places.ssh import SSHPlace

OVER = (0, 128 + signal.SIGKILL)
"""Exit codes of a forward that has seen the end of its run, and of one that this end has ended."""


def forward(
    place: SSHPlace,
    run: str,
    port: int,
    options: Sequence[str],
    local: int | None,
    ready: Callable[[dict[str, Any]], None],
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

    Raises the error that the pilotage there has, UsageError where the port of this machine is taken.
    """
    here = local_port(local, port)
    host = place.host
    with stopped_by_signals() as stop:
        process = place.session(["forward", "--json", *options, run, str(port)])
        try:
            told = _told(place.name, process)
            host.bring(here, int(told["local"]))
            try:
                ready({**told, "local": here, "address": f"http://127.0.0.1:{here}"})
                _wait(process, stop, place.name)
            finally:
                host.cancel_bringing(here, int(told["local"]))
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


def _wait(process: subprocess.Popen[bytes], stop: threading.Event, name: str) -> None:
    while not stop.wait(LOOK):
        code = process.poll()
        if code is None:
            continue
        if code not in OVER:
            what = "the connection has ended" if code == 255 else f"the forward there has ended with exit code {code}"
            raise HostError(f"{what}; the run goes on", where=name)
        return  # the run is over

"""The node guard: one small process around each manager, which ends with it everything that came from it.

When the manager ends, or is told to, or the run is lost, what its workers started goes too: children that called
setsid, forked twice, erased their environment or ignore SIGTERM. The guard is their subreaper, so none can leave it.

In a container it also watches what has started that, whose killing some runtimes leave without consequences.

The run is lost when the driver has ended. On the driver's own host the guard watches that process; elsewhere it asks
now and then whether anybody still listens on the interchange's port.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, NoReturn

from pilotage.worker import processes

PATIENCE = 1.0
"""Seconds that everything on the node has between SIGTERM and SIGKILL."""
LOOK = 0.5
ASK_EVERY = 15.0
"""Seconds between two questions to the interchange's port, give or take a third: a thousand nodes ask too."""
REFUSALS = 3
"""Questions in a row that must be refused before the run is lost; one may meet a restart of the network."""
PR_SET_PDEATHSIG = 1


def guarded(
    manager: Callable[[], object],
    driver: Mapping[str, Any] | None,
    interchange: Sequence[tuple[str, int]] = (),
    after: Callable[[int], object] = lambda _code: None,
    farewell: Callable[[str, bool], object] = lambda _how, _told: None,
    holder: Mapping[str, Any] | None = None,
) -> NoReturn:
    """Run ``manager`` in a child and exit with its code once nothing that came from it is left.

    Parameters
    ----------
    manager: what the child does.
    driver: identity of the driver (see `processes.identity`), None where there is none to watch.
    interchange: addresses and ports at which it may listen.
    after: called with the exit code when all is over, such as to collect logs.
    farewell: called with how the manager has ended, and whether the guard was told to end it, when nothing of it is
        left though the run goes on.
    holder: identity of what has started the container that this is in.
    """
    processes.become_subreaper()
    told: list[int] = []
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    before = {number: signal.signal(number, _noting(told)) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(woken)
        _end_with(guard)
        manager()
        sys.exit(0)
    watch = _Watch(driver, interchange, holder)
    codes: dict[int, int] = {}
    while child not in codes and not told:
        select.select([wake, *watch.descriptors], [], [], LOOK)
        _drain(wake)
        codes.update(processes.reap())
        if child not in codes and watch.is_lost():
            sys.stderr.write(f"pilotage: {watch.reason}: ending everything on this node\n")
            break
    patience = PATIENCE if child not in codes else 0.0
    ended = codes.get(child)
    left = processes.end_descendants(patience, reaped=codes.update)
    if left:
        sys.stderr.write(f"pilotage: these processes do not end: {left}\n")
    code = codes.get(child, 1)
    signal.set_wakeup_fd(-1)
    # What may fail, on a full disk or whatever, is told: this process has nothing else to do any more.
    if ended is not None or told:
        _try(lambda: farewell(_how(ended), bool(told)))
    _try(lambda: after(code))
    sys.stderr.flush()
    os._exit(code if code >= 0 else 128 - code)


def _try(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:
        sys.stderr.write(f"pilotage: {type(error).__name__}: {error}\n")


def _how(code: int | None) -> str:
    if code is None:
        return "was ended with its block"
    return f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"


def _noting(told: list[int]) -> Callable[[int, FrameType | None], None]:
    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a handler's signature
        told.append(number)

    return note


def _end_with(guard: int) -> None:
    """Let the manager be killed should the guard be; what this watches is the guard's thread, and it has only one."""
    if processes.linux():
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(1)


def _drain(descriptor: int) -> None:
    while select.select([descriptor], [], [], 0)[0]:
        os.read(descriptor, 4096)


class _Watch:
    """Whether the run is still there."""

    def __init__(
        self,
        driver: Mapping[str, Any] | None,
        interchange: Sequence[tuple[str, int]],
        holder: Mapping[str, Any] | None,
    ) -> None:
        self.reason = ""
        self.descriptors: list[int] = []
        here = driver is not None and processes.is_here(driver)
        self._heard: dict[tuple[str, int], int] = {}  # refusals in a row, of those that have ever answered
        self._interchange = () if here else tuple(interchange)
        self._next = time.monotonic() + _spread()
        self._watched: list[tuple[Mapping[str, Any], str, int | None]] = []
        for one, name in ((driver, "the driver"), (holder, "what has started the container")):
            # A runtime that has become what it starts is this process.
            if one is not None and processes.is_here(one) and int(one["pid"]) != os.getpid():
                self._watched.append((one, name, self._open(one)))

    def _open(self, known: Mapping[str, Any]) -> int | None:
        if not processes.is_alive(known):
            return None
        try:
            descriptor = processes.open_watch(int(known["pid"]))
        except ProcessLookupError:
            return None
        if descriptor is not None:
            self.descriptors.append(descriptor)
        return descriptor

    def is_lost(self) -> bool:
        for known, name, descriptor in self._watched:
            if processes.has_ended(descriptor) if descriptor is not None else not processes.is_alive(known):
                self.reason = f"{name} (process {known['pid']}) has ended"
                return True
        if self._interchange and time.monotonic() >= self._next:
            self._next = time.monotonic() + _spread()
            for place in self._interchange:
                self._ask(place)
            if self._heard and all(count >= REFUSALS for count in self._heard.values()):
                self.reason = f"nobody listens at {', '.join(f'{a}:{p}' for a, p in self._heard)} any more"
                return True
        return False

    def _ask(self, place: tuple[str, int]) -> None:
        try:
            socket.create_connection(place, timeout=2).close()
        except ConnectionRefusedError:
            if place in self._heard:
                self._heard[place] += 1
        except OSError:  # silence is not an end: Parsl's own heartbeat decides about that
            return
        else:
            self._heard[place] = 0


def _spread() -> float:
    return ASK_EVERY * random.uniform(2 / 3, 4 / 3)  # noqa: S311  not for secrets

"""Parsl's logging at next to no cost: warnings always, and the newest lines of everything in a ring that survives.

Parsl logs ten to fifteen lines a task. At a few tasks a second all of them are kept; at thousands, making the records
alone would take most of a core. So at most `RECORDS` of them a second are made: then the level of Parsl's logger is
raised until the second is over, and the ring gets a line that says so.

The rings are collected (`pilotage.worker.tails`) when something fails: in the driver's process `want` notes that.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pathlib
import threading
import time
from collections.abc import Callable

from parsl.logconfigs.base import LogConfig

from pilotage.worker import processes, ring, tails

RECORDS = 300
"""Records a second that are let through; each costs about ten microseconds."""
SIZE = 256 << 10
WORKER_SIZE = 64 << 10
"""Bytes of a ring; a node has many workers, and the rings are in its memory."""
WARNINGS_MOST = 16 << 20
"""Bytes of warnings that a process writes into its log: of a million failures the first ones tell it all."""
NO_ANSWER_YET = "Failed to connect to interchange ("
"""An error of Parsl's manager that is none: it waits for the answer after it as before, having counted its heartbeat
period, in seconds, as milliseconds. A slow network or a busy machine takes longer than 30 of them."""
FIRST_DESCRIPTOR = 10
"""Those below may be counted on by programs that a script starts."""


class RingLogging(LogConfig):
    """Warnings to ``LOG_DIR/LOG_NAME.log``, made with the first of them; everything to a ring on this machine."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def initialize_logging(self, *, log_dir: pathlib.Path, log_name: str) -> Callable[[], None]:
        """Keep what Parsl logs in this process; returns what ends that and removes the ring."""
        _forget_inherited(self)
        session = Session(os.path.abspath(log_dir), log_name)  # noqa: PTH100  as whoever collects composes it
        session.open()
        _sessions[self.uuid.hex] = session

        def uninitialize() -> None:
            session.close()
            _sessions.pop(self.uuid.hex, None)

        return uninitialize


class Session:
    """The logging of one process, from its initialization to the end."""

    def __init__(self, log_dir: str, log_name: str) -> None:
        self.log_dir = log_dir
        self.log_name = log_name
        self.wanted = False
        """Whether something has failed, and the ring is to be kept."""
        self.fresh = False
        """Whether something has failed since it was collected last."""
        self._folder = ""
        self._key = ""
        self._process = os.getpid()
        self.handler: RingHandler | None = None

    def open(self) -> None:
        """Begin; where there can be no ring there are the warnings still."""
        size = WORKER_SIZE if self.log_name.startswith("worker_") else SIZE
        is_driver = self.log_name == "parsl"
        if is_driver:
            with contextlib.suppress(OSError):
                tails.remove_stale()
        made = tails.make(self.log_dir, self.log_name, size, self._announce if is_driver else lambda _folder: None)
        self.handler = RingHandler(self.log_dir, self.log_name, made)
        gate.add(self.handler)
        logging.getLogger("concurrent.futures").addHandler(self.handler)  # what fails in a callback is told there only

    def _announce(self, folder: str) -> None:
        """Write down that there are rings: the driver's, and those of all other processes of its kernel here."""
        if folder != self._folder:
            from pilotage import journal  # which a worker need not have: it announces nothing

            self._end_entry()
            self._folder = folder
            self._key = journal.intend("temporary_file", path=folder, rings=True, host=processes.host())

    def _end_entry(self) -> None:
        if self._key:
            from pilotage import journal

            journal.ended(self._key, "removed")
            self._key = ""

    def collect(self) -> None:
        """Copy what is in the rings of driver and interchanges; those of nodes are their guards' to collect."""
        self.fresh = False
        for path in tails.rings(self._folder):
            found = ring.read(path)
            if found is not None and not _is_of_node(str(found.about.get("name", ""))):
                with contextlib.suppress(OSError):
                    tails.collect(path)

    def close(self) -> None:
        """End; the rings of this kernel are removed, and collected first where something failed."""
        handler, self.handler = self.handler, None
        if handler is None:
            return
        logging.getLogger("concurrent.futures").removeHandler(handler)
        gate.remove(handler)
        path = handler.let_go()
        if os.getpid() != self._process:
            return
        if self._folder:
            if tails.end_folder(self._folder, keep=self.wanted) is None:
                self._end_entry()
        elif path:
            tails.take(path, keep=False)
            tails.remove_empty(os.path.dirname(path))  # noqa: PTH120

    def left_in_parent(self) -> None:
        """In a forked child: nothing of the ring is ours."""
        if self.handler is not None:
            self.handler.let_go()


def _is_of_node(name: str) -> bool:
    return name == "manager" or name.startswith("worker_")


class RingHandler(logging.Handler):
    """Writes records into the ring, and those from WARNING on into the log.

    Parameters
    ----------
    log_dir, log_name: of the log.
    made: the ring, None where there is none.
    """

    def __init__(self, log_dir: str, log_name: str, made: ring.Ring | None) -> None:
        super().__init__(logging.DEBUG if made is not None else logging.WARNING)
        self._log_dir = log_dir
        self._log_name = log_name
        self._ring = made
        self._log: int | None = None
        self._written = 0
        self._second = 0
        self._clock = ""

    @property
    def has_ring(self) -> bool:
        """Whether there is a ring to write to."""
        return self._ring is not None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; what goes wrong with that is nobody's business."""
        try:
            line = self._line(record)
            counts = record.levelno >= logging.WARNING and not str(record.msg).startswith(NO_ANSWER_YET)
            if self._ring is not None:
                self._ring.write(line)
                if counts and record.levelno >= logging.ERROR:
                    self._ring.count_error()
            if counts:
                self._keep(line)
        except Exception:
            self.handleError(record)
        gate.count(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Pass over it: stderr may be closed, and a full disk is told elsewhere."""

    def note(self, message: str) -> None:
        """Write a line of our own into the ring."""
        with self.lock or contextlib.nullcontext():
            if self._ring is not None:
                now = time.time()
                self._ring.write(f"{self._time(now)} pilotage: {message}\n".encode())

    def let_go(self) -> str | None:
        """Let go of ring and log; return the ring's path, None where there was none."""
        with self.lock or contextlib.nullcontext():
            made, self._ring = self._ring, None
            log, self._log = self._log, None
            if log is not None:
                os.close(log)
            self.setLevel(logging.WARNING)
            if made is None:
                return None
            made.close()
            return made.path

    def _line(self, record: logging.LogRecord) -> bytes:
        try:
            message = record.getMessage()
        except Exception:
            message = f"{record.msg!r} (cannot be formatted)"
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        if record.exc_text:
            message = f"{message}\n{record.exc_text}"
        if record.stack_info:
            message = f"{message}\n{record.stack_info}"
        return (
            f"{self._time(record.created)} {record.levelname} {record.threadName} "
            f"{record.name}:{record.lineno} {message}\n"
        ).encode(errors="backslashreplace")

    def _time(self, at: float) -> str:
        second = int(at)
        if second != self._second:  # the dearest part of a line, once a second
            self._second, self._clock = second, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
        return f"{self._clock}.{int((at - second) * 1e6):06d}"

    def _keep(self, line: bytes) -> None:
        if self._written > WARNINGS_MOST:
            return
        if self._log is None:
            self._log = _opened(self._log_dir, self._log_name)
        self._written += len(line)
        if self._written > WARNINGS_MOST:
            line = f"pilotage: no more than {WARNINGS_MOST >> 20} MiB of warnings are kept here\n".encode()
        os.write(self._log, line)


_FORMATTER = logging.Formatter()


def _opened(folder: str, name: str) -> int:
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
    descriptor = os.open(f"{folder}/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR)
    finally:
        os.close(descriptor)


class Gate:
    """Decides how much Parsl's loggers let through: all, or for the rest of a second warnings only.

    What others than us see of Parsl's log is what they would see under Parsl, which sets its logger to DEBUG and lets
    the handlers of the loggers above decide: where somebody has put a handler of his own on Parsl's logger, or on one
    that it propagates to, nothing is held back. Where nobody has, only as much is let through as we keep.
    """

    def __init__(self) -> None:
        self.logger = logging.getLogger("parsl")
        self._handlers: list[RingHandler] = []
        self._level = logging.NOTSET
        self._begin = 0.0
        self._count = 0
        self._shut: threading.Timer | None = None
        self._lock = threading.Lock()

    def add(self, handler: RingHandler) -> None:
        """Let records through for a handler."""
        with self._lock:
            if not self._handlers:
                self._begin = 0.0
                self._level = self.logger.level
            self._handlers.append(handler)
            self.logger.addHandler(handler)
            self._set_level()

    def remove(self, handler: RingHandler) -> None:
        """Forget a handler; with the last one everything is as it was."""
        self.logger.removeHandler(handler)
        with self._lock:
            if handler in self._handlers:
                self._handlers.remove(handler)
            if not self._handlers:
                if self._shut is not None:
                    self._shut.cancel()
                    self._shut = None
                self.logger.setLevel(self._level)

    def count(self, record: logging.LogRecord) -> None:
        """Count a record, and let no more through where there are too many."""
        now = record.created
        if not 0 <= now - self._begin < 1:
            self._begin, self._count = now, 0
        self._count += 1
        if self._count > RECORDS and self._shut is None and self.logger.level == logging.DEBUG:
            self._close(self._begin + 1 - now)

    def _set_level(self) -> None:
        kept = self._shut is None and any(handler.has_ring for handler in self._handlers)
        self.logger.setLevel(logging.DEBUG if kept or self._others_listen() else logging.WARNING)

    def _others_listen(self) -> bool:
        one: logging.Logger | None = self.logger
        while one is not None:
            for handler in one.handlers:
                if handler not in self._handlers and not isinstance(handler, logging.NullHandler):
                    return True
            one = one.parent if one.propagate else None
        return False

    def _close(self, seconds: float) -> None:
        if self._others_listen():
            return
        with self._lock:
            if self._shut is not None or not self._handlers:
                return
            timer = threading.Timer(seconds, self._open, (time.monotonic(),))
            timer.daemon = True
            timer.name = "pilotage-logs"
            try:
                timer.start()
            except RuntimeError:  # Python is ending
                return
            self._shut = timer
            self.logger.setLevel(logging.WARNING)

    def _open(self, since: float) -> None:
        with self._lock:
            if self._shut is not threading.current_thread():  # removed meanwhile, or in another process
                return
            self._shut = None
            self._set_level()
            handlers = list(self._handlers)
        self._begin = 0.0
        for handler in handlers:
            handler.note(
                f"more than {RECORDS} lines in a second: for {time.monotonic() - since:.2f} s only warnings were kept"
            )

    def in_child(self) -> None:
        """After a fork: there is no ring, so for us nothing below a warning is of use."""
        self._lock = threading.Lock()
        self._shut = None
        if self._handlers:
            self._set_level()


gate = Gate()
_sessions: dict[str, Session] = {}


def _in_child() -> None:
    for session in _sessions.values():
        session.left_in_parent()
    gate.in_child()


os.register_at_fork(after_in_child=_in_child)


def _forget_inherited(config: RingLogging) -> None:
    """Detach what a forked process has of its parent's, whose log is not its own."""
    inherited = _sessions.pop(config.uuid.hex, None)
    if inherited is not None:
        inherited.close()


# In the driver


def want() -> None:
    """Note that something has failed: what the rings of this process's kernels hold is to be kept."""
    for session in list(_sessions.values()):
        session.wanted = session.fresh = True


def is_wanted() -> bool:
    """Return whether something has failed."""
    return any(session.wanted for session in list(_sessions.values()))


def collect() -> bool:
    """Copy what driver and interchanges have logged to the run's folder, if something has failed; return whether."""
    failed = [session for session in list(_sessions.values()) if session.fresh]
    for session in failed:
        session.collect()
    return bool(failed)


def ends_in_order(logs: str, block: str) -> None:
    """Tell the guards of a block that the driver ends it and, unless something has failed, nobody needs its tails.

    Parameters
    ----------
    logs: folder of the executor's logs.
    block: as Parsl names it.
    """
    if _sessions and not is_wanted():
        with contextlib.suppress(OSError):
            os.close(os.open(tails.in_order(logs, block), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

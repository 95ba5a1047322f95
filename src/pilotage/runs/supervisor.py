"""The supervisor: a small process that owns a run's driver and everything that came from it.

It imports no Parsl and stays small. The driver and all its descendants are its own, since it is their subreaper:
setsid, double forks and erased environments do not lead away from it. When the driver has ended, however that came, the
supervisor ends what is left, and then what the journal still holds. Views come and go; the run does not mind.

Started by `pilotage.runs.start` as ``python -I -S -c BOOTSTRAP SETTINGS``, in a session of its own.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios
import time
from typing import Any

from pilotage.events import Events
from pilotage.journal import Journal
from pilotage.runs import ending, frames
from pilotage.runs.record import RunRecord
from pilotage.runs.streams import Copier
from pilotage.worker import processes

TICK = 1.0
BEAT = 5.0
TROUBLES = 100
DRAIN = 1.0
"""Seconds in which the last output is read."""
LOOK = 0.1
"""Seconds between two looks at the log for a view that is shown it."""
PATIENCE = 1.0
"""Seconds that what the driver left has between SIGTERM and SIGKILL."""
REPLAY = 64 << 10
"""Bytes of the script's newest output that a view is shown when it attaches."""
SLOW_VIEW = 4 << 20
"""Bytes that may wait for a view before the script's output waits for it too, as a real terminal's would."""
STUCK_VIEW = 10.0
"""Seconds after which a view that takes nothing (a stopped one) is let go, so that the run goes on."""
INTERRUPT = b"\x03"


class View:
    """One connection to a person's terminal."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.reader = frames.Reader()
        self.waiting = bytearray()
        self.taken = time.monotonic()
        self.suspended = False
        self.place: int | None = None  # in the log, where that is what it is shown

    def send(self, kind: bytes, content: bytes) -> None:
        """Queue a frame."""
        if not self.waiting:
            self.taken = time.monotonic()
        self.waiting += frames.frame(kind, content)

    def flush(self) -> bool:
        """Send what can be sent; return False when the view is gone."""
        while self.waiting:
            try:
                sent = self.connection.send(self.waiting[: 1 << 16])
            except BlockingIOError:
                return time.monotonic() - self.taken < STUCK_VIEW
            except OSError:
                return False
            del self.waiting[:sent]
            self.taken = time.monotonic()
        return True


class Supervisor:
    """One run under supervision.

    Parameters
    ----------
    settings: as `pilotage.runs.start` writes them: ``folder``; ``argv`` and ``cwd`` of the driver; ``streams``, for
        each standard stream one of ``pty``, ``pass``, ``closed``, ``copy`` (to our descriptor of that number in
        ``targets``), ``log`` and ``same`` (as the one before); the descriptors ``view``, ``master`` and ``slave`` or
        None; ``script`` as the user gave it; ``grace`` in seconds; ``max_node_hours`` or None.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.folder: str = settings["folder"]
        self.record = RunRecord(self.folder)
        self.journal = Journal(self._path("journal.jsonl"))
        self.events = Events(self._path("events.jsonl"))
        self.master: int | None = settings["master"]
        self.output_lost = False
        self.typed = bytearray()  # what the terminal has not taken yet
        self.views: list[View] = []
        self.copiers: list[Copier] = []
        self.listener: socket.socket | None = None
        self.log: int | None = None
        self.driver = 0
        self.driver_key = ""
        self.code: int | None = None
        self.control: int | None = None
        self.why = ""  # the run is being stopped, and this is why
        self.deadline: float | None = None
        self.interrupted: float | None = None
        self.at_once = False
        self.signals: list[int] = []
        self.adopted: dict[int, str] = {}
        self.next_tick = self.next_beat = 0.0

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)  # noqa: PTH118  pathlib is not worth its memory here

    # The course of a run

    def run(self) -> None:
        """Start the driver, watch over it, and clean up after it."""
        wake = self._hear_signals()
        self.record.update(owner=processes.identity(os.getpid()))
        self.record.mark_live()
        processes.become_subreaper()
        self.log = self._open_log()
        for name in ("master", "slave", "view", "ready"):
            if self.settings[name] is not None:  # none of them is the script's
                os.set_inheritable(self.settings[name], False)
        if self.master is not None:
            os.set_blocking(self.master, False)
        if self.settings["view"] is not None:
            self.views.append(View(socket.socket(fileno=self.settings["view"])))
        self._listen()
        self._start_driver()
        _tell_ready(self.settings["ready"])
        troubles = 0
        while self.code is None:
            try:
                self._turn(wake)
            except Exception as error:  # a long run must not end for one odd event
                troubles += 1
                if troubles > TROUBLES:
                    raise
                sys.stderr.write(f"passed over: {type(error).__name__}: {error}\n")
        self._finish()

    def _hear_signals(self) -> int:
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda heard, _: self.signals.append(heard))
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGTTOU, signal.SIGTTIN):
            signal.signal(number, signal.SIG_IGN)
        return wake

    def _open_log(self) -> int | None:
        try:
            return os.open(self._path("driver.log"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return None

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The name of a socket must be short, the path of a folder need not be.
            os.chdir(self.folder)
            listener.bind("view.sock")
            listener.listen(8)
        except OSError as error:  # a file system without sockets
            listener.close()
            self.events.tell("no-attach", f"views cannot attach to this run: {error.strerror}", "warning")
            return
        listener.setblocking(False)
        self.listener = listener

    def _start_driver(self) -> None:
        self.driver_key = self.journal.intend("process", role="driver")
        control, theirs = os.pipe()
        os.set_blocking(control, False)
        streams: list[int | None] = [self._stream_of_driver(number) for number in range(3)]
        environment = {
            **os.environ,
            "PILOTAGE_CONTROL": str(theirs),
            "PILOTAGE_RUN": os.path.basename(self.folder),  # noqa: PTH119
            "PILOTAGE_SCRIPT_AS_GIVEN": self.settings["script"],
        }
        slave = self.settings["slave"]
        pid = os.fork()
        if pid == 0:
            try:
                _become_driver(self.settings, streams, slave, theirs, environment)
            except BaseException as error:
                os.write(theirs, f"failed {error}\n".encode())
            os._exit(127)
        self.driver = pid
        self.control = control
        # The slave stays open: a script that closes all of its own would else be hung up on.
        for descriptor in {d for d in (theirs, *streams) if d is not None and d > 2 and d != slave}:
            os.close(descriptor)
        for copier in self.copiers:
            copier.start()
        self.journal.identify(self.driver_key, **processes.identity(pid))
        self.record.update(state="running", driver=processes.identity(pid), owner=processes.identity(os.getpid()))

    def _stream_of_driver(self, number: int) -> int | None:
        """Return the driver's descriptor for a standard stream; None where it has none."""
        how = self.settings["streams"][number]
        if how == "pty":
            slave: int = self.settings["slave"]
            return slave
        if how == "pass":
            return number
        if how == "closed":
            return None
        if how == "same":  # stderr goes where stdout goes, and in order
            return self.copiers[0].write_end
        target = None if how == "log" else os.dup(self.settings["targets"][number])
        copier = Copier(target, self._append_to_log, lambda: bool(self.views))
        self.copiers.append(copier)
        return copier.write_end

    def _turn(self, wake: int) -> None:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        for source in (self.control, self.listener):
            if source is not None:
                poll.register(source, select.POLLIN)
        slowed = any(len(view.waiting) > SLOW_VIEW for view in self.views)
        if self.master is not None:
            wanted = (0 if slowed else select.POLLIN) | (select.POLLOUT if self.typed else 0)
            if wanted:
                poll.register(self.master, wanted)
        for view in self.views:
            poll.register(view.connection, select.POLLIN | (select.POLLOUT if view.waiting else 0))
        ready = dict(poll.poll(self._patience() * 1000))
        if wake in ready:
            _drained(wake)
        if self.master in ready:
            self._pass_typed()
            if not slowed:
                self._pass_output()
        if self.control in ready:
            self._hear_driver()
        if self.listener is not None and self.listener.fileno() in ready:
            self._accept()
        for view in list(self.views):
            if view.connection.fileno() in ready:
                self._hear(view)
        self._show_log()
        self._flush_views()
        self._obey_signals()
        self._reap()
        self._tick()

    def _patience(self) -> float:
        now = time.monotonic()
        ends = [self.next_tick - now] + ([self.deadline - now] if self.deadline is not None else [])
        ends += [LOOK] if any(view.place is not None for view in self.views) else []
        return max(0.0, min(ends))

    def fail(self, error: BaseException) -> None:
        """End the run for a defect of our own: nothing may be left for that."""
        self.why = f"pilotage's supervisor has failed: {type(error).__name__}: {error}"
        self.events.tell("supervisor-failed", self.why, "error", log=self._path("supervisor.log"))
        self.at_once = True
        if self.driver and self.code is None:
            processes.send(self.driver, signal.SIGKILL)
        self._finish()

    # What is heard

    def _obey_signals(self) -> None:
        while self.signals:
            number = self.signals.pop(0)
            if number in (signal.SIGTERM, signal.SIGINT):
                self.stop("it was told to stop by a signal")

    def _hear_driver(self) -> None:
        if self.control is None:
            return
        said = _drained(self.control)
        if said is None:
            os.close(self.control)
            self.control = None
            return
        for line in said.decode(errors="replace").splitlines():
            word, _, rest = line.partition(" ")
            if word == "stopping" and not self.deadline:
                self.why = self.why or rest
                self.deadline = time.monotonic() + self.settings["grace"]
                self.record.update(state="stopping")
            elif word == "failed":
                self.events.tell("driver-not-started", f"the driver cannot be started: {rest}", "error")

    def _accept(self) -> None:
        if self.listener is None:
            return
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        view = View(connection)
        size = 0 if self.log is None else os.fstat(self.log).st_size
        if newest := self._newest_output(size):
            view.send(frames.OUTPUT, newest)
        if "pty" not in self.settings["streams"]:  # it writes on pipes, which lead to the log
            view.place = size
        self.views.append(view)

    def _newest_output(self, size: int) -> bytes:
        if self.log is None:
            return b""
        newest = os.pread(self.log, REPLAY, max(0, size - REPLAY))
        if size > REPLAY:  # from the beginning of a line
            newest = newest.partition(b"\n")[2]
        return newest

    def _hear(self, view: View) -> None:
        try:
            data = view.connection.recv(1 << 16)
            found = view.reader.feed(data)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            data, found = b"", []
        for kind, content in found:
            self._obey(view, kind, content)
        if not data:
            self._let_go(view)

    def _obey(self, view: View, kind: bytes, content: bytes) -> None:
        if kind == frames.INPUT:
            self._type(content)
        elif kind == frames.SIZE and self.master is not None:
            try:
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, content)
            except (OSError, ValueError):
                return
        elif kind == frames.SIGNAL and content:
            if content[0] == signal.SIGINT:
                self._interrupt(send=True)
            else:
                self._send_group(content[0])
        elif kind == frames.SUSPEND:
            view.suspended = True
            self._send_group(signal.SIGSTOP)
        elif kind == frames.CONTINUE:
            view.suspended = False
            self._send_group(signal.SIGCONT)

    def _type(self, typed: bytes) -> None:
        if self.master is None:
            if INTERRUPT in typed:
                self._interrupt(send=True)
            return
        interrupts = INTERRUPT in typed and self._interrupts_driver()
        self.typed += typed
        self._pass_typed()
        if interrupts:
            self._interrupt(send=False)  # the terminal has sent it

    def _pass_typed(self) -> None:
        """Give the terminal what was typed; a script that does not read leaves it full."""
        while self.typed and self.master is not None:
            try:
                del self.typed[: os.write(self.master, self.typed[:1024])]
            except BlockingIOError:
                return
            except OSError:
                self.typed.clear()

    def _interrupts_driver(self) -> bool:
        """Return whether Ctrl-C is a signal now, and the driver's: an editor that it runs may use it otherwise."""
        if self.master is None:
            return False
        try:
            if not termios.tcgetattr(self.master)[3] & termios.ISIG:
                return False
            return os.tcgetpgrp(self.master) == self.driver
        except (OSError, termios.error):
            return True

    def _interrupt(self, *, send: bool) -> None:
        """Take note of a Ctrl-C: the first is the script's to answer, a second within the grace period ends the run."""
        now = time.monotonic()
        if self.interrupted is not None and now - self.interrupted < self.settings["grace"]:
            self.why = self.why or "Ctrl-C"
            self.end_at_once()
            return
        self.interrupted = now
        if send:
            self._send_group(signal.SIGINT)

    def _send_group(self, number: int) -> None:
        try:
            os.killpg(self.driver, number)
        except OSError:  # it has ended, or there is no such signal
            return

    def stop(self, why: str) -> None:
        """Stop in order, within the grace period: the script unwinds, blocks are cancelled. A second time: at once."""
        if self.why:
            self.end_at_once()
            return
        self.why = why
        self.deadline = time.monotonic() + self.settings["grace"]
        self.events.tell("stopping", f"the run is being stopped: {why}")
        self.record.update(state="stopping")
        processes.send(self.driver, signal.SIGTERM)
        self._send_group(signal.SIGCONT)

    def end_at_once(self) -> None:
        """End the driver now; `_finish` ends the rest."""
        self.at_once = True
        processes.send(self.driver, signal.SIGKILL)

    # What is passed on

    def _pass_output(self) -> bool:
        if self.master is None:
            return False
        try:
            piece = os.read(self.master, 1 << 16)
        except BlockingIOError:
            return False
        except OSError as error:  # EIO: the last process has closed its side
            if error.errno != errno.EIO:
                raise
            piece = b""
        if not piece:
            os.close(self.master)
            self.master = None
            return False
        self._append_to_log(piece)
        for view in self.views:
            view.send(frames.OUTPUT, piece)
        return True

    def _show_log(self) -> None:
        """Show views what has come into the log since, where that is where the output goes."""
        log = self.log  # a thread may close it for good
        for view in self.views:
            while log is not None and view.place is not None and len(view.waiting) < SLOW_VIEW:
                piece = os.pread(log, 1 << 16, view.place)
                if not piece:
                    break
                view.place += len(piece)
                view.send(frames.OUTPUT, piece)

    def _append_to_log(self, piece: bytes) -> None:
        if self.log is None:
            return
        while piece:
            try:
                piece = piece[os.write(self.log, piece) :]
            except OSError:  # the disk is full: this piece is lost, the run goes on
                self.output_lost = True
                return

    def _flush_views(self) -> None:
        for view in list(self.views):
            if not view.flush():
                self._let_go(view)

    def _let_go(self, view: View) -> None:
        if view in self.views:
            self.views.remove(view)
            view.connection.close()
            if view.suspended:
                self._send_group(signal.SIGCONT)

    # What is looked after

    def _reap(self) -> None:
        self._note_ended(processes.reap())

    def _note_ended(self, codes: dict[int, int]) -> None:
        for pid, code in codes.items():
            if pid == self.driver:
                self.code = code
            if key := self.adopted.pop(pid, ""):
                self._journal_ended(key)

    def _journal_ended(self, key: str) -> None:
        try:
            self.journal.ended(key)
        except OSError:  # whoever reads the entry finds the process gone
            return

    def _tick(self) -> None:
        now = time.monotonic()
        if self.deadline is not None and now >= self.deadline and not self.at_once:
            self.events.tell("grace-over", "the driver did not stop in time and is ended", "warning")
            self.end_at_once()
        if now < self.next_tick:
            return
        self.next_tick = now + TICK
        if now >= self.next_beat:
            self.next_beat = now + BEAT
            _touch(self._path("heartbeat"))
        self._adopt()
        self._look_for_requests()
        self._hold_to_cap()

    def _adopt(self) -> None:
        """Write down the orphans that have come to us: should we be killed, a sweep finds them by that."""
        for pid in _children():
            if pid != self.driver and pid not in self.adopted:
                known = processes.identity(pid)
                if known["start"] is None:
                    continue
                try:
                    key = self.journal.intend("process", role="left by the script")
                    self.journal.identify(key, **known)
                except OSError:
                    return
                self.adopted[pid] = key

    def _look_for_requests(self) -> None:
        path = self._path("request.json")
        if not self.why and os.path.exists(path):  # noqa: PTH110
            try:
                with open(path, encoding="utf-8") as file:
                    asked = json.load(file)
            except (OSError, ValueError):
                return
            self.stop(str(asked.get("why", "it was cancelled")) if isinstance(asked, dict) else "it was cancelled")

    def _hold_to_cap(self) -> None:
        cap = self.settings["max_node_hours"]
        if cap is None or self.why:
            return
        try:
            with open(self._path("progress.json"), encoding="utf-8") as file:
                used = float(json.load(file)["node_hours"])
        except (OSError, ValueError, TypeError, KeyError):
            return
        if used >= cap:
            self.stop(f"it has used {used:.3g} node-hours, and may use {cap:g}")

    # The end

    def _finish(self) -> None:
        code = self.code if self.code is not None else 1
        if self.driver_key:
            self._journal_ended(self.driver_key)
        self._drain_output()
        patience = 0.0 if self.at_once else PATIENCE
        left = processes.end_descendants(patience, reaped=self._note_ended)
        self._drain_output()
        if left:
            self.events.tell("left", f"these processes do not end: {left}", "error")
        problems = ending.end_all(self.journal, patience=patience)
        for entry, reason in problems:
            level, words = ("warning", "") if ending.may_come(entry) else ("error", " cannot be ended")
            self.events.tell("left", f"{ending.describe([entry])[0]}{words}: {reason}", level)
        _remove_data()
        state, reason = self._outcome(code)
        try:
            self.record.finish(state, code, reason)
        except OSError as error:
            try:  # the reserve makes room for the last word
                self.journal.release_reserve()
                self.record.finish(state, code, reason)
            except OSError:
                sys.stderr.write(f"the run's record cannot be written: {error}\n")
        for copier in self.copiers:
            copier.join(PATIENCE if self.why or self.at_once else None)
        if self.output_lost:
            self.events.tell(
                "output-incomplete", "the disk was full: not all of the script's output was kept", "warning"
            )
        self._show_log()
        if not problems:
            self.record.unmark_live()
        if self.listener is not None:
            self.listener.close()
            _remove(self._path("view.sock"))
        self.journal.release_reserve()
        self._say_goodbye(json.dumps({"code": code, "state": state, "reason": reason}).encode())

    def _drain_output(self) -> None:
        end = time.monotonic() + DRAIN  # whoever is left may write for ever
        while self._output_waits() and time.monotonic() < end and self._pass_output():
            self._flush_views()

    def _output_waits(self) -> bool:
        return self.master is not None and bool(select.select([self.master], [], [], 0)[0])

    def _outcome(self, code: int) -> tuple[str, str]:
        if self.why:
            return ("failed" if self.why.startswith("pilotage's") else "cancelled"), self.why
        if code == 0:
            return "finished", ""
        if code == -signal.SIGINT and self.interrupted is not None:
            return "cancelled", "Ctrl-C"
        if code < 0:
            return "failed", f"the driver was ended by {_name_of(-code)}"
        return "failed", f"the script ended with exit code {code}"

    def _say_goodbye(self, last: bytes) -> None:
        for view in self.views:
            view.send(frames.EXIT, last)
        while self.views:  # a view that takes nothing for a while is let go by its flush
            for view in list(self.views):
                if not view.flush() or not view.waiting:
                    self.views.remove(view)
                    view.connection.close()
            if self.views:
                select.select([], [view.connection for view in self.views], [], 0.5)


def _become_driver(
    settings: dict[str, Any], streams: list[int | None], slave: int | None, control: int, environment: dict[str, str]
) -> None:
    os.setsid()
    if slave is not None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    # Above the three first, so that placing one never overwrites another.
    moved = [None if one is None else fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in streams]
    for number, one in enumerate(moved):
        if one is not None:
            os.dup2(one, number)
        else:
            try:
                os.close(number)
            except OSError:
                continue
    for one in moved:
        if one is not None:
            os.close(one)
    os.set_inheritable(control, True)
    for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGTTOU, signal.SIGTTIN, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN if settings["ignores_interrupt"] else signal.SIG_DFL)
    os.chdir(settings["cwd"])
    os.execvpe(settings["argv"][0], settings["argv"], environment)  # noqa: S606  what this is for


def _tell_ready(descriptor: int) -> None:
    try:
        os.write(descriptor, b".")
    except BrokenPipeError:  # the command that started us has been killed; the run goes on
        pass
    os.close(descriptor)


def _drained(descriptor: int) -> bytes | None:
    """Return all that can be read now without waiting; None at the end of a pipe."""
    data = b""
    while True:
        try:
            piece = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return data
        if not piece:
            return data or None
        data += piece


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without it, or no Linux
        me = os.getpid()
        return [pid for pid, parent in processes.parents().items() if parent == me]


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _touch(path: str) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        os.utime(path)
    except OSError:
        return


def _remove_data() -> None:
    """Remove what a driver or a block on this host that was killed has left of its tasks' data."""
    folder = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  tempfile is not worth its memory here
    try:
        if not any(name.startswith("pilotage-data-") for name in os.listdir(folder)):  # noqa: PTH208
            return
    except OSError:
        return
    from pilotage.worker.data.scratch import remove_orphans

    remove_orphans(folder)


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError:
        return


def main() -> None:
    """Supervise the run whose folder is the only argument; its settings are in the file ``supervisor.json`` there."""
    with open(os.path.join(sys.argv[1], "supervisor.json"), encoding="utf-8") as file:  # noqa: PTH118
        settings = json.load(file)
    opened = os.open(os.path.join(settings["folder"], "supervisor.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)  # noqa: PTH118
    log = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, 3)  # where a standard stream was closed, it got its number
    os.close(opened)
    used = [target for how, target in zip(settings["streams"], settings["targets"], strict=True) if how == "copy"]
    # Streams of the user's stay at their numbers; our own words go to our log.
    keep = [number for number in range(3) if number in used or settings["streams"][number] == "pass"]
    sys.stderr = os.fdopen(fcntl.fcntl(log, fcntl.F_DUPFD_CLOEXEC, 3), "w", buffering=1)
    for number in range(3):
        if number not in keep:
            os.dup2(log if number else os.open(os.devnull, os.O_RDONLY), number)
    os.close(log)
    supervisor = Supervisor(settings)
    try:
        supervisor.run()
    except BaseException as error:
        supervisor.fail(error)
        raise

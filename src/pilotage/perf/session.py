"""One session: parsl-perf as a process of its own, and what it printed and left as numbers."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage.paths import RunFolder, private_folder, storage, write_json
from pilotage.perf.machine import LoadWatch
from pilotage.perf.observed import cold_start, ran
from pilotage.perf.record import Latency, Options, Session
from pilotage.perf.request import RUN_TIME
from pilotage.perf.subjects import Subject
from pilotage.perf.transcript import Transcript, TranscriptError
from pilotage.runs.order import target_as_dict
from pilotage.runs.record import read_json
from pilotage.worker import processes

ENDING = 6.0
"""Seconds that a session has to end in order when the run is stopped: less than the run itself has."""
SILENT, SILENT_TIMES = 120.0, 10.0
"""Seconds, and times the target, after which an iteration that has not ended is given up."""
LOG_LIMIT, LOG_KEPT = 1 << 20, 256 << 10
"""Bytes of a log file above which only its end is kept: stock Parsl writes 4 kB a task."""
CONFIG = """\
from pilotage.perf.within import session_config


def fresh_config():
    return session_config({path!r})
"""


@dataclass(frozen=True)
class Spec:
    """A session to come: which repeat of what, and its place among all sessions of the run."""

    subject: Subject
    options: Options
    number: int
    order: int


@dataclass
class Outcome:
    """A session that has been, and what was found out about its configuration (empty where it did not come so far)."""

    session: Session
    label: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


class SessionRunner:
    """Runs sessions on the sites themselves.

    Parameters
    ----------
    folder: the run's.
    say: told how far a session has come.
    settle: the longest time in seconds to wait for the machine to come to rest before each.
    """

    def __init__(self, folder: RunFolder, say: Callable[[str], None], settle: float = 10.0) -> None:
        self._folder = folder
        self._say = say
        self._settle = settle
        processes.become_subreaper()  # what a session leaves behind comes to us, and the next one must not feel it

    def __call__(self, spec: Spec) -> Outcome:
        """Run a session to its end; a failure is an outcome too. Raises what the run is stopped with."""
        place = private_folder(self._folder.path / "perf" / f"{spec.order:04d}")
        load = LoadWatch()
        load.settle(self._settle)
        started = now()
        begin = time.monotonic()
        program = Program(self._folder, place, spec, self._say)
        transcript = Transcript()
        latency: Latency | None = None
        try:
            reason = program.parsl_perf(transcript)
            observed = read_json(place / "observed.json")
            if not reason and spec.options.latency:
                latency, reason = program.sequential(place)
        finally:
            self._end_left()
            _shorten_logs(self._folder.parsl)
        session = Session(
            number=spec.number,
            order=spec.order,
            status="failed" if reason else "finished",
            reason=" ".join(reason.split()),
            started=started,
            elapsed=round(time.monotonic() - begin, 3),
            iterations=transcript.iterations(),
            latency=latency,
            cold_start=cold_start(observed),
            shutdown_s=_between(transcript.complete_at, transcript.ended_at),
            ran=ran(observed),
            load=load.done(),
            marks=transcript.marks(),
        )
        return Outcome(session, str(observed.get("label", "")), observed.get("parameters", {}))

    def _end_left(self) -> None:
        if processes.linux():
            processes.end_descendants(1.0, limit=5.0)


class Program:
    """The processes of one session."""

    def __init__(self, folder: RunFolder, place: Path, spec: Spec, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._place = place
        self._spec = spec
        self._say = say

    def parsl_perf(self, transcript: Transcript) -> str:
        """Run parsl-perf, feed ``transcript``; return why it failed, empty where it did not."""
        options = self._spec.options
        aim = options.time_s or RUN_TIME  # only an imported record has none
        config = self._write_config(self._place)
        argv = [*_python("parsl.benchmark.perf"), "--config", str(config), "--time", f"{aim:g}"]
        argv += ["--argsize", str(options.argsize)]
        limit = max(SILENT, SILENT_TIMES * aim)

        def feed(line: str) -> float | None:
            iteration = transcript.feed(line, time.monotonic())
            if iteration is not None:
                self._say(
                    f"  iteration {iteration.number}: {iteration.num_tasks:,} tasks, {iteration.runtime_tps:,.0f}/s"
                )
            return limit if line.startswith("====") else None

        code, late = self._run(argv, self._place, feed)
        return self._reason(code, late, self._place, transcript)

    def sequential(self, place: Path) -> tuple[Latency | None, str]:
        """Make calls one after the other in a process of their own; return them, and why it failed."""
        own = private_folder(place / "latency")
        config = self._write_config(own)
        code, late = self._run([*_python("pilotage.perf.sequential"), str(config)], own, lambda _: SILENT)
        found = read_json(own / "latency.json")
        if code == 0 and found:
            return Latency.model_validate(found), ""
        return None, f"calls one after the other: {late or _last_words(own) or f'exit code {code}'}"

    def _write_config(self, place: Path) -> Path:
        subject = self._spec.subject
        target = subject.target
        session = {
            "folder": str(place),
            "run": str(self._folder.path),
            "started": time.time(),
            "executor": subject.executor,
            **(
                {"file": str(target.file), "workers": subject.workers}
                if target.resolved is None
                else {"target": target_as_dict(target)}
            ),
        }
        config = place / "config.py"
        with storage(place):
            write_json(place / "session.json", session)
            config.write_text(CONFIG.format(path=str(place / "session.json")))
        return config

    def _reason(self, code: int, late: str, place: Path, transcript: Transcript) -> str:
        told = str(read_json(place / "observed.json").get("reason", ""))
        if late or told:
            return told or late
        try:
            transcript.check()
        except TranscriptError as error:
            return _last_words(place) or f"{error} (exit code {code})"
        if code == 0:
            return ""
        return f"its end failed: {_last_words(place) or f'exit code {code}'}"

    def _run(self, argv: Sequence[str], place: Path, feed: Callable[[str], float | None]) -> tuple[int, str]:
        """Run a program; return its exit code, and why it was ended where it was.

        Each line of its output goes to ``feed``, which may return a limit in seconds for what is to come.
        """
        with storage(place), (place / "output.txt").open("ab") as out, (place / "stderr.txt").open("ab") as err:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                start_new_session=True,  # a Ctrl-C is ours to pass on: Parsl's interchange must not hear it first
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            try:
                late = _read(process, out, feed)
                if late:
                    end_in_order(process)
                return process.wait(), late
            finally:
                if process.poll() is None:
                    end_in_order(process)
                if process.stdout is not None:
                    process.stdout.close()


def _read(process: subprocess.Popen[bytes], out: Any, feed: Callable[[str], float | None]) -> str:
    """Read a program's output to its end; return why it was given up, empty where it was not."""
    if process.stdout is None:
        raise TypeError("the program's output is no pipe")
    descriptor = process.stdout.fileno()
    waiting, end, limit = b"", None, None
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(None if end is None else max(0.0, end - time.monotonic())):
                return f"it has not come further for {limit:g} s"
            data = os.read(descriptor, 1 << 16)
            if not data:
                return ""
            out.write(data)
            out.flush()
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                limit = feed(line.decode(errors="replace")) or limit
            end = None if limit is None else time.monotonic() + limit


def end_in_order(process: subprocess.Popen[bytes]) -> None:
    """Let a session unwind as for Ctrl-C, so that its blocks are cancelled; end it where it does not."""
    processes.send(process.pid, signal.SIGINT)
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _python(module: str) -> list[str]:
    # -P: a file in the current folder that is called like a module must not be taken for it.
    return [sys.executable, "-P", "-m", module]


def _last_words(place: Path) -> str:
    """Return the last line of a program's stderr that says something."""
    try:
        lines = (place / "stderr.txt").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:500] if said else ""


def _between(early: float | None, late: float | None) -> float | None:
    return None if early is None or late is None else round(late - early, 3)


def now() -> str:
    """Return the time as ISO 8601 with the zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime())


def _shorten_logs(folder: Path) -> None:
    """Keep only the end of large logs."""
    for path in folder.rglob("*.log"):
        try:
            size = path.stat().st_size
            if size <= LOG_LIMIT:
                continue
            with path.open("rb+") as file:
                file.seek(size - LOG_KEPT)
                end = file.read()
                file.seek(0)
                file.write(b"[the beginning was not kept]\n" + end)
                file.truncate()
        except OSError:
            continue


def as_json(outcome: Outcome) -> str:
    """Return an outcome as it is kept in the run's folder."""
    rest = {"label": outcome.label, "parameters": outcome.parameters}
    return json.dumps({"session": outcome.session.model_dump(mode="json"), **rest})


def from_json(text: str) -> Outcome:
    """Return the outcome in what `as_json` made; raises ValueError."""
    value = json.loads(text)
    return Outcome(Session.model_validate(value.pop("session")), **value)

"""All sessions of a benchmark's run, in turn; a record of each configuration is written anew after every one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage.errors import UnsupportedError
from pilotage.paths import RunFolder, private_folder, storage, write_json
from pilotage.perf import folder as records
from pilotage.perf import machine, parameters
from pilotage.perf.record import Options, Record, Session, name_of
from pilotage.perf.request import Request, turns
from pilotage.perf.session import Outcome, Spec, as_json, from_json, now
from pilotage.perf.subjects import Subject
from pilotage.runs.record import read_json

Runner = Callable[[Spec], Outcome]
Written = Callable[[Record, Path], None]


@dataclass
class Configuration:
    """One subject with one size of arguments, and the sessions that it has had."""

    subject: Subject
    options: Options
    id: str
    outcomes: list[Outcome] = field(default_factory=list)
    config: str | None = None
    """The module with the config that is measured, without secrets; None where there is none to be had."""

    @property
    def title(self) -> str:
        """The configuration in a few words."""
        return self.subject.title + (f", {self.options.argsize:,} B a call" if self.options.argsize else "")


class Campaign:
    """Measures subjects as a request asks.

    Parameters
    ----------
    folder: the run's; what was measured is kept there session by session.
    request: what is asked for.
    subjects: what is measured.
    runner: runs one session.
    say: told how far it has come.
    written: told of each record whenever it was written, with its file.
    """

    def __init__(
        self,
        folder: RunFolder,
        request: Request,
        subjects: list[Subject],
        runner: Runner,
        say: Callable[[str], None],
        written: Written | None = None,
    ) -> None:
        self._folder = folder
        self._place = private_folder(folder.path / "perf")
        self._request = request
        self._runner = runner
        self._say = say
        self._written = written
        self._facts: dict[str, Any] = {
            "machine": machine.machine(),
            "versions": machine.versions(),
            "revisions": machine.revisions(Path.cwd()),
        }
        self._begun: dict[str, Any] = {"id": folder.id, "created": now(), "runs": [folder.id]}
        self.configurations = [
            Configuration(subject, self._options(subject, size), "", config=_config(subject))
            for subject in subjects
            for size in request.argsizes
        ]
        self.files: dict[str, Path] = {}
        """File of each record that was written, by the record's id."""

    def _options(self, subject: Subject, argsize: int) -> Options:
        request = self._request
        return Options(
            time_s=request.time_s,
            repeat=request.repeat,
            argsize=argsize,
            workers=subject.workers,
            latency=request.latency,
            seed=request.seed,
        )

    def take_up(self, earlier: RunFolder) -> int:
        """Take what an earlier run of the same request has finished; return the number of its sessions."""
        begun = read_json(earlier.path / "perf" / "begun.json")
        if not begun:
            return 0
        self._begun = {**begun, "runs": [*begun["runs"], self._folder.id]}
        count = 0
        for place, outcome in _outcomes(earlier.path / "perf" / "outcomes.jsonl"):
            if outcome.session.status != "cancelled" and place < len(self.configurations):
                self._keep(place, outcome)
                count += outcome.session.status == "finished"
        return count

    def run(self) -> None:
        """Run what is missing; raises what the run is stopped with, after it was written down."""
        with storage(self._place):
            write_json(self._place / "begun.json", self._begun)
        ids = [f"{self._begun['id']}-{place + 1}" for place in range(len(self.configurations))]
        for one, own in zip(self.configurations, ids, strict=True):
            one.id = own
            one.options.interleaved_with = [other for other in ids if other != own]
        plan = turns(len(self.configurations), self._request.repeat, self._request.seed)
        for order, (number, place) in enumerate(plan, start=1):
            one = self.configurations[place]
            if any(o.session.number == number and o.session.status == "finished" for o in one.outcomes):
                continue
            self._say(f"session {order} of {len(plan)}: {one.title}")
            try:
                outcome = self._runner(Spec(one.subject, one.options, number, order))
            except BaseException:  # Ctrl-C, a signal, a full disk: what was measured so far stays
                stopped = Session(number=number, order=order, status="cancelled", reason="stopped", started=now())
                self._keep(place, Outcome(stopped))
                raise
            self._keep(place, outcome)
            self.write(place)
            self._say(f"session {order} of {len(plan)}: {one.title}: {told(outcome.session)}")
        for place, one in enumerate(self.configurations):
            if one.id not in self.files:  # nothing was missing
                self.write(place)

    def _keep(self, place: int, outcome: Outcome) -> None:
        self.configurations[place].outcomes.append(outcome)
        with storage(self._place), (self._place / "outcomes.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"configuration": place, **json.loads(as_json(outcome))}) + "\n")

    def write(self, place: int) -> None:
        """Write the record of a configuration."""
        one = self.configurations[place]
        record = self.record(one)
        self.files[one.id] = records.write(record, self._request.root, one.config)
        with storage(self._place):
            write_json(self._place / "records.json", {"records": {k: str(v) for k, v in self.files.items()}})
        if self._written is not None:
            self._written(record, self.files[one.id])

    def made(self) -> list[Record]:
        """Return the records that were written."""
        return [self.record(one) for one in self.configurations if one.id in self.files]

    def record(self, one: Configuration) -> Record:
        """Return the record of a configuration as it is now."""
        found = next((outcome for outcome in one.outcomes if outcome.parameters), None)
        record = Record(
            id=one.id,
            created=self._begun["created"],
            runs=self._begun["runs"],
            site=one.subject.site,
            scheduler=one.subject.scheduler,
            executor=one.subject.kind,
            label=name_of((found.label if found else one.subject.executor) or ""),
            options=one.options,
            sessions=sorted((outcome.session for outcome in one.outcomes), key=lambda session: session.order),
            parameters=parameters.cleaned(found.parameters) if found else {},
            **self._facts,
        )
        _tell_cores(record)
        return record


def _tell_cores(record: Record) -> None:
    """Fill in the cores of a node from what was seen there, where the config does not say: they are no guess then."""
    seen = {node.cores for node in record.ran.nodes}
    known = record.parameters
    if known.get("cores_per_node") is None and len(seen) == 1 and None not in seen:
        known["cores_per_node"] = cores = seen.pop()
        nodes = known.get("max_nodes")
        if isinstance(nodes, int) and isinstance(cores, int):
            known["max_cores"] = nodes * cores


def _config(subject: Subject) -> str | None:
    """Return the module with the config that was measured, without secrets; None where there is none to be had."""
    target = subject.target
    if target.resolved is not None:
        from pilotage.assembly.export import export

        try:
            return parameters.without_secrets(export(target.resolved))
        except UnsupportedError:
            return None
    note = f"# Measured with {subject.workers} workers a node.\n" if subject.workers else ""
    try:
        return note + parameters.without_secrets(Path(target.file or "").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _outcomes(path: Path) -> Iterator[tuple[int, Outcome]]:
    """Yield the sessions that a run has kept, each with the place of its configuration."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            value = json.loads(line)
            yield int(value.pop("configuration")), from_json(json.dumps(value))
        except (ValueError, KeyError, TypeError, AttributeError):  # half a line: it was killed, or its disk was full
            continue


def told(session: Session) -> str:
    """Return what came of a session in a few words."""
    if session.status != "finished":
        return f"{session.status}: {session.reason}"
    parts = [f"{session.rate:,.0f} tasks/s"] if session.rate is not None else []
    if session.cold_start is not None:
        parts.append(f"cold start {session.cold_start.total_s:.2f} s")
    if session.shutdown_s is not None:
        parts.append(f"shutdown {session.shutdown_s:.2f} s")
    return "; ".join([*parts, *session.marks])

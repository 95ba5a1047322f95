"""The shapes of ``--json`` of the commands about benchmarks, and their JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pilotage.perf import check, compare, history, importing, record, share, tracking
from pilotage.perf.record import Model, Record
from pilotage.runs.record import read_json


class Measured(Model):
    """The result of ``pilotage perf run``: the run, and the file of each record, by the record's id."""

    schema_version: Literal[1] = 1
    run: str
    state: str
    reason: str
    records: dict[str, str]


class Listed(Model):
    """One record of ``pilotage perf table``."""

    file: str
    record: Record


class Table(Model):
    """The result of ``pilotage perf table``."""

    schema_version: Literal[1] = 1
    records: list[Listed]
    problems: list[str]


class Drawn(Model):
    """The result of ``pilotage perf plot``."""

    schema_version: Literal[1] = 1
    files: list[str]


class Imported(Model):
    """The result of ``pilotage perf import``: files of records by what happened to them.

    ``marked`` are those that hold no measurement, in part or at all, and why; ``problems`` tells of each run left out.
    """

    schema_version: Literal[1] = 1
    new: list[str]
    updated: list[str]
    unchanged: list[str]
    marked: dict[str, str]
    problems: list[str]


class Waiting(Model):
    """A record that waits, and the address of the store that it is for."""

    id: str
    store: str


class Synced(Model):
    """The result of ``pilotage perf sync``: ids of records by what came of them.

    ``there`` are those that the store had already, ``deleted`` those whose run somebody has deleted there.
    """

    schema_version: Literal[1] = 1
    sent: list[str]
    there: list[str]
    deleted: list[str]
    waiting: list[Waiting]
    problems: list[str]


class Page(Model):
    """What ``pilotage perf ui`` tells as soon as its page answers; ``pid`` is None where a server has its own page."""

    schema_version: Literal[1] = 1
    url: str
    store: str
    pid: int | None


class Reported(Model):
    """The result of ``pilotage perf report``: its files, the page first; how many records, and sessions not counted."""

    schema_version: Literal[1] = 1
    files: list[str]
    records: int
    not_counted: int
    problems: list[str]


def measured(folder: Path) -> dict[str, Any]:
    """Return the shape of ``perf run`` for the run in ``folder``."""
    values = read_json(folder / "run.json")
    return Measured(
        run=folder.name,
        state=str(values.get("state", "lost")),
        reason=str(values.get("reason", "")),
        records=read_json(folder / "perf" / "records.json").get("records", {}),
    ).model_dump(mode="json")


def table(records: Mapping[Path, Record], problems: Sequence[str]) -> dict[str, Any]:
    """Return the shape of ``perf table``."""
    listed = [Listed(file=str(file), record=record) for file, record in records.items()]
    return Table(records=listed, problems=list(problems)).model_dump(mode="json")


def drawn(files: Sequence[Path]) -> dict[str, Any]:
    """Return the shape of ``perf plot``."""
    return Drawn(files=[str(file) for file in files]).model_dump(mode="json")


def imported(found: importing.Imported) -> dict[str, Any]:
    """Return the shape of ``perf import``."""
    return Imported(
        new=list(map(str, found.new)),
        updated=list(map(str, found.updated)),
        unchanged=list(map(str, found.unchanged)),
        marked={str(path): why for path, why in found.marked.items()},
        problems=found.problems,
    ).model_dump(mode="json")


def synced(told: tracking.Sent, waiting: Mapping[str, str]) -> dict[str, Any]:
    """Return the shape of ``perf sync``; ``waiting`` has the address of the store by the record's id."""
    wait = [Waiting(id=one, store=store) for one, store in waiting.items()]
    return Synced(
        sent=told.sent, there=told.there, deleted=told.deleted, waiting=wait, problems=told.problems
    ).model_dump(mode="json")


def page(url: str, store: str, pid: int | None) -> dict[str, Any]:
    """Return the shape of ``perf ui``."""
    return Page(url=url, store=store, pid=pid).model_dump(mode="json")


def reported(files: Sequence[Path], records: int, not_counted: int, problems: Sequence[str]) -> dict[str, Any]:
    """Return the shape of ``perf report``."""
    return Reported(
        files=list(map(str, files)), records=records, not_counted=not_counted, problems=list(problems)
    ).model_dump(mode="json")


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "perf-record": record.Record.model_json_schema,
    "perf-run": Measured.model_json_schema,
    "perf-compare": compare.Comparison.model_json_schema,
    "perf-check": check.Check.model_json_schema,
    "perf-history": history.History.model_json_schema,
    "perf-import": Imported.model_json_schema,
    "perf-plot": Drawn.model_json_schema,
    "perf-report": Reported.model_json_schema,
    "perf-share": share.Shared.model_json_schema,
    "perf-sync": Synced.model_json_schema,
    "perf-table": Table.model_json_schema,
    "perf-ui": Page.model_json_schema,
}
"""JSON Schema of a record, and of each command's ``--json``."""


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a command's output; raises KeyError for a name that is not in `SCHEMAS`."""
    title = f"pilotage {name.replace('-', ' ')}"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMAS[name](), "title": title}

"""What is known here of runs whose driver is elsewhere: one small file each.

It is written before anything of the run is there, and its token is part of the run's name there: a run whose start was
not heard of any more is found by it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pilotage.errors import StorageError, UsageError
from pilotage.paths import private_folder, state_folder, storage, write_json
from pilotage.runs.record import FINAL, read_json
from pilotage.runs.store import folders
from pilotage.worker import processes

SCHEMA_VERSION = 1
HERE = "PILOTAGE_HERE"
"""Set for commands that another pilotage runs: hosts that share a home folder would ask each other without end."""
TYPES = {
    "token": str,
    "host": str,
    "folder": str,
    "script": str,
    "name": str | None,
    "run": str | None,
    "values": dict,
    "at": float,
}
"""What makes a JSON object one of these."""
NAME_LENGTH = 50
"""Characters that a run's name may have where a token is put behind it."""


@dataclass(frozen=True)
class Kept:
    """A run elsewhere.

    ``folder`` is the folder there with the script, ``sources`` are the files here that were sent to it, ``run`` is the
    run's id there (None: it was not heard of whether it has started) and ``values`` what was known of it last.
    ``starter`` is the process of ours that starts it.
    """

    token: str
    host: str
    folder: str
    script: str
    sources: list[str]
    name: str | None
    arguments: list[str]
    at: float
    program: list[str] = field(default_factory=list)
    run: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    starter: dict[str, Any] = field(default_factory=dict)
    resumes: str | None = None

    @property
    def there(self) -> str:
        """The run's name there."""
        return f"{self.name or 'on'}.{self.token}"

    @property
    def is_over(self) -> bool:
        """Whether the run is known to be over."""
        return self.values.get("state") in FINAL

    @property
    def is_starting(self) -> bool:
        """Whether a process of ours is at it still."""
        return self.run is None and processes.is_alive(self.starter)

    def but(self, **changes: Any) -> Kept:
        """Write down what is known anew, and return it; raises StorageError."""
        new = replace(self, **changes)
        path = _folder() / f"{new.token}.json"
        with storage(path):
            write_json(path, {"schema_version": SCHEMA_VERSION, **asdict(new)})
        return new

    def forget(self) -> None:
        """Remove what is written down."""
        with contextlib.suppress(FileNotFoundError), storage(_folder()):
            (_folder() / f"{self.token}.json").unlink(missing_ok=True)

    def shown(self, state: str | None = None, reason: str | None = None) -> dict[str, Any]:
        """Return the run in the shape of ``ps``, with another state where one is given."""
        values = {**_NOTHING, **self._own(), **self.values}
        values.update(name=self.name or values["name"], host=self.host, id=self.run or f"on-{self.token}")
        if str(values["name"]).endswith(self.token):
            values["name"] = self.name
        if state is not None:
            values.update(state=state, reason=reason or "")
        return values

    def _own(self) -> dict[str, Any]:
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at))
        own = {"script": self.script, "arguments": self.arguments, "cwd": self.folder, "folder": self.folder}
        return {**own, "started": began, "resumes": self.resumes}


_NOTHING: dict[str, Any] = {
    "schema_version": 1,
    "name": None,
    "kind": "run",
    "sites": {},
    "state": "starting",
    "reason": "",
    "exit_code": None,
    "ended": None,
    "elapsed": None,
    "heartbeat": None,
    "tasks": {},
    "rate": 0.0,
    "eta": None,
    "blocks": {},
    "blocks_of": {},
    "waits_for": "",
    "doing": [],
    "node_hours": 0.0,
    "own_config": False,
    "max_node_hours": None,
    "error": None,
}


def new(host: str, name: str | None, script: str, sources: list[Path], arguments: list[str], **more: Any) -> Kept:
    """Write down a run that is to be started; raises StorageError, and UsageError where its name is too long."""
    if name is not None and len(name) > NAME_LENGTH:
        raise UsageError(f"{name!r} is too long a name", hint=f"{NAME_LENGTH} characters at most for a run elsewhere")
    token = secrets.token_hex(4)
    kept = Kept(
        token=token,
        host=host,
        folder=f"~/.pilotage/on-{token}",
        script=script,
        sources=[str(path) for path in sources],
        name=name,
        arguments=arguments,
        at=round(time.time(), 3),
        starter=processes.identity(os.getpid()),
    )
    return kept.but(**more)


def all_kept() -> list[Kept]:
    """Return what is known of runs elsewhere, oldest first; nothing in a command that comes from elsewhere itself."""
    if os.environ.get(HERE):
        return []
    try:
        names = os.listdir(state_folder() / "elsewhere")  # noqa: PTH208  names are what is wanted
    except (OSError, StorageError):
        return []
    found = [_read(read_json(_folder() / name)) for name in names if name.endswith(".json") and name[0] != "."]
    return sorted((kept for kept in found if kept is not None), key=lambda kept: kept.at)


def _read(values: Mapping[str, Any]) -> Kept | None:
    if values.get("schema_version") != SCHEMA_VERSION:
        return None
    if any(not isinstance(values.get(key), kind) for key, kind in TYPES.items()):
        return None
    known = {key: value for key, value in values.items() if key in Kept.__dataclass_fields__}
    try:
        return Kept(**known)
    except TypeError:
        return None


def _folder() -> Path:
    return private_folder(state_folder() / "elsewhere")


def elsewhere(text: str) -> Kept | None:
    """Return the run elsewhere that an id, the beginning of one, a name, or ``@last`` means; None for one of here."""
    known = all_kept()
    if not known:
        return None
    theirs = {kept.run for kept in known}  # a home folder may be shared: then they are here too
    own = [folder for folder in folders() if folder.id not in theirs]
    if text in ("@last", "@-1"):
        return known[-1] if _is_newer(known[-1], [folder.id for folder in own]) else None
    for kept in known:
        if text in (kept.run, f"on-{kept.token}", kept.there):
            return kept
    here = {folder.id: read_json(folder.record).get("name") for folder in own}
    named = [kept for kept in known if kept.name == text]
    if named:
        return named[-1] if _is_newer(named[-1], [one for one, name in here.items() if name == text]) else None
    beginning = [kept for kept in known if text and (kept.run or "").startswith(text)]
    if len(beginning) == 1 and not any(one.startswith(text) or name == text for one, name in here.items()):
        return beginning[0]
    return None


def _is_newer(kept: Kept, ids: list[str]) -> bool:
    """Return whether a run elsewhere was started after all of some runs of here, whose ids begin with their times."""
    began = time.strftime("%Y%m%d-%H%M%S", time.gmtime(kept.at))
    return all(began >= one[: len(began)] for one in ids)

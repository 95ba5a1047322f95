"""The older Parallel Works form of sites: ``executors.json``, an object of pools under executor labels.

Of a pool, each key becomes a value of a site of scheduler ``ssh``, or a note that says why it does not: no key is lost.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilotage.errors import SiteFileError, SiteValueError, did_you_mean

KEYS = (
    "POOL",
    "HOST_IP",
    "HOST_USER",
    "CONDA_DIR",
    "CONDA_ENV",
    "LOCAL_CONDA_YAML",
    "INSTALL_CONDA",
    "RUN_DIR",
    "WORKER_LOGDIR_ROOT",
    "SSH_CHANNEL_SCRIPT_DIR",
    "CORES_PER_WORKER",
    "WORKER_PORT_1",
    "WORKER_PORT_2",
    "SINGULARITY_CONTAINER_PATH",
    "CREATE_SINGULARITY_CONTAINER",
    "LOCAL_SINGULARITY_FILE",
)
PLACEHOLDER = "__job_number__"
"""What the platform filled in when a workflow was started."""

EMPTY = "empty"
UNKNOWN = "not a key of this form"
PORTS = "not needed: ports are reserved when a run starts"
OWN_FOLDER = "not needed: a run has a folder of its own on the host, and its scripts are there"
NOTHING_MADE = "nothing was to be made"
NOT_MADE = "make it on the host before the first run, or have the site's environment made: kind = conda or container"
CONTAINER = "apps that name it themselves go on as they did; for workers in it: environment with kind = container"
LOGS = "not needed: what workers log is in the run's folder, and is brought here when the run ends"
RELATIVE = "only an absolute path is the same everywhere"


@dataclass(frozen=True)
class Note:
    """A key that has become no value: what it was, why, and whether somebody has to do something about it."""

    key: str
    value: Any
    reason: str
    urgent: bool = False


@dataclass
class Pool:
    """One pool as a site.

    Attributes
    ----------
    label: of the executor; the site's name too.
    values: of the site, by its keys.
    became: which of them each key of the pool has become, such as ``{"HOST_IP": "hosts"}``.
    notes: on the keys that have become none.
    remark: what somebody has to see to, which is no key's.
    """

    label: str
    values: dict[str, Any] = field(default_factory=dict)
    became: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    remark: str | None = None


def read(text: str, source: str, *, keep_going: bool = False) -> list[Pool]:
    """Return the pools in the text of an ``executors.json``.

    Parameters
    ----------
    source: what the text is called in messages.
    keep_going: keys that are not known become notes.

    Raises SiteFileError for what is no such file, SiteValueError for a key that is not known or a wrong value.
    """
    found = _objects(text, source)
    unknown = [(label, key) for label, pool in found.items() for key in pool if key not in KEYS]
    if unknown and not keep_going:
        raise SiteValueError(
            f"not known: {', '.join(printable(f'{label}.{key}') for label, key in unknown)}",
            where=source,
            hint=_unknown_hint([key for _, key in unknown]),
        )
    return [_pool(label, pool, source) for label, pool in found.items()]


def _objects(text: str, source: str) -> dict[str, dict[str, Any]]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for number, (key, _) in enumerate(pairs):
            if key in dict(pairs[:number]):
                raise SiteFileError(f"{key!r} is there twice", where=source, hint="leave one of them out")
        return dict(pairs)

    try:
        found = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise SiteFileError(f"not JSON: {error.msg}", where=f"{source}:{error.lineno}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; too deep
        raise SiteFileError(f"cannot be read: {error}", where=source) from error
    form = 'expected {"LABEL": {"POOL": "...", "HOST_IP": "...", ...}, ...}'
    if not isinstance(found, dict) or not all(isinstance(pool, dict) for pool in found.values()):
        raise SiteFileError("not an object of pools under labels", where=source, hint=form)
    if not found:
        raise SiteFileError("there is no pool in it", where=source, hint=form)
    return found


def _unknown_hint(keys: list[str]) -> str:
    near = [f"{printable(key)}: {guess}" for key in dict.fromkeys(keys) if (guess := did_you_mean(key.upper(), KEYS))]
    known = f"known are {', '.join(KEYS)}"
    return "\n".join([*near, known, "--keep-going imports the rest, and keeps them as comments"])


class _Reader:
    """One pool while it is read: what is looked at is accounted for."""

    def __init__(self, label: str, given: Mapping[str, Any], source: str) -> None:
        self.pool = Pool(label)
        self.given = {key: value for key, value in given.items() if key in KEYS and not _is_empty(value)}
        self.source = source
        for key, value in given.items():
            if key not in self.given:
                known = key in KEYS
                self.pool.notes.append(Note(key, value, EMPTY if known else UNKNOWN, urgent=not known))

    def note(self, key: str, reason: str, *, urgent: bool = False) -> None:
        """Keep a key as a note, where it is given."""
        if key in self.given:
            self.pool.notes.append(Note(key, self.given[key], reason, urgent))

    def put(self, key: str, value: Any, *came_from: str) -> None:
        """Give the site a value, and note what it was made of."""
        self.pool.values[key] = value
        for name in came_from:
            if name in self.given:
                before = self.pool.became.get(name)
                self.pool.became[name] = f"{before}, {key}" if before else key

    def text(self, key: str) -> str | None:
        """Return a text, None where it is not given."""
        value = self.given.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.isprintable():
            raise self.wrong(key, f"expected a text in one line, not {printable(json.dumps(value))}")
        return value

    def word(self, key: str, pattern: str, what: str) -> str | None:
        """Return a text that can stand in a command of ssh."""
        value = self.text(key)
        if value is not None and not re.fullmatch(pattern, value):
            raise self.wrong(key, f"{value!r} is no {what}")
        return value

    def flag(self, key: str) -> bool:
        """Return whether something is wanted; ``"true"`` in quotes is the form's way."""
        value = self.given.get(key, False)
        if isinstance(value, bool):
            return value
        words = {"true": True, "false": False}
        if isinstance(value, str) and value.strip().lower() in words:
            return words[value.strip().lower()]
        raise self.wrong(key, "expected true or false")

    def number(self, key: str) -> float | None:
        """Return a number above 0, which may be in quotes."""
        value = self.given.get(key)
        if value is None:
            return None
        try:
            number = float("" if isinstance(value, (bool, list, dict)) else value)
        except (ValueError, OverflowError):
            number = 0.0
        if not 0 < number < float("inf"):
            raise self.wrong(key, f"expected a number above 0, not {json.dumps(value)}")
        return number

    def wrong(self, key: str, message: str) -> SiteValueError:
        """Return the error for a wrong value."""
        return SiteValueError(message, where=f"{self.source}: {self.pool.label}.{key}")


def printable(text: str) -> str:
    """Return a text in one line, without what a terminal or a comment could not bear."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _pool(label: str, given: Mapping[str, Any], source: str) -> Pool:
    reader = _Reader(label, given, source)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label) or label.endswith(".py") or label == "all":
        raise SiteValueError(
            f"{printable(label)!r} cannot be a site's name and an executor's label",
            where=source,
            hint="letters, digits, '.', '_' and '-'; not 'all'",
        )
    reader.put("scheduler", "ssh")
    for part in (_host, _environment, _workers, _ports, _to_be_made):
        part(reader)
    return reader.pool


def _host(reader: _Reader) -> None:
    name = r"[A-Za-z0-9_.:%\[\]][A-Za-z0-9_.:%\[\]-]*"
    pool = reader.word("POOL", name, "name of a host or pool")
    address = reader.word("HOST_IP", name, "address of a host")
    user = reader.word("HOST_USER", r"[A-Za-z0-9_.+\\][A-Za-z0-9_.+\\-]*", "name of a user")
    host = address or pool
    if host is None:
        raise reader.wrong("POOL", "no host: neither HOST_IP nor POOL is given")
    if pool is not None:
        reader.put("description", f"pool {pool}", "POOL")
    if address is None:
        reader.pool.remark = f"without HOST_IP, {host} has to be a name that ssh knows, such as from ~/.ssh/config"
    where = "HOST_IP" if address else "POOL"
    reader.put("hosts", [f"{user}@{host}" if user else host], where, "HOST_USER")


def _environment(reader: _Reader) -> None:
    folder, name = reader.text("CONDA_DIR"), reader.text("CONDA_ENV")
    if folder is None and name is None:
        return
    base = _in_shell(folder) if folder else '"$(conda info --base)"'
    lines = [f"source {base}/etc/profile.d/conda.sh", f"conda activate {_in_shell(name)}" if name else "conda activate"]
    reader.put("worker_init", "\n".join(lines) + "\n", "CONDA_DIR", "CONDA_ENV")
    reader.put("python", "python", "CONDA_DIR", "CONDA_ENV")


def _in_shell(path: str) -> str:
    """Return a path for the shell; ``~`` is the home on the host."""
    if path == "~" or path.startswith("~/"):
        return f'"$HOME"{shlex.quote(path[1:]) if path[1:] else ""}'
    return shlex.quote(path)


def _workers(reader: _Reader) -> None:
    cores = reader.number("CORES_PER_WORKER")
    if cores is not None:
        reader.put("cores_per_worker", cores, "CORES_PER_WORKER")
    folder = reader.text("RUN_DIR")
    if folder is not None and PLACEHOLDER not in folder and re.match(r"/|~(/|$)", folder):
        reader.put("run_folder", folder, "RUN_DIR")
    elif folder is not None:
        reader.note("RUN_DIR", OWN_FOLDER if PLACEHOLDER in folder else RELATIVE, urgent=PLACEHOLDER not in folder)
    for key, reason in (("WORKER_LOGDIR_ROOT", LOGS), ("SSH_CHANNEL_SCRIPT_DIR", OWN_FOLDER)):
        reader.text(key)
        reader.note(key, reason)


def _ports(reader: _Reader) -> None:
    for key in ("WORKER_PORT_1", "WORKER_PORT_2"):
        number = reader.number(key)
        if number is not None and (number != int(number) or number > 65535):
            raise reader.wrong(key, "expected a port, 1 to 65535")
        reader.note(key, PORTS)


def _to_be_made(reader: _Reader) -> None:
    for wanted, made_of in (
        ("INSTALL_CONDA", "LOCAL_CONDA_YAML"),
        ("CREATE_SINGULARITY_CONTAINER", "LOCAL_SINGULARITY_FILE"),
    ):
        reader.text(made_of)
        urgent = reader.flag(wanted)
        for key in (wanted, made_of):
            reader.note(key, NOT_MADE if urgent else NOTHING_MADE, urgent=urgent)
    reader.text("SINGULARITY_CONTAINER_PATH")
    reader.note("SINGULARITY_CONTAINER_PATH", CONTAINER, urgent=True)

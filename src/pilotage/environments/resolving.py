"""What a requirements file comes to: resolved and installed on this machine by uv, once, then made into wheels.

The driver's own Parsl, pilotage and what they serialize with are always in it, in the driver's exact versions: workers
with others would not be the driver's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pilotage.environments.alone import alone
from pilotage.environments.indexes import index_environment, without_secrets
from pilotage.environments.installed import Installed, Python, installed
from pilotage.environments.wheels import Wheel, wheel_of, wheels_folder, wheels_of, whole
from pilotage.errors import MissingExtraError, UsageError
from pilotage.paths import private_folder, storage, write_json

CARRIED = ("parsl", "pilotage")
"""Those of ours that are taken as they are here, wherever they came from."""
EXACT = ("dill", "cloudpickle", "tblib")
"""Those of which workers have the driver's version, where they have them at all."""
LIMIT = 3600
"""Seconds that uv may take."""
FULL = ("No space left", "Disk quota exceeded", "os error 28", "os error 122")
"""What uv says of a disk that is full."""
LAST = 12
"""Lines that are told of what uv has said."""
INCLUDED = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", re.MULTILINE)
LOCAL = re.compile(r"^\s*(?:(?:-e|--editable)[\s=]+)?((?:\.{1,2}|/|file:)[^\s#;\[]*)", re.MULTILINE)
PINNED = re.compile(r"^\s*([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)(.*--hash=.*)$", re.MULTILINE)


def uv() -> str:
    """Return the path of uv; raises MissingExtraError."""
    if importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        try:
            return str(find_uv_bin())
        except FileNotFoundError:
            pass
    if found := shutil.which("uv"):
        return found
    raise MissingExtraError(
        "environments from a requirements file are made with uv, which is not here",
        hint='pip install "pilotage[venv]"',
    )


def resolved(file: Path, wheelhouse: Path | None, python: Python, say: Callable[[str], object]) -> list[Wheel]:
    """Return the wheels of what a requirements file comes to; a file that has not changed is not resolved again.

    Raises UsageError where it cannot be resolved, MissingExtraError where there is no uv.
    """
    ours = _ours(installed(python.path))
    _check_ours(file, ours)
    known = resolution(_key(file, wheelhouse, python, ours))
    if (found := kept(known)) is not None:
        return found
    with alone(f"resolving {known}"):
        if (found := kept(known)) is not None:  # another has done it meanwhile
            return found
        say(f"resolving {file.name}")
        with tempfile.TemporaryDirectory(dir=private_folder(wheels_folder()), prefix=".resolving-") as folder:
            have = _install(file, wheelhouse, python, ours, Path(folder))
            wheels = wheels_of(have, say)
        keep(known, wheels)
    return wheels


def hashes(file: Path) -> dict[str, list[str]]:
    """Return what a requirements file with exact versions says of their hashes: ``name==version`` to ``sha256:...``."""
    if file.name == "uv.lock":
        text = run_uv(["export", *_export(file)], file.parent)
    elif file.name.startswith("pylock") or file.suffix != ".txt":
        return {}
    else:
        text = file.read_text()
    text = text.replace("\\\n", " ")
    found = (
        (canonicalize_name(line[1]), line[2], re.findall(r"--hash=(\S+)", line[3])) for line in PINNED.finditer(text)
    )
    return {f"{name}=={version}": known for name, version, known in found}


def _ours(found: Mapping[str, Installed]) -> dict[str, Installed]:
    return {name: found[name] for name in (*CARRIED, *EXACT) if name in found}


def _check_ours(file: Path, ours: Mapping[str, Installed]) -> None:
    """Raise UsageError where a line of the file asks for another version of ours than the driver's."""
    for number, line in enumerate(_text(file).splitlines(), 1):
        try:
            wanted = Requirement(re.split(r"\s(?:#|--hash|\\)", _unquoted(line.strip()))[0])
        except InvalidRequirement:
            continue
        own = ours.get(canonicalize_name(wanted.name))
        if own and not wanted.url and not wanted.specifier.contains(own.version, prereleases=True):
            raise UsageError(
                f"{wanted} cannot be had together with the driver's {own.label}: workers have the driver's own",
                where=f"{file}:{number}",
                hint=f"leave the line out, or install what it says here: pip install '{wanted}'",
            )


def resolution(key: str) -> Path:
    """Return where it is kept what something has come to."""
    return private_folder(wheels_folder() / "resolved") / f"{key}.json"


def keep(known: Path, wheels: Sequence[Wheel]) -> None:
    """Write down what something has come to."""
    with storage(known):
        write_json(known, [asdict(wheel) for wheel in wheels])


def _unquoted(line: str) -> str:
    """Return a line of requirements, which in TOML is a word between quotation marks."""
    quoted = re.fullmatch(r"([\"'])(.*)\1,?", line)
    return quoted[2] if quoted else line


def _install(
    file: Path, wheelhouse: Path | None, python: Python, ours: Mapping[str, Installed], folder: Path
) -> list[Installed]:
    """Install what a file asks for, with ours, in an environment in a folder; return what is in it."""
    environment, wanted, exact = folder / "environment", folder / "ours.txt", folder / "exact.txt"
    # Wheels with the names of their packages, since those of the requirements are by path.
    wanted.write_text("".join(f"{name} @ {wheel_of(ours[name]).path.as_uri()}\n" for name in CARRIED if name in ours))
    exact.write_text("".join(f"{ours[name].label}\n" for name in EXACT if name in ours))
    run_uv(["venv", "--python", python.executable, str(environment)], file.parent)
    options = ["pip", "install", "--python", str(environment), "--constraint", str(exact)]
    if wheelhouse is not None:
        options += ["--no-index", "--find-links", str(wheelhouse)]
    if file.name == "uv.lock":
        locked = folder / "locked.txt"
        locked.write_text(run_uv(["export", *_export(file)], file.parent))
        run_uv([*options, "-r", str(locked), "-r", str(wanted)], file.parent, file)
    elif file.name.startswith("pylock"):  # which uv takes alone
        run_uv(["pip", "install", "--python", str(environment), "-r", str(file)], file.parent, file)
        have = run_uv(["pip", "freeze", "--python", str(environment)], file.parent)
        exact.write_text(exact.read_text() + "".join(f"{line}\n" for line in have.splitlines() if "==" in line))
        run_uv([*options, "-r", str(wanted)], file.parent, file)
    else:
        run_uv([*options, "-r", str(file), "-r", str(wanted)], file.parent, file)
    return sorted(installed(Python.of(str(environment / "bin" / "python")).path).values(), key=lambda it: it.name)


def _export(file: Path) -> list[str]:
    """Return the options by which uv writes a lock as requirements: what the project needs, without itself."""
    return ["--frozen", "--no-dev", "--no-emit-project", "--no-header", "--project", str(file.parent)]


def run_uv(words: Sequence[str], folder: Path, file: Path | None = None) -> str:
    """Return what uv writes, in a folder and for a file; raises UsageError with its last words where it fails.

    It looks for packages where the user has told it, or pip. Raises MissingExtraError where there is no uv.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    environment |= {"UV_NO_EDITABLE": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    environment |= index_environment(folder)
    try:
        done = subprocess.run(
            [uv(), *words], capture_output=True, text=True, cwd=folder, env=environment, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"uv {words[0]} has not ended within {LIMIT} s", where=str(file or folder)) from None
    if done.returncode:
        lines = [line.strip() for line in without_secrets(done.stderr).splitlines() if line.strip()]
        said = "\n".join(line for line in lines if not line.startswith(("Using Python", "Resolved")))
        hint = None
        if any(word in said for word in FULL):
            hint = "the disk is full: make room, or set PILOTAGE_STATE and UV_CACHE_DIR to folders on another disk"
        elif any(re.search(rf"\b{name}\b", said) for name in (*CARRIED, *EXACT)):
            hint = "the versions of parsl, pilotage, dill and cloudpickle in it are the driver's"
        raise UsageError(f"uv cannot install what it asks for:\n{_last(said)}", where=str(file or folder), hint=hint)
    return done.stdout


def _last(said: str) -> str:
    return "\n".join(said.splitlines()[-LAST:])


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the requirements cannot be read: {reason}", where=str(file)) from error


def _key(file: Path, wheelhouse: Path | None, python: Python, ours: Mapping[str, Installed]) -> str:
    """Return hex digits that change with all that decides what the file comes to, but for what an index has."""
    digest = hashlib.sha256(f"{file.name}\0{python.executable}\0{python.version}\0{wheelhouse}\n".encode())
    for name, it in ours.items():
        # The wheel's name has the state of all of its files.
        digest.update(f"{it.label} {wheel_of(it).digest if name in CARRIED else ''}\n".encode())
    for part in _parts(file, set()):
        digest.update(part)
    if wheelhouse is not None:
        digest.update("\n".join(sorted(path.name for path in wheelhouse.glob("*.whl"))).encode())
    return digest.hexdigest()[:32]


def _parts(file: Path, seen: set[Path]) -> Iterator[bytes]:
    """Yield what a requirements file says, and the files that it includes, and the state of folders that it names."""
    if file in seen:
        return
    seen.add(file)
    text = _text(file)
    yield text.encode()
    if file.suffix != ".txt":
        return
    for name in INCLUDED.findall(text):
        yield from _parts(Path(os.path.normpath(file.parent / name)), seen)
    for name in LOCAL.findall(text):
        yield from _state(file.parent / name.removeprefix("file://").removeprefix("file:"))


def _state(place: Path) -> Iterable[bytes]:
    if place.is_file():
        return [f"{place} {place.stat().st_mtime_ns}\n".encode()]
    files = (path for path in sorted(place.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return (f"{path} {path.stat().st_mtime_ns} {path.stat().st_size}\n".encode() for path in files)


def kept(known: Path) -> list[Wheel] | None:
    """Return the wheels that something came to before, None where it is unknown or one is not there any more."""
    try:
        listed = json.loads(known.read_text())
        found = [Wheel(**{**it, "path": Path(it["path"]), "tags": tuple(it["tags"])}) for it in listed]
        if any(whole(wheel.path) != wheel.digest for wheel in found):
            return None
        for wheel in found:
            os.utime(wheel.path.parent)
        os.utime(known)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found

"""Install wheels in the Python that runs this, which need not have pip: ``python -I unpack_wheels.py WHEEL...``.

What it has already, in whatever version, stays as it is. Nothing is resolved: the wheels were chosen.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import re
import sys
import sysconfig
import zipfile
from importlib.metadata import distributions
from io import StringIO
from pathlib import Path, PurePosixPath

LONGEST = 125
"""Characters of a path that Linux takes in a script's first line, with the rest of it."""
CALL = """import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({call}())
"""


def normal(name: str) -> str:
    """Return a distribution's name as names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def first_line() -> str:
    """Return how a script starts this Python: by way of a shell where its path is too long for a first line."""
    if len(sys.executable) < LONGEST and " " not in sys.executable:
        return f"#!{sys.executable}\n"
    return f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n"


class Wheel:
    """One wheel, and what of it has been written."""

    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path)
        self.name = path.name.split("-")[0]
        info = next(name for name in self.archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        self.info = PurePosixPath(info).parent.as_posix()
        about = self.archive.read(f"{self.info}/WHEEL").decode()
        pure = re.search(r"^Root-Is-Purelib:\s*true", about, re.MULTILINE | re.IGNORECASE)
        self.root = Path(sysconfig.get_path("purelib" if pure else "platlib"))
        self.rows: list[list[str]] = []

    def install(self) -> None:
        """Write its files, its scripts and its record."""
        for entry in self.archive.infolist():
            if entry.is_dir() or entry.filename == f"{self.info}/RECORD":
                continue
            data = self.archive.read(entry)
            target = self.place(entry.filename)
            executable = bool(entry.external_attr >> 16 & 0o100)
            if "/scripts/" in entry.filename and target.parent == Path(sysconfig.get_path("scripts")):
                executable = True
                if data.startswith(b"#!python"):
                    data = first_line().encode() + data.partition(b"\n")[2]
            self.write(target, data, executable=executable)
        for script, value in self.entry_points():
            module, _, call = re.sub(r"\[.*\]", "", value).strip().partition(":")
            text = first_line() + CALL.format(module=module, first=call.split(".")[0], call=call)
            self.write(Path(sysconfig.get_path("scripts")) / script, text.encode(), executable=True)
        self.write(self.root / self.info / "INSTALLER", b"pilotage\n")
        record = StringIO()
        csv.writer(record, lineterminator="\n").writerows([*self.rows, [f"{self.info}/RECORD", "", ""]])
        (self.root / self.info / "RECORD").write_text(record.getvalue(), encoding="utf-8")

    def place(self, name: str) -> Path:
        """Return where a file of the archive goes; exits where that is outside of this Python."""
        scheme = re.match(r"[^/]+\.data/(purelib|platlib|scripts|data|headers)/", name)
        if scheme is None:
            target, base = self.root / name, self.root
        else:
            kind, rest = scheme[1], name[scheme.end() :]
            headers = Path(sys.prefix, "include", "python{}.{}".format(*sys.version_info[:2]), self.name)
            base = headers if kind == "headers" else Path(sysconfig.get_path(kind))
            target = base / rest
        if ".." in PurePosixPath(name).parts or not target.is_relative_to(base):
            sys.exit(f"{self.archive.filename}: {name} is outside of the environment")
        return target

    def write(self, target: Path, data: bytes, *, executable: bool = False) -> None:
        """Write one file, and note it for the record."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # it may be a link to a package's own
        target.write_bytes(data)
        target.chmod(0o755 if executable else 0o644)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        try:
            shown = target.relative_to(self.root).as_posix()
        except ValueError:
            shown = str(target)
        self.rows.append([shown, f"sha256={digest}", str(len(data))])

    def entry_points(self) -> list[tuple[str, str]]:
        """Return names and targets of the scripts that it wants."""
        parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[method-assign,assignment]
        try:
            parser.read_string(self.archive.read(f"{self.info}/entry_points.txt").decode())
        except (KeyError, configparser.Error):
            return []
        groups = [group for group in ("console_scripts", "gui_scripts") if parser.has_section(group)]
        return [item for group in groups for item in parser.items(group) if "/" not in item[0]]


def main() -> None:
    """Install each wheel that is given, unless its distribution is there."""
    there = {normal(known.metadata["Name"]) for known in distributions() if known.metadata["Name"]}
    for path in map(Path, sys.argv[1:]):
        if normal(path.name.split("-")[0]) not in there:
            Wheel(path).install()


if __name__ == "__main__":
    main()

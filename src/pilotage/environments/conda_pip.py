"""What a conda file has for pip: resolved here as requirements, beside what conda's packages bring."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from pilotage.environments.conda_file import CondaFile, Entry
from pilotage.environments.installed import Python
from pilotage.environments.resolving import resolved
from pilotage.environments.wheels import Wheel, wheels_folder
from pilotage.errors import PilotageError, UsageError
from pilotage.paths import expanded, private_folder

_FILE = re.compile(r"(-r|-c|-e|-f|--requirement|--constraint|--editable|--find-links)[\s=]+(\S+)(.*)")
_PLACE = re.compile(r"\.{0,2}/|\.{1,2}(?=$|\[)|~/")


def pip_wheels(file: CondaFile, there: Mapping[str, str], say: Callable[[str], None]) -> list[Wheel]:
    """Return wheels of the requirements of a file, with what they and pilotage need.

    What is ``there``, versions by name, is taken as it is. Raises UsageError, which names the line where one is at
    fault, and MissingExtraError where there is no uv.
    """
    with tempfile.TemporaryDirectory(dir=private_folder(wheels_folder()), prefix=".conda-") as name:
        folder = Path(name)
        requirements = folder / "requirements.txt"
        lines = [_line(file, entry) for entry in file.pip]
        requirements.write_text("\n".join([*lines, "-c conda.txt", ""]))
        # Those that pip does not know as a version are no version of one of its packages.
        exact = [f"{package}=={version}" for package, version in there.items() if re.fullmatch(r"[\d.]+", version)]
        (folder / "conda.txt").write_text("\n".join([*exact, ""]))
        try:
            return resolved(requirements, None, Python.of(), say)
        except PilotageError as error:
            raise _placed(error, file, requirements) from error


def _line(file: CondaFile, entry: Entry) -> str:
    """Return a requirement with the places that it names seen from anywhere."""
    if found := _FILE.fullmatch(entry.text):
        option, place, rest = found.groups()
        at_index = option in ("-f", "--find-links") and "://" in place
        return entry.text if at_index else f"{option} {_absolute(file, place)}{rest}"
    if entry.text.startswith("-"):
        return entry.text
    if _PLACE.match(entry.text):
        return _absolute(file, entry.text)
    return entry.text


def _absolute(file: CondaFile, place: str) -> str:
    if "://" in place:
        return place
    path, bracket, extras = place.partition("[")
    return str((file.path.absolute().parent / expanded(path)).resolve()) + bracket + extras


def _placed(error: PilotageError, file: CondaFile, requirements: Path) -> PilotageError:
    """Return an error of the requirements as one of the file that they stand in."""
    if not isinstance(error, UsageError) or error.where is None or not error.where.startswith(str(requirements)):
        return error
    number = re.fullmatch(r":(\d+)", error.where.removeprefix(str(requirements)))
    known = number is not None and int(number[1]) <= len(file.pip)
    where = file.where(file.pip[int(number[1]) - 1]) if known and number else f"{file.path} (pip)"
    message = error.message.replace(str(requirements), str(file.path))
    return UsageError(message, where=where, hint=error.hint)

"""The script's own modules on hosts that see no folder of this machine.

What is there is ``code`` beside the runs' folders: ``files`` by their content, and for each state of the script's
folders one tree of links to them, which runs share. A run links to its tree from its own folder: so workers find it,
and nobody removes it while the run lasts. All of it is made under a name that nobody looks for, and gets its own once
it is whole.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from pilotage import events, steps
from pilotage.environments.alone import alone
from pilotage.environments.editable import editable, files_of
from pilotage.environments.naming import arranged, named
from pilotage.environments.snapshot import Snapshot
from pilotage.environments.sources import sources
from pilotage.errors import HostError, UsageError
from pilotage.hosts.base import Completed
from pilotage.hosts.far import FarFolder

UNUSED = 14
"""Days after which what no run has asked for is removed."""
LINK = "code"
"""The link in a run's folder there."""
ASK = r"""
set -e; umask 077; mkdir -p -- "$1/files"; cd -- "$1"; chmod 700 .
if [ -d "$2" ]; then touch -- "$2"; ln -sfn -- "$1/$2" "$3"; echo whole; fi
{ find . -mindepth 1 -maxdepth 1 -type d ! -name files -mtime "+$4" -print | while IFS= read -r old; do
    used=; for link in ../*/code; do
      if [ "$(readlink -- "$link")" = "$1/${old#./}" ]; then used=1; fi
    done; [ -n "$used" ] || rm -rf -- "$old"
  done; find files -type f -links 1 -mtime "+$4" -exec rm -f -- {} +; } </dev/null >/dev/null 2>&1 || :
while read -r name; do [ -e "files/$name" ] || echo "$name"; done
"""
"""For ``sh -c``: remove what is old; say ``whole`` where the tree is there, else which of the files read are not."""
MAKE = r"""
set -e; umask 077; cd -- "$1"; mkdir -- "$2"; trap 'rm -rf -- "$2"' EXIT
tar -xmof - -C "$2"
if [ -d "$2/files" ]; then (cd "$2/files"; ls | xargs sh -c 'exec mv -f -- "$@" ../../files/' sh); fi
tar -xmof "$2/links.tar"
mv -T -- "$2/tree" "$3" 2>/dev/null || [ -d "$3" ]
touch -- "$3"; ln -sfn -- "$1/$3" "$4"
"""
"""For ``sh -c``: take what an archive has of files, link the tree to them, and give it its name."""


class Code:
    """The folders that a script imports from, for the hosts where its workers are.

    Parameters
    ----------
    names: files, folders and patterns that are sent in place of those folders; see `naming`.
    where: what gives the names, for messages.
    """

    def __init__(self, names: Sequence[str] | None = None, where: str = "sync") -> None:
        self._names = names
        self._where = where
        self._snapshot: Snapshot | None = None

    def take(self, folders: Sequence[str]) -> dict[str, str]:
        """Read what is in folders now; return for those that are sent their place in a run's folder.

        Editable installs are sent too, under words that are no folder's, unless there are names. Raises UsageError
        where one is too large, or a name stands for nothing.
        """
        script = getattr(sys.modules.get("__main__"), "__file__", None)  # its own functions travel by themselves
        script = Path(script).absolute() if script else None
        if self._names is not None:
            return self._take_named(self._names, folders, script)
        found = {}
        for folder in folders:
            if Path(folder).is_dir() and not _has_us(Path(folder)) and (files := sources(Path(folder), script)):
                found[folder] = files
        found.update(_editable())
        self._snapshot = Snapshot.of(found.values()) if found else None
        return {folder: f"{LINK}/{number}" for number, folder in enumerate(found)}

    def _take_named(self, names: Sequence[str], folders: Sequence[str], script: Path | None) -> dict[str, str]:
        if script is not None and script.is_relative_to(Path(__file__).parents[1]):  # ours, such as a benchmark's
            return {}
        top = script.parent if script is not None else Path.cwd()
        trees, places = arranged(named(names, top, self._where), top, folders, self._where)
        self._snapshot = Snapshot.of(trees)
        return {folder: f"{LINK}/{place}" for folder, place in places.items()}

    def send(self, folder: FarFolder) -> None:
        """Have the code there, for a run whose folder there is made; raises HostError."""
        if self._snapshot is not None:
            place = f"{folder.host.destination}\0{PurePosixPath(folder.there).parent}"
            # Another run may be sending there, which is waited for.
            with steps.doing(folder.label, f"bringing the script's files to {folder.host.destination}"), alone(place):
                _send(self._snapshot, folder)


def _editable() -> dict[str, dict[str, Path]]:
    """Return the files of editable installs by a word for each; one that is too large is told, and not sent."""
    found = {}
    for name, paths in editable():
        try:
            files = files_of(paths)
        except UsageError as error:
            words = f"the editable install of {name} is too large to be sent: install it there, or leave out more of it"
            events.tell("code-left", f"{words} ({error.where}/.pilotageignore)", "warning", package=name)
            continue
        if files:
            found[f"editable {name}"] = files
    return found


def _send(snapshot: Snapshot, folder: FarFolder) -> None:
    base = str(PurePosixPath(folder.there).parent / "code")
    link = f"{folder.there}/{LINK}"
    files, size = 0, 0
    host, whole = folder.host.destination, sum(len(tree) for tree in snapshot.trees)
    with steps.doing(folder.label, f"asking {host} which of the script's {whole:,} files it has"):
        missing = _missing(snapshot, folder, base, link)
    if missing is not None:
        done = _make(snapshot, folder, base, link, missing)
        if not done.ok and len(missing) < len(snapshot.contents):  # one was removed meanwhile, or has too many links
            missing = sorted(snapshot.contents)
            done = _make(snapshot, folder, base, link, missing)
        _check(done, folder, base)
        files, size = len(missing), sum(len(snapshot.contents[name]) for name in missing)
    there = f"{base}/{snapshot.digest}"
    words = f"{files:,} of them were sent, {size / 1e6:.2f} MB" if missing is not None else "all are there already"
    events.tell(
        "code", f"{host} has the script's {whole:,} files: {words}", host=host, path=there, files=files, bytes=size
    )


def _missing(snapshot: Snapshot, folder: FarFolder, base: str, link: str) -> list[str] | None:
    """Return which files are not there, None where the whole tree is."""
    names = "".join(f"{name}\n" for name in sorted(snapshot.contents))
    words = ["sh", "-c", ASK, "sh", base, snapshot.digest, link, str(UNUSED)]
    done = folder.host.run(words, timeout=300, stdin=names.encode())
    _check(done, folder, base)
    lines = done.stdout.splitlines()
    return None if lines[:1] == ["whole"] else [line for line in lines if line in snapshot.contents]


def _make(snapshot: Snapshot, folder: FarFolder, base: str, link: str, missing: Collection[str]) -> Completed:
    new = f".new-{secrets.token_hex(8)}"
    size = sum(len(snapshot.contents[name]) for name in missing)
    words = f"sending {len(missing):,} of the script's files to {folder.host.destination}, {size / 1e6:.2f} MB"
    with steps.doing(folder.label, words):
        archive = snapshot.archive(missing, f"{new}/tree")
        return folder.host.run(["sh", "-c", MAKE, "sh", base, new, snapshot.digest, link], timeout=600, stdin=archive)


def _check(done: Completed, folder: FarFolder, base: str) -> None:
    if done.ok:
        return
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    words = next((line for line in lines if "No space" in line or "quota" in line), lines[0] if lines else "no reason")
    raise HostError(
        f"the script's modules cannot be written: {words}",
        where=f"{folder.host.destination}:{base}",
        hint="make room there, or set run_folder to another file system; --no-sync sends nothing",
    )


def _has_us(folder: Path) -> bool:
    """Return whether a folder is where this Python has us from: the workers' Python has its own."""
    return Path(__file__).is_relative_to(folder.absolute() / "pilotage")

"""The environments of one host: each in a folder by its digest, made once, shared by runs, removed when it is old.

What is there, and how it comes there, is said by the shell scripts in `scripts`: a host needs nothing but a shell.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import shlex
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage import events
from pilotage.environments import scripts
from pilotage.environments.alone import alone, hold
from pilotage.environments.recipe import Facts, Recipe, file_digest
from pilotage.errors import BuildError, HostError, PilotageError
from pilotage.hosts.base import Completed, Host
from pilotage.paths import storage

PART = 16 << 20
"""Bytes that are sent at once."""
UNUSED = 60
"""Days after which what no run has asked for is removed, when another is built."""
FAMILIAR = ("uv", "conda", "mamba", "micromamba", "apptainer", "singularity", "podman", "ch-run", "ch-image", "python3")
"""Programs that are looked for on a host, beside Pythons by their minor versions."""
PYTHONS = tuple(f"python3.{minor}" for minor in range(8, 20))
FULL = ("No space left", "Disk quota exceeded", "os error 28", "os error 122", "Errno 28", "Errno 122")
LISTED = re.compile(r"([^\t]+)\t(\d+)\t(\d+)\t([^\t]*)\t(.*)", re.DOTALL)

Say = Callable[[str], object]


@dataclass(frozen=True)
class Kept:
    """An environment that a host has.

    Parameters
    ----------
    digest: by which it is known.
    used: when it was last asked for, in seconds since the epoch.
    size: in bytes.
    runs: that use it now, as far as the host knows.
    mark: what it is: ``kind``, ``title``, ``expected``, ``built``.
    """

    digest: str
    used: float
    size: int
    runs: Sequence[str]
    mark: Mapping[str, Any]


class Store:
    """The environments of a host.

    Parameters
    ----------
    host: the host.
    base: their folder there, an absolute path or one below ``~``.
    runs: the folder there in which runs have theirs, which link to what they use.
    """

    def __init__(self, host: Host, base: str, runs: str = "") -> None:
        self.host = host
        self._base = base
        self._runs = runs
        self._held: list[int] = []

    @property
    def base(self) -> str:
        """The folder, without ``~``."""
        return self._expanded(self._base)

    @property
    def where(self) -> str:
        """What the host is called in a message."""
        return self.host.place.get("login", "this machine")

    def path(self, recipe: Recipe) -> str:
        """Return where an environment is, or would be."""
        return f"{self.base}/{recipe.digest}"

    def facts(self) -> Facts:
        """Return what is known of the host; raises HostError."""
        done = self._run(scripts.FACTS, *FAMILIAR, *PYTHONS)
        _, _, said = done.stdout.partition("pilotage facts\n")
        lines = said.splitlines()
        if len(lines) < 3:
            raise HostError(f"says nothing of itself: {done.stderr.strip()}", where=self.where)
        programs = dict(line.split("=", 1) for line in lines[3:] if "=" in line)
        return Facts(lines[0], lines[1].rpartition(" ")[2], programs, lines[2])

    def has(self, recipe: Recipe) -> bool:
        """Return whether an environment is there, whole."""
        done = self._run(scripts.HAS, self.path(recipe), self._python(recipe))
        return done.stdout.strip() == "whole"

    def ensure(self, recipe: Recipe, link: str = "", say: Say = lambda _: None) -> str:
        """Have an environment, and return its folder; where it is not there, it is built, and old ones are removed.

        Parameters
        ----------
        recipe: how it is made.
        link: a link to it that is made there, so that it stays while the link does.
        say: told what is being done.

        Raises BuildError where it cannot be built; nothing half made is used then. Raises HostError.
        """
        self._keep(recipe)
        if self._ask(recipe, {}, link, say) is None:
            return self.path(recipe)
        with alone(f"{self.where}\0{self.path(recipe)}", lambda: say("waiting for another run that builds it")):
            named = {name: (file_digest(file), file) for name, file in recipe.files.items()}
            contents = dict(named.values())
            missing = self._ask(recipe, contents, link, say)
            if missing is None:
                return self.path(recipe)
            start = time.monotonic()
            size = self._send({digest: contents[digest] for digest in missing}, say)
            say(f"building {recipe.title}")
            self._build(recipe, {name: digest for name, (digest, _) in named.items()}, link)
            took = time.monotonic() - start
        words = (
            f"{self.where} has {recipe.title}: built in {took:.1f} s, {size / 1e6:.1f} MB in {len(missing)} files sent"
        )
        path = self.path(recipe)
        events.tell("environment", words, path=path, digest=recipe.digest, files=len(missing), bytes=size)
        with contextlib.suppress(PilotageError):  # another does it; the environment is there
            self.sweep(UNUSED)
        return path

    def _ask(self, recipe: Recipe, contents: Mapping[str, Path], link: str, say: Say) -> list[str] | None:
        """Return which files are missing, None where the whole environment is there; a changed one is removed."""
        names = "".join(f"{name}\n" for name in contents) or "\n"
        words = [self.base, recipe.digest, link, self._python(recipe)]
        done = self._run(scripts.ASK, *words, stdin=names.encode(), timeout=120)
        self._check(done, recipe)
        if gone := _gone(done.stdout):
            self._give_up(recipe, gone, say)
            return self._ask(recipe, contents, link, say)
        lines = done.stdout.splitlines()
        return None if "whole" in lines else [line for line in lines if line in contents]

    def _give_up(self, recipe: Recipe, gone: str, say: Say) -> None:
        """Remove an environment of which something has been removed; raises BuildError where somebody uses it."""
        self.release()
        outcome = self.remove(recipe.digest)
        words = f"the environment of {recipe.title} has no {gone} any more"
        if outcome.startswith(("used", "a run")) and self.gone(recipe):  # another has not made it anew meanwhile
            hint = "when that run has ended, the next one makes the environment anew"
            raise BuildError(f"{words}, and {outcome}", where=f"{self.where}:{self.path(recipe)}", hint=hint)
        say(f"{words}: it is made anew")
        events.tell("environment-changed", f"{self.where}: {words}: it is made anew", "warning", path=self.path(recipe))
        self._keep(recipe)

    def _send(self, files: Mapping[str, Path], say: Say) -> int:
        """Send files by their digests; return how many bytes they have."""
        sizes = {digest: file.stat().st_size for digest, file in files.items()}
        whole, sent = sum(sizes.values()), 0

        def tell(more: int = 0) -> None:
            say(f"sending {len(files)} files, {(sent + more) / 1e6:.0f} of {whole / 1e6:.0f} MB")

        for group in _groups(sizes):
            if len(group) == 1 and sizes[group[0]] > PART:
                self._send_large(group[0], files[group[0]], sizes[group[0]], tell)
            else:
                tell()
                archive = _archive({digest: files[digest] for digest in group})
                self._checked(self._run(scripts.TAKE, self.base, stdin=archive, timeout=1800))
            sent += sum(sizes[digest] for digest in group)
        return whole

    def _send_large(self, digest: str, file: Path, size: int, tell: Callable[[int], object]) -> None:
        sender = secrets.token_hex(4)
        with file.open("rb") as content:
            for begin in range(0, size, PART):
                tell(begin)
                end = min(begin + PART, size)
                words = [self.base, digest, sender, str(begin), str(end), "last" if end == size else "more"]
                self._checked(self._run(scripts.PART, *words, stdin=content.read(PART), timeout=1800))

    def _build(self, recipe: Recipe, files: Mapping[str, str], link: str) -> None:
        mark = {"kind": recipe.kind, "title": recipe.title, "expected": dict(recipe.expected), "built": time.time()}
        names = "".join(f"{digest} {name}\n" for name, digest in files.items())
        build = recipe.build.encode()
        words = [self.base, recipe.digest, link, str(int(recipe.limit)), str(len(build)), self._verification(recipe)]
        limit = 2 * recipe.limit  # as long as another builds it
        told = f"{json.dumps(mark)}\n{names}\n".encode() + build
        done = self._run(scripts.BUILD, *words, stdin=told, timeout=limit)
        self._check(done, recipe, f"its log is there: {self.base}/.{recipe.digest}.log")

    def _python(self, recipe: Recipe) -> str:
        """Return the program that starts its Python, which has to be there; the folder where that is none of it."""
        path = self.path(recipe)
        program = recipe.start(path)[0]
        return program if program.startswith(f"{path}/") else path

    def _verification(self, recipe: Recipe) -> str:
        """Return the shell line that fails where an environment has not what it is to have."""
        if not recipe.expected:
            return ""
        wanted = [f"{name}={version}" for name, version in sorted(recipe.expected.items())]
        return "exec " + shlex.join([*recipe.start(self.path(recipe)), "-I", "-c", VERIFY, *wanted])

    def verify(self, recipe: Recipe) -> str | None:
        """Return what is wrong with an environment that is there, None where it has what it is to have."""
        if gone := self.gone(recipe):
            return f"it has no {gone} any more"
        done = self._run(self._verification(recipe) or "exit 0", timeout=120)
        return None if done.ok else _last(done.stderr) or f"exit code {done.exit_code}"

    def gone(self, recipe: Recipe) -> str:
        """Return what an environment that is there has no more since it was made, in words; nothing if it has all."""
        return _gone(self._checked(self._run(scripts.CHANGED + 'changed "$1"', self.path(recipe))).stdout)

    def kept(self) -> list[Kept]:
        """Return what the host has, the one that was asked for last first; raises HostError."""
        done = self._checked(self._run(scripts.LIST, self.base, self.runs, timeout=300))
        found = []
        for line in done.stdout.split("\n"):
            if (known := LISTED.fullmatch(line)) is None:  # one that is being removed, or no environment at all
                continue
            digest, used, size, runs, mark = known.groups()
            try:
                content = json.loads(mark)
            except ValueError:
                content = {}
            content = content if isinstance(content, dict) else {}
            found.append(Kept(digest, float(used), int(size) << 10, [run for run in runs.split(":") if run], content))
        return sorted(found, key=lambda one: -one.used)

    def remove(self, digest: str) -> str:
        """Remove an environment that nobody uses; return ``removed``, or why it is not."""
        return self._checked(self._run(scripts.REMOVE, self.base, digest, self.runs, timeout=600)).stdout.strip()

    def sweep(self, days: int) -> list[str]:
        """Remove what nobody has asked for in so many days, and what was left half made; return the digests."""
        before = time.time() - days * 86400
        return [digest for digest, used in self.clear(days) if used < before and self.remove(digest) == "removed"]

    def clear(self, days: int) -> list[tuple[str, float]]:
        """Remove files that nobody has asked for in so many days, and what was left half made, but no environment.

        Returns the environments, and when each was asked for last.
        """
        done = self._checked(self._run(scripts.CLEAR, self.base, str(days), timeout=600))
        pairs = [line.split(" ", 1) for line in done.stdout.splitlines()]
        return [(name.removesuffix(f"/{scripts.MARK}"), float(used)) for used, name in pairs]

    @property
    def runs(self) -> str:
        """The folder there in which runs have theirs."""
        return self._expanded(self._runs)

    def _keep(self, recipe: Recipe) -> None:
        """Keep others from removing an environment of this machine while this process uses it."""
        if self.host.place:  # there a link does
            return
        folder = Path(self.base)
        with storage(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._held.append(hold(folder / recipe.digest))

    def release(self) -> None:
        """Let others remove what this process has used."""
        while self._held:
            os.close(self._held.pop())

    def _expanded(self, path: str) -> str:
        return self.host.identity().home + path[1:] if path == "~" or path.startswith("~/") else path

    def _run(self, script: str, *words: str, stdin: bytes = b"", timeout: float = 60) -> Completed:
        return self.host.run(["sh", "-c", script, "sh", *words], timeout=timeout, stdin=stdin)

    def _checked(self, done: Completed) -> Completed:
        self._check(done, None)
        return done

    def _check(self, done: Completed, recipe: Recipe | None, hint: str | None = None) -> None:
        if done.ok:
            return
        words = next((word for word in FULL if word in done.stderr), None)
        if words is not None:
            words, hint = (
                "No space left on device",
                "make room there, or give a folder on another disk: environment.folder"
                + ("" if self.host.place else ", or PILOTAGE_STATE"),
            )
        what = f"{recipe.title} cannot be built" if recipe is not None else "the environments cannot be kept"
        reason = words or _last(done.stderr) or f"exit code {done.exit_code}"
        raise BuildError(f"{what}: {reason}", where=f"{self.where}:{self.base}", hint=hint)


VERIFY = (
    "import sys, importlib.metadata as m\n"
    "def there(name):\n"
    "    try: return '%d.%d' % sys.version_info[:2] if name == 'python' else m.version(name)\n"
    "    except m.PackageNotFoundError: return 'not there'\n"
    "wanted = dict(word.split('=', 1) for word in sys.argv[1:])\n"
    "wrong = ['%s is %s and not %s' % (n, there(n), v) for n, v in wanted.items() if there(n) != v]\n"
    "sys.exit('; '.join(wrong) or None)\n"
)
"""For a Python's ``-c``: fail where packages are not there in the versions that are given."""


def _groups(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield names of files that are sent together."""
    group: list[str] = []
    for name, size in sorted(sizes.items(), key=lambda one: one[1]):
        if group and sum(sizes[one] for one in group) + size > PART:
            yield group
            group = []
        group.append(name)
    if group:
        yield group


def _archive(files: Mapping[str, Path]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, file in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = file.stat().st_size, 0o400
            with file.open("rb") as content:
                archive.addfile(entry, content)
    return out.getvalue()


def _gone(said: str) -> str:
    """Return what an environment has no more, as the host has said; nothing where it has all."""
    names = [line.partition(" ")[2] for line in said.splitlines() if line.startswith("changed ")]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _last(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1] if lines else ""

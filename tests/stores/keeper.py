"""What keeps files and folders in the tests of stores: a real server, and a way to it that is not the store's.

Each module of this folder that has a function ``serve`` is found by `modules`, and passes contracts/test_stores.py. It
has besides ``KEEPER``, its class of keeper, whose attributes say what that side can keep. ``serve(folder)`` is a
context manager: it starts the server with an empty folder to use, and gives a function that makes the keeper of one
test, with a place (its name is given) that nothing is in. ``serve`` skips where the machine cannot run the server.
"""

import importlib
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
HARD_NAMES = (
    "a space",
    " first and last ",
    "it's",
    'a "quote"',
    "#1",
    "#",
    "100%",
    "a%20b",
    "%2e%2e",
    "what?",
    "a+b&c=d;e",
    "é",
    "e\u0301",  # another name than the one above, though it looks the same
    "漢字 🙂",
    ".hidden",
    "..two",
    "-dash",
    "~",
    "back\\slash",
    "*[x]{y}$HOME",
    "tab\tbed",
    "x:y@z",
    "a" * 200,
)


class Keeper(ABC):
    """One test's place on a server.

    Parameters
    ----------
    url: the place, without a slash at its end.
    options: what the store is opened with.
    environment: variables of the store's side, such as credentials.
    """

    writes = True
    """Whether the store can put; the keeper itself always can."""
    folders = True
    """Whether the store can list a folder."""
    links = True
    modes = True
    empty_folders = True
    any_name = False
    """Whether a file may have a name such as ``a/../../x`` or ``a//x`` there."""
    refuses = True
    """Whether there is a `refused`."""
    cannot = frozenset()
    """Of `HARD_NAMES`, those that nothing there can have."""

    def __init__(self, url, options=None, environment=None):
        self.url = url
        self.options = options or {}
        self.environment = environment or {}

    def at(self, path):
        """Return the URL of a path below the place."""
        return f"{self.url}/{path}"

    @abstractmethod
    def write(self, path, data, executable=False):
        """Keep a file, and the folders above it."""

    @abstractmethod
    def read(self, path):
        """Return what the file at ``path`` has; raises KeyError or an OSError where there is none."""

    @abstractmethod
    def names(self):
        """Return the paths of all that is kept, temporary things too: files, links, and folders with a ``/``.

        Folders that something is in may be left out.
        """

    def executable(self, path):
        """Return whether the file may be executed; only where `modes`."""
        raise NotImplementedError

    def link(self, path, target):
        """Keep a link; only where `links`."""
        raise NotImplementedError

    def target(self, path):
        """Return a link's target; only where `links`."""
        raise NotImplementedError

    def folder(self, path):
        """Keep an empty folder; only where `empty_folders`."""
        raise NotImplementedError

    @contextmanager
    def refused(self, path):
        """Within, the store is not allowed to read ``path``, nor to write it; yields its URL."""
        raise NotImplementedError
        yield


class Disk(Keeper):
    """What is kept in a folder of this machine, by whatever the store talks to."""

    def __init__(self, folder, url, options=None, environment=None):
        super().__init__(url, options, environment)
        self.path = Path(folder)
        self.path.mkdir(parents=True, exist_ok=True)

    def write(self, path, data, executable=False):
        there = self.path / path
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(data)
        there.chmod(0o755 if executable else 0o644)

    def read(self, path):
        return (self.path / path).read_bytes()

    def names(self):
        found = ((one, str(one.relative_to(self.path))) for one in self.path.rglob("*"))
        return {name + "/" * (one.is_dir() and not one.is_symlink()) for one, name in found}

    def executable(self, path):
        return bool((self.path / path).stat().st_mode & 0o100)

    def link(self, path, target):
        there = self.path / path
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(target)

    def target(self, path):
        return str((self.path / path).readlink())

    def folder(self, path):
        (self.path / path).mkdir(parents=True)


def modules():
    """Return the modules of this folder that serve, by name."""
    names = sorted(path.stem for path in HERE.glob("*.py") if "def serve(" in path.read_text())
    return {name: importlib.import_module(f"stores.{name}") for name in names if name != "keeper"}

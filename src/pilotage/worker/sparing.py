"""Importing Parsl in a third of the time, where a driver, its interchange, a manager and its workers start.

Most of what ``import parsl`` takes is for what these processes never do. typeguard reads the source of each checked
function and compiles it once more, though nobody constructs a provider there; and some of Parsl's modules import
requests, kubernetes or sqlalchemy, for a function or a class that asks somebody for something. So while Parsl is
imported

- what Parsl's ``typeguard.typechecked`` is put on is compiled once more when it is first called, and what sets up its
  log, which all of these processes do, is not;
- those packages are imported when something of theirs, or of Parsl's with them, is used.

Everything else is as it always is, and other packages, those of tasks too, get the real typeguard and requests.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib.util
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LATE = {"requests": (), "kubernetes": ("client", "config")}
"""Packages, and the modules of them that Parsl imports by name."""
LATE_FUNCTIONS = {"parsl.monitoring.db_manager": ("sqlalchemy", "dbm_starter")}
"""Modules of Parsl's, what they need beside it, and the function that Parsl imports from them."""


UNCHECKED = ("parsl.log_utils",)
"""Modules whose functions each of these processes calls as it starts, always in the same way."""


class Late(types.ModuleType):
    """Stands for a module that is imported when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


class LateFunction:
    """Stands for a function whose module is imported when it is called, or pickled and wanted elsewhere."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        return function_at(*self._place)(*arguments, **named)

    def __reduce__(self) -> tuple[Any, ...]:
        return function_at, self._place


def function_at(module: str, name: str) -> Any:
    """Return the function that a `LateFunction` stands for."""
    return getattr(importlib.import_module(module), name)


class CheckedLate(types.ModuleType):
    """Stands for typeguard, and checks functions from their first call on."""

    @staticmethod
    def typechecked(target: Any = None, **options: Any) -> Any:
        """Return what is decorated, with a check of its arguments; see typeguard's."""
        if target is None:
            return lambda decorated: CheckedLate.typechecked(decorated, **options)
        if isinstance(target, type):
            for name, method in list(vars(target).items()):
                if isinstance(method, types.FunctionType):
                    setattr(target, name, CheckedLate.typechecked(method, **options))
            return target
        if target.__module__ in UNCHECKED:
            return target
        checked: Any = None

        @functools.wraps(target)
        def check(*arguments: Any, **named: Any) -> Any:
            nonlocal checked
            if checked is None:
                checked = _real(target, options)
            return checked(*arguments, **named)

        return check

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def _real(target: Any, options: Mapping[str, Any]) -> Any:
    return importlib.import_module("typeguard").typechecked(target, **options)


@contextlib.contextmanager
def sparing(really: bool = True) -> Iterator[None]:
    """Within it, Parsl is imported like that, unless ``really`` is False or it has been imported already.

    For a process that has one thread: it changes how all of it imports.
    """
    if not really or "parsl" in sys.modules:
        yield
        return
    original = builtins.__import__
    checked_late = CheckedLate("typeguard")

    def import_sparingly(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if (name == "typeguard" or name in LATE) and str((globals or {}).get("__name__")).startswith("parsl."):
            if name == "typeguard":
                return checked_late
            if importlib.util.find_spec(name) is not None:
                late = Late(name)
                vars(late).update({part: Late(f"{name}.{part}") for part in LATE[name]})
                return late
        if name in LATE_FUNCTIONS and str((globals or {}).get("__name__")).startswith("parsl."):
            needed, function = LATE_FUNCTIONS[name]
            if name not in sys.modules and importlib.util.find_spec(needed) is not None:
                stand_in = types.ModuleType(name)
                setattr(stand_in, function, LateFunction(name, function))
                return stand_in
        return original(name, globals, locals, fromlist, level)

    builtins.__import__ = import_sparingly
    try:
        yield
    finally:
        builtins.__import__ = original

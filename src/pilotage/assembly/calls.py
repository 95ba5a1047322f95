"""Making Parsl's objects from calls, with every argument checked against the constructor first."""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import typeguard

from pilotage.errors import ParslArgumentError, PilotageError, did_you_mean
from pilotage.sites.catalogue import Resolved
from pilotage.sites.plan import Call


def make(call: Call, resolved: Resolved | None, *, check_only: bool = False) -> Any:
    """Return the object that ``call`` describes, inner calls made first.

    Parameters
    ----------
    call: class and arguments.
    resolved: the site it belongs to, for the places in messages.
    check_only: only check that the constructor knows the arguments, and return None.

    Raises ParslArgumentError where the class is unknown, or its constructor does not know or refuses an argument
    (Parsl's own message is kept).
    """
    call = prepared(call, resolved)
    if check_only:
        return None
    constructor = find(call, resolved)
    arguments = {
        name: make(value, resolved) if isinstance(value, Call) else value for name, value in call.arguments.items()
    }
    try:
        return constructor(**arguments)
    except PilotageError:
        raise
    except (TypeError, ValueError, typeguard.TypeCheckError) as error:
        raise ParslArgumentError(
            f"{call.name} refuses its arguments: {_first_line(error)}",
            where=_place(call, resolved, _named_in(str(error), call)),
            hint=f"the arguments are those of {call.target}",
        ) from error
    except Exception as error:  # a constructor that asks the world around it, such as for a kubeconfig
        message = f"{call.name} cannot be made here: {type(error).__name__}: {_first_line(error)}"
        raise ParslArgumentError(message, where=_place(call, resolved, None)) from error


def prepared(call: Call, resolved: Resolved | None) -> Call:
    """Return ``call`` with its arguments checked, and tuples where the constructor wants them (TOML has only arrays).

    Raises ParslArgumentError.
    """
    constructor = find(call, resolved)
    check(call, constructor, resolved)
    parameters = inspect.signature(constructor).parameters
    arguments = {}
    for name, value in call.arguments.items():
        wanted = parameters[name].annotation if name in parameters else inspect.Parameter.empty
        arguments[name] = prepared(value, resolved) if isinstance(value, Call) else _as_wanted(value, wanted)
    return replace(call, arguments=arguments)


def _as_wanted(value: Any, wanted: Any) -> Any:
    if not isinstance(value, list):
        return value
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is tuple:
        return tuple(value)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in inner if typing.get_origin(option) in (tuple, list)]
        return _as_wanted(value, options[0]) if len(options) == 1 else value
    if origin is list and inner:
        return [_as_wanted(item, inner[0]) for item in value]
    return value


def find(call: Call, resolved: Resolved | None) -> Callable[..., Any]:
    """Return the class that ``call`` names; raises ParslArgumentError with the names that its module has."""
    try:
        module = importlib.import_module(call.module)
    except ImportError as error:
        raise ParslArgumentError(
            f"cannot import {call.module}: {error}",
            where=_class_place(call, resolved),
            hint="check the spelling of class",
        ) from error
    found = getattr(module, call.name, None)
    if not callable(found):
        public = sorted(name for name in vars(module) if isinstance(vars(module)[name], type))
        known = f"{call.module} has {', '.join(public)}"
        near = did_you_mean(call.name, public)
        raise ParslArgumentError(
            f"{call.module} has no class {call.name!r}",
            where=_class_place(call, resolved),
            hint=f"{near} {known}" if near else known,
        )
    made: Callable[..., Any] = found
    return made


def check(call: Call, constructor: Callable[..., Any], resolved: Resolved | None) -> None:
    """Raise ParslArgumentError for the first argument that ``constructor`` does not know."""
    parameters = inspect.signature(constructor).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in call.arguments:
        if name not in parameters:
            known = f"{call.name} takes {', '.join(parameters)}"
            near = did_you_mean(name, parameters)
            raise ParslArgumentError(
                f"{call.name} has no argument {name!r}",
                where=_place(call, resolved, name),
                hint=f"{near} {known}" if near else known,
            )


def _place(call: Call, resolved: Resolved | None, argument: str | None) -> str | None:
    if resolved is None:
        return None
    return resolved.place(*call.keys.get(argument or "", ()))


def _class_place(call: Call, resolved: Resolved | None) -> str | None:
    if resolved is None:
        return None
    table = "launcher" if ".launchers" in call.module or call.name.endswith("Launcher") else "provider"
    return resolved.place(table, "class")


def _named_in(message: str, call: Call) -> str | None:
    # typeguard says: argument "cmd_timeout" (str) is not an instance of int
    return next((name for name in call.keys if f'"{name}"' in message or f"'{name}'" in message), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

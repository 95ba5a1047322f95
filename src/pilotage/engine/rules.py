"""What an app says about how its calls may travel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from pilotage.errors import UsageError

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

RULES = "__pilotage_rules__"
"""Attribute of a function that `rules` has marked."""


def said_by(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what an app's function says, under all that it is wrapped in.

    Parsl hides that of a bash_app in a partial.
    """
    found: dict[str, Any] = {}
    layer: Any = function
    while layer is not None:
        inner = layer.args[:1] if isinstance(layer, functools.partial) else ()
        found = {**{name: value for one in (*inner, layer) for name, value in getattr(one, RULES, {}).items()}, **found}
        layer = getattr(layer, "__wrapped__", None)
    return found


def rules(*, coalesce: bool | None = None, rerun_lost: int | None = None) -> Callable[[AnyFunction], AnyFunction]:
    """Return a decorator for a function or an app; it wins over what the site says.

    Parameters
    ----------
    coalesce: whether calls may travel together with others once they were measured to be short.
    rerun_lost: times that a call which may have begun is sent again, free of charge, when its worker or its node was
        lost. For apps that do no harm when they run twice.

    Raises UsageError for a number below 0.
    """
    if rerun_lost is not None and (not isinstance(rerun_lost, int) or rerun_lost < 0):
        raise UsageError(f"rerun_lost is {rerun_lost!r}", hint="a number of times, 0 or more")
    given = {"coalesce": coalesce, "rerun_lost": rerun_lost}

    def mark(app: AnyFunction) -> AnyFunction:
        function = vars(app).get("func", app)  # of an app of Parsl's, the function that it is made of
        setattr(function, RULES, {name: value for name, value in given.items() if value is not None})
        return app

    return mark

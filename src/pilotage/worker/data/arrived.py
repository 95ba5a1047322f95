"""What an input was when it was brought, told to the driver with the call's result."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

MOST = 100_000
"""Inputs that are remembered at most: of a call that is not kept, nobody asks."""
_lock = threading.Lock()
_known: OrderedDict[str, str] = OrderedDict()


class Arrived:
    """A result with what its inputs were; unpickled, it is the result alone, and they are remembered."""

    def __init__(self, result: Any, inputs: Mapping[str, str]) -> None:
        self.result = result
        self.inputs = dict(inputs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return remember, (self.result, self.inputs)


def remember(result: Any, inputs: Mapping[str, str]) -> Any:
    """Return ``result``; remember by what the inputs with these marks were known."""
    with _lock:
        _known.update(inputs)
        while len(_known) > MOST:
            _known.popitem(last=False)
    return result


def taken(mark: str) -> str | None:
    """Return by what the input with a mark was known, and forget it; None where nothing is."""
    with _lock:
        return _known.pop(mark, None)

"""What a run writes down of each call of an app: its arguments, where and when it ran, and what came of it."""

from __future__ import annotations

import functools
import inspect
import reprlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from parsl.app.errors import BashExitFailure
from parsl.data_provider.files import File
from parsl.dataflow.futures import AppFuture

from pilotage import events
from pilotage.redaction import redact
from pilotage.worker.data import accounts
from pilotage.worker.data.places import shown

LONGEST_VALUE, LONGEST = 300, 2000
"""Characters that are shown of one argument, and of all."""
LOOKED_AT = 4096
"""Characters of a text that are looked at for secrets before it is cut."""

_lock = threading.Lock()
_known: dict[str, dict[str, Any]] = {}
"""What workers have told of calls that have not ended yet."""
_run = uuid.uuid4().hex[:8]


@functools.cache
def _listen() -> None:
    accounts.listen_to_calls(_hear)


def _hear(record: Mapping[str, Any]) -> None:
    with _lock:
        known = _known.get(str(record.get("call")))
        if known is not None:  # of a further try, the last one counts
            known.update(record)


class Call:
    """One call that is written down when it has ended.

    Parameters
    ----------
    name: of the app.
    arguments: as they are shown.
    is_bash: whether it has an exit code.
    """

    def __init__(self, name: str, arguments: str, *, is_bash: bool) -> None:
        _listen()
        self.number = f"{_run}-{uuid.uuid4().hex[:12]}"
        self._name = name
        self._arguments = arguments
        self._is_bash = is_bash
        self._submitted = time.time()
        with _lock:
            _known[self.number] = {}

    def forget(self) -> None:
        """Forget a call that was never made."""
        with _lock:
            _known.pop(self.number, None)

    def follow(self, future: AppFuture) -> None:
        """Write the call down once it is done."""
        future.add_done_callback(functools.partial(self._tell, future.task_record))

    def _tell(self, record: Any, future: Future[Any]) -> None:
        with _lock:
            known = _known.pop(self.number, {})
        error = future.exception()
        code = (
            int(error.exitcode)
            if isinstance(error, BashExitFailure)
            else 0
            if self._is_bash and error is None
            else None
        )
        outcome = "done" if error is None else "failed"
        begun, ended = known.get("begun"), known.get("ended")
        words = f"{self._name} on {record['executor']}" + (f" at {known['host']}" if "host" in known else "")
        words += f": {outcome}" + (f" in {ended - begun:.1f} s" if begun and ended else "")
        words += (f", exit code {code}" if code is not None else "") + f": {_cut(self._arguments, LONGEST_VALUE)}"
        why = redact(" ".join(str(error).split())[:LOOKED_AT])[0][:LONGEST_VALUE] if error is not None else None
        detail = {
            "app": self._name,
            "task": record["id"],
            "arguments": self._arguments,
            "executor": record["executor"],
            "host": known.get("host"),
            "submitted": round(self._submitted, 3),
            "begun": round(begun, 3) if begun else None,
            "ended": round(ended, 3) if ended else None,
            "outcome": outcome,
            "exit_code": code,
        }
        if error is not None:
            detail["error"] = f"{type(error).__name__}: {why}"
        events.tell("app", words, **detail)


def arguments(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the arguments of a call as text, by name, without secrets, and not longer than `LONGEST`."""
    try:
        named = dict(inspect.signature(function).bind_partial(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        named = {**{str(number): value for number, value in enumerate(args)}, **kwargs}
    parts = []
    for name, value in named.items():
        text = redact(f"{name}={_SHORT.repr(value)}")[0]
        parts.append(_cut(text, LONGEST_VALUE))
    return _cut(", ".join(parts), LONGEST)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


class _Short(reprlib.Repr):
    """Python's own way of showing what may be long; of URLs without what signs them."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 5
        self.maxstring = self.maxother = self.maxlong = LOOKED_AT
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 20

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(shown(x), level)

    def repr_instance(self, x: Any, level: int) -> str:
        if isinstance(x, File):
            return f"{type(x).__name__}({shown(x.url)!r})"
        return super().repr_instance(x, level)


_SHORT = _Short()

"""What a call is known by, and the records of calls that are kept together.

The content of such a record is a pickle of ``(kernel, marks, work, records, others)``: the number of the kernel within
the run, what the function of each call is known by (`Mark`; None where the call is not kept here), the calls and their
outcomes as they have travelled (`pilotage.worker.batch`, `pilotage.worker.slots`), and results that are more than plain
values, pickled, by the index of their call.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pilotage.runs.identity import SIZE, Encoder, digest, identity
from pilotage.worker.batch import PLAIN, RAISED
from pilotage.worker.slots import unpacked

if TYPE_CHECKING:
    from pilotage.engine.coalescing import Kept


Mark = tuple[bytes, bytes]
"""What a function is known by: its label and its identity."""


class Light(NamedTuple):
    """A call in a record of several, and where that is."""

    kernel: int
    task: int
    key: bytes
    identity: bytes
    file: int
    offset: int
    place: int


def key_of(
    label: bytes, args: Sequence[Any], kwargs: Mapping[str, Any], ignored: Collection[str], *, shared: bool
) -> bytes:
    """Return what a call is known by, `SIZE` bytes; raises what the arguments' own methods raise.

    Parameters
    ----------
    label: of the function.
    ignored: names of arguments that do not count.
    shared: whether all equal calls have one result.
    """
    named = tuple(sorted(item for item in kwargs.items() if item[0] not in ignored)) if kwargs else ()
    arguments = Encoder(identity).encode((*args, named))
    return digest((b"shared" if shared else b"each") + label + arguments)


def place_of(key: bytes, number: int) -> bytes:
    """Return the slot of a call among the equal calls of a run, of which ``number`` came before it."""
    return digest(key + number.to_bytes(8, "little")) if number else key


def name(kernel: int, task: int) -> bytes:
    """Return what stands for the slot of a call that only its task is known of."""
    return b"task" + kernel.to_bytes(4, "little") + task.to_bytes(SIZE - 8, "little")


def content(kernel: int, kept: Kept, pickled: Callable[[Any], bytes | None]) -> tuple[bytes, int]:
    """Return the content of a record of several results, and how many of them nothing can pickle."""
    others = {index: pickled(result) for index, result in kept.others.items()}
    content = (kernel, kept.marks, kept.work, kept.records, others)
    return pickle.dumps(content, pickle.HIGHEST_PROTOCOL), list(others.values()).count(None)


def calls(data: bytes, file: int, offset: int) -> list[Light] | None:
    """Return the calls in a record's content, None where it is not one."""
    try:
        kernel, marks, work, _, _ = pickle.loads(data)
        entries = pickle.loads(work)
        found = []
        for place in results(data):
            (label, does), (_, task, (args, kwargs)) = marks[place], entries[place]
            key = key_of(label, args, kwargs, (), shared=False)
            found.append(Light(kernel, task, key, does, file, offset, place))
    except Exception:  # another version's, or made by no one
        return None
    return found


def results(data: bytes) -> dict[int, bytes]:
    """Return the results in a record's content, each pickled, by the index of their call."""
    _, marks, _, records, others = pickle.loads(data)
    found = {
        index: outcome[1:] if outcome[:1] == PLAIN else others.get(index)
        for index, _, outcome in unpacked(records)
        if marks[index] is not None and outcome[:1] != RAISED
    }
    return {index: result for index, result in found.items() if result is not None}

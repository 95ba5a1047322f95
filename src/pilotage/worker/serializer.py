"""Our plug-ins for Parsl's serializer: two for messages to a worker, one for what comes back.

Parsl writes the plug-in's module and class before each message, and the receiver imports it by that name. So nothing
of Parsl's worker pool has to change. A process that reads a message to a worker is one, and from then on sends its
results with the other plug-in; the driver's Parsl is never changed.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import threading
from collections import OrderedDict
from typing import Any, TypeVar

from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import facade
from parsl.serialize.base import SerializerBase
from parsl.serialize.errors import DeserializationError

from pilotage.worker.degrading import sendable
from pilotage.worker.depth import with_room
from pilotage.worker.exceptions import wrap
from pilotage.worker.pickling import ToDriverPickler, ToWorkerPickler

AnyPickler = TypeVar("AnyPickler", ToWorkerPickler, ToDriverPickler)

CACHED_FUNCTIONS = 256
CACHED_BYTES = 64 << 20


class ToWorker(SerializerBase):
    """Arguments on their way to a worker."""

    def serialize(self, data: Any) -> bytes:
        """Return ``data`` pickled; raises whatever pickling raises."""
        return self.serialize_and_keep(data, [])

    def serialize_and_keep(self, data: Any, classes: list[type]) -> bytes:
        """Return ``data`` pickled, with `serialize`'s errors.

        The classes that travel by value are appended to ``classes``; whoever waits for the answer keeps them.
        """
        message, pickler = with_room(lambda: _pickled(data, ToWorkerPickler))
        classes += pickler.classes
        return message

    def deserialize(self, payload: bytes) -> Any:
        """Return what was pickled; from now on, this process answers with `ToDriver`."""
        answer_with_our_plugin()
        return pickle.loads(payload)


class FunctionToWorker(ToWorker):
    """Functions on their way to a worker.

    A function is pickled anew for each call, since a global that it uses may have changed in between, and nothing but
    pickling can tell. Measured: 30 to 50 microseconds for everyday functions, 140 for one that uses a dataclass.

    On the worker the same bytes are the same function, so what it keeps in its globals lasts, as on threads.
    """

    _functions: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()

    def deserialize(self, payload: bytes) -> Any:
        """Return the function; see `ToWorker`."""
        key = hashlib.blake2b(payload, digest_size=32).digest()
        functions = self._functions
        if key in functions:
            functions.move_to_end(key)
            return functions[key][0]
        function = super().deserialize(payload)
        functions[key] = function, len(payload)
        held = sum(size for _, size in functions.values())
        while len(functions) > 1 and (len(functions) > CACHED_FUNCTIONS or held > CACHED_BYTES):
            held -= functions.popitem(last=False)[1][1]
        return function


class ToDriver(SerializerBase):
    """Results and exceptions on their way back."""

    def serialize(self, data: Any) -> bytes:
        """Return ``data`` pickled. An exception is always sent, if need be with parts of it as words."""
        try:
            return _dump(data)
        except Exception:
            # Parsl's worker would end if this raised, and take the reason with it.
            if not isinstance(data, RemoteExceptionWrapper):
                raise
            return _dump(sendable(data, _can_send))

    def deserialize(self, payload: bytes) -> Any:
        """Return what was pickled; what cannot be read becomes the exception of its own task."""
        try:
            return pickle.loads(payload)
        except Exception as error:
            # Parsl reads results in one thread without a net: raised here, it would end all tasks.
            told = DeserializationError(f"{type(error).__name__}: {error}")
            told.__cause__ = error
            return wrap(told)


class Answers(ToDriver):
    """`ToDriver` in Parsl's hands: for threads that have read a call.

    A task may load a Parsl of its own, whose calls are made by other threads and go to other readers.
    """

    identifier = ToDriver().identifier

    def serialize(self, data: Any) -> bytes:
        """Return ``data`` pickled; raises TypeError in other threads, whereupon Parsl asks its next plug-in."""
        if not getattr(_this_thread, "has_read_a_call", False):
            raise TypeError("this is no answer to a call")
        return super().serialize(data)


_this_thread = threading.local()


def _pickled(data: Any, kind: type[AnyPickler]) -> tuple[bytes, AnyPickler]:
    with io.BytesIO() as file:
        pickler = kind(file)
        pickler.dump(data)
        return file.getvalue(), pickler


def _dump(data: Any) -> bytes:
    return with_room(lambda: _pickled(data, ToDriverPickler))[0]


def _can_send(data: Any) -> bool:
    try:
        _dump(data)
    except Exception:  # whatever pickling raised, the answer is no
        return False
    return True


def answer_with_our_plugin() -> None:
    """Register `Answers` in this process before Parsl's own plug-ins, which stay for what it refuses."""
    _this_thread.has_read_a_call = True
    for methods in (facade.methods_for_code, facade.methods_for_data):
        if Answers.identifier not in methods:
            others = dict(methods)
            methods.clear()
            methods[Answers.identifier] = Answers()
            methods.update(others)

"""Our two plug-ins for Parsl's serializer: one for messages to a worker, one for what comes back.

Parsl writes the plug-in's module and class before each message, and the receiver imports it by that name. So nothing
of Parsl's worker pool has to change. A process that reads a message to a worker is one, and from then on sends its
results with the other plug-in; the driver's Parsl is never changed.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections import OrderedDict
from types import FunctionType
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import facade
from parsl.serialize.base import SerializerBase
from parsl.serialize.errors import DeserializationError

from pilotage.worker.exceptions import make_sendable
from pilotage.worker.pickling import ToDriverPickler, ToWorkerPickler, dumps

CACHED_FUNCTIONS = 256
CACHED_SIZE = 1 << 20


class ToWorker(SerializerBase):
    """Functions and arguments on their way to a worker.

    A function is pickled anew for each call, since a global that it uses may have changed in between: 40 to 100
    microseconds for everyday functions.
    """

    _functions: OrderedDict[bytes, Any] = OrderedDict()

    def serialize(self, data: Any) -> bytes:
        """Return ``data`` pickled; raises whatever pickling raises."""
        return dumps(data, ToWorkerPickler)

    def deserialize(self, payload: bytes) -> Any:
        """Return what was pickled. The same function arrives as the same object, so what it keeps in its globals
        lasts as long as it would on threads."""
        send_results_by_reference()
        functions = self._functions
        if payload in functions:
            functions.move_to_end(payload)
            return functions[payload]
        found = pickle.loads(payload)
        if isinstance(found, (FunctionType, functools.partial)) and len(payload) <= CACHED_SIZE:
            functions[payload] = found
            while len(functions) > CACHED_FUNCTIONS:
                functions.popitem(last=False)
        return found


class ToDriver(SerializerBase):
    """Results and exceptions on their way back."""

    def serialize(self, data: Any) -> bytes:
        """Return ``data`` pickled. An exception is always sent, if need be with parts of it as words."""
        try:
            return dumps(data, ToDriverPickler)
        except Exception:
            # Parsl's worker would end if this raised, and take the reason with it.
            if not isinstance(data, RemoteExceptionWrapper):
                raise
            return dumps(make_sendable(data, lambda part: dumps(part, ToDriverPickler)), ToDriverPickler)

    def deserialize(self, payload: bytes) -> Any:
        """Return what was pickled; what cannot be read becomes the exception of its own task."""
        try:
            return pickle.loads(payload)
        except Exception as error:
            # Parsl reads results in one thread without a net: raised here, it would end all tasks.
            told = DeserializationError(f"the result cannot be unpickled: {type(error).__name__}: {error}")
            told.__cause__ = error
            return RemoteExceptionWrapper(type(told), told, sys.exc_info()[2])


def send_results_by_reference() -> None:
    """Make this process, a worker, send results with `ToDriver`; Parsl's own stay behind it for what it refuses."""
    for methods in (facade.methods_for_code, facade.methods_for_data):
        if not any(isinstance(method, ToDriver) for method in methods.values()):
            others = dict(methods)
            methods.clear()
            ours = ToDriver()
            methods[ours.identifier] = ours
            methods.update(others)

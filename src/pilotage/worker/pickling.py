"""How objects of a script are pickled so that the other side finds them as on threads.

To the worker, what belongs to the script's ``__main__`` travels by value, with the globals it uses as they are now. On
the way back, a class that came from the driver travels by reference: the driver finds its own class again, so
``isinstance`` and ``except`` hold, and unpickling never writes to the driver's class.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import threading
import weakref
from collections import OrderedDict
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as internals

from pilotage.worker.exceptions import is_plain, reduce_exception

LOCK, RLOCK = type(threading.Lock()), type(threading.RLock())
SKELETONS = (internals._make_skeleton_class, internals._make_skeleton_enum)
KEPT_CLASSES = 4096

# In the driver: classes that went out. While a task is away, nothing else may hold a class made in a function.
_sent: OrderedDict[str, type] = OrderedDict()
# On a worker: classes that came from the driver, and their numbers in cloudpickle's book.
_received: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()


class Pickler(cloudpickle.Pickler):
    """cloudpickle, and what it lacks for everyday scripts.

    Exceptions are rebuilt without a second call of their ``__init__``, locks arrive as new ones, cached functions of
    the script come with their function, and a kernel of Parsl stays where it is.
    """

    def reducer_override(self, obj: Any) -> Any:
        """Reduce what pickle and cloudpickle would reduce differently, or not at all."""
        kind = type(obj)
        if isinstance(obj, BaseException):
            return reduce_exception(obj) if is_plain(kind) else NotImplemented
        if kind is LOCK:
            return threading.Lock, ()
        if kind is RLOCK:
            return threading.RLock, ()
        if kind is functools._lru_cache_wrapper and _travels_by_value(obj):
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if kind.__name__ == "DataFlowKernel" and kind.__module__.startswith("parsl."):
            return _nothing, ()
        return super().reducer_override(obj)


class ToWorkerPickler(Pickler):
    """In the driver: classes that travel by value are marked, and kept for their way back."""

    def reducer_override(self, obj: Any) -> Any:
        """Reduce ``obj``."""
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and reduced[0] in SKELETONS:
            number = internals._get_or_create_tracker_id(obj)
            _sent[number] = obj
            _sent.move_to_end(number)
            while len(_sent) > KEPT_CLASSES:
                _sent.popitem(last=False)
            return (_receive, (number, reduced[0], reduced[1]), *reduced[2:])
        return reduced


class ToDriverPickler(Pickler):
    """On a worker: classes that came from the driver go back by reference, others as cloudpickle sends them."""

    def reducer_override(self, obj: Any) -> Any:
        """Reduce ``obj``."""
        if isinstance(obj, type) and obj in _received:
            return _class_of_driver, (_received[obj], obj.__module__, obj.__qualname__)
        return super().reducer_override(obj)


def dumps(obj: Any, pickler: type[Pickler]) -> bytes:
    """Return ``obj`` pickled by ``pickler``; raises whatever pickling raises."""
    with io.BytesIO() as file:
        pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(obj)
        return file.getvalue()


def _receive(number: str, make: Any, arguments: tuple[Any, ...]) -> type:
    made: type = make(*arguments)
    _received[made] = number
    return made


def _class_of_driver(number: str, module: str, qualname: str) -> Any:
    found = internals._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    if found is not None:
        return found
    found = sys.modules[module]
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


def _travels_by_value(function: Any) -> bool:
    return function.__module__ == "__main__" or "<locals>" in function.__qualname__


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _nothing() -> None:
    return None

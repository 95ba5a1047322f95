"""How objects of a script are pickled so that the other side finds them as on threads.

To the worker, what belongs to the script's ``__main__`` travels by value, with the globals it uses as they are now. On
the way back, what came from the driver travels by reference, and the driver finds its own class or function again: so
``isinstance`` and ``except`` hold, and unpickling never writes to the driver's class.
"""

from __future__ import annotations

import io
import pickle
from collections import ChainMap
from concurrent.futures import Future
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as internals
from parsl.app.errors import RemoteExceptionWrapper

from pilotage.worker import classes
from pilotage.worker.exceptions import reduce_exception, reduce_wrapper
from pilotage.worker.importable import is_importable
from pilotage.worker.things import ALIVE, REDUCERS, reduce_future, reduce_module, refuse

SKELETONS = (internals._make_skeleton_class, internals._make_skeleton_enum)


class Pickler(cloudpickle.Pickler):
    """cloudpickle, and what it lacks for everyday scripts; see `things`, `exceptions` and `classes`."""

    dispatch_table = ChainMap(REDUCERS, cloudpickle.Pickler.dispatch_table)

    def reducer_override(self, obj: Any) -> Any:
        """Reduce what pickle and cloudpickle would reduce differently, or not at all."""
        if isinstance(obj, type):
            return self.reduce_class(obj)
        if isinstance(obj, FunctionType):
            return self.reduce_function(obj)
        if isinstance(obj, BaseException):
            return reduce_exception(obj)
        if isinstance(obj, Future):
            return reduce_future(obj)
        if isinstance(obj, ALIVE):
            refuse(obj)
        if type(obj) is RemoteExceptionWrapper:
            return reduce_wrapper(obj)
        if isinstance(obj, ModuleType) and obj.__name__ != "__main__" and not is_importable(obj.__name__):
            return reduce_module(obj)
        return NotImplemented

    def reduce_class(self, kind: type) -> Any:
        """Reduce a class: by its name where the other side can import it, else by value."""
        reduced = internals._class_reduce(kind)
        if reduced is NotImplemented and kind.__module__ and not is_importable(kind.__module__):
            reduced = internals._dynamic_class_reduce(kind)
        if reduced is NotImplemented or reduced[0] not in SKELETONS:
            return reduced
        members = classes.enum_members(kind) if reduced[0] is internals._make_skeleton_enum else None
        # Some attributes come too late in the state: a class is made with them.
        body = {name: vars(kind)[name] for name in classes.NEEDED_AT_ONCE if name in vars(kind)}
        body["__qualname__"] = kind.__qualname__
        how = (type(kind), kind.__name__, kind.__bases__, body, members)
        return self.reduce_dynamic_class(kind, (internals._get_or_create_tracker_id(kind), *how))

    def reduce_dynamic_class(self, kind: type, arguments: tuple[Any, ...]) -> Any:
        """Reduce, by value, a class that is made by ``make_class(*arguments)``."""
        return classes.make_class, arguments, classes.class_state(kind), None, None, classes.fill_class_once

    def reduce_function(self, function: FunctionType) -> Any:
        """Reduce a function: by its name where the other side can import it, else by value."""
        reduced = self._function_reduce(function)
        if reduced is NotImplemented and function.__module__ and not is_importable(function.__module__):
            reduced = self._dynamic_function_reduce(function)
        return reduced


class ToWorkerPickler(Pickler):
    """In the driver: what travels by value is marked, so that it can come back by reference.

    ``classes`` are those that went; the driver has to keep them until it has the answer, since nothing else may hold a
    class that was made in a function.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.classes: list[type] = []

    def reduce_dynamic_class(self, kind: type, arguments: tuple[Any, ...]) -> Any:
        """Reduce a class; the worker's gets the driver's present attributes each time."""
        self.classes.append(kind)
        return classes.receive_class, arguments, classes.class_state(kind), None, None, classes.fill_class

    def reduce_function(self, function: FunctionType) -> Any:
        """Reduce a function; one that has a name in its module is marked."""
        reduced = super().reduce_function(function)
        if reduced is NotImplemented or (place := classes.place_of(function)) is None:
            return reduced
        return (classes.receive_function, (place, *reduced[1]), *reduced[2:])


class ToDriverPickler(Pickler):
    """On a worker: what came from the driver goes back by reference."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)

    def reduce_class(self, kind: type) -> Any:
        """Reduce a class."""
        if kind in classes.received_classes:
            return classes.class_of_driver, (classes.received_classes[kind], kind.__module__, kind.__qualname__)
        return super().reduce_class(kind)

    def reduce_function(self, function: FunctionType) -> Any:
        """Reduce a function."""
        if function in classes.received_functions:
            return classes.function_of_driver, classes.received_functions[function]
        return super().reduce_function(function)

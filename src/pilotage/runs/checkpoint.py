"""What a run has computed, kept so that another run of the same script need not compute it again.

A run's checkpoint folder holds files of results. `Checkpoint` is the memoizer of the run's kernels: it appends each
result to a file of the run's own, and answers calls from the files of earlier runs, which `inherit` has put beside it.

**Which result is whose.** A call is known by its function's name and its arguments, and by its place among the equal
calls of the run: the third ``draw()`` gets what the third one got before, so that a hundred draws stay a hundred
results. A result counts only while the code is what it was (`identity`), and the files it wrote are there. A join_app's
result stands for the calls made in it: their places stay taken when it is not run.

**Short calls** that travel together are kept together, for next to nothing, as long as there is nothing to take up:
their record has the arguments themselves, and it is the next run that works out what each is known by. Of equal ones
among them, the results that there are go to the first such calls, in the order of their tasks. (What a call is known by
takes ten microseconds, a short call sixty.)

**The file** is a sequence of records, written whole and in one go: the page cache survives a killed process. A record
begins with `MAGIC` and has checksums, so that what follows a torn one is found again; a later record of the same
call replaces an earlier one. Nothing is removed.
"""

from __future__ import annotations

import io
import itertools
import os
import pickle
import shutil
import struct
import sys
import threading
import time
import types
import weakref
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import cloudpickle
from parsl.data_provider.files import File
from parsl.dataflow.memoization import BasicMemoizer, Memoizer

from pilotage import system
from pilotage.engine.coalescing import Kept
from pilotage.engine.current import current
from pilotage.errors import StorageError
from pilotage.paths import private_folder, storage
from pilotage.runs import batches
from pilotage.runs.batches import key_of, place_of
from pilotage.runs.identity import SIZE, identity, label, unwrapped
from pilotage.staging.known import has_changed, is_there, read_by
from pilotage.worker.data.places import place_of as place_of_url
from pilotage.worker.data.things import mark_of

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.dataflow.taskrecord import TaskRecord

OWN = "own.results"
SUFFIX = ".results"
MAGIC = b"\x93pR1"
RESULT, GONE, BATCH = 1, 2, 3  # GONE: the call's stored result is not to be used any more; BATCH: see `batches`
FIELDS = struct.Struct(f"<4sB{SIZE}s{SIZE}sIQI")  # magic, kind, slot, identity, number of covered slots, length, crc
HEAD = FIELDS.size + 4  # and the checksum of these
NOTHING = bytes(SIZE)
SHORT = 64 << 10
"""Bytes of contents that are checked when a file is gone through: what follows may be a record by chance."""
SLOW_WRITE, SLOW_WRITES = 0.005, 5
"""Seconds of a write, and how many such writes, after which other threads need not wait for the file system."""
NO_LOGS = pickle.dumps(None, 5)
READ = "read"
"""Beside the names of a call's streams: what it has read, and by what that was known."""
KEY = "pilotage_call"  # of a task's record: what a call is while it is under way, then its slot


def inherit(old: Path, new: Path) -> None:
    """Put the results of the run whose checkpoint folder is ``old`` into the folder ``new`` of a run to come.

    They are linked, or copied where the file system has no links; ``new`` is made, 0700. Raises StorageError.
    """
    private_folder(new)
    last = max((_order(path)[0] for path in new.glob(f"from-*{SUFFIX}")), default=0)
    for number, source in enumerate(_files(old), start=last + 1):
        target = new / f"from-{number}{SUFFIX}"
        with storage(target):
            try:
                target.hardlink_to(source)
            except FileExistsError:
                raise
            except OSError:
                partial = target.with_suffix(".partial")
                shutil.copyfile(source, partial)
                partial.chmod(0o600)
                partial.rename(target)


def _order(path: Path) -> tuple[int, str]:
    number = path.name.removeprefix("from-").removesuffix(SUFFIX)
    return (int(number) if number.isdecimal() else sys.maxsize, path.name)  # the run's own file is its newest


def _files(folder: Path) -> list[Path]:
    """Return the files of results in a folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=_order)


class Head(NamedTuple):
    """The front of a record."""

    kind: int
    slot: bytes
    identity: bytes
    covers: int
    length: int
    checksum: int

    def packed(self) -> bytes:
        """Return the head as it is written."""
        fields = FIELDS.pack(MAGIC, *self)
        return fields + zlib.crc32(fields).to_bytes(4, "little")

    @classmethod
    def read(cls, file: BinaryIO, offset: int) -> Head | None:
        """Return the head at ``offset``, or None where there is none."""
        file.seek(offset)
        data = file.read(HEAD)
        if len(data) < HEAD or data[:4] != MAGIC or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            return None
        return cls(*FIELDS.unpack(data[:-4])[1:])


def records(file: BinaryIO) -> Iterator[tuple[int, Head | None]]:
    """Yield the offset and head of each record of a file; None stands for a damaged stretch.

    Long contents are not read, and are to be checked when they are.
    """
    size = os.fstat(file.fileno()).st_size
    offset, head = 0, Head.read(file, 0)
    while offset < size:
        end = offset + HEAD + head.length if head is not None else size + 1
        following = Head.read(file, end) if end < size else None
        # Where something else follows, either this record is torn or the next one is damaged.
        short = head is not None and head.length <= SHORT
        ends_well = not short and (following or end == size)
        if head is not None and (ends_well or (end <= size and content(file, offset, head) is not None)):
            yield offset, head
            offset, head = end, following
        else:
            yield offset, None
            offset = _next_magic(file, offset + 1, size)
            head = Head.read(file, offset)


def _next_magic(file: BinaryIO, offset: int, size: int) -> int:
    step = 1 << 20
    while offset < size:
        file.seek(offset)
        found = file.read(step + len(MAGIC)).find(MAGIC)
        if found >= 0:
            return offset + found
        offset += step
    return size


def content(file: BinaryIO, offset: int, head: Head) -> bytes | None:
    """Return what a record holds, or None where it is damaged."""
    file.seek(offset + HEAD)
    data = file.read(head.length)
    return data if len(data) == head.length and zlib.crc32(data) == head.checksum else None


class _ResultPickler(cloudpickle.Pickler):
    """Pickles by value what has no name of its own; a class of the script comes back as the script's."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, types.FunctionType)):
            found: Any = sys.modules.get(str(obj.__module__))
            for name in obj.__qualname__.split("."):
                found = getattr(found, name, None)
            if found is obj:
                return NotImplemented
        return super().reducer_override(obj)


def pickled(result: Any) -> bytes | None:
    """Return a result as bytes, or None where nothing can pickle it."""
    try:
        return pickle.dumps(result, 5)
    except Exception:  # the result's own methods are asked, and may fail as they like
        buffer = io.BytesIO()
        try:
            _ResultPickler(buffer, 5).dump(result)
        except Exception:
            return None
        return buffer.getvalue()


class Call(NamedTuple):
    """An app call that is under way."""

    slot: bytes
    identity: bytes
    shared: bool


class Stored(NamedTuple):
    """Where a stored result is; one of a batch has a place in it."""

    identity: bytes
    file: int
    offset: int
    place: int | None = None


class Checkpoint(Memoizer):
    """Answers calls from earlier runs' results, and stores those of this run.

    One checkpoint serves all kernels of a run, one after another or at once.

    Parameters
    ----------
    folder: the run's checkpoint folder; made (0700) with the first result.
    ignore_changes: use results of functions whose source has changed since.
    """

    def __init__(self, folder: Path, *, ignore_changes: bool = False) -> None:
        self.folder = folder
        self.ignore_changes = ignore_changes
        self.reused = 0
        """Calls that were answered from an earlier run."""
        self.stored = 0
        """Results that were written; those of a batch count as one."""
        self.unpicklable = 0
        """Results that nothing can pickle: their calls run again."""
        self.not_keyed = 0
        """Calls that cannot be recognised in another run, by their arguments or by outputs that are elsewhere."""
        self.changed = 0
        """Calls that had a result, but their source is another now."""
        self.inputs_changed = 0
        """Calls that had a result, but a file that they have read is another now."""
        self.damaged = 0
        """Stretches of earlier files that hold no record."""
        self.broken: str | None = None
        """Why nothing is written any more, or None."""
        self._lock = threading.Lock()
        self._loaded = False
        self._files: list[Path] = []
        self._index: dict[bytes, Stored] = {}
        self._covers: dict[bytes, list[bytes]] = {}  # a join_app's slot: the slots of the calls made in it
        self._covered: set[bytes] = set()
        # Counting equal calls takes 8 bytes of each key, not the key: two that agree in these only share a count.
        self._once: set[int] = set()
        self._more: dict[int, int] = {}
        self._descriptor: int | None = None
        self._slow_writes = 0
        self._kernels: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count(1)
        self._light: set[tuple[Any, str]] = set()  # kernels and their executors that keep results by batches
        self._takes_up = False
        self._last_batch: tuple[Stored, dict[int, bytes]] | None = None
        self._within_run: weakref.WeakKeyDictionary[Any, BasicMemoizer] = weakref.WeakKeyDictionary()

    def start(self, *, run_dir: str, config_run_dir: str) -> None:  # noqa: ARG002  Parsl's signature
        """Read what earlier runs have stored, when the first kernel starts."""
        with self._lock:
            if self._loaded:
                return
            self._loaded = True
            for path in _files(self.folder):
                try:
                    with path.open("rb", buffering=1 << 16) as file:
                        self._load(path, file)
                except OSError:
                    self.damaged += 1
            for slots in self._covers.values():
                self._covered.update(slots)
            self._takes_up = bool(self._index or self._covered)

    def serve(self, kernel: DataFlowKernel) -> None:
        """Let the kernel's executors keep results by batches where they can and there are none to take up."""
        with self._lock:
            number = self._kernels[kernel] = next(self._numbers)
        if self._takes_up:  # also when all has been taken up: a place among equal calls is one of all runs
            return
        for name, executor in kernel.executors.items():
            keep_results = getattr(executor, "keep_results", None)
            if keep_results is not None and keep_results(Keeper(self, number)):
                self._light.add((kernel, name))

    def _load(self, path: Path, file: BinaryIO) -> None:
        self._files.append(path)
        known: dict[bytes, bytes] = {}  # few identities, many records
        light: list[batches.Light] = []
        of_file: list[bytes] = []
        for offset, head in records(file):
            if head is None:
                self.damaged += 1
                continue
            if head.kind == BATCH:
                data = content(file, offset, head)
                found = None if data is None else batches.calls(data, len(self._files) - 1, offset)
                if found is None:
                    self.damaged += 1
                light += found or ()
                continue
            of_file.append(head.slot)
            self._covers.pop(head.slot, None)
            if head.kind == GONE:
                self._index.pop(head.slot, None)
                continue
            same = known.setdefault(head.identity, head.identity)
            self._index[head.slot] = Stored(same, len(self._files) - 1, offset)
            if head.covers:
                data = content(file, offset, head) or b""
                self._covers[head.slot] = [
                    data[at : at + SIZE] for at in range(0, min(len(data), head.covers * SIZE), SIZE)
                ]
        self._place(light, of_file)

    def _place(self, light: list[batches.Light], of_file: list[bytes]) -> None:
        """Give the calls of a file's batches their places among equal calls: those that its other calls have left."""
        taken = set(of_file)
        counts: dict[bytes, int] = {}
        slots: dict[bytes, bytes] = {}
        for _, call in sorted({(call.kernel, call.task): call for call in light}.items()):
            number = counts.get(call.key, 0)
            while (slot := place_of(call.key, number)) in taken:
                number += 1
            counts[call.key] = number + 1
            self._covers.pop(slot, None)
            self._index[slot] = Stored(call.identity, call.file, call.offset, call.place)
            slots[batches.name(call.kernel, call.task)] = slot
        for slot in of_file:
            if slot in self._covers:
                self._covers[slot] = [slots.get(inner, inner) for inner in self._covers[slot]]

    def check_memo(self, task: TaskRecord) -> Future[Any] | None:
        """Return a future with the call's stored result, or None where it is to run."""
        record: Any = task
        light = not record["memoize"] and not record["ignore_for_cache"]
        if light and (record["dfk"], record["executor"]) in self._light:
            current.offered = record
            return None
        current.task, current.offered = record["id"], None
        if task["memoize"]:
            shared = self._basic(task).check_memo(task)
            if shared is not None:
                return shared
        if KEY in record:  # a further try; the arguments may have been changed by the first
            return None
        call = self._known(task)
        if call is None:
            return None
        found = self._take(call, task)
        if found is None:
            return None
        future: Future[Any] = Future()
        future.set_result(found[0])
        return future

    def note(self, task: TaskRecord) -> None:
        """Take in that the result of a call is to be kept by itself."""
        if KEY not in cast("dict[str, Any]", task):
            self._known(task)

    def _known(self, task: TaskRecord) -> Call | None:
        """Find out what a call is known by, and note it; None where it cannot be recognised."""
        call = self._call(task)
        cast("dict[str, Any]", task)[KEY] = call
        if call is None:
            with self._lock:
                self.not_keyed += 1
        return call

    def keep(self, kernel: int, kept: Kept) -> None:
        """Store the results of calls that travelled together."""
        data, unpicklable = batches.content(kernel, kept, pickled)
        with self._lock:
            self.unpicklable += unpicklable
        self._write(BATCH, Call(NOTHING, NOTHING, False), 0, data)

    def update_memo_result(self, task: TaskRecord, r: Any) -> None:
        """Store the result of a call that has run."""
        if task["memoize"]:
            self._basic(task).update_memo_result(task, r)
        elif KEY not in task:  # one of a batch, or nothing to recognise it by
            return
        call = self._ended(task)
        if call is not None and not task["from_memo"]:
            try:
                self._store(call, task, r)
            except Exception:  # the call's future would never be done
                with self._lock:
                    self.unpicklable += 1

    def _store(self, call: Call, task: TaskRecord, result: Any) -> None:
        data = pickled(result)
        if data is None:
            with self._lock:
                self.unpicklable += 1
            return
        covers = self._made_in(task) if task["join"] else []
        logs: dict[str, Any] = _kept_logs(task)
        if read := read_by(task):
            logs[READ] = read
        front = b"".join(covers) + (pickle.dumps(logs, 5) if logs else NO_LOGS)
        self._write(RESULT, call, len(covers), front + data)

    def _made_in(self, task: TaskRecord) -> list[bytes]:
        """Return the slots of the calls that a join_app has made, as far as it waited for them.

        For those that were kept with their batch, it is what `batches.name` gives.
        """
        joins: Any = task["joins"]
        begun: Any = task["try_time_launched"]
        todo = list(joins) if isinstance(joins, list) else [joins]
        seen: set[int] = set()
        slots = []
        while todo:
            future = todo.pop()
            inner = vars(future).get("task_record") or vars(vars(future).get("parent", future)).get("task_record")
            if inner is None or id(inner) in seen or inner["time_invoked"] < begun:
                continue
            seen.add(id(inner))
            todo.extend(inner["depends"] or ())
            slot, kernel = inner.get(KEY), self._kernels.get(task["dfk"], 0)
            slots.append(slot if isinstance(slot, bytes) else batches.name(kernel, inner["id"]))
        return slots

    def update_memo_exception(self, task: TaskRecord, e: BaseException) -> None:
        """Forget the call: one that failed runs again."""
        if task["memoize"]:
            self._basic(task).update_memo_exception(task, e)
        self._ended(task)

    def close(self) -> None:
        """Close the file; a kernel that is still there opens it again."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _basic(self, task: TaskRecord) -> BasicMemoizer:
        """Return what serves ``cache=True`` within a kernel, as it does without us."""
        kernel = task["dfk"]
        with self._lock:
            found = self._within_run.get(kernel)
            if found is None:
                found = self._within_run[kernel] = BasicMemoizer()
                found.start(run_dir=kernel.run_dir, config_run_dir=kernel.config.run_dir)
            return found

    def _call(self, task: TaskRecord) -> Call | None:
        kwargs = task["kwargs"]
        try:
            if "_parsl_staging_inhibit" in kwargs or not _outputs_are_local(kwargs):
                return None
            function = unwrapped(task["func"])
            shared = bool(task["memoize"])
            key = key_of(label(function), task["args"], kwargs, task["ignore_for_cache"], shared=shared)
            return Call(key if shared else self._next_slot(key), identity(function), shared)
        except Exception:  # an argument's own methods are asked, and may fail as they like
            return None

    def _next_slot(self, key: bytes) -> bytes:
        """Return the place of a call among the equal calls of this run."""
        short = int.from_bytes(key[:8], "little")
        with self._lock:
            if short not in self._once:
                self._once.add(short)
                if key not in self._covered:
                    return key
            while True:
                number = self._more.get(short, 0) + 1
                self._more[short] = number
                slot = place_of(key, number)
                if slot not in self._covered:
                    return slot

    def _take(self, call: Call, task: TaskRecord) -> tuple[Any] | None:
        """Return the stored result of a call in a tuple, or None."""
        with self._lock:
            stored = self._index.get(call.slot) if call.shared else self._index.pop(call.slot, None)
            if stored is None:
                return None
            if stored.identity != call.identity and not self.ignore_changes:
                self._index.pop(call.slot, None)
                self._release(call.slot)
                self.changed += 1
                return None
        there = _outputs_are_there(task)
        found = self._read(stored) if there else None
        if found is not None and has_changed((found[0] or {}).get(READ, {}), task):
            self._forget_changed(call)
            return None
        if found is not None and not _restored_logs(task, found[0]):
            there, found = False, None
        with self._lock:
            if found is None:
                self._index.pop(call.slot, None)
                self._release(call.slot)
            else:
                self.reused += 1
        if not there:
            # The call may be killed with its files half written: they must not make the old result count again.
            self._write(GONE, call, 0, b"")
        return None if found is None else (found[1],)

    def _forget_changed(self, call: Call) -> None:
        """Let a call run again of which an input is another than it was."""
        with self._lock:
            self._index.pop(call.slot, None)
            self._release(call.slot)
            self.inputs_changed += 1
        self._write(GONE, call, 0, b"")

    def _release(self, slot: bytes) -> None:
        """Let the calls in a join_app that is to run have their places."""
        self._covered.difference_update(self._covers.pop(slot, ()))

    def _read(self, stored: Stored) -> tuple[Any, Any] | None:
        """Return the logs and the result of a record, or None where it cannot be read."""
        try:
            with self._files[stored.file].open("rb") as file:
                head = Head.read(file, stored.offset)
                data = None if head is None else content(file, stored.offset, head)
            if head is None or data is None:
                return None
            if stored.place is not None:
                return None, pickle.loads(self._result(stored, data))
            stream = io.BytesIO(data)
            stream.seek(head.covers * SIZE)
            return pickle.load(stream), pickle.load(stream)
        except Exception:  # its class may be gone, or refuse
            return None

    def _result(self, stored: Stored, data: bytes) -> bytes:
        """Return a result of the batch in ``data``, pickled; the calls of a batch are asked for one after another."""
        last, batch = self._last_batch or (None, None), stored._replace(identity=NOTHING, place=None)
        if last[0] != batch:
            self._last_batch = last = batch, batches.results(data)
        results: Any = last[1]
        one: bytes = results[stored.place]
        return one

    def _ended(self, task: TaskRecord) -> Call | None:
        record = cast("dict[str, Any]", task)
        call = record.pop(KEY, None)
        if not isinstance(call, Call):
            return None
        if not call.shared:
            record[KEY] = call.slot  # for a join_app that this call was made in
        return call

    def _write(self, kind: int, call: Call, covers: int, data: bytes) -> None:
        head = Head(kind, call.slot, call.identity, covers, len(data), zlib.crc32(data))
        with self._lock:
            if self.broken is not None:
                return
            try:
                self._append(head.packed() + data)
            except OSError as error:
                self.broken = error.strerror or str(error)
            except StorageError as error:
                self.broken = str(error)
            else:
                self.stored += kind != GONE

    def _append(self, data: bytes) -> None:
        if self._descriptor is None:
            private_folder(self.folder)
            self._descriptor = os.open(self.folder / OWN, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        rest = memoryview(data)
        if len(data) <= SHORT and self._slow_writes < SLOW_WRITES:
            # Else this thread, through which all results come, waits 5 ms for the others after 10 us in the kernel.
            begun = time.perf_counter()
            rest = rest[system.write_in_turn(self._descriptor, data) :]
            self._slow_writes += time.perf_counter() - begun > SLOW_WRITE
        while rest:  # one write, but for a full disk and for more than 2 GiB
            rest = rest[os.write(self._descriptor, rest) :]


class Keeper:
    """Keeps the results of one kernel for a `Checkpoint`, as `pilotage.engine.outbox.Keeper` has it."""

    def __init__(self, checkpoint: Checkpoint, kernel: int) -> None:
        self._checkpoint = checkpoint
        self._kernel = kernel

    def mark(self, task: Any) -> batches.Mark:
        """Return what the task's function is known by."""
        function = unwrapped(task["func"])
        return label(function), identity(function)

    def note(self, task: Any) -> None:
        """Take in that the task's result is to be kept by itself."""
        self._checkpoint.note(task)

    def keep(self, kept: Kept) -> None:
        """Store results."""
        self._checkpoint.keep(self._kernel, kept)


def _outputs(kwargs: Mapping[str, Any]) -> Iterator[Any]:
    yield from kwargs.get("outputs") or ()
    yield from (kwargs[name] for name in ("stdout", "stderr") if kwargs.get(name) is not None)


def _outputs_are_local(kwargs: Mapping[str, Any]) -> bool:
    # What the driver takes to another place may not have arrived there when the call's result is stored.
    return all(_is_published(output) for output in _outputs(kwargs) if isinstance(output, File))


def _is_published(output: File) -> bool:
    """Return whether an output is at its place once the call's result is there."""
    place, mark = place_of_url(output.url), mark_of(output)
    return place.scheme in ("file", "driver") or (mark is not None and not mark["url"].startswith("driver:"))


def _path(output: Any) -> str | None:
    """Return where an output of a call is on this machine: a File, a path, or a path and a mode."""
    if isinstance(output, File):
        return place_of_url(output.url).path  # local_path is where a worker had it
    if isinstance(output, tuple) and output:
        output = output[0]
    return os.fsdecode(output) if isinstance(output, (str, bytes, os.PathLike)) else None


def _logs(task: TaskRecord) -> Iterator[tuple[str, str]]:
    """Yield the streams whose files have another name in every run (``AUTO_LOGNAME``), with these."""
    for name in ("stdout", "stderr"):
        path = _path(task["kwargs"].get(name))
        if path is not None and name in task["ignore_for_cache"]:
            yield name, path


def _kept_logs(task: TaskRecord) -> dict[str, str]:
    return {name: str(Path(path).absolute()) for name, path in _logs(task)} if task["kwargs"] else {}


def _outputs_are_there(task: TaskRecord) -> bool:
    kwargs = task["kwargs"]
    renamed = {path for _, path in _logs(task)}
    outputs = list(_outputs(kwargs))
    far = [one for one in outputs if isinstance(one, File) and place_of_url(one.url).scheme not in ("file", "driver")]
    paths = {path for path in map(_path, (one for one in outputs if one not in far)) if path is not None}
    return all(map(os.path.exists, paths - renamed)) and all(is_there(one, task) for one in far)


def _restored_logs(task: TaskRecord, kept: Mapping[str, str] | None) -> bool:
    """Put the logs of the stored call where this call's are looked for; return False where they are gone."""
    for name, path in _logs(task):
        source, target = (kept or {}).get(name), Path(path)
        if source is None or not Path(source).exists():
            return False
        if target.exists():
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(source)
            except OSError:
                shutil.copyfile(source, target)
        except OSError:
            return False
    return True

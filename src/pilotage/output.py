"""The only place that prints. stdout is data, stderr is talk.

Three manners: for people (rich, in colour where the terminal has it), ``--json`` (stdout holds one JSON object and
nothing else) and ``--quiet`` (errors only).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from pilotage.errors import PilotageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


Sample = tuple[int, int, "tuple[int, int] | None"]
"""Bytes and files that have moved, and those that there are."""
COLOURS = {"ok": "32", "warning": "33", "failed": "31;1", "skipped": "2"}


class Output:
    """Where commands put their results; one instance a command.

    Parameters
    ----------
    as_json: data goes out as one JSON object.
    quiet: no talk on stderr but errors.
    debug: errors come with their traceback.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, debug: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.debug = debug
        self._waiting = False

    def data(self, value: Mapping[str, Any] | Sequence[Any]) -> None:
        """Write ``value`` as JSON to stdout, where ``--json`` asks for it."""
        if self.as_json:
            _write(sys.stdout, json.dumps(value, indent=2, default=str) + "\n")

    def text(self, text: str, value: Mapping[str, Any] | None = None) -> None:
        """Write ``text`` to stdout as it is; with ``--json`` write ``value`` (or ``{"text": text}``)."""
        if self.as_json:
            self.data(value if value is not None else {"text": text})
        else:
            _write(sys.stdout, text if text.endswith("\n") else text + "\n")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], value: Mapping[str, Any]) -> None:
        """Write rows under column names to stdout; with ``--json`` write ``value``."""
        if self.as_json:
            self.data(value)
            return
        rows = [[str(cell) for cell in row] for row in rows]
        if sys.stdout is not None and sys.stdout.isatty():
            self._rich_table(columns, rows)
            return
        widths = [max(len(row[i]) for row in [list(columns), *rows]) for i in range(len(columns))]
        for row in [[name.upper() for name in columns], *rows]:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            _write(sys.stdout, line.rstrip() + "\n")

    def raw(self, text: str) -> None:
        """Write what another program wrote to stdout as it was, bytes that are no UTF-8 included."""
        if sys.stdout is not None:
            sys.stdout.flush()
            _write_bytes(text.encode(errors="surrogateescape"))

    def say(self, message: str) -> None:
        """Tell a person something on stderr; silent with ``--quiet``."""
        if not self.quiet:
            _write(sys.stderr, message + "\n")

    def warn(self, message: str) -> None:
        """Warn on stderr; silent with ``--quiet``."""
        self.say(f"warning: {message}")

    def error(self, error: PilotageError) -> None:
        """Report an error: what, where, hint on stderr; with ``--json`` an object on stdout as well."""
        if self.as_json:
            self.data(error.as_dict())
        if self.debug:
            import traceback

            _write(sys.stderr, "".join(traceback.format_exception(error)))
        _write(sys.stderr, f"error: {error}\n")

    def finding(self, status: str, first: str, more: str = "") -> None:
        """Write one finding to stdout, in the colour of its status where that is a terminal; nothing with ``--json``.

        With ``--quiet``, only what failed.
        """
        if self.as_json or (self.quiet and status != "failed"):
            return
        self.waits(None)
        mark = f"  {status:<8}"
        if sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            mark = f"\x1b[{COLOURS[status]}m{mark}\x1b[0m"
        _write(sys.stdout, f"{mark} {first}\n" + (f"{more}\n" if more else ""))

    def waits(self, words: str | None) -> None:
        """Show on a terminal what is being waited for, in a line that goes away; None takes it away."""
        if self.quiet or sys.stderr is None or not sys.stderr.isatty():
            return
        if words is not None:
            columns = shutil.get_terminal_size().columns
            _write(sys.stderr, f"\r\x1b[2K{words[: max(columns - 1, 1)]}")
        elif self._waiting:
            _write(sys.stderr, "\r\x1b[2K")
        self._waiting = words is not None

    @contextmanager
    def progress(self, what: str, sample: Callable[[], Sample]) -> Iterator[None]:
        """Show on a terminal how far something has come while it is done within; nothing elsewhere.

        Parameters
        ----------
        sample: returns the bytes and files that have moved, and those that there are, None before that is known.
        """
        if self.quiet or sys.stderr is None or not sys.stderr.isatty():
            yield
            return
        with _bar(self.console(), what, sample):
            yield

    def console(self) -> Console:
        """Return a rich console on stderr, for live views."""
        from rich.console import Console

        return Console(stderr=True)

    def _rich_table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in columns:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)


def _bar(console: Console, what: str, sample: Callable[[], Sample]) -> Progress:
    """Return a live line: part, bytes, bytes a second, files, time that is left."""
    from rich import progress
    from rich.console import RenderableType

    class Bar(progress.Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            count, files, expected = sample()
            total = None if expected is None else expected[0]
            shown = f"{files:,} files" if expected is None else f"{files:,}/{expected[1]:,} files"
            for task in self.task_ids:
                self.update(task, completed=count, total=total, files=shown)
            yield from super().get_renderables()

    bar = Bar(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TextColumn("{task.fields[files]}"),
        progress.TimeRemainingColumn(compact=True),
        console=console,
    )
    bar.add_task(what, total=None, files="")
    return bar


def _write_bytes(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _stop_writing(sys.stdout)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed by the caller: >&-
        return
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:  # the reader (head, less) has seen enough
        _stop_writing(stream)
    except OSError as error:
        if error.errno != errno.EIO:  # the terminal has gone
            raise


def _stop_writing(stream: TextIO) -> None:
    # Python would complain once more when it closes stdout.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

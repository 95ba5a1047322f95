"""The live line of a view: what is done for sites, tasks by state, rate, blocks, time; from what the driver writes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pilotage import steps
from pilotage.paths import RunFolder
from pilotage.runs.moves import size
from pilotage.runs.record import read_json

if TYPE_CHECKING:
    from rich.text import Text


class StatusLine:
    """The live line: what is being done, or tasks by state, rate and blocks; rendered by rich to the terminal's width.

    Before there are tasks to count, sites are being prepared: all of that is shown, and of later steps one.
    """

    def __init__(self, folder: RunFolder, sites: str, elapsed: float = 0.0) -> None:
        self._folder = folder
        self._sites = sites
        self._started = time.monotonic() - elapsed

    def __call__(self, columns: int) -> str:
        """Return the line for a terminal of that many columns; empty while there is nothing to tell."""
        from rich.console import Console
        from rich.text import Text

        progress = read_json(self._folder.progress)
        doing = [f"{one['label']}: {one['words']}" for one in steps.read(self._folder.steps)]
        if not progress and not doing:
            return ""  # the script has not loaded Parsl (yet)
        if progress:
            text = self._counts(progress, doing)
        else:
            text = Text(" · ".join(doing))
            text.append(f" · {clock(time.monotonic() - self._started)}", "dim")
        text.truncate(max(columns - 1, 1), overflow="ellipsis")
        console = Console(stderr=True, width=columns, force_terminal=True)
        with console.capture() as capture:
            console.print(text, end="", soft_wrap=True)
        return capture.get()

    def _counts(self, progress: dict[str, Any], doing: list[str]) -> Text:
        from rich.text import Text

        tasks = progress["tasks"]
        return Text.assemble(
            (f"{self._sites} ", "bold"),
            (f"{tasks['done']:,} done", "green"),
            f" · {tasks['launched']:,} launched · {tasks['waiting']:,} waiting",
            (f" · {tasks['failed']:,} failed", "red") if tasks["failed"] else "",
            f" · {tasks['reused']:,} reused" if tasks.get("reused") else "",
            f" · {tasks['changed']:,} of changed apps" if tasks.get("changed") else "",
            f" · {doing[0]}" if doing else "",
            f" · {progress['rate']:,.0f}/s",
            f" · {clock(progress['eta'])} left" if progress.get("eta") else "",
            f" · {_all_blocks(progress)}" if progress["blocks"] else "",
            f" · {_data(progress['data'])}" if progress.get("data") else "",
            f" · waits: {progress['waits_for']}" if progress.get("waits_for") else "",
            (f" · {clock(time.monotonic() - self._started)}", "dim"),
        )


def _data(moved: dict[str, int]) -> str:
    """Return what has moved, and how fast."""
    parts = [f"{size(moved[way])} {way}" for way in ("in", "out") if moved.get(way)]
    return ", ".join([*parts, f"{size(moved['rate'])}/s"])


def _all_blocks(progress: dict[str, Any]) -> str:
    """Return the blocks by state, of each executor where several have any."""
    those = {label: states for label, states in progress.get("blocks_of", {}).items() if states}
    if len(those) < 2:
        return _blocks(progress["blocks"])
    return " · ".join(f"{label}: {_blocks(states)}" for label, states in those.items())


def _blocks(states: dict[str, int]) -> str:
    parts = [f"{count} {state}" for state, count in sorted(states.items())]
    return f"{sum(states.values())} block{'s' if sum(states.values()) != 1 else ''} ({', '.join(parts)})"


def clock(seconds: float) -> str:
    """Return a span of time for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""What a benchmark's run gives to MLflow: its records, and beside each its config, rendered scripts and logs.

It comes after the last session, since it takes time of the machine that is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pilotage.errors import PilotageError
from pilotage.paths import RunFolder
from pilotage.perf import folder as records
from pilotage.perf import mlflow_child, tracking
from pilotage.perf.parameters import without_secrets
from pilotage.perf.record import Record

SCRIPTS = 3
"""Rendered scripts that go with a record: those of its blocks are alike."""
LOGS = ("output.txt", "stderr.txt", "latency/output.txt", "latency/stderr.txt")
"""What a session's processes have written, in the session's folder."""
LARGEST = 2 << 20
"""Bytes of a log's end that go with a record."""


def track(folder: RunFolder, made: Iterable[Record], root: Path, uri: str | None, say: Callable[[str], None]) -> None:
    """Keep the records of a run for MLflow and send them; nothing that goes wrong here is an error of the benchmark."""
    if keep(folder, made, root, uri, say):
        tracking.send_and_tell(say)


def keep(folder: RunFolder, made: Iterable[Record], root: Path, uri: str | None, say: Callable[[str], None]) -> bool:
    """Let the records of a run wait for MLflow; return whether there is anything to send.

    Parameters
    ----------
    folder: the run's.
    made: its records, which are on the disk.
    root: what ``configs/`` is in.
    uri: the store that was asked for.
    say: told why nothing is kept.
    """
    try:
        address = tracking.address(uri)
        if address is None and mlflow_child.missing(tracking.store(None)):
            say("MLflow is not told: pip install 'pilotage[mlflow]', then `pilotage perf sync results`")
            return False
        for record in made:
            tracking.keep(record, {**_files(folder, record, root), **_figures(record)}, address)
    except (PilotageError, OSError, ValueError) as error:
        said = error.message if isinstance(error, PilotageError) else f"{type(error).__name__}: {error}"
        say(f"warning: MLflow is not told: {said}; `pilotage perf sync FILE` tells it of a record")
        return False
    return True


def _files(folder: RunFolder, record: Record, root: Path) -> dict[str, str | bytes]:
    found: dict[str, str | bytes] = {}
    config = root / records.config_path(record)
    scripts = [path for path in sorted(folder.parsl.rglob("submit_scripts/*")) if path.is_file()][:SCRIPTS]
    logs = [("logs/driver.log", folder.output), *_session_logs(folder, record)]
    for name, path in [(config.name, config), *((f"scripts/{path.name}", path) for path in scripts), *logs]:
        if text := _end_of(path):
            found[name] = without_secrets(text)
    return found


def _session_logs(folder: RunFolder, record: Record) -> Iterator[tuple[str, Path]]:
    for session in record.sessions:
        place = folder.path / "perf" / f"{session.order:04d}"
        for path in (place / name for name in LOGS):
            yield f"logs/{path.relative_to(folder.path / 'perf')}", path


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LARGEST))
            return file.read().decode(errors="replace")
    except OSError:  # a benchmark without a config, or a session that has written nothing
        return ""


def _figures(record: Record) -> dict[str, str | bytes]:
    """Return the record's figures, where what draws them is installed."""
    from pilotage.perf.report.figures import figures
    from pilotage.perf.report.inline import png
    from pilotage.perf.report.panels import WIDE, installed
    from pilotage.perf.report.series import gather

    if not installed() or not record.finished:
        return {}
    try:
        drawn = figures(gather({Path(record.id): record}, []))
        return {f"figures/{figure.name}.png": png(figure, WIDE) for figure in drawn}
    except Exception:  # a matplotlib that does not work may raise anything, and the record goes without pictures
        return {}

"""``pilotage perf``: benchmarks, their records, and what they say."""

from __future__ import annotations

import click

from pilotage.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    commands_in={
        "check": ("pilotage.cli.perf_records", "check", "Fail where a benchmark has become slower."),
        "compare": ("pilotage.cli.perf_run", "compare", "Measure two or more in turn: a ratio with its interval."),
        "history": ("pilotage.cli.perf_records", "history", "Show benchmarks over time, with revisions."),
        "import": ("pilotage.cli.perf_tracking", "import_", "Read an MLflow store into records."),
        "plot": ("pilotage.cli.perf_records", "plot", "Draw benchmarks."),
        "report": ("pilotage.cli.perf_report", "report", "Write a page with figures of all records."),
        "run": ("pilotage.cli.perf_run", "run", "Measure a site with parsl-perf."),
        "share": ("pilotage.cli.perf_records", "share", "Commit records to a branch."),
        "sync": ("pilotage.cli.perf_tracking", "sync", "Send to MLflow what has not been sent."),
        "table": ("pilotage.cli.perf_records", "table", "List benchmarks."),
        "ui": ("pilotage.cli.perf_tracking", "ui", "Show all benchmarks on MLflow's page."),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
def perf() -> None:
    """Measure sites with parsl-perf, keep what was measured, compare."""

"""Reads the runs of an MLflow store: in a child, see `pilotage.perf.mlflow_child`. Nothing is written there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException

from pilotage.perf import mlflow_schema
from pilotage.perf.logged import RECORD_FILE, RECORD_TAG, LoggedRun, Point

PAGE = 1000
LARGEST = 64 << 20


def answers(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each run of ``request["uri"]``: ``run``, and ``record``, the record that it was made of, or None.

    A run that cannot be read is a ``problem``, a sentence.
    """
    uri = str(request["uri"])
    with tempfile.TemporaryDirectory(prefix="pilotage-") as work:
        if uri.startswith(mlflow_schema.PREFIX):
            # The tables of another version are read in a copy, brought to this one's form.
            target = Path(work) / "copy.db"
            mlflow_schema.copy(Path(uri.removeprefix(mlflow_schema.PREFIX)), target)
            uri = f"{mlflow_schema.PREFIX}{target}"
            mlflow_schema.ensure(uri)
        client = MlflowClient(tracking_uri=uri)
        for experiment in _pages(lambda token: client.search_experiments(ViewType.ALL, PAGE, page_token=token)):
            for run in _runs(client, experiment):
                try:
                    yield {
                        "run": _logged(client, experiment, run).model_dump(mode="json"),
                        "record": _record(client, run),
                    }
                except (MlflowException, ValueError) as error:
                    yield {"problem": f"{experiment.name}/{run.info.run_id}: {error}"}


def _pages(ask: Any) -> Iterator[Any]:
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def _runs(client: MlflowClient, experiment: Experiment) -> Iterator[Run]:
    numbers = [experiment.experiment_id]
    return _pages(
        lambda token: client.search_runs(
            numbers,
            run_view_type=ViewType.ALL,
            max_results=PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
    )


def _logged(client: MlflowClient, experiment: Experiment, run: Run) -> LoggedRun:
    info = run.info
    metrics = {}
    for name in sorted(run.data.metrics):
        history = client.get_metric_history(info.run_id, name)
        metrics[name] = [Point(one.timestamp, one.value, one.step) for one in history]
    return LoggedRun(
        experiment=experiment.name,
        run_id=info.run_id,
        name=info.run_name or run.data.tags.get("mlflow.runName", ""),
        status=info.status,
        deleted=info.lifecycle_stage == "deleted" or experiment.lifecycle_stage == "deleted",
        start=info.start_time,
        end=info.end_time,
        user=info.user_id or "",
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics=metrics,
        artifacts=_artifacts(client, info.run_id),
        more={"artifact_uri": info.artifact_uri, "experiment_id": experiment.experiment_id},
    )


def _artifacts(client: MlflowClient, run: str, folder: str | None = None) -> dict[str, int]:
    """Return the files of a run with their bytes; none where the server does not hand them out."""
    found: dict[str, int] = {}
    try:
        listed = client.list_artifacts(run, folder)
    except Exception:  # each kind of artefact store has errors of its own, and its files are not what is wanted
        return found
    for one in listed:
        if one.is_dir:
            found |= _artifacts(client, run, one.path)
        else:
            found[one.path] = one.file_size or 0
    return found


def _record(client: MlflowClient, run: Run) -> str | None:
    """Return the record that a run of ours was made of, where the store hands it out."""
    if RECORD_TAG not in run.data.tags:
        return None
    with tempfile.TemporaryDirectory(prefix="pilotage-") as folder:
        try:
            path = Path(client.download_artifacts(run.info.run_id, RECORD_FILE, folder))
        except Exception:  # as above: what the run itself says is then all there is
            return None
        return path.read_text(encoding="utf-8") if path.stat().st_size <= LARGEST else None

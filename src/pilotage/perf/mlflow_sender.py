"""Sends runs to an MLflow store: in a child of its own, see `pilotage.perf.mlflow_child`.

The same record is never logged twice: a run carries its record's id, and is looked for before one is made. A run that
was sent in part (the server went away, this process was killed) is completed: the points that are missing are added.
One that holds points which the record has not (the record has changed) is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException, RestException

from pilotage.errors import StorageError
from pilotage.perf import mlflow_schema
from pilotage.perf.logged import RECORD_TAG, SENT_TAG, LoggedRun, Point
from pilotage.perf.mlflow_child import in_words
from pilotage.perf.waiting import Order

POINTS = 500
"""Metrics in a request; MLflow takes 1,000."""
REPLACED_TAG = "pilotage.replaced"
"""Tag of a run that was deleted by us and not by a person: the one that stands for it."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment: its page shows runs and curves, and nothing about language models."""
WORDS = 90
"""Parameters or tags in a request; MLflow takes 100."""


Key = tuple[str, int, str, int]


class RefusedError(Exception):
    """The store answers, and does not take this record."""


def answers(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what became of each order in ``request["folders"]``: ``id``, ``outcome``, ``words``, ``away``.

    Outcomes: ``sent``, ``was there``, ``deleted there`` (by somebody, and not to come back), ``failed``. Where the
    store is ``away``, the rest is not tried.
    """
    uri = request["uri"]
    if request.get("own"):
        mlflow_schema.ensure(uri)
    sender = _Sender(MlflowClient(tracking_uri=uri), uri, request.get("artifacts"))
    for folder in request["folders"]:
        try:
            order = Order.read(Path(folder))
        except StorageError:  # a newer one has taken its place meanwhile
            continue
        told = {"id": order.id, "folder": folder, "words": "", "away": False}
        try:
            outcome, words = sender.send(order)
            yield {**told, "outcome": outcome, "words": words}
        except (RefusedError, MlflowException, OSError) as error:
            away = _is_away(error)
            yield {**told, "outcome": "failed", "words": _words(error), "away": away}
            if away:
                return


def _is_away(error: Exception) -> bool:
    """Return whether it is the server that has failed, and not this record: the others would fail too."""
    if isinstance(error, RefusedError):
        return False
    if isinstance(error, RestException):
        return bool(error.get_http_status_code() >= 500)
    return True


def _words(error: Exception) -> str:
    return in_words(error.message if isinstance(error, MlflowException) else str(error))


class _Sender:
    """One store.

    Parameters
    ----------
    client: of the store.
    uri: the store's address.
    artifacts: where the files of new experiments are kept; None leaves that to the store.
    """

    def __init__(self, client: MlflowClient, uri: str, artifacts: str | None) -> None:
        self._client = client
        self._remote = urlsplit(uri).scheme in ("http", "https")
        self._artifacts = artifacts
        self._experiments: dict[str, str] = {}

    def send(self, order: Order) -> tuple[str, str]:
        """Send one order; return the outcome, and words for people where there is more to say."""
        experiment = self._experiment(order.run.experiment)
        found = self._runs(experiment, order.id)
        active = self._active(found)
        if not active and any(REPLACED_TAG not in run.data.tags for run in found):
            return "deleted there", "somebody has deleted its run there"
        if active and active[0].data.tags.get(SENT_TAG) == order.digest:
            return "was there", ""
        replaced = None
        if active and not self._is_part(active[0], order.run):
            replaced, active = active[0], []
        run = active[0] if active else self._create(experiment, order)
        words = self._fill(run, order)
        if replaced is not None:
            self._remove(replaced, run.info.run_id)
        return "sent", words

    def _remove(self, run: Run, other: str) -> None:
        self._client.set_tag(run.info.run_id, REPLACED_TAG, other)
        self._client.delete_run(run.info.run_id)

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                place = f"{self._artifacts}/{re.sub(r'[^A-Za-z0-9._-]', '_', name)}" if self._artifacts else None
                try:
                    self._experiments[name] = self._client.create_experiment(name, place, KIND)
                    return self._experiments[name]
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found = self._client.get_experiment_by_name(name)  # another made it meanwhile
            if found is None or found.lifecycle_stage == "deleted":
                raise RefusedError(
                    f"the experiment {name!r} is deleted there: restore it, or set MLFLOW_EXPERIMENT_NAME"
                )
            self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def _runs(self, experiment: str, record: str) -> list[Run]:
        wanted = f"tags.`{RECORD_TAG}` = '{record}'"
        found = self._client.search_runs([experiment], wanted, run_view_type=ViewType.ALL, max_results=100)
        return list(found)

    @staticmethod
    def _active(runs: Sequence[Run]) -> list[Run]:
        return sorted((one for one in runs if one.info.lifecycle_stage != "deleted"), key=lambda one: one.info.run_id)

    def _create(self, experiment: str, order: Order) -> Run:
        tags = {RECORD_TAG: order.id}
        run = self._client.create_run(experiment, start_time=order.run.start, tags=tags, run_name=order.run.name)
        rivals = [one for one in self._active(self._runs(experiment, order.id)) if SENT_TAG not in one.data.tags]
        if rivals and rivals[0].info.run_id != run.info.run_id:
            self._remove(run, rivals[0].info.run_id)
            raise RefusedError("another process is sending it")
        return run

    def _is_part(self, run: Run, wanted: LoggedRun) -> bool:
        """Return whether all that a run holds is in what is to be sent."""
        if any(wanted.params.get(name) != value for name, value in run.data.params.items()):
            return False
        return self._points(run) <= {_key(name, point) for name, points in wanted.metrics.items() for point in points}

    def _points(self, run: Run) -> set[Key]:
        found = set()
        for name in run.data.metrics:
            for one in self._client.get_metric_history(run.info.run_id, name):
                found.add(_key(name, Point(one.timestamp, one.value, one.step)))
        return found

    def _fill(self, run: Run, order: Order) -> str:
        """Add what a run has not yet; returns words on files that could not be sent."""
        wanted, number = order.run, run.info.run_id
        params = [Param(key, value) for key, value in wanted.params.items() if run.data.params.get(key) != value]
        tags = [RunTag(key, value) for key, value in wanted.tags.items() if run.data.tags.get(key) != value]
        there = self._points(run)
        metrics = [
            Metric(name, point.value, point.timestamp, point.step)
            for name, points in wanted.metrics.items()
            for point in points
            if _key(name, point) not in there
        ]
        for part in _parts(params, WORDS):
            self._client.log_batch(number, params=part)
        for part in _parts(tags, WORDS):
            self._client.log_batch(number, tags=part)
        for part in _parts(sorted(metrics, key=lambda metric: metric.step), POINTS):
            self._client.log_batch(number, metrics=part)
        words = self._send_files(run, order)
        self._client.set_terminated(number, status=wanted.status, end_time=wanted.end)
        self._client.set_tag(number, SENT_TAG, order.digest)
        return words

    def _send_files(self, run: Run, order: Order) -> str:
        place = urlsplit(run.info.artifact_uri or "").scheme
        if self._remote and place in ("", "file"):
            # MLflow's client would write into a folder of that name on this machine.
            return "without its files: the server keeps them in a folder that it does not serve"
        for path in order.files():
            parent = path.parent.relative_to(order.files_folder).as_posix()
            self._client.log_artifact(run.info.run_id, str(path), None if parent == "." else parent)
        return ""


def _key(name: str, point: Point) -> Key:
    return name, point.timestamp, repr(float(point.value)), point.step  # as text: a NaN does not equal itself


def _parts(things: list[Any], size: int) -> Iterator[list[Any]]:
    for begin in range(0, len(things), size):
        yield things[begin : begin + size]

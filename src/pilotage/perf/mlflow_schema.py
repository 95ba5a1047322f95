"""MLflow's tables in SQLite: each version of MLflow wants its own, and refuses those of another."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.version import VERSION

OLD = "out-of-date database schema"
PREFIX = "sqlite:///"


def ensure(uri: str) -> None:
    """Bring the tables of a SQLite store to this MLflow's form; a copy of what was there stays beside it.

    Raises MlflowException where a newer MLflow has made them.
    """
    try:
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except MlflowException as error:
        if OLD not in error.message:
            raise
        path = Path(uri.removeprefix(PREFIX))
        copy(path, path.with_name(f"{path.name}.before-{VERSION}"))
        _upgrade(uri)


def copy(path: Path, target: Path) -> None:
    """Copy a database as it is at one moment, whoever writes to it meanwhile; raises OSError."""
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file", str(path))
    read_only = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(read_only, uri=True)) as source, closing(sqlite3.connect(target)) as kept:
        source.backup(kept)


def _upgrade(uri: str) -> None:
    from alembic.util.exc import CommandError
    from mlflow.db import upgrade

    assert upgrade.callback is not None  # noqa: S101  it is a command of click's
    try:
        upgrade.callback(uri)
    except CommandError as error:
        raise MlflowException(f"a newer MLflow than {VERSION} has written it: install that") from error

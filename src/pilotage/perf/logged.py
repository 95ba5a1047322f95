"""A run as MLflow keeps it: what is sent for a record, and what an import finds. No MLflow is needed for it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

RECORD_TAG = "pilotage.record"
"""Tag with the id of the record that a run was made from."""
SENT_TAG = "pilotage.sent"
"""Tag with what was sent, set last: a run without it is one that was sent in part."""
RECORD_FILE = "record.json"
"""Name of the record itself among the artefacts of its run."""

Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
STATUSES: tuple[Status, ...] = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
"""In the order of MLflow's numbers, which begin with 1."""


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value


def _text_if_none(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


NUMBER_SCHEMA = {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]}
Number = Annotated[float, BeforeValidator(_number), PlainSerializer(_text_if_none), WithJsonSchema(NUMBER_SCHEMA)]
"""A float; JSON has no NaN and no infinity, so these are text there."""


class Point(NamedTuple):
    """One value of a metric; ``timestamp`` in milliseconds since the epoch."""

    timestamp: int
    value: Number
    step: int


class LoggedRun(BaseModel):
    """One run of an experiment; times in milliseconds since the epoch."""

    model_config = ConfigDict(extra="forbid")

    experiment: str
    run_id: str = ""
    name: str = ""
    status: Status
    deleted: bool = False
    start: int | None = None
    end: int | None = None
    user: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, list[Point]] = Field(default={}, description="By name: [timestamp in ms, value, step] of each.")
    artifacts: dict[str, int] = Field(default={}, description="Bytes of each file, by its path.")
    more: dict[str, str | int | float | bool | None] = Field(default={}, description="What else its store said of it.")

"""The shape of ``pilotage check --json``, and its JSON Schema; stable within a schema version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilotage.check.checking import Report
from pilotage.check.finding import Status
from pilotage.runs.shapes import COUNT, NUMBER, NUMBER_OR_NULL, TEXT, TEXT_OR_NULL, table

SCHEMA_VERSION = 1
SECONDS = {**NUMBER, "description": "Seconds."}
PART = {**NUMBER_OR_NULL, "description": "Seconds; null where it is not known."}
COUNT_OR_NULL = {"type": ["integer", "null"], "minimum": 0}
FINDING = table(
    {
        "probe": TEXT,
        "status": {"enum": [str(status) for status in Status]},
        "message": {**TEXT, "description": "What is so; of what was skipped, why."},
        "hint": {**TEXT_OR_NULL, "description": "What to do; always there where it failed."},
        "where": {**TEXT_OR_NULL, "description": "file:line: the key of the site that it is about."},
        "command": {**TEXT_OR_NULL, "description": "Repeats the question by hand."},
        "seconds": SECONDS,
    }
)
NODE = table(
    {
        "host": TEXT,
        "workers": COUNT,
        "cores": {**COUNT, "description": "That a worker may use."},
        "cores_of_node": COUNT,
        "memory": {**COUNT, "description": "Bytes."},
        "gpus": COUNT_OR_NULL,
        "pinned": {"type": "object", "additionalProperties": TEXT},
        "versions": {"type": "object", "additionalProperties": TEXT},
        "routes": {
            "type": "object",
            "additionalProperties": {"type": ["number", "string"]},
            "description": "Address of the driver to the seconds that a connection takes, or why there is none.",
        },
        "clock_ahead": {**NUMBER, "description": "Seconds by which its clock is ahead of the driver's."},
        "clock_error": {**NUMBER, "description": "Seconds by which that may be wrong."},
    }
)
BLOCK = table(
    {
        "start_up": table(
            {
                "queue": {**PART, "description": "From the submission to the job's first command. Seconds."},
                "launch": {**PART, "description": "From there to the first manager's start. Seconds."},
                "connect": {**PART, "description": "From there to its connection. Seconds."},
                "first_task": {**PART, "description": "From there to the first result. Seconds."},
                "together": PART,
            }
        ),
        "round_trip": table({"median": SECONDS, "least": SECONDS, "most": SECONDS, "count": COUNT}),
        "bandwidth": table(
            {
                "there": {**NUMBER, "description": "Bytes per second from the driver to a worker."},
                "back": {**NUMBER, "description": "Bytes per second from a worker to the driver."},
                "bytes": COUNT,
            }
        ),
        "nodes": {"type": "array", "items": NODE},
    },
    (),
)
REPORT = table(
    {
        "site": TEXT,
        "scheduler": {**TEXT, "description": "Empty where the site itself is wrong."},
        "ok": {"type": "boolean", "description": "Whether nothing has failed."},
        "seconds": SECONDS,
        "findings": {"type": "array", "items": FINDING},
        "run": {**TEXT_OR_NULL, "description": "The run of the block, where something was wrong; else it is removed."},
        "block": {"anyOf": [BLOCK, {"type": "null"}], "description": "What was measured, with --submit."},
    }
)
SCHEMAS: dict[str, dict[str, Any]] = {
    "check": table(
        {
            "schema_version": {"const": SCHEMA_VERSION},
            "ok": {"type": "boolean"},
            "sites": {"type": "array", "items": REPORT},
        }
    )
}


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a command's output; raises KeyError for a name that is not in `SCHEMAS`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"pilotage {name}", **SCHEMAS[name]}


def checked(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the shape of ``check``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "ok": all(report.ok for report in reports),
        "sites": [report.as_dict() for report in reports],
    }

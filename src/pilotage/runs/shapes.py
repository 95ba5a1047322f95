"""The shapes of ``--json`` of the commands about runs, and their JSON Schema; stable within a schema version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pilotage.runs.record import SCHEMA_VERSION, STATES

TEXT = {"type": "string"}
TEXT_OR_NULL = {"type": ["string", "null"]}
NUMBER = {"type": "number"}
NUMBER_OR_NULL = {"type": ["number", "null"]}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "array", "items": TEXT}
TIME_OR_NULL = {"type": ["string", "null"], "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
TASKS = 20
"""Tasks of a kind of failure whose numbers are kept."""
WORDS = ("waiting", "launched", "done", "failed", "total", "reused", "changed")


def table(properties: dict[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the schema of an object with these properties and no others, all of them required unless it is said."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


ERROR = table(
    {"error": TEXT, "message": TEXT, "where": TEXT_OR_NULL, "hint": TEXT_OR_NULL, "exit_code": {"type": "integer"}}
)
RUN_PROPERTIES: dict[str, Any] = {
    "schema_version": {"const": SCHEMA_VERSION},
    "id": {"type": "string", "description": "Begins with the time of the start, UTC."},
    "name": TEXT_OR_NULL,
    "kind": {"enum": ["run", "load"], "description": "load: pilotage.load() in a Python process of the user's."},
    "script": TEXT,
    "arguments": TEXTS,
    "sites": {"type": "object", "additionalProperties": TEXT, "description": "Label to site."},
    "cwd": TEXT,
    "folder": TEXT,
    "state": {
        "enum": [*STATES, "silent", "unreachable"],
        "description": "lost: its owner died without a word. silent: of another host, and without a heartbeat. "
        "unreachable: started there from here, and that host cannot be asked now.",
    },
    "reason": {"type": "string", "description": "Why it ended so; empty for a run that finished."},
    "exit_code": {"type": ["integer", "null"], "description": "As a shell counts: 128 + n for signal n."},
    "started": TIME_OR_NULL,
    "ended": TIME_OR_NULL,
    "elapsed": {**NUMBER_OR_NULL, "description": "Seconds."},
    "host": {**TEXT_OR_NULL, "description": "Where its owner runs."},
    "heartbeat": {**NUMBER_OR_NULL, "description": "Seconds since its owner was last seen alive."},
    "tasks": {
        **table(dict.fromkeys(WORDS, COUNT), ()),
        "description": "By state. Of a resumed run, changed: had a result, and ran again since their app has changed.",
    },
    "rate": {**NUMBER, "description": "Tasks a second: of late for a run that goes on, else over all of it."},
    "eta": {**NUMBER_OR_NULL, "description": "Seconds left, where no task has been added for a while."},
    "blocks": {"type": "object", "additionalProperties": COUNT, "description": "Number of blocks by state."},
    "blocks_of": {
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": COUNT},
        "description": "The same of each executor that has blocks, by its label.",
    },
    "waits_for": {**TEXT, "description": "What the scheduler says of blocks that wait; empty where none does."},
    "doing": {
        "type": "array",
        "items": table({"label": TEXT, "words": TEXT, "since": {**NUMBER, "description": "Seconds since 1970."}}),
        "description": "What is being done for sites at the moment, such as connecting: the newest of each label.",
    },
    "node_hours": NUMBER,
    "own_config": {"type": "boolean", "description": "Whether the script has loaded a config of its own."},
    "max_node_hours": NUMBER_OR_NULL,
    "resumes": {**TEXT_OR_NULL, "description": "The run whose results it reused."},
    "error": {"anyOf": [ERROR, {"type": "null"}]},
}
RUN = table(RUN_PROPERTIES)
EVENT = table(
    {
        "at": NUMBER,
        "kind": TEXT,
        "level": {"enum": ["info", "warning", "error"]},
        "message": TEXT,
        "detail": {"type": "object"},
    },
    ("at", "kind", "level", "message"),
)
FAILURE = table(
    {
        "app": TEXT,
        "exception": TEXT,
        "message": TEXT,
        "count": COUNT,
        "first_task": COUNT,
        "tasks": {"type": "array", "items": COUNT, "maxItems": TASKS, "description": "The first of them."},
        "executor": TEXT,
        "tries": COUNT,
        "traceback": TEXT,
        "shown": {"type": "boolean", "description": "Whether the script has ended with it."},
    }
)
MOVE = table(
    {
        "direction": {"enum": ["in", "out"], "description": "To the task, or from it."},
        "place": {**TEXT, "description": "Scheme, and host or bucket."},
        "host": {**TEXT, "description": "Where the task, or the driver, has copied."},
        "by": {"enum": ["worker", "driver"]},
        "files": COUNT,
        "bytes": {"type": "integer"},
        "seconds": {**NUMBER, "description": "Of all transfers together, which may have been at once."},
        "cached": {**COUNT, "description": "Inputs that were on the node already."},
    }
)
LOG = table(
    {
        "kind": TEXT,
        "executor": TEXT,
        "block": TEXT,
        "manager": TEXT,
        "worker": {"type": ["integer", "null"]},
        "path": TEXT,
    }
)
HOST = table(
    {
        "host": TEXT,
        "connected": {"type": "boolean"},
        "made": {"type": "boolean", "description": "Whether the connection was made now."},
        "until": {
            **TIME_OR_NULL,
            "description": "When it ends if nobody uses it; null for one that a run has made, or where there is none.",
        },
        "error": {"type": ["object", "null"], "description": "Why there is none: as for errors of any command."},
    }
)


def _hosts(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what is said of each host of a site; one with an error says nothing else."""
    host = table({"host": TEXT, "error": {"anyOf": [ERROR, {"type": "null"}]}, **properties}, ("host", "error"))
    return table({"site": TEXT, "hosts": {"type": "array", "items": host}})


SCHEMAS: dict[str, dict[str, Any]] = {
    "run": RUN,
    "ps": table({"schema_version": {"const": SCHEMA_VERSION}, "runs": {"type": "array", "items": RUN}}),
    "show": table(
        {
            **RUN_PROPERTIES,
            "events": {"type": "array", "items": EVENT},
            "failures": {"type": "array", "items": FAILURE},
            "moves": {"type": "array", "items": MOVE},
            "journal": {**TEXTS, "description": "What the run has created and may be there still."},
            "logs": {"type": "array", "items": LOG},
            "versions": {"type": "object", "additionalProperties": TEXT},
        }
    ),
    "cancel": table(
        {
            "runs": {
                "type": "array",
                "items": table(
                    {
                        "id": TEXT,
                        "outcome": {"enum": ["ended", "asked", "was over", "not ended"]},
                        "state": TEXT,
                    }
                ),
            }
        }
    ),
    "clean": table(
        {
            "dry_run": {"type": "boolean"},
            "runs": {"type": "array", "items": table({"run": TEXT, "leftovers": TEXTS, "problems": TEXTS})},
            "expired": {**TEXTS, "description": "Runs past their time or beyond the size of the store."},
        }
    ),
    "forward": table(
        {
            "run": TEXT,
            "node": TEXT,
            "port": {**COUNT, "description": "Of the server, on its node."},
            "local": {**COUNT, "description": "Of this machine's loopback."},
            "address": {**TEXT, "description": "What to give to a browser."},
        }
    ),
    "rm": table({"removed": TEXTS}),
    "cp": table(
        {
            "schema_version": {"const": SCHEMA_VERSION},
            "copies": {
                "type": "array",
                "items": table(
                    {
                        "source": {**TEXT, "description": "As it was given, without secrets."},
                        "destination": {**TEXT, "description": "Where the copy itself is."},
                        "kind": {"enum": ["file", "folder"]},
                    }
                ),
            },
            "bytes": {**COUNT, "description": "Copied; 0 of a dry run."},
            "files": COUNT,
            "seconds": NUMBER,
            "rate": {**NUMBER_OR_NULL, "description": "Bytes a second."},
        }
    ),
    "login": table(
        {"site": {**TEXT_OR_NULL, "description": "Null for a host."}, "hosts": {"type": "array", "items": HOST}}
    ),
    "env-show": _hosts(
        {
            "kind": TEXT,
            "title": TEXT_OR_NULL,
            "digest": {**TEXT_OR_NULL, "description": "Null where nothing is made."},
            "path": TEXT_OR_NULL,
            "built": {"type": ["boolean", "null"]},
            "packages": {"type": "object", "additionalProperties": TEXT},
            "python": {**TEXT, "description": "The words that start it."},
            "activation": {**TEXT, "description": "Shell lines before."},
        }
    ),
    "env-build": _hosts(
        {"path": TEXT_OR_NULL, "digest": TEXT_OR_NULL, "title": TEXT_OR_NULL, "new": {"type": "boolean"}}
    ),
    "env-verify": _hosts({"problem": TEXT_OR_NULL}),
    "env-list": _hosts(
        {
            "path": TEXT,
            "environments": {
                "type": "array",
                "items": table(
                    {"digest": TEXT, "kind": TEXT, "title": TEXT, "bytes": COUNT, "used": TIME_OR_NULL, "runs": TEXTS}
                ),
            },
        }
    ),
    "env-prune": _hosts(
        {
            "removed": {**TEXTS, "description": "Digests."},
            "bytes": COUNT,
            "kept": {"type": "object", "additionalProperties": TEXT, "description": "Digest to who uses it."},
        }
    ),
    "bundle": table({"file": TEXT, "bytes": COUNT, "files": COUNT, "secrets_removed": COUNT}),
}
"""JSON Schema of each command's ``--json``; that of ``run``, ``resume`` and ``attach`` is ``run``."""


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a command's output; raises KeyError for a name that is not in `SCHEMAS`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"pilotage {name}", **SCHEMAS[name]}


def listing(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the shape of ``ps``."""
    return {"schema_version": SCHEMA_VERSION, "runs": list(found)}


def cancelled(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the shape of ``cancel``."""
    return {"runs": list(results)}


def cleaned(found: Sequence[dict[str, Any]], expired: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
    """Return the shape of ``clean``."""
    return {"dry_run": dry_run, "runs": list(found), "expired": list(expired)}


def forwarded(run: str, node: str, port: int, local: int) -> dict[str, Any]:
    """Return the shape of ``forward``."""
    return {"run": run, "node": node, "port": port, "local": local, "address": f"http://127.0.0.1:{local}"}


def removed(ids: Sequence[str]) -> dict[str, Any]:
    """Return the shape of ``rm``."""
    return {"removed": list(ids)}

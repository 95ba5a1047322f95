"""The parameters of a benchmark: every constructor argument of the Parsl config that was loaded, and the usual names.

`collect` runs in the session's process, which starts as light as a user's own would: only the standard library.
`cleaned` runs in the run's and takes out what is nobody else's business.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Flat = dict[str, str | int | float | bool | None]

NAMES = (
    "cores_per_worker",
    "nodes_per_block",
    "cores_per_node",
    "min_blocks",
    "max_blocks",
    "max_nodes",
    "max_cores",
)
"""What published histories of parsl-perf call their parameters. ``max_nodes`` and ``max_cores`` are ceilings."""
SHORT = {"HighThroughputExecutor": "htex", "ThreadPoolExecutor": "threads", "MPIExecutor": "mpi"}
NOT_OURS = {"address", "loopback_address", "account", "driver", "worker_cwd", "script_path", "run_dir", "label"}
"""Arguments that say where and who rather than what: addresses, an account to charge, folders."""
LONGEST = 500
_VALUE = r"""(?:\\?"(?:[^"\\]|\\.)*"|\\?'[^']*'|[^\s;&|\\'"]+)"""
EXPORTED = re.compile(rf"(?P<set>(?:(?<=\\n)|\b)(?:export|setenv|declare -x)[ \t]+[A-Za-z_]\w*[ \t=]){_VALUE}")
ASSIGNED = re.compile(rf"(?P<set>(?:^|[;&|][ \t]*)[A-Za-z_]\w*=){_VALUE}", re.MULTILINE)
ADDRESS = re.compile(r"\b(?!127\.)(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9a-f]{1,4}:){4,}[0-9a-f:]*\b", re.IGNORECASE)
REMOVED = "[removed]"


def collect(config: Any, executor: Any) -> Flat:
    """Return the parameters of ``executor`` in ``config``: a flat table with the usual names first.

    Values are scalars; a list is its text, an object its class's name, and its own arguments are beside it.
    """
    provider = getattr(executor, "provider", None)
    launcher = getattr(provider, "launcher", None)
    found: Flat = {**_usual(executor, provider)}
    found.update(_arguments("config", config, leave={"executors"}))
    found.update(_arguments("executor", executor, leave={"provider"}))
    if provider is not None:
        found.update(_arguments("provider", provider, leave={"launcher"}))
    if launcher is not None:
        found.update(_arguments("launcher", launcher, leave=set()))
    return found


def short_name(executor: Any) -> str:
    """Return an executor's short name: htex, threads, mpi, or its class's without the word executor."""
    for kind in type(executor).__mro__:
        if kind.__name__ in SHORT:
            return SHORT[kind.__name__]
    return type(executor).__name__.removesuffix("Executor").lower() or "executor"


def scheduler_name(executor: Any) -> str:
    """Return the short name of the scheduler whose blocks an executor uses: local, slurm, ..."""
    provider = getattr(executor, "provider", None)
    if provider is None:
        return "local"
    return type(provider).__name__.removesuffix("Provider").lower() or "local"


def _usual(executor: Any, provider: Any) -> Flat:
    found: Flat = {"cores_per_worker": _scalar(getattr(executor, "cores_per_worker", None))}
    for name in ("nodes_per_block", "cores_per_node", "min_blocks", "max_blocks"):
        found[name] = _scalar(getattr(provider, name, None))
    blocks, nodes = found["max_blocks"], found["nodes_per_block"]
    if isinstance(blocks, int) and isinstance(nodes, int):
        found["max_nodes"] = blocks * nodes
        cores = found["cores_per_node"]
        found["max_cores"] = blocks * nodes * cores if isinstance(cores, int) else None
    return found


def _arguments(prefix: str, thing: Any, leave: set[str]) -> Flat:
    """Return the constructor arguments of an object, its base classes' included, as far as it has kept them."""
    names: dict[str, None] = {}
    for kind in type(thing).__mro__:
        init = kind.__dict__.get("__init__")
        if init is None or kind is object:
            continue
        for name, parameter in list(inspect.signature(init).parameters.items())[1:]:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                names.setdefault(name)
    found: Flat = {f"{prefix}.class": type(thing).__name__, f"{prefix}.module": type(thing).__module__}
    for name in names:
        if name in leave:
            continue
        try:
            found[f"{prefix}.{name}"] = _scalar(getattr(thing, name))
        except AttributeError:  # not kept
            continue
    return found


def _scalar(value: Any) -> str | int | float | bool | None:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, Path)):
        return str(value)[:LONGEST]
    if isinstance(value, (list, tuple, set, frozenset)):
        return repr([_scalar(item) for item in value])[:LONGEST]
    if isinstance(value, Mapping):
        return repr({str(key): _scalar(item) for key, item in value.items()})[:LONGEST]
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    return type(value).__qualname__


def cleaned(parameters: Mapping[str, Any]) -> Flat:
    """Return parameters without addresses, accounts, folders of this machine, values of the environment and secrets."""
    found: Flat = {}
    for name, value in parameters.items():
        if name.rpartition(".")[2] not in NOT_OURS:
            found[name] = ASSIGNED.sub(_removed, without_secrets(value)) if isinstance(value, str) else value
    return found


def without_secrets(text: str) -> str:
    """Return a text (a command, a Python module) without secrets, values of variables, addresses and our folders."""
    from pilotage.redaction import redact

    text = EXPORTED.sub(_removed, redact(text)[0])
    text = ADDRESS.sub("ADDRESS", text)
    text = text.replace(sys.executable, "python")
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _removed(match: re.Match[str]) -> str:
    return f"{match['set']}{REMOVED}"

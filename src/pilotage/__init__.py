"""pilotage: any Parsl workflow, unchanged, on any site.

``config(site)`` is a ``parsl.Config``, ``load(site)`` a loaded DataFlowKernel. ``map`` and ``submit_all`` take
iterables of any length through it. ``rules`` says of an app how its calls travel, ``fallback`` where they go on when a
site fails. ``File`` and ``Directory`` are inputs and outputs anywhere, ``stage`` says how an app has them;
``log_app`` and ``stage_app`` are the older form. All are imported when first used, so that ``import pilotage`` costs
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotage.assembly.configs import config
    from pilotage.engine.fallback import fallback
    from pilotage.engine.mapping import map, submit_all
    from pilotage.engine.rules import rules
    from pilotage.errors import PilotageError
    from pilotage.runs.plain import load
    from pilotage.staging.older import log_app, stage_app
    from pilotage.worker.data.staged import stage
    from pilotage.worker.data.things import Directory, File

__all__ = [
    "Directory",
    "File",
    "PilotageError",
    "__version__",
    "config",
    "fallback",
    "load",
    "log_app",
    "map",
    "rules",
    "stage",
    "stage_app",
    "submit_all",
]
__version__ = "0.1.0"

_HOMES = {
    "Directory": "pilotage.worker.data.things",
    "File": "pilotage.worker.data.things",
    "PilotageError": "pilotage.errors",
    "config": "pilotage.assembly.configs",
    "fallback": "pilotage.engine.fallback",
    "load": "pilotage.runs.plain",
    "log_app": "pilotage.staging.older",
    "map": "pilotage.engine.mapping",
    "rules": "pilotage.engine.rules",
    "stage": "pilotage.worker.data.staged",
    "stage_app": "pilotage.staging.older",
    "submit_all": "pilotage.engine.mapping",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "parsl_wrappers":  # where the older form had its decorators
        return importlib.import_module(_HOMES["stage_app"])
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__

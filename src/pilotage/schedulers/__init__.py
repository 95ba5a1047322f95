"""Batch schedulers as pure functions: render a script, read what the scheduler says of itself. No Parsl, no process."""

from __future__ import annotations

import importlib

from pilotage.errors import UsageError, did_you_mean
from pilotage.schedulers.base import Scheduler
from pilotage.schedulers.batch import Batch

_HOMES = {
    "local": ("pilotage.schedulers.local", "LOCAL"),
    "slurm": ("pilotage.schedulers.slurm", "SLURM"),
    "pbspro": ("pilotage.schedulers.pbspro", "PBSPRO"),
    "gridengine": ("pilotage.schedulers.gridengine", "GRID_ENGINE"),
    "flux": ("pilotage.schedulers.flux", "FLUX"),
    "kubernetes": ("pilotage.schedulers.kubernetes", "KUBERNETES"),
    "ssh": ("pilotage.schedulers.ssh", "SSH"),
}
_JOBS = {
    "slurm": ("pilotage.schedulers.slurm_jobs", "SlurmJobs"),
    "pbspro": ("pilotage.schedulers.pbspro_jobs", "PBSProJobs"),
    "gridengine": ("pilotage.schedulers.gridengine_jobs", "GridEngineJobs"),
    "flux": ("pilotage.schedulers.flux_jobs", "FluxJobs"),
    "ssh": ("pilotage.schedulers.ssh_jobs", "SSHJobs"),
}
NAMES: tuple[str, ...] = tuple(_HOMES)


def scheduler(name: str, **place: str) -> Scheduler:
    """Return the scheduler ``name``, whose module is imported only now; raises UsageError where there is none.

    ``place`` is that of `batch`: whose queues are asked for.
    """
    if name not in _HOMES:
        near = did_you_mean(name, NAMES)
        raise UsageError(f"unknown scheduler {name!r}", hint=near or f"known: {', '.join(NAMES)}")
    module, attribute = _HOMES[name]
    found: Scheduler = getattr(importlib.import_module(module), attribute)
    return type(found)(**place) if place else found


def batch(name: str, **place: str) -> Batch:
    """Return the commands of the scheduler ``name`` for jobs; raises KeyError for one without batch jobs.

    ``place`` is that of `Batch`: for Slurm, the ``clusters`` that jobs are sent to.
    """
    module, attribute = _JOBS[name]
    found: Batch = getattr(importlib.import_module(module), attribute)(**place)
    return found

"""Kubernetes: a block is a Job of as many pods as the block has nodes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pilotage.schedulers.base import Block, WithoutQueues, render, seconds

DEFAULTS: dict[str, Any] = {
    "namespace": "default",
    "annotations": {},
    "service_account_name": None,
    "secret": None,
    "persistent_volumes": (),
    "extra_requests": {},
    "extra_limits": {},
}


class Kubernetes(WithoutQueues):
    """Kubernetes by its manifests."""

    name = "kubernetes"
    commands: tuple[str, ...] = ("kubectl",)

    def render(self, block: Block) -> str:
        """Return the Job's manifest (YAML).

        Its pods are never restarted, hear SIGTERM (the worker is ``exec``ed), and end with the wall time.
        """
        settings = {**DEFAULTS, **block.settings}
        job = kubernetes_name(block.name)
        labels = {
            "app.kubernetes.io/name": "pilotage",
            "app.kubernetes.io/component": "worker",
            "pilotage/block": job,
        }
        return render(
            "kubernetes.yaml.j2",
            replace(block, settings=settings),
            job=job,
            labels=labels,
            deadline=seconds(block.walltime) if block.walltime else None,
            script=_script(block),
            requests=_resources(settings, "init", "extra_requests"),
            limits=_resources(settings, "max", "extra_limits"),
            security=_security(settings),
            volumes=_volumes(settings["persistent_volumes"]),
        )


def kubernetes_name(name: str) -> str:
    """Return ``name`` as a DNS-1123 label: lower case, digits and dashes, at most 63 characters."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-")
    return label or "block"


def _script(block: Block) -> str:
    command = block.command.strip()
    # PID 1 of a container hears a signal only when it handles it: the worker does, a shell around it does not.
    simple = "\n" not in command and not re.search(r"[;&|<>(){}]", command)
    lines = [block.worker_init.strip("\n"), f"export JOBNAME={shlex.quote(block.name)}"]
    return "\n".join([line for line in lines if line] + [f"exec {command}" if simple else command])


def _resources(settings: Mapping[str, Any], prefix: str, extra: str) -> dict[str, str]:
    own = {"cpu": settings.get(f"{prefix}_cpu"), "memory": settings.get(f"{prefix}_mem")}
    known = {key: str(value) for key, value in own.items() if value is not None}
    return {**known, **{str(key): str(value) for key, value in (settings[extra] or {}).items()}}


def _security(settings: Mapping[str, Any]) -> dict[str, Any]:
    ids = {"runAsUser": settings.get("user_id"), "runAsGroup": settings.get("group_id")}
    context: dict[str, Any] = {
        key: int(value) if str(value).isdigit() else value for key, value in ids.items() if value
    }
    if settings.get("run_as_non_root"):
        context["runAsNonRoot"] = True
    return context


def _volumes(pairs: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    return [{"name": f"volume-{i}", "claim": claim, "path": path} for i, (claim, path) in enumerate(pairs)]


KUBERNETES = Kubernetes()

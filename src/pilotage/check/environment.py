"""The Python of the driver and that of the workers: there, runnable, and of the same versions."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pilotage.assembly.configs import machine
from pilotage.assembly.equipping import python_of
from pilotage.check.asked import is_only_node
from pilotage.check.context import Context
from pilotage.check.finding import Finding, Status, failed, ok, skipped, warning
from pilotage.check.folders import node_local
from pilotage.check.probe import Cost, Probe, probe
from pilotage.hosts.base import MISSING, Completed
from pilotage.sites.environments import BUILT, activation
from pilotage.sites.models import BatchSite, LocalSite, SSHSite
from pilotage.worker import expected

TOLD = ("parsl", "pilotage")
"""Packages of which the version is told where all is well."""
WORDS = 300
"""Characters of a Python's last line that are quoted."""
Pairs = Sequence[tuple[str, str]]


@probe
class Versions(Probe):
    """The packages of this Python are of versions that pilotage was tested with."""

    name = "versions"
    cost = Cost.MACHINE

    def run(self, context: Context) -> Finding:  # noqa: ARG002  the site has no say in it
        """Compare what is installed with what pilotage requires."""
        command = f"{sys.executable} -m pip check"
        missing, outside = [], []
        for name, limits in requirements():
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                missing.append(name)
                continue
            if not within(version, limits):
                outside.append(f"{name} {version} (tested: {limits})")
        if missing:
            hint = f"{sys.executable} -m pip install {' '.join(missing)}"
            return failed(f"not installed: {', '.join(missing)}", hint=hint, command=command)
        if outside:
            hint = "Parsl has no stable API: install a version within the limits"
            return warning("; ".join(outside), hint=hint, command=command)
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in TOLD)
        return ok(f"Python {sys.version.split()[0]}, {versions}", command=command)


def requirements() -> list[tuple[str, str]]:
    """Return what pilotage requires always: names and limits such as ``>=2026.10,<2027``."""
    matches = [re.fullmatch(r"\s*([A-Za-z0-9._-]+)\s*([^;]*)", text) for text in metadata.requires("pilotage") or ()]
    return [(match.group(1), match.group(2).strip()) for match in matches if match]


def within(version: str, limits: str) -> bool:
    """Return whether a version of numbers is within limits by ``>=`` and ``<``; others are not judged."""
    own = _numbers(version)
    for limit in limits.split(","):
        match = re.fullmatch(r"\s*(>=|<)\s*(\S+)\s*", limit)
        if match and (own >= _numbers(match.group(2))) != (match.group(1) == ">="):
            return False
    return True


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]


@probe
class WorkersPython(Probe):
    """The workers' Python is there, and has the versions that the driver has."""

    name = "python"
    cost = Cost.MACHINE
    needs = ("configuration", "login")

    def limit(self, context: Context) -> float:
        """Return a time for each host of a pool."""
        return super().limit(context) * max(len(context.hosts), 1)

    def applies(self, context: Context) -> bool:
        """Apply to sites whose workers use this machine's files, or those of a host that can be asked."""
        return context.blocks is not None and isinstance(context.site, BatchSite | LocalSite | SSHSite)

    def run(self, context: Context) -> Finding:
        """Run it, as far as it can be found from here."""
        environment = context.blocks.environment if context.blocks is not None else None
        if isinstance(environment, BUILT):
            return skipped(f"a run makes it (environment.kind = {environment.kind}); --submit looks at it")
        if environment is not None and activation(environment):
            return skipped(f"it is there once a node has run environment.{environment.kind}; --submit looks at it")
        where = context.key("python" if environment is None else "environment")
        if context.hosts:
            return _on_hosts(context, where)
        python = python_of(context.site) or sys.executable
        if "/" not in python:
            return skipped(f"{python} is found by the PATH of the nodes; --submit runs it")
        path = Path(python)
        if not path.exists():
            hint = "give the path of a Python that the nodes see; without the key, it is the driver's own"
            return failed(f"there is no {python}", hint=hint, where=where, command=f"ls -l {python}")
        reason = node_local(path.parent.resolve() / path.name) if isinstance(context.site, BatchSite) else None
        if reason is not None and not is_only_node(context):
            hint = "install it on a file system that the nodes see too"
            return failed(f"{python} is on {reason}, and nodes have another", hint=hint, where=where)
        answer = context.run(python, expected.__file__, *_tell(context))
        command = f"{python} -m pip list"
        found = _versions(answer.stdout)
        if found is None:
            words = (answer.stderr.strip() or answer.stdout.strip() or f"exit code {answer.exit_code}").splitlines()[-1]
            words = words[:WORDS]
            hint = "the workers are started by it: it must be a Python that runs here"
            return failed(f"{python} does not run: {words}", hint=hint, where=where, command=command)
        return judged(found, python, python, where, command, _required(context))


def _on_hosts(context: Context, where: str) -> Finding:
    """Return the worst finding of the hosts that a site is reached by: nodes use the files of their login host."""
    python = machine(context.resolved).python
    findings, script = [], Path(expected.__file__).read_bytes()
    for name in context.reached:
        context.say(f"waiting for {python} on {name}")
        argv = [python, "-", *_tell(context)]
        answer = context.hosts[name].run(argv, timeout=max(min(context.left, 30.0), 0.1), stdin=script)
        findings.append(_on_host(answer, python, name, where, _required(context)))
    order = (Status.FAILED, Status.WARNING, Status.OK)
    return min(findings, key=lambda one: order.index(one.status), default=skipped("no host has let us in"))


def _on_host(answer: Completed, python: str, name: str, where: str, required: Pairs) -> Finding:
    command = f"ssh {shlex.quote(name)} {shlex.quote(python)} -m pip list"
    found = _versions(answer.stdout)
    if found is not None:
        return judged(found, f"{python} on {name}", python, where, command, required)
    own = expected.driver()
    hint = f"give the path of a Python there with Python {own['python']}, Parsl {own.get('parsl')} "
    hint += f"and pilotage {own.get('pilotage')}: python = PATH in the site"
    if answer.exit_code == MISSING:
        return failed(f"there is no {python} on {name}", hint=hint, where=where, command=command)
    words = (answer.stderr.strip() or answer.stdout.strip() or f"exit code {answer.exit_code}").splitlines()[-1]
    return failed(f"{python} on {name} does not run: {words[:WORDS]}", hint=hint, where=where, command=command)


def _versions(output: str) -> dict[str, str] | None:
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("python"), str) else None


def _required(context: Context) -> Pairs:
    """Return the packages that the site wants beside, with limits of their versions."""
    environment = context.blocks.environment if context.blocks is not None else None
    return [expected.requirement(text) for text in environment.require] if environment is not None else []


def _tell(context: Context) -> list[str]:
    """Return the arguments of ``expected.py`` by which a Python that may have nothing of ours tells its versions."""
    return ["--tell", *expected.PACKAGES, *(name for name, _ in _required(context))]


def judged(
    found: dict[str, Any], what: str, python: str, where: str | None, command: str | None, required: Pairs = ()
) -> Finding:
    """Return a finding on versions elsewhere, compared with the driver's, in the words that nodes have for it.

    Parameters
    ----------
    found: the versions, as ``expected.found`` tells them.
    what: whose they are, for people.
    python: the path of that Python.
    where, command: see `Finding`.
    required: packages that the site wants beside.
    """
    problem = expected.judged(what, python, found, list(expected.driver().items()), list(required))
    if problem is not None:
        return failed(problem[0], hint=problem[1], where=where, command=command)
    return ok(f"{what}: Python {found['python']}, Parsl {found['parsl']}", command=command)

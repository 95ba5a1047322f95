"""The environment that is made for the workers: whether it can be, and whether it is there as it should be."""

from __future__ import annotations

from pilotage.assembly import environments
from pilotage.assembly.environments import Place
from pilotage.check.context import Context
from pilotage.check.finding import Finding, Status, failed, ok, skipped
from pilotage.check.probe import Cost, Probe, probe
from pilotage.errors import PilotageError
from pilotage.sites.environments import BUILT

SOLVING = 300.0
"""Seconds in which packages are found and packed; a run has as long as it takes."""


@probe
class WorkersEnvironment(Probe):
    """The workers' environment can be made where it is needed, or is there and has what it should have."""

    name = "environment"
    cost = Cost.MACHINE
    needs = ("configuration", "login")

    def limit(self, context: Context) -> float:  # noqa: ARG002  the same for all sites
        """Return the time for all hosts."""
        return SOLVING

    def applies(self, context: Context) -> bool:
        """Apply to sites whose workers' Python is made for them."""
        return context.blocks is not None and isinstance(context.blocks.environment, BUILT)

    def run(self, context: Context) -> Finding:
        """Find out how it would be made on each host, and look at one that is there."""
        findings = []
        for place in environments.places(context.resolved):
            if place.name in context.hosts and place.name not in context.reached:
                continue
            findings.append(_on(context, place))
        order = (Status.FAILED, Status.WARNING, Status.OK)
        return min(findings, key=lambda one: order.index(one.status), default=skipped("no host has let us in"))


def _on(context: Context, place: Place) -> Finding:
    where, name = context.key("environment"), context.resolved.name
    try:
        made = environments.recipe(context.resolved, place, context.say)
        if made is None:
            return skipped("nothing is made")
        if not place.store.has(made):
            size = sum(file.stat().st_size for file in made.files.values())
            words = f"{made.title} can be made on {place.name}, of files of {size / 1e6:.0f} MB: the first run does so"
            return ok(words, command=f"pilotage env build {name}")
        problem = place.store.verify(made)
    except PilotageError as error:
        return failed(f"{place.name}: {error.message}", hint=error.hint or "", where=error.where or where)
    if problem is not None:
        hint = f"pilotage env prune {name} {made.digest} removes it, and the next run makes it anew"
        return failed(f"{made.title} on {place.name}: {problem}", hint=hint, where=where)
    return ok(f"{place.name} has {made.title}, at {place.store.path(made)}", command=f"pilotage env show {name}")

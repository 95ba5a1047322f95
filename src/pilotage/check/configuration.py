"""The site's values, and every argument that they become for Parsl."""

from __future__ import annotations

from pilotage.assembly.rendering import render
from pilotage.assembly.validation import check_arguments
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, ok
from pilotage.check.probe import Cost, Probe, probe
from pilotage.errors import PilotageError


@probe
class Configuration(Probe):
    """Parsl's constructors know every argument, and the batch script can be written."""

    name = "configuration"
    cost = Cost.NOTHING

    def run(self, context: Context) -> Finding:
        """Check the arguments against Parsl's constructors, and render a block."""
        command = context.pilotage("site", "validate")
        context.say("importing Parsl")
        try:
            check_arguments(context.resolved)
            render(context.resolved)
        except PilotageError as error:
            hint = error.hint or f"{command} shows all values"
            return failed(error.message, hint=hint, where=error.where, command=command)
        count = len(context.resolved.table.data)
        return ok(f"{count} values given, and Parsl knows every argument", command=command)

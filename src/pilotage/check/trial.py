"""The scheduler's own judgement of the very script that would be submitted."""

from __future__ import annotations

from pilotage.assembly.rendering import render
from pilotage.check.asked import inquiry_of
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, ok, skipped
from pilotage.check.probe import probe
from pilotage.check.queues import AsksScheduler
from pilotage.schedulers.inquiry import words

PIPED = {"slurm": "sbatch --test-only", "gridengine": "qsub -w v", "flux": "flux batch --dry-run"}

THERE = (
    'umask 077; script=$(mktemp) || exit; printf "%s" "$1" >"$script"; shift; "$@" "$script"; code=$?; '
    'rm -f -- "$script"; exit $code'
)
"""For ``sh -c``: give the text that is the first argument to a command, in a file."""


@probe
class Trial(AsksScheduler):
    """The scheduler would take the script."""

    name = "trial"
    needs = (
        *("configuration", "run-folder", "scheduler", "queue", "walltime", "nodes", "cores", "node-memory", "gpus"),
        *("account", "qos", "reservation", "pe", "constraint"),
    )

    def applies(self, context: Context) -> bool:
        """Apply to schedulers that can judge without taking."""
        asked = inquiry_of(context)
        return super().applies(context) and asked is not None and asked.trial_command("") is not None

    def run(self, context: Context) -> Finding:
        """Write the script, and have it judged."""
        asked = inquiry_of(context)
        script = context.folder / "trial.sh"
        argv = asked.trial_command(str(script)) if asked is not None else None
        name = f"pilotage-check.{context.resolved.name}"
        if asked is None or argv is None:
            return skipped("this scheduler judges only what is submitted")
        text = render(context.resolved, run_dir=str(context.folder), job_name=name).script or ""
        if context.is_far:  # the script is the last argument of each
            answer = context.run("sh", "-c", THERE, "sh", text, *argv[:-1])
        else:
            script.write_text(text, encoding="utf-8")
            answer = context.run(*argv)
            script.unlink()
        command = f"{context.pilotage('site', 'show', '--script')} | {PIPED[asked.name]}"
        if refused := asked.parse_trial(answer):
            hint = "correct what it names; the command shows the script and asks again"
            return failed(f"{argv[0]} would refuse it: {refused}", hint=hint, command=command)
        said = words(answer) if answer.stderr or answer.stdout else "accepted"
        return ok(said.removeprefix("sbatch: "), command=command)

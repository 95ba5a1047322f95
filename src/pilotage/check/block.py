"""One short block, as a run: supervised, in the journal, and ended whatever happens."""

from __future__ import annotations

import os
import re
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pilotage.assembly.configs import Target
from pilotage.check.context import Context
from pilotage.check.finding import Finding, Status, failed, ok, warning
from pilotage.check.probe import Cost, Probe, probe
from pilotage.check.visiting import BEGAN, CONNECT, RESULT, STAGE, TASKS
from pilotage.errors import PilotageError
from pilotage.events import Events
from pilotage.paths import RunFolder
from pilotage.runs import store
from pilotage.runs.cancel import cancel
from pilotage.runs.order import Order
from pilotage.runs.record import FINAL, RunRecord, read_json
from pilotage.runs.run import begin
from pilotage.runs.start import Options
from pilotage.schedulers.base import seconds
from pilotage.sites.catalogue import Resolved
from pilotage.sites.merge import Origin, Table
from pilotage.sites.models import BatchSite, BlockSite, KubernetesSite
from pilotage.sites.validation import validated
from pilotage.worker import processes

SCRIPT = Path(__file__).with_name("script") / "visit.py"
WALLTIME = "00:05:00"
"""Of the block, where the site's own is not shorter."""
LOOK = 0.1
ENDS = {
    "cancelled": "was cancelled",
    "completed": "ended before a worker connected",
    "missing": "ended before a worker connected",
    "timeout": "ran out of its walltime",
}
ENDING = 60.0
"""Seconds that a run may take to end after its last task."""
BEFORE = (
    "configuration",
    "login",
    "login-folder",
    "login-shared",
    "reach",
    "run-folder",
    "run-folder-path",
    "python",
    "commands",
    "scheduler",
    "queue",
    "address",
    "ports",
)


@probe
class BlockRuns(Probe):
    """A block of the site's shape starts, and all its nodes connect."""

    name = "block"
    cost = Cost.BLOCK
    needs = (*BEFORE, "ports", "trial")

    def applies(self, context: Context) -> bool:
        """Apply where a block may be submitted."""
        return context.submit and context.blocks is not None

    def limit(self, context: Context) -> float:
        """Return the wait in the queue, and what comes after."""
        return context.wait + CONNECT + 3 * TASKS + ENDING

    def run(self, context: Context) -> Finding:
        """Start a run whose script looks at the block, and wait for its end."""
        resolved = for_one_block(context.resolved, context.folder)
        owner = processes.as_text(processes.identity(os.getpid()))
        arguments = [str(context.folder), owner, str(context.wait)]
        order = Order(SCRIPT, arguments, [Target(resolved.name, resolved)], site_given=True, quiet=True)
        started = begin(order, "pilotage check", Options(detach=True))
        context.memory["run"] = started.folder
        try:
            _await(context, started.folder)
        finally:
            _end(started.folder)
        started.supervisor.wait(ENDING)
        found = read_json(context.folder / RESULT)
        context.memory["visit"] = found
        finding = judged(found, context, started.folder)
        if finding.status is not Status.OK:
            context.memory["run kept"] = started.folder.id
        return finding


def for_one_block(resolved: Resolved, folder: Path) -> Resolved:
    """Return a site with one short block, whose job writes down when it begins."""
    site = resolved.site
    own: dict[str, Any] = {"init_blocks": 1, "min_blocks": 1, "max_blocks": 1, "prefetch_capacity": 0}
    if isinstance(site, BlockSite):
        # A folder that the node does not see is told of by what comes after.
        began = f"(date +%s.%N >{shlex.quote(str(folder / BEGAN))}) 2>/dev/null || true"
        own["worker_init"] = f"{began}\n{site.worker_init}".strip()
        own["engine"] = {"coalesce": False}
    if isinstance(site, BatchSite | KubernetesSite):
        given = site.walltime or WALLTIME
        own["walltime"] = min(given, WALLTIME, key=seconds)
    # Ranks of MPI programs are none of it: a manager on each node is what tells of the nodes.
    table = resolved.table.without("mpi").under(Table.of(own, lambda _: Origin("pilotage check")))
    return replace(resolved, table=table, site=validated(resolved.name, table))


def _await(context: Context, folder: RunFolder) -> None:
    """Wait until a run has ended, or the check is being ended."""
    record = RunRecord(folder.path)
    while record.values.get("state") not in FINAL and not context.stopping.is_set() and context.left > 0:
        context.say(str(read_json(context.folder / STAGE).get("words", "starting a run")))
        time.sleep(LOOK)
        record = RunRecord(folder.path)


def _end(folder: RunFolder) -> None:
    if RunRecord(folder.path).values.get("state") not in FINAL:
        cancel(folder, at_once=False, say=lambda _words: None)


def remove_run(folder: RunFolder) -> bool:
    """Remove the run of a check that has found nothing wrong; return whether it is gone."""
    try:
        store.remove([folder])
    except PilotageError:
        return False
    return True


def judged(found: dict[str, Any], context: Context, folder: RunFolder) -> Finding:
    """Return a finding on the block from what the run's script wrote down."""
    show = f"pilotage show {folder.id}"
    values = RunRecord(folder.path).values
    if not found:
        error = (values.get("error") or {}).get("message") or values.get("reason") or "its script wrote nothing down"
        said = "; ".join(_told(folder)) or error
        return failed(f"the run of the block failed: {said}", hint=f"{show} says more", command=show)
    block = found.get("block", {})
    if found.get("managers"):
        if found.get("error"):
            return failed(f"its tasks failed: {found['error']}", hint=f"{show} says more", command=show)
        count = found["managers"]
        return ok(f"started and ended; {count} node{'s' if count > 1 else ''} connected", command=show)
    said = ": ".join(part for part in (block.get("words"), telling_line(block.get("stderr", ""))) if part)
    if "waited" in found:
        return warning(
            f"it still waits after {found['waited']:.0f} s: {said or block.get('state')}",
            hint="--wait SECONDS waits longer; nothing that needs a block was looked at",
            command=show,
        )
    return _never_connected(found, block, said, context, show, folder)


def _never_connected(
    found: dict[str, Any], block: dict[str, Any], said: str, context: Context, show: str, folder: RunFolder
) -> Finding:
    if block.get("refused"):
        words, hint = block["refused"]
        return failed(f"it starts no workers: {words}", hint=hint, where=context.key("python"), command=show)
    if block.get("kind") == "VersionMismatch":
        hint = "install the driver's versions there; the key python names the workers' Python"
        return failed(
            f"the driver refuses its workers: {block['error']}", hint=hint, where=context.key("python"), command=show
        )
    state = str(block.get("state", "")).lower()
    if state in ("running", "pending") and "running" in found:
        address = context.memory.get("address")
        if context.is_through:
            return failed(
                f"it ran for {CONNECT:.0f} s and no worker connected{': ' + said if said else ''}",
                hint="its workers cannot reach the login host's port, or hang before they try: set inside_address to "
                'what nodes call that host, or try reach = "node"',
                where=context.key("reach" if context.is_far else "hosts"),
                command=show,
            )
        return failed(
            f"it ran for {CONNECT:.0f} s and no worker connected{': ' + said if said else ''}",
            hint="its workers cannot reach this machine's port, or hang before they try: is there a firewall between, "
            f"and can nodes reach {address or 'the address'}?",
            where=context.key("address"),
            command=show,
        )
    code = f" (exit code {block['exit_code']})" if block.get("exit_code") else ""
    told = said or "; ".join(_told(folder)) or block.get("error") or "without a word"
    ended = ENDS.get(state, "failed")
    return failed(f"it {ended}{code}: {told}", hint=f"{show} says where its output is", command=show)


def _told(folder: RunFolder) -> list[str]:
    """Return the warnings and errors of a run, as people read them."""
    events = Events(folder.events).read()[0]
    return [" ".join(str(event["message"]).split()) for event in events if event["level"] != "info"]


def telling_line(text: str) -> str:
    """Return the last line of a job's stderr that says why, rather than that something has ended."""
    lines = [re.sub(r"^\s*\d+: ", "", line).strip() for line in text.splitlines() if line.strip()]
    why = [line for line in lines if not line.startswith(("srun:", "slurmstepd:", "mpiexec", "mpirun", "prterun"))]
    return (why or lines or [""])[-1]

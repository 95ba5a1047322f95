"""The scheduler answers, and has the queue that blocks go to, for as long as they ask."""

from __future__ import annotations

import shlex

from pilotage.check.asked import (
    QUEUE_KEYS,
    inquiry_of,
    nodes,
    place,
    queue_answers,
    queue_names,
    queue_place,
    queues,
    queues_called,
    scheduler_of,
    the_queue,
)
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, listed, ok, warning
from pilotage.check.probe import Cost, Probe, probe
from pilotage.errors import did_you_mean
from pilotage.hosts.base import Completed
from pilotage.schedulers.base import seconds
from pilotage.schedulers.inquiry import words
from pilotage.sites.models import BatchSite


def queue_command(context: Context) -> str:
    """Return what lists the queues, as a shell line."""
    return shlex.join(scheduler_of(context).queue_queries()[0])


def key_of(context: Context) -> str:
    """Return the site's key for the queue: its scheduler's own word."""
    return QUEUE_KEYS.get(context.site.scheduler, "queue")


class AsksScheduler(Probe):
    """A probe that asks the scheduler of a batch site."""

    cost = Cost.SCHEDULER

    def applies(self, context: Context) -> bool:
        """Apply to batch sites."""
        return isinstance(context.site, BatchSite) and inquiry_of(context) is not None


@probe
class Answers(AsksScheduler):
    """The scheduler answers."""

    name = "scheduler"
    needs = ("commands",)

    def run(self, context: Context) -> Finding:
        """Ask for its queues, which others need too."""
        answers = queue_answers(context)
        bad = next((answer for answer in answers if not answer.ok), None)
        if bad is not None:
            return _no_answer(context, bad)
        known = queues(context)
        if not known and context.site.scheduler != "flux":
            return failed(
                "it answers, and has no queues that could be read",
                hint="look at the answer: is this the scheduler that the site names?",
                where=context.key("scheduler"),
                command=queue_command(context),
            )
        names = listed((queue.name for queue in known), "no named queues")
        return ok(f"answers; {names}", command=queue_command(context))


def _no_answer(context: Context, bad: Completed) -> Finding:
    """Return what there is to say of a question that has failed."""
    hint = "is the scheduler's server up, and is this host one of its clients? Ask your administrators"
    where = None
    if place(context):  # then it may be another's server, or that of no cluster at all
        hint = f"is the name of each cluster right? sacctmgr show clusters lists them. Else: {hint}"
        where = context.key("clusters")
    what = "does not answer" if bad.exit_code == 124 else "fails"
    return failed(f"{bad.argv[0]} {what}: {words(bad)}", hint=hint, where=where, command=shlex.join(bad.argv))


@probe
class QueueThere(AsksScheduler):
    """The queue is there, takes jobs, and has nodes that work."""

    name = "queue"
    needs = ("scheduler",)

    def run(self, context: Context) -> Finding:
        """Look for it among the queues, and at the states of its nodes."""
        known, key = queues(context), key_of(context)
        command, where = queue_command(context), context.key(queue_place(context))
        queue = the_queue(context)
        names = [one.name for one in known]
        if missing := _missing(context):
            near = did_you_mean(missing, names)
            hint = f"{near + ' ' if near else ''}there are {listed(names)}"
            return failed(f"there is no {key} {missing!r}", hint=hint, where=where, command=command)
        if queue is None and not known:
            return ok("no named queues: none is asked for", command=command)
        if queue is None:
            hint = f"set {key}: there are {listed(names)}"
            return failed(f"the site names no {key}, and none is the default", hint=hint, where=where, command=command)
        if not queue.available:
            open_ones = listed((one.name for one in known if one.available), "none is open")
            hint = f"wait, or use another {key}: {open_ones}"
            return failed(f"{queue.name} takes or starts no jobs now", hint=hint, where=where, command=command)
        return _with_nodes(context, queue.name, command)


def _missing(context: Context) -> str | None:
    """Return the first name of a queue of which there is none."""
    return next((name for name in queue_names(context) if not queues_called(context, name)), None)


def _with_nodes(context: Context, name: str, command: str) -> Finding:
    has = nodes(context)
    count = sum(one.count for one in has)
    usable = sum(one.count for one in has if one.usable)
    asked = inquiry_of(context)
    if asked is not None and has:
        command = shlex.join(asked.nodes_commands()[0])
    if count and not usable:
        states = ", ".join(sorted({one.state or "unknown" for one in has}))
        hint = "blocks would wait until they are back: ask your administrators, or use another queue"
        return failed(f"no node of {name} takes jobs: {count} in state {states}", hint=hint, command=command)
    if not has:
        return ok(name, command=command)
    return ok(f"{name}: {usable} of {count} nodes take jobs", command=command)


@probe
class Walltime(AsksScheduler):
    """A block's walltime is within the queue's limit."""

    name = "walltime"
    needs = ("scheduler", "queue")

    def run(self, context: Context) -> Finding:
        """Compare the two."""
        site, queue, inquiry = context.site, the_queue(context), inquiry_of(context)
        asked = site.walltime if isinstance(site, BatchSite) else ""
        detail = inquiry.detail_command(queue.name) if queue is not None and inquiry is not None else None
        command = shlex.join(detail) if detail else queue_command(context)
        limit = queue.max_walltime if queue is not None else None
        if queue is not None and limit is not None and seconds(asked) > seconds(limit):
            return failed(
                f"{asked} is more than {queue.name} allows: {limit}",
                hint=f"--set walltime={limit}, or another {key_of(context)}",
                where=context.key("walltime"),
                command=command,
            )
        if seconds(asked) < 120:
            return warning(
                f"{asked} leaves no time for tasks: a block takes none near its end",
                hint="a block of less than two minutes is mostly start-up",
                where=context.key("walltime"),
                command=command,
            )
        return ok(f"{asked} of {limit} at most" if limit is not None else f"{asked}; no limit is told", command=command)

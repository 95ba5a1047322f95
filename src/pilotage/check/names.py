"""Account, qos and reservation are there, and this user may use them."""

from __future__ import annotations

import re
import shlex

from pilotage.check.asked import inquiry_of, parallel_environment
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, listed, ok, skipped
from pilotage.check.probe import probe
from pilotage.check.queues import AsksScheduler
from pilotage.errors import did_you_mean
from pilotage.schedulers.base import seconds
from pilotage.schedulers.inquiry import Named, words
from pilotage.schedulers.slurm_inquiry import SlurmInquiry
from pilotage.sites.models import BatchSite, GridEngineSite, SlurmSite


class NamedThing(AsksScheduler):
    """A probe for what a site names by one of its keys: ``name`` is the key, ``what`` how people call it.

    ``of_user`` says that a list of them is the user's own, and need not be there; Slurm takes
    such names in capitals and small letters alike.
    """

    needs = ("scheduler",)
    what = ""
    of_user = False

    def given(self, context: Context) -> str | None:
        """Return the name in the site."""
        return getattr(context.site, self.name, None) or None

    def where(self, context: Context) -> str:
        """Return the place of the name."""
        return context.key(self.name)

    def asked(self, context: Context) -> Named | None:
        """Return how the scheduler is asked for such names."""
        inquiry = inquiry_of(context)
        found = [] if inquiry is None else [one for one in inquiry.named(context.user()) if one.key == self.name]
        return found[0] if found else None

    def applies(self, context: Context) -> bool:
        """Apply where the site names one."""
        return super().applies(context) and self.given(context) is not None

    def run(self, context: Context) -> Finding:
        """Look for it among the names that the scheduler tells."""
        given, asked = self.given(context), self.asked(context)
        if given is None or asked is None:
            return skipped(f"this scheduler does not tell whether {given!r} is there")
        command = shlex.join(asked.command)
        if not context.host.has(asked.command[0]):
            return skipped(f"{asked.command[0]} is not on the PATH", command=command)
        answer = context.run(*asked.command)
        known = asked.read(answer)
        if known is None:
            return skipped(f"the scheduler does not tell: {words(answer)}", command=command)
        if self.of_user and not known:
            return skipped("the scheduler has none for you, and may ask for none", command=command)
        names = [name.strip() for name in given.split(",") if name.strip()]
        there = {name.lower() for name in known} if self.of_user else set(known)
        missing = [name for name in names if (name.lower() if self.of_user else name) not in there]
        if missing:
            near = did_you_mean(missing[0], known)
            hint = f"{near + ' ' if near else ''}there are {listed(known)}"
            message = f"there is no {self.what or self.name} {missing[0]!r} for you"
            return failed(message, hint=hint, where=self.where(context), command=command)
        return ok(given, command=command)


@probe
class Account(NamedThing):
    """The account is one of the user's."""

    name = "account"
    of_user = True


@probe
class QualityOfService(NamedThing):
    """The qos is one that the user may ask for."""

    name = "qos"
    of_user = True


@probe
class QualityLimits(AsksScheduler):
    """A block is within what its qos allows: Slurm takes it all the same, and lets it wait for ever."""

    name = "qos-limits"
    needs = ("scheduler", "qos", "walltime", "nodes")

    def applies(self, context: Context) -> bool:
        """Apply to Slurm's sites with a qos."""
        return super().applies(context) and isinstance(context.site, SlurmSite) and bool(context.site.qos)

    def run(self, context: Context) -> Finding:
        """Compare walltime and nodes with the limits."""
        site, asked = context.site, inquiry_of(context)
        if not isinstance(site, SlurmSite) or not isinstance(asked, SlurmInquiry):
            return skipped("it is Slurm that has limits of a qos")
        argv = asked.limits_command(site.qos or "")
        command = shlex.join(argv)
        answer = context.run(*argv)
        if not answer.ok:
            return skipped(f"the scheduler does not tell: {words(answer)}", command=command)
        longest, most = asked.parse_limits(answer)
        if longest is not None and seconds(site.walltime) > seconds(longest):
            message = f"{site.walltime} is more than the qos {site.qos} allows: {longest}"
            hint = f"--set walltime={longest}, or another qos"
            return failed(message, hint=hint, where=context.key("walltime"), command=command)
        if most is not None and site.nodes_per_block > most:
            message = f"a block asks for {site.nodes_per_block} nodes, and the qos {site.qos} gives {most} at most"
            hint = f"set nodes_per_block to {most} or less, or another qos"
            return failed(message, hint=hint, where=context.key("nodes_per_block"), command=command)
        limits = [f"{longest} at most"] if longest else []
        limits += [f"{most} nodes at most"] if most else []
        return ok(", ".join(limits) or "no limits of a job", command=command)


@probe
class Reservation(NamedThing):
    """The reservation is there."""

    name = "reservation"

    def given(self, context: Context) -> str | None:
        """Return the name, which may stand in a directive only."""
        site = context.site
        options = site.scheduler_options if isinstance(site, BatchSite) else ""
        found = re.search(r"--reservation[= ](\S+)", options)
        return super().given(context) or (found.group(1) if found else None)

    def where(self, context: Context) -> str:
        """Return the place of the name."""
        return context.key("reservation" if super().given(context) else "scheduler_options")


@probe
class ParallelEnvironment(NamedThing):
    """Grid Engine has the parallel environment that the directives ask for."""

    name = "pe"
    what = "parallel environment"

    def given(self, context: Context) -> str | None:
        """Return the name in the directives."""
        site = context.site
        found = parallel_environment(site) if isinstance(site, GridEngineSite) else None
        return found[0] if found else None

    def where(self, context: Context) -> str:
        """Return the place of the name."""
        return context.key("scheduler_options")

"""Put on PYTHONPATH by the controls: switches one protection off in the processes that have it."""

import os
import sys

WITHOUT = os.environ.get("CLUSTERS_WITHOUT", "")
DRIVER = any("pilotage.cli.driver" in word for word in sys.orig_argv)
INTERCHANGE = "pilotage.engine.interchange" in sys.orig_argv
POOL = "pilotage.worker.pool" in sys.orig_argv

if WITHOUT == "ledger" and DRIVER:
    from parsl.providers import SlurmProvider

    from pilotage.providers import journaled, scripts

    journaled.journaled = lambda provider: provider  # nor does anybody else look after its jobs

    class Plain(scripts.RenderedScript, SlurmProvider):
        scheduler_name = "slurm"

    scripts.SlurmProvider = Plain

if WITHOUT == "journal" and DRIVER:
    from pilotage import journal

    journal.intend = lambda *_, **__: ""

if WITHOUT == "ended" and DRIVER:  # the interchange is not told of blocks that have ended
    from pilotage.engine.executor import HighThroughputExecutor

    HighThroughputExecutor._tell_of_ended_blocks = lambda self: None

if WITHOUT == "guard" and POOL:
    from pilotage.worker import guard

    guard.guarded = lambda manager, *_, **__: manager()

if WITHOUT == "pending" and DRIVER:  # a held block is HELD to Parsl too
    from parsl.jobs.states import JobState

    from pilotage.providers import batch
    from pilotage.schedulers.batch import State

    batch.STATES[State.HELD] = JobState.HELD

if WITHOUT == "watch" and DRIVER:  # nobody looks at what Parsl has found of its blocks
    from pilotage.engine.watching import BlockWatch

    BlockWatch.look = BlockWatch.failed = lambda *_, **__: None

if WITHOUT == "history" and DRIVER:  # what Slurm has ended is not looked up in its accounting
    from pilotage.providers.ledger import Ledger

    Ledger._history = lambda *_: ({}, 0.0)

if WITHOUT == "again" and DRIVER:  # what had no answer is not submitted once more
    from pilotage.providers import unanswered

    unanswered.ABSENT = float("inf")

if WITHOUT == "twice" and DRIVER:  # once the second submission has its job, the first is forgotten
    from pilotage.providers.unanswered import Unanswered

    Unanswered.taken = lambda self, name, _: self._cases.pop(name)

if WITHOUT == "healing" and DRIVER:  # a connection that is lost is not made anew
    from pilotage.hosts.way import Way

    Way._keep = lambda self: None

if WITHOUT == "numbers" and DRIVER:  # what is on its way when a connection breaks is lost
    from pilotage.engine.routing import RoutedExecutor

    RoutedExecutor._route_options = lambda self: []

if WITHOUT == "tries" and DRIVER:  # the port of a connection that was lost is asked for once it is back, or never
    import contextlib

    from pilotage.errors import HostError
    from pilotage.hosts import way

    def connects(host):
        with contextlib.suppress(HostError):
            host.connect()
            return True
        return False

    def once(self, words, again):
        while not connects(self._host) and not self._stop.wait(0.1):
            pass
        with contextlib.suppress(HostError, OSError):
            again()
        self._stop.wait()

    way.STALE, way.Way._heal = 0.0, once

if WITHOUT == "writing" and DRIVER:  # nobody looks at whether what is sent has arrived
    from pilotage.hosts.openssh import OpenSSHHost

    OpenSSHHost.put = lambda self, archive, target, *, timeout=600: None

if WITHOUT == "person" and DRIVER:  # a host that wants a person is tried again as any other
    from pilotage.errors import HostError
    from pilotage.hosts import openssh

    openssh.LoginError, openssh.REFUSED = HostError, 0.0

if WITHOUT == "patience" and DRIVER:  # a pool's host that does not answer is given up after seconds
    from pilotage.providers import pool

    pool.DEAD = 5.0

if WITHOUT == "absences" and INTERCHANGE:  # a manager is not missed though others behind the same way are heard
    from pilotage.engine import absence

    absence.SILENT = float("inf")

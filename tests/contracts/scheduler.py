"""What every scheduler of batch jobs does, whichever it is: a real one, a fake, the one of a site of yours.

A test module makes a `System` for each, in a fixture ``system`` of module scope, and subclasses `SchedulerContract`.
Nothing here knows where a scheduler runs: its commands go through ``System.host``, its jobs are what a site's would be.
"""

import contextlib
import getpass
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pilotage.hosts.base import Completed
from pilotage.hosts.local import LocalHost
from pilotage.providers.ledger import Ledger
from pilotage.schedulers import batch, scheduler
from pilotage.schedulers.base import Block
from pilotage.schedulers.batch import RefusedError, State, UnclearError

HELD = {
    "slurm": "#SBATCH --hold",
    "pbspro": "#PBS -h",
    "gridengine": "#$ -h",
    "flux": "#flux: --urgency=hold",
}
LATER = {
    "slurm": "#SBATCH --begin=now+1hour",
    "pbspro": "#PBS -a 203701010000",
    "gridengine": "#$ -a 203701010000",
    "flux": "#flux: --begin-time=+1h",
}
TOO_MUCH = {"gridengine": "#$ -pe mpi 5000"}
"""What asks for more than there is where a number of nodes does not."""
DELETED = {"gridengine": {"waits": (State.LOST,), "runs": (State.FAILED,)}}
"""What else a job that was cancelled may read: there is no record of one that never ran, and of one that did, that it
was killed, by whomever."""
QUEUE = {"slurm": "partition", "pbspro": "queue", "gridengine": "queue", "flux": "queue"}
UNREACHABLE = {
    "slurm": {"SLURM_CONF": "/nonexistent/slurm.conf"},
    "pbspro": {"PBS_BATCH_SERVICE_PORT": "1"},
    "gridengine": {"SGE_QMASTER_PORT": "1"},
    "flux": {"FLUX_URI": "local:///nonexistent/local-0"},
}
"""What makes a command look for its scheduler where there is none."""
SCRIPT = """
import parsl
from parsl import python_app

@python_app
def where(number):
    import os, socket, time
    time.sleep(0.5)
    return socket.gethostname() + os.environ.get("FLUX_TASK_RANK", "")

with parsl.load():
    print(*sorted({future.result() for future in [where(number) for number in range(12)]}))
"""
TOO_MANY = 5000
"""Nodes that nobody has."""
PACE = 4
"""How much faster than the clock the ledger's time goes here."""
STEP = 0.15


@dataclass
class System:
    """A scheduler under test.

    Parameters
    ----------
    scheduler: its name here, such as ``slurm``.
    host: where its commands run (`pilotage.hosts.base.Host`).
    folder: a folder that login host and nodes see.
    settings: of the jobs, as a site's provider has them.
    run: runs ``pilotage`` with arguments in ``folder``, on the login host; returns what `subprocess.run` does.
    site: arguments of ``pilotage run`` that choose this scheduler.
    nodes: on which a block runs tasks.
    patience: seconds after which a job that could start has started, and one that is over is told as over.
    walltime: the shortest that jobs can have, HH:MM:SS, and seconds after which one that exceeds it is surely over.
    history: whether it tells of jobs that have ended.
    silence: context manager in which its commands are not answered; None where only the answers can be kept back.
    down: context manager in which there is no scheduler; None where its commands are sent to where there is none.
    fail_node: ends a node, by name, and returns what repairs it; None where that cannot be done.
    processes: returns the processes whose command line has a text; None where they are not to be seen from here.
    cannot: names of tests here, and why they mean nothing for this one.
    """

    scheduler: str
    host: Any
    folder: Path
    run: Callable[..., Any]
    site: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    nodes: int = 1
    patience: float = 60.0
    walltime: tuple[str, float] = ("00:00:02", 60.0)
    history: bool = True
    silence: Callable[[], Any] | None = None
    down: Callable[[], Any] | None = None
    fail_node: Callable[[str], Callable[[], None]] | None = None
    processes: Callable[[str], list[str]] | None = None
    cannot: dict[str, str] = field(default_factory=dict)

    def script(self, name, command, *, walltime="00:05:00", nodes=1, options="", **settings):
        """Write a job's script; return its path."""
        merged = {**self.settings, **settings}
        lines = [str(merged.get("scheduler_options") or ""), options]
        merged["scheduler_options"] = "\n".join(line for line in lines if line)
        block = Block(
            name=name,
            command=command,
            stdout=str(self.folder / f"{name}.out"),
            stderr=str(self.folder / f"{name}.err"),
            nodes=nodes,
            walltime=walltime,
            settings=merged,
        )
        path = self.folder / name
        path.write_text(scheduler(self.scheduler).render(block))
        return str(path)


class Clock:
    """The ledger's time: faster than the clock's, or as told."""

    def __init__(self, pace=PACE):
        self.pace, self.told = pace, 0.0

    def __call__(self):
        return time.monotonic() * self.pace + self.told

    def sleep(self, seconds):
        time.sleep(seconds / PACE)


class Host(LocalHost):
    """A host in front of another, that counts and may change what is said."""

    def __init__(self, host, change=None):
        self.host, self.change, self.asked = host, change, []

    def run(self, argv, *, timeout=30):
        self.asked.append(tuple(argv))
        changed = self.change(tuple(argv), timeout) if self.change else None
        return self.host.run(argv, timeout=timeout) if changed is None else changed

    def has(self, program):
        return self.host.has(program)

    def submissions(self, batch):
        program = batch.submit_command("x")[:-1]
        return sum(argv[: len(program)] == program for argv in self.asked)


class Jobs:
    """The jobs of a scheduler under test, and the ledger that looks after them."""

    def __init__(self, system):
        self.system = system
        self.batch = batch(system.scheduler)
        self.host = Host(system.host)
        self.ledger = self.new_ledger(self.host, Clock())
        self.ids = []

    def new_ledger(self, host, clock):
        return Ledger(self.batch, host, clock=clock, sleep=clock.sleep)

    def name(self, what="job"):
        return f"pilotage-contract.{what}.{uuid.uuid4().hex[:8]}"

    def submit(self, what, command, **options):
        """Submit a job; return its id."""
        name = self.name(what)
        job = self.ledger.submit(self.system.script(name, command, **options), name)
        self.ids.append(job)
        return job

    def look(self, job):
        return self.ledger.look([job])[0]

    def wait(self, job, *states, seconds=0.0):
        """Wait until a job is in one of these states; return what is said of it."""
        end = time.monotonic() + (seconds or self.system.patience)
        while (seen := self.look(job)).state not in states:
            assert time.monotonic() < end, f"{job} is {seen}, and not {states}"
            assert not seen.state.final, f"{job} is {seen}, and not {states}"
            time.sleep(STEP)
        return seen

    def cancel(self, jobs):
        return self.host.run(self.batch.cancel_command(jobs))

    def names(self):
        return self.batch.parse_list(self.host.run(self.batch.list_command(getpass.getuser())))

    def listed(self, jobs):
        return self.batch.parse_status([self.host.run(argv) for argv in self.batch.status_commands(jobs)])

    @staticmethod
    def unknown(job):
        """Return an id as it could be, of a job that nobody has submitted."""
        return re.sub(r"^\d+", lambda found: str(int(found.group()) + 100_000), job)


def unless(system, request):
    why = system.cannot.get(request.node.originalname)
    if why:
        pytest.skip(why)


class SchedulerContract:
    """The contract; needs a fixture ``system``."""

    @pytest.fixture(autouse=True)
    def possible(self, system, request):
        """Skip what this scheduler cannot do, with the reason."""
        unless(system, request)

    @pytest.fixture(scope="module")
    @classmethod
    def jobs(cls, system):
        made = Jobs(system)
        yield made
        if made.ids:
            made.cancel(made.ids)

    @pytest.fixture(scope="module")
    @classmethod
    def begun(cls, jobs):
        """Jobs that are all submitted at once, so that one wait serves them all."""
        system = jobs.system
        with_later = {"later": (":", {"options": LATER[system.scheduler]})}
        with_held = {"held": (":", {"options": HELD[system.scheduler]})}
        plans = {
            "completes": ("echo said; echo and said >&2", {}),
            "fails": ("exit 3", {}),
            "killed": ("kill -9 $$", {}),
            **with_held,
            **with_later,
        }
        return {what: jobs.submit(what, command, **options) for what, (command, options) in plans.items()}

    def ended(self, jobs, job, *states, seconds=0.0):
        """Wait for the end of a job, which is LOST where the scheduler does not tell of such."""
        known = states if jobs.system.history else (*states, State.LOST)
        return jobs.wait(job, *known, seconds=seconds)

    def test_a_job_completes_and_its_output_is_there(self, jobs, begun, system):
        seen = self.ended(jobs, begun["completes"], State.COMPLETED)
        assert seen.exit_code in (0, None)
        assert seen.state is State.LOST or "exit_code" not in system.cannot
        (out,) = system.folder.glob("*.completes.*.out")
        self.becomes(lambda: out.read_text(), "said\n")
        self.becomes(lambda: out.with_suffix(".err").read_text(), "and said\n")

    @staticmethod
    def deleted(jobs, when):
        return DELETED.get(jobs.system.scheduler, {}).get(when, ())

    @staticmethod
    def becomes(read, wanted, seconds=20.0):
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if read() == wanted:
                    return
            assert time.monotonic() < end, f"not {wanted!r}"
            time.sleep(STEP)

    def test_an_exit_code(self, jobs, begun, system):
        seen = self.ended(jobs, begun["fails"], State.FAILED)
        assert seen.state is State.LOST or seen.exit_code == 3

    def test_a_signal(self, jobs, begun):
        seen = self.ended(jobs, begun["killed"], State.FAILED)
        assert seen.state is State.LOST or seen.exit_code == 128 + 9

    def test_a_held_job_is_told_as_held_and_can_be_cancelled(self, jobs, begun):
        assert jobs.wait(begun["held"], State.HELD).words
        assert jobs.cancel([begun["held"]]).ok
        self.ended(jobs, begun["held"], State.CANCELLED, *self.deleted(jobs, "waits"))

    def test_a_job_is_cancelled_while_it_waits(self, jobs, begun):
        seen = jobs.wait(begun["later"], State.PENDING)
        while seen.words == "submitted":
            time.sleep(STEP)
            seen = jobs.look(begun["later"])
        assert seen.state in (State.PENDING, State.HELD), seen
        assert seen.never is False
        assert jobs.cancel([begun["later"]]).ok
        self.ended(jobs, begun["later"], State.CANCELLED, *self.deleted(jobs, "waits"))

    def test_a_job_is_cancelled_while_it_runs_and_nothing_of_it_is_left(self, jobs, system):
        mark = f"4242.{uuid.uuid4().int % 10**9}"
        job = jobs.submit("runs", f"sleep {mark}")
        seen = jobs.wait(job, State.RUNNING)
        assert seen.nodes
        if system.processes is not None:
            self.becomes(lambda: bool(system.processes(mark)), True)
        assert jobs.cancel([job]).ok
        self.ended(jobs, job, State.CANCELLED, *self.deleted(jobs, "runs"))
        if system.processes is not None:
            self.becomes(lambda: system.processes(mark), [])
        again = jobs.cancel([job])
        assert again.ok or jobs.batch.is_gone(again), again

    def test_a_job_that_exceeds_its_walltime(self, jobs, system):
        limit, seconds = system.walltime
        job = jobs.submit("long", "sleep 600", walltime=limit)
        self.ended(jobs, job, State.TIMEOUT, seconds=seconds)

    def test_a_refusal_has_the_schedulers_words(self, jobs, system):
        name = jobs.name("refused")
        script = system.script(name, ":", **{QUEUE[system.scheduler]: "no-such-queue"})
        with pytest.raises(RefusedError, match=r"(?i)queue|partition"):
            jobs.ledger.submit(script, name)

    def test_what_can_never_run_is_told(self, jobs, system):
        name = jobs.name("never")
        script = system.script(name, ":", nodes=TOO_MANY, options=TOO_MUCH.get(system.scheduler, ""))
        try:
            job = jobs.ledger.submit(script, name)
        except RefusedError as error:
            told = str(error)
        else:
            jobs.ids.append(job)
            told = ""
        if told:
            assert re.search("[a-z]{3}", told), "in words, at once"
            return
        seen = jobs.wait(job, State.FAILED)
        assert re.search(r"can never run: .+|unsatisfiable", seen.words), seen
        assert job not in jobs.listed([job]) or jobs.listed([job])[job].state.final

    def test_an_unknown_job_is_absent(self, jobs, begun):
        assert jobs.listed([jobs.unknown(begun["completes"])]) == {}
        answer = jobs.cancel([jobs.unknown(begun["completes"])])
        assert answer.ok or jobs.batch.is_gone(answer), answer

    def test_of_several_jobs_one_is_unknown(self, jobs):
        known = [jobs.submit("several", ":", options=HELD[jobs.system.scheduler]) for _ in range(2)]
        found = jobs.listed([known[0], jobs.unknown(known[0]), known[1]])
        assert sorted(found) == sorted(known)
        assert jobs.cancel(known).ok

    def test_a_job_is_found_by_its_name(self, jobs, system):
        name = jobs.name("named")
        script = system.script(name, ":", options=HELD[system.scheduler])
        job = jobs.ledger.submit(script, name)
        jobs.ids.append(job)
        assert jobs.names()[job] == name
        assert jobs.cancel([job]).ok

    def test_a_final_state_stays_and_nobody_asks_again(self, jobs, begun, system):
        host, clock = Host(system.host), Clock()
        ledger = jobs.new_ledger(host, clock)
        name = jobs.name("final")
        job = ledger.submit(system.script(name, "exit 0"), name)
        jobs.ids.append(job)
        end = time.monotonic() + system.patience
        while not ledger.look([job])[0].state.final:
            assert time.monotonic() < end
            time.sleep(STEP)
        seen, asked = ledger.look([job])[0], len(host.asked)
        host.change = lambda argv, timeout: Completed(argv, 1, "", "whatever")
        for _ in range(20):
            clock.told += 60
            assert ledger.look([job])[0] == seen
        assert len(host.asked) == asked

    def test_a_job_that_vanished_is_lost_and_not_completed(self, jobs, begun, system):
        """The scheduler itself says that it does not know it."""
        unknown = jobs.unknown(begun["completes"])
        submission = jobs.batch.submit_command("x")[:-1]

        def change(argv, timeout):
            return Completed(argv, 0, f"{unknown}\n", "") if argv[: len(submission)] == submission else None

        clock = Clock()
        ledger = jobs.new_ledger(Host(system.host, change), clock)
        assert ledger.submit("/nowhere", "name") == unknown
        states = []
        for _ in range(60):
            states.append(ledger.look([unknown])[0].state)
            clock.told += 5
            if states[-1].final:
                break
        assert set(states) == {State.PENDING, State.LOST}

    def test_an_hour_without_an_answer_changes_nothing_and_starts_nothing(self, jobs, system):
        """The commands themselves say that there is no scheduler; of each such answer one is asked for."""
        prefix = ["env", *(f"{name}={value}" for name, value in UNREACHABLE[system.scheduler].items())]
        said = {}

        def change(argv, timeout):
            if argv not in said:
                real = self.unanswered(system, prefix, argv, timeout)
                said[argv] = Completed(argv, real.exit_code, real.stdout, real.stderr)
            return said[argv]

        host, clock = Host(system.host), Clock(pace=0)
        ledger = jobs.new_ledger(host, clock)
        name = jobs.name("silent")
        job = ledger.submit(system.script(name, "sleep 600"), name)
        jobs.ids.append(job)
        end = time.monotonic() + system.patience
        while ledger.look([job])[0].state is not State.RUNNING:
            assert time.monotonic() < end
            clock.told += 2
            time.sleep(STEP)
        host.change, asked = change, len(host.asked)
        for _ in range(7200):
            assert ledger.look([job])[0].state is State.RUNNING
            clock.told += 0.5
        if any(answer.ok for answer in said.values()):
            jobs.cancel([job])
            pytest.skip(f"it cannot be made unreachable from here, by {UNREACHABLE[system.scheduler]}")
        assert host.submissions(jobs.batch) == 1
        each = len(jobs.batch.status_commands([job]))
        assert len(host.asked) - asked < 100 * each, "and it is asked seldom"
        host.change = None
        for _ in range(60):
            clock.told += 5
            assert ledger.look([job])[0].state is State.RUNNING
        assert jobs.cancel([job]).ok

    @staticmethod
    def unanswered(system, prefix, argv, timeout):
        if system.down is not None:
            with system.down():
                return system.host.run(argv, timeout=2.0)
        return system.host.run([*prefix, *argv], timeout=timeout)

    def test_a_submission_without_an_answer_is_found_again(self, jobs, system):
        """Its command was given up, and the job was submitted all the same."""
        name = jobs.name("ghost")
        script = system.script(name, "sleep 600")
        submission = jobs.batch.submit_command("x")[:-1]
        unanswered = []

        def change(argv, timeout):
            if argv[: len(submission)] != submission or unanswered:
                return None
            unanswered.append(argv)
            if system.silence is not None:
                with system.silence():
                    return system.host.run(argv, timeout=1.0)
            system.host.run(argv, timeout=timeout)
            return Completed(argv, 124, "", "no answer within 30 s")

        host = Host(system.host, change)
        ledger = jobs.new_ledger(host, Clock())
        handle = None
        with contextlib.suppress(UnclearError):
            handle = ledger.submit(script, name)
        end = time.monotonic() + system.patience
        while not self.found_again(ledger, handle, host, jobs.batch):
            assert time.monotonic() < end, jobs.names()
            time.sleep(STEP)
        if handle is not None:
            assert list(jobs.names().values()).count(name) == 1
            assert ledger.cancel([handle]) == [True]
        self.becomes(lambda: name in jobs.names().values(), False)
        assert host.submissions(jobs.batch) == 1

    @staticmethod
    def found_again(ledger, handle, host, batch):
        """Return whether the job is taken on, or cancelled where nobody has a handle of it."""
        if handle is not None:
            return ledger.look([handle])[0].state is State.RUNNING
        ledger.look([])
        cancels = batch.cancel_command(["x"])[:-1]
        return any(argv[: len(cancels)] == cancels for argv in host.asked)

    def test_a_node_that_dies(self, jobs, system):
        if system.fail_node is None:
            pytest.skip("no node can be ended from here")
        job = jobs.submit("node", "sleep 600")
        seen = jobs.wait(job, State.RUNNING)
        repair = system.fail_node(re.split(r"[,\[]", seen.nodes)[0])
        try:
            self.ended(jobs, job, State.FAILED)
        finally:
            repair()

    def test_an_odd_environment_hides_no_job(self, jobs, system):
        if system.scheduler != "pbspro":
            pytest.skip("its answers have no environment")
        job = jobs.submit("odd", ":", options="#PBS -h\n#PBS -v N=007,M=1e5,K=.5,L=x")
        assert jobs.wait(job, State.HELD)
        assert job in jobs.names()
        assert jobs.cancel([job]).ok

    def test_it_tells_of_its_queues(self, system):
        asked = scheduler(system.scheduler)
        answers = [system.host.run(argv) for argv in asked.queue_queries()]
        assert all(answer.ok for answer in answers), answers
        queues = {queue.name: queue for queue in asked.parse_queues([answer.stdout for answer in answers])}
        if (chosen := system.settings.get(QUEUE[system.scheduler])) is not None:
            assert chosen.partition(",")[0] in queues
        assert all(queue.cores_per_node for queue in queues.values() if queue.available), queues

    def test_a_block_runs_tasks_on_each_of_its_nodes_and_goes(self, jobs, system):
        (system.folder / "where.py").write_text(SCRIPT)
        before = jobs.names().keys()
        done = system.run("run", "where.py", *system.site)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.split()) == system.nodes, done.stderr
        self.becomes(lambda: jobs.names().keys() - before, set())

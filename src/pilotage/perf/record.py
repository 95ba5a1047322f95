"""What a benchmark leaves: one record for each configuration that was measured, as JSON with its raw samples.

A *session* is one process that ran parsl-perf (and, where asked for, one more that made calls one after the other); it
is the unit of repetition, since what one process does several times has its luck in common. A record holds the sessions
of one executor of one site under one set of options, with all that is needed to judge and to repeat them.

Nothing in a record is secret: no value of an environment variable, no address, no host's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from pilotage.perf.logged import LoggedRun
from pilotage.statistics import quantile

SCHEMA_VERSION: Literal[1] = 1

Scalar = str | int | float | bool | None
Seconds = NonNegativeFloat


def moment(text: str) -> datetime:
    """Return the time that ISO 8601 tells; without a zone it is taken for UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _moment(text: str) -> str:
    try:
        moment(text).timestamp()
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of all time") from error
    return text


Time = Annotated[str, AfterValidator(_moment)]
"""A time as ISO 8601."""
Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""What stands in tables and figures: no control character, of which a terminal makes what it likes."""


def name_of(text: str) -> str:
    """Return a text as a Name: a space stands for each control character."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text)


class Model(BaseModel):
    """A part of a record: unknown keys are refused, and no number is NaN or infinite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_assignment=True)


class Iteration(Model):
    """One iteration of parsl-perf, by the names that published histories of parsl-perf use."""

    number: PositiveInt
    num_tasks: NonNegativeInt | None = None
    submission_s: Seconds | None = None
    submission_tps: NonNegativeFloat | None = Field(
        default=None, description="Tasks a second while they were submitted."
    )
    runtime_s: Seconds | None = None
    runtime_tps: NonNegativeFloat = Field(description="Tasks a second from the first call to the last result.")
    warm_up: bool = Field(
        default=False, description="Whether it is one of those before parsl-perf had found its number."
    )


class Latency(Model):
    """Calls made one after the other, each waited for: the first ``warm_up`` of them are shown and not judged."""

    samples: list[Seconds] = Field(description="Seconds of each call, in the order of the calls.")
    warm_up: NonNegativeInt = 0


class ColdStart(Model):
    """From the start of the driver's process to its first result, in parts that add up; None where a part is none."""

    driver_s: Seconds | None = Field(
        default=None, description="Interpreter, imports, config, until the block was asked for."
    )
    queue_s: Seconds | None = Field(
        default=None, description="The block waited; None where Parsl did not see it start."
    )
    launch_s: Seconds | None = Field(default=None, description="From there to the start of the manager's process.")
    connect_s: Seconds | None = Field(default=None, description="From there until the interchange knew the manager.")
    first_task_s: Seconds | None = Field(default=None, description="From there to the first result.")
    total_s: Seconds


class Node(Model):
    """A node that workers ran on, without its name."""

    cores: PositiveInt | None = Field(default=None, description="That a worker may use there.")
    cpu: str | None = None
    workers: NonNegativeInt = 0


class Ran(Model):
    """What really ran, as the interchange knew it: not what was asked for."""

    blocks: NonNegativeInt = 0
    managers: NonNegativeInt = 0
    workers: NonNegativeInt = Field(default=0, description="Worker processes, or threads.")
    nodes: list[Node] = []
    python: list[str] = Field(default=[], description="Python versions of the managers.")
    parsl: list[str] = Field(default=[], description="Parsl versions of the managers.")


class Load(Model):
    """How busy the driver's machine was."""

    before: list[NonNegativeFloat] | None = Field(default=None, description="Load averages of 1, 5 and 15 minutes.")
    busy_before: NonNegativeFloat | None = Field(
        default=None, description="Part of its CPU time in use just before, 0 to 1."
    )
    steal: NonNegativeFloat | None = Field(default=None, description="Part of its CPU time that its host took, 0 to 1.")


class Session(Model):
    """One repetition."""

    number: PositiveInt = Field(description="Which repeat of this configuration.")
    order: NonNegativeInt = Field(
        default=0, description="Its place among all sessions of the run: they are interleaved."
    )
    status: Literal["finished", "failed", "cancelled"]
    reason: str = Field(default="", description="Why it has not finished.")
    started: Time = Field(description="ISO 8601, with the zone.")
    elapsed: Seconds | None = None
    iterations: list[Iteration] = []
    latency: Latency | None = None
    cold_start: ColdStart | None = None
    shutdown_s: Seconds | None = Field(
        default=None, description="From parsl-perf's last task to the end of Parsl's clean-up."
    )
    ran: Ran = Ran()
    load: Load = Load()
    marks: list[str] = Field(default=[], description="What a reader should know before trusting it.")

    @property
    def rate(self) -> float | None:
        """Tasks a second of the last iteration, as parsl-perf means it; None of a session that has not finished."""
        if self.status != "finished" or not self.iterations:
            return None
        return self.iterations[-1].runtime_tps


class Options(Model):
    """How it was measured."""

    time_s: Annotated[float, Field(gt=0)] | None = Field(
        description="parsl-perf's --time: what an iteration aims at; None where an imported one does not say."
    )
    repeat: PositiveInt = Field(description="Sessions that were asked for.")
    argsize: NonNegativeInt = Field(default=0, description="parsl-perf's --argsize: bytes that each call carries.")
    workers: PositiveInt | None = Field(
        default=None, description="Workers a node that were asked for; None: the site's own."
    )
    latency: bool = False
    seed: int | None = None
    interleaved_with: list[str] = Field(default=[], description="Ids of the records measured in turn with it.")


class Machine(Model):
    """The driver's machine. ``id`` tells machines apart without naming them."""

    id: str
    cpu: str
    cores: PositiveInt = Field(description="Logical ones of the machine.")
    usable_cores: PositiveInt = Field(description="After affinity and cgroup limits.")
    memory_bytes: NonNegativeInt
    cgroup_cpus: NonNegativeFloat | None = Field(default=None, description="CPU quota of the cgroup, in cores.")
    cgroup_memory_bytes: NonNegativeInt | None = None
    kernel: str
    system: str = ""


class Revision(Model):
    """State of a git checkout."""

    commit: str
    branch: str | None = None
    dirty: bool = False
    date: str | None = Field(default=None, description="Of the commit, ISO 8601.")


class Record(Model):
    """A benchmark of one executor of one site."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", description="Begins with the id of the run, if there is.")
    created: Time = Field(description="ISO 8601, with the zone.")
    origin: Literal["measured", "imported", "simulated"] = "measured"
    source: str = Field(default="", description="Where an imported one comes from.")
    runs: list[str] = Field(default=[], description="The runs that measured it: several where one was resumed.")
    site: Name
    scheduler: Name
    executor: Name = Field(description="Short name of its class: htex, threads, ...")
    label: Name = Field(default="", description="The executor's label.")
    options: Options
    sessions: list[Session] = []
    parameters: dict[str, Scalar] = Field(
        default={},
        description="Of the resolved Parsl config: cores_per_worker, nodes_per_block, cores_per_node, min_blocks, "
        "max_blocks, max_nodes, max_cores, and executor.*, provider.*, launcher.*, config.*: each constructor's.",
    )
    versions: dict[str, str] = {}
    machine: Machine | None = None
    revisions: dict[str, Revision] = Field(
        default={}, description="'pilotage': its checkout; 'here': of the current folder."
    )
    marks: list[str] = Field(default=[], description="What a reader should know before trusting it.")
    imported: LoggedRun | None = Field(
        default=None, description="All that the store of an imported one held, also what has a field here."
    )

    @property
    def time(self) -> datetime:
        """When it was made."""
        return moment(self.created)

    @property
    def complete(self) -> bool:
        """Whether every session that was asked for has finished."""
        return len(self.finished) >= self.options.repeat

    @property
    def finished(self) -> list[Session]:
        """The sessions whose numbers count."""
        return [session for session in self.sessions if session.status == "finished"]

    @property
    def ran(self) -> Ran:
        """What ran in the session that had the most workers."""
        return max(
            (session.ran for session in self.sessions), key=lambda ran: (ran.workers, ran.managers), default=Ran()
        )

    @property
    def tags(self) -> dict[str, str]:
        """The tags that published histories of parsl-perf use."""
        return {
            "Parsl version": self.versions.get("parsl", ""),
            "Parsl Executor": str(self.parameters.get("executor.class") or self.executor),
            "Parsl Provider": str(self.parameters.get("provider.class") or ""),
        }

    @property
    def configuration(self) -> tuple[str, str, str, str, int | None, int, bool]:
        """What two records must share for one to be the other's past."""
        options = self.options
        return self.site, self.scheduler, self.executor, self.label, options.workers, options.argsize, options.latency

    def values(self, metric: str) -> list[float]:
        """Return one number of each finished session that has it; raises KeyError for an unknown metric."""
        found = [METRICS[metric].of(session) for session in self.finished]
        return [value for value in found if value is not None]

    def to_json(self) -> str:
        """Return the record as it is written to a file."""
        return self.model_dump_json(indent=1, exclude_defaults=False) + "\n"


@dataclass(frozen=True)
class Metric:
    """A number of a session: ``of`` returns it in ``unit``, None where the session has none."""

    name: str
    title: str
    unit: str
    more_is_better: bool
    of: Callable[[Session], float | None]


def _latency(probability: float) -> Callable[[Session], float | None]:
    def of(session: Session) -> float | None:
        latency = session.latency
        judged = latency.samples[latency.warm_up :] if latency is not None else []
        return quantile(judged, probability) if judged else None

    return of


def _submission(session: Session) -> float | None:
    return session.iterations[-1].submission_tps if session.iterations else None


METRICS = {
    metric.name: metric
    for metric in (
        Metric("rate", "throughput", "tasks/s", True, lambda session: session.rate),
        Metric("submission", "submission", "tasks/s", True, _submission),
        Metric("latency_p50", "latency of one call, median", "s", False, _latency(0.5)),
        Metric("latency_p99", "latency of one call, p99", "s", False, _latency(0.99)),
        Metric("cold_start", "cold start", "s", False, lambda s: s.cold_start.total_s if s.cold_start else None),
        Metric("shutdown", "shutdown", "s", False, lambda session: session.shutdown_s),
    )
}
"""What is compared, by name; one number a session."""

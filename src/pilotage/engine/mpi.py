"""Parsl's MPIExecutor as ours: MPI programs on the nodes of a block, several at once, under our manager."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import parsl.executors
import typeguard
from parsl.executors.errors import InvalidResourceSpecification

from pilotage.engine.executor import ADDED, MPI_KEYS, HighThroughputExecutor, extended, keyword_only

COUNTS = ("num_nodes", "num_ranks", "ranks_per_node")


class MPIExecutor(HighThroughputExecutor, parsl.executors.MPIExecutor):
    """Runs calls that say how many nodes and ranks they want (``parsl_resource_specification``).

    Parameters
    ----------
    arguments: those of ``parsl.executors.MPIExecutor`` and of our executor; calls never travel together.
    mpi_program: what starts ranks: srun, mpiexec, openmpi, mpich, pals, aprun or flux.
    mpi_options: more options for each start, as shell words.
    """

    @typeguard.typechecked
    def __init__(self, *arguments: Any, mpi_program: str = "mpiexec", mpi_options: str = "", **named: Any) -> None:
        # Parsl's takes a string for it, with which it could not start one.
        interchange: Sequence[str] | None = named.pop("interchange_launch_cmd", None)
        super().__init__(*arguments, **{**named, "coalesce": False})
        if interchange is not None:
            self.interchange_launch_cmd = interchange
        self.mpi_program = mpi_program
        self.mpi_options = mpi_options

    @property
    def workers_per_node(self) -> float:
        """MPI programs at once, for each node of a block: a number by which Parsl multiplies its nodes."""
        return self.max_workers_per_block / self._nodes()

    def submit(  # type: ignore[override]
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Send a call to the workers. Raises InvalidResourceSpecification where it could never run."""
        return super().submit(func, whole_specification(resource_specification, self._nodes()), *args, **kwargs)

    def validate_resource_spec(self, resource_specification: dict[str, Any]) -> None:
        """Raise InvalidResourceSpecification where a call could never run."""
        whole_specification(resource_specification, self._nodes())

    def _nodes(self) -> int:
        return int(getattr(self.provider, "nodes_per_block", 1) or 1)

    def _managers_a_block(self) -> int:
        return 1

    def _pool_options(self) -> list[str]:
        options = [f"--mpi-options={self.mpi_options}"] if self.mpi_options else []
        return ["--mpi", self.mpi_program, *options]


def whole_specification(given: Mapping[str, Any], nodes_of_block: int) -> dict[str, Any]:
    """Return a resource specification with all its numbers, each of which follows from the others where it is missing.

    Raises InvalidResourceSpecification where they make no sense, or no block has so many nodes.
    """
    if not given:
        raise InvalidResourceSpecification(
            set(), "an app of an MPI site needs parsl_resource_specification, such as {'num_nodes': 1, 'num_ranks': 2}"
        )
    if unknown := set(given) - MPI_KEYS:
        raise InvalidResourceSpecification(unknown, f"an MPI site knows {', '.join(sorted(MPI_KEYS))}")
    nodes, ranks, each = (_count(given, name) for name in COUNTS)
    if nodes is None:
        nodes = math.ceil(ranks / each) if ranks and each else 1
    if ranks is None:
        ranks = nodes * (each or 1)
    if each is None:
        each = math.ceil(ranks / nodes)
    if ranks < nodes or ranks > nodes * each:
        words = f"{ranks} ranks do not fit on {nodes} nodes with {each} on each"
        raise InvalidResourceSpecification({"num_ranks"}, words)
    if nodes > nodes_of_block:
        words = f"{nodes} nodes are wanted, and a block of this site has {nodes_of_block} (nodes_per_block)"
        raise InvalidResourceSpecification({"num_nodes"}, words)
    options = {"launcher_options": str(given["launcher_options"])} if given.get("launcher_options") else {}
    return {"num_nodes": nodes, "num_ranks": ranks, "ranks_per_node": each, **options}


def _count(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise InvalidResourceSpecification({name}, f"{name} = {value!r} is no number of one or more")
    return number


_OWN = keyword_only(MPIExecutor.__init__)
MPIExecutor.__init__.__signature__ = extended(parsl.executors.MPIExecutor, [*ADDED, *_OWN])  # type: ignore[attr-defined]

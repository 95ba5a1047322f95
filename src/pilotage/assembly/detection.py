"""What a machine has to run workers on: schedulers, their queues, accounts, cores and GPUs; and a site made of it."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import tomlkit
from tomlkit.items import Table

from pilotage import system
from pilotage.hosts.base import Host
from pilotage.schedulers import scheduler
from pilotage.schedulers.base import Queue

BATCH_SCHEDULERS = ("slurm", "pbspro", "gridengine", "flux")


@dataclass(frozen=True)
class Found:
    """One scheduler of a machine, with what it says of itself; ``problems`` are its own words where it did not."""

    scheduler: str
    queues: Sequence[Queue] = ()
    accounts: Sequence[str] = ()
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Machine:
    """What was found: batch schedulers (best first), cores and GPUs of the machine itself."""

    cores: int
    gpus: int
    found: Sequence[Found] = field(default=())


def detect(host: Host) -> Machine:
    """Ask ``host`` what it has; a scheduler counts when all its commands are there."""
    present = [name for name in BATCH_SCHEDULERS if all(map(host.has, scheduler(name).commands))]
    return Machine(system.usable_cores(), _gpus(host), [_ask(host, name) for name in present])


def _ask(host: Host, name: str) -> Found:
    asked = scheduler(name)
    answers = [host.run(argv) for argv in asked.queue_queries()]
    problems = [
        f"{' '.join(answer.argv)}: {answer.stderr.strip() or f'exit code {answer.exit_code}'}"
        for answer in answers
        if not answer.ok
    ]
    queues = asked.parse_queues([answer.stdout for answer in answers]) if answers else []
    accounts: list[str] = []
    user = getpass.getuser()
    query = asked.account_query(user)
    if query is not None:
        answer = host.run(query)
        # A cluster without accounting says so with an error; it simply has no accounts to choose from.
        accounts = asked.parse_accounts(answer.stdout, user) if answer.ok else []
    return Found(name, queues, accounts, problems)


def _gpus(host: Host) -> int:
    # NVIDIA's and AMD's tools; Intel's are named by tile, which a count would not tell.
    for argv, each in ((["nvidia-smi", "-L"], r"^GPU \d+"), (["rocm-smi", "--showid"], r"^GPU\[\d+\]")):
        if host.has(argv[0]):
            answer = host.run(argv)
            found = set(re.findall(each, answer.stdout, re.MULTILINE)) if answer.ok else set()
            if found:
                return len(found)
    return 0


QUEUE_KEY = {"slurm": "partition", "pbspro": "queue", "gridengine": "queue", "flux": "queue"}
ACCOUNT_KEY = {"slurm": "account", "pbspro": "account", "flux": "bank"}
CORES_KEY = {"slurm": "cores_per_node", "pbspro": "cpus_per_node", "flux": "cores_per_node"}


def site_table(
    machine: Machine, found: Found | None, queue: Queue | None, account: str | None, nodes: int = 1
) -> Table:
    """Return a commented TOML table for a site on what was found (None: this machine itself)."""
    return _local_table(machine) if found is None else _batch_table(found, queue, account, nodes)


def _local_table(machine: Machine) -> Table:
    table = _new_table(f"this machine: {machine.cores} cores, {machine.gpus} GPUs")
    _put(table, "scheduler", "local")
    if machine.gpus:
        _put(table, "available_accelerators", machine.gpus, "each worker is pinned to one GPU")
        _put(table, "max_workers_per_node", machine.gpus)
    else:
        _put(table, "max_workers_per_node", machine.cores, "one worker a core")
    _put(table, "min_blocks", 1)
    return table


def _batch_table(found: Found, queue: Queue | None, account: str | None, nodes: int) -> Table:
    name = found.scheduler
    table = _new_table("blocks are batch jobs; `pilotage site show NAME --script` shows one")
    _put(table, "scheduler", name)
    if queue is not None:
        _put(table, QUEUE_KEY[name], queue.name, _limits(queue))
    if name in ACCOUNT_KEY and account:
        _put(table, ACCOUNT_KEY[name], account, "charged for the node-hours")
    _put(table, "nodes_per_block", nodes, "nodes in one job")
    _put(table, "init_blocks", 1, "jobs submitted at the start")
    _put(table, "min_blocks", 0, "jobs kept while there is nothing to do")
    _put(table, "max_blocks", 1, "jobs at most")
    _put(table, "walltime", _walltime(queue), "of one job, HH:MM:SS")
    if queue is not None and queue.cores_per_node and name in CORES_KEY:
        _put(table, CORES_KEY[name], queue.cores_per_node)
    if queue is not None and queue.gpus_per_node:
        _gpu_keys(table, name, queue.gpus_per_node)
    elif queue is not None and queue.cores_per_node:
        _put(table, "max_workers_per_node", queue.cores_per_node, "one worker a core")
    if nodes > 1 and name in ("slurm", "pbspro"):
        launcher = tomlkit.inline_table()
        launcher.update({"class": "srun" if name == "slurm" else "mpiexec"})
        _put(table, "launcher", launcher, "starts a manager on each node")
    return table


def _gpu_keys(table: Table, name: str, gpus: int) -> None:
    if name in ("slurm", "flux"):
        _put(table, "gpus_per_node", gpus)
    elif name == "pbspro":
        _put(table, "select_options", f"ngpus={gpus}")
    _put(table, "available_accelerators", gpus, "each worker is pinned to one GPU")
    _put(table, "max_workers_per_node", gpus)


def _new_table(comment: str) -> Table:
    table = tomlkit.table()
    table.add(tomlkit.comment(comment))
    return table


def _put(table: Table, key: str, value: Any, comment: str | None = None) -> None:
    item = tomlkit.item(value)
    if comment:
        item.comment(comment)
    table.add(key, item)


def _limits(queue: Queue) -> str:
    parts = [
        f"at most {queue.max_walltime}" if queue.max_walltime else "",
        f"{queue.max_nodes} nodes" if queue.max_nodes else "",
        f"{queue.cores_per_node} cores a node" if queue.cores_per_node else "",
        f"{queue.gpus_per_node} GPUs a node" if queue.gpus_per_node else "",
    ]
    return ", ".join(part for part in parts if part) or "no limits known"


def _walltime(queue: Queue | None) -> str:
    default = "00:30:00"
    limit = queue.max_walltime if queue is not None else None
    if limit is None:
        return default
    longest: str = min(default, limit, key=lambda text: [int(part) for part in text.split(":")])
    return longest

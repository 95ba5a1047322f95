"""What a machine has to run workers on: schedulers, their queues, accounts, cores and GPUs; and a site made of it."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import tomlkit
from tomlkit.items import Table

from pilotage import system
from pilotage.hosts.base import Host
from pilotage.hosts.openssh import OpenSSHHost
from pilotage.schedulers import scheduler
from pilotage.schedulers.base import Queue

TELL = (
    "import sys\n"
    "from importlib import metadata\n"
    "def version(name):\n"
    "    try: return metadata.version(name)\n"
    "    except metadata.PackageNotFoundError: return ''\n"
    "print(sys.executable, '%d.%d' % sys.version_info[:2], version('parsl'), version('pilotage'), sep='\\n')"
)
"""Prints a Python's path, its version, and those of Parsl and pilotage, empty where they are not there."""
PILOTAGES = 'for shell in "sh -c" "sh -lc"; do $shell "command -v pilotage" 2>/dev/null; done | ' + (
    'while read -r found; do sed -n "1s/^#! *//p" "$found"; done'
)
"""For ``sh -c``: print the Python of each pilotage on the PATH, of a login shell too."""
BATCH_SCHEDULERS = ("slurm", "pbspro", "gridengine", "flux")


@dataclass(frozen=True)
class Found:
    """One scheduler of a machine, with what it says of itself; ``problems`` are its own words where it did not."""

    scheduler: str
    queues: Sequence[Queue] = ()
    accounts: Sequence[str] = ()
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Login:
    """A machine that is another than this one: as ssh knows it, and the Python that workers may have there.

    ``python`` is None where none has the driver's versions; ``remark`` says then what there is.
    """

    destination: str
    python: str | None
    remark: str = ""


@dataclass(frozen=True)
class Machine:
    """What was found: batch schedulers (best first), cores and GPUs of the machine itself; how it is reached."""

    cores: int
    gpus: int
    found: Sequence[Found] = field(default=())
    login: Login | None = None


def detect(host: Host) -> Machine:
    """Ask ``host`` what it has; a scheduler counts when all its commands are there. Raises HostError."""
    login = _login(host) if isinstance(host, OpenSSHHost) else None
    present = [name for name in BATCH_SCHEDULERS if all(map(host.has, scheduler(name).commands))]
    return Machine(_cores(host, login), _gpus(host), [_ask(host, name) for name in present], login)


def _cores(host: Host, login: Login | None) -> int:
    if login is None:
        return system.usable_cores()
    said = host.run(["nproc"]).stdout.strip()
    return int(said) if said.isdecimal() else 1


def _login(host: OpenSSHHost) -> Login:
    """Look for a Python with the versions that the driver has."""
    wanted = [".".join(map(str, sys.version_info[:2])), *(metadata.version(name) for name in ("parsl", "pilotage"))]
    seen: dict[str, list[str]] = {}
    for candidate in _pythons(host):
        lines = host.run([candidate, "-I", "-c", TELL]).stdout.splitlines()
        if len(lines) == 4:
            if lines[1:] == wanted:
                return Login(host.destination, lines[0])
            seen[lines[0]] = lines[1:]
    told = [f"{path} ({_in_words(versions)})" for path, versions in seen.items()]
    there = f"; there is {', '.join(told[:3])}" if told else ""
    return Login(host.destination, None, f"no {_in_words(wanted)} was found there{there}")


def _in_words(versions: Sequence[str]) -> str:
    named = zip(("Python", "Parsl", "pilotage"), versions, strict=True)
    return ", ".join(f"{name} {version}" if version else f"no {name}" for name, version in named)


def _pythons(host: OpenSSHHost) -> list[str]:
    """Return where a Python may be there, the likeliest first: that of its pilotage, the driver's path, usual ones."""
    minor = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    home = host.identity().home
    usual = [f"{home}/{folder}/bin/python" for folder in ("venv", ".venv", "miniforge3", "miniconda3")]
    said = host.run(["sh", "-c", PILOTAGES]).stdout.split()
    return list(dict.fromkeys([*said, sys.executable, *usual, minor, "python3"]))


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
    user = host.identity().user if isinstance(host, OpenSSHHost) else getpass.getuser()
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
    if found is not None:
        return _batch_table(found, queue, account, nodes, machine.login)
    return _local_table(machine) if machine.login is None else _pool_table(machine, machine.login)


def _pool_table(machine: Machine, login: Login) -> Table:
    table = _new_table(f"a host without a scheduler: {machine.cores} cores, {machine.gpus} GPUs; add more to hosts")
    _put(table, "scheduler", "ssh")
    _put(table, "hosts", [login.destination], "a block is one of them")
    _put_python(table, login)
    if machine.gpus:
        _put(table, "available_accelerators", machine.gpus, "each worker is pinned to one GPU")
    _put(table, "max_workers_per_node", machine.gpus or machine.cores)
    return table


def _put_python(table: Table, login: Login) -> None:
    if login.python is not None:
        _put(table, "python", login.python, "has the driver's versions of Parsl and pilotage")
        return
    table.add(tomlkit.comment(login.remark))
    environment = tomlkit.inline_table()
    environment["kind"] = "venv"
    _put(table, "environment", environment, "what the driver has is taken along and installed there")


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


def _batch_table(
    found: Found, queue: Queue | None, account: str | None, nodes: int, login: Login | None = None
) -> Table:
    name = found.scheduler
    table = _new_table("blocks are batch jobs; `pilotage site show NAME --script` shows one")
    _put(table, "scheduler", name)
    if login is not None:
        _put(table, "login", login.destination, "the scheduler's commands are run there, by SSH")
        _put_python(table, login)
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

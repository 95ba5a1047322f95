"""A genuine cluster of several hosts on one Linux machine, without containers; what all kinds have in common.

A head, which is the login host too, and nodes, each a `Host` with a network of its own, joined by a bridge in the head.
They share the machine's files, and each has its own ``/tmp``, ``/run`` and ``/dev/shm``. The programs are Debian's
packages, laid over ``/usr`` on the hosts alone.
"""

from __future__ import annotations

import abc
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from pilotage.clusters import hosts, laptop, packages
from pilotage.clusters.hosts import Host
from pilotage.clusters.laptop import HOMES, LAPTOP
from pilotage.clusters.locking import locked
from pilotage.clusters.surroundings import HOME, PRIVATE, address, hosts_file, is_hidden, join, preparation, shared
from pilotage.errors import ClusterError, UnsupportedError
from pilotage.paths import clusters_folder, storage, write_json

HEAD = "head"
MOST = 64
"""Nodes at most."""
AT_ONCE = 16
"""Nodes whose daemons are started at the same time."""
READY = 30.0
"""Seconds in which all nodes are ready for jobs."""


class Lab(abc.ABC):
    """The cluster of one kind on this machine.

    Parameters
    ----------
    folder: what it keeps while it is up; `down` removes it.
    laptop: whether there is one outside, which reaches the head by SSH alone, and sshd on all hosts
        (`pilotage.clusters.laptop`).
    """

    kind: ClassVar[str]
    """As commands name it."""
    title: ClassVar[str]
    """The scheduler's name, for people."""
    needs: ClassVar[tuple[str, ...]]
    """Debian packages."""
    run_folders: ClassVar[tuple[str, ...]] = ()
    """What a host has in ``/run`` before anything runs."""

    def __init__(self, folder: Path | None = None, laptop: bool = False) -> None:
        self.folder = folder or clusters_folder() / f"{self.kind}-lab"
        self.laptop = laptop

    def up(self, nodes: int = 2, cpus: int = 4, share: Sequence[Path] = ()) -> bool:
        """Start it, or what of it is missing; returns whether anything was to be done.

        Parameters
        ----------
        nodes: compute nodes, node1 to nodeN.
        cpus: of each node; more than the machine has is fine.
        share: folders under ``/tmp``, ``/run`` or ``/dev/shm`` that the hosts are to see.

        Raises UnsupportedError where this machine cannot, ClusterError where something fails.
        """
        self._check(nodes)
        wanted = {"nodes": nodes, "cpus": cpus, "options": self._options()}
        with locked(self.folder):
            state = self._state()
            hidden = shared(share, _private(wanted))
            if state and ({key: state.get(key) for key in wanted} != wanted or not _all_in(hidden, state["share"])):
                raise ClusterError(
                    f"another one is up, with {self._described(state)}",
                    hint=f"`pilotage cluster down {self.kind}` ends it",
                )
            if not state:
                for host in hosts.holders(self.folder):  # of one who was killed before the first was noted
                    host.end()
                state = {**wanted, "share": hidden, "hosts": {}}
                self._write(state)
            everyone = _everyone(state)
            missing = [name for name in everyone if name not in self._hosts(state)]
            try:
                if missing:
                    self._start(missing, state)
                self._wait(state)
            except BaseException:
                if missing == everyone:  # it was not there at all before
                    self._down()
                raise
            return bool(missing)

    def down(self) -> bool:
        """End it and remove what it kept; returns whether there was anything."""
        # Where there is nothing, nothing is written; where another is about to start it, that is waited for.
        if not self.is_there and not self.folder.with_suffix(".lock").exists():
            return False
        if os.geteuid() != 0:
            raise self._not_ours()
        with locked(self.folder):
            found = self.is_there
            if found:
                self._down()
        return found

    @property
    def is_there(self) -> bool:
        """Whether there is anything of it."""
        return self.folder.exists() or bool(hosts.holders(self.folder))

    def host(self, name: str) -> Host:
        """Return a host that is up; raises ClusterError, to others than root too."""
        state = self._state()
        found = self._hosts(state) if state else {}
        if name not in found:
            if not state:
                raise ClusterError("no cluster is up", hint=f"start it with `pilotage cluster up {self.kind}`")
            if name in _everyone(state):
                raise ClusterError(f"{name} is down", hint=f"`{self._command(state)}` starts it again")
            raise ClusterError(f"there is no host {name!r}", hint=f"up: {', '.join(found)}")
        if os.geteuid() != 0:
            raise self._not_ours()
        return found[name]

    def status(self) -> dict[str, Any]:
        """Return its hosts, and the nodes' states as the scheduler has them; ``up`` is False where there is none."""
        state = self._state()
        found = self._hosts(state) if state else {}
        told: dict[str, Any] = {"kind": self.kind, "up": HEAD in found, "hosts": [], "folder": str(self.folder)}
        if not state:
            return told
        told["options"] = state.get("options", {})
        words: dict[str, str] = {}
        if HEAD in found:
            with contextlib.suppress(ClusterError):
                words = self._states(found[HEAD])
        for number, name in enumerate(_everyone(state)):
            where = laptop.OWN if name == LAPTOP else address(number)
            host = {"name": name, "address": where, "up": name in found, "scheduler": words.get(name, "")}
            told["hosts"].append(host)
        return told

    def visible(self, folder: Path) -> Path:
        """Return a folder that all hosts see; raises ClusterError where they have another one of that name."""
        state, path = self._state() or {}, folder.resolve()
        if is_hidden(path, _private(state)) and not _all_in([str(path)], state.get("share", ())):
            raise ClusterError(
                f"the hosts have a {'/'.join(path.parts[:2])[1:]} of their own and do not see {path}",
                hint="work under another folder, or start the cluster with --share FOLDER",
            )
        return path

    # What a kind is.

    @abc.abstractmethod
    def _configure(self, state: Any, roots: Sequence[Path]) -> None:
        """Write what the hosts and daemons read; ``etc`` is laid over ``/etc``, ``roots`` have the programs."""

    @abc.abstractmethod
    def _begin(self, host: Host) -> None:
        """Start the daemons of a host."""

    @abc.abstractmethod
    def _states(self, head: Host) -> dict[str, str]:
        """Return the states of the nodes that the scheduler knows, in its words; raises ClusterError."""

    @abc.abstractmethod
    def _takes_jobs(self, words: str) -> bool:
        """Return whether a node in that state can be given a job, or has one."""

    def _options(self) -> dict[str, Any]:
        """Return what else tells this cluster from another of its kind."""
        return {"laptop": True} if self.laptop else {}

    def _described(self, state: Any) -> str:
        share = f" and --share {' '.join(state['share'])}" if state["share"] else ""
        outside = " and a laptop" if _has_laptop(state) else ""
        return f"{state['nodes']} nodes of {state['cpus']} CPUs{outside}{share}"

    def _command(self, state: Any) -> str:
        """Return the command that starts one like it, or what of it is missing."""
        outside = " --laptop" if _has_laptop(state) else ""
        return f"pilotage cluster up {self.kind} --nodes {state['nodes']} --cpus {state['cpus']}{outside}"

    def _programs(self) -> list[Path]:
        """Return the folders where the programs are unpacked."""
        return [packages.fetch(self.needs)]

    # What all kinds do.

    def _check(self, nodes: int) -> None:
        instead = "`pilotage cluster up slurm --docker --dry-run` prints a compose file"
        if sys.platform != "linux":
            raise UnsupportedError("a cluster needs Linux's namespaces", hint=instead)
        if os.geteuid() != 0:
            raise UnsupportedError("only root may make the hosts of a cluster", hint=f"use sudo; or {instead}")
        for program in ("unshare", "nsenter", "setsid", "mount"):
            if shutil.which(program) is None:
                raise UnsupportedError(f"{program} is not installed", hint="it is in Debian's util-linux")
        if not 1 <= nodes <= MOST:
            raise ClusterError(f"{nodes} nodes: from 1 to {MOST} can be made")

    def _state(self) -> Any:
        try:
            return json.loads((self.folder / "state.json").read_text())
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise self._not_ours() from error
        except (OSError, ValueError) as error:
            raise ClusterError(f"the cluster's state cannot be read: {error}", where=str(self.folder)) from error

    def _not_ours(self) -> ClusterError:
        return ClusterError(f"the {self.title} of this machine is root's", hint="use sudo")

    def _write(self, state: Any) -> None:
        with storage(self.folder):
            self.folder.mkdir(mode=0o755, exist_ok=True)
            write_json(self.folder / "state.json", state)

    @staticmethod
    def _hosts(state: Any) -> dict[str, Host]:
        """Return the hosts that are up and have their daemons."""
        begun = {name: known for name, known in state["hosts"].items() if known.get("begun")}
        found = {name: Host(name, known, _home(name, state)) for name, known in begun.items()}
        return {name: host for name, host in found.items() if host.is_up}

    def _start(self, missing: Sequence[str], state: Any) -> None:
        everyone = _everyone(state)
        if HEAD in missing:  # the bridge goes with it, and its view of the nodes
            for host in self._hosts(state).values():
                host.end()
            missing = everyone
        roots = self._write_all(state)
        found = self._hosts(state)
        for name in missing:
            found[name] = self._host(name, state, roots)
        for name in missing:
            if name == LAPTOP:
                laptop.join(found[HEAD], found[name], self.folder)
            else:
                join(found[HEAD], found[name], everyone.index(name))
        heads, others = [name for name in missing if name == HEAD], [name for name in missing if name != HEAD]
        for some in (heads, others):
            with ThreadPoolExecutor(AT_ONCE) as pool:  # some daemons take a second and do nothing in it
                list(pool.map(lambda name: self._begin_all(found[name], state), some))
            state["hosts"] |= {name: {**found[name].known, "begun": True} for name in some}
            self._write(state)

    def _write_all(self, state: Any) -> list[Path]:
        """Write what the hosts read, and return where the programs are."""
        roots, inside = self._programs(), names(state["nodes"])
        with storage(self.folder):
            for name in ("log", "etc"):
                (self.folder / name).mkdir(mode=0o755, exist_ok=True)
            (self.folder / "etc/hosts").write_text(hosts_file(inside))
            self._configure(state, roots)
            if _has_laptop(state):
                roots = [*roots, packages.fetch(laptop.NEEDS)]
                laptop.configure(self.folder, inside, roots)
        return roots

    def _host(self, name: str, state: Any, roots: Sequence[Path]) -> Host:
        """Start a host without its daemons."""
        ready = self.folder / f"{name}.ready"
        for half_started in hosts.holders(ready):
            half_started.end()
        prepare = self.folder / f"{name}.sh"
        share = [Path(path) for path in state["share"]]
        run = (*self.run_folders, "lock")
        if name == LAPTOP:  # it has nothing of a cluster
            etc, home = self.folder / "laptop/etc", self.folder / "home/laptop"
            text = preparation(name, self.folder, roots[-1:], share, etc=etc, home=home)
        else:
            shared_home = self.folder / "home/cluster" if _has_laptop(state) else None
            text = preparation(name, self.folder, roots, share, run, home=shared_home)
        prepare.write_text(text)
        host = hosts.start(name, prepare, ready, self.folder / "log" / f"{name}.log")
        return Host(name, host.known, _home(name, state))

    def _begin_all(self, host: Host, state: Any) -> None:
        """Start the daemons of a host: its scheduler's, and sshd where somebody comes by SSH."""
        if host.name == LAPTOP:
            return
        if _has_laptop(state):
            laptop.begin(host, self.folder, tuple(laptop.DOORS) if host.name == HEAD else (22,))
        self._begin(host)

    def _wait(self, state: Any) -> None:
        """Wait until every node takes jobs."""
        head = self._hosts(state)[HEAD]
        deadline = time.monotonic() + READY
        words = "no answer from the scheduler"
        while time.monotonic() < deadline:
            try:
                states = self._states(head)
                words = ", ".join(f"{name} {told}" for name, told in states.items())
                if len(states) == state["nodes"] and all(map(self._takes_jobs, states.values())):
                    return
            except ClusterError as error:
                words = str(error)
            time.sleep(0.05)
        raise ClusterError(f"not all nodes were ready within {READY:g} s: {words}", where=str(self.folder / "log"))

    def _down(self) -> None:
        for host in hosts.holders(self.folder):
            host.end()
        with storage(self.folder):
            shutil.rmtree(self.folder, ignore_errors=not self.folder.exists())


def names(nodes: int) -> list[str]:
    """Return the names of a cluster's hosts, the head's first."""
    return [HEAD, *(f"node{number}" for number in range(1, nodes + 1))]


def _everyone(state: Any) -> list[str]:
    return [*names(state["nodes"]), LAPTOP] if _has_laptop(state) else names(state["nodes"])


def _has_laptop(state: Any) -> bool:
    return bool(state.get("options", {}).get("laptop"))


def _home(name: str, state: Any) -> str | None:
    """Return where people are at home on a host, None where that is as on this machine."""
    return HOMES["laptop" if name == LAPTOP else "cluster"] if _has_laptop(state) else None


def _private(state: Any) -> tuple[str, ...]:
    """Return the folders that hosts have for themselves."""
    return (*PRIVATE, HOME) if _has_laptop(state) else PRIVATE


def _all_in(paths: Iterable[str], folders: Iterable[str]) -> bool:
    return all(any(Path(path).is_relative_to(folder) for folder in folders) for path in paths)

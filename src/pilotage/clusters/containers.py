"""Clusters of containers, for machines that have Docker: Slurm by the images of giovtorres/slurm-docker-cluster, and
Kubernetes by kind.

What they are made of is a text, which is kept while they are up and by which they are ended.
"""

from __future__ import annotations

import abc
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from pilotage.clusters.locking import locked
from pilotage.errors import ClusterError, UnsupportedError
from pilotage.paths import private_folder, state_folder, storage

COMPOSE = """\
# Slurm in containers: github.com/giovtorres/slurm-docker-cluster, its published image and its volumes.
# `docker compose up -d` starts it; the nodes tell the controller of themselves, in the partition "cpu".
name: pilotage-slurm

x-slurm: &slurm
  image: giovtorres/slurm-docker-cluster:25.11.4
  restart: unless-stopped
  environment:
    COMPOSE_PROJECT_NAME: pilotage-slurm
    MYSQL_USER: slurm
    MYSQL_PASSWORD: slurm
    MYSQL_DATABASE: slurm_acct_db
  volumes:
    - etc_munge:/etc/munge
    - etc_slurm:/etc/slurm
    - slurm_jobdir:/data
    - var_log_slurm:/var/log/slurm

services:
  mysql:
    image: mariadb:12
    hostname: mysql
    environment:
      MARIADB_RANDOM_ROOT_PASSWORD: "yes"
      MARIADB_DATABASE: slurm_acct_db
      MARIADB_USER: slurm
      MARIADB_PASSWORD: slurm
    volumes:
      - var_lib_mysql:/var/lib/mysql
    healthcheck:
      test: ["CMD", "healthcheck.sh", "--connect", "--innodb_initialized"]
      interval: 5s
      retries: 24

  slurmdbd:
    <<: *slurm
    command: ["slurmdbd"]
    hostname: slurmdbd
    depends_on:
      mysql:
        condition: service_healthy
    healthcheck:
      test: ["CMD-SHELL", "pidof slurmdbd"]
      interval: 5s
      retries: 24

  slurmctld:
    <<: *slurm
    command: ["slurmctld"]
    hostname: slurmctld
    privileged: true
    working_dir: /data
    depends_on:
      slurmdbd:
        condition: service_healthy
    healthcheck:
      test: ["CMD-SHELL", "scontrol ping"]
      interval: 5s
      retries: 24

  # Its name is fixed: by it a container finds out which node it is.
  cpu-worker:
    <<: *slurm
    command: ["slurmd-cpu"]
    privileged: true
    working_dir: /data
    deploy:
      replicas: {nodes}
    depends_on:
      slurmctld:
        condition: service_healthy

volumes:
  etc_munge:
  etc_slurm:
  slurm_jobdir:
  var_lib_mysql:
  var_log_slurm:
"""
KIND_HEAD = """\
# Kubernetes in Docker: `kind create cluster --config -` reads this. The site `kind` uses it.
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: kind
nodes:
  - role: control-plane
"""
KIND_WORKER = "  - role: worker\n"


class Containers(abc.ABC):
    """A cluster of containers.

    Parameters
    ----------
    folder: what is kept while it is up.
    """

    kind: ClassVar[str]
    """As commands name it."""
    name: ClassVar[str]
    """Of its folder."""
    asked: ClassVar[tuple[str, ...]]
    """What answers where it can be had."""
    again: ClassVar[str]
    """What is said to print what it is made of."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state_folder() / "clusters" / self.name

    @property
    def file(self) -> Path:
        """What it is made of, while it is up."""
        return self.folder / "cluster.yaml"

    @property
    def is_there(self) -> bool:
        """Whether there is anything of it that was started here."""
        return self.file.exists()

    @abc.abstractmethod
    def text(self, nodes: int) -> str:
        """Return what a cluster of so many compute nodes is made of."""

    def up(self, nodes: int, *, quiet: bool = False) -> bool:
        """Start it, or what of it is missing; returns whether there was none before.

        Raises UnsupportedError where a program is missing, ClusterError where one fails; nothing is left then.
        """
        if shutil.which(self.asked[0]) is None:
            self._refuse(f"{self.asked[0]} is not installed")
        try:
            _run(self.asked, quiet=True)
        except ClusterError as error:
            self._refuse(f"`{' '.join(self.asked)}` does not answer: {error.message}")
        private_folder(self.folder.parent)
        with locked(self.folder):
            text, new = self.text(nodes), not self.is_there
            if not new and self.file.read_text() != text:
                raise ClusterError("one of another shape is up", where=str(self.file), hint=f"`{self._end}` ends it")
            if new:
                if what := self._in_the_way():
                    raise ClusterError(what, hint=f"leave it as it is, or end it; `{self.again}` prints ours")
                private_folder(self.folder)
                with storage(self.file):
                    self.file.write_text(text)
            try:
                self._create(text, new, quiet)
            except BaseException:
                if new:
                    self._remove(quiet=True)
                    self._forget()
                raise
        return new

    def down(self, *, quiet: bool = False) -> bool:
        """End it with its data; returns whether there was one that was started here."""
        if not self.is_there:
            return False
        with locked(self.folder):
            found = self.is_there
            if found:
                self._remove(quiet)
                self._forget()
        return found

    def status(self) -> dict[str, Any]:
        """Return whether it was started here."""
        return {"kind": self.kind, "up": self.is_there, "hosts": [], "folder": str(self.folder)}

    def _refuse(self, reason: str) -> NoReturn:
        raise UnsupportedError(reason, hint=f"`{self.again}` prints what another machine can start")

    def _in_the_way(self) -> str | None:
        """Return what of somebody else's has our name; None where there is no such thing."""
        return None

    @abc.abstractmethod
    def _create(self, text: str, new: bool, quiet: bool) -> None:
        """Start what of it is missing."""

    @abc.abstractmethod
    def _remove(self, quiet: bool) -> None:
        """End it, whatever of it there is."""

    @property
    def _end(self) -> str:
        return f"pilotage cluster down {self.kind}"

    def _forget(self) -> None:
        with storage(self.folder):
            shutil.rmtree(self.folder)


class DockerSlurm(Containers):
    """Slurm in containers."""

    kind = "slurm --docker"
    name = "slurm-docker"
    asked = ("docker", "compose", "version")
    again = "pilotage cluster up slurm --docker --dry-run"

    def text(self, nodes: int) -> str:
        """Return a compose file."""
        return COMPOSE.format(nodes=nodes)

    def _create(self, text: str, new: bool, quiet: bool) -> None:  # noqa: ARG002  compose finds out what is missing
        _run([*self._compose, "up", "-d"], quiet=quiet)

    def _remove(self, quiet: bool) -> None:
        _run([*self._compose, "down", "--volumes", "--remove-orphans"], quiet=quiet)

    @property
    def _compose(self) -> list[str]:
        return ["docker", "compose", "--file", str(self.file)]


class Kind(Containers):
    """Kubernetes in Docker, by kind."""

    kind = "kind"
    name = "kind"
    asked = ("kind", "version")
    again = "pilotage cluster up kind --dry-run"

    def text(self, nodes: int) -> str:
        """Return a configuration of kind's."""
        return KIND_HEAD + KIND_WORKER * nodes

    def _in_the_way(self) -> str | None:
        return "there is a cluster `kind` already that was not started here" if self._exists() else None

    def _create(self, text: str, new: bool, quiet: bool) -> None:
        if new or not self._exists():
            _run(["kind", "create", "cluster", "--config", "-"], quiet=quiet, text=text)

    def _remove(self, quiet: bool) -> None:
        _run(["kind", "delete", "cluster", "--name", "kind"], quiet=quiet)

    @staticmethod
    def _exists() -> bool:
        return "kind" in _run(["kind", "get", "clusters"], quiet=True).split()


def _run(argv: Sequence[str], *, quiet: bool, text: str = "") -> str:
    """Run a program whose words go to stderr, or are returned where it is to be quiet; raises ClusterError."""
    where = subprocess.PIPE if quiet else 2
    try:
        done = subprocess.run(argv, input=text, stdout=where, stderr=where, text=True, check=False)
    except OSError as error:
        raise ClusterError(f"{argv[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        words = ((done.stderr or "") or (done.stdout or "")).strip()
        raise ClusterError(f"exit code {done.returncode}{': ' if words else ''}{words}", where=" ".join(argv))
    return done.stdout or ""

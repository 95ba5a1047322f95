"""``pilotage cluster``: up, down, status, exec."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pilotage.cli.common import command_options
from pilotage.errors import ClusterError, UsageError
from pilotage.output import Output

if TYPE_CHECKING:
    from pilotage.clusters.containers import Containers
    from pilotage.clusters.lab import Lab

LABS = ("slurm", "gridengine")
KINDS = click.Choice([*LABS, "kind"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cluster() -> None:
    """Start and end real clusters on this machine."""


@cluster.command()
@click.argument("kind", type=KINDS)
@click.option("--nodes", type=click.IntRange(1), default=2, show_default=True, help="Compute nodes.")
@click.option("--cpus", type=click.IntRange(1), default=4, show_default=True, help="CPUs that each node claims.")
@click.option(
    "--share",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="A folder under /tmp, /run or /dev/shm that all hosts are to see.",
)
@click.option("--accounting", is_flag=True, help="Slurm with sacct, accounts and QOS.")
@click.option("--laptop", is_flag=True, help="A host outside that reaches the head by SSH alone.")
@click.option("--docker", is_flag=True, help="Slurm in containers, where Docker is.")
@click.option("--dry-run", is_flag=True, help="Print what the containers are made of, and start nothing.")
@command_options
def up(
    output: Output,
    kind: str,
    nodes: int,
    cpus: int,
    share: tuple[Path, ...],
    accounting: bool,
    laptop: bool,
    docker: bool,
    dry_run: bool,
) -> None:
    """Start a cluster, or what of it is missing: root only, or in containers."""
    containers = _containers(kind, docker)
    if accounting and (kind != "slurm" or docker):
        raise UsageError("--accounting is for `pilotage cluster up slurm` alone", hint="in containers it is there")
    if laptop and containers is not None:
        raise UsageError("--laptop is for `pilotage cluster up slurm` and `gridengine` alone")
    if containers is not None:
        _up_in_containers(output, containers, nodes, dry_run)
        return
    if dry_run:
        raise UsageError("--dry-run prints what containers are made of", hint="add --docker, or name kind")
    lab = _lab(kind, accounting, laptop)
    changed = lab.up(nodes, cpus, share)
    told = lab.status()
    names = ", ".join(host["name"] for host in told["hosts"])
    output.text(f"{kind}: {names} {'are' if changed else 'were'} up", {"changed": changed, **told})
    output.say(f"its login host is `head`: pilotage cluster exec head pilotage run SCRIPT --site {kind}-lab")


def _lab(kind: str, accounting: bool, laptop: bool) -> Lab:
    from pilotage.clusters.kinds import LABS as CLASSES
    from pilotage.clusters.slurm import SlurmCluster

    return SlurmCluster(accounting=True, laptop=laptop) if accounting else CLASSES[kind](laptop=laptop)


def _containers(kind: str, docker: bool) -> Containers | None:
    """Return the cluster of containers that is meant, None where it is one of hosts."""
    from pilotage.clusters.containers import DockerSlurm, Kind

    if kind == "kind":
        return Kind()
    if docker and kind != "slurm":
        raise UsageError(f"{kind} is not to be had in containers", hint="--docker is for slurm")
    return DockerSlurm() if docker else None


def _up_in_containers(output: Output, containers: Containers, nodes: int, dry_run: bool) -> None:
    if dry_run:
        text = containers.text(nodes)
        output.text(text, {"text": text})
        return
    changed = containers.up(nodes, quiet=output.quiet)
    output.text(f"{containers.kind}: {'started' if changed else 'was up'}", {"changed": changed, **containers.status()})


@cluster.command()
@click.argument("kind", type=KINDS, required=False)
@click.option("--docker", is_flag=True, help="The Slurm in containers.")
@click.option("--purge", is_flag=True, help="Remove the fetched programs too.")
@command_options
def down(output: Output, kind: str | None, docker: bool, purge: bool) -> None:
    """End a cluster, or all of them, with everything that runs there; nothing of it is left."""
    labs, containers = _meant(kind, docker)
    ended = [lab.kind for lab in labs if lab.down()]
    ended += [one.kind for one in containers if one.down(quiet=output.quiet)]
    text = "\n".join(f"{name}: ended" for name in ended) or f"{kind + ': ' if kind else ''}there was none"
    output.text(text, {"changed": bool(ended), "ended": ended})
    if purge:
        from pilotage.clusters.kinds import purge as remove

        remove()


def _meant(kind: str | None, docker: bool) -> tuple[Sequence[Lab], Sequence[Containers]]:
    from pilotage.clusters.containers import DockerSlurm, Kind
    from pilotage.clusters.kinds import labs

    if kind is None and not docker:
        return labs(), (DockerSlurm(), Kind())
    containers = _containers(kind or "slurm", docker)
    return ((), (containers,)) if containers is not None else (labs(kind), ())


@cluster.command()
@click.argument("kind", type=KINDS, required=False)
@command_options
def status(output: Output, kind: str | None) -> None:
    """Say which hosts are up, and what the schedulers say of them."""
    labs, containers = _meant(kind, docker=False)
    told = [lab.status() for lab in labs]
    rows = [
        (one["kind"], host["name"], host["address"], "up" if host["up"] else "down", host["scheduler"])
        for one in told
        for host in one["hosts"]
    ]
    inside = [one for one in containers if one.is_there]
    rows += [(one.kind, "in containers", "", "up", "") for one in inside]
    told += [one.status() for one in inside]
    output.table(("cluster", "host", "address", "state", "scheduler"), rows, {"clusters": told})
    if not rows:
        output.say("no cluster is up")


@cluster.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--cluster", "kind", type=click.Choice(LABS), help="Of which, where several are up.")
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@command_options
def execute(output: Output, kind: str | None, host: str, command: tuple[str, ...]) -> None:  # noqa: ARG001  every command has it
    """Run COMMAND on HOST, in the current folder, with this terminal and environment."""
    from pilotage.clusters.kinds import the_one

    lab = the_one(kind)
    if command[0] == "--" and len(command) > 1:  # as people write it before a command's own options
        command = command[1:]
    argv = lab.host(host).command(command, str(lab.visible(Path.cwd())))
    try:
        os.execvp(argv[0], argv)  # noqa: S606  its signals, terminal and exit code are the command's
    except OSError as error:
        raise ClusterError(f"{argv[0]} cannot be started: {error.strerror}") from error

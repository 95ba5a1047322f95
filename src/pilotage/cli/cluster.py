"""``pilotage cluster``: up, down, status, exec."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pilotage.cli.common import command_options
from pilotage.errors import ClusterError
from pilotage.output import Output

if TYPE_CHECKING:
    from pilotage.clusters.slurm import SlurmCluster

KINDS = click.Choice(["slurm"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cluster() -> None:
    """Start and end real clusters on this machine."""


def _slurm() -> SlurmCluster:
    from pilotage.clusters.slurm import SlurmCluster

    return SlurmCluster()


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
@command_options
def up(output: Output, kind: str, nodes: int, cpus: int, share: tuple[Path, ...]) -> None:
    """Start a cluster, or what of it is missing; root only."""
    lab = _slurm()
    changed = lab.up(nodes, cpus, share)
    told = lab.status()
    names = ", ".join(host["name"] for host in told["hosts"])
    output.text(f"{kind}: {names} {'are' if changed else 'were'} up", {"changed": changed, **told})
    output.say("its login host is `head`: pilotage cluster exec head pilotage run SCRIPT --site slurm-lab")


@cluster.command()
@click.argument("kind", type=KINDS, default="slurm")
@click.option("--purge", is_flag=True, help="Remove the fetched programs too.")
@command_options
def down(output: Output, kind: str, purge: bool) -> None:
    """End a cluster with everything that runs there; nothing of it is left."""
    was_up = _slurm().down()
    if purge:
        from pilotage.clusters.packages import purge as remove

        remove()
    output.text(f"{kind}: {'ended' if was_up else 'there was none'}", {"changed": was_up})


@cluster.command()
@command_options
def status(output: Output) -> None:
    """Say which hosts are up, and what Slurm says of them."""
    told = _slurm().status()
    rows = [(host["name"], host["address"], "up" if host["up"] else "down", host["slurm"]) for host in told["hosts"]]
    output.table(("host", "address", "state", "Slurm"), rows, told)


@cluster.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@command_options
def execute(output: Output, host: str, command: tuple[str, ...]) -> None:  # noqa: ARG001  every command has it
    """Run COMMAND on HOST, in the current folder, with this terminal and environment."""
    lab = _slurm()
    argv = lab.host(host).command(command, str(lab.visible(Path.cwd())))
    try:
        os.execvp(argv[0], argv)  # noqa: S606  its signals, terminal and exit code are the command's
    except OSError as error:
        raise ClusterError(f"{argv[0]} cannot be started: {error.strerror}") from error

"""The kinds of clusters, by name."""

from __future__ import annotations

from pilotage.clusters import packages
from pilotage.clusters.gridengine import GridEngineCluster
from pilotage.clusters.lab import Lab
from pilotage.clusters.slurm import SlurmCluster
from pilotage.errors import ClusterError

LABS: dict[str, type[Lab]] = {one.kind: one for one in (SlurmCluster, GridEngineCluster)}


def labs(kind: str | None = None) -> list[Lab]:
    """Return the clusters of this machine of one kind, or of all."""
    return [LABS[kind]()] if kind else [one() for one in LABS.values()]


def the_one(kind: str | None = None) -> Lab:
    """Return the cluster of a kind, or the only one that there is; raises ClusterError."""
    if kind:
        return LABS[kind]()
    there = [one for one in labs() if one.is_there]
    if not there:
        known = " or ".join(f"`pilotage cluster up {name}`" for name in LABS)
        raise ClusterError("no cluster is up", hint=f"start one with {known}")
    if len(there) > 1:
        raise ClusterError(
            f"{' and '.join(one.kind for one in there)} are up", hint=f"say which: --cluster {there[0].kind}"
        )
    return there[0]


def purge() -> None:
    """Remove the programs that were fetched; raises ClusterError while a cluster uses them."""
    if used := [one.kind for one in labs() if one.is_there]:
        raise ClusterError(
            f"the fetched programs are in use: {' and '.join(used)} {'is' if len(used) == 1 else 'are'} up",
            hint="`pilotage cluster down --purge` ends all clusters first",
        )
    packages.purge()

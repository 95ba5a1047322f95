"""Blocks as Flux jobs: each is an instance of Flux of its own, in which managers are started on every node.

Parsl has no such provider; its FluxExecutor starts each task as a job of Flux, a Python at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typeguard
from parsl.launchers.base import Launcher
from parsl.providers.cluster_provider import ClusterProvider
from parsl.utils import RepresentationMixin

from pilotage.providers.batch import LedgerJobs
from pilotage.providers.launchers import Flux
from pilotage.providers.scripts import RenderedScript


class FluxProvider(RenderedScript, LedgerJobs, ClusterProvider, RepresentationMixin):  # type: ignore[misc]
    """Blocks as jobs of Flux.

    Parameters
    ----------
    queue, bank: where jobs go and who is charged; the instance's default where not given.
    cores_per_node, gpus_per_node: of each node, asked for; all of a node where ``exclusive``.
    walltime: HH:MM:SS of a block.
    scheduler_options: further lines ``#flux: --option``.
    worker_init: shell lines before the managers are started.
    cmd_timeout: seconds for a command of Flux.

    The others are those of all providers of Parsl.
    """

    scheduler_name = "flux"

    @typeguard.typechecked
    def __init__(
        self,
        queue: str | None = None,
        bank: str | None = None,
        cores_per_node: int | None = None,
        gpus_per_node: int | None = None,
        nodes_per_block: int = 1,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str = "00:10:00",
        scheduler_options: str = "",
        worker_init: str = "",
        cmd_timeout: int = 10,
        exclusive: bool = True,
        launcher: Launcher | None = None,
    ) -> None:
        super().__init__(
            "flux",
            nodes_per_block,
            init_blocks,
            min_blocks,
            max_blocks,
            parallelism,
            walltime,
            launcher=Flux() if launcher is None else launcher,
            cmd_timeout=cmd_timeout,
        )
        self.queue = queue
        self.bank = bank
        self.cores_per_node = cores_per_node
        self.gpus_per_node = gpus_per_node
        self.scheduler_options = scheduler_options
        self.worker_init = worker_init
        self.exclusive = exclusive
        # What the script is rendered with, where no site says more.
        self.settings: Mapping[str, Any] = {
            "queue": queue,
            "bank": bank,
            "cores_per_node": cores_per_node,
            "gpus_per_node": gpus_per_node,
            "scheduler_options": scheduler_options,
            "worker_init": worker_init,
            "exclusive": exclusive,
        }

    def _status(self) -> None:
        """Do nothing: `status` asks the ledger."""

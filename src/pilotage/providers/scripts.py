"""Parsl's batch providers, writing the script that ``pilotage site show --script`` prints.

Every script of a provider passes ``_write_submit_script``; there the rendering of ``schedulers`` takes the place of
Parsl's template, so that what was shown is what is submitted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from parsl.providers import GridEngineProvider as ParslGridEngineProvider
from parsl.providers import PBSProProvider as ParslPBSProProvider
from parsl.providers import SlurmProvider as ParslSlurmProvider
from parsl.providers.errors import ScriptPathError

from pilotage.providers.batch import LedgerJobs
from pilotage.schedulers import scheduler
from pilotage.schedulers.base import Block
from pilotage.schedulers.batch import Batch
from pilotage.schedulers.slurm_jobs import SlurmJobs


class RenderedScript:
    """Mixin for Parsl's ClusterProvider: the script comes from ``schedulers``."""

    scheduler_name: ClassVar[str]
    settings: Mapping[str, Any] = {}
    """The provider's settings as the site gave them; Parsl's constructors rewrite some of their attributes."""
    nodes_per_block: int
    walltime: str
    script_dir: str | None

    def _write_submit_script(
        self,
        template: str,  # noqa: ARG002  Parsl's signature
        script_filename: str,
        job_name: str,
        configs: Mapping[str, Any],
    ) -> None:
        # Grid Engine's provider names no output files; its template puts them beside the script.
        beside = os.path.join(str(configs["submit_script_dir"]), job_name)  # noqa: PTH118  a str for Parsl
        block = Block(
            name=job_name,
            command=configs["user_script"],
            stdout=configs.get("job_stdout_path", beside + ".submit.stdout"),
            stderr=configs.get("job_stderr_path", beside + ".submit.stderr"),
            nodes=self.nodes_per_block,
            tasks_per_node=configs.get("tasks_per_node", 1),
            walltime=self.walltime,
            worker_init=str(self.settings.get("worker_init", "")),
            settings=self.settings,
        )
        try:
            Path(script_filename).write_text(scheduler(self.scheduler_name).render(block), encoding="utf-8")
        except OSError as error:
            raise ScriptPathError(script_filename, error) from error


class SlurmProvider(RenderedScript, LedgerJobs, ParslSlurmProvider):  # type: ignore[misc]  # an int there
    """Parsl's SlurmProvider with our script and our ledger, and a constructor that runs nothing."""

    scheduler_name = "slurm"

    def execute_wait(self, cmd: str, timeout: int | None = None) -> tuple[int, str, str]:  # noqa: ARG002
        """Answer the constructor's question for sacct without asking: the ledger asks when it needs to."""
        return 1, "", "not asked"

    def batch(self) -> Batch:
        """Return Slurm's commands."""
        return SlurmJobs(self.clusters)


class PBSProProvider(RenderedScript, LedgerJobs, ParslPBSProProvider):  # type: ignore[misc]  # an int there
    """Parsl's PBSProProvider with our script and our ledger."""

    scheduler_name = "pbspro"


class GridEngineProvider(RenderedScript, LedgerJobs, ParslGridEngineProvider):  # type: ignore[misc]  # an int there
    """Parsl's GridEngineProvider with our script and our ledger."""

    scheduler_name = "gridengine"

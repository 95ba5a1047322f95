"""Files of a join_app, which runs in this process: it hands them on to the calls that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parsl.data_provider.data_manager import default_staging
from parsl.data_provider.staging import Staging
from parsl.utils import RepresentationMixin

from pilotage.worker.data import things

if TYPE_CHECKING:
    from parsl.data_provider.files import File
    from parsl.dataflow.dflow import DataFlowKernel

INTERNAL = "_parsl_internal"
BROUGHT_BY_PARSL = frozenset({"http", "https", "ftp"})
"""Schemes of its own Files that Parsl brings to a join_app itself."""


class HandingOn(Staging, RepresentationMixin):
    """Leaves Files as they are, but Parsl's own inputs from the web, which its providers bring."""

    def can_stage_in(self, file: File) -> bool:
        """Return whether an input is handed on as it is."""
        return isinstance(file, things.File) or file.scheme not in BROUGHT_BY_PARSL

    def can_stage_out(self, file: File) -> bool:
        """Return that every output is: the calls that are made with it take it to its place."""
        return True


def hand_on(kernel: DataFlowKernel) -> None:
    """Let the join_apps of a kernel hand on Files of any scheme; Parsl knows no other than its own there."""
    internal: Any = kernel.executors[INTERNAL]
    internal.storage_access = [HandingOn(), *default_staging]

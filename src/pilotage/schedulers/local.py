"""This machine: a block is a shell script."""

from __future__ import annotations

from pilotage.schedulers.base import Block, WithoutQueues
from pilotage.schedulers.rendering import render


class Local(WithoutQueues):
    """No scheduler at all; who starts the script says where its output goes."""

    name = "local"
    commands: tuple[str, ...] = ()

    def render(self, block: Block) -> str:
        """Return the script that runs the block."""
        return render("local.sh.j2", block)


LOCAL = Local()

"""This machine: a block is a shell script."""

from __future__ import annotations

from pilotage.schedulers.base import Block, WithoutQueues, render


class Local(WithoutQueues):
    """No scheduler at all."""

    name = "local"
    commands: tuple[str, ...] = ()

    def render(self, block: Block) -> str:
        """Return the script that runs the block."""
        return render("local.sh.j2", block)


LOCAL = Local()

"""A pool of hosts without a scheduler: a block is one manager on one host."""

from __future__ import annotations

from collections.abc import Iterable

from pilotage.schedulers.base import Block, WithoutQueues, render


class SSHPool(WithoutQueues):
    """Hosts that are reached by OpenSSH."""

    name = "ssh"
    commands: tuple[str, ...] = ("ssh",)

    def render(self, block: Block) -> str:
        """Return the script that starts one manager on one of the hosts."""
        hosts = block.settings.get("hosts", ())
        shown = ", ".join(str(host) for host in hosts) if isinstance(hosts, Iterable) else str(hosts)
        return render("ssh.sh.j2", block, hosts=shown)


SSH = SSHPool()

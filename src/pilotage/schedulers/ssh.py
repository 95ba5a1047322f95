"""A pool of hosts without a scheduler: a block is one manager on one host."""

from __future__ import annotations

from collections.abc import Iterable

from pilotage.schedulers.base import Block, WithoutQueues
from pilotage.schedulers.rendering import one_line, render


class SSHPool(WithoutQueues):
    """Hosts that are reached by OpenSSH; who starts the script there says where its output goes."""

    name = "ssh"
    commands: tuple[str, ...] = ("ssh",)

    def render(self, block: Block) -> str:
        """Return the script that starts one manager on one of the hosts, which its head names."""
        hosts = block.settings.get("hosts")
        several = hosts if isinstance(hosts, Iterable) and not isinstance(hosts, str) else [hosts] if hosts else []
        return render("ssh.sh.j2", block, hosts=", ".join(one_line(host, "hosts") for host in several))


SSH = SSHPool()

"""A genuine Grid Engine of several nodes on one machine: sge_qmaster on the head, sge_execd on the nodes.

Debian's build keeps everything under ``/var/lib`` and ``/var/spool``; here ``SGE_ROOT`` is in the cluster's own folder,
as it is on the shared file system of a real one, and the programs learn of it by ``/etc/default/gridengine``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.clusters import gridengine_files, hosts
from pilotage.clusters.hosts import Host
from pilotage.clusters.lab import HEAD, Lab, names

# Debian's commands are wrappers that find out each time what machine this is, with a compiler where there is one; that
# takes several times as long as the command. On the hosts it is known.
TEMPLATES = Path("usr/share/gridengine")
ARCH = """\
#!/bin/sh
[ $# = 0 ] && echo {arch} || exec "$0.debian" "$@"
"""
SPOOL = """\
set -eu
. /etc/default/gridengine
export SGE_ROOT SGE_CELL
PATH=$PATH:/usr/lib/gridengine
there={folder}/qmaster/.complete
if [ ! -e "$there" ]; then
    for name in bin lib utilbin; do
        mkdir -p {folder}/root/$name
        ln -sfn /usr/lib/gridengine {folder}/root/$name/{arch}
    done
    ln -sfn /usr/share/gridengine/util {folder}/root/util
    spoolinit classic libspoolc '{folder}/root/default/common;{folder}/qmaster' init
    for what in {what}; do spooldefaults $what {folder}/spool/$what; done
    spooldefaults managers root
    touch "$there"
fi
"""
# Not configured with the rest: a queue's instances on the nodes are made by a running qmaster alone.
BEGIN = """\
sge_qmaster
tries=0
until qconf -sh > /dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || {{ echo "sge_qmaster does not answer: see {folder}/qmaster/messages" >&2; exit 1; }}
    sleep 0.05
done
qconf -sq all.q > /dev/null 2>&1 || {{ qconf -Msconf {folder}/spool/scheduler && qconf -Aq {folder}/spool/all.q; }}
"""
WHAT = ("configuration", "complexes", "usersets", "adminhosts", "submithosts", "exechosts", "pes")


class GridEngineCluster(Lab):
    """The Grid Engine of this machine."""

    kind = "gridengine"
    title = "Grid Engine"
    needs = ("gridengine-master", "gridengine-client", "gridengine-exec", "iproute2")
    run_folders = ("gridengine",)

    def _programs(self) -> list[Path]:
        return [self.folder / "layer", *super()._programs()]

    def _configure(self, state: Any, roots: Sequence[Path]) -> None:
        layer, *fetched = roots
        # Where the machine has Grid Engine itself, nothing of it is fetched.
        templates = next(path for root in (*fetched, Path("/")) if (path := root / TEMPLATES).exists())
        arch = hosts.run([str(templates / "util/arch")]).strip()
        known = layer / TEMPLATES / "util/arch"
        gridengine_files.place(known, ARCH.format(arch=arch))
        known.chmod(0o755)
        shutil.copy(templates / "util/arch", f"{known}.debian")
        head, *nodes = names(state["nodes"])
        gridengine_files.write(self.folder, templates, nodes, head, state["cpus"])
        script = SPOOL.format(folder=self.folder, arch=arch, what=" ".join(WHAT)) + BEGIN.format(folder=self.folder)
        gridengine_files.place(self.folder / "qmaster.sh", script)

    def _begin(self, host: Host) -> None:
        host.run(["sh", str(self.folder / "qmaster.sh")] if host.name == HEAD else ["sge_execd"], timeout=60)

    def _states(self, head: Host) -> dict[str, str]:
        return states(head.run(["qstat", "-f"], timeout=10))

    def _takes_jobs(self, words: str) -> bool:
        return bool(re.fullmatch(r"\d+/\d+ slots", words))


def states(table: str) -> dict[str, str]:
    """Return the state of each node in an answer of ``qstat -f``: used and all slots, and letters if there are any."""
    found = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) >= 5 and "@" in fields[0]:
            _, used, slots = fields[2].split("/")
            found[fields[0].rpartition("@")[2]] = " ".join([f"{used}/{slots} slots", *fields[5:]])
    return found

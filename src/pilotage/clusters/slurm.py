"""A genuine Slurm of several nodes on one machine: munged everywhere, slurmctld on the head, slurmd on the nodes.

With accounting there are slurmdbd and its MariaDB on the head too, and what a job names must exist: an account
`physics`, a QOS `short`.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.clusters import packages
from pilotage.clusters.hosts import Host
from pilotage.clusters.lab import HEAD, Lab
from pilotage.clusters.surroundings import address

CLUSTER = "slurm-lab"
FOR_ACCOUNTING = ("slurmdbd", "mariadb-server-core")

CONF = """\
ClusterName={cluster}
SlurmctldHost={head}({address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir=/run/slurm/spool
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ReturnToService=2
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PropagateResourceLimits=NONE
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
KillWait=2
SlurmdTimeout=10
SlurmdParameters=config_overrides
NodeName=node[1-{nodes}] CPUs={cpus} RealMemory=4096
PartitionName=debug Nodes=ALL Default=YES MaxTime=1:00:00 DefMemPerCPU=512
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={head}
AccountingStorageEnforce=associations,limits,qos
"""
CGROUPS = "CgroupPlugin=cgroup/v1\n"  # or slurmd looks for a cgroup file system, and ends
DATABASE_CONF = """\
AuthType=auth/munge
DbdHost={head}
SlurmUser=root
PidFile=/run/slurm/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""
# Nobody but the head can reach it: there is a socket in the head's own /run, and no port. It is not asked who asks.
DATABASE = """\
set -eu
data={folder}/mariadb
options="--no-defaults --user=root --datadir=$data --skip-grant-tables --skip-networking"
options="$options --socket=/run/mysqld/mysqld.sock --pid-file=/run/mysqld/mysqld.pid"
options="$options --innodb-buffer-pool-size=64M --innodb-log-file-size=16M --innodb-lock-wait-timeout=900"
options="$options --max-connections=50 --table-open-cache=200 --open-files-limit=1000"
options="$options --innodb-flush-log-at-trx-commit=0 --innodb-flush-method=nosync --log-error={folder}/log/mariadb.log"
mkdir -p /run/mysqld
if [ ! -d "$data/mysql" ]; then
    rm -rf "$data"
    mkdir -m 700 "$data"
    # A statement a line, as it is read there.
    {{ echo "create database mysql;"; echo "use mysql;"; cat /usr/share/mysql/mysql_system_tables.sql; }} |
        mariadbd $options --bootstrap
fi
setsid --fork mariadbd $options < /dev/null > /dev/null 2>&1
tries=0
until [ -S /run/mysqld/mysqld.sock ]; do
    tries=$((tries + 1))
    [ $tries -lt 400 ] || {{ echo "MariaDB has not started: see {folder}/log/mariadb.log" >&2; exit 1; }}
    sleep 0.05
done
slurmdbd
tries=0
until sacctmgr --immediate --noheader list cluster > /dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || {{ echo "slurmdbd has not started: see {folder}/log/slurmdbd.log" >&2; exit 1; }}
    sleep 0.05
done
if [ -z "$(sacctmgr --noheader list cluster {cluster})" ]; then
    # In one session: each takes half a second to begin and to end.
    sacctmgr --immediate --quiet > {folder}/log/sacctmgr.log 2>&1 << END
add cluster {cluster}
add qos short MaxWall=00:10:00
add account physics Description=physics Organization=physics
add user root Account=physics
modify account root set QOS=normal,short
END
fi
"""


class SlurmCluster(Lab):
    """The Slurm of this machine.

    Parameters
    ----------
    folder: what it keeps while it is up.
    accounting: whether it has sacct, accounts and QOS, and refuses jobs that name others.
    laptop: as every kind has it.
    """

    kind = "slurm"
    title = "Slurm"
    needs = ("slurm-wlm", "munge", "iproute2")
    run_folders = ("munge", "slurm")

    def __init__(self, folder: Path | None = None, accounting: bool = False, laptop: bool = False) -> None:
        super().__init__(folder, laptop)
        self.accounting = accounting

    def _options(self) -> dict[str, Any]:
        return super()._options() | ({"accounting": True} if self.accounting else {})

    def _described(self, state: Any) -> str:
        return super()._described(state) + (", with accounting" if _has_accounting(state) else "")

    def _command(self, state: Any) -> str:
        return super()._command(state) + (" --accounting" if _has_accounting(state) else "")

    def _programs(self) -> list[Path]:
        root = packages.fetch(self.needs)
        # Debian's alternatives make these where packages are installed. The daemons know by these names what they are:
        # under another one slurmctld has no connection to slurmdbd, and slurmd no slurmstepd.
        for name in ("slurmctld", "slurmd", "slurmstepd"):
            link = root / "usr/sbin" / name
            if not link.is_symlink() and (root / "usr/sbin" / f"{name}-wlm").exists():
                with contextlib.suppress(FileExistsError):  # another makes it at the same time
                    link.symlink_to(f"{name}-wlm")
        return [root, packages.fetch(FOR_ACCOUNTING)] if self.accounting else [root]

    def _configure(self, state: Any, roots: Sequence[Path]) -> None:  # noqa: ARG002  the contract's signature
        words = {
            "cluster": CLUSTER,
            "head": HEAD,
            "address": address(0),
            "folder": self.folder,
            "nodes": state["nodes"],
            "cpus": state["cpus"],
        }
        for name in ("state", "etc/slurm"):
            (self.folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
        _secret(self.folder / "munge.key")
        conf = CONF + ACCOUNTING if self.accounting else CONF
        (self.folder / "etc/slurm/slurm.conf").write_text(conf.format(**words))
        (self.folder / "etc/slurm/cgroup.conf").write_text(CGROUPS)
        if self.accounting:
            database = self.folder / "etc/slurm/slurmdbd.conf"
            database.touch(mode=0o600)  # slurmdbd insists
            database.write_text(DATABASE_CONF.format(**words))
            (self.folder / "database.sh").write_text(DATABASE.format(**words))

    def _begin(self, host: Host) -> None:
        log = self.folder / "log"
        munged = ["munged", "--force", f"--key-file={self.folder}/munge.key", "--seed-file=/run/munge/seed"]
        munged += ["--socket=/run/munge/munge.socket.2", "--pid-file=/run/munge/munged.pid"]
        host.run([*munged, f"--log-file={log}/munged-{host.name}.log"])
        if host.name != HEAD:
            host.run(["slurmd", "-N", host.name])
            return
        if self.accounting:  # first: slurmctld takes what there is when it starts
            host.run(["sh", str(self.folder / "database.sh")], timeout=60)
        host.run(["slurmctld"])

    def _states(self, head: Host) -> dict[str, str]:
        lines = head.run(["sinfo", "--noheader", "--Node", "--format=%N %T"], timeout=10).splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def _takes_jobs(self, words: str) -> bool:
        return words in ("idle", "mixed", "allocated")


def _has_accounting(state: Any) -> bool:
    return bool(state.get("options", {}).get("accounting"))


def _secret(path: Path) -> None:
    if not path.exists():
        path.touch(mode=0o400)
        path.write_bytes(secrets.token_bytes(1024))

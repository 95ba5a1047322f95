"""What Grid Engine reads: its root, configuration, hosts, parallel environments and queue, as files.

All but the scheduler's configuration and the queue are read before sge_qmaster starts.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pilotage.errors import ClusterError

DEFAULTS = """\
SGE_ROOT={folder}/root
SGE_CELL=default
export SGE_QMASTER_PORT="${{SGE_QMASTER_PORT:-6444}}" SGE_EXECD_PORT="${{SGE_EXECD_PORT:-6445}}"
"""
BOOTSTRAP = """\
admin_user          none
default_domain      none
ignore_fqdn         true
spooling_method     classic
spooling_lib        libspoolc
spooling_params     {folder}/root/default/common;{folder}/qmaster
binary_path         {folder}/root/bin
qmaster_spool_dir   {folder}/qmaster
security_mode       none
listener_threads    2
worker_threads      2
scheduler_threads   1
"""
# What is different from Debian's configuration: root may run jobs, and the accounting file and the loss of a node are
# not waited for.
CONFIGURATION = {
    "execd_spool_dir": "{folder}/execd",
    "mailer": "/bin/true",
    "administrator_mail": "none",
    "min_uid": "0",
    "min_gid": "0",
    "load_report_time": "00:00:05",
    "max_unheard": "00:00:20",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00 "
    "joblog=false sharelog=00:00:00",
}
# Like Slurm's with sched_interval 2; of two nodes, the one with more free slots is taken.
SCHEDULER = {
    "schedule_interval": "0:0:1",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "job_load_adjustments": "NONE",
    "load_formula": "-slots",
    "schedd_job_info": "true",
}
NODE = """\
hostname              {name}
load_scaling          NONE
complex_values        slots={cpus},exclusive=true
user_lists            NONE
xuser_lists           NONE
projects              NONE
xprojects             NONE
usage_scaling         NONE
report_variables      NONE
"""
HOST = "hostname              {name}\n"
EXCLUSIVE = """\
name        exclusive
shortcut    excl
type        BOOL
relop       EXCL
requestable YES
consumable  YES
default     0
urgency     1000
"""
PARALLEL = """\
pe_name            {name}
slots              9999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    {rule}
control_slaves     TRUE
job_is_first_task  TRUE
urgency_slots      min
accounting_summary TRUE
qsort_args         NONE
"""
ENVIRONMENTS = {"smp": "$pe_slots", "mpi": "$round_robin", "fill": "$fill_up"}
"""Parallel environments and how they spread a job's slots: on one node, over nodes by turns, node after node."""
QUEUE = {
    "qname": "all.q",
    "hostlist": "{nodes}",
    "seq_no": "0",
    "load_thresholds": "NONE",  # the load is that of the whole machine
    "suspend_thresholds": "NONE",
    "nsuspend": "1",
    "suspend_interval": "00:05:00",
    "priority": "0",
    "min_cpu_interval": "00:05:00",
    "processors": "UNDEFINED",
    "qtype": "BATCH INTERACTIVE",
    "pe_list": "{environments}",
    "rerun": "FALSE",
    "slots": "{cpus}",
    "tmpdir": "/tmp",  # noqa: S108
    "shell": "/bin/bash",
    "shell_start_mode": "posix_compliant",
    "notify": "00:00:60",
    "initial_state": "default",
    "s_rt": "INFINITY",
    "h_rt": "01:00:00",
}
QUEUE |= dict.fromkeys(("ckpt_list", "prolog", "epilog", "starter_method", "owner_list", "subordinate_list"), "NONE")
QUEUE |= dict.fromkeys(("suspend_method", "resume_method", "terminate_method", "complex_values", "calendar"), "NONE")
QUEUE |= dict.fromkeys(("user_lists", "xuser_lists", "projects", "xprojects"), "NONE")
QUEUE |= {
    f"{which}_{what}": "INFINITY"
    for what in ("cpu", "fsize", "data", "stack", "core", "rss", "vmem")
    for which in ("s", "h")
}


def write(folder: Path, templates: Path, nodes: list[str], head: str, cpus: int) -> None:
    """Write everything.

    Parameters
    ----------
    folder: of the cluster; ``/etc`` of its hosts is in it, the root (``SGE_ROOT``), and what `SPOOL` takes in.
    templates: what Debian's package would install a configuration from.
    nodes: names of the compute nodes.
    head: name of the host of sge_qmaster.
    cpus: slots of a node.
    """
    spool, common = folder / "spool", folder / "root/default/common"
    for name in ("qmaster/job_scripts", "execd"):
        (folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    place(folder / "etc/default/gridengine", DEFAULTS.format(folder=folder))
    place(common / "bootstrap", BOOTSTRAP.format(folder=folder))
    place(common / "act_qmaster", f"{head}\n")
    text = _changed((templates / "default-configuration").read_text(), CONFIGURATION)
    place(spool / "configuration", text.format(folder=folder))
    text = (templates / "util/install_modules/inst_schedd_normal.conf").read_text()
    place(spool / "scheduler", _changed(text, SCHEDULER))
    shutil.copytree(templates / "util/resources/centry", spool / "complexes", dirs_exist_ok=True)
    shutil.copytree(templates / "util/resources/usersets", spool / "usersets", dirs_exist_ok=True)
    place(spool / "complexes/exclusive", EXCLUSIVE)
    for name in (head, *nodes):
        place(spool / "adminhosts" / name, HOST.format(name=name))
        place(spool / "submithosts" / name, HOST.format(name=name))
    for name in nodes:
        place(spool / "exechosts" / name, NODE.format(name=name, cpus=cpus))
    for name, rule in ENVIRONMENTS.items():
        place(spool / "pes" / name, PARALLEL.format(name=name, rule=rule))
    words = {"nodes": " ".join(nodes), "cpus": cpus, "environments": " ".join(ENVIRONMENTS)}
    place(spool / "all.q", "".join(f"{key:<22} {value}\n" for key, value in QUEUE.items()).format(**words))


def place(path: Path, text: str) -> None:
    """Write a file, with the folders above it."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_text(text)


def _changed(text: str, values: dict[str, str]) -> str:
    """Return a configuration, lines of a name and a value, with other values for some of its names."""
    for name, value in values.items():
        text, count = re.subn(rf"^{name}\s.*$", f"{name} {value}", text, flags=re.MULTILINE)
        if not count:
            raise ClusterError(f"Debian's configuration of Grid Engine has no {name}")
    return text

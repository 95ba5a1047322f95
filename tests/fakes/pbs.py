"""A fake of OpenPBS 23.06 by its commands: qsub, qstat, qdel and pbsnodes.

What it says is what a real one said; see ``recorded/pbs``. What no recording tells, it does not answer.
"""

import os
import re
import sys
import time
from pathlib import Path

from fakes.machine import Machine, Unpinned, give_back, placed, take
from fakes.pbs_qstat import pbsnodes, qstat
from fakes.pbs_qsub import qsub
from fakes.pbs_words import MEMORY, VERSION, Refused, parsed, server, whole

QUEUES = {
    "main": {},
    "brief": {"resources_max": {"walltime": "00:10:00"}},
    "shut": {"enabled": "False"},
    "asleep": {"started": "False"},
    "private": {"acl_user_enable": "True", "acl_users": "root"},
}

INITIAL = {"server": "quay", "default": "main", "queues": QUEUES, "nodes": {"quay": 2, "pier": 2}}


class Rules:
    """How jobs of PBS start and end."""

    machine: Machine

    def schedule(self, state):
        """Start what has room; return the jobs that begin, and note why others wait."""
        begun = []
        for job in state["jobs"].values():
            if job["state"] == "W" and time.time() >= job["begin"]:
                job.update(state="Q", substate=10)
            if job["state"] != "Q":
                continue
            why = hindrance(state, job)
            found = None if why else placed(state["nodes"], job["chunks"])
            if found is None:
                job["comment"] = why or f"Not Running: {shortage(state, job)}"
                continue
            take(state["nodes"], found)
            now = time.time()
            run_count = job.get("run_count", 0) + 1
            where = "+".join(f"({name}:ncpus={len(slots)})" for name, slots in found)
            job.update(state="R", substate=41, placed=found, stime=now, mtime=now, run_count=run_count)
            job["comment"] = f"Job run at {time.strftime('%a %b %d at %H:%M', time.localtime(now))} on {where}"
            begun.append(dict(job))
        return begun

    def command(self, job, folder):
        nodes = folder / "nodes"
        nodes.write_text("".join(f"{name}\n" for name, _ in job["placed"]))
        (folder / "tmp").mkdir(exist_ok=True)
        own = {
            "PATH": "/bin:/usr/bin",  # whatever the user's is
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_JOBID": job["id"],
            "PBS_JOBNAME": job["name"],
            "PBS_QUEUE": job["queue"],
            "PBS_NODEFILE": str(nodes),
            "TMPDIR": str(folder / "tmp"),
        }
        outer = {name: job["variables"].get(f"PBS_O_{name}", "") for name in ("HOME", "LOGNAME", "SHELL")}
        environment = {**outer, "USER": outer["LOGNAME"], **job["variables"], **own}
        return ["/bin/bash", str(folder / "script")], outer["HOME"] or "/", environment

    def leaving(self, state, job, code):
        job.update(state="E", substate=51, mtime=time.time(), exit=status_of(code), used=True)

    def deliver(self, job, folder, code, why):
        """Bring the output to where it was asked for; on the way back to the queue there is none."""
        if why == "node":
            return
        if why == "walltime":
            used = int(time.time() - job["stime"])
            with (folder / "stderr").open("a") as file:
                file.write(f"=>> PBS: job killed: walltime {used} exceeded limit {job['walltime']}\n")
        pairs = [("stdout", job["output"]), ("stderr", job["error"])]
        if job["join"] == "oe":
            (folder / "stdout").write_bytes(b"".join((folder / name).read_bytes() for name, _ in pairs))
            pairs = pairs[:1]
        delivered = folder / "undeliverable"
        try:
            for name, path in pairs:
                Path(path.partition(":")[2]).write_bytes((folder / name).read_bytes())
        except OSError:
            delivered.touch()

    def ended(self, state, job, code, why):
        give_back(state["nodes"], job["placed"])
        now = time.time()
        folder = self.machine.job_folder(job["id"])
        job.update(mtime=now, obit=now, stageout=0 if (folder / "undeliverable").exists() else 1)
        if why == "node":
            for key in ("session", "stageout"):
                job.pop(key, None)
            job["exit"] = -20
            if job["rerunable"] == "True":
                for key in ("placed", "stime"):
                    job.pop(key)
                job.update(state="Q", substate=10)
                return
            job.update(state="F", substate=93, history=now)
        else:
            used = {"walltime": (93, -29, " and exceeded resource walltime"), "delete": (91, 256 + 15, "")}
            exit_status = status_of(code)
            fine = (92, 0, " and finished") if exit_status == 0 else (93, exit_status, " and failed")
            substate, status, words = used.get(why, fine)
            job.update(state="F", substate=substate, exit=status, used=True, history=now)
            job["comment"] += words
        forget(self.machine, state, job)


def status_of(code):
    return code if code >= 0 else 128 - code  # the login shell runs the script as a child


def forget(machine, state, job):
    if not machine.switches["history"]:
        del state["jobs"][job["id"]]


def hindrance(state, job):
    """Return why a job cannot start whatever is free."""
    if state["queues"][job["queue"]].get("started") == "False":
        return "Not Running: Queue not started."
    nodes = state["nodes"]
    for chunk in job["chunks"]:
        if (host := chunk.get("host")) and host not in nodes:
            known = ",".join(nodes)
            return f"Can Never Run: Insufficient amount of resource: host ({host} != {known})"
        if chunk["memory"] > MEMORY << 10:
            total = f"{(MEMORY >> 10) * len(nodes)}mb"
            return f"Can Never Run: Insufficient amount of resource: mem (R: {chunk['mem']} A: {total} T: {total})"
    total = sum(node["cpus"] for node in nodes.values())
    if job["ncpus"] > total:
        return f"Can Never Run: Insufficient amount of resource: ncpus (R: {job['ncpus']} A: {total} T: {total})"
    return ""


def shortage(state, job):
    nodes = state["nodes"]
    if any(chunk.get("host") and not nodes[chunk["host"]]["up"] for chunk in job["chunks"]):
        return "Insufficient amount of resource: host "
    total = sum(node["cpus"] for node in nodes.values())
    free = sum(node["cpus"] - len(node["taken"]) for node in nodes.values() if node["up"])
    return f"Insufficient amount of resource: ncpus (R: {job['ncpus']} A: {free} T: {total})"


def answer(folder, argv):
    """Return exit code, stdout and stderr of a command."""
    command, *arguments = argv
    machine = Machine(folder, Rules())
    commands = {"qsub": qsub, "qstat": qstat, "qdel": qdel, "pbsnodes": pbsnodes}
    given = sys.stdin.read() if command == "qsub" and not sys.stdin.isatty() else ""
    try:
        if arguments == ["--version"] and command in ("qstat", "qsub"):
            return 0, f"pbs_version = {VERSION}\n", ""
        call = {"given": given} if command == "qsub" else {}
        return machine.answering(lambda: _answered(commands[command], machine, arguments, call))
    except Unpinned as error:
        return 99, "", f"fake {command}: {error}: no recording tells the answer\n"


def _answered(command, machine, arguments, call):
    try:
        return command(machine, arguments, **call)
    except Refused as error:
        return error.said


def qdel(machine, arguments):
    _, names = parsed(arguments, "")
    if not names:
        words = "usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...\n\tqdel --version"
        raise Refused(2, words)
    if machine.switches["down"]:
        raise Refused(162, f"Connection refused\nCouldn't connect to cluster: {server(machine)}")
    code, words = 0, ""
    with machine.locked() as state:
        for name in names:
            if not re.match(r"\d+(\[\d*\])?(\.|$)", name):
                code, words = 1, words + f"qdel: illegally formed job identifier: {name}\n"
                continue
            refused = deleted(machine, state, whole(state, name))
            if refused:
                code, words = refused[0], words + f"qdel: {refused[1]}\n"
    return code, "", words


def deleted(machine, state, name):
    """Delete a job; return the refusal's code and words."""
    job = state["jobs"].get(name)
    if job is None:
        return 153, f"Unknown Job Id {name}"
    if job["state"] == "F":
        return 35, f"Job has finished {name}"
    if job["state"] == "E":
        return 168, f"Request invalid for state of job {name}"
    if job["state"] == "R":
        words = f" and terminated by {os.environ.get('LOGNAME', '')}@{state['server']}"
        if not job["comment"].endswith(words):
            job["comment"] += words
        machine.ask(name, "delete")
        return None
    job.update(state="F", substate=91, mtime=time.time(), history=time.time())
    forget(machine, state, job)
    return None

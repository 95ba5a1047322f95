"""A fake of flux-core 0.88 by its commands: flux batch, jobs, cancel, queue, resource, run and version.

What it says is what a real one said; see ``recorded/flux``. What no recording tells, it does not answer. It is a test
instance: all its brokers are on one host.
"""

import getopt
import json
import os
import re
import sys
import time
from pathlib import Path

from fakes import flux_run
from fakes.machine import Machine, Unpinned, give_back, placed, take

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
HOST = "mole"
INITIAL = {"nodes": {"0": 2, "1": 2}, "begun": 0.0}
BATCH = (
    *("job-name=", "output=", "error=", "nodes=", "nslots=", "cores-per-slot=", "gpus-per-slot=", "time-limit="),
    *("exclusive", "queue=", "bank=", "urgency=", "begin-time="),
)
LONG = {"-N": "--nodes", "-t": "--time-limit", "-o": "--format", "-q": "--queue"}
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}


class Refused(Exception):
    """A command that fails, with its words."""


class Rules:
    """How jobs of Flux start and end."""

    machine: Machine

    def schedule(self, state):
        begun = []
        for job in state["jobs"].values():
            if job["state"] == "DEPEND" and time.time() >= job["begin"]:
                self._scheduled(job)
            if job["state"] != "SCHED" or job["urgency"] == 0:
                continue
            if note := unsatisfiable(state, job):
                now = time.time()
                job.update(state="INACTIVE", result="FAILED", returncode=1, t_cleanup=now, t_inactive=now)
                job["exception"] = {"occurred": True, "severity": 0, "type": "alloc", "note": note}
                continue
            found = placed(state["nodes"], job["chunks"], job["exclusive"])
            if found is None:
                continue
            take(state["nodes"], found)
            now = time.time()
            job.update(state="RUN", placed=found, t_run=now, nnodes=len({name for name, _ in found}))
            job["ncores"] = sum(len(slots) for _, slots in found)
            begun.append(dict(job))
        return begun

    @staticmethod
    def _scheduled(job):
        now = time.time()
        job.update(state="SCHED", t_priority=now, t_sched=now, priority=job["urgency"])

    def command(self, job, folder):
        (folder / "tmp").mkdir(exist_ok=True)
        own = {
            "FLUX_JOB_ID": short(job["number"]),
            "FLUX_URI": f"local://{folder}/local-0",
            "FLUX_JOB_NNODES": str(job["nnodes"]),
            "FLUX_JOB_SIZE": str(job["ncores"]),
            "TMPDIR": str(folder / "tmp"),
        }
        return ["/bin/sh", "-c", f'exec "{folder}/script"'], job["cwd"], {**job["environment"], **own}

    def leaving(self, state, job, code):
        job.update(state="CLEANUP", t_cleanup=time.time())

    def deliver(self, job, folder, code, why):
        for name in ("stdout", "stderr"):
            path = job["paths"].get(name)
            if path:
                Path(job["cwd"], path.replace("{{id}}", short(job["number"]))).write_bytes((folder / name).read_bytes())

    def ended(self, state, job, code, why):
        give_back(state["nodes"], job["placed"])
        now = time.time()
        code = code if code >= 0 else 128 - code
        result = "COMPLETED" if code == 0 else "FAILED"
        if why == "walltime":
            code, result = 128 + 14, "TIMEOUT"
            note = "resource allocation expired"
            job["exception"] = {"occurred": True, "severity": 0, "type": "timeout", "note": note}
        elif why == "delete":
            code, result = 128 + 15, "CANCELED"
            job["exception"] = {"occurred": True, "severity": 0, "type": "cancel", "note": ""}
        elif why:
            raise Unpinned(why)
        job.update(state="INACTIVE", result=result, returncode=code, waitstatus=code << 8)
        job.setdefault("t_cleanup", now)
        job["t_inactive"] = now
        if not self.machine.switches["history"]:
            del state["jobs"][job["id"]]


def unsatisfiable(state, job):
    """Return why a job can never run."""
    nodes = state["nodes"]
    if job["exclusive"] and len(job["chunks"]) > len(nodes):
        wanted = len(job["chunks"])
        return f"unsatisfiable request: need {wanted} exclusive node(s), only {len(nodes)} eligible"
    slots, cores = job["ntasks"], job["cores_per_slot"]
    total = sum(node["cpus"] for node in nodes.values())
    room = sum(node["cpus"] // cores for node in nodes.values())
    if slots > room:
        return (
            f"unsatisfiable request: need {slots} slot(s) of {cores} core(s),"
            f" only {room} such slot(s) available (total cores: {total})"
        )
    return ""


def answer(folder, argv):
    """Return exit code, stdout and stderr of a command."""
    _flux, command, *arguments = argv
    if command == "run":
        return flux_run.run(arguments)
    machine = Machine(folder, Rules())
    commands = {"batch": batch, "jobs": jobs, "cancel": cancel, "queue": queue, "resource": resource}
    if command == "version" and not arguments:
        return 0, "commands:    \t\t0.88.0\nlibflux-core:\t\t0.88.0\n", ""
    given = sys.stdin.read() if command == "batch" and not sys.stdin.isatty() else ""
    try:
        if command not in commands:
            raise Unpinned(command)
        call = [given] if command == "batch" else []
        return machine.answering(lambda: _answered(command, commands[command], machine, arguments, call))
    except Unpinned as error:
        return 99, "", f"fake flux {command}: {error}: no recording tells the answer\n"


def _answered(command, function, machine, arguments, call):
    try:
        if machine.switches["down"]:
            where = "broker socket /run/flux/local was not found"
            raise Refused(f"flux-{command}: ERROR: Unable to connect to Flux: {where}")
        return function(machine, arguments, *call)
    except Refused as error:
        return 1, "", f"{error}\n"


def parsed(arguments, letters, names):
    try:
        options, rest = getopt.getopt(arguments, letters, list(names))
    except getopt.GetoptError as error:
        raise Unpinned(str(error)) from error
    return {LONG.get(name, name): value for name, value in options}, rest


def batch(machine, arguments, given):
    chosen, rest = parsed(arguments, "n:N:t:q:", BATCH)
    if rest and not Path(rest[0]).exists():
        raise Refused(f"flux-batch: ERROR: No such file or directory: '{rest[0]}'")
    text, name = (Path(rest[0]).read_text(), Path(rest[0]).name) if rest else (given, "batch")
    inside = [found.group(1) for found in re.finditer(r"^#\s*flux:\s*(.+)$", text, re.MULTILINE | re.IGNORECASE)]
    inside, _ = parsed([_unquoted(line) for line in inside], "n:N:t:q:", BATCH)
    chosen = {**inside, **chosen}
    if "--queue" in chosen:
        raise Refused(f"[Errno 22] '{chosen['--queue']}' is not a valid queue")
    limit = duration(chosen.get("--time-limit", "0"))
    if limit is None:
        raise Refused("flux-batch: ERROR: invalid Flux standard duration")
    with machine.locked() as state:
        state["begun"] = state["begun"] or time.time()
        number = (int((time.time() - state["begun"]) * 1000) + 1000 << 24) + state["next"]
        state["next"] += 1
        job = new_job(number, chosen.get("--job-name", name), chosen, limit)
        folder = machine.job_folder(job["id"])
        folder.mkdir(parents=True)
        (folder / "script").write_text(text)
        (folder / "script").chmod(0o700)
        state["jobs"][job["id"]] = job
    return 0, f"{short(number)}\n", ""


def _unquoted(line):
    found = re.fullmatch(r'(--[\w-]+=)"(.*)"', line.strip())
    return found.group(1) + found.group(2).replace('\\"', '"').replace("\\\\", "\\") if found else line.strip()


def new_job(number, name, chosen, limit):
    now = time.time()
    nodes, slots = int(chosen.get("--nodes", 0)), int(chosen.get("--nslots", chosen.get("-n", 1)))
    if nodes and nodes != slots:
        raise Unpinned("slots that are not one a node")
    cores = int(chosen.get("--cores-per-slot", 1))
    urgency = {"hold": 0}.get(chosen.get("--urgency", ""), 16)
    later = chosen.get("--begin-time", "")
    begin = now + duration(later.removeprefix("+")) if later else 0.0
    return {
        "id": str(number),
        "number": number,
        "name": name,
        "state": "DEPEND" if later else "SCHED",
        "urgency": urgency,
        "priority": urgency,
        "chunks": [{"cpus": cores}] * slots,
        "cores_per_slot": cores,
        "exclusive": "--exclusive" in chosen,
        "ntasks": slots,
        "ncores": slots * cores,
        "walltime": limit,
        "begin": begin,
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "paths": {"stdout": chosen.get("--output"), "stderr": chosen.get("--error")},
        "t_submit": now,
        "t_depend": now,
        **({} if later else {"t_priority": now, "t_sched": now}),
        "exception": {"occurred": False},
    }


def duration(text):
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)", text)
    return float(found.group(1)) * SECONDS[found.group(2)] if found else None


def jobs(machine, arguments):
    chosen, names = parsed(arguments, "a", ("json", "user="))
    if "--json" not in chosen:
        raise Unpinned("without --json")
    with machine.locked() as state:
        known = state["jobs"]
        if names:
            found = [known[key] for name in names if (key := decimal(name)) in known]
            words = "".join(f"JobID {name} unknown\n" for name in names if decimal(name) not in known)
            if not found:
                return 1, "", words
            tables = [table(job) for job in found]
            return 0, json.dumps(tables[0] if len(names) == 1 else {"jobs": tables}) + "\n", words
        every = [table(job) for job in known.values() if "-a" in chosen or job["state"] != "INACTIVE"]
        return 0, json.dumps({"jobs": every}) + "\n", ""


def table(job):
    """Return what flux jobs tells of a job, in its order."""
    ran, over = "placed" in job, job["state"] == "INACTIVE"
    ranks = sorted({int(name) for name, _ in job.get("placed", ())})
    told = {
        key: job[key] for key in ("t_depend", "t_priority", "t_sched", "t_run", "t_cleanup", "t_inactive") if key in job
    }
    told["duration"] = float(job["walltime"])
    if ran and job["walltime"]:
        told["expiration"] = job["t_run"] + job["walltime"]
    told |= {"name": job["name"], "cwd": job["cwd"], "ntasks": job["ntasks"]}
    if not job["exclusive"] or ran:
        told["ncores"] = job["ncores"]
    if ran or job["exclusive"]:
        told["nnodes"] = job.get("nnodes", job["ntasks"])
    if "t_priority" in job:
        told["priority"] = job["priority"]
    if ran:
        told |= {"ranks": _range(ranks), "nodelist": ",".join([HOST] * len(ranks))}
    if over:
        told |= {"success": job["result"] == "COMPLETED", "result": job["result"]}
        if "waitstatus" in job:
            told["waitstatus"] = job["waitstatus"]
    told |= {"id": job["number"], "t_submit": job["t_submit"], "state": job["state"]}
    told |= {"username": job["environment"].get("LOGNAME", ""), "userid": os.getuid(), "urgency": job["urgency"]}
    if ran:
        told["runtime"] = job.get("t_cleanup", time.time()) - job["t_run"]
    told["status"] = job.get("result", job["state"])
    if over:
        told["returncode"] = job["returncode"]
    begin = time.strftime("begin@%H:%M:%S", time.localtime(job["begin"]))
    summary = {"sched": {"resource_summary": _resources(job)}} if ran else {}
    told |= {"dependencies": [begin] if job["begin"] else [], "jobid": short(job["number"]), "annotations": summary}
    told["exception"] = job["exception"]
    if ran:
        told["uri"] = f"ssh://{HOST}/tmp/flux-AbCdEf/jobtmp-0/local-0"
    return told


def _range(numbers):
    first, last = numbers[0], numbers[-1]
    return str(first) if first == last else f"[{first}-{last}]"


def _resources(job):
    ranks = sorted({int(name) for name, _ in job["placed"]})
    cores = sorted({slot for _, slots in job["placed"] for slot in slots})
    return f"rank{_range(ranks)}/core{_range(cores)}"


def cancel(machine, arguments):
    _, names = parsed(arguments, "", ())
    if not names:
        raise Unpinned("no job")
    words = ""
    with machine.locked() as state:
        for name in names:
            job = state["jobs"].get(decimal(name))
            if job is None or job["state"] == "INACTIVE":
                what = "unknown job id" if job is None else "job is inactive"
                words += f"flux-cancel: ERROR: {short(int(decimal(name)))}: {what}\n"
            elif job["state"] == "RUN":
                machine.ask(job["id"], "delete")
            else:
                now = time.time()
                job.update(state="INACTIVE", result="CANCELED", returncode=-128, t_cleanup=now, t_inactive=now)
                job["exception"] = {"occurred": True, "severity": 0, "type": "cancel", "note": ""}
                if not machine.switches["history"]:
                    del state["jobs"][job["id"]]
    return (1 if words else 0), "", words


def queue(machine, arguments):
    if arguments == ["status"]:
        return 0, "Job submission is enabled\nScheduling is started\n", ""
    raise Unpinned(" ".join(arguments))


def resource(machine, arguments):
    command, *rest = arguments
    if command != "list":
        raise Unpinned(command)
    chosen, none = parsed(rest, "no:", ("states=", "no-header", "format="))
    if none or "--format" not in chosen or not {"-n", "--no-header"} & set(chosen):
        raise Unpinned(" ".join(arguments))
    with machine.locked() as state:
        nodes = state["nodes"].values()
    groups = {
        "free": [node for node in nodes if node["up"] and not node["taken"]],
        "allocated": [node for node in nodes if node["up"] and node["taken"]],
        "down": [node for node in nodes if not node["up"]],
    }
    lines = []
    for name, own in groups.items():
        fields = {"state": name, "queue": "", "nnodes": len(own), "ncores": sum(node["cpus"] for node in own)}
        fields |= {"ngpus": 0, "nodelist": ",".join([HOST] * len(own))}
        lines.append(chosen["--format"].format(**fields) + "\n")
    return 0, "".join(lines), ""


def short(number):
    """Return the short form of an id."""
    digits = ""
    while number or not digits:
        number, rest = divmod(number, len(BASE58))
        digits = BASE58[rest] + digits
    return f"\u0192{digits}"


def decimal(name):
    if name.isdecimal():
        return name
    if not re.fullmatch(rf"[\u0192f][{BASE58}]+", name):
        raise Unpinned(f"the id {name}")
    number = 0
    for digit in name[1:]:
        number = number * len(BASE58) + BASE58.index(digit)
    return str(number)

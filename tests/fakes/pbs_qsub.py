"""qsub of the fake OpenPBS."""

import os
import re
import shlex
import stat
import time
from pathlib import Path

from fakes.machine import Unpinned
from fakes.pbs_words import Refused, clock, parsed, server

OPTIONS = "N:o:e:l:q:A:hS:j:m:r:v:a:P:"
RESOURCES = ("ncpus", "mem", "host", "walltime")
UNITS = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}


def qsub(machine, arguments, given):
    options, rest = parsed(arguments, OPTIONS)
    text, name = script_of(rest, given)
    inside, none = parsed(directives(text), OPTIONS)
    if none:
        raise Unpinned(f"directives {none}")
    chosen = {letter: value for letter, value in [*inside, *options] if letter not in ("-l", "-v")}
    asked = wanted([value for letter, value in [*inside, *options] if letter == "-l"])
    check_name(chosen.get("-N", ""))
    begin = time_of(chosen["-a"]) if "-a" in chosen else 0.0
    if machine.switches["down"]:
        raise Refused(162, f"Connection refused\nqsub: cannot connect to server {server(machine)} (errno=15010)")
    with machine.locked() as state:
        queue = chosen.get("-q", state["default"])
        check_queue(state, queue, asked)
        number = state["next"]
        state["next"] += 1
        job = new_job(f"{number}.{state['server']}", chosen.get("-N", name), asked, state, queue)
        paths(job, number, chosen)
        variables = [value for letter, value in [*inside, *options] if letter == "-v"]
        job["variables"] = {**submitter(state, queue), **passed_on(",".join(variables)), **place_of(state, queue)}
        job.update(
            held="-h" in chosen,
            begin=begin,
            account=chosen.get("-A"),
            project=chosen.get("-P", "_pbs_project_default"),
            join=chosen.get("-j", "n"),
            mail=chosen.get("-m", "a"),
            rerunable="False" if chosen.get("-r") == "n" else "True",
            arguments=" ".join(arguments),
        )
        if job["held"]:
            job.update(state="H", substate=20)
        elif begin > time.time():
            job.update(state="W", substate=30)
        folder = machine.job_folder(job["id"])
        folder.mkdir(parents=True)
        (folder / "script").write_text(text)
        state["jobs"][job["id"]] = job
    return 0, f"{job['id']}\n", ""


def script_of(rest, given):
    if not rest:
        return given, "STDIN"
    if len(rest) > 1:
        raise Unpinned(f"arguments {rest}")
    path = Path(rest[0])
    if not path.exists():
        raise Refused(1, "qsub: script file:: No such file or directory")
    if not stat.S_ISREG(path.stat().st_mode):
        raise Refused(1, "qsub: script not a file")
    return path.read_text(), path.name


def directives(text):
    """Return the options in a script: in lines ``#PBS`` before the first command."""
    found = []
    for line in text.splitlines():
        if line.startswith("#PBS "):
            found += shlex.split(line[5:], comments=False)
        elif line.strip() and not line.startswith("#"):
            break
    return found


def wanted(lists):
    """Return the resources that were asked for, and whether they were as ``select``."""
    asked = {}
    for part in lists:
        resources = [part] if part.startswith("select=") else part.split(",")
        asked.update(resource.partition("=")[::2] for resource in resources)
    for name in asked:
        if name not in (*RESOURCES, "select", "place"):
            raise Refused(187, f"qsub: Unknown resource Resource_List.{name}")
    plain = next((name for name in asked if name not in ("walltime", "select", "place")), None)
    if plain and "select" in asked:
        words = '"-lresource=" cannot be used with "select" or "place", resource is:'
        raise Refused(5, f"qsub: {words} {plain}")
    if "walltime" in asked and seconds(asked["walltime"]) is None:
        raise Refused(166, "qsub: Illegal attribute or resource value Resource_List.walltime")
    if "place" in asked:
        raise Unpinned("place")
    return {"chunks": chunks_of(asked), **asked}


def chunks_of(asked):
    if asked.get("select") == "":
        raise Refused(166, "qsub: Illegal attribute or resource value Resource_List.select")
    if "select" not in asked:
        cpus = asked.get("ncpus", "1")
        if not cpus.isdecimal():
            raise Refused(166, "qsub: Illegal attribute or resource value Resource_List.ncpus")
        return [{"cpus": int(cpus), "memory": size(asked.get("mem", "0b")), "mem": asked.get("mem", "")}]
    chunks = []
    for part in asked["select"].split("+"):
        count, *resources = part.split(":")
        if not count.isdecimal() or int(count) == 0:
            raise Refused(166, "qsub: Illegal attribute or resource value")
        pairs = dict(resource.partition("=")[::2] for resource in resources)
        for name, value in pairs.items():
            if name not in RESOURCES:
                raise Refused(187, f"qsub: Unknown resource: {name}")
            if (name == "ncpus" and not value.isdecimal()) or (name == "mem" and size(value) is None):
                raise Refused(166, f"qsub: Illegal attribute or resource value select.{name}")
        memory = pairs.get("mem", "0b")
        chunk = {"cpus": int(pairs.get("ncpus", 1)), "memory": size(memory), "mem": memory}
        if "host" in pairs:
            chunk["host"] = pairs["host"]
        chunks += [chunk] * int(count)
    return chunks


def size(text):
    found = re.fullmatch(r"(\d+)(b|kb|mb|gb)", text)
    return int(found.group(1)) * UNITS[found.group(2)] if found else None


def seconds(text):
    if not re.fullmatch(r"(\d+:)?(\d+:)?\d+", text):
        return None
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return total


def time_of(text):
    found = re.fullmatch(r"(\d{12})(?:\.(\d\d))?", text)
    if not found:
        raise Unpinned(f"-a {text}")
    return time.mktime(time.strptime(found.group(1), "%Y%m%d%H%M")) + int(found.group(2) or 0)


def check_name(name):
    if len(name) > 230:
        raise Refused(2, "qsub: Job name is too long ")
    if re.search(r"[^!-~]", name):
        raise Refused(2, f"qsub: illegal -N value\n{usage()}")


def usage():
    """Return the first line of what a wrong option is answered with; the fake has no more of it."""
    return "usage: qsub [-a date_time] [-A account_string] [-c interval]"


def check_queue(state, queue, asked):
    if queue not in state["queues"]:
        raise Refused(170, "qsub: Unknown queue")
    told = state["queues"][queue]
    if told.get("enabled") == "False":
        raise Refused(173, "qsub: Queue is not enabled")
    if told.get("acl_users"):
        raise Refused(159, "qsub: Unauthorized Request ")
    most = told.get("resources_max", {}).get("walltime")
    if most and "walltime" in asked and seconds(asked["walltime"]) > seconds(most):
        raise Refused(188, "qsub: Job violates queue and/or server resource limits")
    cpus = max(chunk["cpus"] for chunk in asked["chunks"])
    total = sum(node["cpus"] for node in state["nodes"].values())
    if cpus <= total and cpus > max(node["cpus"] for node in state["nodes"].values()):
        raise Unpinned("a chunk larger than a node, and smaller than all")


def new_job(job, name, asked, state, queue):
    now = time.time()
    ncpus = sum(chunk["cpus"] for chunk in asked["chunks"])
    resources = {"mem": asked["mem"]} if "mem" in asked else {}
    if mem := next((chunk["mem"] for chunk in asked["chunks"] if chunk["memory"]), ""):
        resources["mem"] = mem
    resources |= {"ncpus": ncpus, "nodect": len(asked["chunks"])}
    resources["place"] = "free" if "select" in asked else "pack"
    resources["select"] = asked.get("select", f"1:ncpus={ncpus}")
    if "walltime" in asked:
        resources["walltime"] = clock(seconds(asked["walltime"]))
    return {
        "id": job,
        "name": name,
        "queue": queue,
        "state": "Q",
        "substate": 10,
        "chunks": asked["chunks"],
        "ncpus": ncpus,
        "resources": resources,
        "walltime": seconds(asked["walltime"]) if "walltime" in asked else 0,
        "ctime": now,
        "mtime": now,
        "qtime": now,
        "etime": now,
        "comment": "",
    }


def paths(job, number, chosen):
    host = job["id"].partition(".")[2]
    for key, letter, option in (("output", "o", "-o"), ("error", "e", "-e")):
        path = chosen.get(option) or f"{job['name']}.{letter}{number}"
        job[key] = f"{host}:{os.path.join(os.getcwd(), path)}"


def submitter(state, queue):
    names = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL")
    known = {f"PBS_O_{name}": os.environ.get(name, "") for name in names}
    auth = {"PBS_O_INTERACTIVE_AUTH_METHOD": "resvport", "PBS_O_INTERACTIVE_ENCRYPT_METHOD": ""}
    return {**known, **auth, "PBS_O_WORKDIR": os.getcwd(), "PBS_O_SYSTEM": "Linux"}


def place_of(state, queue):
    return {"PBS_O_QUEUE": queue, "PBS_O_HOST": state["server"]}


def passed_on(text):
    """Return the variables of ``-v``: parts between commas, of which quotes may hold some."""
    found = {}
    for part in re.findall(r"""(?:[^,"']|"[^"]*"|'[^']*')+""", text):
        name, sign, value = part.partition("=")
        value = re.sub(r"""["'](.*)["']$""", r"\1", value) if sign else os.environ.get(name, "")
        if '"' in value or "\\" in value:
            raise Refused(1, "qsub: cannot send environment with the job")
        found[name] = value
    return found

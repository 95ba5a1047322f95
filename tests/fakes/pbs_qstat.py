"""qstat and pbsnodes of the fake OpenPBS."""

import time

from fakes.machine import Unpinned
from fakes.pbs_words import MEMORY, VERSION, Refused, Value, clock, head, parsed, server, whole, written

TOLD = 1.0
"""Seconds after which a node tells the server of a job's session and what it uses."""


def qstat(machine, arguments):
    options, names = parsed(arguments, "fF:xQB")
    letters = {letter for letter, _ in options}
    if ("-F", "json") not in options or "-f" not in letters:
        raise Unpinned("qstat without -f -F json")
    if machine.switches["down"]:
        words = f"Connection refused\nqstat: cannot connect to server {server(machine)} (errno=15010)"
        raise Refused(255, words, written(head(machine)))
    with machine.locked() as state:
        if "-B" in letters:
            return 0, written({**head(machine), "Server": {state["server"]: server_table(machine, state)}}), ""
        if "-Q" in letters:
            return queues(machine, state, names)
        return jobs(machine, state, names, "-x" in letters)


def jobs(machine, state, names, past):
    if past and not machine.switches["history"]:
        # It says so of each job, whether it has ended or not.
        words = [f"qstat: PBS is not configured to maintain job history {whole(state, name)}" for name in names or [""]]
        return 0, written(head(machine)), "".join(f"{word}\n" for word in words)
    code, words, found = 0, "", []
    for name in names or list(state["jobs"]):
        job = state["jobs"].get(whole(state, name))
        if not name[:1].isdecimal():
            if name in state["queues"]:
                raise Unpinned("a queue's jobs")
            code, words = 170, words + f"qstat: Unknown queue destination {name}\n"
        elif job is None:
            code, words = 153, words + f"qstat: Unknown Job Id {whole(state, name)}\n"
        elif job["state"] == "F" and not past:
            if names:
                told = "Job has finished, use -x or -H to obtain historical job information"
                code, words = 35, words + f"qstat: {job['id']} {told}\n"
        else:
            found.append(job)
    if names:
        found = found[:1]  # in JSON, of several ids the first known one alone
    tables = {job["id"]: table(machine, state, job) for job in found}
    return code, written({**head(machine), **({"Jobs": tables} if tables else {})}, machine.switches["old_json"]), words


def table(machine, state, job):
    """Return a job's attributes in the order in which qstat tells them."""
    running = job["state"] in "RE"
    told = job.get("obit", time.time()) - job.get("stime", 0) > TOLD  # short jobs end before
    session = job.get("session") if told else None
    if job["state"] == "R" and session:
        job["substate"] = 42
    nodes = "+".join(
        f"{name}/{slots[0]}" + (f"*{len(slots)}" if len(slots) > 1 else "") for name, slots in job.get("placed", ())
    )
    vnodes = "+".join(f"({name}:ncpus={len(slots)})" for name, slots in job.get("placed", ()))
    used = clock(int(job.get("obit", time.time()) - job["stime"])) if "stime" in job else ""
    pairs = [
        ("Job_Name", job["name"]),
        ("Job_Owner", f"{job['variables']['PBS_O_LOGNAME']}@{state['server']}"),
        ("resources_used", usage_of(job, used) if job.get("used") or (running and session) else None),
        ("job_state", job["state"]),
        ("queue", job["queue"]),
        ("server", state["server"]),
        ("Account_Name", job["account"]),
        ("Checkpoint", "u"),
        ("ctime", time.ctime(job["ctime"])),
        ("depend", None),
        ("Error_Path", job["error"]),
        ("exec_host", nodes or None),
        ("exec_vnode", vnodes or None),
        ("Execution_Time", time.ctime(job["begin"]) if job["begin"] > job["ctime"] else None),
        ("Hold_Types", "u" if job["held"] else "n"),
        ("Join_Path", job["join"]),
        ("Keep_Files", "n"),
        ("Mail_Points", job["mail"]),
        ("mtime", time.ctime(job["mtime"])),
        ("Output_Path", job["output"]),
        ("Priority", 0),
        ("qtime", time.ctime(job["qtime"])),
        ("Rerunable", job["rerunable"]),
        ("Resource_List", job["resources"]),
        ("stime", time.ctime(job["stime"]) if "stime" in job else None),
        ("obittime", time.ctime(job["obit"]) if "obit" in job else None),
        ("session_id", session),
        ("jobdir", job["variables"]["PBS_O_HOME"] if session or job.get("used") else None),
        ("substate", job["substate"]),
        ("Variable_List", {name: Value(value) for name, value in job["variables"].items()}),
        ("comment", job["comment"] or None),
        ("etime", time.ctime(job["etime"]) if job["state"] not in "HW" and not job["held"] else None),
        ("run_count", job.get("run_count")),
        ("Stageout_status", job.get("stageout") if job["state"] == "F" else None),
        ("Exit_status", job.get("exit")),
        ("Submit_arguments", job["arguments"] or None),
        ("history_timestamp", int(job["history"]) if "history" in job else None),
        ("project", job["project"]),
        ("Submit_Host", state["server"]),
    ]
    return {name: value for name, value in pairs if value is not None}


def usage_of(job, used):
    none = "00:00:00"
    return {"cpupercent": 0, "cput": none, "mem": "0kb", "ncpus": job["ncpus"], "vmem": "0kb", "walltime": used}


def queues(machine, state, names):
    code, words, found = 0, "", {}
    for name in names or state["queues"]:
        if name not in state["queues"]:
            code, words = 170, words + f"qstat: Unknown queue {name}\n"
            continue
        told = state["queues"][name]
        own = [job for job in state["jobs"].values() if job["queue"] == name and job["state"] != "F"]
        taken = [job for job in own if job["state"] in "RE"]
        entry = {"queue_type": "Execution", "total_jobs": len(own), "state_count": counts(own)}
        if taken:
            cpus, nodes = sum(job["ncpus"] for job in taken), sum(job["resources"]["nodect"] for job in taken)
            entry["resources_assigned"] = {"ncpus": cpus, "nodect": nodes}
        entry |= {key: value for key, value in told.items() if key not in ("enabled", "started")}
        entry |= {key: told.get(key, "True") for key in ("enabled", "started")}
        found[name] = entry
    return code, written({**head(machine), **({"Queue": found} if found else {})}), words


def counts(own):
    words = ("Transit", "Queued", "Held", "Waiting", "Running", "Exiting", "Begun")
    return "".join(
        f"{word}:{sum(job['state'] == letter for job in own)} " for word, letter in zip(words, "TQHWREB", strict=True)
    )


def server_table(machine, state):
    own = [job for job in state["jobs"].values() if job["state"] != "F"]
    taken = [job for job in own if job["state"] in "RE"]
    return {
        "server_state": "Active",
        "server_host": state["server"],
        "scheduling": "True",
        "total_jobs": len(own),
        "state_count": counts(own),
        "default_queue": state["default"],
        "log_events": 511,
        "mailer": "/usr/sbin/sendmail",
        "mail_from": "adm",
        "query_other_jobs": "True",
        "resources_default": {"ncpus": 1},
        "default_chunk": {"ncpus": 1},
        "resources_assigned": {
            "ncpus": sum(job["ncpus"] for job in taken),
            "nodect": sum(job["resources"]["nodect"] for job in taken),
        },
        "scheduler_iteration": 600,
        "flatuid": "True",
        "resv_enable": "True",
        "node_fail_requeue": 310,
        "pbs_version": VERSION,
        "eligible_time_enable": "False",
        "job_history_enable": str(machine.switches["history"]),
        "max_concurrent_provision": 5,
        "max_job_sequence_id": 9999999,
    }


def pbsnodes(machine, arguments):
    options, names = parsed(arguments, "aF:")
    if sorted(options) != [("-F", "json"), ("-a", "")] or names:
        raise Unpinned("pbsnodes but with -a -F json")
    if machine.switches["down"]:
        raise Refused(1, f"Connection refused\npbsnodes: cannot connect to server {server(machine)}, error=15010")
    with machine.locked() as state:
        tables = {name: node_table(state, name, node) for name, node in state["nodes"].items()}
    return 0, written({**head(machine), "nodes": tables}), ""


def node_table(state, name, node):
    own = [job["id"] for job in state["jobs"].values() for at, slots in job.get("placed", ()) if at == name]
    own = [job for job in own if state["jobs"][job]["state"] in "RE"]
    busy = len(node["taken"]) >= node["cpus"]
    words = [*([] if node["up"] else ["down"]), *(["job-busy"] if busy else [])] or ["free"]
    told = {"Mom": name, "ntype": "PBS", "state": ",".join(words), "pcpus": node["cpus"]}
    if own:
        told["jobs"] = own
    told["resources_available"] = {
        "arch": "linux",
        "host": name,
        "mem": f"{MEMORY}kb",
        "ncpus": node["cpus"],
        "vnode": name,
    }
    told["resources_assigned"] = {"ncpus": len(node["taken"])} if node["taken"] else {}
    if not node["up"]:
        told["comment"] = "node down: communication closed"
    now = int(time.time())
    rest = {"resv_enable": "True", "sharing": "default_shared", "license": "l"}
    return {**told, **rest, "last_state_change_time": now, "last_used_time": now}
